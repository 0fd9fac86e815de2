"""The stages of a jitted function as objects: trace, lower, compile, and their texts."""

from __future__ import annotations

import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.ir.text import graph_text
from neurlang.settings import STAGES

Pair = namedtuple("Pair", ["first", "rest"])
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@nl.jit
def model(x: Any, w: Any, scale: Any = 2) -> Any:
    return Pair(x @ w * scale, {"sum": x.sum(), "argmax": [nl.argmax(x, axis=1)]})


def test_shapes_and_dtypes_are_known_after_trace() -> None:
    traced = model.trace(nl.ShapeDtype((33, 65), "float32"), nl.ShapeDtype((65, 4), np.float32))
    expected = Pair(
        nl.ShapeDtype((33, 4), "float32"),
        {"sum": nl.ShapeDtype((), "float32"), "argmax": [nl.ShapeDtype((33,), "int64")]},
    )
    assert traced.out_info == expected
    assert traced.lower().out_info == expected
    assert traced.lower().compile().out_info == expected
    assert model.cache_info().hits == 0


def test_the_graph_is_text_that_reads_back() -> None:
    traced = nl.jit(lambda x, y: nl.where(x > y, nl.exp(x), y)[:, ::-1]).trace(X, 0.5)
    text = str(traced.graph)
    assert str(traced) == text
    assert text.startswith("graph <lambda>(%x: f32[2,3], %y: f64[]):")
    again = nl.ir.parse(text)
    assert str(again) == text
    assert graph_text(again, sources=False) == graph_text(traced.graph, sources=False)
    for value in (X, -X):
        np.testing.assert_array_equal(
            nl.interpret(again, value, np.float64(0.5)),
            nl.interpret(traced.graph, value, np.float64(0.5)),
        )


def test_the_graph_names_the_users_lines() -> None:
    def body(x: Any) -> Any:
        y = x * 3
        return y - 1

    lines = str(nl.jit(body).trace(X).graph).splitlines()
    for source in ("y = x * 3", "return y - 1"):
        assert any(f": {source}" in line and "# test_stages.py:" in line for line in lines)


def test_the_interpreter_is_numpy() -> None:
    w = np.ones((3, 4), np.float32)
    graph = model.trace(X, w, 2).graph
    product, total, positions = nl.interpret(graph, X, w, 2)
    np.testing.assert_array_equal(product, X @ w * 2)
    np.testing.assert_array_equal(total, X.sum())
    np.testing.assert_array_equal(positions, X.argmax(1))


def test_the_interpreter_takes_what_was_traced() -> None:
    traced = nl.jit(lambda x: x + 1).trace(X)
    np.testing.assert_array_equal(nl.interpret(traced, X), X + 1)
    with pytest.raises(nl.ArgumentError) as caught:
        nl.interpret(3, X)  # type: ignore[arg-type]  # no graph
    assert caught.value.what == "interpret takes a graph, not int"
    assert caught.value.hint == "trace a function first: interpret(jit(function).trace(x), x)"


def test_five_texts() -> None:
    lowered = nl.jit(lambda x: nl.exp(x).sum(axis=1)).lower(X)
    compiled = lowered.compile()
    texts = {stage: compiled.as_text(stage) for stage in STAGES}
    assert texts == {stage: lowered.as_text(stage) for stage in STAGES}
    assert "graph <lambda>" in texts["trace"] and "reduce_sum" in texts["graph"]
    assert "kernel " in texts["loops"] and "for " in texts["loops"]
    assert "define " in texts["llvm"]
    assert "ret" in texts["asm"] and ".text" in texts["asm"]
    with pytest.raises(nl.OptionError, match="there is no stage 'mlir'"):
        compiled.as_text("mlir")


def test_the_compiled_object_is_called() -> None:
    compiled = model.lower(nl.ShapeDtype((2, 3), "float32"), nl.ShapeDtype((3, 4), "f4")).compile()
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    for matrix in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2], w.astype(">f4")):
        result = compiled(X, matrix)
        assert type(result) is Pair
        np.testing.assert_array_equal(result.first, X @ w * 2)
        np.testing.assert_array_equal(result.rest["argmax"][0], X.argmax(1))


def test_the_compiled_object_refuses_other_arguments() -> None:
    compiled = nl.jit(lambda x, y: x + y).lower(X, 1).compile()
    np.testing.assert_array_equal(compiled(X, 5), X + 5)
    for arguments, reason in (
        ((X[:1], 1), r"x changed from f32\[2,3\] to f32\[1,3\]"),
        ((X.astype("f8"), 1), r"x changed from f32\[2,3\] to f64\[2,3\]"),
        ((X, 1.5), "y changed from int to float"),
        (([X], 1), "the arguments have another structure"),
    ):
        with pytest.raises(nl.ArgumentError, match=reason):
            compiled(*arguments)


def test_static_arguments_and_methods_have_stages() -> None:
    class Scale:
        factor = 3

        @nl.jit
        def apply(self, x: Any) -> Any:
            return x * 2

    shaped = nl.jit(lambda x, shape: x.reshape(shape), static_argnames="shape")
    assert shaped.trace(X, (3, 2)).out_info == nl.ShapeDtype((3, 2), "f4")
    assert shaped.lower(X, shape=(6,)).compile()(X, shape=(6,)).shape == (6,)
    with pytest.raises(nl.ArgumentError, match="the static argument shape changed from"):
        shaped.lower(X, shape=(6,)).compile()(X, shape=(3, 2))
    with pytest.raises(nl.ArgumentError, match="argument self is a Scale"):
        Scale().apply.trace(X)


@pytest.mark.parametrize("stage", STAGES)
def test_dumps(stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = STAGES.index(stage) + 0.0625  # a constant that no other program has

    def dumped(x: Any) -> Any:
        return x * number + 7

    with nl.options(dump=stage, dump_dir=str(tmp_path), cache="off"):
        np.testing.assert_array_equal(nl.jit(dumped)(X[0]), X[0] * np.float32(number) + 7)
    (file,) = tmp_path.iterdir()
    assert file.name == f"dumped.1.{stage}" and len(file.read_text()) > 20
    with nl.options(dump=stage, cache="off"):
        nl.jit(dumped)(X[1:])
    assert f"# dumped: {stage}\n" in capsys.readouterr().err


def test_dumps_of_what_is_in_memory_or_on_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURLANG_CACHE", str(tmp_path / "programs"))

    def dumped(x: Any) -> Any:
        return x * 1.15625 + 7

    def lazily() -> Any:
        return np.asarray(nl.asarray(X) * 1.15625 - 7)

    function = nl.jit(dumped)
    function(X)
    lazily()
    assert capsys.readouterr().err == ""
    with nl.options(dump="loops"):
        for _ in range(2):  # once each
            function(X)
            lazily()
    written = capsys.readouterr().err
    assert (written.count("# dumped: loops\n"), written.count("# lazy: loops\n")) == (1, 1)
    monkeypatch.setenv("NEURLANG_DUMP", "loops")
    nl.jit(dumped)(X)
    executable.clear()  # the disk has the program still
    nl.jit(dumped)(X)
    assert capsys.readouterr().err.count("# dumped: loops\n") == 2
    function(X)
    assert capsys.readouterr().err == ""


def test_dumps_that_cannot_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    function = nl.jit(lambda x: x * 1.84375 - 7)
    for folder, reason in (
        (str(taken), "File exists"),
        (str(taken / "inside"), "Not a directory"),
        ("a\0b", "embedded null byte"),
    ):
        with (
            nl.options(dump="trace", dump_dir=folder, cache="off"),
            pytest.raises(nl.OptionError) as caught,
        ):
            function(X)
        assert caught.value.what == f"dumps cannot be written to {folder!r}: {reason}"
        assert caught.value.hint == "set NEURLANG_DUMP_DIR to a folder of yours, or unset it"
    np.testing.assert_array_equal(function(X), X * np.float32(1.84375) - 7)


def test_out_info_of_nothing() -> None:
    assert nl.jit(lambda x: None).trace(X).out_info is None
    assert nl.jit(lambda x: ([], {"a": None})).trace(X).out_info == ([], {"a": None})


def test_calls_of_many_threads_are_counted() -> None:
    columns = X.T  # another order of axes: the way that goes through Python

    @nl.jit
    def function(x: Any) -> Any:
        return x + 1

    def call() -> None:
        for _ in range(500):
            function(columns)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert function.cache_info() == (8 * 500 - 1, 1, 1)
