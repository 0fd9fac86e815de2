"""Pieces that the elementary functions share: polynomials, double-float arithmetic, powers of two.

Everything is written with IEEE operations that round correctly, so that a lane's bits depend
neither on the number of lanes nor on the instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurlang.codegen.writer import Value, Writer

INFINITY = float("inf")
NAN = float("nan")
MANTISSA_BITS = {"float": 23, "double": 52}
EXPONENT_BIAS = {"float": 127, "double": 1023}
SMALLEST_NORMAL = {"float": 2.0**-126, "double": 2.0**-1022}


class Pair(NamedTuple):
    """An unevaluated sum high + low, with |low| at most about one ULP of high."""

    high: Value
    low: Value


# polynomials


def polynomial(writer: Writer, x: Value, coefficients: Sequence[float]) -> Value:
    """c[0] + c[1] x + c[2] x^2 + ... by Horner's rule, one fma per step.

    Horner needs the fewest instructions; a loop's iterations overlap, which hides its latency.
    """
    result = writer.constant(coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = writer.fma(result, x, writer.constant(coefficient, x))
    return result


def selected_polynomial(
    writer: Writer, condition: Value, x: Value, yes: Sequence[float], no: Sequence[float]
) -> Value:
    """The polynomial `yes` where `condition` holds, else `no`: one evaluation, chosen coefficients.

    Both have the same number of coefficients. Selecting constants is cheaper than a second fma.
    """
    result: Value | None = None
    for a, b in zip(reversed(yes), reversed(no), strict=True):
        chosen = writer.select(condition, writer.constant(a, x), writer.constant(b, x))
        result = chosen if result is None else writer.fma(result, x, chosen)
    assert result is not None
    return result


# limits and special values


def at_most(writer: Writer, x: Value, limit: float) -> Value:
    """min(x, limit); NaN stays NaN."""
    bound = writer.constant(limit, x)
    return writer.select(writer.fcmp("olt", bound, x), bound, x)


def at_least(writer: Writer, x: Value, limit: float) -> Value:
    """max(x, limit); NaN stays NaN."""
    bound = writer.constant(limit, x)
    return writer.select(writer.fcmp("ogt", bound, x), bound, x)


def replace_where(writer: Writer, condition: Value, number: float, x: Value) -> Value:
    """`number` where `condition` holds, else x."""
    return writer.select(condition, writer.constant(number, x), x)


def through_double(writer: Writer, body: Callable[..., Value], *arguments: Value) -> Value:
    """`body` evaluated in double precision on float arguments, rounded back to float."""
    wide = (writer.fpext(argument, "double") for argument in arguments)
    return writer.fptrunc(body(writer, *wide), "float")


# double-float arithmetic


def fast_two_sum(writer: Writer, a: Value, b: Value) -> Pair:
    """a + b exactly, if |a| >= |b| or a is 0 (Dekker, A floating-point technique, 1971)."""
    high = writer.fadd(a, b)
    return Pair(high, writer.fsub(b, writer.fsub(high, a)))


def two_sum(writer: Writer, a: Value, b: Value) -> Pair:
    """a + b exactly (Knuth, The Art of Computer Programming 2, 1969, section 4.2.2)."""
    high = writer.fadd(a, b)
    b_part = writer.fsub(high, a)
    a_part = writer.fsub(high, b_part)
    return Pair(high, writer.fadd(writer.fsub(a, a_part), writer.fsub(b, b_part)))


def two_product(writer: Writer, a: Value, b: Value) -> Pair:
    """a * b exactly, short of underflow."""
    high = writer.fmul(a, b)
    return Pair(high, writer.fma(a, b, writer.fneg(high)))


def add_pairs(writer: Writer, a: Pair, b: Pair) -> Pair:
    """a + b, where |a.high| >= |b.high| or a.high is 0."""
    total = fast_two_sum(writer, a.high, b.high)
    low = writer.fadd(total.low, writer.fadd(a.low, b.low))
    return fast_two_sum(writer, total.high, low)


def multiply_pairs(writer: Writer, a: Pair, b: Pair) -> Pair:
    """a * b, not renormalised: low may exceed half an ULP of high slightly."""
    product = two_product(writer, a.high, b.high)
    low = writer.fma(a.high, b.low, writer.fma(a.low, b.high, product.low))
    return Pair(product.high, low)


def divide_pairs(writer: Writer, numerator: Pair, denominator: Pair) -> Pair:
    """numerator / denominator to about twice the working precision."""
    one = writer.constant(1.0, numerator.high)
    reciprocal = writer.fdiv(one, denominator.high)
    high = writer.fmul(numerator.high, reciprocal)
    negative = writer.fneg(high)
    rest = writer.fma(negative, denominator.high, numerator.high)
    rest = writer.fadd(rest, writer.fma(negative, denominator.low, numerator.low))
    return fast_two_sum(writer, high, writer.fmul(rest, reciprocal))


# integers in floats, powers of two


def rounding_shift(scalar: str, bias: int = 0) -> float:
    """The number that, added to a small x, leaves round(x) + bias in the sum's low bits."""
    return float(3 << (MANTISSA_BITS[scalar] - 1)) + float(bias)


def power_from_bits(writer: Writer, biased: Value) -> Value:
    """2^n as a float from an integer whose low bits hold n + EXPONENT_BIAS."""
    width = 23 if biased.scalar == "i32" else 52
    return writer.bits_float(writer.shl(biased, writer.constant(width, biased)))


def scale_by_power(writer: Writer, x: Value, biased: Value) -> Value:
    """x * 2^n, where the low bits of the integer `biased` hold n + 2 * EXPONENT_BIAS.

    Two factors, each of about half the exponent, reach overflow and gradual underflow with one
    rounding, as |n| may pass the range of a single power of two.
    """
    half = writer.lshr(biased, writer.constant(1, biased))
    other = writer.sub(biased, half)
    x = writer.fmul(x, power_from_bits(writer, half))
    return writer.fmul(x, power_from_bits(writer, other))
