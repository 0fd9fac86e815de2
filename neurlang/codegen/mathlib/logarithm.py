"""Logarithms and inverse hyperbolics: log, log2, log10, log1p, asinh, acosh, atanh."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import LOG_RATIO_TAIL, LOG_TAIL
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    INFINITY,
    MANTISSA_BITS,
    NAN,
    SMALLEST_NORMAL,
    Pair,
    at_least,
    at_most,
    divide_pairs,
    fast_two_sum,
    polynomial,
    power_from_bits,
    replace_where,
    rounding_shift,
    through_double,
    two_product,
    two_sum,
)
from neurlang.codegen.mathlib.exponential import LN2_HIGH, LN2_LOW
from neurlang.codegen.writer import Value, Writer

ROOT_BITS = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}  # sqrt(1/2)
SUBNORMAL_SCALE = {"float": 32, "double": 64}
# (high, low) of log2(e), log10(e) and log10(2); the last one's high part has trailing zeros.
LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E = (0.4342944819032518, 1.098319650216765e-17)
LOG10_2 = (float.fromhex("0x1.34413509f7p-2"), float.fromhex("0x1.3fde623e2566bp-43"))
ONE = (1.0, 0.0)
LN2 = (LN2_HIGH["double"], LN2_LOW["double"])


def split_exponent(writer: Writer, x: Value, subnormal: bool = True) -> tuple[Value, Value]:
    """m and n (as a float) with x = 2^n m and sqrt(1/2) <= m < sqrt(2), for positive finite x.

    `subnormal` says whether x may be subnormal: such an x is scaled first.
    """
    scalar, width = x.scalar, MANTISSA_BITS[x.scalar]
    # 2 (EXPONENT_BIAS + 1) flips the sign bit, so that the exponent field becomes n + flip > 0.
    flip = 2 * (EXPONENT_BIAS[scalar] + 1)
    offset = ROOT_BITS[scalar] - (flip << width)
    start = writer.integer_constant(offset, x)
    if subnormal:
        scale = SUBNORMAL_SCALE[scalar]
        tiny = writer.fcmp("olt", x, writer.constant(SMALLEST_NORMAL[scalar], x))
        x = writer.select(tiny, writer.fmul(x, writer.constant(2.0**scale, x)), x)
        start = writer.select(tiny, writer.integer_constant(offset + (scale << width), x), start)
    shifted = writer.sub(writer.float_bits(x), start)
    fraction = writer.and_(shifted, writer.integer_constant((1 << width) - 1, x))
    m = writer.bits_float(writer.add(fraction, writer.integer_constant(ROOT_BITS[scalar], x)))
    # n + flip in the low bits of the float 2^width makes it 2^width + n + flip.
    field = writer.lshr(shifted, writer.integer_constant(width, x))
    power = writer.integer_constant((EXPONENT_BIAS[scalar] + width) << width, x)
    number = writer.bits_float(writer.or_(field, power))
    return m, writer.fsub(number, writer.constant(2.0**width + flip, x))


def finish_log(writer: Writer, x: Value, y: Value, zero: float = 0.0) -> Value:
    """y with the special values of a logarithm whose argument vanishes at x = `zero`."""
    y = writer.select(writer.fcmp("olt", x, writer.constant(INFINITY, x)), y, x)
    bound = writer.constant(zero, x)
    pole = writer.constant(-INFINITY, x)
    outside = writer.select(writer.fcmp("oeq", x, bound), pole, writer.constant(NAN, x))
    return writer.select(writer.fcmp("ogt", x, bound), y, outside)


def short_log(writer: Writer, f: Value) -> Value:
    """log(1 + f) for sqrt(1/2) <= 1 + f < sqrt(2), in double to 35 bits: enough for floats."""
    tail = polynomial(writer, f, LOG_TAIL["double"])
    return writer.fma(writer.fmul(f, f), tail, f)


def short_log1p(writer: Writer, x: Value) -> Value:
    """log(1 + x) in double to 35 bits, for -1 < x < 2^1000."""
    one = writer.constant(1.0, x)
    m, n = split_exponent(writer, writer.fadd(x, one), subnormal=False)
    unscaled = writer.fcmp("oeq", n, writer.constant(0.0, x))
    f = writer.select(unscaled, x, writer.fsub(m, one))
    return writer.fma(n, writer.constant(LN2[0] + LN2[1], x), short_log(writer, f))


def log_pair(
    writer: Writer,
    high: Value,
    low: Value | None = None,
    scale: tuple[float, float] = ONE,
    step: tuple[float, float] = LN2,
    doublings: Value | None = None,
) -> Value:
    """scale * log((high + low) 2^doublings) in double, with step = scale * log(2).

    With x = 2^n (1 + f) and v = f / (1 + f/2): log(1 + f) = v + v^3 q(v^2), summed in double-float
    to 59 bits. `low` must not matter where high is above 2^1000, nor be given below 2^-1000.
    """
    one = writer.constant(1.0, high)
    half = writer.constant(0.5, high)
    m, n = split_exponent(writer, high, subnormal=low is None)
    f = Pair(writer.fsub(m, one), writer.constant(0.0, high))
    if low is not None:
        # 2^-n of the highest n would not be a normal number.
        shift = writer.constant(rounding_shift("double", EXPONENT_BIAS["double"]), one)
        inverse = writer.fsub(shift, at_most(writer, n, 1000.0))
        low = writer.fmul(low, power_from_bits(writer, writer.float_bits(inverse)))
        f = fast_two_sum(writer, f.high, low)
    divisor = fast_two_sum(writer, one, writer.fmul(f.high, half))
    if low is not None:
        divisor = Pair(divisor.high, writer.fma(f.low, half, divisor.low))
    v = divide_pairs(writer, f, divisor)
    square = writer.fmul(v.high, v.high)
    tail = polynomial(writer, square, LOG_RATIO_TAIL["double"])
    rest = writer.fma(writer.fmul(square, v.high), tail, v.low)
    if scale != ONE:
        factor = writer.constant(scale[0], one)
        product = two_product(writer, v.high, factor)
        error = writer.fma(v.high, writer.constant(scale[1], one), product.low)
        v, rest = product, writer.fma(rest, factor, error)
    if doublings is not None:
        n = writer.fadd(n, doublings)
    sum = fast_two_sum(writer, writer.fmul(n, writer.constant(step[0], one)), v.high)
    rest = writer.fma(n, writer.constant(step[1], one), rest)
    return writer.fadd(sum.high, writer.fadd(sum.low, rest))


def emit_log(writer: Writer, x: Value) -> Value:
    """log(x) = n log(2) + log(1 + f), with x = 2^n (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2).

    float: log(1 + f) = f + f^2 q(f), minimax. double: f - v (f/2 - v^2 q(v^2)), v = f / (1 + f/2).
    Source: Tang, Table-driven implementation of the logarithm function, 1990, section 2 (without
    its table).
    Largest error measured: float 0.96 ULP, double 0.91 ULP.
    """
    m, n = split_exponent(writer, x)
    one = writer.constant(1.0, x)
    f = writer.fsub(m, one)
    rest = writer.fmul(n, writer.constant(LN2_LOW[x.scalar], x))
    if x.scalar == "float":
        tail = polynomial(writer, f, LOG_TAIL["float"])
        rest = writer.fma(writer.fmul(f, f), tail, rest)
    else:
        half = writer.constant(0.5, x)
        v = writer.fdiv(f, writer.fma(f, half, one))
        square = writer.fmul(v, v)
        tail = writer.fmul(square, polynomial(writer, square, LOG_RATIO_TAIL["double"]))
        rest = writer.fma(v, writer.fsub(tail, writer.fmul(f, half)), rest)
    high = writer.constant(LN2_HIGH[x.scalar], x)
    return finish_log(writer, x, writer.fma(n, high, writer.fadd(f, rest)))


def log_of_base(
    writer: Writer, x: Value, scale: tuple[float, float], step: tuple[float, float]
) -> Value:
    """scale * log(x), where step = scale * log(2)."""
    if x.scalar == "double":
        return finish_log(writer, x, log_pair(writer, x, scale=scale, step=step))
    m, n = split_exponent(writer, x)
    f = writer.fpext(writer.fsub(m, writer.constant(1.0, x)), "double")
    y = writer.fmul(short_log(writer, f), writer.constant(scale[0], f))
    y = writer.fma(writer.fpext(n, "double"), writer.constant(step[0] + step[1], f), y)
    return finish_log(writer, x, writer.fptrunc(y, "float"))


def emit_log2(writer: Writer, x: Value) -> Value:
    """log2(x): float through double; double as `log_pair`, exact at powers of two.

    Largest error measured: float 0.51 ULP, double 0.55 ULP.
    """
    return log_of_base(writer, x, LOG2_E, ONE)


def emit_log10(writer: Writer, x: Value) -> Value:
    """log10(x): float through double; double as `log_pair`, exact at powers of ten.

    Largest error measured: float 0.51 ULP, double 0.52 ULP.
    """
    return log_of_base(writer, x, LOG10_E, LOG10_2)


def emit_log1p(writer: Writer, x: Value) -> Value:
    """log(1 + x): float through double; double as `log_pair` of the exact sum 1 + x.

    Largest error measured: float 0.51 ULP, double 0.53 ULP.
    """
    if x.scalar == "float":
        y = through_double(writer, short_log1p, x)
    else:
        y = log_pair(writer, *two_sum(writer, writer.constant(1.0, x), x))
    return writer.copysign(finish_log(writer, x, y, -1.0), x)


def square_root_pair(writer: Writer, x: Pair) -> Pair:
    """sqrt(x) by one Newton step; 0 for 0."""
    high = writer.sqrt(x.high)
    rest = writer.fadd(writer.fma(writer.fneg(high), high, x.high), x.low)
    nonzero = at_least(writer, high, SMALLEST_NORMAL["double"])
    return Pair(high, writer.fmul(rest, writer.fdiv(writer.constant(0.5, high), nonzero)))


def short_asinh(writer: Writer, y: Value) -> Value:
    """asinh(y) = log1p(y + y^2 / (1 + sqrt(1 + y^2))) for a float y >= 0 in double."""
    one = writer.constant(1.0, y)
    square = writer.fmul(y, y)
    root = writer.sqrt(writer.fadd(square, one))
    return short_log1p(writer, writer.fadd(y, writer.fdiv(square, writer.fadd(root, one))))


def short_acosh(writer: Writer, x: Value) -> Value:
    """acosh(x) = log1p(t + sqrt(t (t + 2))) with t = x - 1, for a float x >= 1 in double."""
    t = writer.fsub(x, writer.constant(1.0, x))
    product = writer.fmul(t, writer.fadd(t, writer.constant(2.0, x)))
    return short_log1p(writer, writer.fadd(t, writer.sqrt(product)))


def short_atanh(writer: Writer, y: Value) -> Value:
    """atanh(y) = log1p(2 y / (1 - y)) / 2 for a float 0 <= y < 1 in double."""
    ratio = writer.fdiv(writer.fadd(y, y), writer.fsub(writer.constant(1.0, y), y))
    return writer.fmul(short_log1p(writer, ratio), writer.constant(0.5, y))


def log_of_sum(writer: Writer, y: Value, square_and_one: Pair) -> Value:
    """log(y + sqrt(square_and_one)), or log(2 y) where y is so large that this is the same."""
    root = square_root_pair(writer, square_and_one)
    sum = two_sum(writer, y, root.high)
    zero = writer.constant(0.0, y)
    large = writer.fcmp("ogt", y, writer.constant(2.0**30, y))
    high = writer.select(large, y, sum.high)
    low = writer.select(large, zero, writer.fadd(sum.low, root.low))
    doublings = writer.select(large, writer.constant(1.0, y), zero)
    return log_pair(writer, high, low, doublings=doublings)


def near_zero(writer: Writer, y: Value, cubic: float, otherwise: Value) -> Value:
    """y + cubic y^3 below 2^-26, where an odd function is no more than that."""
    tiny = writer.fcmp("olt", y, writer.constant(2.0**-26, y))
    cube = writer.fmul(writer.fmul(y, y), writer.fmul(y, writer.constant(cubic, y)))
    return writer.select(tiny, writer.fadd(y, cube), otherwise)


def emit_asinh(writer: Writer, x: Value) -> Value:
    """asinh(x) = log(|x| + sqrt(x^2 + 1)); double with the sum in double-float.

    Largest error measured: float 0.51 ULP, double 0.52 ULP.
    """
    y = writer.fabs(x)
    if x.scalar == "float":
        result = through_double(writer, short_asinh, y)
    else:
        square = two_product(writer, y, y)
        sum = two_sum(writer, writer.constant(1.0, x), square.high)
        sum = Pair(sum.high, writer.fadd(sum.low, square.low))
        result = near_zero(writer, y, -1 / 6, log_of_sum(writer, y, sum))
    finite = writer.fcmp("olt", y, writer.constant(INFINITY, x))
    return writer.copysign(writer.select(finite, result, y), x)


def emit_acosh(writer: Writer, x: Value) -> Value:
    """acosh(x) = log(x + sqrt(x^2 - 1)); double with the sum in double-float.

    Largest error measured: float 0.51 ULP, double 0.53 ULP.
    """
    if x.scalar == "float":
        result = through_double(writer, short_acosh, x)
    else:
        square = two_product(writer, x, x)
        sum = fast_two_sum(writer, square.high, writer.constant(-1.0, x))
        sum = Pair(sum.high, writer.fadd(sum.low, square.low))
        result = log_of_sum(writer, x, sum)
    finite = writer.fcmp("olt", x, writer.constant(INFINITY, x))
    result = writer.select(finite, result, x)
    return replace_where(writer, writer.fcmp("olt", x, writer.constant(1.0, x)), NAN, result)


def emit_atanh(writer: Writer, x: Value) -> Value:
    """atanh(x) = log((1 + |x|) / (1 - |x|)) / 2; double with the ratio in double-float.

    Largest error measured: float 0.51 ULP, double 0.52 ULP.
    """
    y = writer.fabs(x)
    one = writer.constant(1.0, x)
    if x.scalar == "float":
        result = through_double(writer, short_atanh, y)
    else:
        numerator = fast_two_sum(writer, one, y)
        denominator = fast_two_sum(writer, one, writer.fneg(y))
        log = log_pair(writer, *divide_pairs(writer, numerator, denominator))
        result = near_zero(writer, y, 1 / 3, writer.fmul(log, writer.constant(0.5, x)))
    pole = writer.fcmp("oeq", y, one)
    outside = writer.select(pole, writer.constant(INFINITY, x), writer.constant(NAN, x))
    return writer.copysign(writer.select(writer.fcmp("olt", y, one), result, outside), x)


LOGARITHM: dict[str, Callable[..., Value]] = {
    "log": emit_log,
    "log2": emit_log2,
    "log10": emit_log10,
    "log1p": emit_log1p,
    "asinh": emit_asinh,
    "acosh": emit_acosh,
    "atanh": emit_atanh,
}
