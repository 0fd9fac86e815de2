"""Calls with nested arguments and results: the native entry answers as the way through Python."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.runtime.objects import native_entry_available

pytestmark = pytest.mark.skipif(
    not native_entry_available(), reason="objects of this Python are laid out differently"
)

Point = namedtuple("Point", "x y")
Other = namedtuple("Other", "x y")


class Labelled(Point):
    """A named tuple that has a dict as well."""


A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.linspace(-1, 1, 3)


def leaves(tree: Any) -> Iterator[Any]:
    """Arrays and numbers, from left to right."""
    match tree:
        case dict():
            for value in tree.values():
                yield from leaves(value)
        case list() | tuple():
            for value in tree:
                yield from leaves(value)
        case None:
            return
        case _:
            yield tree


def doubled(tree: Any) -> Any:
    """The same structure, its leaves times two."""
    match tree:
        case dict():
            return type(tree)((key, doubled(value)) for key, value in tree.items())
        case tuple() if hasattr(tree, "_make"):
            return tree._make(map(doubled, tree))
        case list() | tuple():
            return type(tree)(map(doubled, tree))
        case None:
            return None
        case _:
            return tree * 2


def same(found: Any, expected: Any) -> bool:
    """Equal in values, classes, dtypes and the order of keys."""
    if type(found) is not type(expected):
        return False
    match expected:
        case dict():
            return list(found) == list(expected) and same([*found.values()], [*expected.values()])
        case list() | tuple():
            return len(found) == len(expected) and all(map(same, found, expected))
        case np.ndarray():
            return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
        case _:
            return bool(found == expected)


TREES: dict[str, Any] = {
    "array": A,
    "float": 1.5,
    "int": 3,
    "bool scalar": np.True_,
    "scalar": np.float32(1.5),
    "list": [A, B],
    "tuple": (A, 2.5, B),
    "dict": {"w": A, "b": B, "n": 7},
    "none": [None, A],
    "empty": [A, [], (), {}],
    "named": Point(A, 2),
    "labelled": Labelled(A, B),
    "same leaf twice": [A, A, {"again": A}],
    "deep": {"layers": [{"w": A, "b": (B, None)}, {"w": A}], "point": Point([B], {"z": 1.0})},
    "many": {f"key{number}": np.full(3, number) for number in range(40)},
    "ordered": OrderedDict(w=A, b=B),
    "other keys": {1: A, "b": B},
}
BY_PYTHON = ("ordered", "other keys")


def counted(function: Any) -> int:
    """Calls that native entries answered."""
    executables = [program.executable for program in function.programs.values()]
    return sum(executable.calls for executable in executables if executable is not None)


@pytest.mark.parametrize("name", list(TREES))
def test_structures(name: str) -> None:
    tree = TREES[name]
    function = nl.jit(doubled, cache=False)
    # Numbers in a result are scalars of NumPy: those of the way through Python are expected.
    with nl.options(log=""):
        expected = function(tree)
        assert all(map(np.array_equal, leaves(expected), leaves(doubled(tree))))
    function.cache_clear()
    for calls in range(3):
        assert same(function(tree), expected)
        assert counted(function) == calls
    for calls in range(3):
        assert same(function(tree=tree), expected)
        assert counted(function) == 2 + calls
    assert function.programs and all(
        program.native == (name not in BY_PYTHON) for program in function.programs.values()
    )


def other_object(text: str) -> str:
    """An equal string that is another object."""
    return "".join(list(text))


DICT = {"w": A, "b": B}
CALLS: dict[str, tuple[Any, bool]] = {
    "equal keys": ({other_object("weight"): A, other_object("bias"): B}, True),
    "other order": ({"bias": B, "weight": A}, False),
    "one more": ({"weight": A, "bias": B, "more": A}, False),
    "one less": ({"weight": A}, False),
    "another key": ({"weight": A, "scale": B}, False),
    "subclass": (OrderedDict(weight=A, bias=B), False),
    "no dict": ([A, B], False),
    "none": ({"weight": None, "bias": B}, False),
    "nested": ({"weight": [A], "bias": B}, False),
    "number": ({"weight": A, "bias": 1.0}, False),
    "dtype": ({"weight": A, "bias": B.astype("f4")}, False),
    "shape": ({"weight": A[:1], "bias": B}, False),
    "an array": (A, False),
}


@pytest.mark.parametrize("name", list(CALLS))
def test_other_structures_are_other_programs(name: str) -> None:
    tree, native = CALLS[name]
    function = nl.jit(doubled, cache=False)
    for _ in range(2):
        function({"weight": A, "bias": B})
    assert counted(function) == 1
    found = function(tree)
    assert counted(function) == 1 + native
    assert all(map(np.array_equal, leaves(found), leaves(doubled(tree))))
    assert type(found) is type(tree)


@pytest.mark.parametrize("tree", [Other(A, B), (A, B), Point(A, 1.0), [A, B]])
def test_other_classes_are_other_programs(tree: Any) -> None:
    function = nl.jit(doubled, cache=False)
    function(Point(A, B))
    assert type(function(tree)) is type(tree)
    assert type(function(Point(A, B))) is Point


def test_keywords() -> None:
    function = nl.jit(lambda x, scale, shift=None: x * scale + (0 if shift is None else shift))
    for _ in range(2):
        assert np.array_equal(function(A, scale=2.0), A * 2.0)
        assert np.array_equal(function(A, scale=2.0, shift=B), A * 2.0 + B)
        assert np.array_equal(function(A, shift=B, scale=2.0), A * 2.0 + B)
        assert np.array_equal(function(A, **{other_object("scale"): 2.0}), A * 2.0)
        assert np.array_equal(function(A, 2.0, None), A * 2.0)
    before = counted(function)
    for calls in range(5):
        assert np.array_equal(function(A, scale=2.0), A * 2.0)
        assert counted(function) == before + calls + 1
    with pytest.raises(nl.ArgumentError, match="scales"):
        function(A, scales=2.0)


def test_integers_that_do_not_fit_are_errors() -> None:
    x = np.arange(4, dtype=np.int8)
    function = nl.jit(lambda x, n: x + n["by"])
    for number in (0, 127, -128, 5):
        assert np.array_equal(function(x, {"by": number}), x + np.int8(number))
    before = counted(function)
    for number in (128, -129, 2**63 - 1, 2**70):
        with pytest.raises((nl.RangeError, OverflowError)):
            function(x, {"by": number})
    assert counted(function) == before
    wide = nl.jit(lambda x, n: x + n)
    large = np.arange(4, dtype=np.uint64)
    assert np.array_equal(wide(large, 3), large + 3)
    with pytest.raises(nl.RangeError):
        wide(large, -1)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_scalars_of_numpy(dtype: str) -> None:
    function = nl.jit(lambda x, y: (x, [x, y]), cache=False)
    one, two = np.array([1, 2]).astype(dtype)
    other = np.array(1, dtype)
    for x in (one, two, other, other.copy().view(dtype)):
        assert same(function(x, two), (x[()], [x[()], two]))
    assert counted(function) == 3
    other_dtype = np.float64(3) if dtype != "f8" else np.float32(3)
    assert same(function(other_dtype, two), (other_dtype, [other_dtype, two]))


def in_order(shape: tuple[int, ...], order: tuple[int, ...]) -> Any:
    """An array that is contiguous along its axes in this order, the slowest first."""
    values = np.arange(np.prod(shape), dtype=np.float32)
    return values.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 3, 3), (1, 3, 4), (4, 3, 1), (1, 1, 2)])
def test_orders_of_axes(shape: tuple[int, ...]) -> None:
    """Each order of the axes is a program; no array is taken for one of another order."""
    function = nl.jit(lambda x, y: [x * 2 + y, x - y[::-1]])
    arrays = [in_order(shape, order) for order in itertools.permutations(range(3))]
    arrays += [np.zeros((*shape[:2], 2 * shape[2]), "f4")[..., ::2], np.zeros(shape, "f4")[::-1]]
    arrays += [np.broadcast_to(np.float32(7), shape), np.zeros(shape, "f8").T.T]
    for _ in range(3):
        for x, y in itertools.product(arrays, arrays):
            found, expected = function(x, y), [x * 2 + y, x - y[::-1]]
            assert all(map(np.array_equal, found, expected))


def by_python(function: Any, *args: Any, **kwargs: Any) -> Any:
    """A call that no native entry answers."""
    function.forget_latest()
    found = function(*args, **kwargs)
    function.forget_latest()
    return found


def misaligned(array: Any) -> Any:
    """An equal array, one byte beside where it should begin."""
    room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    room[...] = array
    return room


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "u8", "f4", "f8"])
def test_strided_arguments_are_native(dtype: str) -> None:
    """In containers, without axes, with many, in large arrays: with the same bits as by Python."""
    base = np.random.default_rng(0).standard_normal((6, 8, 10)).astype(dtype)
    wide = np.random.default_rng(1).standard_normal((70, 700)).astype(dtype)
    arrays = [
        base[::2],
        base[:, ::-1],
        base[..., 1:4],
        base.transpose(2, 0, 1)[::-1],
        base[0, 1:, 3],
    ]
    arrays += [misaligned(base), misaligned(base[0, 0, :1]).reshape(()), base[3, ::-2, :1], base.T]
    arrays += [np.broadcast_to(base[0], (5, 8, 10)), wide[:, ::2], wide.T[:, ::-3], base[:0, ::2]]
    arrays += [base.reshape(1, 2, 1, 3, 2, 2, 2, 1, 2, 5, 1)[..., ::-1, :]]
    function = nl.jit(lambda x, held: [x + held["y"], (x * 2.0).sum()], cache=False)
    for array in arrays:
        expected = by_python(function, array, {"y": array})
        function(array, {"y": array})
        before = counted(function)
        for calls in range(3):
            assert same(function(array, {"y": array}), expected)
            assert counted(function) == before + calls + 1


def test_transposed_arguments_are_native() -> None:
    function = nl.jit(lambda x, p: x @ p[0], cache=False)
    x, y = in_order((3, 4), (1, 0)), in_order((4, 2), (1, 0))
    for calls in range(3):
        np.testing.assert_allclose(function(x, [y]), x @ y)
        assert counted(function) == calls
    np.testing.assert_allclose(function(np.ascontiguousarray(x), [y]), x @ y)
    assert counted(function) == 2


def test_references() -> None:
    tree = {"w": A.copy(), "list": [B.copy(), None], "n": 3.0}
    function = nl.jit(doubled, cache=False)
    for _ in range(2):
        function(tree)
    watched = [tree, *tree, *tree.values(), tree["list"][0], None, dict, list, A.dtype]
    gc.collect()
    before = [sys.getrefcount(one) for one in watched]
    for _ in range(1000):
        function(tree)
        function(tree=tree)
        function([*tree.values()])
    gc.collect()
    found = [sys.getrefcount(one) for one in watched]
    # the programs of the two other structures refer to a few of them
    assert all(now - then < 500 for now, then in zip(found, before))
    assert all(then - now < 500 for now, then in zip(found[:-4], before))
    results = function(tree)
    counts = [sys.getrefcount(results[name]) for name in ("w", "list")]
    assert counts == [2, 2]
    assert gc.is_tracked(results) and gc.is_tracked(results["list"])


def test_arguments_live_as_long_as_the_program_runs() -> None:
    """A list that another thread empties meanwhile does not take its arrays along."""
    function = nl.jit(lambda held: np.sin(np.exp(np.tan(held[0]) * 3)) + held[1], cache=False)
    x = np.random.default_rng(0).standard_normal(200_000)
    expected = function([x, x])
    for _ in range(10):
        held = [x.copy(), x.copy()]
        stop = threading.Event()

        def empty(held: list[Any] = held, stop: threading.Event = stop) -> None:
            stop.wait(0.0005)
            held.clear()
            [np.full(200_000, np.nan) for _ in range(4)]

        thread = threading.Thread(target=empty)
        thread.start()
        try:
            found = function(held)
        except IndexError:  # it was empty before the call
            found = expected
        thread.join()
        np.testing.assert_array_equal(found, expected)  # some are NaN


def test_recent_programs_are_tried() -> None:
    """Calls that take turns among few signatures are all answered natively."""
    function = nl.jit(lambda x: x + 1, cache=False)
    arrays = [np.zeros(size) for size in (1, 2, 3, 4)]
    for array in arrays:
        function(array)
    for turn in range(5):
        for array in arrays:
            assert np.array_equal(function(array), array + 1)
        assert counted(function) == 4 * (turn + 1)
    assert function.cache_info() == (20, 4, 4)


def test_options_are_seen_by_entries() -> None:
    function = nl.jit(lambda x: np.exp(x).sum(), cache=False)
    function(B)
    function(B)
    assert counted(function) == 1
    with nl.options(disable_jit=True):
        function(B)
    assert counted(function) == 1
    function(B)
    assert counted(function) == 2
