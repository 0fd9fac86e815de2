"""The inverse trigonometric functions, and those of a point in the plane: atan2, hypot."""

from __future__ import annotations

from typing import NamedTuple

from neurlang.codegen.mathlib.common import (
    INFINITY,
    at_most,
    evaluate_polynomial,
    fast_two_sum,
    polynomial,
    replace_rare,
    replace_where,
    rounding_shift,
    two_product,
)
from neurlang.codegen.mathlib.lanes import index_bits, look_up
from neurlang.codegen.mathlib.pieces import CELL_BITS, OFFSET
from neurlang.codegen.mathlib.tables import ATAN_PIECES, LONG_ATAN_CELLS, LONG_ATAN_TAIL
from neurlang.codegen.mathlib.trigonometric_coefficients import (
    ASIN,
    ASIN_SHORT,
    ATAN,
    PI,
    PI_FLOAT,
)
from neurlang.codegen.writer import Value, Writer, constant

PARTS_OF_PI = {"float": PI_FLOAT, "double": PI}
ASIN_TAIL = {"float": ASIN_SHORT, "double": ASIN}
# What a divisor that may be 0 is raised to; otherwise it is much larger.
NEARLY_ZERO = {"float": 2.0**-100, "double": 2.0**-800}
# Cells of a quotient from 0 to 1 are what is rounded down to their number, multiplied by this.
ATAN_STEPS = 15.99
# Cells of doubles end where x / ATAN_STRETCH + OFFSET has two bits after its first; the last begins
# below LAST_CELL and has no end.
ATAN_STRETCH, LAST_CELL = 0.78, 7.5
# Floats between these, and their quotients' residuals, need no scaling.
ORDINARY_SIDES = (2.0**-60, 2.0**60)
# Where atan(x) has long been pi / 2, and no product of x overflows.
FAR = 2.0**100
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
    """atan(height / width) of nonnegative doubles, of which width is not 0.

    Between 1/2 and 2, atan(h / w) = pi / 4 + atan((h - w) / (h + w)), where the difference is
    exact; above, it is pi / 2 + atan(-w / h). With e, the rounding error of the quotient q,
    atan(q + e) = q + q^3 p(q^2) + e nearly, with a minimax p: q^2 is at most 1/4. Source: Cody and
    Waite, Software manual for the elementary functions, 1980, chapter 11, with pi / 4 in place of
    its pi / 6.
    """
    zero, half = writer.constant(0.0, height), writer.constant(0.5, height)
    steep = writer.fcmp("ogt", writer.fmul(height, half), width)
    middle = writer.fcmp("ogt", height, writer.fmul(width, half))
    pi = PI[0]
    angle = replace_where(writer, middle, pi / 4, zero)
    angle = replace_where(writer, steep, pi / 2, angle)
    sum = writer.fadd(height, width)
    sum_low = writer.fsub(height, writer.fsub(sum, width))  # matters for similar sides only
    numerator = writer.select(middle, writer.fsub(height, width), height)
    numerator = writer.select(steep, writer.fneg(width), numerator)
    denominator = writer.select(middle, sum, width)
    denominator = writer.select(steep, height, denominator)
    low = writer.select(writer.xor(middle, steep), sum_low, zero)
    one = writer.constant(1.0, height)
    reciprocal = writer.fdiv(one, denominator)
    q = writer.fmul(numerator, reciprocal)
    minus_q = writer.fneg(q)
    error = writer.fma(minus_q, low, writer.fma(minus_q, denominator, numerator))
    error = writer.fmul(error, reciprocal)
    square = writer.fmul(q, q)
    tail = polynomial(writer, square, ATAN)
    rest = writer.fma(writer.fmul(q, square), tail, error)
    return AngleParts(angle, q, rest)


class CellAngle(NamedTuple):
    """value + t slope, or where `first`, q + q slope."""

    value: Value
    t: Value
    slope: Value
    first: Value


def angle_by_cells(writer: Writer, q: Value, steep: Value) -> CellAngle:
    """atan(q) of floats 0 <= q <= 1, or acot(q) where `steep`, by 16 cells of q.

    The value is nearly exact; in the first cell of atan(q), q takes its place.
    """
    # Adding this leaves the number of the cell in the low bits, that of acot being 16 higher.
    start = writer.constant(rounding_shift("float"), q)
    shift = replace_where(writer, steep, rounding_shift("float", 16), start)
    lowered = writer.fsub(q, writer.constant(0.5 / ATAN_STEPS, q))
    shifted = writer.fma(lowered, writer.constant(ATAN_STEPS, q), shift)
    index = writer.float_bits(shifted)
    middle, value, *coefficients = (look_up(writer, row, index, "float") for row in ATAN_PIECES)
    first = writer.fcmp("oeq", shifted, start)
    t = writer.fsub(q, middle)
    slope = evaluate_polynomial(writer, t, coefficients)
    return CellAngle(writer.select(first, q, value), t, slope, first)


def atan_of_float(writer: Writer, x: Value) -> Value:
    """By cells of |x| or of 1 / |x|, whose rounding does not matter beside pi / 4."""
    size = writer.fabs(x)
    one = writer.constant(1.0, x)
    steep = writer.fcmp("ogt", size, one)
    q = writer.select(steep, writer.fdiv(one, size), size)
    value, t, slope, _ = angle_by_cells(writer, q, steep)
    return writer.copysign(writer.fma(t, slope, value), x)


def atan_of_double(writer: Writer, x: Value) -> Value:
    """atan(y) = atan(c) + atan(q) with q = (y - c) / (1 + y c), y = |x| and c of a cell of y.

    The difference is exact. In the first cell c is 0 and q is y; in the last, which has no end, c
    is so large that q is -1 / y.
    """
    y = at_most(writer, writer.fabs(x), FAR)
    scaled = writer.fma(y, writer.constant(1 / ATAN_STRETCH, y), writer.constant(OFFSET, y))
    index = index_bits(writer, at_most(writer, scaled, LAST_CELL), CELL_BITS)
    middle, value = (look_up(writer, row, index, "double") for row in LONG_ATAN_CELLS)
    divisor = writer.fma(y, middle, writer.constant(1.0, y))
    q = writer.fdiv(writer.fsub(y, middle), divisor)
    square = writer.fmul(q, q)
    cube = writer.fmul(square, q)
    change = writer.fma(cube, polynomial(writer, square, LONG_ATAN_TAIL, 0), q)
    return writer.copysign(writer.fadd(value, change), x)


def emit_atan(writer: Writer, x: Value) -> Value:
    """atan(x): float by cells, see `angle_by_cells`; double as `atan_of_double`.

    Source: Tang, Table-lookup algorithms for elementary functions and their error analysis, 1991.
    Largest error measured: float 0.95 ULP, double 0.91 ULP.
    """
    return (atan_of_float if x.scalar == "float" else atan_of_double)(writer, x)


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


def ordinary_sides(writer: Writer, height: Value, width: Value) -> tuple[Value, Value, Value]:
    """Whether the height is longer, the shorter and the longer side, scaled if need be."""

    def sorted_sides(height: Value, width: Value) -> tuple[Value, Value]:
        return writer.select(steep, width, height), writer.select(steep, height, width)

    steep = writer.fcmp("ogt", height, width)
    shorter, longer = sorted_sides(height, width)
    least, most = (writer.constant(bound, height) for bound in ORDINARY_SIDES)
    rare = writer.or_(writer.fcmp("ult", shorter, least), writer.fcmp("ugt", longer, most))
    shorter, longer = replace_rare(
        writer,
        rare,
        (shorter, longer),
        lambda: sorted_sides(*normal_sides(writer, height, width)),
    )
    return steep, shorter, longer


def atan2_of_floats(writer: Writer, height: Value, width: Value, x: Value) -> Value:
    """The angle from 0 to pi of sides; the width has the sign of x.

    The quotient q of the shorter side by the longer one has a rest, to be multiplied by the
    derivative, which is near enough to 1 in the first cell, and to the slope in the others.
    """
    steep, shorter, longer = ordinary_sides(writer, height, width)
    reciprocal = writer.fdiv(writer.constant(1.0, x), longer)
    q = writer.fmul(shorter, reciprocal)
    rest = writer.fmul(writer.fma(writer.fneg(q), longer, shorter), reciprocal)
    value, t, slope, first = angle_by_cells(writer, q, steep)
    term = writer.fma(t, slope, writer.select(first, rest, writer.fmul(rest, slope)))
    sign = sign_bit(writer, x)
    value, term = (
        writer.bits_float(writer.xor(writer.float_bits(part), sign)) for part in (value, term)
    )
    zero, negative = writer.constant(0.0, x), is_negative(writer, x)
    sum = fast_two_sum(writer, replace_where(writer, negative, PI_FLOAT[0], zero), value)
    term = writer.fadd(term, replace_where(writer, negative, PI_FLOAT[1], zero))
    return writer.fadd(sum.high, writer.fadd(sum.low, term))


def emit_atan2(writer: Writer, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), with the special values of C99 Annex F.9.1.4.

    It is atan(|y| / |x|), or pi minus that where x is negative, with the sign of y: float by cells
    of the quotient, see `atan2_of_floats`; double as `angle_parts`. Largest error measured: float
    0.95 ULP, double 0.81 ULP.
    """
    height, width = writer.fabs(y), writer.fabs(x)
    if x.scalar == "float":
        return writer.copysign(atan2_of_floats(writer, height, width, x), y)
    sides = normal_sides(writer, height, width)
    angle, *terms = angle_parts(writer, *sides)
    pi = writer.constant(PARTS_OF_PI[x.scalar][0], x)
    angle = writer.select(is_negative(writer, x), writer.fsub(pi, angle), angle)
    sign = sign_bit(writer, x)
    term, rest = (writer.bits_float(writer.xor(writer.float_bits(part), sign)) for part in terms)
    return writer.copysign(add_to_angle(writer, angle, term, rest), y)


def emit_hypot(writer: Writer, x: Value, y: Value) -> Value:
    """sqrt(x^2 + y^2) with exact squares; infinite if a side is, even beside NaN.

    Sides whose squares leave the range: floats in double precision, doubles scaled. Source of the
    squares: Dekker, A floating-point technique, 1971, section 5. Largest error measured: float
    0.86 ULP, double 0.92 ULP.
    """
    x, y = writer.fabs(x), writer.fabs(y)
    if x.scalar == "float":
        return hypotenuse_of_floats(writer, x, y)
    return infinite_or(writer, x, y, scaled_hypotenuse(writer, x, y))


def infinite_or(writer: Writer, x: Value, y: Value, finite: Value) -> Value:
    """`finite`, or infinity where x >= 0 or y >= 0 is infinite."""
    infinity = writer.constant(INFINITY, x)
    infinite = writer.or_(writer.fcmp("oeq", x, infinity), writer.fcmp("oeq", y, infinity))
    return writer.select(infinite, infinity, finite)


def root_of_squares(writer: Writer, longer: Value, shorter: Value) -> Value:
    """sqrt(longer^2 + shorter^2), the sum being rounded once."""
    first, second = two_product(writer, longer, longer), two_product(writer, shorter, shorter)
    sum = fast_two_sum(writer, first.high, second.high)
    low = writer.fadd(sum.low, writer.fadd(first.low, second.low))
    return writer.sqrt(writer.fadd(sum.high, low))


def hypotenuse_of_floats(writer: Writer, x: Value, y: Value) -> Value:
    """hypot of floats x, y >= 0."""
    sides = writer.float_bits(x), writer.float_bits(y)
    longer, shorter = (writer.intrinsic(name, *sides) for name in ("umax", "umin"))
    least, most = (writer.float_bits(writer.constant(side, x)) for side in ORDINARY_SIDES)
    above = writer.sub(longer, least)  # as an unsigned number: large for a side that is short
    rare = writer.icmp("ugt", above, writer.sub(most, least))
    rare = writer.and_(rare, writer.icmp("ne", longer, writer.constant(0, longer)))

    def in_double_precision() -> tuple[Value]:
        a, b = writer.fpext(x, "double"), writer.fpext(y, "double")
        root = writer.fptrunc(writer.sqrt(writer.fma(a, a, writer.fmul(b, b))), "float")
        return (infinite_or(writer, x, y, root),)

    root = root_of_squares(writer, writer.bits_float(longer), writer.bits_float(shorter))
    return replace_rare(writer, rare, [root], in_double_precision)[0]


def scaled_hypotenuse(writer: Writer, x: Value, y: Value) -> Value:
    """hypot of doubles x, y >= 0, scaled by a power of two where squares would leave the range."""
    larger = writer.fcmp("ogt", y, x)
    a, b = writer.select(larger, y, x), writer.select(larger, x, y)
    huge = writer.fcmp("ogt", a, constant(2.0**500, a.type))
    tiny = writer.fcmp("olt", a, constant(2.0**-500, a.type))
    one = writer.constant(1.0, a)
    scale = replace_where(writer, huge, 2.0**-600, replace_where(writer, tiny, 2.0**600, one))
    unscale = replace_where(writer, huge, 2.0**600, replace_where(writer, tiny, 2.0**-600, one))
    root = root_of_squares(writer, writer.fmul(a, scale), writer.fmul(b, scale))
    return writer.fmul(root, unscale)
