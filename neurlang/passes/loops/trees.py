"""Pieces of sums: neutral elements, trees, and additions that keep their rounding error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurlang.ir.identities import identity
from neurlang.ir.loops import Apply, Expression, Let, Literal, Ref, Register, Statement, Update
from neurlang.ir.types import BOOL, DType


def literal_of(op: str, dtype: DType) -> Literal:
    """The neutral element of an op."""
    return Literal(identity(op, dtype), dtype)


def compensated(op: str, dtype: DType) -> bool:
    """Whether an accumulation rounds, so that the rounding error must be carried along."""
    return op == "add" and dtype.kind == "f"


def two_sum(total: Ref, error: Ref, value: Expression, lanes: int) -> list[Statement]:
    """total += value; error += what the addition lost, exactly (Knuth 1969, 4.2.2 theorem B)."""
    dtype = total.dtype

    def name(hint: str, expression: Expression) -> tuple[Let, Ref]:
        register = Register(f"{total.register.name}_{hint}", dtype, lanes)
        return Let(register, expression), Ref(register)

    let_value, added = name("a", value)
    let_sum, whole = name("s", Apply("add", (total, added), dtype))
    let_part, part = name("p", Apply("sub", (whole, total), dtype))
    kept = Apply("sub", (whole, part), dtype)
    lost_total = Apply("sub", (total, kept), dtype)
    lost_value = Apply("sub", (added, part), dtype)
    lost = Apply("add", (lost_total, lost_value), dtype)
    return [
        let_value,
        let_sum,
        let_part,
        Update(error.register, "add", lost, error.index),
        Update(total.register, "set", whole, total.index),
    ]


def finished_sum(total: Ref, error: Ref) -> Expression:
    """total + error; an infinite or NaN total has no meaningful error."""
    dtype = total.dtype
    infinity = Literal(dtype.type(np.inf), dtype)
    finite = Apply("less", (Apply("abs", (total,), dtype), infinity), BOOL)
    return Apply("where", (finite, Apply("add", (total, error), dtype), total), dtype)


def tree(op: str, values: Sequence[Expression], dtype: DType) -> Expression:
    """Values combined pairwise, halves first."""
    items = list(values)
    half = 1
    while half < len(items):
        half *= 2
    while len(items) > 1:
        half //= 2
        joined = [Apply(op, (a, b), dtype) for a, b in zip(items, items[half:])]
        items = joined + items[len(joined) : half]
    return items[0]
