"""Programs that are kept: one compilation a signature, why there is another, the second process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable

X = np.arange(64, dtype=np.float32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_CACHE", str(tmp_path / "programs"))


def compiled() -> int:
    """How many programs this process has compiled."""
    return executable.counts["compilations"]


# in memory


def test_one_compilation_a_signature() -> None:
    runs: list[Any] = []

    @nl.jit
    def function(x: Any, y: Any) -> Any:
        runs.append(x)
        return x * y - 0.21875

    before = compiled()
    for number in (1.5, 2.5, -7.0, float("nan"), float("inf")):
        with np.errstate(invalid="ignore"):
            expected = X * np.float32(number) - np.float32(0.21875)
        np.testing.assert_array_equal(function(X, number), expected)
    assert (len(runs), compiled() - before) == (1, 1)
    assert function.cache_info() == (4, 1, 1)
    signatures = [
        (X, 1),
        (X, True),
        (X, np.float32(1)),
        (X, np.float64(1)),
        (X[:63], 1.5),
        (X.reshape(8, 8), 1.5),
        (np.asfortranarray(X.reshape(8, 8)), 1.5),
        (X.astype(np.float64), 1.5),
    ]
    for count, arguments in enumerate(signatures, start=2):
        for _ in range(2):
            np.testing.assert_array_equal(
                function(*arguments), np.subtract(np.multiply(*arguments), 0.21875)
            )
        assert len(runs) == count
    assert function.cache_info() == (12, 9, 9)
    for same in (X[::-1][::-1], X.astype(">f4"), np.repeat(X, 2)[::2], X.copy()):
        function(same, 1.5)
    assert function.cache_info() == (16, 9, 9)
    assert len(runs) == 9


def test_integers_are_traced() -> None:
    function = nl.jit(lambda x, n: x + n)
    small = np.arange(3, dtype=np.int64)
    for number in (0, 1, -1, 2**62, -(2**63)):
        np.testing.assert_array_equal(function(small, number), small + number)
    assert function.cache_info().programs == 1


def test_static_values_are_part_of_the_signature() -> None:
    function = nl.jit(lambda x, n: x * n, static_argnames=["n"])
    integers = np.arange(4)
    for value in (1, 1.0, True, 2, 0.0, -0.0):
        result, expected = function(integers, value), integers * value
        assert result.dtype == expected.dtype
        assert result.tobytes() == expected.tobytes()
    assert function.cache_info() == (0, 6, 6)
    function(integers, n=1.0)
    assert function.cache_info() == (1, 6, 6)
    nested = nl.jit(lambda x, n: x * n[0][0], static_argnames="n")
    assert nested(integers, ((1,),)).dtype == np.int64
    assert nested(integers, ((1.0,),)).dtype == np.float64


def test_a_static_default_is_the_value() -> None:
    function = nl.jit(lambda x, n=2: x * n, static_argnames="n")
    function(X)
    function(X, 2)
    function(x=X, n=2)
    assert function.cache_info() == (2, 1, 1)


def test_options_have_programs_of_their_own() -> None:
    runs: list[Any] = []

    @nl.jit
    def function(x: Any) -> Any:
        runs.append(x)
        return x * 2

    function(X)
    for _ in range(3):
        with nl.options(fusion=False):
            np.testing.assert_array_equal(function(X), X * 2)
            np.testing.assert_array_equal(function(X), X * 2)
        np.testing.assert_array_equal(function(X), X * 2)
    assert len(runs) == 2
    with nl.options(disable_jit=True):
        before = compiled()
        np.testing.assert_array_equal(function(X[:5]), X[:5] * 2)
        assert compiled() == before


def test_options_of_one_thread_are_not_those_of_another() -> None:
    function = nl.jit(lambda x: x + 0.59375)
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with nl.options(disable_jit=True):
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    before = compiled()
    function(X)
    function(X)
    assert compiled() == before + 1
    assert function.__call__ != function._dispatch
    done.set()
    thread.join()


def test_the_reason_of_a_recompilation(capsys: pytest.CaptureFixture[str]) -> None:
    @functools.partial(nl.jit, static_argnames="power")
    def function(x: Any, scale: Any, power: int = 2) -> Any:
        return x["w"] ** power * scale

    def log(*args: Any, **kwargs: Any) -> list[str]:
        function(*args, **kwargs)
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if "recompiled" in line]

    prefix = "neurlang: function recompiled because"
    with nl.options(log="compile"):
        assert log({"w": X}, 1.0) == []
        assert log({"w": X}, 2.0) == []
        grown = np.ones(65, np.float32)
        assert log({"w": grown}, 2.0) == [f"{prefix} x['w'] changed from f32[64] to f32[65]"]
        assert log({"w": grown}, 2) == [f"{prefix} scale changed from float to int"]
        assert log({"w": grown}, X[0]) == [f"{prefix} scale changed from int to f32[]"]
        reason = "the static argument power changed from 2 to 3"
        assert log({"w": grown}, X[0], power=3) == [f"{prefix} {reason}"]
        reason = "the arguments have another structure"
        assert log({"w": grown, "b": grown}, X[0], power=3) == [f"{prefix} {reason}"]
        square = np.ones((8, 8))
        log({"w": square}, 1, 3)
        reason = "x['w'] changed from f64[8,8] to f64[8,8] with axes in the order 1, 0"
        assert log({"w": square.T}, 1, 3) == [f"{prefix} {reason}"]


def test_the_log_of_compilations(capsys: pytest.CaptureFixture[str]) -> None:
    @nl.jit
    def logged(x: Any) -> Any:
        return x * 0.6484375

    with nl.options(log="compile"):
        logged(X)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("neurlang: logged(x: f32[64]) compiled in ")


def test_clear_and_stats() -> None:
    function = nl.jit(lambda x: x - 0.4453125)
    before = nl.cache.stats()
    function(X)
    after = nl.cache.stats()
    assert after["compilations"] == before["compilations"] + 1
    assert after["disk"].entries == before["disk"].entries + 1
    nl.cache.clear()
    assert nl.cache.stats()["disk"].entries == 0
    np.testing.assert_array_equal(function(X), X - np.float32(0.4453125))
    assert nl.cache.stats()["compilations"] == before["compilations"] + 2
    assert function.cache_info() == (0, 1, 1)
    function.cache_clear()
    assert function.cache_info() == (0, 0, 0)


def test_first_calls_of_many_threads_compile_once() -> None:
    for size in range(1, 9):
        traces: list[Any] = []

        @nl.jit
        def function(x: Any, traces: list[Any] = traces) -> Any:
            traces.append(x.shape)
            return (x * 1.78125).sum()

        values = np.ones(size * 7, np.float32)
        before = compiled()
        results: list[Any] = []
        barrier = threading.Barrier(8)

        def call(
            function: Any = function,
            values: Any = values,
            results: list[Any] = results,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait()
            results.append(function(values))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [np.float32(1.78125) * size * 7] * 8
        assert (len(traces), compiled() - before) == (1, 1)


def test_a_failed_compilation_leaves_everything_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    function = nl.jit(lambda x: x * 0.1328125)
    generate = executable.generate

    def broken(*args: Any) -> Any:
        raise RuntimeError("no code today")

    monkeypatch.setattr(executable, "generate", broken)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no code today"):
            function(X)
    monkeypatch.setattr(executable, "generate", generate)
    np.testing.assert_array_equal(function(X), X * np.float32(0.1328125))
    np.testing.assert_array_equal(function(X), X * np.float32(0.1328125))
    assert function.cache_info() == (1, 1, 1)


# on disk

PROGRAM = """
import sys
import numpy as np
import neurlang as nl

@nl.jit
def dense(x, w, b):
    return nl.maximum(x @ w + b, 0).sum(axis=1), nl.exp(x)

@nl.jit(cache=%(cache)s)
def other(t):
    return {"a": t["a"] * 2 + t["b"][0], "sorted": nl.sort(t["a"])}

x = np.arange(12, dtype=np.float32).reshape(3, 4)
a, b = dense(x, x.T.copy(), 1.5)
np.testing.assert_array_equal(a, np.maximum(x @ x.T + np.float32(1.5), 0).sum(axis=1))
r = other({"a": x, "b": [3]})
np.testing.assert_array_equal(r["a"], x * 2 + 3)
np.testing.assert_array_equal(np.asarray(nl.asarray(x) * 3 + 1), x * 3 + 1)
s = nl.cache.stats()
print(s["compilations"], s["disk_hits"], a.tobytes().hex(), b.tobytes().hex())
"""


def process(
    folder: Path, program: str = PROGRAM, cache: bool = True, **variables: str
) -> list[str]:
    """What the program prints in a process of its own."""
    script = folder / "program.py"
    script.write_text(textwrap.dedent(program) % {"cache": cache})
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    first = process(tmp_path)
    second = process(tmp_path)
    assert first[:2] == ["3", "0"]
    assert second[:2] == ["0", "3"]
    assert first[2:] == second[2:]


def test_functions_may_stay_off_the_disk(tmp_path: Path) -> None:
    process(tmp_path, cache=False)
    assert process(tmp_path, cache=False)[:2] == ["1", "2"]


def test_the_variable_of_the_cache(tmp_path: Path) -> None:
    off = {"NEURLANG_CACHE": "off"}
    assert process(tmp_path, **off)[:2] == ["3", "0"]
    assert process(tmp_path, **off)[:2] == ["3", "0"]
    assert not (tmp_path / "programs").exists()
    elsewhere = {"NEURLANG_CACHE": str(tmp_path / "elsewhere")}
    assert process(tmp_path, **elsewhere)[:2] == ["3", "0"]
    assert process(tmp_path, **elsewhere)[:2] == ["0", "3"]


def test_a_cache_that_is_only_read(tmp_path: Path) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    assert process(tmp_path, NEURLANG_CACHE="ro", **home)[:2] == ["3", "0"]
    assert process(tmp_path, NEURLANG_CACHE="ro", **home)[:2] == ["3", "0"]
    assert process(tmp_path, NEURLANG_CACHE="", **home)[:2] == ["3", "0"]
    assert process(tmp_path, NEURLANG_CACHE="ro", **home)[:2] == ["0", "3"]


def test_threads_and_options_are_other_programs(tmp_path: Path) -> None:
    first = process(tmp_path, NEURLANG_THREADS="1")
    second = process(tmp_path, NEURLANG_THREADS="2")
    assert (first[:2], second[:2]) == (["3", "0"], ["3", "0"])
    assert first[2:] == second[2:]


def test_the_interpreter_compiles_nothing(tmp_path: Path) -> None:
    found = process(tmp_path, NEURLANG_DISABLE_JIT="1")
    assert found[:2] == ["0", "0"]
    assert found[2] == process(tmp_path)[2]


FAILING = """
import numpy as np
import neurlang as nl

take = nl.jit(lambda x, i: nl.take(x, i) + 0.75)
x = np.arange(5.0)
for _ in range(2):
    try:
        take(x, np.array([9]))
    except nl.IndexingError as error:
        print(error.where.line, error.where.source.split()[0])
print(*take(x, np.array([1, 2])))
"""


def test_failures_come_from_the_disk_as_well(tmp_path: Path) -> None:
    expected = ["5", "take", "5", "take", "1.75", "2.75"]
    assert process(tmp_path, FAILING) == expected
    assert process(tmp_path, FAILING) == expected


def test_a_failure_names_the_line_of_the_function_that_failed(tmp_path: Path) -> None:
    assert process(tmp_path, FAILING)[0] == "5"
    assert process(tmp_path, "# another place\n" + FAILING)[0] == "6"
