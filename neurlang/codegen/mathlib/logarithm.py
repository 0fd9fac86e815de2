"""Logarithms: log, log2, log10, log1p."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    MANTISSA_BITS,
    NAN,
    Pair,
    at_most,
    polynomial,
    replace_where,
    two_product,
)
from neurlang.codegen.mathlib.lanes import (
    exponent,
    index_bits,
    is_special,
    look_up,
    scale,
    split_positive,
)
from neurlang.codegen.mathlib.tables import (
    LOG2_CELL_TAIL,
    LOG2_CELLS,
    LOG10_CELL_TAIL,
    LOG10_CELLS,
    LOG_CELL_TAIL,
    LOG_CELLS,
    LONG_LOG2_CELL_TAIL,
    LONG_LOG2_CELLS,
    LONG_LOG10_CELL_TAIL,
    LONG_LOG10_CELLS,
    LONG_LOG_CELL_TAIL,
    LONG_LOG_CELLS,
)
from neurlang.codegen.writer import Value, Writer

# log2(e) and log10(e) in two parts.
LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E = (0.4342944819032518, 1.098319650216765e-17)
LOG2_E_FLOAT = (float.fromhex("0x1.715476p+0"), float.fromhex("0x1.4ae0cp-26"))
LOG10_E_FLOAT = (float.fromhex("0x1.bcb7b2p-2"), float.fromhex("-0x1.5b235ep-27"))
ONE = (1.0, 0.0)


class Base(NamedTuple):
    """A logarithm's base b by precision.

    `cells` are rows of a table over 16 equal cells of m from 1 to 2: 1/m roughly, and minus its
    logarithm in two parts; `tail` is of log_b(1 + r) after r log_b(e); `unit` is log_b(e).
    """

    cells: tuple[tuple[float, ...], ...]
    tail: tuple[float, ...]
    unit: tuple[float, float]


BASES: dict[str, dict[str, Base]] = {
    "e": {
        "float": Base(LOG_CELLS, LOG_CELL_TAIL, ONE),
        "double": Base(LONG_LOG_CELLS, LONG_LOG_CELL_TAIL, ONE),
    },
    "2": {
        "float": Base(LOG2_CELLS, LOG2_CELL_TAIL, LOG2_E_FLOAT),
        "double": Base(LONG_LOG2_CELLS, LONG_LOG2_CELL_TAIL, LOG2_E),
    },
    "10": {
        "float": Base(LOG10_CELLS, LOG10_CELL_TAIL, LOG10_E_FLOAT),
        "double": Base(LONG_LOG10_CELLS, LONG_LOG10_CELL_TAIL, LOG10_E),
    },
}
CELL_BITS = 4
# Above the first, a number may be divided by 2 to the second before 1 is added to it.
LARGE = {"float": (2.0**60, 24), "double": (2.0**200, 100)}


def sum_of_log(
    writer: Writer,
    base: Base,
    e: Value,
    index: Value,
    r: Value,
    low: Value | None = None,
    loose: bool = False,
) -> Value:
    """log_b(2^e (1 + r + low) / c), where c is the first number of the cell `index`.

    `low` is for the natural logarithm only, and below an ULP of r unless `loose`.

    e log_b(2) - log_b(c) has a first part that is exact, and 0 where the result is near 0. Neither
    part is negative for b and c = 1/2: an infinite e makes the result infinite.
    """
    scalar = r.scalar
    _, highs, lows = base.cells
    # The last cell has 1/2, so that its logarithms are minus those of 2.
    high = writer.fma(e, writer.constant(highs[-1], r), look_up(writer, highs, index, scalar))
    rest = look_up(writer, lows, index, scalar)
    if lows[-1]:
        rest = writer.fma(e, writer.constant(lows[-1], r), rest)
    near = r
    if low is not None:
        rest = writer.fadd(low, rest)
        near = writer.fadd(r, low) if loose else r
    if base.unit == ONE:
        tail = polynomial(writer, near, base.tail)
        rest = writer.fma(writer.fmul(near, near), tail, rest)
    else:
        tail = polynomial(writer, near, (base.unit[1], *base.tail))
        product = two_product(writer, r, writer.constant(base.unit[0], r))
        rest = writer.fadd(writer.fma(near, tail, rest), product.low)
        r = product.high
    return writer.fadd(high, writer.fadd(r, rest))


def log_of_base(writer: Writer, x: Value, name: str) -> Value:
    """log_b(x) = e log_b(2) - log_b(c) + log_b(1 + r) with x = 2^e m and r = c m - 1.

    0, infinity, NaN and negative numbers come out right by what `split_positive` makes of them.
    """
    base = BASES[name][x.scalar]
    m, e = split_positive(writer, x)
    index = index_bits(writer, m, CELL_BITS)
    inverse = look_up(writer, base.cells[0], index, x.scalar)
    r = writer.fma(m, inverse, writer.constant(-1.0, x))
    return sum_of_log(writer, base, e, index, r)


def emit_log(writer: Writer, x: Value) -> Value:
    """log(x), see `log_of_base`.

    Source: Tang, Table-driven implementation of the logarithm function, 1990, with a table of 16
    entries, and exact products in place of its quotient.
    Largest error measured: float 0.79 ULP, double 0.75 ULP.
    """
    return log_of_base(writer, x, "e")


def emit_log2(writer: Writer, x: Value) -> Value:
    """log2(x), see `log_of_base`; exact at powers of two.

    Largest error measured: float 0.86 ULP, double 0.81 ULP.
    """
    return log_of_base(writer, x, "2")


def emit_log10(writer: Writer, x: Value) -> Value:
    """log10(x), see `log_of_base`; exact at powers of ten.

    Largest error measured: float 0.87 ULP, double 0.84 ULP.
    """
    return log_of_base(writer, x, "10")


def log1p_of_pair(
    writer: Writer, f: Pair, doublings: Value | None = None, loose: bool = False
) -> Value:
    """log((1 + f) 2^doublings) for -1 <= f < 2^120; -inf for f = -1.

    With s = 1 + f rounded and c' = 2^-e c of its cell, c' (1 + f) - 1 = c' f + (c' - 1): that is f
    itself near 0, and the rounding of s does not matter. f.low is below an ULP, unless `loose`.
    """
    base = BASES["e"][f.high.scalar]
    one = writer.constant(1.0, f.high)
    s = writer.fadd(f.high, one)
    e = exponent(writer, s)
    index = index_bits(writer, s, CELL_BITS)
    # The exponent field of s is taken from that of c, to which the bias was added.
    bias = EXPONENT_BIAS[s.scalar]
    inverse = look_up(writer, [c * 2.0**bias for c in base.cells[0]], index, s.scalar)
    mask = writer.integer_constant((2 * bias + 1) << MANTISSA_BITS[s.scalar], s)
    field = writer.and_(writer.float_bits(s), mask)
    inverse = writer.bits_float(writer.sub(writer.float_bits(inverse), field))
    r = writer.fma(inverse, f.high, writer.fsub(inverse, one))
    if doublings is not None:
        e = writer.fadd(e, doublings)
    return sum_of_log(writer, base, e, index, r, writer.fmul(inverse, f.low), loose)


def log1p_or_double(writer: Writer, x: Value, f: Pair, loose: bool = False) -> Value:
    """log(1 + f), or where x is above LARGE and f may be anything, log(2 x)."""
    limit, shift = LARGE[x.scalar]
    zero = writer.constant(0.0, x)
    large = writer.fcmp("ogt", x, writer.constant(limit, x))
    high = writer.select(large, writer.fmul(x, writer.constant(2.0**-shift, x)), f.high)
    low = writer.select(large, zero, f.low)
    doubled = replace_where(writer, large, float(shift + 1), zero)
    return log1p_of_pair(writer, Pair(high, low), doubled, loose)


def emit_log1p(writer: Writer, x: Value) -> Value:
    """log(1 + x), as `log1p_of_pair`, but for any x.

    Largest error measured: float 0.79 ULP, double 0.74 ULP.
    """
    base = BASES["e"][x.scalar]
    one = writer.constant(1.0, x)
    s = writer.fadd(x, one)
    e = exponent(writer, s)
    index = index_bits(writer, s, CELL_BITS)
    # Where s is 0, e is infinite, and c' shall not be.
    inverse = look_up(writer, base.cells[0], index, x.scalar)
    inverse = scale(writer, inverse, at_most(writer, writer.fneg(e), 100.0))
    r = writer.fma(inverse, x, writer.fsub(inverse, one))
    y = sum_of_log(writer, base, e, index, r)
    y = writer.select(is_special(writer, x), x, y)
    outside = writer.fcmp("olt", x, writer.constant(-1.0, x))
    return replace_where(writer, outside, NAN, y)


LOGARITHM: dict[str, Callable[..., Value]] = {
    "log": emit_log,
    "log2": emit_log2,
    "log10": emit_log10,
    "log1p": emit_log1p,
}
