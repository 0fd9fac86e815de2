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
    reduction of a transpose becomes one over the source's own axes. The elements are the same;
    only a sum of floats may be added in another order. Leaves dead views behind.
    """
    if not any(node.op in SINKING for node in graph.nodes):
        return graph
    only_reduced = _only_reduced(graph)

    def sink(node: Node, args: tuple[Node, ...]) -> Node:
        new = with_args(node, args)
        if node.kind == "map":
            return _sink_below_map(new)
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
