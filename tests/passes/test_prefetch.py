"""prefetch: which loops ask for lines in advance, and the same values as without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen.machine import host_machine
from neurlang.ir.loops import Kernel, Prefetch, walk
from neurlang.passes.loops import choose
from neurlang.passes.loops.prefetch import prefetch

ROWS = (64, 1024)


def prefetched(function: Callable[..., Any], *shapes: tuple[int, ...], l2: int = 1024) -> set[str]:
    """The operands that are asked for in advance on a machine with a small second cache."""
    return {statement.buffer.name for statement in requests(function, *shapes, l2=l2)}


def requests(
    function: Callable[..., Any], *shapes: tuple[int, ...], l2: int = 1024, cpu: str = "generic"
) -> list[Prefetch]:
    args = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    made = nl.jit(function).trace(*args).lower().made
    kernels = [step for step in made.program.steps if isinstance(step, Kernel)]
    machine = replace(host_machine(), l2=l2, cpu=cpu)
    done = [prefetch(kernel, machine) for kernel in kernels]
    return [s for kernel in done for s in walk(kernel.body) if isinstance(s, Prefetch)]


def test_reductions_of_what_is_read_once() -> None:
    assert prefetched(lambda a: a.sum(axis=1), ROWS) == {"a"}
    assert prefetched(lambda a: a.max(), (1 << 16,)) == {"a"}
    assert prefetched(lambda a, x: a @ x, ROWS, (1024,)) == {"a"}  # x is read for every row


def test_cores_that_follow_streams_are_not_asked() -> None:
    assert not requests(lambda a: a.sum(axis=1), ROWS, cpu="znver4")
    assert not requests(lambda a: a.sum(axis=1), (1 << 14, 1 << 14), cpu="znver4")
    assert not requests(lambda a: a.var(axis=1), (1 << 14, 1 << 14), cpu="znver4")


def test_the_first_loop_over_a_row_asks() -> None:
    assert len(requests(lambda a: a.var(axis=1), ROWS)) == 1
    assert len(requests(lambda a: a.argmax(axis=1), (640, 112))) == 1
    assert len(requests(lambda a: np.exp(a - a.max(axis=1, keepdims=True)).sum(axis=1), ROWS)) == 1


def test_what_is_read_twice_is_asked_for_once() -> None:
    assert len(requests(lambda a: (a * (a + 1)).sum(axis=1), ROWS)) == 1


def test_tiles_ask_for_what_the_tiles_beside_read() -> None:
    """Of a large right operand that is read in its own order; not of a panel."""
    assert prefetched(lambda a, b: a @ b, (8, 300), (300, 500)) == {"b"}
    assert not prefetched(lambda a, b: a @ b, (8, 300), (300, 500), l2=1 << 20)
    found = requests(lambda a, b: a @ b, (8, 300), (300, 512))
    assert all(request.index[-1].constant > 0 for request in found)


def test_what_is_left_alone() -> None:
    assert not prefetched(lambda a: a * 2 + 1, ROWS)  # it stores
    assert not prefetched(lambda a: np.exp(np.sin(a)).sum(axis=1), ROWS)  # it computes
    assert not prefetched(lambda a: a.sum(axis=0), ROWS)  # down columns
    assert not prefetched(lambda a: a.sum(axis=1), ROWS, l2=1 << 20)  # it is in the cache


@pytest.mark.parametrize("vector_bits", [128, 512])
@pytest.mark.parametrize("shape", [(3, 5), (7, 1000), (1, 70_000), (70_000,)])
def test_the_same_bits(
    shape: tuple[int, ...], vector_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the very end of an array, where the lines that are asked for are not its own."""
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for late in (True, False):
        monkeypatch.setattr(choose, "asks_ahead", lambda *_, late=late: late)
        with nl.options(vector_bits=vector_bits, verify=True):
            results.append(nl.jit(lambda a: a.sum(axis=-1), cache=False)(a))
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], a.astype(np.float64).sum(axis=-1), rtol=1e-4, atol=1e-3)
