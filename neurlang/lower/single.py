"""Kernels of their own: running sums, scatters, updates of a region."""

from __future__ import annotations

from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.identities import identity
from neurlang.ir.loops import (
    Apply,
    Buffer,
    Let,
    Literal,
    Load,
    Ref,
    Statement,
    Store,
    Update,
)
from neurlang.ir.ops import CUMULATIVE
from neurlang.lower.elements import Block, Scope, checked_index
from neurlang.lower.rows import nest, outer_loops


def copy_node(node: Node, scope: Scope, target: Buffer) -> list[Statement]:
    """Every element of a node, stored."""
    if not node.type.size:
        return []
    index, loops = outer_loops([(0, size) for size in node.shape])
    block = Block(scope)
    (value,) = block.evaluate([(node, index)])
    return nest(loops, [*block.statements, Store(target, index, value)])


def lower_cumulative(node: Node, scope: Scope, target: Buffer) -> list[Statement]:
    """A running sum, product, ...: one after the other along the last axis, as NumPy does."""
    if not node.type.size:
        return []
    op = CUMULATIVE[node.attrs["op"]]
    outer, outer_nest = outer_loops([(0, size) for size in node.shape[:-1]])
    inner, inner_nest = outer_loops([(0, node.shape[-1])], "r")
    block = Block(scope)
    (value,) = block.evaluate([(node.args[0], outer + inner)])
    register = scope.register(node.dtype, "running")
    start = Let(register, Literal(identity(op, node.dtype), node.dtype))
    body: list[Statement] = [
        *block.statements,
        Update(register, op, value),
        Store(target, outer + inner, Ref(register)),
    ]
    return nest(outer_nest, [start, *nest(inner_nest, body)])


def lower_scatter(
    node: Node, scope: Scope, target: Buffer
) -> tuple[list[Statement], list[Statement]]:
    """The loops that copy the base, and those that put values into the copy, in index order."""
    base, indices, values = node.args
    copy = copy_node(base, scope, target)
    if not values.type.size:
        return copy, []
    at, outer = outer_loops([(0, size) for size in indices.shape])
    rest, inner = outer_loops([(0, size) for size in base.shape[1:]], "rst")
    block = Block(scope)
    (chosen,) = block.evaluate([(indices, at)])
    place: Indices = (checked_index(block, node, chosen, base.shape[0]), *rest)
    element = Block(scope)
    (value,) = element.evaluate([(values, at + rest)])
    if node.attrs["mode"] != "set":
        value = Apply(node.attrs["mode"], (Load(target, place), value), node.dtype)
    body = nest(inner, [*element.statements, Store(target, place, value)])
    return copy, nest(outer, [*block.statements, *body])


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
