"""Compiled gathers, scatters and strided reads, with indices of every dtype, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.errors import IndexingError
from neurlang.ir.loops import Kernel, Register, accesses

GENERATOR = np.random.default_rng(0)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def indices(dtype: str, size: int, count: int) -> Any:
    """Indices of an axis, from its end as well where the dtype has negative numbers."""
    info = np.iinfo(dtype)
    low, high = max(-size, int(info.min)), min(size - 1, int(info.max))
    return GENERATOR.integers(low, high, count, endpoint=True, dtype=dtype)


@pytest.fixture(autouse=True)
def verified() -> Any:
    with nl.options(verify=True, cache="off"):
        yield


@pytest.mark.parametrize("bits", [0, 128, 256])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_indices_of_every_dtype(dtype: str, bits: int) -> None:
    x = GENERATOR.normal(size=(300, 70)).astype(np.float32)
    flat = GENERATOR.normal(size=1000)
    rows, columns, places = (indices(dtype, size, 77) for size in (300, 70, 1000))
    with nl.options(vector_bits=bits):
        found = nl.jit(lambda x, y, i, j, k: (x[i], x[:, j], x[i, j], y[k]))(
            x, flat, rows, columns, places
        )
        added = nl.jit(lambda i, y: nl.scatter_add(np.zeros(1000), i, y))(places, flat[:77])
    wanted = (x[rows], x[:, columns], x[rows, columns], flat[places])
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)
    total = np.zeros(1000)
    np.add.at(total, places, flat[:77])
    np.testing.assert_allclose(added, total, rtol=1e-12)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("wrong", [60, -61])
def test_an_index_out_of_range(dtype: str, wrong: int) -> None:
    if np.dtype(dtype).kind == "u" and wrong < 0:
        wrong = int(np.iinfo(dtype).max)
    x = np.arange(60.0)
    places = np.zeros(40, dtype)
    places[33] = wrong
    gather = nl.jit(lambda x, i: x[i])
    if dtype == "uint64" and wrong > 60:  # NumPy takes it for -1
        np.testing.assert_array_equal(gather(x, places), x[places])
        return
    with pytest.raises(IndexingError):
        gather(x, places)


def test_the_smallest_index_of_32_bits() -> None:
    places = np.array([0, np.iinfo(np.int32).min], np.int32)
    with pytest.raises(IndexingError):
        nl.jit(lambda x, i: x[i])(np.arange(10.0), places)
    large = np.iinfo(np.int32).max
    x = np.broadcast_to(np.float32(2), (large,))
    traced = nl.jit(lambda x, i: x[i]).lower(
        nl.ShapeDtype(x.shape, "float32"), nl.ShapeDtype((3,), "int32")
    )
    assert "i64" not in traced.as_text("loops")
    beyond = nl.jit(lambda x, i: x[i]).lower(
        nl.ShapeDtype((large + 1,), "float32"), nl.ShapeDtype((3,), "int32")
    )
    assert "i64" in beyond.as_text("loops")


@pytest.mark.parametrize("step", [2, 3, -1, -3, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_strided_reads(step: int, dtype: str) -> None:
    x = (GENERATOR.normal(size=(40, 200)) * 100).astype(dtype)
    found = nl.jit(lambda x: (x[:, ::step] * 2, x[::step, 5::3] + x[::step, 5::3]))(x)
    for one, other in zip(found, (x[:, ::step] * 2, x[::step, 5::3] + x[::step, 5::3])):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "float32", "int64"])
@pytest.mark.parametrize("index", ["int8", "uint8", "int32", "int64"])
def test_elements_one_by_one_and_as_vectors(dtype: str, index: str) -> None:
    """Vectors of indices that all count from the front, next to some that do not."""
    x = (GENERATOR.normal(size=(50, 90)) * 100).astype(dtype)
    flat = x.reshape(-1)
    i, j, k = (GENERATOR.integers(0, n, 500).astype(index) for n in (50, 90, 100))
    if index != "uint8":
        i[[3, 200, 201]], j[[7, 200, 499]], k[300:330] = -50, -1, -7
    found = nl.jit(lambda x, f, i, j, k: (x[i, j], f[k], f[k] == f[i], x.T[j, 7]))(x, flat, i, j, k)
    wanted = (x[i, j], flat[k], flat[k] == flat[i], x.T[j, 7])
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)


def test_the_axis_that_an_index_is_out_of() -> None:
    x = np.arange(60.0).reshape(6, 10)
    look = nl.jit(lambda x, i, j: x[i, j])
    i, j = np.zeros(40, "int64"), np.full(40, -10)
    np.testing.assert_array_equal(look(x, i, j), x[i, j])
    for wrong, size, place in ((6, 6, i), (-7, 6, i), (10, 10, j), (-11, 10, j)):
        kept = place[33]
        place[33] = wrong
        with pytest.raises(IndexingError, match=f"axis of size {size}"):
            look(x, i, j)
        place[33] = kept


def test_indices_that_are_written_over() -> None:
    """A result may take the place of the indices that it was read by."""
    table = GENERATOR.integers(0, 1000, 1000)
    values = GENERATOR.normal(size=1000)

    def follow(table: Any, values: Any, i: Any) -> Any:
        for _ in range(3):
            i = table[i + 0]
        return table[i], values[i], i * 2

    start = GENERATOR.integers(-1000, 1000, 333)
    for one, other in zip(nl.jit(follow)(table, values, start), follow(table, values, start)):
        np.testing.assert_array_equal(one, other)


def test_numbers_of_few_bits_are_not_checked() -> None:
    x, places = GENERATOR.normal(size=256), np.arange(300, dtype="uint8")
    look = nl.jit(lambda x, i: x[i])
    np.testing.assert_array_equal(look(x, places), x[places])
    assert "check" not in look.lower(x, places).as_text("loops")
    assert "check" in look.lower(x[:255], places).as_text("loops")
    rows = nl.jit(lambda x, i: np.take_along_axis(x, i, 1))
    text = rows.lower(np.zeros((5, 40)), np.zeros((5, 30), "int64")).as_text("loops")
    assert text.count("check") == 2  # of whole vectors and of the rest, and none for the rows


@pytest.mark.parametrize("columns", [2, 3, 4, 8])
@pytest.mark.parametrize("index", ["uint8", "int32", "int64"])
def test_rows_that_data_chooses(columns: int, index: str) -> None:
    """Rows of two or three elements have a lane each, longer ones are loaded at once."""
    points = GENERATOR.normal(size=(256, columns)).astype(np.float32)
    i, j = (GENERATOR.integers(0, 256, 1003).astype(index) for _ in range(2))
    if index != "uint8":
        i[[0, 500, 1002]] = -1, -256, -7

    def apart(p: Any, i: Any, j: Any) -> Any:
        return p[i], (p[i] - p[j]) * 2, np.abs(p[i] - p[j]).max(axis=1)

    compiled = nl.jit(apart)
    for one, other in zip(compiled(points, i, j), apart(points, i, j)):
        np.testing.assert_array_equal(one, other)
    text = nl.jit(lambda p, i: p[i]).lower(points, i).as_text("loops")
    assert ("for k" in text or "for j" in text) == (columns > 3), text
    if index != "uint8":
        i[1002] = 256
        with pytest.raises(IndexingError):
            compiled(points, i, j)


def test_an_index_is_checked_once() -> None:
    def corners(x: Any, i: Any, j: Any) -> Any:
        i, j = np.floor(i).astype("int32"), np.floor(j).astype("int32")
        return x[i, j] + x[i + 1, j] + x[i, j + 1] + x[i + 1, j + 1]

    x = GENERATOR.normal(size=(50, 60, 3))
    i, j = GENERATOR.uniform(0, 48, 400), GENERATOR.uniform(0, 58, 400)
    look = nl.jit(corners)
    np.testing.assert_array_equal(look(x, i, j), corners(x, i, j))
    assert look.lower(x, i, j).as_text("loops").count("check") == 4


def test_bounds_of_indices_stay() -> None:
    """Addresses are computed in 32 bits where the bounds of what they are made of allow it."""
    points, places = np.zeros((256, 3), np.float32), np.zeros(40, np.int32)
    made = nl.jit(lambda p, i: p[i]).trace(points, places).lower().made
    assert made.program is not None
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    used = {
        atom
        for buffer, index in accesses(kernel.body)
        for atom, _ in buffer.flat(index).terms
        if isinstance(atom, Register)
    }
    assert {(register.low, register.high) for register in used} == {(0, 255)}


def test_a_place_that_is_known() -> None:
    """All that a loop along rows did may be the same for each element."""

    def second(x: Any) -> Any:
        return np.take(x - x.sum(axis=1, keepdims=True), 1, axis=1)

    x = GENERATOR.integers(0, 9, (2, 5)).astype(np.float32)
    np.testing.assert_array_equal(nl.jit(second)(x), second(x))


def test_indices_that_a_cast_changes() -> None:
    x, places = np.arange(300, dtype=np.float32), np.arange(64)
    places[7] += 2**45
    look = nl.jit(lambda x, i: x[i.astype("int32")])
    np.testing.assert_array_equal(look(x, places), x[places.astype("int32")])


def test_columns_of_what_is_gathered_or_repeated() -> None:
    a, places = GENERATOR.normal(size=(2, 3, 1)), np.zeros(8, int)
    found = nl.jit(lambda a, i: a[1, :, i].max(-1))(a, places)
    np.testing.assert_array_equal(found, a[1, :, places].max(-1))
    w, v = np.ones((40, 144)), np.ones(16)
    np.testing.assert_array_equal(nl.jit(lambda w, v: (w * np.tile(v, 9)).sum(0))(w, v), 40 * w[0])


def test_an_axis_without_elements() -> None:
    with pytest.raises(IndexingError, match="axis of size 0"):
        nl.jit(lambda x, i: x[i])(np.zeros(0), np.zeros(5, int))
    assert nl.jit(lambda x, i: x[i])(np.zeros(0), np.zeros(0, int)).shape == (0,)
