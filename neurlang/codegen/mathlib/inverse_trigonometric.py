"""The inverse trigonometric functions, and those of a point in the plane: atan2, hypot."""

from __future__ import annotations

from typing import NamedTuple

from neurlang.codegen.mathlib.common import (
    INFINITY,
    at_most,
    fast_two_sum,
    polynomial,
    replace_where,
    two_product,
    two_sum,
)
from neurlang.codegen.mathlib.trigonometric_coefficients import (
    ASIN,
    ASIN_SHORT,
    ATAN,
    ATAN_SHORT,
    PI,
    PI_FLOAT,
)
from neurlang.codegen.writer import Value, Writer, constant

PARTS_OF_PI = {"float": PI_FLOAT, "double": PI}
ASIN_TAIL = {"float": ASIN_SHORT, "double": ASIN}
ATAN_TAIL = {"float": ATAN_SHORT, "double": ATAN}
# What a divisor that may be 0 is raised to; otherwise it is much larger.
NEARLY_ZERO = {"float": 2.0**-100, "double": 2.0**-800}
# Where atan(x) has long been pi / 2, and 1 / x is still normal.
FAR = 2.0**100
# 1 / (1 + t^2) is near enough to 1 + this t^2, for |t| <= 1/2.
SLOPE_OF_SLOPE = -0.9
# If the longer side is at most the first, both are multiplied by the second, else by the third:
# no sum overflows, and the residual of a quotient that is not subnormal does not underflow.
SIDE_SCALES = {"float": (2.0**48, 2.0**64, 2.0**-20), "double": (2.0**400, 2.0**600, 2.0**-100)}
# Added to a scaled side that may be 0 and is otherwise much larger.
NEARLY_ZERO_SIDE = {"float": 2.0**-115, "double": 2.0**-700}


def sign_bit(writer: Writer, x: Value) -> Value:
    """The bits of x without all but the sign."""
    bits = writer.float_bits(x)
    return writer.and_(bits, writer.constant(1 << (31 if x.scalar == "float" else 63), bits))


def is_negative(writer: Writer, x: Value) -> Value:
    """Whether the sign of x is set, that of -0 included."""
    bits = writer.float_bits(x)
    return writer.icmp("slt", bits, writer.constant(0, bits))


def add_to_angle(writer: Writer, angle: Value, term: Value, rest: Value) -> Value:
    """angle + term + rest, the angle standing for an exact multiple of pi / 4."""
    parts = PARTS_OF_PI[angle.scalar]
    sum = fast_two_sum(writer, angle, term)
    rest = writer.fma(angle, writer.constant(parts[1] / parts[0], angle), rest)
    return writer.fadd(sum.high, writer.fadd(sum.low, rest))


def arcsine_parts(writer: Writer, x: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2, and asin(u) = u + rest, where u = |x|, or sqrt((1 - |x|) / 2) if so."""
    size = writer.fabs(x)
    half = writer.constant(0.5, x)
    large = writer.fcmp("ogt", size, half)
    halved = writer.fma(size, writer.constant(-0.5, x), half)
    root = writer.sqrt(halved)
    # sqrt(h) = root + (h - root^2) / (2 root)
    missing = writer.fma(writer.fneg(root), root, halved)
    double_root = writer.fma(
        root, writer.constant(2.0, x), writer.constant(NEARLY_ZERO[x.scalar], x)
    )
    correction = writer.fdiv(missing, double_root)
    square = writer.select(large, halved, writer.fmul(size, size))
    u = writer.select(large, root, size)
    correction = writer.select(large, correction, writer.constant(0.0, x))
    tail = polynomial(writer, square, ASIN_TAIL[x.scalar])
    return large, u, writer.fma(writer.fmul(u, square), tail, correction)


def emit_asin(writer: Writer, x: Value) -> Value:
    """asin(x), a polynomial up to 1/2; pi / 2 - 2 asin(sqrt((1 - x) / 2)) above.

    The root is a pair. Source: Cody and Waite, Software manual for the elementary functions, 1980,
    chapter 10. Largest error measured: float 0.69 ULP, double 0.75 ULP.
    """
    large, u, rest = arcsine_parts(writer, x)
    one, minus_two = writer.constant(1.0, x), writer.constant(-2.0, x)
    factor = writer.select(large, minus_two, one)
    angle = replace_where(writer, large, PARTS_OF_PI[x.scalar][0] / 2, writer.constant(0.0, x))
    result = add_to_angle(writer, angle, writer.fmul(factor, u), writer.fmul(factor, rest))
    return writer.copysign(result, x)


def emit_acos(writer: Writer, x: Value) -> Value:
    """acos(x) = pi / 2 - asin(x), or 2 asin(sqrt((1 - |x|) / 2)) above 1/2, from pi below -1/2.

    Source: as for `emit_asin`. Largest error measured: float 0.66 ULP, double 0.72 ULP.
    """
    large, u, rest = arcsine_parts(writer, x)
    pi = PARTS_OF_PI[x.scalar][0]
    two, minus_one = writer.constant(2.0, x), writer.constant(-1.0, x)
    factor = writer.float_bits(writer.select(large, two, minus_one))
    factor = writer.bits_float(writer.xor(factor, sign_bit(writer, x)))
    outer = writer.select(is_negative(writer, x), writer.constant(pi, x), writer.constant(0.0, x))
    angle = writer.select(large, outer, writer.constant(pi / 2, x))
    return add_to_angle(writer, angle, writer.fmul(factor, u), writer.fmul(factor, rest))


class AngleParts(NamedTuple):
    """angle + term + rest, the angle standing for an exact multiple of pi / 4."""

    angle: Value
    term: Value
    rest: Value


def angle_parts(writer: Writer, height: Value, width: Value) -> AngleParts:
    """atan(height / width) of nonnegative numbers, of which width is not 0.

    Between 1/2 and 2, atan(h / w) = pi / 4 + atan((h - w) / (h + w)), where the difference is
    exact; above, it is pi / 2 + atan(-w / h). With e, the rounding error of the quotient q,
    atan(q + e) = q + q^3 p(q^2) + e / (1 + q^2) with a minimax p.
    """
    zero, half = writer.constant(0.0, height), writer.constant(0.5, height)
    steep = writer.fcmp("ogt", writer.fmul(height, half), width)
    middle = writer.fcmp("ogt", height, writer.fmul(width, half))
    pi = PARTS_OF_PI[height.scalar][0]
    angle = replace_where(writer, middle, pi / 4, zero)
    angle = replace_where(writer, steep, pi / 2, angle)
    sum = two_sum(writer, height, width)
    numerator = writer.select(middle, writer.fsub(height, width), height)
    numerator = writer.select(steep, writer.fneg(width), numerator)
    denominator = writer.select(middle, sum.high, width)
    denominator = writer.select(steep, height, denominator)
    low = writer.select(writer.xor(middle, steep), sum.low, zero)
    one = writer.constant(1.0, height)
    reciprocal = writer.fdiv(one, denominator)
    q = writer.fmul(numerator, reciprocal)
    minus_q = writer.fneg(q)
    error = writer.fma(minus_q, low, writer.fma(minus_q, denominator, numerator))
    error = writer.fmul(error, reciprocal)
    square = writer.fmul(q, q)
    slope = writer.fma(square, writer.constant(SLOPE_OF_SLOPE, q), one)
    tail = polynomial(writer, square, ATAN_TAIL[q.scalar])
    rest = writer.fma(writer.fmul(q, square), tail, writer.fmul(error, slope))
    return AngleParts(angle, q, rest)


def emit_atan(writer: Writer, x: Value) -> Value:
    """atan(x), see `angle_parts`.

    Source: Cody and Waite, Software manual for the elementary functions, 1980, chapter 11, with
    pi / 4 in place of its pi / 6. Largest error measured: float 0.74 ULP, double 0.71 ULP.
    """
    size = at_most(writer, writer.fabs(x), FAR)
    parts = angle_parts(writer, size, writer.constant(1.0, x))
    return writer.copysign(add_to_angle(writer, *parts), x)


def normal_sides(writer: Writer, height: Value, width: Value) -> tuple[Value, Value]:
    """Nonnegative numbers of the same ratio, for which `angle_parts` is exact enough.

    0 / 0 becomes 0 and inf / inf becomes 1; beside an infinity, finite numbers become 0.
    """
    larger = writer.select(writer.fcmp("ogt", height, width), height, width)
    one = writer.constant(1.0, height)
    infinity = writer.constant(INFINITY, height)
    limit, up, down = SIDE_SCALES[height.scalar]
    small = writer.fcmp("ole", larger, writer.constant(limit, height))
    factor = writer.select(small, writer.constant(up, height), writer.constant(down, height))
    factor = replace_where(writer, writer.fcmp("oeq", larger, infinity), 0.0, factor)
    nearly_zero = writer.constant(NEARLY_ZERO_SIDE[height.scalar], height)
    tall = writer.fmul(height, factor)
    wide = writer.fma(width, factor, nearly_zero)
    tall = writer.select(writer.fcmp("oeq", height, infinity), one, tall)
    wide = writer.select(writer.fcmp("oeq", width, infinity), one, wide)
    return tall, wide


def emit_atan2(writer: Writer, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), with the special values of C99 Annex F.9.1.4.

    It is atan(|y| / |x|), or pi minus that where x is negative, with the sign of y. Largest error
    measured: float 0.75 ULP, double 0.75 ULP.
    """
    sides = normal_sides(writer, writer.fabs(y), writer.fabs(x))
    angle, *terms = angle_parts(writer, *sides)
    pi = writer.constant(PARTS_OF_PI[x.scalar][0], x)
    angle = writer.select(is_negative(writer, x), writer.fsub(pi, angle), angle)
    sign = sign_bit(writer, x)
    term, rest = (writer.bits_float(writer.xor(writer.float_bits(part), sign)) for part in terms)
    return writer.copysign(add_to_angle(writer, angle, term, rest), y)


def emit_hypot(writer: Writer, x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2), in double precision for floats, else scaled and with exact squares.

    Infinite if a side is, even beside NaN. Source of the squares: Dekker, A floating-point
    technique, 1971, section 5. Largest error measured: float 0.50 ULP, double 0.92 ULP.
    """
    infinity = writer.constant(INFINITY, x)
    x, y = writer.fabs(x), writer.fabs(y)
    infinite = writer.or_(writer.fcmp("oeq", x, infinity), writer.fcmp("oeq", y, infinity))
    if x.scalar == "float":
        a, b = writer.fpext(x, "double"), writer.fpext(y, "double")
        root = writer.fptrunc(writer.sqrt(writer.fma(a, a, writer.fmul(b, b))), "float")
    else:
        root = scaled_hypotenuse(writer, x, y)
    return writer.select(infinite, infinity, root)


def scaled_hypotenuse(writer: Writer, x: Value, y: Value) -> Value:
    """hypot of doubles x, y >= 0, scaled by a power of two where squares would leave the range."""
    larger = writer.fcmp("ogt", y, x)
    a, b = writer.select(larger, y, x), writer.select(larger, x, y)
    huge = writer.fcmp("ogt", a, constant(2.0**500, a.type))
    tiny = writer.fcmp("olt", a, constant(2.0**-500, a.type))
    one = writer.constant(1.0, a)
    scale = replace_where(writer, huge, 2.0**-600, replace_where(writer, tiny, 2.0**600, one))
    unscale = replace_where(writer, huge, 2.0**600, replace_where(writer, tiny, 2.0**-600, one))
    a, b = writer.fmul(a, scale), writer.fmul(b, scale)
    first, second = two_product(writer, a, a), two_product(writer, b, b)
    sum = fast_two_sum(writer, first.high, second.high)
    low = writer.fadd(sum.low, writer.fadd(first.low, second.low))
    return writer.fmul(writer.sqrt(writer.fadd(sum.high, low)), unscale)
