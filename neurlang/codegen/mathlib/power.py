"""Powers and roots: pow, cbrt."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from neurlang.codegen.mathlib.common import (
    INFINITY,
    MANTISSA_BITS,
    NAN,
    SMALLEST_NORMAL,
    fast_two_sum,
    polynomial,
    replace_rare,
    replace_where,
    rounding_shift,
    two_product,
)
from neurlang.codegen.mathlib.lanes import (
    exponent_of_normal,
    index_bits,
    is_not_finite,
    is_special,
    look_up,
    scale,
    split_positive,
)
from neurlang.codegen.mathlib.logarithm import LOG2_E, LOG2_E_FLOAT
from neurlang.codegen.mathlib.tables import (
    CBRT_CELLS,
    CBRT_TAIL,
    LONG_CBRT_CELLS,
    LONG_CBRT_TAIL,
    LONG_POW_CELLS,
    LONG_POW_EXP2,
    LONG_POW_TAIL,
    LONG_ROOTS,
    POW_CELLS,
    POW_EXP2,
    POW_TAIL,
    ROOTS,
)
from neurlang.codegen.writer import Value, Writer

# Rows by cell, the polynomial q, and log2(e) in two parts.
LOG2 = {
    "float": (POW_CELLS, POW_TAIL, LOG2_E_FLOAT),
    "double": (LONG_POW_CELLS, LONG_POW_TAIL, LOG2_E),
}
CELL_BITS = 5
# Beyond this, 2^n is 0 or infinite.
EXPONENT_LIMIT = {"float": 160.0, "double": 1100.0}
# Roots 2^(j / 16) in two parts, and the polynomial for (2^r - 1) / r.
EXP2 = {"float": (ROOTS, POW_EXP2), "double": (LONG_ROOTS, LONG_POW_EXP2)}


class Logarithm(NamedTuple):
    """An unevaluated sum high + low, and a number near it."""

    high: Value
    low: Value
    near: Value


def pair_log2(writer: Writer, x: Value) -> Logarithm:
    """log2(x) to about 33 bits of a float, 63 of a double, for positive finite x.

    With x = 2^e m, c of m's cell and r = c m - 1, which is exact, it is e - log2(c) + log2(1 + r),
    and log2(1 + r) = log2(e) (r - r^2 / 2) + r^3 q(r): its first part is a pair. Source: Tang,
    Table-driven implementation of the logarithm function, 1990, without its quotient.
    """
    (cells, highs, lows), tail, unit = LOG2[x.scalar]
    m, e = split_positive(writer, x)
    index = index_bits(writer, m, CELL_BITS)
    r = writer.fma(m, look_up(writer, cells, index, x.scalar), writer.constant(-1.0, m))
    square = two_product(writer, r, r)
    minus_half = writer.constant(-0.5, x)
    s = writer.fma(square.high, minus_half, r)
    s_low = writer.fma(square.high, minus_half, writer.fsub(r, s))
    s_low = writer.fma(square.low, minus_half, s_low)
    main = two_product(writer, s, writer.constant(unit[0], x))
    main_low = writer.fma(s, writer.constant(unit[1], x), main.low)
    main_low = writer.fma(s_low, writer.constant(unit[0], x), main_low)
    cube = writer.fmul(square.high, r)
    rest = look_up(writer, lows, index, x.scalar)
    rest = writer.fma(cube, polynomial(writer, r, tail), rest)
    start = writer.fadd(e, look_up(writer, highs, index, x.scalar))
    sum = fast_two_sum(writer, start, main.high)
    low = writer.fadd(writer.fadd(sum.low, main_low), rest)
    return Logarithm(sum.high, low, writer.fadd(sum.high, rest))


def power_of_size(writer: Writer, x: Value, y: Value) -> tuple[Value, Value]:
    """|x|^y = 2^n 2^(j / 16) 2^r by a table of roots, and n + j / 16.

    The latter comes from the logarithm's number near it, and r is what it leaves of the product,
    which is not rounded before. The power stands if |n| is at most EXPONENT_LIMIT. Else n is NaN
    or has the sign of the product, and so it is if |x| is no positive number or y no number.
    """
    log = pair_log2(writer, writer.fabs(x))
    (roots, lows), tail = EXP2[x.scalar]
    shift = writer.constant(rounding_shift(x.scalar) / 16, x)
    shifted = writer.fma(y, log.near, shift)
    n = writer.fsub(shifted, shift)
    r = writer.fma(y, log.low, writer.fma(y, log.high, writer.fneg(n)))
    index = writer.float_bits(shifted)
    root = look_up(writer, roots, index, x.scalar)
    change = writer.fmul(root, r)
    low = look_up(writer, lows, index, x.scalar)
    rest = writer.fma(change, polynomial(writer, r, tail), low)
    return scale(writer, writer.fadd(root, rest), n), n


def special_power(writer: Writer, x: Value, y: Value, power: Value, n: Value) -> Value:
    """x^y for any x and y, from the `power` and the n of `power_of_size`.

    The values are those of C99 Annex F.9.4.4.
    """
    zero, one, size = writer.constant(0.0, x), writer.constant(1.0, x), writer.fabs(x)
    infinity, bound = writer.constant(INFINITY, x), writer.constant(EXPONENT_LIMIT[x.scalar], x)
    power = writer.select(writer.fcmp("ogt", n, bound), infinity, power)
    power = writer.select(writer.fcmp("olt", n, writer.fneg(bound)), zero, power)
    # |x| is 0 or infinite, or y is infinite.
    extreme = writer.or_(is_special(writer, x), is_not_finite(writer, y))
    above, rising = writer.fcmp("ogt", size, one), writer.fcmp("ogt", y, zero)
    limit = writer.select(writer.xor(above, rising), zero, infinity)
    limit = writer.select(writer.fcmp("oeq", size, one), one, limit)
    power = writer.select(extreme, limit, power)
    # y is odd if it is an integer and y / 2 is not; a large y is even.
    half = writer.fmul(y, writer.constant(0.5, y))
    integer = writer.fcmp("oeq", writer.floor(y), y)
    odd = writer.and_(integer, writer.fcmp("une", writer.floor(half), half))
    power = writer.select(odd, writer.copysign(power, x), power)
    negative = writer.fcmp("olt", x, zero)
    finite = writer.fcmp("olt", size, infinity)
    fractional = writer.fcmp("one", writer.floor(y), y)
    invalid = writer.and_(fractional, writer.and_(negative, finite))
    invalid = writer.or_(invalid, writer.fcmp("uno", x, y))
    power = replace_where(writer, invalid, NAN, power)
    trivial = writer.or_(writer.fcmp("oeq", x, one), writer.fcmp("oeq", y, zero))
    return replace_where(writer, trivial, 1.0, power)


def emit_pow(writer: Writer, x: Value, y: Value) -> Value:
    """x^y = 2^(y log2|x|) with the sign and the special values of C99 Annex F.9.4.4.

    The logarithm and the product are in double-float. Special values are looked for only where some
    x is negative, or some n out of bounds.
    Largest error measured: float 0.79 ULP, double 0.90 ULP.
    """
    power, n = power_of_size(writer, x, y)
    negative = writer.fcmp("olt", x, writer.constant(0.0, x))
    limit = writer.constant(EXPONENT_LIMIT[x.scalar], x)
    rare = writer.or_(negative, writer.fcmp("ugt", writer.fabs(n), limit))
    return replace_rare(writer, rare, [power], lambda: [special_power(writer, x, y, power, n)])[0]


# By the cube of this, a subnormal number becomes a normal one.
SUBNORMAL_ROOT_SCALE = {"float": 2.0**8, "double": 2.0**18}
# Rows by cell, the polynomial p, and the bits of m that choose a cell.
CBRT = {
    "float": (CBRT_CELLS, CBRT_TAIL, 3),
    "double": (LONG_CBRT_CELLS, LONG_CBRT_TAIL, 2),
}


def cube_root(writer: Writer, y: Value) -> Value:
    """The root of a positive normal y = 8^k m with 1/2 <= m < 4, by cells of m.

    With r = c m - 1 it is 2^k (a + a r p(r)), a being the cube root of 1 / c, nearly exact, after
    Gal and Bachelis, An accurate elementary mathematical library, 1991.
    """
    (cells, roots), tail, bits = CBRT[y.scalar]
    shift = writer.constant(rounding_shift(y.scalar), y)
    # No third of an integer is near the middle between two, where its rounding would matter.
    k = writer.fma(exponent_of_normal(writer, y), writer.constant(1 / 3, y), shift)
    width = writer.integer_constant(MANTISSA_BITS[y.scalar], y)
    field = writer.shl(writer.float_bits(k), width)
    thrice = writer.add(writer.add(field, field), field)
    m = writer.bits_float(writer.sub(writer.float_bits(y), thrice))
    index = index_bits(writer, m, bits)
    r = writer.fma(m, look_up(writer, cells, index, y.scalar), writer.constant(-1.0, y))
    root = look_up(writer, roots, index, y.scalar)
    root = writer.fma(writer.fmul(root, r), polynomial(writer, r, tail, 0), root)
    return writer.bits_float(writer.add(writer.float_bits(root), field))


def cube_root_of_subnormal(writer: Writer, y: Value) -> Value:
    """As `cube_root`, for a positive subnormal y."""
    scale = SUBNORMAL_ROOT_SCALE[y.scalar]
    root = cube_root(writer, writer.fmul(y, writer.constant(scale**3, y)))
    return writer.fmul(root, writer.constant(1 / scale, y))


def emit_cbrt(writer: Writer, x: Value) -> Value:
    """The cube root, see `cube_root`; exact at cubes.

    Largest error measured: float 0.88 ULP, double 0.83 ULP.
    """
    size = writer.fabs(x)
    bits, least = (
        writer.float_bits(a) for a in (size, writer.constant(SMALLEST_NORMAL[x.scalar], x))
    )
    one = writer.constant(1, bits)
    subnormal = writer.icmp("ult", writer.sub(bits, one), writer.sub(least, one))
    (root,) = replace_rare(
        writer,
        subnormal,
        [cube_root(writer, size)],
        lambda: [cube_root_of_subnormal(writer, size)],
    )
    return writer.copysign(writer.select(is_special(writer, x), size, root), x)


POWER: dict[str, Callable[..., Value]] = {"pow": emit_pow, "cbrt": emit_cbrt}
