"""Convolutions of vectors, interpolation, differences, windows and polynomials, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_numpy import DTYPES, NUMBERS, both, interpreter, same, sample, traced

import neurlang as nl

assert interpreter

ROUNDED = 64


def check(name: str, *args: Any, rtol: float = ROUNDED, **keywords: Any) -> None:
    both(getattr(nl, name), getattr(np, name), *args, rtol=rtol, **keywords)


# convolution


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_of_vectors(name: str, dtype: str) -> None:
    for m, n in ((1, 1), (7, 3), (3, 7), (8, 4), (4, 4), (5, 5), (50, 40), (40, 50), (100, 33)):
        for mode in ("full", "same", "valid"):
            check(name, sample((m,), dtype), sample((n,), dtype, 1), mode)
    check(name, sample((9,), dtype), sample((4,), "float32", 1))
    check(name, 3, sample((4,), dtype))
    check(name, [1, 2, 3], [0, 1, 0.5])
    for wrong in (np.ones((2, 2)), np.ones(0)):
        check(name, wrong, sample((2,), dtype))
    check(name, sample((9,), dtype), [1, 2], "other")


@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_convolution_by_machine_code(name: str) -> None:
    function = nl.jit(lambda a, v: getattr(np, name)(a, v, "same"))
    for m, n in ((1000, 5), (5, 1000), (3000, 500)):
        a, v = sample((m,), "float64"), sample((n,), "float64", 1)
        np.testing.assert_allclose(function(a, v), getattr(np, name)(a, v, "same"), 1e-10, 1e-9)


# interpolation


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_interp(count: int) -> None:
    points = np.cumsum(np.abs(sample((count,), "float64")) + 0.1)
    values = sample((count,), "float64", 1)
    between = np.linspace(points[0] - 1, points[-1] + 1, 37)
    special = np.concatenate([points, [np.nan, np.inf, -np.inf]])
    for x in (between, special, between.reshape(1, 37), 2.5, np.zeros((0, 3)), np.arange(5)):
        check("interp", x, points, values)
        check("interp", x, points, values, -1, 7)
        check("interp", x, points, values, right=np.nan)
        check("interp", x, points[::-1], values, period=5)
        check("interp", x, points.astype("float32"), values.astype("int8"), period=-3.5)
    same(traced(nl.interp, between, points, values), np.interp(between, points, values), ROUNDED)
    values[count // 2] = np.inf
    check("interp", special, points, values)
    check("interp", 1.0, points, values[:-1])
    check("interp", 1.0, points.reshape(1, -1), values)
    check("interp", 1.0, [], [])
    check("interp", 1.0, points, values, period=0)


def test_interp_between_points_of_machine_code() -> None:
    points, values = np.arange(100.0) ** 2, sample((100,), "float64")
    x = np.linspace(-5, 1e4, 1001)
    function = nl.jit(lambda x, points, values: np.interp(x, points, values))
    np.testing.assert_array_equal(function(x, points, values), np.interp(x, points, values))


# differences


@pytest.mark.parametrize("dtype", [*DTYPES])
def test_gradient(dtype: str) -> None:
    x = sample((4, 5), dtype)
    even, uneven = np.arange(5) * 0.5, np.array([0, 1, 3, 3.5, 7])
    for spacings in ((), (2,), (0.5,), (np.float64(0.3),), (2, even), (1.5, uneven), (1, 2, 3)):
        check("gradient", x, *spacings)
    for axis in (0, 1, -1, (0, 1), (1, 0), 2, (0, 0)):
        check("gradient", x, axis=axis)
    check("gradient", x, uneven, axis=1)
    check("gradient", x, uneven.astype("float32"), axis=1)
    check("gradient", x, np.array([0, 1, 3, 4, 9]), axis=1)
    check("gradient", x, uneven, axis=0)
    check("gradient", x, uneven, uneven)
    for shape in ((2,), (3,), (1,), (0,), (2, 1)):
        check("gradient", sample(shape, dtype))
    check("gradient", sample((2,), dtype), np.array([1.0, 4.0]))


def test_gradient_at_traced_places() -> None:
    x, places = sample((6,), "float64"), np.array([0, 1, 3, 3.5, 7, 8])
    same(traced(nl.gradient, x, places), np.gradient(x, places), ROUNDED)
    found = nl.jit(lambda x, h: np.gradient(x, h))(x.astype("float32"), 0.5)
    same(found, np.gradient(x.astype("float32"), 0.5), ROUNDED)
    with pytest.raises(nl.DomainError, match="edge_order 2"):
        nl.gradient(x, edge_order=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ediff1d(dtype: str) -> None:
    for shape in ((), (1,), (5,), (2, 3), (0,)):
        check("ediff1d", sample(shape, dtype))
        check("ediff1d", sample(shape, dtype), to_end=[1, 2], to_begin=3)
        check("ediff1d", sample(shape, dtype), to_begin=np.float32(2.5))
        check("ediff1d", sample(shape, dtype), to_end=np.ones((2, 2), "int8"))


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each[0] != "u" and each != "bool"])
def test_unwrap(dtype: str) -> None:
    x = sample((4, 9), dtype, scale=8)
    for axis in (0, 1, -1, 2):
        for keywords in ({}, {"period": 6}, {"period": 5}, {"period": 6.5}, {"discont": 5}):
            check("unwrap", x, axis=axis, **keywords)
    check("unwrap", np.array([0, 1, 2, -1, 0, 3, 0], dtype), period=6)
    check("unwrap", sample((1,), dtype))
    check("unwrap", np.array(3, dtype))


# windows and polynomials


@pytest.mark.parametrize("size", [-1, 0, 1, 2, 7, 2.5, np.int8(4)])
def test_windows(size: Any) -> None:
    for name in ("bartlett", "blackman", "hamming", "hanning"):
        check(name, size, rtol=0)
    check("kaiser", size, 8.6, rtol=0)
    with pytest.raises(nl.ConcreteValueError, match="the size of hamming needs the value"):
        nl.jit(nl.hamming)(3)


@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
def test_polynomials(dtype: str) -> None:
    x = sample((3, 4), dtype)
    for p in ([1, 2.5, -1], [2, 0, 1], np.array([1, 2], "int8"), [], [3], np.ones((2, 4))):
        check("polyval", p, x)
    check("polyval", [1, 2], 3)
    for columns in (None, 0, 1, 5, -1):
        for increasing in (False, True):
            check("vander", x[0], columns, increasing)
    check("vander", x)
    check("vander", sample((0,), dtype))
    found = traced(lambda x, p: nl.polyval(p, x), x, np.array([1.0, 2.0]))
    same(found, np.polyval(np.array([1.0, 2.0]), x))
