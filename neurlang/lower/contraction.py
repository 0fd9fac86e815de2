"""Contractions as three plain loops; the loop passes tile, pack, vectorise and unroll them.

Every element of a product sums over k in order, with one rounding a step, so tiles, threads and
vector width do not show in its bits. What follows the product (bias, activation) stands after the
loop over k; what feeds an operand (a view, a cast, a scale) is part of the operand's expression.
"""

from __future__ import annotations

from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.loops import Buffer, For, Let, Literal, Ref, Statement, Store, Update, Var, affine
from neurlang.lower.elements import Block, Scope
from neurlang.lower.rows import nest, outer_loops
from neurlang.passes.graph.group import Group
from neurlang.passes.loops.products import multiply_add


def lower_dot(group: Group, scope: Scope, targets: dict[Node, Buffer]) -> list[Statement]:
    """The plain loops of a product and of the elementwise work that follows it."""
    product = group.anchors[0]
    if not product.type.size:
        return []
    left, right = product.args
    rows, columns = product.shape[-2:]
    depth = left.shape[-1]
    batch, loops = outer_loops([(0, size) for size in product.shape[:-2]], "bcd")
    i, j = Var("i", 0, rows - 1), Var("j", 0, columns - 1)
    k = Var("k", 0, max(0, depth - 1))
    total = scope.register(product.dtype, "sum")
    operands = Block(scope)
    a, b = operands.evaluate(
        [(left, (*batch, affine(i), affine(k))), (right, (*batch, affine(k), affine(j)))]
    )
    step = Update(total, "set", multiply_add(a, b, Ref(total)))
    body = [
        Let(total, Literal(product.dtype.type(0), product.dtype)),
        For(k, 0, depth, 1, "serial", (*operands.statements, step)),
        *_after(group, scope, targets, (*batch, affine(i), affine(j)), Ref(total)),
    ]
    inner = For(j, 0, columns, 1, "serial", tuple(body))
    return nest(loops, [For(i, 0, rows, 1, "serial", (inner,))])


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
