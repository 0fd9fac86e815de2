"""Powers and roots: pow, cbrt."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.common import (
    INFINITY,
    NAN,
    Pair,
    at_least,
    at_most,
    fast_two_sum,
    polynomial,
    replace_rare,
    replace_where,
    rounding_shift,
    two_product,
)
from neurlang.codegen.mathlib.lanes import (
    exponent,
    index_bits,
    is_not_finite,
    is_not_positive,
    is_special,
    look_up,
    scale,
    split_positive,
)
from neurlang.codegen.mathlib.logarithm import LOG2_E
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
    POW_LOG2,
)
from neurlang.codegen.writer import Value, Writer

# -2/3 in two parts.
TWO_THIRDS = (-2 / 3, -(2.0**-54) / 1.5)
# Beyond this, 2^t is 0 or infinite.
EXPONENT_LIMIT = 1100.0


def long_log2(writer: Writer, x: Value) -> Pair:
    """log2(x) in double-float to about 64 bits, for positive finite x.

    With x = 2^e m, c of m's cell and r = c m - 1, which is exact, it is e - log2(c) + log2(1 + r),
    and log2(1 + r) = a (1 - r / 2 (1 + r g(r))) with a = r log2(e): the terms are pairs. Source:
    Tang, Table-driven implementation of the logarithm function, 1990, without its quotient.
    """
    cells, highs, lows = LONG_POW_CELLS
    m, e = split_positive(writer, x)
    index = index_bits(writer, m, 4)
    r = writer.fma(m, look_up(writer, cells, index, "double"), writer.constant(-1.0, m))
    first = two_product(writer, r, writer.constant(LOG2_E[0], x))
    first_low = writer.fma(r, writer.constant(LOG2_E[1], x), first.low)
    half = writer.fmul(r, writer.constant(-0.5, x))
    second = two_product(writer, half, first.high)
    second_low = writer.fma(half, first_low, second.low)
    rest = writer.fmul(r, polynomial(writer, r, LONG_POW_TAIL))
    g = fast_two_sum(writer, writer.constant(TWO_THIRDS[0], x), rest)
    ratio = two_product(writer, r, g.high)
    g_low = writer.fadd(g.low, writer.constant(TWO_THIRDS[1], x))
    third = two_product(writer, second.high, ratio.high)
    third_low = writer.fma(second.high, writer.fma(r, g_low, ratio.low), third.low)
    third_low = writer.fma(second_low, ratio.high, third_low)
    high = writer.fadd(e, look_up(writer, highs, index, "double"))
    low = writer.fadd(look_up(writer, lows, index, "double"), first_low)
    low = writer.fadd(low, writer.fadd(second_low, third_low))
    for term in (first.high, second.high, third.high):
        sum = fast_two_sum(writer, high, term)
        high, low = sum.high, writer.fadd(low, sum.low)
    return Pair(high, low)


def long_exp2(writer: Writer, t: Pair) -> Value:
    """2^(t.high + t.low) for |t.high| <= EXPONENT_LIMIT: 2^n 2^(j / 16) 2^r by a table of roots."""
    roots, lows = LONG_ROOTS
    shift = writer.constant(rounding_shift("double") / 16, t.high)
    shifted = writer.fadd(t.high, shift)
    n = writer.fsub(shifted, shift)
    r = writer.fadd(writer.fsub(t.high, n), t.low)
    index = writer.float_bits(shifted)
    root = look_up(writer, roots, index, "double")
    change = writer.fmul(root, r)
    slope = polynomial(writer, r, LONG_POW_EXP2)
    rest = writer.fma(change, slope, look_up(writer, lows, index, "double"))
    return scale(writer, writer.fadd(root, rest), n)


def power_of_double(writer: Writer, x: Value, y: Value) -> Value:
    """x^y for positive finite x and finite y."""
    log = long_log2(writer, x)
    t = two_product(writer, y, log.high)
    # Where the product is huge, its low part has no meaning.
    limit = writer.constant(EXPONENT_LIMIT, x)
    sane = writer.fcmp("olt", writer.fabs(t.high), limit)
    low = writer.fma(y, log.low, t.low)
    low = writer.select(sane, low, writer.constant(0.0, x))
    bounded = at_most(writer, at_least(writer, t.high, -EXPONENT_LIMIT), EXPONENT_LIMIT)
    return long_exp2(writer, Pair(bounded, low))


def power_of_float(writer: Writer, x: Value, y: Value) -> Value:
    """x^y for positive finite x and finite y, in double precision."""
    m, e = split_positive(writer, x)
    m, e, y = (writer.fpext(a, "double") for a in (m, e, y))
    cells, logs = POW_CELLS
    index = index_bits(writer, m, 4)
    r = writer.fma(m, look_up(writer, cells, index, "double"), writer.constant(-1.0, m))
    start = writer.fadd(e, look_up(writer, logs, index, "double"))
    log = writer.fma(r, polynomial(writer, r, POW_LOG2), start)
    t = writer.fmul(y, log)
    n = writer.roundeven(t)
    # 1 is exact, and so are powers of two.
    power = polynomial(writer, writer.fsub(t, n), (1.0, *POW_EXP2))
    return writer.fptrunc(scale(writer, power, n), "float")


def special_power(writer: Writer, x: Value, y: Value, power: Value) -> Value:
    """x^y for any x and y, from the `power` of |x| where x is a number, not 0, and y is one.

    The values are those of C99 Annex F.9.4.4.
    """
    zero, one, size = writer.constant(0.0, x), writer.constant(1.0, x), writer.fabs(x)
    infinity = writer.constant(INFINITY, x)
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

    float goes through double; double takes log2 and the product in double-float. Where every x is
    positive and finite and every y finite, the special values are not looked for.
    Largest error measured: float 0.60 ULP, double 0.75 ULP.
    """
    body = power_of_float if x.scalar == "float" else power_of_double
    power = body(writer, writer.fabs(x), y)
    rare = writer.or_(is_not_positive(writer, x), is_not_finite(writer, y))
    return replace_rare(writer, rare, [power], lambda: [special_power(writer, x, y, power)])[0]


# Rows by cell, the polynomial p, and the bits of m that choose a cell.
CBRT = {
    "float": (CBRT_CELLS, CBRT_TAIL, 3),
    "double": (LONG_CBRT_CELLS, LONG_CBRT_TAIL, 2),
}


def cube_root(writer: Writer, y: Value) -> Value:
    """The root of a positive y = 8^k m with 1 <= m < 8, by cells of m.

    With r = c m - 1 it is 2^k (a + a r p(r)), a being the cube root of 1 / c, nearly exact, after
    Gal and Bachelis, An accurate elementary mathematical library, 1991.
    """
    (cells, roots), tail, bits = CBRT[y.scalar]
    # A third of an integer is far enough from the next integer for its rounding not to matter.
    tenth = writer.constant(0.1, y)
    k = writer.floor(writer.fma(exponent(writer, y), writer.constant(1 / 3, y), tenth))
    m = scale(writer, y, writer.fmul(k, writer.constant(-3.0, y)))
    index = index_bits(writer, m, bits)
    r = writer.fma(m, look_up(writer, cells, index, y.scalar), writer.constant(-1.0, y))
    root = look_up(writer, roots, index, y.scalar)
    root = writer.fma(writer.fmul(root, r), polynomial(writer, r, tail), root)
    return scale(writer, root, k)


def emit_cbrt(writer: Writer, x: Value) -> Value:
    """The cube root, see `cube_root`; exact at cubes.

    Largest error measured: float 0.88 ULP, double 0.79 ULP.
    """
    size = writer.fabs(x)
    root = writer.select(is_special(writer, x), size, cube_root(writer, size))
    return writer.copysign(root, x)


POWER: dict[str, Callable[..., Value]] = {"pow": emit_pow, "cbrt": emit_cbrt}
