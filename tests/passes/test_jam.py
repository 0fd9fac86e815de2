"""jam: which rows are added up side by side, and the same bits as one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import For, Kernel, Load, Update, expressions_of, parts, walk
from neurlang.passes.loops import choose

GENERATOR = np.random.default_rng(0)
Function = Callable[..., Any]


def kernels(function: Function, *shapes: tuple[int, ...]) -> list[Kernel]:
    args = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    made = nl.jit(function, threads=1).trace(*args).lower().made
    return [step for step in made.program.steps if isinstance(step, Kernel)]


def sums(function: Function, *shapes: tuple[int, ...]) -> int:
    """How many sums a vector loop adds to, at most."""
    loops = [s for kernel in kernels(function, *shapes) for s in walk(kernel.body)]
    vectors = [s for s in loops if isinstance(s, For) and s.kind == "vector"]
    return max(len({s.register for s in loop.body if isinstance(s, Update)}) for loop in vectors)


MATRIX, VECTOR = (200, 300), (300,)


def test_rows_that_share_a_vector() -> None:
    assert sums(lambda a, x: a @ x, MATRIX, VECTOR) == 2
    assert sums(lambda a, x: (a * x).sum(axis=1) + 1, MATRIX, VECTOR) == 2
    assert sums(lambda a, x: np.abs(a - x).max(axis=1), MATRIX, VECTOR) == 2


def test_what_is_left_alone() -> None:
    assert sums(lambda a: a.sum(axis=1), MATRIX) == 1  # nothing is shared
    assert sums(lambda a, b: (a * b).sum(axis=1), MATRIX, MATRIX) == 1
    assert sums(lambda a, x: a @ x, (201, 300), VECTOR) == 1  # one row would be left
    assert sums(lambda a, x: a @ x, (20, 300), VECTOR) == 1  # in the first cache
    assert sums(lambda a, x: a @ x, (200, 1024), (1024,)) == 1  # whole pages apart
    assert sums(lambda a, x: np.exp(a * x).sum(axis=1), MATRIX, VECTOR) == 1  # it computes


def test_what_rows_share_is_read_by_the_same_loop() -> None:
    (kernel,) = kernels(lambda a, x: a @ x, MATRIX, VECTOR)
    (a, x) = sorted(kernel.inputs, key=lambda buffer: -buffer.size)
    for loop in walk(kernel.body):
        if isinstance(loop, For) and loop.kind == "vector":
            values = (value for s in loop.body for value in expressions_of(s))
            loads = [part for value in values for part in parts(value) if isinstance(part, Load)]
            assert len({load.index for load in loads if load.buffer is a}) == 2
            assert len({load.index for load in loads if load.buffer is x}) == 1


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("shape", [(200, 300), (150, 257), (1000, 64), (12, 5001), (6, 40, 50)])
def test_the_same_bits(shape: tuple[int, ...], bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a = GENERATOR.standard_normal(shape).astype(np.float32)
    x = GENERATOR.standard_normal(shape[-1]).astype(np.float32)
    functions: list[Function] = [
        lambda a, x: a @ x,
        lambda a, x: (a * x).sum(axis=-1) * a[..., 0],
        lambda a, x: np.maximum(a, x).min(axis=-1),
        lambda a, x: (a @ x, np.square(a - x).sum(axis=-1)),
    ]
    results: list[Any] = []
    for rows in (2, 1, 3):
        monkeypatch.setattr(choose, "ROWS_AT_ONCE", rows)
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            results.append([nl.jit(function)(a, x) for function in functions])
    for found in results[1:]:
        for one, other in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(one, other)
    wide, vector = a.astype(np.float64), x.astype(np.float64)
    np.testing.assert_allclose(results[0][0], wide @ vector, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(results[0][2], np.maximum(a, x).min(axis=-1))
