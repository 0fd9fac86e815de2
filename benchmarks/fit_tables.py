"""Fits the tables of neurlang/codegen/mathlib/tables.py (needs mpmath).

Run `python benchmarks/fit_tables.py` and send its output to that file; with names as arguments,
only those tables. Each table says log2 of its largest weighted error. Polynomials are fitted by
the method of fit_coefficients.py. Where a value stands for itself in the result, the argument next
to the middle of its cell is searched at which the function is nearly a float, after Gal and
Bachelis, An accurate elementary mathematical library for the IEEE floating point standard, 1991.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath  # type: ignore[import-untyped]  # it comes without types
import numpy as np
from fit_coefficients import Fit, fit, one, round_to, tail_of_exp
from mpmath import mpf

GRID = 150
CANDIDATES = 400
END_INVERSES = {0: 1.0, 15: 1 / 2}  # where products are taken exactly anyway
ATAN_STEPS = 15.99
# Cells of the atan of doubles end where x / ATAN_STRETCH + 1/2 has two bits after its first one; no
# quotient (x - c) / (1 + x c) is larger than ATAN_NEAR.
ATAN_STRETCH = 0.78
ATAN_NEAR = 0.1973
GELU_STEP = 25 / 64
# Where tanh rounds to 1 with room for errors; and the end of its first two cells.
TANH_SPAN = 19.2
TANH_NEAR = 0.6401
# Next to m = 1 and m = 2, where logarithms are small, c m - 1 shall be exact.
SHORT_INVERSES = {0: 1.0, 1: 1.0, 14: 1 / 2, 15: 1 / 2}
Rows = list[list[float]]
Function = Callable[[mpf], mpf]


def nearly_float(
    function: Function, middle: float, reach: float, scalar: str = "float"
) -> tuple[float, float]:
    """A float c within `reach` of `middle` for which function(c) is nearly a float, and that."""
    best = (mpf("inf"), 0.0, 0.0)
    for i in range(-CANDIDATES, CANDIDATES + 1):
        c = float(round_to(mpf(middle + reach * i / CANDIDATES), scalar))
        value = function(mpf(c))
        rounded = float(round_to(value, scalar))
        best = min(best, (abs(value - rounded) / abs(value), c, rounded))
    return best[1], best[2]


def edges(span: float) -> list[float]:
    """Where x / span * 7.5 + 1/2 is a number with two bits after the first; its exponent -1 to 2.

    So the cells are narrow near 0, where a function bends, and wide beyond.
    """
    starts = [2.0**e * (1 + i / 4) for e in range(-1, 3) for i in range(4)]
    return [(start - 0.5) / 7.5 * span for start in starts] + [span]


def pieces(function: Function, span: float, count: int, first: Function | None) -> Rows:
    """Rows of 16 cells: middles c, values at c, and `count` coefficients of powers of x - c.

    With `first`, function(x) = x + x first(x) holds the first cell, and its coefficients are those
    of `first`.
    """
    columns = []
    worst = mpf(0)
    bounds = edges(span)
    for number, (low, high) in enumerate(pairwise(bounds)):
        if number == 0 and first is not None:
            task = Fit(first, 1e-9, high, count, lambda t: t / function(t), "float")
            c, value = 0.0, 0.0
        else:
            middle, reach = (low + high) / 2, (high - low) / 50
            c, value = nearly_float(function, middle, reach)
            task = cell(function, c, low - c, high - c, count)
        coefficients, error = fit(task, GRID)
        worst = max(worst, error)
        columns.append([c, value, *coefficients])
    print(f"    # 2^{float(mpmath.log(worst, 2)):.1f}")
    # The exponent -1 has the biased number 126, whose lowest bits are 10.
    columns = columns[8:] + columns[:8]
    return [list(row) for row in zip(*columns)]


def gelu_rows(count: int) -> Rows:
    """Values and coefficients of x Phi(-x) for x next to multiples of GELU_STEP, as `pieces`."""

    def tail(x: mpf) -> mpf:
        return mpmath.ncdf(-x)

    def function(x: mpf) -> mpf:
        return x * tail(x)

    half = GELU_STEP / 2
    first = Fit(tail, 0, half, count, lambda t: 1 / tail(t), "float", 1)
    columns = [[0.0, *fit(first, GRID)[0]]]
    for i in range(1, 16):
        c = i * GELU_STEP
        value = round_to(function(mpf(c)), "float")
        columns.append([float(value), *fit(cell(function, c, -half, half, count), GRID)[0]])
    return [list(row) for row in zip(*columns)]


def atan_rows(count: int) -> Rows:
    """As `pieces` for atan(t), then for acot(t), with 16 t as middles each, 0 to 1.

    A cell is what is rounded down to its number when multiplied by ATAN_STEPS.
    """
    columns = []
    for function in (mpmath.atan, mpmath.acot):
        for i in range(16):
            low, high = i / ATAN_STEPS, (i + 1) / ATAN_STEPS
            if function is mpmath.atan and i == 0:
                first = quotient_less_one(function)
                task = Fit(first, 1e-9, high, count, lambda t: t / mpmath.atan(t), "float")
                c, value = 0.0, 0.0
            else:
                c, value = nearly_float(function, (low + high) / 2, (high - low) / 50)
                task = cell(function, c, low - c, high - c, count)
            columns.append([c, value, *fit(task, GRID)[0]])
    return [list(row) for row in zip(*columns)]


def cell(function: Function, c: float, low: float, high: float, count: int) -> Fit:
    """(function(c + t) - function(c)) / t; its error counts as it does at the far end."""
    reach = max(-low, high)
    return Fit(
        lambda t: (function(c + t) - function(mpf(c))) / t,
        low,
        high,
        count,
        lambda t: reach / function(c + t),
        "float",
    )


def log_rows(base: float, grid: int, scalar: str, short: dict[int, float] = SHORT_INVERSES) -> Rows:
    """1 / m roughly, and minus its logarithm in two parts, for 16 mantissas m from 1 to 2.

    The first part has `grid` bits after the point, and the second is positive or 0. The first cells
    have 1 and 0; the last have 1/2, so that log(m) - log(2) is exact for m below 2 as well.
    """
    rows: Rows = [[], [], []]
    for i in range(16):
        inverse = round(256 / (1 + (i + 0.5) / 16)) / 256
        inverse = short.get(i, inverse)
        value = -mpmath.log(mpf(inverse)) / mpmath.log(base)
        high = mpmath.floor(mpmath.ldexp(value, grid)) / 2**grid
        rows[0].append(inverse)
        rows[1].append(float(high))
        rows[2].append(float(round_to(value - high, scalar)))
    return rows


def power_rows(grid: int, scalar: str) -> Rows:
    """As `log_rows` to base 2, of 32 mantissas, with inverses of 6 bits: c m - 1 is exact."""
    rows: Rows = [[], [], []]
    for i in range(32):
        inverse = {0: 1.0, 31: 0.5}.get(i, round(64 / (1 + (i + 0.5) / 32)) / 64)
        value = -mpmath.log(mpf(inverse), 2)
        high = mpmath.floor(mpmath.ldexp(value, grid)) / 2**grid
        rows[0].append(inverse)
        rows[1].append(float(high))
        rows[2].append(float(round_to(value - high, scalar)))
    return rows


def root_rows(scalar: str) -> Rows:
    """2^(j / 16) in two parts."""
    values = [mpf(2) ** (mpf(j) / 16) for j in range(16)]
    highs = [round_to(v, scalar) for v in values]
    lows = [round_to(v - high, scalar) for v, high in zip(values, highs)]
    return [[float(high) for high in highs], [float(low) for low in lows]]


def exp_tail(count: int, scalar: str) -> Fit:
    """(e^r - 1 - r) / r^2 for r up to half a sixteenth of log(2)."""
    reach = LN2 / 32 * mpf("1.001")
    return Fit(tail_of_exp, -reach, reach, count, one, scalar)


def power_tail(count: int, scalar: str) -> Fit:
    """(2^r - 1) / r for r up to a thirty-second."""
    return Fit(lambda r: mpmath.expm1(r * LN2) / r, -0.03126, 0.031261, count, one, scalar)


def third_of_log2(r: mpf) -> mpf:
    """(log2(1 + r) - log2(e) (r - r^2 / 2)) / r^3."""
    return (mpmath.log1p(r) - r + r * r / 2) / LN2 / r**3


def third_weight(r: mpf) -> mpf:
    """How an error of `third_of_log2` changes the logarithm, relatively."""
    return r**3 * LN2 / mpmath.log1p(r)


def power_third(count: int, scalar: str) -> Fit:
    """The third term of log2(1 + r), on the cells of `power_rows`."""
    return Fit(third_of_log2, -0.024, 0.03126, count, third_weight, scalar, 1, 0.01)


def cube_root_rows(cells: int, scalar: str) -> Rows:
    """1 / m roughly, and its inverse's cube root, for m from 1/2 to 4, `cells` in each octave."""
    columns = []
    for octave in (0.5, 1, 2):
        for i in range(cells):
            middle = octave * (1 + (i + 0.5) / cells)
            columns.append(
                nearly_float(lambda c: mpmath.cbrt(1 / c), 1 / middle, 0.004 / middle, scalar)
            )
    # The exponent of 1/2 is biased to a number whose lowest bits are 10.
    columns = columns[2 * cells :] + [(1.0, 1.0)] * cells + columns[: 2 * cells]
    return [list(row) for row in zip(*columns)]


def tanh_rows() -> Rows:
    """Middles c of 16 cells as those of `pieces`, and tanh(c); the first two cells are one."""
    columns = [[0.0, 0.0], [0.0, 0.0]]
    for low, high in list(pairwise(edges(TANH_SPAN)))[2:]:
        middle, reach = (low + high) / 2, (high - low) / 50
        columns.append(list(nearly_float(mpmath.tanh, middle, reach, "double")))
    # The exponent -1 has the biased number 1022, whose lowest bits are 10.
    columns = columns[8:] + columns[:8]
    return [list(row) for row in zip(*columns)]


def tail_of_tanh(u: mpf) -> mpf:
    """(tanh(t) - t) / t^3 with u = t^2."""
    t = mpmath.sqrt(u)
    return (mpmath.tanh(t) - t) / t**3


def long_atan_rows() -> Rows:
    """Middles c of 16 cells as those of `pieces`, and atan(c); the first two cells are one.

    The last cell has no end. Its c has the atan nearest to a quarter turn that is a double.
    """
    columns = [[0.0, 0.0], [0.0, 0.0]]
    for low, high in list(pairwise(edges(7.5 * ATAN_STRETCH)))[2:-1]:
        middle, reach = (low + high) / 2, (high - low) / 50
        columns.append(list(nearly_float(mpmath.atan, middle, reach, "double")))
    end = float(mpmath.pi / 2)
    columns.append([float(mpmath.tan(end)), end])
    columns = columns[8:] + columns[:8]
    return [list(row) for row in zip(*columns)]


def tail_of_atan(u: mpf) -> mpf:
    """(atan(q) - q) / q^3 with u = q^2."""
    q = mpmath.sqrt(u)
    return (mpmath.atan(q) - q) / q**3


def interpolating_denominator(target: Function, high: float, top: int, bottom: int) -> list[float]:
    """The denominator of the quotient equal to `target` at the Chebyshev points of 0 to `high`.

    Its numerator has `top` coefficients; of its own `bottom`, the first is 1.
    """
    count = top + bottom - 1
    rows, right = [], []
    for i in range(count):
        u = high * (1 - mpmath.cospi(mpf(2 * i + 1) / (2 * count))) / 2
        value = target(u)
        rows.append([u**k for k in range(top)] + [-value * u**k for k in range(1, bottom)])
        right.append(value)
    solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right))
    return [1.0, *(float(c) for c in solution[top:])]


def tanh_denominator() -> list[float]:
    """Of the quotient for `tail_of_tanh`, near its best approximation."""
    return interpolating_denominator(tail_of_tanh, TANH_NEAR**2, 3, 4)


def tanh_numerator() -> list[float]:
    """The numerator that fits the rounded denominator; the error counts as it does in tanh(t)."""
    denominator = tanh_denominator()

    def divisor(u: mpf) -> mpf:
        return mpmath.polyval(denominator[::-1], u)

    def weight(u: mpf) -> mpf:
        t = mpmath.sqrt(u)
        return t**3 / mpmath.tanh(t) / divisor(u)

    target = Fit(lambda u: tail_of_tanh(u) * divisor(u), 1e-12, TANH_NEAR**2, 3, weight)
    return fitted(target)


def tail_of_root(r: mpf) -> mpf:
    """((1 + r)^(1/3) - 1) / r."""
    return mpmath.expm1(mpmath.log1p(r) / 3) / r


def fitted(task: Fit) -> list[float]:
    """The coefficients of one polynomial."""
    coefficients, error = fit(task, GRID)
    print(f"    # 2^{float(mpmath.log(error, 2)):.1f}")
    return coefficients


def quotient_less_one(function: Function) -> Function:
    """function(x) / x - 1."""
    return lambda x: function(x) / x - 1


def log_tail(base: float, count: int, scalar: str) -> Fit:
    """(log(1 + r) - r) / r^2 in units of log(base), on the cells of `log_rows`."""
    unit = mpmath.log(base)
    return Fit(
        lambda r: (mpmath.log1p(r) - r) / r**2 / unit,
        -0.0625,
        0.125,
        count,
        lambda r: r**2 * unit / abs(mpmath.log1p(r)),
        scalar,
        2,
        0.01,
    )


def scaled_erfc(x: mpf) -> mpf:
    """e^(x^2) erfc(x)."""
    return mpmath.exp(x * x) * mpmath.erfc(x)


E, TWO, TEN, LN2 = mpmath.e, mpf(2), mpf(10), mpmath.log(2)
TABLES: dict[str, Callable[[], list[Any]]] = {
    "ERF_PIECES": lambda: pieces(mpmath.erf, 4.0, 6, quotient_less_one(mpmath.erf)),
    "TANH_PIECES": lambda: pieces(mpmath.tanh, 9.02, 6, quotient_less_one(mpmath.tanh)),
    "LONG_TANH_CELLS": tanh_rows,
    "LONG_TANH_NUMERATOR": tanh_numerator,
    "LONG_TANH_DENOMINATOR": tanh_denominator,
    "ERFC_PIECES": lambda: pieces(scaled_erfc, 10.1, 7, None),
    "ATAN_PIECES": lambda: atan_rows(4),
    "LONG_ATAN_CELLS": long_atan_rows,
    "LONG_ATAN_TAIL": lambda: fitted(
        Fit(tail_of_atan, 1e-12, ATAN_NEAR**2, 8, lambda u: u**1.5 / mpmath.atan(u**0.5))
    ),
    "GELU_PIECES": lambda: gelu_rows(7),
    "LOG_CELLS": lambda: log_rows(E, 15, "float"),
    "LOG2_CELLS": lambda: log_rows(TWO, 16, "float"),
    "LOG10_CELLS": lambda: log_rows(TEN, 17, "float"),
    "LOG_CELL_TAIL": lambda: fitted(log_tail(E, 5, "float")),
    "LOG2_CELL_TAIL": lambda: fitted(log_tail(TWO, 5, "float")),
    "LOG10_CELL_TAIL": lambda: fitted(log_tail(TEN, 5, "float")),
    "LONG_LOG_CELLS": lambda: log_rows(E, 42, "double"),
    "LONG_LOG2_CELLS": lambda: log_rows(TWO, 42, "double"),
    "LONG_LOG10_CELLS": lambda: log_rows(TEN, 42, "double"),
    "LONG_LOG_CELL_TAIL": lambda: fitted(log_tail(E, 12, "double")),
    "LONG_LOG2_CELL_TAIL": lambda: fitted(log_tail(TWO, 12, "double")),
    "LONG_LOG10_CELL_TAIL": lambda: fitted(log_tail(TEN, 12, "double")),
    "LONG_LOG_BRIEF_TAIL": lambda: fitted(log_tail(E, 8, "double")),
    "LONG_LOG2_BRIEF_TAIL": lambda: fitted(log_tail(TWO, 8, "double")),
    "LONG_SUM_CELLS": lambda: log_rows(E, 42, "double", END_INVERSES),
    "LONG_SUM2_CELLS": lambda: log_rows(TWO, 42, "double", END_INVERSES),
    "POW_CELLS": lambda: power_rows(16, "float"),
    "POW_TAIL": lambda: fitted(power_third(4, "float")),
    "POW_EXP2": lambda: fitted(power_tail(3, "float")),
    "LONG_POW_CELLS": lambda: power_rows(41, "double"),
    "LONG_POW_TAIL": lambda: fitted(power_third(9, "double")),
    "LONG_ROOTS": lambda: root_rows("double"),
    "EXP_CELL_TAIL": lambda: fitted(exp_tail(2, "float")),
    "LONG_EXP_CELL_TAIL": lambda: fitted(exp_tail(6, "double")),
    "LONG_POW_EXP2": lambda: fitted(power_tail(6, "double")),
    "CBRT_CELLS": lambda: cube_root_rows(8, "float"),
    "CBRT_TAIL": lambda: fitted(Fit(tail_of_root, -0.065, 0.068, 4, abs, "float", 1, 0.01)),
    "LONG_CBRT_CELLS": lambda: cube_root_rows(4, "double"),
    "LONG_CBRT_TAIL": lambda: fitted(Fit(tail_of_root, -0.116, 0.116, 11, abs, "double", 1, 0.01)),
}


def numbers_text(name: str, numbers: list[float], indent: str) -> str:
    """Numbers in lines of the usual width; floats with the digits that tell them apart."""
    doubles = name.startswith("LONG")
    texts = [repr(x) if doubles else str(np.float32(x)) for x in numbers]
    return textwrap.indent("\n".join(textwrap.wrap(", ".join(texts) + ",", 90)), indent)


def main(names: list[str]) -> None:
    """Print the tables as the Python module that the compiler imports."""
    print('"""Tables by cells of the argument, written by benchmarks/fit_tables.py."""')
    print("\n# fmt: off")
    for name, make in TABLES.items():
        if names and name not in names:
            continue
        kind = "tuple[float, ...]"
        polynomial = not name.endswith(("PIECES", "CELLS", "ROOTS"))
        print(f"\n{name}: {kind if polynomial else f'tuple[{kind}, ...]'} = (")
        rows = make()
        if polynomial:
            print(numbers_text(name, rows, " " * 4))
        else:
            for row in rows:
                print("    (\n" + numbers_text(name, row, " " * 8) + "\n    ),")
        print(")")


if __name__ == "__main__":
    main(sys.argv[1:])
