"""Powers of float32 with small integer exponents: half a unit in the last place."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import neurlang as nl


@pytest.mark.parametrize("exponent", [-8, -5, -3, -2, 3, 4, 5, 6, 7, 8])
def test_small_powers_of_float32(exponent: int) -> None:
    """Against powers of the same numbers as fractions, which are exact; and what is no number."""
    rng = np.random.default_rng(exponent + 8)
    x = (rng.standard_normal(300) * 10.0 ** rng.integers(-12, 12, 300)).astype(np.float32)
    found = nl.jit(lambda x: x**exponent)(x)
    for number, power in zip(x.tolist(), found.tolist()):
        exact = Fraction(number) ** exponent
        if abs(exact) < 2**127 and abs(power) < 2.0**127:
            spacing = Fraction(float(np.spacing(np.float32(abs(power)))))
            assert abs(Fraction(power) - exact) <= spacing * Fraction(5001, 10000)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, -1e-45], np.float32)
    with np.errstate(all="ignore"):
        expected = special.astype(np.float64) ** exponent
        expected = expected.astype(np.float32)
    found = nl.jit(lambda x: x**exponent)(special)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[:4]), np.signbit(expected[:4]))
