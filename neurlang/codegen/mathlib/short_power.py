"""Powers with a small constant integer exponent, as products of pairs."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

from neurlang.codegen.mathlib.common import at_least, at_most, through_double, two_product
from neurlang.codegen.writer import Value, Writer

# 2^n is infinite from the first on, and rounds to 0 at minus the second.
OVERFLOW, UNDERFLOW = 1024, 1076
# Results below 1 are computed times about 2^128, where the low words of pairs are normal numbers.
HEADROOM = 128


class Word(NamedTuple):
    """An unevaluated sum high + low; without a low word, high alone."""

    high: Value
    low: Value | None


def cross_products(writer: Writer, a: Word, b: Word, start: Value | None) -> Value | None:
    """start + a.high b.low + a.low b.high, of the terms that there are."""
    for high, low in ((a.high, b.low), (b.high, a.low)):
        if low is not None:
            product = partial(writer.fma, high, low)
            start = writer.fmul(high, low) if start is None else product(start)
    return start


def multiply(writer: Writer, a: Word, b: Word) -> Word:
    """a * b to about twice the working precision."""
    product = two_product(writer, a.high, b.high)
    return Word(product.high, cross_products(writer, a, b, product.low))


def rounded_product(writer: Writer, a: Word, b: Word) -> Value:
    """a * b, rounded once but for an error of the low words."""
    low = cross_products(writer, a, b, None)
    if low is None:
        return writer.fmul(a.high, b.high)
    return writer.fma(a.high, b.high, low)


def power_of_word(writer: Writer, base: Word, exponent: int) -> Value:
    """base^exponent for an exponent of at least 2, by squaring from its highest bit on."""
    factors: list[bool] = []  # whether a step multiplies by the base; else it squares
    for bit in f"{exponent:b}"[1:]:
        factors += [False, True] if bit == "1" else [False]
    power = base
    for by_base in factors[:-1]:
        power = multiply(writer, power, base if by_base else power)
    return rounded_product(writer, power, base if factors[-1] else power)


def float_power(writer: Writer, x: Value, exponent: int) -> Value:
    """x^exponent of doubles that are floats: plain products, whose errors a float does not show.

    The first power out of range of a double is far out of range of a float.
    """
    power = x
    for bit in f"{abs(exponent):b}"[1:]:
        power = writer.fmul(power, power)
        power = writer.fmul(power, x) if bit == "1" else power
    return power if exponent > 0 else writer.fdiv(writer.constant(1.0, x), power)


def double_power(writer: Writer, x: Value, exponent: int) -> Value:
    """|x| or its reciprocal, as a pair, to the power |exponent|.

    Sizes whose powers are 0 or infinite are clamped to others of that kind, so that only the last
    product overflows; small results are scaled, so that no low word underflows.
    """
    count = abs(exponent)
    one = writer.constant(1.0, x)
    largest, least = math.ceil(OVERFLOW / count), -math.ceil(UNDERFLOW / count)
    if exponent < 0:
        largest, least = -least, -largest
    size = at_least(writer, at_most(writer, writer.fabs(x), 2.0**largest), 2.0**least)
    small = writer.fcmp("olt" if exponent > 0 else "ogt", size, one)
    shift = math.ceil(HEADROOM / count)
    factor = writer.constant(2.0 ** (shift if exponent > 0 else -shift), x)
    size = writer.fmul(size, writer.select(small, factor, one))
    base = Word(size, None)
    if exponent < 0:
        quotient = writer.fdiv(one, size)
        rest = writer.fma(writer.fneg(quotient), size, one)
        base = Word(quotient, writer.fmul(quotient, rest))
    power = power_of_word(writer, base, count)
    back = writer.constant(2.0 ** (-shift * count), x)
    power = writer.fmul(power, writer.select(small, back, one))
    return writer.copysign(power, x) if count % 2 else power


def emit_short_power(writer: Writer, x: Value, exponent: int) -> Value:
    """x^exponent for an exponent of SHORT_EXPONENTS: products whose errors are carried along.

    Floats are multiplied as doubles. Source: Dekker, A floating-point technique for extending the
    available precision, 1971, with the error of a product by one fma.
    Largest error measured: 0.50 ULP; 0.75 ULP where a double result is subnormal.
    """
    if x.scalar == "float":
        return through_double(writer, partial(float_power, exponent=exponent), x)
    return double_power(writer, x, exponent)
