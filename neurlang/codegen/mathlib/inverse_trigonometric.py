"""The inverse trigonometric functions, and those of a point in the plane: atan2, hypot."""

from __future__ import annotations

from neurlang.codegen.mathlib.common import (
    INFINITY,
    Pair,
    at_least,
    at_most,
    fast_two_sum,
    polynomial,
    replace_where,
    two_product,
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
# Numbers below 2 to minus this power are multiplied by 2 to this power.
TINY_POWER = {"float": 60, "double": 500}
# Where atan(x) has long been pi / 2, and 1 / x is still normal.
FAR = 2.0**100
# 1 / (1 + t^2) in the middle of 1/2 < t < 1.
MIDDLE_SLOPE = 0.65


def sign_bit(writer: Writer, x: Value) -> Value:
    """The bits of x without all but the sign."""
    bits = writer.float_bits(x)
    return writer.and_(bits, writer.constant(1 << (31 if x.scalar == "float" else 63), bits))


def is_negative(writer: Writer, x: Value) -> Value:
    """Whether the sign of x is set, that of -0 included."""
    bits = writer.float_bits(x)
    return writer.icmp("slt", bits, writer.constant(0, bits))


def add_to_angle(writer: Writer, angle: Value, term: Value, rest: Value) -> Value:
    """angle + term + rest, where the angle is 0, pi / 2 or pi and stands for the exact number."""
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
    double_root = writer.fma(root, writer.constant(2.0, x), writer.constant(NEARLY_ZERO[x.scalar], x))
    correction = writer.fdiv(missing, double_root)
    square = writer.select(large, halved, writer.fmul(size, size))
    u = writer.select(large, root, size)
    correction = writer.select(large, correction, writer.constant(0.0, x))
    tail = polynomial(writer, square, ASIN_TAIL[x.scalar])
    return large, u, writer.fma(writer.fmul(u, square), tail, correction)


def emit_asin(writer: Writer, x: Value) -> Value:
    """asin(x), or pi / 2 - 2 asin(sqrt((1 - x) / 2)) above 1/2; the root is a pair."""
    large, u, rest = arcsine_parts(writer, x)
    one, minus_two = writer.constant(1.0, x), writer.constant(-2.0, x)
    factor = writer.select(large, minus_two, one)
    angle = replace_where(writer, large, PARTS_OF_PI[x.scalar][0] / 2, writer.constant(0.0, x))
    result = add_to_angle(writer, angle, writer.fmul(factor, u), writer.fmul(factor, rest))
    return writer.copysign(result, x)


def emit_acos(writer: Writer, x: Value) -> Value:
    """acos(x) = pi / 2 - asin(x), or 2 asin(sqrt((1 - |x|) / 2)) above 1/2, from pi below -1/2."""
    large, u, rest = arcsine_parts(writer, x)
    pi = PARTS_OF_PI[x.scalar][0]
    two, minus_one = writer.constant(2.0, x), writer.constant(-1.0, x)
    factor = writer.float_bits(writer.select(large, two, minus_one))
    factor = writer.bits_float(writer.xor(factor, sign_bit(writer, x)))
    outer = writer.select(is_negative(writer, x), writer.constant(pi, x), writer.constant(0.0, x))
    angle = writer.select(large, outer, writer.constant(pi / 2, x))
    return add_to_angle(writer, angle, writer.fmul(factor, u), writer.fmul(factor, rest))


def emit_atan(writer: Writer, x: Value) -> Value:
    """atan(x), a polynomial up to 1; pi / 2 - atan(1 / x) above."""
    size = at_most(writer, writer.fabs(x), FAR)
    zero, one = writer.constant(0.0, x), writer.constant(1.0, x)
    large = writer.fcmp("ogt", size, one)
    t = writer.select(large, writer.fdiv(writer.constant(-1.0, x), size), size)
    angle = replace_where(writer, large, PARTS_OF_PI[x.scalar][0] / 2, zero)
    # -1 / size = t + t missing, which atan makes smaller by 1 / (1 + t^2)
    missing = writer.fma(t, size, one)
    slope = replace_where(writer, large, MIDDLE_SLOPE, zero)
    square = writer.fmul(t, t)
    tail = polynomial(writer, square, ATAN_TAIL[x.scalar])
    rest = writer.fmul(t, writer.fma(square, tail, writer.fmul(missing, slope)))
    return writer.copysign(add_to_angle(writer, angle, t, rest), x)


def ratio_of_sizes(writer: Writer, a: Value, b: Value) -> Pair:
    """a / b for 0 <= a <= b, low being at most about half an ULP: 0 / 0 = 0, inf / inf = 1."""
    zero, one = writer.constant(0.0, a), writer.constant(1.0, a)
    # The remainder of tiny numbers would underflow.
    power = TINY_POWER[a.scalar]
    tiny = writer.fcmp("olt", b, writer.constant(2.0**-power, b))
    scale = replace_where(writer, tiny, 2.0**power, one)
    a, b = writer.fmul(a, scale), at_least(writer, writer.fmul(b, scale), NEARLY_ZERO[a.scalar])
    reciprocal = writer.fdiv(one, b)
    quotient = writer.fmul(a, reciprocal)
    quotient = writer.select(writer.fcmp("oeq", a, b), one, quotient)
    remainder = writer.fma(writer.fneg(quotient), b, a)
    correction = writer.fmul(remainder, reciprocal)
    # NaN of infinities; where an argument is NaN, the quotient has it.
    correction = writer.select(writer.fcmp("ord", correction, zero), correction, zero)
    return fast_two_sum(writer, quotient, correction)


def emit_atan2(writer: Writer, y: Value, x: Value) -> Value:
    """The angle of the point (x, y): atan(min / max) of |y| and |x|, moved to its octant."""
    height, width = writer.fabs(y), writer.fabs(x)
    steep = writer.fcmp("ogt", height, width)
    smaller, larger = writer.select(steep, width, height), writer.select(steep, height, width)
    t = ratio_of_sizes(writer, smaller, larger)
    pi, zero = writer.constant(PARTS_OF_PI[x.scalar][0], x), writer.constant(0.0, x)
    angle = writer.select(is_negative(writer, x), pi, zero)
    angle = replace_where(writer, steep, PARTS_OF_PI[x.scalar][0] / 2, angle)
    square = writer.fmul(t.high, t.high)
    tail = polynomial(writer, square, ATAN_TAIL[x.scalar])
    # atan(t + e) = atan(t) + e / (1 + t^2), and 1 / (1 + t^2) is near enough to 1 - t^2 / 2
    slope = writer.fma(square, writer.constant(-0.5, x), writer.constant(1.0, x))
    rest = writer.fma(writer.fmul(t.high, square), tail, writer.fmul(t.low, slope))
    # From pi / 2 and from pi the angle is measured backwards.
    sign = sign_bit(writer, writer.select(steep, writer.fneg(x), x))
    term, rest = (
        writer.bits_float(writer.xor(writer.float_bits(part), sign)) for part in (t.high, rest)
    )
    return writer.copysign(add_to_angle(writer, angle, term, rest), y)


def emit_hypot(writer: Writer, x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2), in double precision for floats, else scaled and with exact squares."""
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
