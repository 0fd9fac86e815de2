"""A product with a vector becomes a multiplication and a sum: they fuse, at memory speed."""

from __future__ import annotations

from neurlang.ir.graph import Graph, Node, make_node, rebuild, with_args


def expand_vector_products(graph: Graph) -> Graph:
    """Rewrite (m, k) by (k, 1) and (1, k) by (k, n) products as reductions of what they multiply.

    There is nothing to reuse in registers, so a row program reads the matrix once, in its own
    order: along its rows where k lies contiguous, down its columns where k does not. Leaves bools
    alone: they have no sum.
    """
    return rebuild(graph, _expand, ops={"dot"})


def _expand(node: Node, args: tuple[Node, ...]) -> Node:
    if node.dtype.kind == "b" or 1 not in node.shape[-2:]:
        return with_args(node, args)
    left, right = args
    column = node.shape[-1] == 1
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
