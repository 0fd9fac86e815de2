"""Powers and roots: pow, cbrt."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import EXP2_TAIL, EXP2_WIDE, LONG_LOG_TAIL
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    INFINITY,
    NAN,
    Pair,
    at_least,
    at_most,
    divide_pairs,
    fast_two_sum,
    multiply_pairs,
    polynomial,
    power_from_bits,
    replace_where,
    rounding_shift,
    scale_by_power,
    two_product,
)
from neurlang.codegen.mathlib.logarithm import LOG2_E, split_exponent
from neurlang.codegen.writer import Value, Writer

LN2 = (0.6931471805599453, 2.3190468138462996e-17)
# 1/12 and 1/80 in two parts, the first terms of the logarithm's series.
TWELFTH = (1 / 12, 4.625929269271485e-18)
EIGHTIETH = (1 / 80, -6.938893903907229e-19)
# Beyond this, 2^t is 0 or infinite in either precision.
EXPONENT_LIMIT = 1100.0
LARGEST_POWER = {"float": 1e30, "double": 1e300}


def constant_pair(writer: Writer, parts: tuple[float, float], like: Value) -> Pair:
    """A constant of twice the precision."""
    return Pair(writer.constant(parts[0], like), writer.constant(parts[1], like))


def long_log2(writer: Writer, x: Value) -> Pair:
    """log2(x) in double-float to 68 bits, for positive finite x.

    x = 2^n (1 + f), v = f / (1 + f/2), log(1 + f) = v + v^3 (1/12 + v^2 (1/80 + v^2 q(v^2))), where
    all but q is evaluated in double-float.
    """
    one, half = writer.constant(1.0, x), writer.constant(0.5, x)
    m, n = split_exponent(writer, x)
    f = writer.fsub(m, one)
    divisor = fast_two_sum(writer, one, writer.fmul(f, half))
    v = divide_pairs(writer, Pair(f, writer.constant(0.0, x)), divisor)
    square = multiply_pairs(writer, v, v)
    rest = writer.fmul(square.high, polynomial(writer, square.high, LONG_LOG_TAIL["double"]))
    inner = add_to_constant(writer, EIGHTIETH, Pair(rest, writer.constant(0.0, x)))
    inner = add_to_constant(writer, TWELFTH, multiply_pairs(writer, square, inner))
    tail = multiply_pairs(writer, multiply_pairs(writer, v, square), inner)
    sum = fast_two_sum(writer, v.high, tail.high)
    log = Pair(sum.high, writer.fadd(sum.low, writer.fadd(v.low, tail.low)))
    log = multiply_pairs(writer, log, constant_pair(writer, LOG2_E, x))
    sum = fast_two_sum(writer, n, log.high)
    return Pair(sum.high, writer.fadd(sum.low, log.low))


def add_to_constant(writer: Writer, parts: tuple[float, float], x: Pair) -> Pair:
    """A constant of twice the precision plus a smaller pair."""
    a = constant_pair(writer, parts, x.high)
    sum = fast_two_sum(writer, a.high, x.high)
    return Pair(sum.high, writer.fadd(sum.low, writer.fadd(a.low, x.low)))


def long_exp2(writer: Writer, t: Pair) -> Value:
    """2^(t.high + t.low) for |t.high| <= EXPONENT_LIMIT, rounded once but for 2^-6 ULP."""
    shift = writer.constant(rounding_shift("double", 2 * EXPONENT_BIAS["double"]), t.high)
    shifted = writer.fadd(t.high, shift)
    fraction = writer.fsub(t.high, writer.fsub(shifted, shift))
    r = fast_two_sum(writer, fraction, t.low)
    tail = polynomial(writer, r.high, EXP2_TAIL["double"])
    slope = constant_pair(writer, LN2, t.high)
    product = multiply_pairs(writer, slope, r)
    sum = fast_two_sum(writer, writer.constant(1.0, t.high), product.high)
    low = writer.fma(writer.fmul(r.high, r.high), tail, writer.fadd(sum.low, product.low))
    return scale_by_power(writer, writer.fadd(sum.high, low), writer.float_bits(shifted))


def log2_limits(writer: Writer, x: Value, log: Value) -> Value:
    """`log`, but -inf at x = 0 and x itself where it is infinite or NaN."""
    log = writer.select(writer.fcmp("olt", x, writer.constant(INFINITY, x)), log, x)
    zero = writer.fcmp("oeq", x, writer.constant(0.0, x))
    return replace_where(writer, zero, -INFINITY, log)


def power_of_double(writer: Writer, x: Value, y: Value) -> Value:
    """x^y for x >= 0 and finite y."""
    log = long_log2(writer, x)
    high = log2_limits(writer, x, log.high)
    t = two_product(writer, y, high)
    # Where the product is huge, or log2(x) infinite, its low part has no meaning.
    limit = writer.constant(EXPONENT_LIMIT, x)
    sane = writer.fcmp("olt", writer.fabs(t.high), limit)
    low = writer.fma(y, log.low, t.low)
    low = writer.select(sane, low, writer.constant(0.0, x))
    bounded = at_most(writer, at_least(writer, t.high, -EXPONENT_LIMIT), EXPONENT_LIMIT)
    return long_exp2(writer, Pair(bounded, low))


def power_of_float(writer: Writer, x: Value, y: Value) -> Value:
    """x^y for x >= 0 and finite y, through double."""
    m, n = split_exponent(writer, x)
    f = writer.fpext(writer.fsub(m, writer.constant(1.0, x)), "double")
    tail = polynomial(writer, f, LONG_LOG_TAIL["float"])
    log = writer.fma(writer.fmul(f, f), tail, f)
    log = writer.fma(log, writer.constant(LOG2_E[0], f), writer.fpext(n, "double"))
    log = log2_limits(writer, writer.fpext(x, "double"), log)
    t = writer.fmul(writer.fpext(y, "double"), log)
    t = at_most(writer, at_least(writer, t, -1000.0), 1000.0)
    shift = writer.constant(rounding_shift("double", EXPONENT_BIAS["double"]), t)
    shifted = writer.fadd(t, shift)
    r = writer.fsub(writer.fsub(shifted, shift), t)
    p = polynomial(writer, r, EXP2_WIDE["float"])
    power = power_from_bits(writer, writer.float_bits(shifted))
    return writer.fptrunc(writer.fmul(p, power), "float")


def emit_pow(writer: Writer, x: Value, y: Value) -> Value:
    """x^y = 2^(y log2|x|) with the sign and the special values of C99 Annex F.9.4.4.

    float goes through double; double takes log2 and the product in double-float.
    Largest error measured: float 0.51 ULP, double 0.73 ULP.
    """
    limit = LARGEST_POWER[x.scalar]
    size = writer.fabs(x)
    bounded = at_most(writer, at_least(writer, y, -limit), limit)
    body = power_of_float if x.scalar == "float" else power_of_double
    result = body(writer, size, bounded)
    # y is odd if it is an integer and y / 2 is not; a large y is even.
    half = writer.fmul(y, writer.constant(0.5, y))
    integer = writer.fcmp("oeq", writer.floor(y), y)
    halves = writer.fcmp("une", writer.floor(half), half)
    odd = writer.and_(integer, halves)
    result = writer.select(odd, writer.copysign(result, x), result)
    zero, one = writer.constant(0.0, x), writer.constant(1.0, x)
    negative = writer.fcmp("olt", x, zero)
    finite = writer.fcmp("ogt", x, writer.constant(-INFINITY, x))
    fractional = writer.fcmp("one", writer.floor(y), y)
    invalid = writer.and_(fractional, writer.and_(negative, finite))
    result = replace_where(writer, invalid, NAN, result)
    trivial = writer.or_(writer.fcmp("oeq", x, one), writer.fcmp("oeq", y, zero))
    return replace_where(writer, trivial, 1.0, result)


# The high word of x^(-1/3) is about this minus a third of the high word of x; with it the first
# guess y has |1 - x y^3| < 0.1021, the least possible (found by search).
INVERSE_ROOT = 1430186360.832
HIGH_WORD = 2.0**52


def inverse_cube_root(writer: Writer, x: Value) -> Value:
    """x^(-1/3) to 43 bits for a positive normal double x.

    With e = 1 - x y^3 the root is y (1 - e)^(-1/3) = y (1 + e/3 + 2 e^2/9 + 14 e^3/81 + ...).
    """
    bits = writer.float_bits(x)
    high = writer.lshr(bits, writer.constant(32, bits))
    exponent = writer.constant((1023 + 52) << 52, bits)
    word = writer.bits_float(writer.or_(high, exponent))
    # The word is offset by 2^52; so is the result, whose low bits are then an integer.
    start = writer.constant(INVERSE_ROOT + HIGH_WORD * 4 / 3, x)
    guess = writer.float_bits(writer.fma(word, writer.constant(-1 / 3, x), start))
    y = writer.bits_float(writer.shl(guess, writer.constant(32, guess)))
    for terms in ((1 / 3, 2 / 9, 14 / 81), (1 / 3, 2 / 9)):
        e = writer.fmul(writer.fmul(y, y), x)
        e = writer.fma(writer.fneg(e), y, writer.constant(1.0, x))
        y = writer.fma(writer.fmul(y, e), polynomial(writer, e, terms), y)
    return y


def emit_cbrt(writer: Writer, x: Value) -> Value:
    """The cube root, from the inverse cube root; exact at cubes.

    float goes through double; double corrects the root once by its exact residual.
    Largest error measured: float 0.51 ULP, double 0.51 ULP.
    """
    size = writer.fabs(x)
    if x.scalar == "float":
        wide = writer.fpext(size, "double")
        y = inverse_cube_root(writer, wide)
        root = writer.fptrunc(writer.fmul(wide, writer.fmul(y, y)), "float")
    else:
        # Small and large numbers are scaled, or the residual and the cube leave the range.
        one = writer.constant(1.0, x)
        tiny = writer.fcmp("olt", size, writer.constant(2.0**-900, x))
        huge = writer.fcmp("ogt", size, writer.constant(2.0**900, x))
        scale = replace_where(writer, tiny, 2.0**180, one)
        scaled = writer.fmul(size, replace_where(writer, huge, 2.0**-180, scale))
        y = inverse_cube_root(writer, scaled)
        square = writer.fmul(y, y)
        root = writer.fmul(scaled, square)
        cube = multiply_pairs(
            writer, two_product(writer, root, root), Pair(root, writer.constant(0.0, x))
        )
        rest = writer.fsub(writer.fsub(scaled, cube.high), cube.low)
        third = writer.fmul(square, writer.constant(1 / 3, x))
        root = writer.fma(rest, third, root)
        back = replace_where(writer, tiny, 2.0**-60, one)
        root = writer.fmul(root, replace_where(writer, huge, 2.0**60, back))
    # At 0 the guess is finite, so that the root is 0; infinity and NaN return themselves.
    finite = writer.fcmp("olt", size, writer.constant(INFINITY, x))
    return writer.copysign(writer.select(finite, root, size), x)


POWER: dict[str, Callable[..., Value]] = {"pow": emit_pow, "cbrt": emit_cbrt}
