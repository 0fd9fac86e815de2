"""prefetch_rows: which loops ask for the row that is stored or read next, and which elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen.machine import host_machine
from neurlang.ir.loops import For, Kernel, Prefetch, Statement, Store, walk
from neurlang.passes.loops import choose
from neurlang.passes.loops.prefetch_rows import prefetch_rows
from neurlang.passes.loops.stream import stream

ROWS = (64, 4096)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def layer_norm(x: Any) -> Any:
    d = x - x.mean(axis=1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=1, keepdims=True) + 1e-5)


def rms_norm(x: Any) -> Any:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)


def variance(x: Any) -> Any:
    return ((x - x.mean(axis=1, keepdims=True)) ** 2).mean(axis=1)


def kernels(
    function: Callable[..., Any],
    *shapes: tuple[int, ...],
    l2: int = 1024,
    past: bool = False,
    cpu: str = "generic",
) -> list[Kernel]:
    """The kernels of a program on a machine with a small second cache; nontemporal if `past`."""
    args = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    with nl.options(vector_bits=256):
        made = nl.jit(function).trace(*args).lower().made
    machine = replace(host_machine(), cpu=cpu, l1=1 << 15, l2=l2, l3=1 if past else 1 << 30)
    found = [step for step in made.program.steps if isinstance(step, Kernel)]
    streamed = [stream(kernel, machine, True) for kernel in found] if past else found
    return [prefetch_rows(kernel, machine) for kernel in streamed]


def requests(function: Callable[..., Any], *shapes: tuple[int, ...], **how: Any) -> list[Prefetch]:
    found = [s for kernel in kernels(function, *shapes, **how) for s in walk(kernel.body)]
    return [s for s in found if isinstance(s, Prefetch)]


@pytest.mark.parametrize("function", [softmax, layer_norm])
def test_the_loop_before_the_one_that_stores_asks(function: Callable[..., Any]) -> None:
    (kernel,) = kernels(function, ROWS)
    (row,) = (s for s in kernel.body if isinstance(s, For))
    places = {"asks": [], "stores": []}  # type: dict[str, list[int]]
    for place, statement in enumerate(row.body):
        inside = walk([statement])
        kinds = {type(s) for s in inside if not isinstance(s, Store) or s.buffer.name == "out"}
        places["asks"] += [place] * (Prefetch in kinds)
        places["stores"] += [place] * (Store in kinds)
    assert len(places["asks"]) == 1 and max(places["asks"]) < min(places["stores"])


@pytest.mark.parametrize("columns", [4096, 3001])
@pytest.mark.parametrize("function", [softmax, layer_norm])
def test_every_vector_of_the_row_once(function: Callable[..., Any], columns: int) -> None:
    (kernel,) = kernels(function, (5, columns))
    (row,) = (s for s in kernel.body if isinstance(s, For))
    asked = [value for s in row.body for value in _places(s, {})]
    assert len(asked) == len(set(asked))
    assert set(asked) == set(range(0, columns, 8))


def _places(statement: Statement, values: dict[Any, int]) -> list[int]:
    """The columns that are asked for, by running the loops."""
    if isinstance(statement, Prefetch):
        last = statement.index[-1]
        return [last.constant + sum(values[atom] * times for atom, times in last.terms)]
    if not isinstance(statement, For):
        return []
    steps = range(statement.start, statement.stop, statement.step)
    return [
        value
        for step in steps
        for inner in statement.body
        for value in _places(inner, {**values, statement.var: step})
    ]


def test_what_is_left_alone() -> None:
    assert not requests(rms_norm, ROWS)  # the only other loop waits for memory itself
    assert not requests(softmax, (4096, 64))  # short rows
    assert not requests(softmax, ROWS, l2=1 << 24)  # the second cache has them
    assert not requests(softmax, ROWS, past=True)  # no line is read
    assert not requests(lambda x: x * 2 + 1, ROWS)
    assert not requests(lambda x: x - x.mean(axis=0), ROWS)  # down columns
    assert not requests(lambda a, b: a @ b, ROWS, (4096, 64))


@pytest.mark.parametrize("columns", [2048, 1001])
def test_the_next_row_is_asked_for_while_one_is_read_again(columns: int) -> None:
    (kernel,) = kernels(variance, (64, columns), cpu="znver4")
    (row,) = (s for s in kernel.body if isinstance(s, For))
    asked = [value for s in row.body for value in _places(s, {})]
    assert sorted(asked) == [
        columns + place for place in range(0, columns, 8)
    ]  # once, not in both loops


def test_next_rows_that_are_left_alone() -> None:
    assert not requests(variance, (64, 2048))  # these cores were told in the first loop
    assert not requests(variance, (64, 2048), cpu="znver4", l2=1 << 24)  # no need
    assert not requests(variance, (64, 2048), cpu="znver4", past=True)  # from memory
    assert not requests(variance, (4096, 64), cpu="znver4")  # short rows
    assert not requests(variance, (64, 8192), cpu="znver4")  # two do not fit the first cache
    assert not requests(softmax, (64, 1024), cpu="znver4")  # another loop stores
    assert not requests(lambda x: np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1), (64, 2048))
    assert not requests(lambda x: x.sum(axis=1), (64, 2048), cpu="znver4")  # read once


@pytest.mark.parametrize("vector_bits", [128, 512])
@pytest.mark.parametrize("shape", [(3, 4096), (2, 3001), (1, 70_000)])
@pytest.mark.parametrize("function", [softmax, layer_norm, variance])
def test_the_same_bits(
    function: Callable[..., Any],
    shape: tuple[int, ...],
    vector_bits: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for asks in (True, False):
        monkeypatch.setattr(choose, "comes_late", lambda *_, asks=asks: asks)
        monkeypatch.setattr(choose, "reads_ahead", lambda *_, asks=asks: asks)
        with nl.options(vector_bits=vector_bits, verify=True):
            results.append(nl.jit(lambda x: function(x), cache=False)(x))
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], function(x.astype(np.float64)), rtol=1e-4, atol=1e-5)
