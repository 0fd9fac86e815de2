"""Fits the constants of neurlang/codegen/mathlib/trigonometric_coefficients.py (needs mpmath).

Run `python benchmarks/fit_trigonometric.py` and send its output to that file; with names as
arguments, only those tables. Each table says log2 of its largest weighted error; the method is
that of fit_coefficients.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath  # type: ignore[import-untyped]  # it comes without types
from fit_coefficients import Fit, fit
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


# Of the best approximation with a numerator x (a + b s), from an exchange with both unknown.
TANGENT_DENOMINATOR = (1.0, -0.4291358882773221, 0.009716897273015737)


def tangent_numerator(s: mpf) -> mpf:
    """tan(x) / x times TANGENT_DENOMINATOR, with s = x^2."""
    x = mpmath.sqrt(s)
    a, b, c = TANGENT_DENOMINATOR
    return mpmath.tan(x) / x * (a + b * s + c * s * s)


def weight_of_tangent(s: mpf) -> mpf:
    """The relative weight of tangent_numerator."""
    return 1 / tangent_numerator(s)


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
        "TAN_NUMERATOR": Fit(tangent_numerator, *eighth, 2, weight_of_tangent),
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
        print_table("TAN_DENOMINATOR", "float", [repr(c) for c in TANGENT_DENOMINATOR])
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
