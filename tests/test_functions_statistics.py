"""Medians, quantiles, and what leaves NaN out, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from against_numpy import DTYPES, SHAPES, both, interpreter, same, sample, traced

import neurlang as nl

assert interpreter

EMPTY = [(0,), (0, 3), (2, 0)]
LEVELS = [0, 1, 0.5, 0.3, 0.999, np.float32(0.3), np.float64(0.7), [0.1, 0.9], [[0.25], [1.0]], []]


def check(name: str, *args: Any, **keywords: Any) -> None:
    both(getattr(nl, name), getattr(np, name), *args, rtol=4, **keywords)


def with_nan(shape: Any, dtype: str) -> Any:
    """Some NaN, and a row of nothing else where there are rows."""
    x = sample(shape, dtype)
    if x.dtype.kind == "f" and x.size > 2:
        x.reshape(-1)[::3] = np.nan
        x[..., 0] = np.nan
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["median", "nanmedian"])
def test_medians(name: str, dtype: str) -> None:
    for shape in SHAPES + EMPTY:
        for axis in (None, 0, -1, (0, 1), (0, 0), 7):
            for keepdims in (False, True):
                check(name, sample(shape, dtype), axis=axis, keepdims=keepdims)
                if dtype.startswith("float"):
                    check(name, with_nan(shape, dtype), axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["quantile", "percentile", "nanquantile", "nanpercentile"])
def test_quantiles(name: str, dtype: str) -> None:
    factor = 100 if "percent" in name else 1
    for shape in SHAPES[:5] + EMPTY:
        for axis in (None, 0, -1, (0, 1)):
            for q in LEVELS:
                # what NumPy makes of q with axes then depends on the shape of x, here it does not
                if name.startswith("nan") and (0 in shape or np.ndim(q) == 2):
                    continue
                if np.size(q) == 0 and 0 in shape:
                    continue
                part = q * factor if np.ndim(q) == 0 else np.array(q) * factor
                check(name, sample(shape, dtype), part, axis=axis)
    for q in LEVELS[:-2]:
        if dtype == "float32" and np.asarray(q).dtype == np.float64 and type(q) is not float:
            continue  # NumPy's dtype depends on where NaN is
        part = q * factor if np.ndim(q) == 0 else np.array(q) * factor
        x = with_nan((4, 5), dtype)
        for axis in (0, 1, None):
            check(name, x, part, axis=axis, keepdims=True)
    for wrong in (-0.1, 101, np.nan, [0.5, 200]):
        check(name, sample((5,), dtype), wrong)
    check(name, np.array([1, np.inf, -np.inf, 2.0]), 0.4 * factor)


@pytest.mark.parametrize("name", ["quantile", "nanpercentile"])
def test_quantiles_at_traced_places(name: str) -> None:
    factor = 100 if "percent" in name else 1
    x = with_nan((4, 7), "float32") if name.startswith("nan") else sample((4, 7), "float32")
    for q in (np.float64(0.3), np.array([0.0, 0.5, 1.0])):
        found = traced(lambda x, q: getattr(nl, name)(x, q, 1), x, q * factor)
        same(found, getattr(np, name)(x, q * factor, 1), rtol=4)
    function = nl.jit(lambda x, q: getattr(np, name)(x, q, 1))
    found, expected = function(x, 0.3 * factor), getattr(np, name)(x, 0.3 * factor, 1)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for wrong in (-0.1, 1.1):
        with pytest.raises(nl.IndexingError):
            function(x, wrong * factor)
    with pytest.raises(nl.DomainError, match="no method 'lower'"):
        getattr(nl, name)(x, 0.5, method="lower")


@pytest.mark.parametrize("dtype", ["int8", "bool", "float32", "float64"])
@pytest.mark.parametrize("name", ["nancumsum", "nancumprod"])
def test_running_totals_without_nan(name: str, dtype: str) -> None:
    for shape in SHAPES + EMPTY:
        for axis in (None, 0, -1):
            both(getattr(nl, name), getattr(np, name), with_nan(shape, dtype), axis=axis, rtol=64)


@pytest.mark.parametrize("dtype", ["int8", "float32", "float64"])
@pytest.mark.parametrize("name", ["nanargmax", "nanargmin"])
def test_places_of_extremes_without_nan(name: str, dtype: str) -> None:
    x = sample((4, 5), dtype)
    if x.dtype.kind == "f":
        x[0, 0] = x[1, 2] = x[3, 4] = np.nan
        x[2] = [np.nan, -np.inf, np.nan, np.inf, np.nan]
    for axis in (None, 0, 1):
        for keepdims in (False, True):
            check(name, x, axis=axis, keepdims=keepdims)
    check(name, np.zeros((0, 3)), axis=0)
