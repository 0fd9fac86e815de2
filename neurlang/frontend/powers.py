"""Powers: x ** y, reciprocals, and scaling by powers of two."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.errors import DomainError
from neurlang.frontend.array import Array, Operand, apply, as_operand, cast
from neurlang.frontend.dispatch import SAME_KIND, like, prepare
from neurlang.ir.types import FLOAT64, INT64

LARGEST_UNROLLED_POWER = 64  # by 11 products at most


def square_of(x: Array) -> Array:
    """x * x."""
    return apply("mul", x, x)


def reciprocal_of(x: Array) -> Array:
    """1 / x; of integers C's conversion of the quotient, 0 but for -1, 0 and 1."""
    if x.dtype.kind == "f":
        return apply("div", like(x, 1), x)
    wide = cast(x, FLOAT64)
    return cast(apply("div", like(wide, 1), wide), x.dtype)


def _static_exponent(x: Operand) -> Any:
    """The exponents where they are known now, as a NumPy array; else None."""
    if isinstance(x, Array):
        return x.node.attrs["value"] if x.node.op == "const" else None
    return np.asarray(x)


def power(x1: Operand, x2: Operand, /, *, dtype: Any = None, casting: str = SAME_KIND) -> Array:
    """x1 to the power of x2, elementwise; integers wrap.

    The operands broadcast together; the result has NumPy's dtype (`dtype`, where given, is the one
    computed in). A single exponent of -1, 0.5 or 2 is a quotient, a root, a product, as in NumPy;
    one from 3 to 8 or from -8 to -2 is products that carry their rounding errors along: 0.50 ULP
    measured, 0.75 ULP where a float64 is subnormal. Other floats: see `emit_pow`, 0.90 ULP.
    DomainError, a ValueError, for integers to a negative power, when that is a constant or when the
    program runs; ShapeError, DTypeError.
    """
    power_operand = as_operand(x2)
    base, exponent = prepare("power", np.power, (x1, power_operand), dtype, casting)
    known = _static_exponent(power_operand)
    if base.dtype.kind != "f":
        return _integer_power(base, exponent, known)
    match known.item() if known is not None and known.size == 1 else None:
        case 2:
            return square_of(base)
        case -1:
            return reciprocal_of(base)
        case 0.5:
            return apply("sqrt", base)
        case _:
            return apply("pow", base, exponent)


def _integer_power(base: Array, exponent: Array, known: Any) -> Array:
    """By squaring where the exponent is one small number: the products wrap as the power does."""
    if known is not None and (known < 0).any():
        raise DomainError(
            "integers to negative integer powers are not allowed",
            hint="convert with astype('float64') first",
        )
    if known is None:
        return apply("pow", base, exponent)
    if known.size != 1 or known.item() > LARGEST_UNROLLED_POWER:
        return _unchecked_power(base, exponent)
    constant = int(known.item())
    result: Array | None = None
    while constant:
        if constant & 1:
            result = base if result is None else apply("mul", result, base)
        constant >>= 1
        if constant:
            base = square_of(base)
    return like(base, 1) if result is None else result


def _unchecked_power(base: Array, exponent: Array) -> Array:
    """Powers modulo 2^bits, as of unsigned integers: a program need not check their exponents."""
    unsigned = np.dtype(f"u{base.dtype.itemsize}")
    return cast(apply("pow", cast(base, unsigned), cast(exponent, unsigned)), base.dtype)


def scaled_by_power_of_two(x: Array, exponent: Array) -> Array:
    """x * 2**exponent with one rounding: the significand times two powers, both exact.

    x = m * 2**k with 1 <= |m| < 2 and t = k + exponent clamped to where the result is 0 or inf.
    m * 2**clamp(t, -1000, 1000) is exact; only the product with the rest may round.
    """
    wide = cast(x, FLOAT64)
    tiny = apply("less", apply("abs", wide), like(wide, 2.0**-1022))
    normal = apply("where", tiny, apply("mul", wide, like(wide, 2.0**54)), wide)
    bits = apply("bitcast", normal, dtype=INT64)
    field = apply("and", apply("shift_right", bits, like(bits, 52)), like(bits, 0x7FF))
    shift = apply("where", tiny, like(bits, -1023 - 54), like(bits, -1023))
    significand = apply(
        "bitcast",
        apply("or", apply("and", bits, like(bits, -0x7FF0000000000001)), like(bits, 1023 << 52)),
        dtype=FLOAT64,
    )
    bounded = _bound(cast(exponent, INT64), 5000)
    total = _bound(apply("add", apply("add", field, shift), bounded), 1100)
    first = _bound(total, 1000)
    scaled = apply("mul", significand, _power_of_two(first))
    scaled = apply("mul", scaled, _power_of_two(apply("sub", total, first)))
    magnitude = apply("abs", wide)
    ordinary = apply(
        "and",
        apply("less", like(wide, 0), magnitude),
        apply("less", magnitude, like(wide, np.inf)),
    )
    return cast(apply("where", ordinary, scaled, wide), x.dtype)


def _bound(x: Array, limit: int) -> Array:
    return apply("min", apply("max", x, like(x, -limit)), like(x, limit))


def _power_of_two(exponent: Array) -> Array:
    """2**exponent for -1022 <= exponent <= 1023, out of the bits of a float64."""
    biased = apply("add", exponent, like(exponent, 1023))
    return apply("bitcast", apply("shift_left", biased, like(biased, 52)), dtype=FLOAT64)
