"""Sorts of library steps: the oracle is NumPy's stable merge sort, which they do not use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.runtime import sorting

GENERATOR = np.random.default_rng(0)
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float32", "float64")  # fmt: skip


def values(dtype: str, shape: tuple[int, ...], spread: float) -> Any:
    """Many equal elements where the spread is small; every special value among the floats."""
    x = GENERATOR.standard_normal(shape) * spread
    if dtype.startswith("float"):
        x = x.astype(dtype)
        special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 5e-324], dtype)
        places = GENERATOR.random(shape) < 0.3
        x[places] = GENERATOR.choice(special, int(places.sum()))
        return x
    return np.where(GENERATOR.random(shape) < 0.1, 0, x.astype(np.int64)).astype(dtype)


def descending(x: Any) -> Any:
    """Stable, the largest first."""
    return x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (7,), (1000,), (3, 50), (40, 1000), (2, 3, 5), (20_000,)])
@pytest.mark.parametrize("spread", [2.0, 1e4])
def test_the_largest(dtype: str, shape: tuple[int, ...], spread: float) -> None:
    x = values(dtype, shape, spread)
    for count in {0, 1, min(10, shape[-1]), shape[-1]}:
        expected = descending(x)[..., :count]
        largest = np.empty((*shape[:-1], count), np.int64)
        sorting.top_k(x, largest)
        np.testing.assert_array_equal(largest, expected)
        _, found = nl.jit(nl.top_k, static_argnums=1)(x, count)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (0,), (1000,), (3, 50), (2, 3, 5), (20_000,), (3, 0)])
@pytest.mark.parametrize("spread", [2.0, 1e4])
def test_as_the_stable_sort(dtype: str, shape: tuple[int, ...], spread: float) -> None:
    x = values(dtype, shape, spread)
    with nl.options(verify=True, cache="off"):
        found = nl.jit(lambda x: nl.argsort(x))(x)
        reverse = nl.jit(lambda x: nl.argsort(x, descending=True))(x)
        ordered = nl.jit(nl.sort)(x)
    np.testing.assert_array_equal(found, np.argsort(x, axis=-1, kind="stable"))
    np.testing.assert_array_equal(reverse, descending(x))
    expected = np.sort(x, axis=-1, kind="stable")
    np.testing.assert_array_equal(ordered, expected)
    if dtype.startswith("float"):
        zeros = expected == 0
        np.testing.assert_array_equal(np.signbit(ordered[zeros]), np.signbit(expected[zeros]))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 20_000), (1000, 300), (5, 7, 3000)])
def test_threads_share_rows(threads: int, shape: tuple[int, ...]) -> None:
    for dtype in ("int32", "float64"):
        x = values(dtype, shape, 50.0)
        ordered, order = nl.jit(lambda x: (nl.sort(x), nl.argsort(x)), threads=threads)(x)
        np.testing.assert_array_equal(ordered, np.sort(x, axis=-1))
        np.testing.assert_array_equal(order, np.argsort(x, axis=-1, kind="stable"))
        assert "rows a claim" in nl.jit(nl.sort).inspect(x)["loops"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("find", [sorting.numpys_sorter, sorting.pythons_sorter])
def test_the_sorters(find: Any, dtype: str) -> None:
    """NumPy's C functions, and what stands in for them where they are not to be had."""
    x = values(dtype, (1000,), 30.0)
    found = x.copy()
    assert sorting.SORTER(find(np.dtype(dtype)))(found.ctypes.data, 1000, None) == 0
    np.testing.assert_array_equal(found, np.sort(x))


@pytest.mark.parametrize("size", [100, 20_000])
def test_elements_that_agree_in_one_half(size: int) -> None:
    """Keys of 64 bits may be sorted twice: elements that differ in some bits alone, or in all."""
    halves = GENERATOR.integers(0, 3, (2, size), dtype=np.uint64)
    for x in (halves[0], halves[0] << np.uint64(32), (halves[1] << np.uint64(32)) | halves[0]):
        for y in (x, x.view(np.int64), (x | np.uint64(1 << 63)).view(np.float64)):
            found = nl.jit(lambda y: nl.argsort(y))(y)
            np.testing.assert_array_equal(found, np.argsort(y, kind="stable"))


@pytest.mark.parametrize("size", [1, 2, 3, 64, 65, 1000, 4097])
def test_ranges_that_just_leave_room_for_indices(size: int) -> None:
    """Rows whose range has as many bits as remain beside an index, or one more or less."""
    room = 64 - max(1, (size - 1).bit_length())
    for bits in (0, 1, room - 1, room, room + 1, 63, 64):
        highest = (1 << bits) - 1
        few = GENERATOR.integers(0, 5, size).astype(np.uint64)
        x = few * np.uint64(highest // 5) + GENERATOR.integers(
            0, min(highest // 5, 2) + 1, size
        ).astype(np.uint64)
        x[0], x[-1] = 0, highest
        for y in (
            x,
            x + np.uint64((1 << 64) - 1 - highest),
            (x ^ np.uint64(1 << 63)).view(np.int64),
        ):
            found = nl.jit(lambda y: nl.argsort(y))(y)
            np.testing.assert_array_equal(found, np.argsort(y, kind="stable"))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "bool"])
@pytest.mark.parametrize("size", [1, 1 << 16, (1 << 16) + 1])
def test_rows_as_long_as_short_keys_allow(dtype: str, size: int) -> None:
    x = GENERATOR.integers(0, 1 << 16, size).astype(dtype)
    found = nl.jit(lambda x: nl.argsort(x))(x)
    np.testing.assert_array_equal(found, np.argsort(x, kind="stable"))


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_compiled(dtype: str) -> None:
    x = values(dtype, (20, 60), 3.0)
    found, places = nl.jit(lambda x: nl.top_k(x, 5))(x)
    np.testing.assert_array_equal(places, descending(x)[:, :5])
    np.testing.assert_array_equal(found, np.take_along_axis(x, descending(x)[:, :5], axis=1))
    found, places = nl.jit(lambda x: nl.top_k(x * 2, 3, axis=0))(x)
    np.testing.assert_array_equal(places, descending((x * 2).T)[:, :3].T)
    np.testing.assert_array_equal(nl.jit(nl.sort)(x), np.sort(x))
    none, _ = nl.jit(lambda x: nl.top_k(x, 0))(x)
    assert none.shape == (20, 0)


def test_the_step_stands_in_the_loops() -> None:
    text = nl.jit(lambda x: nl.top_k(x, 5)).inspect(np.ones((3, 9000)))["loops"]
    assert "library" in text and "numpy.partition" in text
    text = nl.jit(lambda x: nl.argsort(x)).inspect(np.ones((3, 9), np.float32))["loops"]
    assert "u64[3,9] = numpy's sort of rows" in text
    text = nl.jit(lambda x: nl.argsort(x)).inspect(np.ones((3, 9)))["loops"]
    assert "indices that sort rows" in text and "u64[3,9]" in text
