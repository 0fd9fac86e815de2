"""Pieces that the elementary functions share: polynomials, double-float arithmetic, powers of two.

Everything is written with IEEE operations that round correctly, so that a lane's bits depend
neither on the number of lanes nor on the instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from neurlang.codegen.writer import BITS, Value, Writer, vector_type

INFINITY = float("inf")
NAN = float("nan")
MANTISSA_BITS = {"float": 23, "double": 52}
EXPONENT_BIAS = {"float": 127, "double": 1023}
LONGEST_HORNER = 7  # coefficients
CAREFUL_STEPS = 2
SMALLEST_NORMAL = {"float": 2.0**-126, "double": 2.0**-1022}


class Pair(NamedTuple):
    """An unevaluated sum high + low, with |low| at most about one ULP of high unless said."""

    high: Value
    low: Value


# polynomials


def polynomial(
    writer: Writer, x: Value, coefficients: Sequence[float], careful: int = CAREFUL_STEPS
) -> Value:
    """c[0] + c[1] x + c[2] x^2 + ..., evaluated as `evaluate_polynomial` does."""
    constants = [writer.constant(c, x) for c in coefficients]
    return evaluate_polynomial(writer, x, constants, careful)


def selected_polynomial(
    writer: Writer, condition: Value, x: Value, yes: Sequence[float], no: Sequence[float]
) -> Value:
    """The polynomial `yes` where `condition` holds, else `no`: one evaluation, chosen coefficients.

    `yes` is not the longer one. Selecting constants is cheaper than a second fma.
    """
    chosen = [
        writer.select(condition, writer.constant(a, x), writer.constant(b, x))
        for a, b in zip(yes, no)
    ]
    others = no[len(yes) :]
    if others:
        chosen.append(replace_where(writer, condition, 0.0, polynomial(writer, x, others)))
    return evaluate_polynomial(writer, x, chosen)


def evaluate_polynomial(
    writer: Writer, x: Value, coefficients: Sequence[Value], careful: int = CAREFUL_STEPS
) -> Value:
    """Horner's rule for short polynomials: the fewest instructions; Estrin's for long ones.

    A long chain of dependent fmas would leave the processor waiting. The lowest steps stay
    Horner's, so many as are `careful`: they decide the rounding error, unless the polynomial is a
    factor of something small.
    """
    horner = len(coefficients) if len(coefficients) <= LONGEST_HORNER else careful
    result = estrin(writer, x, coefficients[horner:])
    for coefficient in reversed(coefficients[:horner]):
        result = coefficient if result is None else writer.fma(result, x, coefficient)
    assert result is not None
    return result


def estrin(writer: Writer, x: Value, coefficients: Sequence[Value]) -> Value | None:
    """Neighbours are joined pair by pair, with x, x^2, x^4, ...; None without coefficients."""
    terms = list(coefficients)
    while len(terms) > 1:
        joined = [writer.fma(b, x, a) for a, b in zip(terms[::2], terms[1::2])]
        terms = joined + terms[2 * len(joined) :]
        if len(terms) > 1:
            x = writer.fmul(x, x)
    return terms[0] if terms else None


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


def multiply_pairs(writer: Writer, a: Pair, b: Pair) -> Pair:
    """a * b, not renormalised: low may exceed half an ULP of high slightly."""
    product = two_product(writer, a.high, b.high)
    low = writer.fma(a.high, b.low, writer.fma(a.low, b.high, product.low))
    return Pair(product.high, low)


def divide_pairs(writer: Writer, numerator: Pair, denominator: Pair) -> Pair:
    """numerator / denominator to about twice the working precision, not renormalised."""
    one = writer.constant(1.0, numerator.high)
    reciprocal = writer.fdiv(one, denominator.high)
    high = writer.fmul(numerator.high, reciprocal)
    negative = writer.fneg(high)
    rest = writer.fma(negative, denominator.high, numerator.high)
    rest = writer.fadd(rest, writer.fma(negative, denominator.low, numerator.low))
    return Pair(high, writer.fmul(rest, reciprocal))


# integers in floats, powers of two


def rounding_shift(scalar: str, bias: int = 0) -> float:
    """The number that, added to a small x, leaves round(x) + bias in the sum's low bits."""
    return float(3 << (MANTISSA_BITS[scalar] - 1)) + float(bias)


def power_from_bits(writer: Writer, biased: Value) -> Value:
    """2^n as a float from an integer whose low bits hold n + EXPONENT_BIAS."""
    width = 23 if biased.scalar == "i32" else 52
    return writer.bits_float(writer.shl(biased, writer.constant(width, biased)))


def power_difference(writer: Writer, biased: int, power: Value) -> Value:
    """2^(biased - EXPONENT_BIAS) / power for a power of two that is normal; 0 if the result is not.

    Exponents are in the upper 16 bits of a number, the rest of which is 0 here.
    """
    words = vector_type("i16", power.lanes * (BITS[power.scalar] // 16))
    field = writer.integer_constant(biased << MANTISSA_BITS[power.scalar], power)
    parts = [writer.pure(f"bitcast {bits} to {words}", words) for bits in (field, power)]
    difference = writer.intrinsic("usub.sat", *parts)
    return writer.pure(f"bitcast {difference} to {power.type}", power.type)


def scale_by_power(writer: Writer, x: Value, biased: Value) -> Value:
    """x * 2^n, where the low bits of the integer `biased` hold n + 2 * EXPONENT_BIAS.

    Two factors, each of about half the exponent, reach overflow and gradual underflow with one
    rounding, as |n| may pass the range of a single power of two.
    """
    half = writer.lshr(biased, writer.constant(1, biased))
    other = writer.sub(biased, half)
    x = writer.fmul(x, power_from_bits(writer, half))
    return writer.fmul(x, power_from_bits(writer, other))


# masks


def any_lane(writer: Writer, mask: Value) -> Value:
    """Whether a mask has a lane that is on, as an i1."""
    if mask.lanes == 1:
        return mask
    bits = writer.value(f"bitcast {mask} to i{mask.lanes}", f"i{mask.lanes}")
    return writer.icmp("ne", bits, Value("0", bits.type))


def replace_rare(
    writer: Writer, rare: Value, values: Sequence[Value], compute: Callable[[], Sequence[Value]]
) -> list[Value]:
    """`values`, or in lanes that are `rare` what `compute` writes, skipped where no lane is.

    The other lanes keep their values whatever their neighbours do.
    """
    origin, seldom, after = writer.block, writer.label("rare"), writer.label("after")
    writer.branch_if(any_lane(writer, rare), seldom, after)
    writer.start_block(seldom)
    chosen = [writer.select(rare, yes, no) for yes, no in zip(compute(), values)]
    end = writer.block
    writer.branch(after)
    writer.start_block(after)
    merged = []
    for usual, other in zip(values, chosen):
        phi = writer.phi(usual.type)
        writer.set_phi(phi, [(usual, origin), (other, end)])
        merged.append(phi[0])
    return merged
