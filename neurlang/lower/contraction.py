"""Contractions."""

from __future__ import annotations

from neurlang.ir.graph import Node
from neurlang.ir.identities import identity
from neurlang.ir.loops import Apply, Buffer, Let, Literal, Ref, Statement, Store, Update
from neurlang.lower.elements import Block, Scope
from neurlang.lower.rows import nest, outer_loops
from neurlang.passes.graph.group import Group


def lower_dot(
    group: Group, scope: Scope, targets: dict[Node, Buffer]
) -> tuple[list[Statement], str]:
    """Plain loops."""
    product = group.anchors[0]
    left, right = product.args
    index, loops = outer_loops([(0, size) for size in product.shape])
    inner, inner_loops = outer_loops([(0, left.shape[-1])], "k")
    block = Block(scope)
    a, b = block.evaluate(
        [(left, (*index[:-1], *inner)), (right, (*index[:-2], *inner, index[-1]))]
    )
    register = scope.register(product.dtype, "acc")
    start = Let(register, Literal(identity("add", product.dtype), product.dtype))
    op = "fma"
    body: list[Statement] = [
        *block.statements,
        Update(register, "set", Apply(op, (a, b, Ref(register)), product.dtype)),
    ]
    scope.registers[product] = Ref(register)
    after = Block(scope)
    values = after.evaluate([(anchor, index) for anchor in group.anchors])
    stores = [
        Store(targets[anchor], index, value)
        for anchor, value in zip(group.anchors, values)
        if anchor in targets
    ]
    return nest(loops, [start, *nest(inner_loops, body), *after.statements, *stores]), "fixed"
