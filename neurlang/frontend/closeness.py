"""Whether arrays are equal, or nearly so."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.errors import ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    as_weak_array,
    asarray,
    common_shape,
    full,
)
from neurlang.frontend.elementwise import (
    astype,
    equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_or,
)
from neurlang.frontend.reductions import all
from neurlang.ir.types import BOOL


def _inexact(x: Any) -> Any:
    """`x` in floating point, where the magnitude of the least integer does not overflow."""
    if x.weak is not None:
        return x * 1.0
    return astype(x, np.result_type(x.dtype, 1.0))


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
    # Python numbers take the dtype of arrays, as in NumPy; operators keep them Python numbers
    operands: list[Any] = [as_weak_array(x) for x in (a, b, rtol, atol)]
    left, right, relative, absolute = operands
    wide = _inexact(right)
    near = less_equal(abs(left - wide), absolute + relative * abs(wide))
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


def array_equiv(a1: Operand, a2: Operand) -> Array:
    """Whether two arrays broadcast together and have equal elements then: one bool."""
    left, right = asarray(a1), asarray(a2)
    try:
        common_shape("array_equiv", (left, right))
    except ShapeError:
        return full((), False, BOOL)
    return all(equal(left, right))


__all__ = ["allclose", "array_equal", "array_equiv", "isclose"]
