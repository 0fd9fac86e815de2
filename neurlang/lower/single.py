"""Kernels of their own: scatters, updates of a region."""

from __future__ import annotations

from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.loops import (
    Affine,
    Apply,
    Buffer,
    Load,
    Statement,
    Store,
)
from neurlang.lower.elements import Block, Scope, checked_index
from neurlang.lower.rows import nest, outer_loops
from neurlang.passes.loops import choose
from neurlang.passes.loops.trees import literal_of, tree


def copy_node(node: Node, scope: Scope, target: Buffer) -> list[Statement]:
    """Every element of a node, stored."""
    if not node.type.size:
        return []
    index, loops = outer_loops([(0, size) for size in node.shape])
    block = Block(scope)
    (value,) = block.evaluate([(node, index)])
    return nest(loops, [*block.statements, Store(target, index, value)])


def lower_scatter(
    node: Node, scope: Scope, target: Buffer
) -> tuple[list[Statement], list[Statement]]:
    """The loops that copy the base, and those that put values into the copy, in index order."""
    base, indices, values = node.args
    copy = copy_node(base, scope, target)
    if not values.type.size:
        return copy, []
    at, outer = outer_loops([(0, size) for size in indices.shape])
    return copy, nest(outer, _scattered(node, scope, target, at, ()))


def _scattered(
    node: Node, scope: Scope, target: Buffer, at: Indices, part: Indices
) -> list[Statement]:
    """One index, and the values that go there: into a part of the target, or the whole of it."""
    base, indices, values = node.args
    rest, inner = outer_loops([(0, size) for size in base.shape[1:]], "rst")
    block = Block(scope)
    place: Indices = (*part, checked_index(block, node, (indices, at), base.shape[0]), *rest)
    element = Block(scope)
    (value,) = element.evaluate([(values, at + rest)])
    if node.attrs["mode"] != "set":
        value = Apply(node.attrs["mode"], (Load(target, place), value), node.dtype)
    body = nest(inner, [*element.statements, Store(target, place, value)])
    return [*block.statements, *body]


def scatter_parts(node: Node) -> int:
    """In how many parts a scatter is done, by the shapes alone; 1 where its order matters."""
    base, indices, _ = node.args
    combines = node.attrs["mode"] != "set"
    if not combines or len(base.shape) != 1 or len(indices.shape) != 1 or not base.type.size:
        return 1
    return choose.scatter_parts(indices.type.size, base.type.size)


def lower_scatter_in_parts(
    node: Node, scope: Scope, target: Buffer, copies: Buffer
) -> tuple[list[Statement], list[Statement], list[Statement]]:
    """Neutral copies of the target; a range of indices into each; base and copies together.

    The copies are combined as a tree, whoever made them: the result depends on shapes alone.
    """
    base, indices, _ = node.args
    op = node.attrs["mode"]
    count, size = copies.shape
    index, loops = outer_loops([(0, count), (0, size)])
    start = nest(loops, [Store(copies, index, literal_of(op, node.dtype))])
    length, left = divmod(indices.shape[0], count)
    (part, step), loops = outer_loops([(0, count), (0, length)])
    middle = nest(loops, _scattered(node, scope, copies, (part * length + step,), (part,)))
    if left:
        (step,), loops = outer_loops([(0, left)])
        at = step + count * length
        middle += nest(loops, _scattered(node, scope, copies, (at,), (Affine(count - 1),)))
    place, loops = outer_loops([(0, size)])
    block = Block(scope)
    (value,) = block.evaluate([(base, place)])
    parts = [Load(copies, (Affine(number), *place)) for number in range(count)]
    total = Apply(op, (value, tree(op, parts, node.dtype)), node.dtype)
    return start, middle, nest(loops, [*block.statements, Store(target, place, total)])


def lower_update(node: Node, scope: Scope, target: Buffer) -> list[Statement]:
    """Copy the base, then store the new region over it."""
    base, value = node.args
    body = copy_node(base, scope, target)
    if not value.type.size:
        return body
    index, loops = outer_loops([(0, size) for size in value.shape])
    block = Block(scope)
    (element,) = block.evaluate([(value, index)])
    place = tuple(
        position * step + start
        for position, start, step in zip(index, node.attrs["start"], node.attrs["step"])
    )
    return body + nest(loops, [*block.statements, Store(target, place, element)])
