"""Fits the constants of neurlang/codegen/mathlib/trigonometric_coefficients.py (needs mpmath).

Run `python benchmarks/fit_trigonometric.py` and send its output to that file; with names as
arguments, only those tables. Each table says log2 of its largest weighted error; the method is
that of fit_coefficients.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath  # type: ignore[import-untyped]  # it comes without types
from fit_coefficients import GRID, Fit, alternating_extrema, fit
from mpmath import mpf

QUARTER_TURN = mpmath.pi / 2
NEAR_ZERO = mpf(10) ** -12
HALF_PI_SQUARE = QUARTER_TURN**2 * mpf("1.001")
EIGHTH_TURN_SQUARE = (QUARTER_TURN / 2) ** 2 * mpf("1.001")
# Bits of 1 / (2 pi) after the point, and zero bits before it, in the table for huge arguments.
FRACTION_BITS, ZERO_BITS = 1216, 128


def tail_of_sine_quotient(s: mpf) -> mpf:
    """(sin(x) / x - 1) / x^2 with s = x^2."""
    x = mpmath.sqrt(s)
    return (mpmath.sin(x) / x - 1) / s


def weight_of_sine_quotient(s: mpf) -> mpf:
    """The relative weight of tail_of_sine_quotient."""
    x = mpmath.sqrt(s)
    return s * x / mpmath.sin(x)


def cubic_tail(function: Callable[[mpf], mpf]) -> Callable[[mpf], mpf]:
    """(function(x) - x) / x^3 with s = x^2."""

    def tail(s: mpf) -> mpf:
        x = mpmath.sqrt(s)
        return (function(x) - x) / x**3

    return tail


def cubic_weight(function: Callable[[mpf], mpf]) -> Callable[[mpf], mpf]:
    """The relative weight of cubic_tail."""

    def weight(s: mpf) -> mpf:
        x = mpmath.sqrt(s)
        return x**3 / function(x)

    return weight


def tail_of_sine(s: mpf) -> mpf:
    """(x - sin(x)) / x^3 with s = x^2."""
    return -cubic_tail(mpmath.sin)(s)


def tail_of_cosine(s: mpf) -> mpf:
    """(cos(x) - 1 + x^2 / 2) / x^4 with s = x^2."""
    return (mpmath.cos(mpmath.sqrt(s)) - 1 + s / 2) / s**2


def weight_of_cosine(s: mpf) -> mpf:
    """The relative weight of tail_of_cosine."""
    return s**2 / mpmath.cos(mpmath.sqrt(s))


def fit_quotient(
    target: Callable[[mpf], mpf],
    weight: Callable[[mpf], mpf],
    bounds: tuple[mpf, mpf],
    degrees: tuple[int, int],
) -> tuple[list[float], list[float]]:
    """Numerator and denominator, lowest coefficients first, whose weighted error equioscillates.

    The denominator begins with 1. An exchange in which the error, which the denominator multiplies,
    has the denominator of the step before it.
    """
    middle, radius = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    points = [middle - radius * mpmath.cospi(mpf(2 * i + 1) / (2 * GRID)) for i in range(GRID)]
    values, weights = [target(x) for x in points], [weight(x) for x in points]
    top, bottom = degrees
    wanted = top + bottom + 2
    picks = [round(i * (GRID - 1) / (wanted - 1)) for i in range(wanted)]
    numerator, denominator = [mpf(0)], [mpf(1)]
    for _ in range(40):
        rows = []
        for sign, i in enumerate(picks):
            x, y = points[i], values[i]
            row = [x**power for power in range(top + 1)]
            row += [-y * x**power for power in range(1, bottom + 1)]
            rows.append([*row, (-1) ** sign * evaluate(denominator, x) / weights[i]])
        right = mpmath.matrix([values[i] for i in picks])
        solution = list(mpmath.lu_solve(mpmath.matrix(rows), right))
        numerator, denominator = solution[: top + 1], [mpf(1), *solution[top + 1 : -1]]
        errors = [
            w * (y - evaluate(numerator, x) / evaluate(denominator, x))
            for x, y, w in zip(points, values, weights)
        ]
        extrema = alternating_extrema(errors, wanted)
        if extrema == picks or len(extrema) < wanted:
            break
        picks = extrema
    return [float(c) for c in numerator], [float(c) for c in denominator]


def evaluate(coefficients: list[mpf], x: mpf) -> mpf:
    """The polynomial, lowest coefficient first."""
    return sum(c * x**power for power, c in enumerate(coefficients))


def tangent_quotient(s: mpf) -> mpf:
    """tan(x) / x with s = x^2."""
    x = mpmath.sqrt(s)
    return mpmath.tan(x) / x


def tangents() -> dict[str, tuple[list[float], list[float]]]:
    """The quotients of polynomials: tan(x) / x for floats, its cubic tail for doubles."""
    bounds = (NEAR_ZERO, EIGHTH_TURN_SQUARE)
    tail, weight = cubic_tail(mpmath.tan), cubic_weight(mpmath.tan)
    short = fit_quotient(tangent_quotient, lambda s: 1 / tangent_quotient(s), bounds, (1, 2))
    return {"TAN_SHORT": short, "TAN": fit_quotient(tail, weight, bounds, (3, 3))}


def tasks() -> dict[str, Fit]:
    """Every fitted table, by name."""
    arcsine, arctangent = mpmath.asin, mpmath.atan
    eighth = (NEAR_ZERO, EIGHTH_TURN_SQUARE)
    asin_tail, asin_weight = cubic_tail(arcsine), cubic_weight(arcsine)
    atan_tail, atan_weight = cubic_tail(arctangent), cubic_weight(arctangent)
    return {
        "SIN_SHORT": Fit(
            tail_of_sine_quotient, NEAR_ZERO, HALF_PI_SQUARE, 4, weight_of_sine_quotient
        ),
        "SIN": Fit(tail_of_sine, *eighth, 6, cubic_weight(mpmath.sin), "double", 2),
        "COS": Fit(tail_of_cosine, *eighth, 6, weight_of_cosine, "double", 2),
        "ASIN_SHORT": Fit(asin_tail, NEAR_ZERO, 0.25, 5, asin_weight, "float", 3),
        "ASIN": Fit(asin_tail, NEAR_ZERO, 0.25, 12, asin_weight, "double", 6),
        "ATAN": Fit(atan_tail, NEAR_ZERO, 0.25, 12, atan_weight, "double", 2),
    }


def in_parts(number: mpf, widths: tuple[int, ...]) -> list[str]:
    """`number` as a sum of doubles, each the nearest of so many bits to what is left."""
    found = []
    for width in widths:
        with mpmath.workprec(width):
            part = float(+number)
        number -= mpf(part)
        found.append(repr(part))
    return found


def turn_words() -> list[int]:
    """The bits of 1 / (2 pi) after ZERO_BITS zeros, as 64-bit words, the lowest first."""
    with mpmath.workprec(FRACTION_BITS + 64):
        bits = int(mpmath.floor(mpmath.ldexp(1 / (2 * mpmath.pi), FRACTION_BITS)))
    return [bits >> shift & (1 << 64) - 1 for shift in range(0, FRACTION_BITS + ZERO_BITS, 64)]


def print_table(name: str, kind: str, entries: list[str], comment: str = "") -> None:
    print(f"\n{name}: tuple[{kind}, ...] = (")
    if comment:
        print(f"    # {comment}")
    print("\n".join(f"    {entry}," for entry in entries))
    print(")")


def main(names: list[str]) -> None:
    """Print the module, or the named tables."""
    if not names:
        print('"""Constants of trigonometry, written by benchmarks/fit_trigonometric.py."""')
        with mpmath.workdps(60):
            print_table("PI", "float", in_parts(+mpmath.pi, (53, 53)))
            # Up to 4 times a quarter of the first part is a float.
            print_table("PI_FLOAT", "float", in_parts(+mpmath.pi, (22, 24)))
            print_table("PI_SPLIT", "float", in_parts(+mpmath.pi, (53, 32, 53)))
        for name, rows in tangents().items():
            for part, row in zip(("NUMERATOR", "DENOMINATOR"), rows):
                print_table(f"{name}_{part}", "float", [repr(c) for c in row])
        print(f"\nFRACTION_BITS = {FRACTION_BITS}")
        print_table(
            "TURN_WORDS",
            "int",
            [f"0x{word:016X}" for word in turn_words()],
            "1 / (2 pi) * 2^FRACTION_BITS, rounded down, in 64-bit words, the lowest first",
        )
    for name, task in tasks().items():
        if not names or name in names:
            coefficients, error = fit(task)
            comment = f"2^{float(mpmath.log(error, 2)):.1f}"
            print_table(name, "float", [repr(c) for c in coefficients], comment)


if __name__ == "__main__":
    main(sys.argv[1:])
