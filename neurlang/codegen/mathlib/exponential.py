"""The exponential family: exp, exp2, expm1, sinh, cosh, tanh."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from neurlang.codegen.mathlib.coefficients import (
    COSH_TAIL,
    EXP2_TAIL,
    EXP_TAIL,
    EXPM1_TAIL,
    SINH_TAIL,
)
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    at_least,
    at_most,
    fast_two_sum,
    polynomial,
    power_difference,
    power_from_bits,
    replace_where,
    rounding_shift,
)
from neurlang.codegen.mathlib.lanes import index_bits, look_up, scale
from neurlang.codegen.mathlib.pieces import CELL_BITS, OFFSET, STRETCH, odd_function
from neurlang.codegen.mathlib.tables import (
    LONG_TANH_CELLS,
    LONG_TANH_DENOMINATOR,
    LONG_TANH_NUMERATOR,
    TANH_PIECES,
)
from neurlang.codegen.writer import Value, Writer

# log(2) in two parts; the high part has trailing zeros, so that n * high is exact.
LN2_HIGH = {"float": float.fromhex("0x1.62e4p-1"), "double": float.fromhex("0x1.62e42fefa3p-1")}
LN2_LOW = {
    "float": float.fromhex("0x1.7f7d1cf79abcap-20"),
    "double": float.fromhex("0x1.3de6af278ece6p-42"),
}
# Beyond these, the function is 0, infinite or -1; within, 2^n fits the exponent arithmetic.
EXP_RANGE = {"float": (-105.0, 90.0), "double": (-746.0, 711.0)}
EXP2_RANGE = {"float": (-151.0, 129.0), "double": (-1076.0, 1025.0)}
EXPM1_RANGE = {"float": (-20.0, 89.0), "double": (-40.0, 710.0)}
COSH_HIGHEST = {"float": 89.6, "double": 710.7}
# The middle of the remainders of cosh and sinh: they are from log(3/4) to log(3/2).
SHIFT = math.log(9 / 8) / 2
# That of expm1. n changes where the result's ULP does: before, the rounding of x - n log(2) would
# show. Of floats it does not, since log(2) less the nearest float is a 32nd of the float's ULP.
EXPM1_SHIFT = {"float": 0.0, "double": SHIFT}
# |x| from which the tanh of floats rounds to 1, and, with room for errors, that of doubles.
TANH_ONE, TANH_SPAN = 9.02, 19.2
# Where the first cell of the tanh of doubles ends.
TANH_FIRST = 0.75


def clamp(writer: Writer, x: Value, bounds: tuple[float, float]) -> Value:
    """x between two bounds; NaN stays NaN."""
    return at_most(writer, at_least(writer, x, bounds[0]), bounds[1])


def nearest_multiple(writer: Writer, x: Value, bias: int) -> tuple[Value, Value]:
    """n = round(x / log(2)), and an integer whose low bits hold n + bias."""
    shift = writer.constant(rounding_shift(x.scalar, bias), x)
    shifted = writer.fma(x, writer.constant(1 / math.log(2), x), shift)
    return writer.fsub(shifted, shift), writer.float_bits(shifted)


def reduce_exp(writer: Writer, x: Value, bias: int) -> tuple[Value, Value, Value]:
    """r, n and an integer ending in n + bias, with x = n log(2) + r and |r| <= log(2) / 2."""
    n, bits = nearest_multiple(writer, x, bias)
    r = writer.fma(n, writer.constant(-LN2_HIGH[x.scalar], x), x)
    return writer.fma(n, writer.constant(-LN2_LOW[x.scalar], x), r), n, bits


class Remainder(NamedTuple):
    """x - n log(2): `first`, which is exact, and a small `rest`; their sum is rounded.

    The low bits of `bits` hold n and a bias.
    """

    first: Value
    rest: Value
    sum: Value
    bits: Value


def reduce_exp_parts(writer: Writer, x: Value, bias: int, shift: float = 0.0) -> Remainder:
    """x less a multiple of log(2), at most log(2) / 2 from `shift`."""
    center = writer.fsub(x, writer.constant(shift, x)) if shift else x
    n, bits = nearest_multiple(writer, center, bias)
    first = writer.fma(n, writer.constant(-LN2_HIGH[x.scalar], x), x)
    rest = writer.fmul(n, writer.constant(-LN2_LOW[x.scalar], x))
    return Remainder(first, rest, writer.fadd(first, rest), bits)


def identity_near_zero(writer: Writer, size: Value, x: Value, otherwise: Value) -> Value:
    """x where `size`, its magnitude, is below 2^-60: keeps -0 and the last bits of subnormals."""
    tiny = writer.fcmp("olt", size, writer.constant(2.0**-60, x))
    return writer.select(tiny, x, otherwise)


def emit_exp(writer: Writer, x: Value) -> Value:
    """e^x: x = n log(2) + r, then 2^n (1 + r (1 + r q(r))) with a minimax q.

    Source: Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6.
    Largest error measured: float 0.90 ULP, double 0.91 ULP.
    """
    x = clamp(writer, x, EXP_RANGE[x.scalar])
    r, n, bits = reduce_exp(writer, x, 2 * EXPONENT_BIAS[x.scalar])
    p = polynomial(writer, r, (1.0, 1.0, *EXP_TAIL[x.scalar]))
    return scale(writer, p, n, bits)


def emit_exp2(writer: Writer, x: Value) -> Value:
    """2^x: x = n + r exactly, then 2^n (1 + r (log(2) + r q(r))) with a minimax q.

    Source: Cody and Waite, 1980, chapter 7.
    Largest error measured: float 0.88 ULP, double 0.93 ULP.
    """
    x = clamp(writer, x, EXP2_RANGE[x.scalar])
    shift = writer.constant(rounding_shift(x.scalar, 2 * EXPONENT_BIAS[x.scalar]), x)
    shifted = writer.fadd(x, shift)
    n = writer.fsub(shifted, shift)
    r = writer.fsub(x, n)
    p = polynomial(writer, r, (1.0, math.log(2), *EXP2_TAIL[x.scalar]))
    return scale(writer, p, n, writer.float_bits(shifted))


def emit_expm1(writer: Writer, x: Value) -> Value:
    """e^x - 1 = (2^n - 1) + 2^n (r + r^2 q(r)), the sum of (2^n - 1) and 2^n r taken exactly.

    Source: Tang, Table-driven implementation of the expm1 function, 1992 (without its table).
    All is done at half the size, since 2^n may overflow where the result does not.
    Largest error measured: float 0.97 ULP (of all floats), double 0.82 ULP.
    """
    clamped = clamp(writer, x, EXPM1_RANGE[x.scalar])
    r = reduce_exp_parts(writer, clamped, EXPONENT_BIAS[x.scalar] - 1, EXPM1_SHIFT[x.scalar])
    power = power_from_bits(writer, r.bits)
    second, *others = EXPM1_TAIL[x.scalar]
    square = writer.fmul(r.sum, r.sum)
    cubic = writer.fmul(square, r.sum)
    low = writer.fma(cubic, polynomial(writer, r.sum, others), r.rest)
    start = fast_two_sum(writer, power, writer.constant(-0.5, x))
    sum = fast_two_sum(writer, start.high, writer.fmul(power, r.first))
    low = writer.fma(power, low, writer.fadd(sum.low, start.low))
    # r^2 / 2 is kept apart from the smaller terms, since it is rounded only when it is added.
    middle = writer.fmul(power, writer.constant(second, x))
    result = writer.fadd(sum.high, writer.fma(middle, square, low))
    return identity_near_zero(writer, writer.fabs(x), x, writer.fadd(result, result))


def hyperbolic_sum(writer: Writer, y: Value, odd: bool) -> Value:
    """cosh(y), or sinh(y) if `odd`, for y >= 0.

    With y = n log(2) + r it is a cosh(r) + b sinh(r), where a and b are (2^n +- 2^-n) / 2, or
    -+ if `odd`; cosh(r) and sinh(r) are minimax polynomials. Half of a and b is used, since 2^n
    may overflow where the result does not. What is added to a in the end is below 2^n / 4, or
    below 2^n / 2 where the result is above 2^n, so that its rounding is an eighth of an ULP.
    """
    scalar, bias = y.scalar, EXPONENT_BIAS[y.scalar]
    r = reduce_exp_parts(writer, at_most(writer, y, COSH_HIGHEST[scalar]), bias - 2, SHIFT)
    square = writer.fmul(r.sum, r.sum)
    cosh = writer.fmul(square, polynomial(writer, square, COSH_TAIL[scalar]))
    sinh = polynomial(writer, square, SINH_TAIL[scalar])
    sinh = writer.fma(writer.fmul(square, r.sum), sinh, r.rest)
    power = power_from_bits(writer, r.bits)
    # The exponents of both add up to -4; the 2^-n of a high n would leave the range, and is 0.
    inverse = power_difference(writer, 2 * bias - 4, power)
    opposite = writer.fneg(inverse)
    a = fast_two_sum(writer, power, opposite if odd else inverse)
    b = writer.fadd(power, inverse if odd else opposite)
    rest = writer.fma(a.high, cosh, writer.fma(b, sinh, a.low))
    half = writer.fadd(a.high, writer.fma(b, r.first, rest))
    return writer.fadd(half, half)


def emit_sinh(writer: Writer, x: Value) -> Value:
    """sinh(x), see `hyperbolic_sum`.

    Largest error measured: float 0.99 ULP (of all floats), double 0.90 ULP.
    """
    y = writer.fabs(x)
    result = hyperbolic_sum(writer, y, odd=True)
    return writer.copysign(identity_near_zero(writer, y, y, result), x)


def emit_cosh(writer: Writer, x: Value) -> Value:
    """cosh(x), see `hyperbolic_sum`.

    Largest error measured: float 0.84 ULP (of all floats), double 0.94 ULP.
    """
    return hyperbolic_sum(writer, writer.fabs(x), odd=False)


def emit_tanh(writer: Writer, x: Value) -> Value:
    """tanh(x): float by cells, see `pieces`; double as `tanh_of_double`.

    Largest error measured: float 0.79 ULP, double 0.85 ULP.
    """
    if x.scalar == "float":
        return odd_function(writer, x, TANH_PIECES, TANH_ONE)
    return tanh_of_double(writer, x)


def tanh_of_double(writer: Writer, x: Value) -> Value:
    """tanh(c + t) = T + (1 - T^2) h / (1 + T h), with T = tanh(c) and h = tanh(t), c of a cell.

    h = t + t u S(u) / Q(u) with u = t^2, so that n = t Q + t u S gives T + (1 - T^2) n / (Q + T n).
    In the first cell, where c and T are 0, x is T, and t Q is left out of n: only the last sum is
    rounded by much. Cells are those of `pieces`.
    """
    y = at_most(writer, writer.fabs(x), TANH_SPAN)
    scaled = writer.fma(y, writer.constant(STRETCH / TANH_SPAN, y), writer.constant(OFFSET, y))
    index = index_bits(writer, scaled, CELL_BITS)
    middle, value = (look_up(writer, row, index, "double") for row in LONG_TANH_CELLS)
    first = writer.fcmp("olt", scaled, writer.constant(TANH_FIRST, y))
    t = writer.fsub(y, middle)
    u = writer.fmul(t, t)
    numerator = polynomial(writer, u, LONG_TANH_NUMERATOR)
    denominator = polynomial(writer, u, LONG_TANH_DENOMINATOR)
    cubic = writer.fmul(writer.fmul(t, u), numerator)
    linear = replace_where(writer, first, 0.0, t)
    n = writer.fma(linear, denominator, cubic)
    slope = writer.fma(writer.fneg(value), value, writer.constant(1.0, y))
    change = writer.fdiv(writer.fmul(slope, n), writer.fma(value, n, denominator))
    start = writer.select(first, y, value)
    return writer.copysign(writer.fadd(start, change), x)


EXPONENTIAL: dict[str, Callable[..., Value]] = {
    "exp": emit_exp,
    "exp2": emit_exp2,
    "expm1": emit_expm1,
    "sinh": emit_sinh,
    "cosh": emit_cosh,
    "tanh": emit_tanh,
}
