"""Whether arrays are equal, or nearly so."""

from __future__ import annotations

import numpy as np

from neurlang.frontend.array import Array, Operand, apply, asarray, full
from neurlang.frontend.elementwise import (
    absolute,
    add,
    astype,
    equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_or,
    multiply,
    subtract,
)
from neurlang.frontend.reductions import all
from neurlang.ir.types import BOOL


def isclose(
    a: Operand,
    b: Operand,
    rtol: Operand = 1e-05,
    atol: Operand = 1e-08,
    equal_nan: bool = False,
) -> Array:
    """Whether |a - b| <= atol + rtol |b|, elementwise, or both are equal (infinities, too).

    The operands broadcast together; the result is bools. ShapeError where they do not broadcast.
    """
    left, right = asarray(a), asarray(b)
    wide = astype(right, np.result_type(right.dtype, 1.0))
    limit = add(atol, multiply(rtol, absolute(wide)))
    near = less_equal(absolute(subtract(left, wide)), limit)
    result = logical_or(logical_and(near, isfinite(wide)), equal(left, wide))
    if equal_nan:
        result = logical_or(result, logical_and(isnan(left), isnan(wide)))
    return result


def allclose(
    a: Operand,
    b: Operand,
    rtol: Operand = 1e-05,
    atol: Operand = 1e-08,
    equal_nan: bool = False,
) -> Array:
    """Whether `isclose` holds everywhere: one bool. Arguments and errors as for `isclose`."""
    return all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Operand, a2: Operand, equal_nan: bool = False) -> Array:
    """Whether two arrays have one shape and equal elements: one bool."""
    left, right = asarray(a1), asarray(a2)
    if left.shape != right.shape:
        return full((), False, BOOL)
    same = equal(left, right)
    if equal_nan:
        same = apply("or", same, apply("and", isnan(left), isnan(right)))
    return all(same)


__all__ = ["allclose", "array_equal", "isclose"]
