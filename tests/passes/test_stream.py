"""stream: which stores go past the caches, and the same values where all that can do so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.codegen.machine import host_machine
from neurlang.ir.loops import Kernel, Store, walk
from neurlang.passes.loops import choose
from neurlang.passes.loops.stream import stream
from neurlang.runtime import memory

GENERATOR = np.random.default_rng(0)


def stores(function: Callable[..., Any], *shapes: tuple[int, ...], l3: int = 1 << 20) -> list[bool]:
    """Whether each store of a program's loops is nontemporal."""
    args = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    with nl.options(vector_bits=256):
        made = nl.jit(function).trace(*args).lower().made
    machine = replace(host_machine(), l3=l3)
    kernels = [stream(k, machine, True) for k in made.program.steps if isinstance(k, Kernel)]
    found = [s for kernel in kernels for s in walk(kernel.body)]
    return [s.nontemporal for s in found if isinstance(s, Store)]


def test_large_results() -> None:
    assert stores(lambda x: x + 1, (1 << 20,)) == [True]
    assert stores(lambda x: x + 1, (1024, 1024)) == [True]
    assert stores(lambda x: (x + 1, x * 2), (1024, 1024)) == [True, True]


def test_what_stays_in_the_last_cache() -> None:
    assert stores(lambda x: x + 1, (1 << 20,), l3=1 << 24) == [False]
    assert not any(stores(lambda x: x.sum(axis=0), (1 << 10, 1 << 12)))  # a small result


def test_the_masked_end_is_a_plain_store() -> None:
    assert stores(lambda x: x + 1, ((1 << 20) + 3,)) == [True, False]


def test_rows_that_begin_anywhere() -> None:
    assert not any(stores(lambda x: np.pad(x, ((0, 0), (1, 1))), (1000, 1001)))
    assert any(stores(lambda x, y: x - y[:, None], (1000, 1024), (1000,)))
    assert not any(stores(lambda x, y: x - y[:, None], (1000, 1001), (1000,)))


def test_what_is_stored_after_other_loops_over_a_row() -> None:
    assert any(stores(lambda x: x - x.max(axis=1, keepdims=True), (1000, 1024)))


def test_what_is_read_again() -> None:
    def function(x):
        y = np.sort(x * 2, axis=-1)
        return y, y + 1

    first, *_, last = stores(function, (1024, 1024))
    assert (first, last) == (False, True)


def test_results_that_are_not_aligned() -> None:
    made = nl.jit(lambda x: x + 1).trace(nl.ShapeDtype((1 << 20,), "float32")).lower().made
    (kernel,) = made.program.steps
    assert stream(kernel, replace(host_machine(), l3=1), aligned=False) is kernel


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "map": lambda x: np.exp(x) * 2,
    "bools": lambda x: x > 0,
    "doubles": lambda x: x.astype(np.float64) + 1,
    "bytes": lambda x: x.astype(np.int8),
    "two": lambda x: (x + 1, x.astype(np.int16)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
    "product": lambda x: x @ x.T,
    "transposed": lambda x: x.T + x.T,
    "columns": lambda x: x - x.mean(axis=0),
    "padded": lambda x: np.pad(x, ((2, 1), (16, 3))),
    "flipped": lambda x: x[::-1, ::-1] * 2,
    "rolled": lambda x: np.roll(x, 5, axis=1),
    "joined": lambda x: np.concatenate([x, x * 2], axis=1),
    "cumulative": lambda x: np.cumsum(x, axis=1),
    "reshaped": lambda x: (x * 2).reshape(-1),
}


@pytest.mark.skipif(not memory.available(), reason="results are not aligned")
@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_stay(name: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every store that can go past the caches does: the values are those of plain stores."""
    if bits > host_machine().vector_bits:
        pytest.skip("the host has no such vectors")
    for shape in ((64, 64), (33, 70), (5, 48), (200, 32)):
        x = GENERATOR.standard_normal(shape).astype(np.float32)
        with nl.options(cache="off", vector_bits=bits):
            executable.clear()
            plain = nl.jit(PROGRAMS[name])(x)
            with monkeypatch.context() as patch:
                patch.setattr(choose, "outgrows_cache", lambda traffic, machine: True)
                patch.setattr(choose, "streams", lambda nbytes: True)
                patch.setattr(memory, "POOLED", 0)
                executable.clear()
                function = nl.jit(PROGRAMS[name])
                streamed = function(x), function(x)
        executable.clear()
        for found in streamed:
            for a, b in zip(*(v if isinstance(v, tuple) else (v,) for v in (found, plain))):
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                np.testing.assert_array_equal(a, b)
