"""A product with a vector becomes a multiplication and a sum: they fuse, at memory speed."""

from __future__ import annotations

import itertools
import operator

from neurlang.ir.graph import Graph, Node, make_node, rebuild, with_args
from neurlang.ir.ops import PURE_VIEWS


def expand_vector_products(graph: Graph) -> Graph:
    """Rewrite (m, k) by (k, 1) and (1, k) by (k, n) products as reductions of what they multiply.

    There is nothing to reuse in registers, so a row program reads the matrix once, in its own
    order: along its rows where k lies contiguous, down its columns where k does not. Leaves bools
    alone: they have no sum. Windows of which a view has made the rows of a matrix stay windows: as
    a matrix they would have to be stored.
    """
    return rebuild(graph, _expand, ops={"dot"})


def _expand(node: Node, args: tuple[Node, ...]) -> Node:
    if node.dtype.kind == "b" or 1 not in node.shape[-2:]:
        return with_args(node, args)
    left, right = args
    column = node.shape[-1] == 1
    axis = _first_of_window(left) if column and len(node.shape) == 2 else 0
    if axis:
        return _sum_over_windows(node, left.args[0], axis, right)
    matrix, vector = (left, _swapped(right, node)) if column else (_swapped(right, node), left)
    # now (m, k) and (1, k): the sum runs along the last axis
    source = right if not column else left
    if _is_swapped(source) == column:
        matrix, vector = _swapped(matrix, node), _swapped(vector, node)
    axis = len(node.shape) - (2 if _is_swapped(source) == column else 1)
    spread = make_node("broadcast", [vector], node.where, shape=matrix.shape)
    product = make_node("mul", [matrix, spread], node.where)
    total = make_node("reduce_sum", [product], node.where, axes=(axis,))
    return make_node("reshape", [total], node.where, shape=node.shape)


def _first_of_window(matrix: Node) -> int:
    """The axis of a reshape's source from which on the windows lie that are its rows; 0 if none."""
    if matrix.op != "reshape":
        return 0
    (source,) = matrix.args
    shown = source
    while shown.op in PURE_VIEWS and shown.op not in ("window", "reshape"):
        (shown,) = shown.args
    if shown.op != "window":
        return 0
    rows = list(itertools.accumulate(source.shape, operator.mul))
    return rows.index(matrix.shape[0]) + 1 if matrix.shape[0] in rows[:-1] else 0


def _sum_over_windows(node: Node, windows: Node, axis: int, vector: Node) -> Node:
    """The product of windows, which have the axes from `axis` on, with one vector."""
    shape = windows.shape
    weights = make_node("reshape", [vector], node.where, shape=shape[axis:])
    spread = make_node("broadcast", [weights], node.where, shape=shape)
    product = make_node("mul", [windows, spread], node.where)
    axes = tuple(range(axis, len(shape)))
    total = make_node("reduce_sum", [product], node.where, axes=axes)
    return make_node("reshape", [total], node.where, shape=node.shape)


def _swapped(node: Node, like: Node) -> Node:
    """The last two axes exchanged."""
    rank = len(node.shape)
    axes = (*range(rank - 2), rank - 1, rank - 2)
    if node.op == "transpose" and node.attrs["axes"] == axes:
        return node.args[0]
    return make_node("transpose", [node], like.where, axes=axes)


def _is_swapped(node: Node) -> bool:
    """Whether a matrix is a transposed view: its rows do not lie contiguous."""
    rank = len(node.shape)
    return node.op == "transpose" and node.attrs["axes"][-1] != rank - 1
