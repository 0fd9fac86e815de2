"""Fits the polynomial coefficients that neurlang/codegen/mathlib checks in (needs mpmath).

Run `python benchmarks/fit_coefficients.py > neurlang/codegen/mathlib/coefficients.py`; with names
as arguments, only those tables. Each table says log2 of its largest weighted error.
Method: Remez's exchange on a dense Chebyshev grid; coefficients are rounded to the target's
precision from the lowest to the highest, and the rest is fitted again after each rounding
(Brisebarre and Chevillard, Efficient polynomial L-infinity approximations, 2007, introduction).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath  # type: ignore[import-untyped]  # it comes without types
import numpy as np
from mpmath import mp, mpf

mp.dps = 50
Function = Callable[[mpf], mpf]
GRID = 600


@dataclass(frozen=True)
class Fit:
    """Minimise |weight(x) * (target(x) - polynomial(x))| over an interval."""

    target: Function
    low: float
    high: float
    count: int
    weight: Function
    scalar: str = "double"
    rounded: int = 0  # how many low coefficients are rounded one at a time, the rest fitted again
    least_weight: float = 0.0  # a share of the largest: an exchange divides by the weight


def round_to(number: mpf, scalar: str) -> mpf:
    """The nearest float or double."""
    if scalar == "double":
        return mpf(float(number))
    return mpf(float(np.float32(float(number))))


def solve_exchange(
    points: list[mpf], values: list[mpf], weights: list[mpf], powers: list[int]
) -> list[mpf]:
    """Coefficients of `powers` whose weighted error equioscillates; the points are the grid."""
    count = len(powers)
    picks = [round(i * (len(points) - 1) / count) for i in range(count + 1)]
    coefficients = [mpf(0)] * count
    for _ in range(40):
        rows = [[points[i] ** power for power in powers] for i in picks]
        for sign, (row, i) in enumerate(zip(rows, picks)):
            row.append((-1) ** sign / weights[i])
        right = mpmath.matrix([values[i] for i in picks])
        try:
            solution = mpmath.lu_solve(mpmath.matrix(rows), right)
        except ZeroDivisionError:
            break  # a zero of the weight was picked: the last exchange stands
        coefficients = list(solution)[:count]
        errors = [
            w * (y - sum(c * x**power for c, power in zip(coefficients, powers)))
            for x, y, w in zip(points, values, weights)
        ]
        extrema = alternating_extrema(errors, count + 1)
        if extrema == picks or len(extrema) < count + 1:
            break
        picks = extrema
    return coefficients


def alternating_extrema(errors: list[mpf], wanted: int) -> list[int]:
    """The index of the largest error in each run of one sign; the smallest ends are dropped."""
    picks: list[int] = []
    for i, error in enumerate(errors):
        if picks and (errors[picks[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[picks[-1]]):
                picks[-1] = i
        else:
            picks.append(i)
    while len(picks) > wanted:
        picks.pop(0 if abs(errors[picks[0]]) < abs(errors[picks[-1]]) else -1)
    return picks


def fit(task: Fit, grid: int = GRID) -> tuple[list[float], float]:
    """Rounded coefficients, lowest first, and the largest weighted error on the grid."""
    middle, radius = (mpf(task.low) + task.high) / 2, (mpf(task.high) - task.low) / 2
    points = [middle - radius * mpmath.cospi(mpf(2 * i + 1) / (2 * grid)) for i in range(grid)]
    weights = [task.weight(x) for x in points]
    least = task.least_weight * max(weights)
    weights = [max(w, least) for w in weights]
    values = [task.target(x) for x in points]
    fixed: list[mpf] = []
    powers = list(range(task.count))
    while powers:
        best = solve_exchange(points, values, weights, powers)
        kept = best[:1] if len(fixed) < task.rounded else best
        kept = [round_to(c, task.scalar) for c in kept]
        for c in kept:
            power = powers.pop(0)
            values = [y - c * x**power for x, y in zip(points, values)]
            fixed.append(c)
    error = max(abs(w * y) for w, y in zip(weights, values))
    return [float(c) for c in fixed], float(error)


LN2 = mpmath.log(2)
HALF_LN2 = LN2 / 2 * mpf("1.0001")
SHIFT = mpmath.log(mpf(9) / 8) / 2  # the middle of the remainders of expm1, sinh and cosh
NEAR_ZERO = mpf(10) ** -12
FIRST = (mpf("0.6") - 4) / (mpf("0.6") + 4)
FAR = (mpf("27.3") - 4) / (mpf("27.3") + 4)


def one(_: mpf) -> mpf:
    """The absolute error counts."""
    return mpf(1)


def square(u: mpf) -> mpf:
    """The relative weight of a tail that is multiplied by x^2, up to a factor near 1."""
    return u


def magnitude(x: mpf) -> mpf:
    """The error is multiplied by x, of either sign."""
    return abs(x)


def tail_of_exp(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2."""
    return (mpmath.expm1(r) - r) / r**2


def tail_of_exp2(r: mpf) -> mpf:
    """(2^r - 1 - log(2) r) / r^2."""
    return (mpmath.expm1(r * LN2) - LN2 * r) / r**2


def tail_of_log(f: mpf) -> mpf:
    """(log(1 + f) - f) / f^2."""
    return (mpmath.log1p(f) - f) / f**2


def tail_of_cosh(u: mpf) -> mpf:
    """(cosh(x) - 1) / x^2 with u = x^2."""
    return (mpmath.cosh(mpmath.sqrt(u)) - 1) / u


def tail_of_sinh(u: mpf) -> mpf:
    """(sinh(x) - x) / x^3 with u = x^2."""
    x = mpmath.sqrt(u)
    return (mpmath.sinh(x) - x) / x**3


def tail_of_erf(u: mpf) -> mpf:
    """erf(x) / x - 1 with u = x^2."""
    x = mpmath.sqrt(u)
    return mpmath.erf(x) / x - 1


def rate_of_erfc(x: mpf) -> mpf:
    """-log2(erfc(x)) / x."""
    return -mpmath.log(mpmath.erfc(x), 2) / x


def erf_weight(u: mpf) -> mpf:
    """The relative weight of tail_of_erf."""
    x = mpmath.sqrt(u)
    return x / mpmath.erf(x)


def weight_of_rate(x: mpf) -> mpf:
    """How an error of rate_of_erfc changes erf(x) = 1 - 2^(-x rate)."""
    return mpmath.erfc(x) * LN2 * x / mpmath.erf(x)


def scaled_erfc(q: mpf) -> mpf:
    """(1 + 2 x) e^(x^2) erfc(x) with q = (x - 4) / (x + 4)."""
    x = 4 * (1 + q) / (1 - q)
    return (1 + 2 * x) * mpmath.exp(x * x) * mpmath.erfc(x)


def tail_of_scaled_erfc(q: mpf) -> mpf:
    """(scaled_erfc(q) - scaled_erfc(0)) / q."""
    return (scaled_erfc(q) - scaled_erfc(mpf(0))) / q


def exp_weight(r: mpf) -> mpf:
    """The relative weight of tail_of_exp."""
    return r**2 / mpmath.exp(r)


def expm1_weight(r: mpf) -> mpf:
    """The relative weight of tail_of_exp in e^r - 1."""
    return r**2 / abs(mpmath.expm1(r))


def exp2_weight(r: mpf) -> mpf:
    """The relative weight of tail_of_exp2."""
    return r**2 / mpf(2) ** r


def tasks() -> dict[str, dict[str, Fit]]:
    """Every table, by name and precision."""
    span, shifted = (-HALF_LN2, HALF_LN2), (SHIFT - HALF_LN2, SHIFT + HALF_LN2)
    return {
        "EXP_TAIL": {
            "float": Fit(tail_of_exp, *span, 5, exp_weight, "float", 3, 0.01),
            "double": Fit(tail_of_exp, *span, 10, exp_weight, "double", 3, 0.01),
        },
        "EXP2_TAIL": {
            "float": Fit(tail_of_exp2, -0.5, 0.5, 5, exp2_weight, "float", 3, 0.01),
            "double": Fit(tail_of_exp2, -0.5, 0.5, 11, exp2_weight, "double", 3, 0.01),
        },
        "COSH_TAIL": {
            "float": Fit(tail_of_cosh, NEAR_ZERO, shifted[1] ** 2, 3, square, "float", 1),
            "double": Fit(tail_of_cosh, NEAR_ZERO, shifted[1] ** 2, 6, square, "double", 1),
        },
        "SINH_TAIL": {
            "float": Fit(tail_of_sinh, NEAR_ZERO, shifted[1] ** 2, 3, square, "float", 1),
            "double": Fit(tail_of_sinh, NEAR_ZERO, shifted[1] ** 2, 6, square, "double", 1),
        },
        "EXPM1_TAIL": {
            "float": Fit(tail_of_exp, *span, 5, expm1_weight, "float", 3, 0.01),
            "double": Fit(tail_of_exp, -HALF_LN2, shifted[1], 12, exp_weight, "double", 3, 0.01),
        },
        "ERF_TAIL": {
            "double": Fit(tail_of_erf, NEAR_ZERO, 0.9, 18, erf_weight, "double"),
        },
        "ERFC_RATE": {
            "double": Fit(rate_of_erfc, 0.945, 6, 18, weight_of_rate, "double"),
        },
        "ERFC": {
            "double": Fit(tail_of_scaled_erfc, FIRST, FAR, 21, magnitude, "double", 0, 0.01),
        },
        "ERFC_NEAR": {
            "double": Fit(tail_of_erf, NEAR_ZERO, 0.361, 11, erf_weight, "double"),
        },
        "EXP2_SHORT": {
            "double": Fit(lambda r: mpf(2) ** -r, -0.5, 0.5, 12, one, "double"),
        },
    }


def main(names: list[str]) -> None:
    """Print the tables as the Python module that the compiler imports."""
    print('"""Polynomial coefficients, lowest first, written by benchmarks/fit_coefficients.py."""')
    for name, tables in tasks().items():
        if names and name not in names:
            continue
        print(f"\n{name}: dict[str, tuple[float, ...]] = {{")
        for scalar, task in tables.items():
            coefficients, error = fit(task)
            print(f"    # 2^{float(mpmath.log(error, 2)):.1f}")
            print(f'    "{scalar}": (')
            for c in coefficients:
                print(f"        {c!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
