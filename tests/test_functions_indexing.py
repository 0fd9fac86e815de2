"""Indexing, scattering and creation against NumPy: fuzzed keys, bounds, shapes, bits."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from neurlang.errors import ConcreteValueError, IndexingError, MutationError, ShapeError
from neurlang.frontend import array as array_module
from neurlang.frontend import creation as make
from neurlang.frontend import indexing as nl
from neurlang.frontend import protocols
from neurlang.frontend.array import Array, asarray, set_executor
from neurlang.frontend.trace import Trace, tracing
from neurlang.ir.graph import Graph, Node, graph_from
from neurlang.ir.interpret import interpret
from neurlang.ir.types import Type

assert protocols.PUBLIC  # attaches x[key]


def run(graph: Graph) -> tuple[Any, ...]:
    result = interpret(graph)
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    earlier = list(array_module._executor)
    set_executor(run)
    yield
    array_module._executor[:] = earlier


def traced_call(function: Any, *values: Any) -> Any:
    """`function` of parameters, interpreted: no value is known while it runs."""
    params = []
    for position, value in enumerate(values):
        value = np.asarray(value)
        params.append(Node("param", (), {"name": f"x{position}"}, Type(value.dtype, value.shape)))
    with tracing(Trace("test")) as trace:
        output = function(*[Array(param, trace) for param in params])
    return interpret(graph_from([output.node], params, "test"), *values)


def random_slice(random: np.random.Generator, size: int) -> slice:
    def bound() -> int | None:
        return None if random.random() < 0.3 else int(random.integers(-size - 2, size + 3))

    step = int(random.choice([1, 1, 2, 3, -1, -2]))
    return slice(bound(), bound(), None if step == 1 else step)


def random_key(random: np.random.Generator, shape: tuple[int, ...], arrays: bool) -> Any:
    """A key that mixes all kinds of parts, most of them in range."""
    parts: list[Any] = []
    common = tuple(int(n) for n in random.integers(1, 4, random.integers(0, 3)))
    axis = 0
    end = int(random.integers(0, len(shape) + 1))
    while axis < end:
        size = shape[axis]
        choice = random.random()
        if choice < 0.15:
            parts.append([None, True, np.True_, False][int(choice * 200) % 4 if arrays else 0])
            continue
        if arrays and choice < 0.55 and size:
            kept = [n if random.random() < 0.7 else 1 for n in common]
            index = random.integers(-size, size, kept)
            parts.append(index.tolist() if index.ndim == 1 and choice < 0.25 else index)
        elif arrays and choice < 0.62 and size:
            mask = np.zeros(size, bool)
            mask[: max(common, default=1)] = True
            parts.append(mask)
        elif choice < 0.75 and size:
            parts.append(int(random.integers(-size, size)))
        else:
            parts.append(random_slice(random, size))
        axis += 1
    if random.random() < 0.4:
        position = int(random.integers(0, len(parts) + 1))
        parts.insert(position, Ellipsis)
    return parts[0] if len(parts) == 1 and random.random() < 0.5 else tuple(parts)


@pytest.mark.parametrize("seed", range(600))
def test_getitem_and_update_of_random_keys(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(
        int(n) for n in random.integers(0 if seed % 7 == 0 else 1, 6, random.integers(1, 5))
    )
    x = np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)
    key = random_key(random, shape, arrays=seed % 3 > 0)
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises(IndexError):
            nl.getitem(asarray(x), key)
        return
    found = asarray(x)[key]
    assert found.shape == expected.shape, key
    np.testing.assert_array_equal(found, expected)
    value = -np.arange(1, expected.size + 1, dtype="float64").reshape(expected.shape)
    changed = x.copy()
    changed[key] = value
    np.testing.assert_array_equal(nl.update(x, key, value), changed)


@pytest.mark.parametrize("seed", range(150))
def test_traced_indices(seed: int) -> None:
    """Every array and integer of a key becomes a parameter of the graph."""
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in random.integers(1, 6, random.integers(1, 5)))
    x = random.standard_normal(shape)
    key = random_key(random, shape, arrays=True)
    parts = list(key) if isinstance(key, tuple) else [key]
    places = [
        place
        for place, part in enumerate(parts)
        if isinstance(part, int | np.ndarray) and np.asarray(part).dtype != bool
    ]
    indices = [np.asarray(parts[place], "int64") for place in places]
    as_arrays = list(parts)
    for place, index in zip(places, indices):
        as_arrays[place] = index
    try:
        expected = x[tuple(as_arrays)]
    except IndexError:
        return

    def select(array: Array, *traced: Array) -> Array:
        for place, index in zip(places, traced):
            parts[place] = index
        return array[tuple(parts)]

    found = traced_call(select, x, *indices)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def test_traced_indices_are_checked_when_they_run() -> None:
    x = np.arange(12.0).reshape(3, 4)

    def select(a: Array, i: Array, j: Array) -> Array:
        return a[i, j]

    np.testing.assert_array_equal(
        traced_call(select, x, np.int64(-1), np.array([0, -4])), x[-1, [0, -4]]
    )
    for wrong in ((3, 0), (-4, 0), (0, 4), (0, -5), (-4, 5)):
        with pytest.raises(IndexingError):
            traced_call(select, x, np.int64(wrong[0]), np.int64(wrong[1]))


def test_update_at_traced_indices() -> None:
    x = np.arange(12.0).reshape(3, 4)
    rows, value = np.array([2, -3]), np.array([[-1.0], [-2.0]])
    expected = x.copy()
    expected[rows, 1:3] = value
    found = traced_call(lambda a, i, v: nl.update(a, (i, slice(1, 3)), v), x, rows, value)
    np.testing.assert_array_equal(found, expected)
    found = traced_call(lambda a, i: nl.update(a, i, 7), x, np.int64(1))
    np.testing.assert_array_equal(found, np.where(np.arange(3)[:, None] == 1, 7, x))
    with pytest.raises(IndexingError):
        traced_call(lambda a, i: nl.update(a, i, 7), x, np.int64(3))


def test_masks() -> None:
    x = np.arange(12.0).reshape(3, 4)
    mask = x % 3 == 0
    np.testing.assert_array_equal(asarray(x)[mask], x[mask])
    np.testing.assert_array_equal(asarray(x)[asarray(x) > 5], x[x > 5])
    np.testing.assert_array_equal(asarray(x)[[True, False, True], 1:], x[[True, False, True], 1:])
    np.testing.assert_array_equal(asarray(x)[..., mask[0]], x[..., mask[0]])
    np.testing.assert_array_equal(nl.update(x, mask, 0), np.where(mask, 0, x))
    with pytest.raises(IndexingError, match="traced mask"):
        traced_call(lambda a: a[a > 5], x)
    with pytest.raises(IndexingError, match="mask of shape"):
        asarray(x)[mask.T]


def test_errors_of_keys() -> None:
    x = asarray(np.zeros((3, 4)))
    with pytest.raises(IndexingError, match="index 4 is out of range for axis 1 with size 4"):
        x[0, 4]
    with pytest.raises(IndexingError, match="index -4 is out of range for axis 0 with size 3"):
        x[[0, -4]]
    with pytest.raises(IndexingError, match="too many indices"):
        x[0, 0, 0]
    with pytest.raises(IndexingError, match="single ellipsis"):
        x[..., ...]
    with pytest.raises(IndexingError, match="float64"):
        x[np.ones(2)]
    with pytest.raises(IndexingError, match="do not broadcast"):
        x[[0, 1], [0, 1, 2]]
    with pytest.raises(ConcreteValueError):
        traced_call(lambda a, n: a[:n], np.zeros(3), np.int64(2))
    with pytest.raises(MutationError, match="update"):
        x[0] = 1.0


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("mode", ["raise", "clip", "wrap"])
def test_take(axis: int | None, mode: Any) -> None:
    x = np.arange(20.0).reshape(4, 5)
    for indices in (2, [0, -1, 3], np.array([[1, 2], [3, 0]], "uint8"), []):
        if mode == "clip":
            indices = np.abs(np.asarray(indices, int))
        expected = np.take(x, np.asarray(indices, int), axis, mode=mode)
        np.testing.assert_array_equal(nl.take(x, indices, axis, mode), expected)
    for far in ([7, -9], [100]):
        if mode == "raise" and axis is not None:
            with pytest.raises(IndexingError):
                nl.take(x, far, axis)
        elif mode != "raise":
            np.testing.assert_array_equal(
                nl.take(x, far, axis, mode), np.take(x, far, axis, mode=mode)
            )
    np.testing.assert_array_equal(
        traced_call(lambda a, i: nl.take(a, i, axis, mode), x, np.array([1, 3])),
        np.take(x, [1, 3], axis, mode=mode),
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_take_along_axis(axis: int | None) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    order = np.argsort(x, axis=axis)
    expected = np.take_along_axis(x, order, axis)
    np.testing.assert_array_equal(nl.take_along_axis(x, order, axis), expected)
    found = traced_call(lambda a, i: nl.take_along_axis(a, i, axis), x, order)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "mode, ufunc", [("add", np.add), ("mul", np.multiply), ("max", np.maximum), ("min", np.minimum)]
)
def test_scatter(mode: str, ufunc: Any) -> None:
    random = np.random.default_rng(2)
    base, indices = random.standard_normal((5, 3)), random.integers(-5, 5, (2, 4))
    for values in (random.standard_normal((2, 4, 3)), random.standard_normal(3), 2):
        expected = base.copy()
        ufunc.at(expected, indices, values)
        np.testing.assert_allclose(nl.scatter(base, indices, values, mode), expected)
    if mode == "add":
        np.testing.assert_allclose(nl.scatter_add(base, indices, values), expected)


def test_scatter_set_and_errors() -> None:
    base = np.zeros(4, "int32")
    np.testing.assert_array_equal(nl.scatter(base, [1, -1, 1], [5, 6, 7]), [0, 7, 0, 6])
    assert nl.scatter(base, 0, 2.5).dtype == np.int32
    with pytest.raises(IndexingError, match="index 4 is out of range for axis 0 with size 4"):
        nl.scatter(base, [4], 1)
    with pytest.raises(IndexingError, match="no mode"):
        nl.scatter(base, [0], 1, "sub")
    with pytest.raises(ShapeError):
        nl.update(base, slice(0, 2), [1, 2, 3])


# --- creation -----------------------------------------------------------------------------------

BIT_EXACT_CALLS = [
    ("arange", (5,), {}),
    ("arange", (2, 100, 3), {}),
    ("arange", (10, -90, -1), {}),
    ("arange", (1000,), {"dtype": "float32"}),
    ("arange", (0, 1, 0.001), {}),
    ("arange", (0.3, 77.7, 0.1), {"dtype": "float32"}),
    ("arange", (200,), {"dtype": "uint8"}),
    ("arange", (0,), {}),
    ("arange", (250, 50, -1), {"dtype": "uint8"}),
    ("arange", (300,), {"dtype": "uint8"}),
    ("arange", (100, -100, -3), {"dtype": "int8"}),
    ("arange", (np.int32(3), 200), {}),
    ("arange", (5, 500, 2), {"dtype": "int16"}),
    ("arange", (3, 3), {"dtype": "uint8"}),
    ("linspace", (0, 1), {}),
    ("linspace", (0, 1, 1001), {}),
    ("linspace", (-3, 7.5, 777), {"endpoint": False}),
    ("linspace", (1, 2, 100), {"dtype": "float32"}),
    ("linspace", (0, 10, 70), {"dtype": "int32"}),
    ("linspace", (5, 5, 100), {}),
    ("linspace", (1, 2, 1), {}),
    ("linspace", (1, 2, 0), {}),
    ("linspace", ([0, 1], [2, 5], 90), {"axis": 1}),
    ("logspace", (0, 3, 100), {}),
    ("geomspace", (1, 1000, 90), {"endpoint": False}),
    ("eye", (4,), {}),
    ("eye", (3, 5, -1), {"dtype": "int8"}),
    ("eye", (3, 5), {"k": 2}),
    ("identity", (3,), {"dtype": "float32"}),
    ("tri", (3, 5, 1), {}),
    ("tri", (4,), {"k": -1, "dtype": "bool"}),
    ("zeros", ((2, 3),), {}),
    ("zeros", (4,), {"dtype": "int16"}),
    ("ones", ((2, 0),), {"dtype": "bool"}),
    ("full", ((2, 3), 7), {}),
    ("full", (3, [1.5, 2.5, 3.5]), {}),
    ("full", ((2,), 2.9), {"dtype": "int32"}),
    ("indices", ((2, 3),), {}),
    ("indices", ((2, 0),), {"dtype": "float32"}),
    ("indices", ((),), {}),
    ("array", ([[1, 2], [3, 4]],), {"dtype": "float32"}),
    ("array", ([1, 2],), {"ndmin": 3}),
    ("asarray", (True,), {}),
    ("zeros_like", (np.ones((2, 3), "int8"),), {}),
    ("ones_like", (np.ones((2, 3), "int8"),), {"dtype": "float32"}),
    ("full_like", (np.ones((2, 3), "float32"), 1.5), {}),
]


@pytest.mark.parametrize("name, args, keywords", BIT_EXACT_CALLS)
def test_creation_is_bit_exact(name: str, args: Any, keywords: Any) -> None:
    expected = getattr(np, name)(*args, **keywords)
    found = getattr(make, name)(*args, **keywords)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.asarray(found).tobytes() == expected.tobytes()


def test_long_ranges_are_computed_not_stored() -> None:
    for array in (make.arange(10**7), make.linspace(0, 1, 65), make.arange(0, 1000, 0.5)):
        stored = [
            node for node in array.graph.nodes if node.op == "const" and node.attrs["value"].ndim
        ]
        assert not stored and not array.graph.params


@pytest.mark.parametrize("k", [-5, -1, 0, 1, 2, 9])
def test_diagonals_and_triangles(k: int) -> None:
    x = np.arange(1.0, 21.0).reshape(4, 5)
    for name in ("tril", "triu", "diag"):
        np.testing.assert_array_equal(getattr(make, name)(x, k), getattr(np, name)(x, k))
        np.testing.assert_array_equal(getattr(make, name)(x[0], k), getattr(np, name)(x[0], k))
    batch = np.ones((2, 3, 4), "int8")
    assert make.tril(batch, k).dtype == np.int8
    np.testing.assert_array_equal(make.tril(batch, k), np.tril(batch, k))


def test_grids() -> None:
    vectors = np.arange(3), np.arange(4.0), np.arange(2, dtype="int8")
    for indexing in ("xy", "ij"):
        for sparse in (False, True):
            for count in (0, 1, 2, 3):
                found = make.meshgrid(*vectors[:count], indexing=indexing, sparse=sparse)
                expected = np.meshgrid(*vectors[:count], indexing=indexing, sparse=sparse)
                for ours, theirs in zip(found, expected, strict=True):
                    assert ours.dtype == theirs.dtype
                    np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(make.indices((2, 3), sparse=True), np.indices((2, 3), sparse=True)):
        np.testing.assert_array_equal(ours, theirs)
    ours = make.fromfunction(lambda i, j: i * 10 + j, (3, 4))
    np.testing.assert_array_equal(ours, np.fromfunction(lambda i, j: i * 10 + j, (3, 4)))


def test_traced_values() -> None:
    value = np.float32(2.5)
    np.testing.assert_array_equal(
        traced_call(lambda v: make.full((2, 3), v), value), np.full((2, 3), value)
    )
    assert traced_call(lambda v: make.full(2, v, "int32"), value).dtype == np.int32
    found = traced_call(lambda a, b: make.linspace(a, b, 7), 1.0, 3.0)
    np.testing.assert_allclose(found, np.linspace(1, 3, 7))
    found = traced_call(lambda a: make.array([[a, 1], [2, a]]), value)
    np.testing.assert_array_equal(found, [[2.5, 1], [2, 2.5]])
    found = traced_call(lambda a: np.logspace(a, 3, 5), 1.0)
    np.testing.assert_allclose(found, np.logspace(1, 3, 5))
    for function in (make.arange, lambda n: np.geomspace(n, 9)):
        with pytest.raises(ConcreteValueError):
            traced_call(function, np.int64(3))
    np.testing.assert_array_equal(np.geomspace(asarray(1.0), 8, 4), np.geomspace(1.0, 8, 4))
    with pytest.raises(ShapeError, match="negative size"):
        make.zeros((2, -1))


@pytest.mark.parametrize("module", [nl, make])
def test_public_functions_have_docstrings(module: Any) -> None:
    assert all(getattr(module, name).__doc__ for name in module.__all__)


@pytest.mark.parametrize(
    "key",
    [
        True,
        False,
        np.True_,
        np.array(False),
        (True, 0),
        (slice(None), True),
        (0, slice(None), True),
        ([0, 1], True),
        ([0, 1], False),
        (0, False),
        (True, False, None),
        (..., True),
        (0, 0, True),
        (True, np.arange(6).reshape(2, 3) > 2),
        ([True, False],),
        ([True],),
        (True, slice(None), [0, 1]),
    ],
    ids=str,
)
def test_bools_add_axes(key: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    try:
        expected = x[key]
    except IndexError:
        with pytest.raises(IndexError):
            asarray(x)[key]
        return
    changed = x.copy()
    changed[key] = -1
    for found, wanted in ((asarray(x)[key], expected), (nl.update(x, key, -1), changed)):
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(traced_call(lambda a: a[key], x), expected)


def test_integers_of_other_types() -> None:
    class Place(enum.IntEnum):
        ROW = 1

    x = np.arange(6.0).reshape(2, 3)
    for one in (Place.ROW, np.int8(1), np.uint64(1)):
        np.testing.assert_array_equal(asarray(x)[one], x[one])
        np.testing.assert_array_equal(asarray(x)[:one, one], x[:one, one])
        np.testing.assert_array_equal(asarray(x).sum(one), x.sum(one))
        assert asarray(x).reshape(one, 6).shape == x.reshape(one, 6).shape
        assert make.zeros((one, 2)).shape == np.zeros((one, 2)).shape
    assert (asarray(x.astype("f4")) + Place.ROW).dtype == (x.astype("f4") + Place.ROW).dtype
