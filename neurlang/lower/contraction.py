"""Contractions as three plain loops; the loop passes tile, pack, vectorise and unroll them.

Every element of a product sums over k in order, with one rounding a step, so tiles, threads and
vector width do not show in its bits. What follows the product (bias, activation) stands after the
loop over k; what feeds an operand (a view, a cast, a scale) is part of the operand's expression.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.loops import Buffer, For, Let, Literal, Ref, Statement, Store, Update, Var
from neurlang.lower.elements import Block, Scope
from neurlang.passes.graph.group import Group
from neurlang.passes.loops.products import multiply_add


def lower_dot(group: Group, scope: Scope, targets: dict[Node, Buffer]) -> list[Statement]:
    """The plain loops of a product and of the elementwise work that follows it."""
    product = group.anchors[0]
    if not product.type.size:
        return []
    space = group.space
    assert space is not None
    left, right, place = space.indices()
    total = scope.register(product.dtype, "sum")
    operands = Block(scope)
    a, b = operands.evaluate(list(zip(product.args, (left, right))))
    step = Update(total, "set", multiply_add(a, b, Ref(total)))
    body = [
        Let(total, Literal(product.dtype.type(0), product.dtype)),
        *_over(space.depth, [*operands.statements, step]),
        *_after(group, scope, targets, place, Ref(total)),
    ]
    *outer, column = space.columns
    around = [var for var in (*space.batch, *outer) if var.high]
    return _over(around, _over((space.row, column), body))


def _over(variables: Sequence[Var], body: Sequence[Statement]) -> list[Statement]:
    """Loops over variables, the first outermost."""
    result = list(body)
    for var in reversed(variables):
        result = [For(var, 0, var.high + 1, 1, "serial", tuple(result))]
    return result


def _after(
    group: Group, scope: Scope, targets: dict[Node, Buffer], index: Indices, total: Ref
) -> list[Statement]:
    """What follows the product at one element of it, and the stores."""
    product, *_ = group.anchors
    block = Block(scope)
    block.known[(product, index)] = total
    block.depth[(product, index)] = 0
    values = block.evaluate([(anchor, index) for anchor in group.anchors])
    stores = [
        Store(targets[anchor], index, value)
        for anchor, value in zip(group.anchors, values)
        if anchor in targets
    ]
    return [*block.statements, *stores]
