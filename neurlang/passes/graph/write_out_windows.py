"""Reductions over small windows are written out: neighbouring windows lie across vectors.

A window of 3 by 3 fills 9 lanes of 16, from three rows, for one number. Written out it is eight
operations on shifted images, each of which does that for as many windows as a vector has lanes:

    reduce_max(window(x), axes)   ->   max(max(x shifted, x shifted), ...)

So pooling, moving means and small filters are as good as the sum of shifted slices that they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from neurlang.ir.access import NameOnlyDivider, flat_index, loop_vars, view_index
from neurlang.ir.graph import Graph, Node, is_splat, make_constant, make_node, rebuild, with_args
from neurlang.ir.identities import REDUCTIONS
from neurlang.ir.ops import OPS, PURE_VIEWS
from neurlang.ir.rows import LONGEST_ROW
from neurlang.ir.types import Shape, Type
from neurlang.passes.graph.canonicalize_reductions import neighbouring_axes
from neurlang.passes.graph.simplify_views import simplest_view

LARGEST_WINDOW = 64  # elements: one for each running sum of a sum's tree
MOST_LOADS = 128  # vectors that are read for a vector of windows, which are code
MOST_OPERATORS = 4  # on an element before it is reduced
LEAST_ACROSS = 8  # windows side by side


def write_out_windows(graph: Graph) -> Graph:
    """Rewrite reductions over few elements that lie in several rows, or in windows that overlap.

    What is reduced may be computed from windows (their elements times weights). Windows must lie
    close to each other along the result's last axis. Operations are combined in the order in which
    the loops' reductions combine lanes, so the bits are the same.
    """
    return rebuild(graph, _rewrite, ops=REDUCTIONS.keys())


def _rewrite(node: Node, args: tuple[Node, ...]) -> Node:
    (source,) = args
    new = with_args(node, args)
    kept = [axis for axis in range(len(source.shape)) if axis not in node.attrs["axes"]]
    count = math.prod(source.shape[axis] for axis in node.attrs["axes"])
    if not 1 < count <= LARGEST_WINDOW or not kept or source.shape[kept[-1]] < LEAST_ACROSS:
        return new
    leaves = _leaves(source)
    if not leaves or not _lie_in_windows(new, leaves):
        return new
    apart = [_distance(leaf, source.shape, kept[-1]) for leaf in leaves]
    if max(apart) > LONGEST_ROW or count * max(apart) > MOST_LOADS:
        return new
    return _WrittenOut(new).reduced({})


def _leaves(source: Node) -> list[Node]:
    """What an element is computed from by a few operators: views, in its shape; none if by many."""
    found: list[Node] = []
    stack = [source]
    operators = 0
    while stack:
        node = stack.pop()
        if node.kind == "map":
            operators += OPS[node.op].cost
            stack.extend(node.args)
        elif not is_splat(node):
            found.append(node)
        if operators > MOST_OPERATORS:
            return []
    return found


def _lie_in_windows(node: Node, leaves: Sequence[Node]) -> bool:
    """Whether a reduction's elements come from several rows, or from windows."""
    sizes = node.args[0].shape
    axes = [axis for axis in node.attrs["axes"] if sizes[axis] > 1]
    if len(neighbouring_axes(tuple(axes), sizes)) > 1:
        return True
    for leaf in leaves:
        while leaf.op in PURE_VIEWS and leaf.op != "window":
            leaf = leaf.args[0]
        if leaf.op == "window":
            return True
    return False


def _distance(leaf: Node, shape: Shape, axis: int) -> float:
    """How far neighbours along an axis lie from each other in what a view shows; infinitely, where
    the index of an element has to be divided."""
    variables, index = loop_vars(shape, "i")
    divider = NameOnlyDivider()
    node = leaf
    while node.op in PURE_VIEWS:
        index = view_index(node, index, divider)
        (node,) = node.args
    if divider.made:
        return math.inf
    return abs(flat_index(node.shape, index).coefficient(variables[axis]))


class _WrittenOut:
    """One reduction as operations on slices of what it reduces."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.axes: tuple[int, ...] = node.attrs["axes"]
        self.op = REDUCTIONS[node.op]
        (self.source,) = node.args
        self.shape = node.shape
        self.runs = neighbouring_axes(self.axes, self.source.shape)

    def reduced(self, place: dict[int, int]) -> Node:
        """All elements at a place along the first axes: later runs of axes are reduced first."""
        depth = sum(all(axis in place for axis in range(*run)) for run in self.runs)
        if depth == len(self.runs):
            return self._element(self.source, place, {})
        axes = range(*self.runs[depth])
        values = [
            self.reduced({**place, **dict(zip(axes, at))})
            for at in itertools.product(*(range(self.source.shape[axis]) for axis in axes))
        ]
        total = self._tree(values)
        if self.op != "add" or total.dtype.kind != "f":
            return total
        zero = make_constant(np.zeros((), total.dtype), total.type, self.node.where)
        return make_node("add", [zero, total], self.node.where)

    def _view(self, op: str, node: Node, **attrs: Shape) -> Node:
        return simplest_view(make_node(op, [node], self.node.where, **attrs))

    def _tree(self, values: list[Node]) -> Node:
        """Values combined by halves, as the lanes of a vector are."""
        while len(values) > 1:
            half = 1 << (len(values) - 1).bit_length() - 1
            pairs = zip(values[:half], values[half:])
            combined = [make_node(self.op, pair, self.node.where) for pair in pairs]
            values = combined + values[len(combined) : half]
        return values[0]

    def _element(self, node: Node, place: dict[int, int], known: dict[Node, Node]) -> Node:
        """A node at one place along the reduced axes."""
        if node in known:
            return known[node]
        if is_splat(node):
            found = make_constant(node.attrs["value"], Type(node.dtype, self.shape), node.where)
        elif node.kind == "map":
            args = [self._element(arg, place, known) for arg in node.args]
            found = Node(node.op, tuple(args), node.attrs, Type(node.dtype, self.shape), node.where)
        else:
            axes = range(len(node.shape))
            start = tuple(place.get(axis, 0) for axis in axes)
            size = tuple(1 if axis in place else node.shape[axis] for axis in axes)
            found = self._view("slice", node, start=start, size=size, step=(1,) * len(size))
            found = self._view("reshape", found, shape=self.shape)
        known[node] = found
        return found
