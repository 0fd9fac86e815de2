"""contract: multiply-adds with one rounding where fast_math asks for them, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl

GENERATOR = np.random.default_rng(0)
X, Y, Z = (GENERATOR.standard_normal(1000).astype(np.float32) for _ in range(3))


def exact(x: Any, y: Any, z: Any, sign: int = 1) -> Any:
    """x * y + z, rounded once: the product of two float32 is exact in float64."""
    return (sign * x.astype(np.float64) * y + z).astype(np.float32)


CASES = {
    "x * y + z": (lambda x, y, z: x * y + z, exact(X, Y, Z)),
    "z + x * y": (lambda x, y, z: z + x * y, exact(X, Y, Z)),
    "x * y - z": (lambda x, y, z: x * y - z, exact(X, Y, -Z)),
    "z - x * y": (lambda x, y, z: z - x * y, exact(X, Y, Z, -1)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_rounding(name: str) -> None:
    function, expected = CASES[name]
    found = nl.jit(function, fast_math=True, cache=False)(X, Y, Z)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(nl.jit(function, cache=False)(X, Y, Z), function(X, Y, Z))


def test_where_it_shows() -> None:
    def function(x: Any, y: Any) -> Any:
        return x * y + 1.0

    for fast in (True, False):
        loops = nl.jit(function, fast_math=fast).inspect(X, Y)["loops"]
        assert ("fma(" in loops) == fast


def test_integers_and_products_that_are_used_twice_stay() -> None:
    def twice(x: Any, y: Any) -> Any:
        p = x * y
        return p + 1, p

    assert "fma" not in nl.jit(twice, fast_math=True).inspect(X, Y)["loops"]
    whole = np.arange(20)
    found = nl.jit(lambda a: a * a + a, fast_math=True)(whole)
    np.testing.assert_array_equal(found, whole * whole + whole)
