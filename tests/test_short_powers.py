"""Powers with small constant exponents: ULP bounds and special values against exact fractions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

import neurlang as nl
from neurlang.ir.ops import SHORT_EXPONENTS

Array = npt.NDArray[np.floating]
EXPONENTS = sorted(SHORT_EXPONENTS)
DTYPES = ("float32", "float64")


def bases(exponent: int, dtype: str, count: int) -> Array:
    """Numbers of both signs whose powers lie all over, and most of them near either end."""
    limits = np.finfo(dtype)
    lowest, highest = math.log2(limits.smallest_subnormal), math.log2(limits.max)
    random = np.random.default_rng(5)
    logarithms = [
        random.uniform(lowest - 3, highest + 2, count),
        random.uniform(lowest - 2, math.log2(limits.tiny) + 3, count),
        random.uniform(highest - 3, highest + 0.5, count),
        random.uniform(-1, 1, count),
    ]
    wanted = np.concatenate(logarithms) / exponent
    wanted = wanted[(wanted < highest) & (wanted > lowest)]
    signs = random.choice([-1.0, 1.0], wanted.size)
    return (signs * np.exp2(wanted)).astype(dtype)


def errors(x: Array, exponent: int, got: Array) -> list[float]:
    """The errors in ULP; asserts that infinities stand where the exact power rounds to one."""
    limits = np.finfo(x.dtype)
    largest = Fraction(float(limits.max))
    last = limits.max - np.nextafter(limits.max, limits.tiny)
    beyond = largest + Fraction(float(last)) / 2
    found = []
    for base, result in zip(x.tolist(), got.tolist()):
        exact = Fraction(base) ** exponent
        if math.isinf(result):
            assert abs(exact) > largest and (result > 0) == (exact > 0), base
            continue
        assert abs(exact) < beyond and math.copysign(1, result) == (1 if exact > 0 else -1), base
        near = min(abs(exact), largest)
        below = np.nextafter(x.dtype.type(float(near)), x.dtype.type(0))
        unit = Fraction(abs(float(np.spacing(below))))
        found.append(float(abs(Fraction(result) - exact) / unit))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_ulp(exponent: int, dtype: str) -> None:
    x = bases(exponent, dtype, 250)
    got = nl.jit(lambda x: x**exponent)(x)
    assert got.dtype == dtype
    assert max(errors(x, exponent, got)) <= 0.76
    ordinary = np.isfinite(got) & (abs(got) > 2 * np.finfo(dtype).tiny)
    assert max(errors(x[ordinary], exponent, got[ordinary])) <= 0.51


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", EXPONENTS)
@np.errstate(all="ignore")
def test_special_values(exponent: int, dtype: str) -> None:
    limits = np.finfo(dtype)
    sizes = [0.0, 1.0, 2.0, math.inf, math.nan, limits.max, limits.tiny, limits.smallest_subnormal]
    x = np.array([sign * size for sign, size in itertools.product((1, -1), sizes)], dtype)
    expected = np.power(x, np.dtype(dtype).type(exponent))
    got = nl.jit(lambda x: x**exponent)(x)
    np.testing.assert_array_equal(got, expected)
    assert np.array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(expected[~np.isnan(got)]))


def test_layers_that_differ_in_their_exponents() -> None:
    def layers(x: Array) -> Array:
        for exponent in (3, 4, -3):
            x = x**exponent * 0.5
            x = x / x.sum()
        return x

    x = np.random.default_rng(1).uniform(1, 2, 100)
    np.testing.assert_allclose(nl.jit(layers)(x), layers(x), rtol=1e-14)
