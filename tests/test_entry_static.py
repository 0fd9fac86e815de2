"""Native calls with static arguments, and under options: they answer as the way through Python."""

from __future__ import annotations

import contextvars
import enum
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.runtime.objects import native_entry_available

pytestmark = pytest.mark.skipif(
    not native_entry_available(), reason="objects of this Python are laid out differently"
)

A = np.arange(6, dtype=np.float32).reshape(2, 3)
NAN = float("nan")


class Mode(enum.Enum):
    """Two values."""

    UP = 1
    DOWN = 2


@dataclass(frozen=True)
class Frozen:
    """A value that does not change."""

    by: Any = 2


@dataclass(eq=False)
class Changing:
    """A value whose fields are part of the key, and may change."""

    by: int = 2


class Holder:
    """A value that is its own key."""

    by = 3


def counted(function: Any) -> int:
    """Calls that native entries answered."""
    executables = [program.executable for program in function.programs.values()]
    return sum(executable.calls for executable in executables if executable is not None)


def number(value: Any) -> float:
    """A number that tells a static value from others."""
    match value:
        case Mode():
            return value.value
        case Frozen() | Changing() | Holder():
            return number(value.by)
        case tuple() | frozenset():
            return sum(map(number, value))
        case str():
            return len(value)
        case bool() | int() | float():
            return value
        case _:
            return 1.0


HOLDER = Holder()
VALUES: list[tuple[Any, bool]] = [
    (value, True)
    for value in (
        *(0, 1, -5, 300, 10**20, True, False, None, "", "up", "down" * 3, 1.5, 0.0, -0.0, NAN),
        *((0, 1), (1, (2.0, "x")), frozenset({3}), Mode.UP, Mode.DOWN, np.sum, np.float32, len),
        *(np.dtype("f4"), np.float64(2.5), Frozen(), Frozen((1, 2)), HOLDER, Holder),
    )
] + [(Changing(), False), (Frozen(Changing()), False)]


def described(x: Any, value: Any, scale: Any = 1.0) -> Any:
    """What shows the value and its type in the result."""
    return {"x": x * scale + number(value), "type": len(type(value).__name__)}


@pytest.mark.parametrize("value", range(len(VALUES)))
def test_static_values(value: int) -> None:
    given, native = VALUES[value]
    function = nl.jit(described, static_argnames="value", cache=False)
    for calls in range(3):
        for other, _ in (VALUES[value - 1], VALUES[value - 2]):
            assert np.array_equal(
                function(A, other, 2.0)["x"], described(A, other, 2.0)["x"], equal_nan=True
            )
        before = counted(function)
        found, expected = function(A, given), described(A, given)
        np.testing.assert_array_equal(found["x"], expected["x"])
        assert found["type"] == expected["type"]
        assert counted(function) == before + (calls > 0)
    others = sum(not native for _, native in (VALUES[value - 1], VALUES[value - 2]))
    assert len(function.latest) == others + (not native)  # those that are taken apart by Python


def test_equal_values_of_other_types_are_other_programs() -> None:
    function = nl.jit(lambda x, n: x * n, static_argnames="n", cache=False)
    integers = np.arange(-3, 4)
    for _ in range(3):
        for n in (1, 1.0, True, 0.0, -0.0, 300, int("300"), 0, False):
            found, expected = function(integers, n), integers * n
            assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    assert function.cache_info().programs == 8
    two = nl.jit(lambda x, n, m: (x * n, x * m), static_argnames=("n", "m"), cache=False)
    zero = 0.0
    for n, m in [(zero, -zero), (zero, zero), (-zero, zero)] * 3:
        for found, expected in zip(two(integers, n, m), (integers * n, integers * m)):
            assert found.tobytes() == expected.tobytes()


def test_equal_values_that_are_other_objects() -> None:
    """Numbers, texts and tuples of them are compared; other objects go by their leaves."""
    function = nl.jit(described, static_argnames="value", cache=False)
    for value in (10**30, "some text", 2.5, (1, 2), Frozen(7)):
        copies = [eval(repr(value)) for _ in range(3)]
        for copy in copies:
            found = function(A, copy)
            np.testing.assert_array_equal(found["x"], described(A, value)["x"])
    assert function.cache_info().programs == 5
    for make, native in (
        (lambda: int("1" + 30 * "0"), True),
        (lambda: "".join(["some", " ", "text"]), True),
        (lambda: float("2.5"), True),
        (lambda: (int("1"), len("ab")), True),
        (lambda: Frozen(int("7")), False),
        (lambda: float("-0.0"), False),
    ):
        for other in (function, nl.jit(described, static_argnames="value", cache=False)):
            expected = other(A, make())["x"]
            for _ in range(2):
                other(A, make())
            before, asked = counted(other), len(other.latest)
            for calls in range(3):
                np.testing.assert_array_equal(other(A, make())["x"], expected)
                assert counted(other) == before + calls + 1
            assert len(other.latest) == asked and bool(asked) >= (not native)


def test_tuples_of_equal_items_of_other_types() -> None:
    function = nl.jit(lambda x, n: x * n[0] * n[1][0], static_argnames="n", cache=False)
    integers = np.arange(-3, 4)
    for _ in range(3):
        for n in ((1, (2,)), (1.0, (2,)), (True, (2,)), (1, (2.0,)), (0.0, (1,)), (-0.0, (1,))):
            copy = (n[0], (n[1][0],))
            found, expected = function(integers, copy), integers * n[0] * n[1][0]
            assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
        with pytest.raises(TypeError):
            function(integers, (1, [2]))
    assert function.cache_info().programs == 6


def test_static_values_that_change_are_read_anew() -> None:
    function = nl.jit(described, static_argnames="value", cache=False)
    value = Changing()
    for by in (2, 3, 4, 3, 2):
        value.by = by
        np.testing.assert_array_equal(function(A, value)["x"], A + by)
        np.testing.assert_array_equal(function(A, value)["x"], A + by)


def test_every_way_to_pass_them_is_native() -> None:
    """One program answers all; leaves in another order than the parameters go through Python."""

    def compute(x: Any, n: Any = 2, *rest: Any, mode: Any = "add", **more: Any) -> Any:
        total = x * n
        for value in (*rest, *more.values()):
            total = total + value if mode == "add" else total - value
        return total

    calls: list[tuple[tuple[Any, ...], dict[str, Any], bool]] = [
        ((A,), {}, True),
        ((A, 2), {}, True),
        ((A,), {"n": 3}, True),
        ((), {"n": 3, "x": A}, True),
        ((), {"x": A, "n": 3, "mode": "sub"}, True),
        ((A, 3, A, 2.5), {}, True),
        ((A, 3, A), {"mode": "sub", "y": A, "z": 1}, True),
        ((A, 3, A), {"z": 1, "mode": "sub", "y": A}, True),
        ((), {"y": A, "x": A, "n": 2}, False),
    ]
    function = nl.jit(compute, static_argnames=("n", "mode"), cache=False)
    for args, kwargs, native in calls:
        function(*args, **kwargs)
        before = counted(function)
        np.testing.assert_array_equal(function(*args, **kwargs), compute(*args, **kwargs))
        assert counted(function) == before + 1  # of all the arguments, or of the leaves
        way = function.recent[0]
        assert (way.entry is function.__call__) and (len(function.latest) == (not native))
    assert len(function.programs) == 7


def test_a_static_argument_without_a_hash_is_an_error() -> None:
    function = nl.jit(lambda x, n: x * n[0], static_argnames="n", cache=False)
    for _ in range(2):
        np.testing.assert_array_equal(function(A, (2,)), A * 2)
        with pytest.raises(nl.ArgumentError, match="which has no hash"):
            function(A, [2])


# options


def test_calls_under_options_are_native() -> None:
    function = nl.jit(lambda x: np.exp(x).sum(), cache=False)
    for options in ({}, {"fusion": False}, {"threads": 1, "log": ""}, {"fusion": False}):
        with nl.options(**options):
            function(A)
        before = counted(function)
        for calls in range(1, 4):
            with nl.options(**options):
                function(A)
            with nl.options(fusion=True), nl.options(**options):
                pass
            assert counted(function) == before + calls
    assert function.cache_info().programs == 3
    before = counted(function)
    for _ in range(3):
        with nl.options(disable_jit=True):
            function(A)
        assert counted(function) == before
    function(A)
    assert counted(function) == before + 1


def test_calls_outside_of_the_options_of_other_threads_are_native() -> None:
    function = nl.jit(lambda x: x + 1, cache=False)
    function(A)
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with nl.options(fusion=False):
            function(A)
            inside.set()
            done.wait(30)
            function(A)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    before = counted(function)
    for calls in range(3):
        np.testing.assert_array_equal(function(A), A + 1)
        assert counted(function) == before + calls + 1
    done.set()
    thread.join()
    assert counted(function) == before + 4
    assert function.cache_info().programs == 2


def test_options_of_a_copied_context() -> None:
    function = nl.jit(lambda x: x + 1, cache=False)
    with nl.options(fusion=False):
        context = contextvars.copy_context()
        function(A)
        for calls in range(1, 4):
            np.testing.assert_array_equal(context.run(function, A), A + 1)
            assert counted(function) == calls


def test_dispatchers_under_options_see_other_arguments() -> None:
    function = nl.jit(lambda x, n: x * n, static_argnames="n", cache=False)
    for _ in range(2):
        for fusion in (True, False):
            with nl.options(fusion=fusion):
                for x in (A, A[0], A.T, A[:, ::2], [1.0, 2.0]):
                    if isinstance(x, list):
                        with pytest.raises(TypeError):
                            function({"x": x, 1: object()}, 2)
                        continue
                    np.testing.assert_array_equal(function(x, 2), x * 2)
