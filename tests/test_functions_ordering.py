"""Sorting, running totals and searching against NumPy, with NaN, ties and empty axes."""

from __future__ import annotations

import numpy as np
import pytest
from against_numpy import DTYPES, NUMBERS, SHAPES, both, interpreter, same, sample, traced

from neurlang.errors import AxisError, ConcreteValueError, IndexingError, ShapeError
from neurlang.frontend import ordering as nl

assert interpreter

EMPTY = [(0,), (0, 3), (2, 0)]


def check(name, *args, rtol=0, **keywords):
    both(getattr(nl, name), getattr(np, name), *args, rtol=rtol, **keywords)


def with_nan(shape, dtype):
    x = sample(shape, dtype, scale=3)
    if x.dtype.kind == "f":
        x.reshape(-1)[::4] = np.nan
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sort", "argsort"])
def test_sorting(name, dtype):
    for shape in SHAPES[1:] + EMPTY:
        for axis in (None, 0, -1, len(shape)):
            check(name, with_nan(shape, dtype), axis, kind="stable")


def test_scalars_have_no_axis_to_sort():
    for x in (3, np.float64(3)):
        for axis in (0, -1, None, 1):
            check("sort", x, axis=axis)
            check("argsort", x, axis=axis)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32"])
def test_descending(dtype):
    for shape in ((9,), (3, 5), (0,), (1,)):
        x = with_nan(shape, dtype)
        for axis in (-1, 0):
            expected = np.flip(np.sort(x, axis, kind="stable"), axis)
            same(nl.sort(x, axis, descending=True), expected)
            order = np.asarray(nl.argsort(x, axis, descending=True))
            same(np.take_along_axis(x, order, axis), expected)
    same(nl.argsort([1, 2, 1, 2, 1], descending=True), np.array([1, 3, 0, 2, 4]))


def test_top_k():
    x = sample((4, 6), "float32")
    for axis in (0, 1, -1):
        values, indices = nl.top_k(x, 3, axis=axis)
        expected = np.take(np.flip(np.sort(x, axis), axis), range(3), axis)
        same(values, expected)
        same(np.take_along_axis(x, np.asarray(indices), axis), expected)
    values, indices = nl.top_k([1, 3, 3, 0], 2)
    same(indices, np.array([1, 2]))
    assert nl.top_k(x, 0)[0].shape == (4, 0)
    with pytest.raises(ShapeError, match="k = 7"):
        nl.top_k(x, 7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_totals(name, dtype):
    for shape in SHAPES + EMPTY:
        for axis in (None, 0, -1, 5):
            check(name, sample(shape, dtype, scale=3), axis=axis, rtol=64)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_running_totals_in_a_dtype(dtype):
    for name in ("cumsum", "cumprod"):
        check(name, sample((3, 4), "bool"), axis=1, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_extremes(dtype):
    for shape in SHAPES[1:] + EMPTY:
        x = sample(shape, dtype)
        if x.dtype.kind == "f" and x.size > 4:
            x.reshape(-1)[3] = np.nan
        for axis in range(-1, len(shape)):
            same(nl.cummax(x, axis), np.maximum.accumulate(x, axis))
            same(nl.cummin(x, axis), np.minimum.accumulate(x, axis))
        same(nl.cummax(x), np.maximum.accumulate(x.reshape(-1)))


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_cumulative(name):
    x = sample((3, 4), "int16")
    for axis in (None, 0, -1, 2):
        for include in (False, True):
            check(name, x, axis=axis, include_initial=include)
    check(name, x[0], include_initial=True)
    check(name, x[0], dtype="float32")
    check(name, 3)
    for axis in ((0,), (0, 0), 0):
        check(name, np.float64(3), axis=axis)
        check(name, x[0], axis=axis)


@pytest.mark.parametrize("side", ["left", "right", "middle"])
@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 16, 17, 31, 32, 33, 100])
def test_searchsorted(size, dtype, side):
    x = np.sort(with_nan((size,), dtype))
    for shape in ((), (9,), (3, 4), (0,)):
        check("searchsorted", x, with_nan(shape, dtype), side=side)
        check("searchsorted", x, with_nan(shape, "float64"), side=side)


def test_searchsorted_with_a_sorter_and_traced():
    x = sample((50,), "float32")
    values = sample((20,), "float32", 1)
    order = np.argsort(x)
    check("searchsorted", x, values, sorter=order)
    check("searchsorted", np.ones((2, 2)), values)
    same(traced(nl.searchsorted, np.sort(x), values), np.searchsorted(np.sort(x), values))


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("bins", [[1, 3, 5], [5.5, 3, 1], [2], [], [1, 3, 1], [2, 2, 2], [1, 1, 4]])
def test_digitize(bins, right):
    check("digitize", sample((3, 4), "float32"), bins, right)
    check("digitize", np.arange(7), bins, right)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("bins", [[1, 3, 5], [5.5, 3, 1], [2], [2, 2, 2], [4, 1, 1], [1, 1, 4]])
def test_digitize_by_traced_bins(bins, right):
    x, edges = sample((3, 4), "float32"), np.array(bins)
    found = traced(lambda x, edges: nl.digitize(x, edges, right), x, edges)
    np.testing.assert_array_equal(found, np.digitize(x, edges, right))


def test_bincount():
    x = np.array([1, 4, 1, 0, 6])
    weights = sample((5,), "float32")
    for least in (0, 3, 9, -1):
        check("bincount", x, minlength=least)
        check("bincount", x, weights, least, rtol=8)
        check("bincount", x.astype(np.uint8), minlength=least)
    for wrong in ([-1, 2], np.ones((2, 2), int), np.ones(3), 3):
        check("bincount", wrong)
    check("bincount", np.zeros(0, int))
    check("bincount", np.array([True, False, True]))
    check("bincount", x, weights[:2])


def test_bincount_of_traced_integers():
    x = np.array([1, 4, 1])
    same(traced(lambda a: nl.bincount(a, minlength=5), x), np.bincount(x))
    with pytest.raises(ConcreteValueError, match="minlength"):
        traced(nl.bincount, x)
    for wrong in ([5], [-1]):
        with pytest.raises(IndexingError, match="out of range"):
            traced(lambda a: nl.bincount(a, minlength=5), np.array(wrong))


def test_errors_name_the_axis():
    with pytest.raises(AxisError, match=r"sort: axis 2 is out of range for f64\[2,3\]"):
        nl.sort(np.ones((2, 3)), 2)
