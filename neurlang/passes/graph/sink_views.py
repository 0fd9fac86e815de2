"""Reshapes and transposes move toward the outputs, so that kernels read and write in order."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.ir.graph import (
    Graph,
    Node,
    is_splat,
    make_constant,
    make_node,
    rebuild,
    users_of,
    with_args,
)
from neurlang.ir.types import Shape, Type
from neurlang.passes.graph.simplify_views import simplest_view

SINKING = ("reshape", "transpose")


def sink_views(graph: Graph) -> Graph:
    """Compute maps and reductions on what a view shows, and view the result instead.

    map(view(a), view(b)) becomes view(map(a, b)) where all arguments but splats carry one view; a
    reduction of a transpose becomes one over the source's own axes. A reshape that splits axes of a
    product sinks where the other arguments only have to be repeated, or read along other axes: so
    the bias and the activation of a convolution are computed where its sums are stored. The
    elements are the same; only a sum of floats may be added in another order. Leaves dead views
    behind.
    """
    if not any(node.op in SINKING for node in graph.nodes):
        return graph
    only_reduced = _only_reduced(graph)
    following: set[Node] = set()

    def sink(node: Node, args: tuple[Node, ...]) -> Node:
        new = with_args(node, args)
        if node.op == "dot":
            following.add(new)
        if node.kind == "map":
            return _below_product(new, following) or _sink_below_map(new)
        if node.kind == "reduce" and node.args[0] in only_reduced:
            return _sink_below_reduce(new)
        return simplest_view(new) if node.op in SINKING else new

    return rebuild(graph, sink)


def _only_reduced(graph: Graph) -> set[Node]:
    """Nodes that only reductions read.

    What others read as well they read in the same kernel as the reduction, row by row (softmax):
    a reduction over the source's axes would no longer fuse with them.
    """
    outputs = {*graph.outputs}
    return {
        node
        for node, users in users_of(graph).items()
        if node not in outputs and all(user.kind == "reduce" for user in users)
    }


def _sink_below_map(node: Node) -> Node:
    """Peel views off the arguments while all carry the same one, then put them on the result."""
    args = node.args
    peeled: list[Node] = []
    while True:
        view = _common_view(args)
        if view is None:
            break
        source = view.args[0].shape
        args = tuple(_resized(arg, source) if is_splat(arg) else arg.args[0] for arg in args)
        peeled.append(view)
    if not peeled:
        return node
    result = Node(node.op, args, node.attrs, Type(node.dtype, args[0].shape), node.where)
    for view in reversed(peeled):
        moved = Node(view.op, (result,), view.attrs, Type(node.dtype, view.shape), view.where)
        result = simplest_view(moved)
    return result


def _below_product(node: Node, following: set[Node]) -> Node | None:
    """A map of a product's result in the product's own shape; None where there is no such."""
    if any(arg in following for arg in node.args):
        following.add(node)
        return node
    reshaped = (arg.args[0] for arg in node.args if arg.op == "reshape")
    source = next((arg for arg in reshaped if arg in following), None)
    if source is None or not _splits(source.shape, node.shape):
        return None
    args = [_in_shape(arg, source.shape, following) for arg in node.args]
    found = [arg for arg in args if arg is not None]
    if len(found) < len(args):
        return None
    result = Node(node.op, tuple(found), node.attrs, Type(node.dtype, source.shape), node.where)
    following.add(result)
    return simplest_view(make_node("reshape", [result], node.where, shape=node.shape))


def _splits(source: Shape, shape: Shape) -> bool:
    """Whether a reshape makes several axes of one, never one of several: who reads the result can
    then say without a division where its elements are in the source."""
    if 0 in source:
        return False
    runs = _matching_axes(source, shape)
    return all(sum(source[axis] != 1 for axis in old) <= 1 for old, _ in runs)


def _in_shape(node: Node, shape: Shape, following: set[Node]) -> Node | None:
    """The same elements in another shape, where that takes no division of indices; or None."""
    if is_splat(node):
        return _resized(node, shape)
    if node.op == "broadcast":
        return _reshaped_broadcast(node, shape)
    source = node.args[0] if node.op == "reshape" else node
    if source.kind == "leaf" or source in following:
        return simplest_view(make_node("reshape", [node], node.where, shape=shape))
    return None


def _reshaped_broadcast(node: Node, shape: Shape) -> Node | None:
    """A broadcast to another shape, where that merges or splits no repeated axis and a kept one."""
    (source,) = node.args
    kept = (*(1,) * (len(node.shape) - len(source.shape)), *source.shape)
    target: list[int] = []
    for old, new in _matching_axes(node.shape, shape):
        before = [(kept[axis], node.shape[axis]) for axis in old]
        if all(own == size for own, size in before):
            target += (shape[axis] for axis in new)
        elif all(own == 1 for own, _ in before):
            target += (1 for _ in new)
        else:
            return None
    small = simplest_view(make_node("reshape", [source], node.where, shape=tuple(target)))
    return simplest_view(make_node("broadcast", [small], node.where, shape=shape))


def _matching_axes(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of two shapes of one size that count the same elements, as short as can be."""
    runs: list[tuple[list[int], list[int]]] = []
    left, right = list(range(len(old))), list(range(len(new)))
    while left or right:
        run: tuple[list[int], list[int]] = ([], [])
        sizes = [1, 1]
        while not any(run) or sizes[0] != sizes[1]:
            side = 0 if left and (sizes[0] <= sizes[1] or not right) else 1
            axis = (left, right)[side].pop(0)
            run[side].append(axis)
            sizes[side] *= (old, new)[side][axis]
        runs.append(run)
    return runs


def _common_view(args: Sequence[Node]) -> Node | None:
    """The view that every argument which is no splat carries."""
    carried = [arg for arg in args if not is_splat(arg)]
    if not carried or carried[0].op not in SINKING:
        return None
    first = carried[0]
    same = all(_is_same_view(first, arg) for arg in carried)
    return first if same else None


def _is_same_view(a: Node, b: Node) -> bool:
    """Whether two nodes show sources of one shape in the same way."""
    if a.op != b.op or a.args[0].shape != b.args[0].shape:
        return False
    return bool(a.op == "reshape" or a.attrs["axes"] == b.attrs["axes"])


def _resized(splat: Node, shape: Shape) -> Node:
    return make_constant(splat.attrs["value"], Type(splat.dtype, shape), splat.where)


def _sink_below_reduce(node: Node) -> Node:
    """reduce(transpose(x, p), axes) is reduce(x, p[axes]), its kept axes in the order of p."""
    (view,) = node.args
    if view.op != "transpose":
        return node
    order = view.attrs["axes"]
    reduced = [order[axis] for axis in node.attrs["axes"]]
    if node.op in ("argmax", "argmin") and reduced != sorted(reduced):
        return node  # an index counts along the reduced axes in their order
    kept = [axis for axis in order if axis not in reduced]
    result = make_node(node.op, view.args, node.where, axes=tuple(sorted(reduced)))
    ranks = {axis: rank for rank, axis in enumerate(sorted(kept))}
    axes = tuple(ranks[axis] for axis in kept)
    return simplest_view(make_node("transpose", [result], view.where, axes=axes))
