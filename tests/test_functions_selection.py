"""Choosing, inserting and deleting, index constants, and small questions, against NumPy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from against_numpy import DTYPES, NUMBERS, SHAPES, both, interpreter, same, sample, traced

import neurlang as nl

assert interpreter

EMPTY = [(0,), (0, 3), (2, 0)]


def check(name: str, *args: Any, rtol: float = 0, **keywords: Any) -> None:
    both(getattr(nl, name), getattr(np, name), *args, rtol=rtol, **keywords)


# membership and conditions


@pytest.mark.parametrize("dtype", DTYPES)
def test_isin(dtype: str) -> None:
    for shape in SHAPES + EMPTY:
        for count in (0, 1, 5, 40):
            for other in (dtype, "int64", "float64"):
                check("isin", sample(shape, dtype), sample((count,), other, 1))
    check("isin", sample((3, 4), dtype), [1, 2], invert=True)
    check("isin", 3, [[1, 3]], assume_unique=True)
    check("isin", np.array([np.nan, 1.0]), [np.nan, 1.0])
    check("isin", np.array([np.nan, 1.0, 7]), np.array([np.nan, *range(30)]))
    found = traced(nl.isin, sample((9,), dtype), sample((30,), dtype, 1))
    same(found, np.isin(sample((9,), dtype), sample((30,), dtype, 1)))


def test_select() -> None:
    x = sample((3, 4), "int16")
    conditions = [x > 3, x < -1, x == 0]
    check("select", conditions, [x, -x, x * 2])
    check("select", conditions, [x, 1, 2.5], -1)
    check("select", conditions, [1, 2, 3], default=np.float32(7))
    check("select", conditions[:1], [x[0].astype("float32")], 9)
    check("select", [x[0] > 0, True], [np.ones((2, 1)), 3])
    check("select", [], [])
    check("select", conditions, [x])
    check("select", [x], [x])
    check("select", [x > 0], [np.ones(5)])
    same(
        traced(lambda x: nl.select([x > 3, x < 0], [x, -x], 5), x),
        np.select([x > 3, x < 0], [x, -x], 5),
    )
    function = nl.jit(lambda x: np.select([x > 3, x < 0], [x, -x], 5))
    np.testing.assert_array_equal(function(x), np.select([x > 3, x < 0], [x, -x], 5))


def test_compress() -> None:
    x = sample((3, 4), "float32")
    for condition in (
        [True, False, True],
        [1, 0],
        [False],
        [0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [[True]],
    ):
        for axis in (None, 0, 1, -1, 2):
            check("compress", condition, x, axis)
    with pytest.raises(nl.ConcreteValueError, match="the condition of compress needs the value"):
        nl.jit(lambda x: np.compress(x[0] > 0, x, axis=1))(x)
    same(nl.asarray(x).compress([False, True], 0), x.compress([False, True], 0))


# deleting and inserting

PLACES: list[Any] = [
    0,
    2,
    -1,
    5,
    [0, 2],
    [1],
    [],
    [-1, 1, 1],
    slice(None),
    slice(1, None, 2),
    slice(2, 2),
    np.array([True, False, True]),
    np.array([True]),
    [0, 9],
]


@pytest.mark.parametrize("places", PLACES, ids=str)
def test_delete(places: Any) -> None:
    for shape in ((3,), (3, 4), (2, 3, 4)):
        for axis in (None, 0, 1, -1):
            check("delete", sample(shape, "int16"), places, axis)


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize(
    "values", [7, 2.5, [1, 2], [1, 2, 3], [[1], [2]], np.ones((3, 4))], ids=str
)
def test_insert(places: Any, values: Any) -> None:
    for shape in ((3,), (3, 4), (2, 3, 4)):
        for axis in (None, 0, 1, -1):
            check("insert", sample(shape, "int16"), places, values, axis)


def test_traced_places_and_values() -> None:
    x = sample((3, 4), "float32")
    found = traced(lambda x, v: nl.insert(x, 1, v, axis=1), x, np.arange(3.0))
    same(found, np.insert(x, 1, np.arange(3.0), axis=1))
    for function in (np.delete, lambda x, i: np.insert(x, i, 0)):
        with pytest.raises(nl.ConcreteValueError, match="at places needs the value"):
            nl.jit(function)(x, 1)


# index constants


@pytest.mark.parametrize("name", ["tril_indices", "triu_indices"])
def test_triangles(name: str) -> None:
    for n in (0, 1, 4):
        for k in (-2, 0, 3):
            for m in (None, 0, 6):
                check(name, n, k, m)
    x = sample((4, 3), "int8")
    check(f"{name}_from", x, 1)
    check(f"{name}_from", x[0])
    found = nl.jit(lambda x: x[getattr(nl, name)(3)])(x)
    np.testing.assert_array_equal(found, x[getattr(np, name)(3)])


def test_diagonals() -> None:
    check("diag_indices", 3)
    check("diag_indices", 2, 3)
    for shape in ((3, 3), (2, 2, 2), (3, 4), (3,)):
        check("diag_indices_from", np.ones(shape))
    for shape in ((3,), (2, 2), ()):
        for k in (0, -1, 2):
            check("diagflat", sample(shape, "int8"), k)


@pytest.mark.parametrize("order", ["C", "F", "K"])
def test_flat_indices(order: str) -> None:
    for shape in ((2, 3), (4,), (2, 3, 4), 5):
        indices = np.arange(int(np.prod(shape)))
        for given in (indices, indices[-1], indices.reshape(1, -1).astype("uint8"), [], 99, -1):
            check("unravel_index", given, shape, order)
        if order != "K":
            unravel = functools.partial(nl.unravel_index, shape=shape, order=order)
            found = traced(lambda i, unravel=unravel: nl.stack(unravel(i)), indices)
            same(found, np.stack(np.unravel_index(indices, shape, order)))
    check("unravel_index", 1.0, (2, 3))
    index = (np.array([[0, 1]]), np.array([[2], [0]]))
    for mode in ("raise", "clip", "wrap", ("clip", "wrap"), "other"):
        check("ravel_multi_index", index, (2, 3), mode, order)
        check("ravel_multi_index", (np.array([-1, 5]), np.array([2, 4])), (2, 3), mode, order)
    check("ravel_multi_index", (1, 2), (2, 3), order=order)
    check("ravel_multi_index", (1, 2), (2, 3, 4), order=order)


def test_flat_indices_that_are_traced() -> None:
    x = sample((3, 4), "float32")
    place = nl.jit(lambda x: np.unravel_index(np.argmax(x), x.shape))(x)
    assert place == np.unravel_index(np.argmax(x), x.shape)
    flat = nl.jit(lambda i, j: np.ravel_multi_index((i, j), (3, 4), mode="clip"))
    assert flat(np.int64(7), np.int64(1)) == 9
    with pytest.raises(nl.ConcreteValueError, match="cannot raise for indices"):
        nl.jit(lambda i, j: np.ravel_multi_index((i, j), (3, 4)))(np.int64(1), np.int64(1))


# blocks and sizes


def test_block() -> None:
    a, b = sample((2, 2), "int8"), sample((2, 3), "float32", 1)
    for arrays in (
        [a, a],
        [[a, b], [b, a]],
        a,
        5,
        [1, 2],
        [[1], [2]],
        [a[0], [1]],
        [],
        [[]],
        (a, b),
    ):
        check("block", arrays)
    check("block", [[a, np.ones((2, 1))], [1, 2, 3]])
    check("block", [[np.ones((1, 2, 2))], [a]])
    found = nl.jit(lambda a, b: np.block([[a, b], [b, a]]))(a, b)
    np.testing.assert_array_equal(found, np.block([[a, b], [b, a]]))


def test_resize_and_dsplit() -> None:
    for shape in SHAPES[:4] + EMPTY:
        for new in (0, 1, 7, (2, 3), (3, 0), (-1,), (4, 4)):
            check("resize", sample(shape, "int16"), new)
    for cuts in (1, 2, 3, [1], [1, 3]):
        check("dsplit", sample((2, 3, 4), "int8"), cuts)
    check("dsplit", np.ones((2, 3)), 1)


def test_array_equiv() -> None:
    x = sample((3, 4), "int16")
    for other in (x, x[0], x[:1], 1, np.ones(5), x.astype(float), np.zeros((0, 4))):
        check("array_equiv", x, other)
    check("array_equiv", np.ones((2, 2)), 1)


@pytest.mark.parametrize("name", ["partition", "argpartition"])
def test_partition(name: str) -> None:
    """The element at kth is where sorting puts it; what stands on either side is open."""
    x = sample((4, 9), "float32")
    for axis in (0, 1, -1, None):
        for kth in (0, 2, -1, [1, 3]):
            found = np.asarray(getattr(nl, name)(x, kth, axis))
            if name == "argpartition":
                rows = x.reshape(-1) if axis is None else x
                found = np.take_along_axis(rows, found, axis or 0 if axis is None else axis)
            theirs = np.partition(x, kth, axis)
            place = 0 if axis is None else axis
            np.testing.assert_array_equal(found.take(kth, place), theirs.take(kth, place))
    for axis in (0, -1, None, 1):
        check(name, np.float64(3), 0, axis=axis)
    for wrong in (9, -10, [0, 9]):
        check(name, x, wrong)
    same(nl.asarray(x).argpartition(2), np.argsort(x, kind="stable"))


# questions about real arrays


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_real_arrays(dtype: str) -> None:
    for shape in SHAPES[:4] + EMPTY:
        x = sample(shape, dtype)
        for name in "real imag real_if_close isreal iscomplex copy asanyarray".split():
            check(name, x)
        for name in ("isrealobj", "iscomplexobj", "ndim", "shape", "size"):
            assert getattr(nl, name)(x) == getattr(np, name)(x)
            assert getattr(np, name)(nl.asarray(x)) == getattr(np, name)(x)
        check("ascontiguousarray", x)
        check("asfortranarray", x)
        if dtype != "bool":
            check("conj", x)
            check("around", x, 1)
        if dtype in NUMBERS and dtype not in ("int8", "uint8"):
            check("angle", x, rtol=2)
            check("angle", x, deg=True, rtol=2)
    assert nl.size(np.ones((2, 3)), 1) == 3 and nl.size(np.ones((2, 3)), (0, 1)) == 6
    assert nl.iscomplexobj(np.ones(2, "complex64")) and not nl.isrealobj(1j)
