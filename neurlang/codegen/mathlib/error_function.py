"""The error function and its complement: erf, erfc."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import (
    ERF_TAIL,
    ERFC,
    ERFC_RATE,
    EXP2_SHORT,
    EXP2_WIDE,
    EXPM1_TAIL,
)
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    Pair,
    at_most,
    divide_pairs,
    fast_two_sum,
    multiply_pairs,
    polynomial,
    power_from_bits,
    rounding_shift,
    scale_by_power,
    selected_polynomial,
    through_double,
    two_product,
    two_sum,
)
from neurlang.codegen.mathlib.exponential import reduce_exp_pair
from neurlang.codegen.writer import Value, Writer

# The square of |x| below which erf is an odd polynomial, and |x| from which it rounds to 1.
ERF_NEAR = {"float": 0.9, "double": 0.9}
ERF_ONE = {"float": 4.0, "double": 6.0}
# Beyond these |x|, erfc rounds to 0.
ERFC_ZERO = {"float": 10.1, "double": 27.3}
# (1 + 2 x) e^(x^2) erfc(x) at x = 4, in two parts.
SCALED_ERFC = (float.fromhex("0x1.3ba5916e9fd7fp+0"), float.fromhex("-0x1.aa9c415679e6fp-55"))


def emit_erf(writer: Writer, x: Value) -> Value:
    """erf(x): near 0 an odd polynomial x + x p(x^2), else 1 - 2^(-|x| q(|x|)); p and q minimax.

    Both cases evaluate one polynomial, the tail of p or of q, whose coefficients are selected.
    Largest error measured: float 0.87 ULP, double 0.91 ULP.
    """
    scalar = x.scalar
    y = at_most(writer, writer.fabs(x), ERF_ONE[scalar])
    square = writer.fmul(y, y)
    near = writer.fcmp("olt", square, writer.constant(ERF_NEAR[scalar], x))
    z = writer.select(near, square, y)
    (a0, a1, *a), (b0, b1, *b) = ERF_TAIL[scalar], ERFC_RATE[scalar]
    tail = selected_polynomial(writer, near, z, a, b)
    # a0 + a1 u and u^2 tail nearly cancel: the middle term comes last, or its rounding shows.
    p = writer.fma(writer.fmul(square, square), tail, writer.constant(a0, x))
    p = writer.fma(square, writer.constant(a1, x), p)
    inner = writer.fma(y, tail, writer.constant(b1, x))
    first = writer.constant(b0, x)
    q = writer.fma(y, inner, first)
    q_error = writer.fma(y, inner, writer.fsub(first, q))
    shift = writer.constant(rounding_shift(scalar, EXPONENT_BIAS[scalar]), x)
    shifted = writer.fma(writer.fneg(y), q, shift)
    fraction = writer.fma(y, q, writer.fsub(shifted, shift))
    fraction = writer.fma(y, q_error, fraction)
    complement = polynomial(writer, fraction, EXP2_SHORT[scalar])
    power = power_from_bits(writer, writer.float_bits(shifted))
    far = writer.fma(writer.fneg(power), complement, writer.constant(1.0, x))
    return writer.copysign(writer.select(near, writer.fma(y, p, y), far), x)


def erfc_of_float(writer: Writer, y: Value) -> Value:
    """erfc(y) = 2^(-y q(y)) in double to 27 bits, for 0 <= y <= 10.1."""
    q = polynomial(writer, y, ERFC["float"])
    shift = writer.constant(rounding_shift("double", EXPONENT_BIAS["double"]), y)
    shifted = writer.fma(writer.fneg(y), q, shift)
    fraction = writer.fma(y, q, writer.fsub(shifted, shift))
    power = power_from_bits(writer, writer.float_bits(shifted))
    return writer.fmul(power, polynomial(writer, fraction, EXP2_WIDE["float"]))


def erfc_of_double(writer: Writer, y: Value) -> Value:
    """erfc(y) = e^(-y^2) g(t) / (1 + 2 y) with t = (y - 4) / (y + 4), for 0 <= y <= 27.3.

    g is a minimax polynomial; squares, quotient and exponential are double-float.
    """
    one, two, four = (writer.constant(c, y) for c in (1.0, 2.0, 4.0))
    t = writer.fdiv(writer.fsub(y, four), writer.fadd(y, four))
    product = writer.fmul(t, polynomial(writer, t, ERFC["double"]))
    g = fast_two_sum(writer, writer.constant(SCALED_ERFC[0], y), product)
    g = Pair(g.high, writer.fadd(g.low, writer.constant(SCALED_ERFC[1], y)))
    factor = divide_pairs(writer, g, two_sum(writer, one, writer.fmul(two, y)))
    square = two_product(writer, y, writer.fneg(y))
    r, _, n = reduce_exp_pair(writer, square.high, 2 * EXPONENT_BIAS["double"])
    low = writer.fadd(r.low, square.low)
    tail = polynomial(writer, r.high, EXPM1_TAIL["double"])
    exp = fast_two_sum(writer, one, r.high)
    # e^(r + low) = e^r + low e^r and e^r = 1 + r + r^2 q(r)
    rest = writer.fma(writer.fmul(r.high, r.high), tail, exp.low)
    rest = writer.fma(low, writer.fadd(exp.high, rest), rest)
    exp = fast_two_sum(writer, exp.high, rest)
    result = multiply_pairs(writer, exp, factor)
    return scale_by_power(writer, writer.fadd(result.high, result.low), n)


def erfc_near_zero(writer: Writer, x: Value) -> Value:
    """1 - x - x p(x^2) for a double |x| < 0.6, with 1 - x exact."""
    sum = fast_two_sum(writer, writer.constant(1.0, x), writer.fneg(x))
    p = polynomial(writer, writer.fmul(x, x), ERF_TAIL["double"])
    return writer.fadd(sum.high, writer.fma(writer.fneg(x), p, sum.low))


def emit_erfc(writer: Writer, x: Value) -> Value:
    """erfc(x) = 1 - erf(x): of |x| as `erfc_of_float`, `erfc_of_double`; 2 - erfc(-x) below 0.

    Source for double: Shepherd and Laframboise, Chebyshev approximation of (1 + 2 x) exp(x^2)
    erfc(x), 1981.
    Largest error measured: float 0.78 ULP, double 0.97 ULP.
    """
    size = writer.fabs(x)
    y = at_most(writer, size, ERFC_ZERO[x.scalar])
    if x.scalar == "float":
        result = through_double(writer, erfc_of_float, y)
    else:
        result = erfc_of_double(writer, y)
    reflected = writer.fsub(writer.constant(2.0, x), result)
    negative = writer.fcmp("olt", x, writer.constant(0.0, x))
    result = writer.select(negative, reflected, result)
    if x.scalar == "float":
        return result
    near = writer.fcmp("olt", size, writer.constant(0.6, x))
    return writer.select(near, erfc_near_zero(writer, x), result)


ERROR_FUNCTION: dict[str, Callable[..., Value]] = {"erf": emit_erf, "erfc": emit_erfc}
