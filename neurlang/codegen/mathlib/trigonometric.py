"""Sine, cosine and tangent, and the table of all trigonometric functions."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.angle_reduction import (
    HALF_TURNS,
    ODD_QUARTER_TURNS,
    QUARTER_TURNS,
    Grid,
    Reduction,
    reduce_angle,
)
from neurlang.codegen.mathlib.common import Pair, polynomial, two_product
from neurlang.codegen.mathlib.inverse_trigonometric import (
    emit_acos,
    emit_asin,
    emit_atan,
    emit_atan2,
    emit_hypot,
)
from neurlang.codegen.mathlib.trigonometric_coefficients import (
    COS,
    SIN,
    SIN_SHORT,
    TAN_DENOMINATOR,
    TAN_NUMERATOR,
    TAN_SHORT_DENOMINATOR,
    TAN_SHORT_NUMERATOR,
)
from neurlang.codegen.writer import Value, Writer


def is_odd(writer: Writer, count: Value) -> Value:
    """Whether the lowest bit of `count` is set."""
    low_bit = writer.and_(count, writer.constant(1, count))
    return writer.icmp("ne", low_bit, writer.constant(0, count))


def flip_sign(writer: Writer, x: Value, count: Value, bit: int) -> Value:
    """-x where that bit of `count` is set."""
    sign = writer.shl(count, writer.constant(63 - bit, count))
    if bit:
        sign = writer.and_(sign, writer.constant(-(1 << 63), count))
    return writer.bits_float(writer.xor(writer.float_bits(x), sign))


def sine_of_float(writer: Writer, x: Value, grid: Grid) -> Value:
    """(-1)^n sin(r) in double precision, with a polynomial for |r| <= pi / 2."""
    r, _, n = reduce_angle(writer, x, grid)
    tail = (1.0, *SIN_SHORT)
    quotient = polynomial(writer, writer.fmul(r, r), tail)
    return writer.fptrunc(flip_sign(writer, writer.fmul(r, quotient), n, 0), "float")


def sine_parts(writer: Writer, reduction: Reduction, square: Value) -> Pair:
    """sin(remainder - excess) as remainder - second."""
    r, excess, _ = reduction
    cube = writer.fmul(r, square)
    return Pair(r, writer.fma(cube, polynomial(writer, square, SIN), excess))


def cosine_parts(writer: Writer, reduction: Reduction, square: Value) -> Pair:
    """cos(remainder - excess) as first + second, where first = 1 - square / 2 rounded."""
    r, excess, _ = reduction
    half, one = writer.constant(-0.5, square), writer.constant(1.0, square)
    first = writer.fma(square, half, one)
    rest = writer.fma(square, half, writer.fsub(one, first))
    rest = writer.fma(r, excess, rest)
    quartic = writer.fmul(square, square)
    return Pair(first, writer.fma(quartic, polynomial(writer, square, COS), rest))


def sine_of_double(writer: Writer, x: Value, quarters: int) -> Value:
    """sin(x + quarters * pi / 2)."""
    reduction = reduce_angle(writer, x, QUARTER_TURNS)
    r, _, n = reduction
    if quarters:
        n = writer.add(n, writer.constant(quarters, n))
    square = writer.fmul(r, r)
    sine = sine_parts(writer, reduction, square)
    cosine = cosine_parts(writer, reduction, square)
    chosen = writer.select(
        is_odd(writer, n),
        writer.fadd(cosine.high, cosine.low),
        writer.fsub(sine.high, sine.low),
    )
    return flip_sign(writer, chosen, n, 1)


def emit_sin(writer: Writer, x: Value) -> Value:
    """sin(x), from the distance r of x to the nearest multiple of pi or of pi / 2.

    Floats: (-1)^n sin(r) with one polynomial for |r| <= pi / 2, in double precision. Doubles:
    sin(r) or cos(r) with polynomials for |r| <= pi / 4, r being a pair. For huge x see
    `angle_reduction`. Source: Cody and Waite, Software manual for the elementary functions, 1980,
    chapter 8. Largest error measured: float 0.61 ULP, double 0.83 ULP.
    """
    if x.scalar == "float":
        return sine_of_float(writer, x, HALF_TURNS)
    return sine_of_double(writer, x, 0)


def emit_cos(writer: Writer, x: Value) -> Value:
    """cos(x) = sin(x + pi / 2), see `emit_sin`; the quarter turn is added in the reduction.

    Largest error measured: float 0.61 ULP, double 0.84 ULP.
    """
    if x.scalar == "float":
        return sine_of_float(writer, x, ODD_QUARTER_TURNS)
    return sine_of_double(writer, x, 1)


def emit_tan(writer: Writer, x: Value) -> Value:
    """tan(x) of the distance from a multiple of pi / 2; -1 over that if it is odd.

    Quotients of minimax polynomials; floats in double precision. Source: Cody and Waite, Software
    manual for the elementary functions, 1980, chapter 9. Largest error measured: float 0.74 ULP,
    double 0.97 ULP.
    """
    reduction = reduce_angle(writer, x, QUARTER_TURNS)
    odd = is_odd(writer, reduction.steps)
    if x.scalar == "double":
        b, d = tangent_parts(writer, reduction)
        top = Pair(*(writer.select(odd, low, high) for low, high in zip(d, b)))
        bottom = Pair(*(writer.select(odd, high, low) for low, high in zip(d, b)))
        return flip_sign(writer, quotient_of_pairs(writer, top, bottom), reduction.steps, 0)
    r = reduction.remainder
    square = writer.fmul(r, r)
    numerator = writer.fmul(r, polynomial(writer, square, TAN_SHORT_NUMERATOR))
    denominator = polynomial(writer, square, TAN_SHORT_DENOMINATOR)
    dividend = writer.select(odd, denominator, numerator)
    divisor = writer.select(odd, writer.fneg(numerator), denominator)
    return writer.fptrunc(writer.fdiv(dividend, divisor), "float")


def tangent_parts(writer: Writer, reduction: Reduction) -> tuple[Pair, Pair]:
    """tan(remainder - excess) as a quotient b / d.

    With s = r^2 it is r (d(s) + s p(s)) / d(s), where p and d are polynomials; the factor and the
    product are pairs.
    """
    r, excess, _ = reduction
    square = two_product(writer, r, r)
    s = square.high
    p, d = (polynomial(writer, s, row) for row in (TAN_NUMERATOR, TAN_DENOMINATOR))
    factor = writer.fma(s, p, d)
    rest = writer.fma(s, p, writer.fsub(d, factor))  # the difference is exact
    # What is small needs no exact slope: d (tan(r) / r)' is about 0.42 where it matters, and
    # d (1 + tan(r)^2) about 1 + 0.68 s.
    rest = writer.fma(square.low, writer.constant(0.42, r), rest)
    slope = writer.fma(s, writer.constant(0.68, r), writer.constant(1.0, r))
    b = two_product(writer, r, factor)
    low = writer.fma(r, rest, writer.fmul(writer.fneg(excess), slope))
    return Pair(b.high, writer.fadd(b.low, low)), Pair(d, writer.constant(0.0, r))


def quotient_of_pairs(writer: Writer, top: Pair, bottom: Pair) -> Value:
    """top / bottom, rounded almost correctly; -0 if top is. Low parts may be larger than an ULP.

    Next to a multiple of pi / 2 the low part of b is: the excess is no rounding error there.
    """
    one, divisor = writer.constant(1.0, top.high), writer.fadd(bottom.high, bottom.low)
    reciprocal = writer.fdiv(one, divisor)
    quotient = writer.fmul(top.high, reciprocal)
    surplus = writer.fma(quotient, bottom.high, writer.fneg(top.high))
    rest = writer.fma(quotient, bottom.low, writer.fneg(top.low))
    surplus = writer.fadd(surplus, rest)
    return writer.fma(writer.fneg(surplus), reciprocal, quotient)


TRIGONOMETRIC: dict[str, Callable[..., Value]] = {
    "sin": emit_sin,
    "cos": emit_cos,
    "tan": emit_tan,
    "asin": emit_asin,
    "acos": emit_acos,
    "atan": emit_atan,
    "atan2": emit_atan2,
    "hypot": emit_hypot,
}
