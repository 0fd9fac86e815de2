"""Lazy arrays and the native entry: as arguments of jitted functions, and for their own work."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.frontend import array as array_module
from neurlang.frontend import lazy
from neurlang.frontend.trace import Trace, tracing
from neurlang.runtime.objects import native_entry_available

pytestmark = pytest.mark.skipif(
    not native_entry_available(), reason="objects of this Python are laid out differently"
)

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def counted(function: Any) -> int:
    """Calls that native entries answered."""
    executables = [program.executable for program in function.programs.values()]
    return sum(executable.calls for executable in executables if executable is not None)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that no remembered program ran."""
    found: list[Any] = []
    run, prepare = array_module._executor

    def counting(graph: Any) -> Any:
        found.append(graph)
        return run(graph)

    monkeypatch.setattr(array_module, "_executor", [counting, prepare])
    lazy.forget()
    return found


ARGUMENTS = {
    "captured": lambda: nl.asarray(A),
    "run": lambda: (nl.asarray(A) + 1).execute(),
    "pending": lambda: nl.asarray(A) * 2,
    "asked for": lambda: [x := nl.asarray(A) - 1, np.asarray(x)][0],
    "full": lambda: nl.ones((2, 3), np.float32),
    "transposed": lambda: nl.asarray(A.reshape(3, 2)).T,
    "strided": lambda: nl.asarray(np.hstack([A, A]))[:, ::2],
    "scalar": lambda: nl.sum(nl.asarray(A)),
    "scalar of numpy": lambda: nl.asarray(np.float64(2)),
    "bool": lambda: nl.asarray(np.True_),
    "interpreted": lambda: interpreted(),
}
WEAK = {
    "float": lambda: nl.asarray(2.0) * 1.0,
    "int": lambda: array_module.as_weak_array(2) + 1,
    "python float": lambda: array_module.as_weak_array(2.5),
    "python int": lambda: array_module.as_weak_array(3),
}


def interpreted() -> Any:
    with nl.options(disable_jit=True):
        return nl.asarray(A.reshape(3, 2)).T.execute()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str) -> None:
    """They are what their values are, with no Python once these are known."""
    make = ARGUMENTS[name]
    value = np.ascontiguousarray(make()) if make().shape else np.asarray(make())
    function = nl.jit(lambda x, held: [x + held["y"][0], (x * 2).sum()], cache=False)
    expected = function(value, {"y": [value]})
    lazy_one = make()
    function(lazy_one, {"y": [lazy_one]})
    before = counted(function)
    for calls in range(3):
        found = function(lazy_one, {"y": [lazy_one]})
        assert counted(function) == before + calls + 1
        for one, other in zip(found, expected):
            assert type(one) is type(other) and one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()
    assert function.cache_info().programs == 1
    fresh = nl.jit(lambda x: x + 1, cache=False)
    fresh(value)
    for calls in range(3):
        np.testing.assert_array_equal(fresh(make()), value + 1)
        assert counted(fresh) == calls + 1  # pending work runs, and the entry answers


@pytest.mark.parametrize("name", WEAK)
def test_python_numbers_stay_weak(name: str) -> None:
    function = nl.jit(lambda x, s: x * s, cache=False)
    for _ in range(3):
        for x in (A, A.astype("f8"), np.arange(3, dtype=np.int8)):
            number = WEAK[name]()
            expected = x * np.asarray(number).item()
            found = function(x, number)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("other", [None, 2.0, 3, True, [A], A.astype("f8"), A[:1], A.T.copy().T])
def test_other_programs_are_not_taken(other: Any) -> None:
    """A pending array is none of what the program takes in its place, and the other way round."""

    def compute(x: Any, y: Any) -> Any:
        while isinstance(y, list):
            (y,) = y
        return x if y is None else x + y

    function = nl.jit(compute, cache=False)
    for _ in range(3):
        for y in (other, nl.asarray(A), nl.asarray(A) + 1, other, A):
            value = np.asarray(y) if isinstance(y, nl.Array) else y
            np.testing.assert_array_equal(function(A, y), compute(A, value))


def test_inside_of_a_trace_they_are_traced() -> None:
    """The function is part of the trace then, as it is on the way through Python."""
    inner = nl.jit(lambda x: x.sum() * 2, cache=False)
    y = nl.asarray(A)
    inner(y)
    inner(y)
    before = counted(inner)
    kinds: list[Any] = []

    @nl.jit
    def outer(x: Any) -> Any:
        part = inner(y)
        kinds.append(type(part))
        return x + part

    np.testing.assert_array_equal(outer(A), A + 30)
    assert kinds == [nl.Array] and counted(inner) == before


def test_while_another_thread_traces() -> None:
    function = nl.jit(lambda x: x + 1, cache=False)
    y = nl.asarray(A)
    function(y)
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with tracing(Trace("other")):
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    before = counted(function)
    np.testing.assert_array_equal(function(y), A + 1)
    assert counted(function) == before  # by leaves that Python took
    np.testing.assert_array_equal(function(A), A + 1)
    assert counted(function) == before + 1
    done.set()
    thread.join()
    function(y)
    assert counted(function) == before + 2


def test_values_live_as_long_as_the_program_runs() -> None:
    """Also where the lazy array that holds one gets another value meanwhile."""
    function = nl.jit(lambda x: np.sin(np.exp(np.tan(x) * 3)), cache=False)
    value = np.random.default_rng(0).standard_normal(200_000)
    expected = function(value)
    for _ in range(10):
        array = nl.asarray(value)
        array.known = np.array(value)
        stop = threading.Event()

        def let_go(array: Any = array, stop: threading.Event = stop) -> None:
            stop.wait(0.0005)
            array.known = None
            [np.full(200_000, np.nan) for _ in range(4)]

        thread = threading.Thread(target=let_go)
        thread.start()
        found = function(array)
        thread.join()
        np.testing.assert_array_equal(found, expected)  # some are NaN


def test_references() -> None:
    array = nl.asarray(A)
    function = nl.jit(lambda x, held: x + held[0], cache=False)
    function(array, [array])
    watched = [array, array.known, nl.Array, A.dtype]
    before = [sys.getrefcount(one) for one in watched]
    for _ in range(1000):
        function(array, [array])
    after = [sys.getrefcount(one) for one in watched]
    assert after == before


def test_an_array_that_was_never_made_is_no_argument() -> None:
    function = nl.jit(lambda x: x + 1, cache=False)
    function(A)
    with pytest.raises(AttributeError):
        function(nl.Array.__new__(nl.Array))


# the work of lazy arrays


def test_equal_work_is_remembered(runs: list[Any]) -> None:
    for factor in range(1, 5):
        x = nl.asarray(A * factor)
        y = (x + 1) * x.sum(axis=0) - nl.asarray(np.float32(3))
        np.testing.assert_array_equal(y, (A * factor + 1) * (A * factor).sum(axis=0) - 3)
        assert len(runs) == min(factor, 2)  # most work runs once: the second run prepares for more


X, Y = A, A[::-1] * 3
DIFFERENT = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: y - x,
    lambda x, y: x + x,
    lambda x, y: x + 1.0,
    lambda x, y: x + 2.0,
    lambda x, y: x * 0.0,
    lambda x, y: x * -0.0,
    lambda x, y: (x + 0.0) * y.sum(),
    lambda x, y: (x + y) * y.sum(),
    lambda x, y: x.sum(axis=0),
    lambda x, y: x.sum(axis=1),
    lambda x, y: x.sum(),
    lambda x, y: x.T,
    lambda x, y: x.reshape(3, 2),
    lambda x, y: x.astype("f8"),
    lambda x, y: x.astype("i4"),
    lambda x, y: x[:, ::2],
    lambda x, y: x[:, 1:],
    lambda x, y: x > y,
    lambda x, y: np.where(x > y, x, y),
    lambda x, y: np.where(x > y, y, x),
    lambda x, y: np.pad(x, 1, constant_values=0.0),
    lambda x, y: np.pad(x, 1, constant_values=-0.0),
    lambda x, y: np.cumsum(x, axis=0),
    lambda x, y: np.cumprod(x, axis=0),
    lambda x, y: x @ y.T,
    lambda x, y: y @ x.T,
]


def test_other_work_is_another_program(runs: list[Any]) -> None:
    """Whatever its values are: -0.0 is not 0.0, and a line may be named by an error."""
    for turn in range(3):
        for compute in DIFFERENT:
            found = np.asarray(compute(nl.asarray(X), nl.asarray(Y)))
            expected = compute(X, Y)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            assert np.array_equal(np.signbit(found), np.signbit(expected))
        # exchanged names of leaves make no other work: two differences, and two products
        assert turn == 0 or len(runs) == 2 * (len(DIFFERENT) - 2)
    for dtype in ("f4", "f8", "i4", "u1"):
        assert np.asarray(nl.asarray(X.astype(dtype)) + nl.asarray(Y.astype(dtype))).dtype == dtype


def test_options_of_lazy_work(runs: list[Any]) -> None:
    def work() -> Any:
        return np.asarray(nl.asarray(A) * 1.71875 + 2)

    expected = work()
    work()
    for _ in range(4):
        with nl.options(fusion=False):
            np.testing.assert_array_equal(work(), expected)
    assert len(runs) == 4
    for count in (5, 6, 7):
        with nl.options(disable_jit=True):
            np.testing.assert_array_equal(work(), expected)
        assert len(runs) == count
    work()
    assert len(runs) == 7


def test_failures_name_the_line_of_this_work() -> None:
    def picked(place: int) -> Any:
        return nl.take(nl.asarray(A), nl.asarray(np.array([place])), axis=0)

    def picked_elsewhere(place: int) -> Any:
        return nl.take(nl.asarray(A), nl.asarray(np.array([place])), axis=0)

    for _ in range(4):
        for pick in (picked, picked_elsewhere):
            np.testing.assert_array_equal(pick(1), A[1:])
            with pytest.raises(nl.IndexingError) as caught:
                np.asarray(pick(7))
            line = pick.__code__.co_firstlineno + 1
            assert caught.value.where is not None and caught.value.where.line == line


def test_clearing_the_cache_forgets_lazy_work(runs: list[Any]) -> None:
    def work() -> Any:
        return np.asarray(nl.asarray(A) * 1.28125 + 2)

    for _ in range(4):
        work()
    assert len(runs) == 2
    executable.clear()
    for _ in range(4):
        work()
    assert len(runs) == 4


def test_several_outputs_and_shared_leaves(runs: list[Any]) -> None:
    for factor in (1, 2, 3):
        x = nl.asarray(A * factor)
        y, z = x + 1, x.sum()
        found = array_module.execute([y, z, x, y])
        for one, other in zip(found, (A * factor + 1, (A * factor).sum(), A * factor)):
            np.testing.assert_array_equal(one, other)
            assert not one.flags.writeable
        assert found[0] is found[3]
    assert len(runs) == 2
