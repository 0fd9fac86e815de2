"""Floats taken apart: fraction and integer, mantissa and exponent, distance to the next."""

from __future__ import annotations

import numpy as np

from neurlang.frontend.array import Array, Operand, apply, cast
from neurlang.frontend.dispatch import like, prepare, unary

INT32 = np.dtype("int32")


def modf(x: Operand, /) -> tuple[Array, Array]:
    """The fraction and the integer that add up to `x`, both with its sign.

    `x` is an array or a scalar of any shape; both results have that shape, and the dtype of a
    float function. Of infinities the fraction is 0. Exact. DTypeError where that is float16.
    """
    (array,) = prepare("modf", np.modf, (x,))
    integer = apply("trunc", array)
    whole = apply("equal", integer, array)  # infinities, whose difference is NaN, too
    fraction = apply("where", whole, like(array, 0), apply("sub", array, integer))
    return apply("copysign", fraction, array), integer


def frexp(x: Operand, /) -> tuple[Array, Array]:
    """The mantissa of magnitude 0.5 to 1 and the exponent: `x == mantissa * 2**exponent`.

    `x` is an array or a scalar of any shape; the mantissa has that shape and the dtype of a float
    function, the exponent int32. 0, infinities and NaN are their own mantissa, with exponent 0.
    Exact, also for subnormals. DTypeError where NumPy computes in float16.
    """
    (array,) = prepare("frexp", np.frexp, (x,))
    limits = np.finfo(array.dtype)
    integer = np.dtype(f"i{array.dtype.itemsize}")
    raised = limits.nmant + 1
    small = apply("less", apply("abs", array), like(array, limits.smallest_normal))
    normal = apply("where", small, apply("mul", array, like(array, 2.0**raised)), array)
    bits = apply("bitcast", normal, dtype=integer)
    field = (2 * limits.maxexp - 1) << limits.nmant
    half = (limits.maxexp - 2) << limits.nmant
    biased = apply("shift_right", apply("and", bits, like(bits, field)), like(bits, limits.nmant))
    offset = apply(
        "where", small, like(bits, limits.maxexp - 2 + raised), like(bits, limits.maxexp - 2)
    )
    exponent = apply("sub", biased, offset)
    kept = apply("or", apply("and", bits, like(bits, ~field)), like(bits, half))
    mantissa = apply("bitcast", kept, dtype=array.dtype)
    regular = apply("less", apply("abs", array), like(array, np.inf))
    regular = apply("and", regular, apply("not", apply("equal", array, like(array, 0))))
    return (
        apply("where", regular, mantissa, array),
        apply("where", regular, cast(exponent, INT32), like(cast(exponent, INT32), 0)),
    )


def _spacing(x: Array) -> Array:
    """Away from zero, of both zeros upwards; NaN, as inf - inf, of infinities."""
    below = apply("less", x, like(x, 0))
    outwards = apply("where", below, like(x, -np.inf), like(x, np.inf))
    return apply("sub", apply("nextafter", x, outwards), x)


spacing = unary(
    "spacing", np.spacing, _spacing, "the distance to the next float away from 0, with x's sign"
)

__all__ = ["frexp", "modf", "spacing"]
