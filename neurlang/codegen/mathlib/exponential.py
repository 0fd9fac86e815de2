"""The exponential family: exp, exp2, expm1, sinh, cosh, tanh."""

from __future__ import annotations

import math
from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import EXP_TAIL, TANH_EXP_TAIL, TANH_TAIL
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    at_least,
    at_most,
    polynomial,
    power_from_bits,
    replace_where,
    rounding_shift,
    scale_by_power,
    selected_polynomial,
)
from neurlang.codegen.writer import Value, Writer

# log(2) in two parts; the high part has trailing zeros, so that n * high is exact.
LN2_HIGH = {"float": float.fromhex("0x1.62e4p-1"), "double": float.fromhex("0x1.62e42fefa3p-1")}
LN2_LOW = {
    "float": float.fromhex("0x1.7f7d1cf79abcap-20"),
    "double": float.fromhex("0x1.3de6af278ece6p-42"),
}
# Beyond these, exp is 0 or infinite; within, n fits the exponent arithmetic.
EXP_LOWEST = {"float": -105.0, "double": -746.0}
EXP_HIGHEST = {"float": 90.0, "double": 711.0}


def reduce_exp(writer: Writer, x: Value, bias: int) -> tuple[Value, Value]:
    """r and an integer ending in n + bias, with x = n log(2) + r and |r| <= log(2) / 2."""
    shift = writer.constant(rounding_shift(x.scalar, bias), x)
    shifted = writer.fma(x, writer.constant(1 / math.log(2), x), shift)
    n = writer.fsub(shifted, shift)
    r = writer.fma(n, writer.constant(-LN2_HIGH[x.scalar], x), x)
    r = writer.fma(n, writer.constant(-LN2_LOW[x.scalar], x), r)
    return r, writer.float_bits(shifted)


def emit_exp(writer: Writer, x: Value) -> Value:
    """e^x: x = n log(2) + r, then 2^n (1 + r (1 + r q(r))) with a minimax q.

    Source: Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6.
    """
    scalar = x.scalar
    x = at_most(writer, at_least(writer, x, EXP_LOWEST[scalar]), EXP_HIGHEST[scalar])
    r, n = reduce_exp(writer, x, 2 * EXPONENT_BIAS[scalar])
    p = polynomial(writer, r, (1.0, 1.0, *EXP_TAIL[scalar]))
    return scale_by_power(writer, p, n)


def emit_tanh(writer: Writer, x: Value) -> Value:
    """tanh(x): near 0 an odd polynomial, else (s - 2) / s with s = e^2|x| + 1.

    Both cases evaluate one polynomial whose coefficients are selected: with h = b + b z q(z),
    the first has b = |x|, z = x^2 and h = tanh; the second b = z = r and h = e^r - 1.
    """
    scalar = x.scalar
    y = writer.fabs(x)
    square = writer.fmul(y, y)
    near = writer.fcmp("olt", square, writer.constant(TANH_NEAR[scalar], x))
    double = at_most(writer, writer.fadd(y, y), TANH_EXACT[scalar])
    r, n = reduce_exp(writer, double, EXPONENT_BIAS[scalar])
    b = writer.select(near, y, r)
    z = writer.select(near, square, r)
    q = selected_polynomial(writer, near, z, TANH_TAIL[scalar], TANH_EXP_TAIL[scalar])
    h = writer.fma(writer.fmul(b, z), q, b)
    power = power_from_bits(writer, n)
    sum = writer.fma(power, h, writer.fadd(power, writer.constant(1.0, x)))
    far = writer.fdiv(writer.fsub(sum, writer.constant(2.0, x)), sum)
    full = writer.fcmp("ogt", y, writer.constant(TANH_ONE[scalar], x))
    far = replace_where(writer, full, 1.0, far)
    return writer.copysign(writer.select(near, h, far), x)


# The square of |x| below which tanh is a polynomial; 2|x| to which e^2|x| - 1 is exact; |x| from
# which tanh rounds to 1.
TANH_NEAR = {"float": 0.39, "double": 0.36}
TANH_EXACT = {"float": 17.328, "double": 37.42}
TANH_ONE = {"float": 9.0109, "double": 19.0615}

EXPONENTIAL: dict[str, Callable[..., Value]] = {"exp": emit_exp, "tanh": emit_tanh}
