"""A product of few results and long k becomes products over ranges of k, and a sum of them."""

from __future__ import annotations

from neurlang.ir.graph import Graph, Node, make_node, rebuild, with_args

RANGE = 1024  # products that one sum adds in order
LONG = 8 * RANGE
SHARE = 8  # the partial results are at most such a part of the operands


def split_long_products(graph: Graph) -> Graph:
    """Rewrite (m, k) by (k, n) with long k and few results as a batch of products, and their sum.

    The ranges give every thread some work, and the sum over them is a tree: its error grows with
    the length of a range and the logarithm of their number, instead of with k. Which products are
    split, and where, depends on their shapes alone. Leaves alone bools, which have no sum.
    """
    return rebuild(graph, _split, ops={"dot"})


def _split(node: Node, args: tuple[Node, ...]) -> Node:
    if node.dtype.kind == "b":
        return with_args(node, args)
    left, right = args
    *batch, rows, depth = left.shape
    columns = right.shape[-1]
    if depth < LONG or rows * columns * SHARE > (rows + columns) * RANGE:
        return with_args(node, args)
    axis, count = len(batch), depth // RANGE
    whole = count * RANGE
    parts = _product(
        _part(left, axis + 1, 0, whole, node), _part(right, axis, 0, whole, node), node
    )
    if whole < depth:
        rest = depth - whole
        ends = [_part(left, axis + 1, whole, rest, node), _part(right, axis, whole, rest, node)]
        last = make_node("dot", ends, node.where)
        shape = (*batch, 1, rows, columns)
        joined = [parts, make_node("reshape", [last], node.where, shape=shape)]
        parts = make_node("concat", joined, node.where, axis=axis)
    return make_node("reduce_sum", [parts], node.where, axes=(axis,))


def _product(left: Node, right: Node, node: Node) -> Node:
    """(..., m, k) by (..., k, n) as (..., ranges, m, n): one product for each range of k."""
    *batch, rows, depth = left.shape
    axis, count = len(batch), depth // RANGE
    cut = make_node("reshape", [left], node.where, shape=(*batch, rows, count, RANGE))
    order = (*range(axis), axis + 1, axis, axis + 2)
    lines = make_node("transpose", [cut], node.where, axes=order)
    shape = (*batch, count, RANGE, right.shape[-1])
    return make_node(
        "dot", [lines, make_node("reshape", [right], node.where, shape=shape)], node.where
    )


def _part(operand: Node, axis: int, start: int, size: int, node: Node) -> Node:
    """A range of an operand along k."""
    if size == operand.shape[axis]:
        return operand
    starts, sizes = [0] * len(operand.shape), list(operand.shape)
    starts[axis], sizes[axis] = start, size
    steps = (1,) * len(sizes)
    return make_node(
        "slice", [operand], node.where, start=tuple(starts), size=tuple(sizes), step=steps
    )
