"""parallelize: loops that do much or move much are shared, and results are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import Buffer, For, Kernel, Store, elements_stored, walk
from neurlang.ir.types import FLOAT32


def kinds(function: Callable[..., Any], *shapes: tuple[int, ...]) -> set[str]:
    args = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    program = nl.jit(function).lower(*args).made.program
    assert program is not None
    loops = (s for k in program.steps if isinstance(k, Kernel) for s in walk(k.body))
    return {loop.kind for loop in loops if isinstance(loop, For)}


def test_what_moves_much_is_shared() -> None:
    assert "parallel" in kinds(lambda a: -a, (400_000,))
    assert "parallel" in kinds(lambda a: np.pad(a, 2, mode="edge"), (1000, 1000))
    assert "parallel" in kinds(lambda a, b: np.concatenate([a, b], 1), (50_000, 3), (50_000, 5))


def test_what_moves_little_is_not() -> None:
    assert "parallel" not in kinds(lambda a: -a, (50_000,))
    assert "parallel" not in kinds(lambda a: np.tile(a, 3), (10_000,))
    # all rows of an outer product are one short vector, read again and again
    assert "parallel" not in kinds(lambda a, b: (a[:, None] * b).sum(axis=1), (300,), (400,))


def test_stores_are_counted_by_lanes_and_trips() -> None:
    a = Buffer("a", FLOAT32, (100, 8))
    kernel = nl.jit(lambda x: x + 1).lower(nl.ShapeDtype((100, 8), "float32")).made.program.steps[0]
    assert isinstance(kernel, Kernel)
    (count,) = elements_stored(kernel.body).values()
    assert count == a.size
    assert any(isinstance(s, Store) for s in walk(kernel.body))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_shared_pads(mode: str) -> None:
    a = np.random.default_rng(0).standard_normal((601, 503)).astype(np.float32)
    with nl.options(verify=True):
        found = nl.jit(lambda a: np.pad(a, ((1, 2), (3, 4)), mode=mode), cache=False)(a)
    np.testing.assert_array_equal(found, np.pad(a, ((1, 2), (3, 4)), mode=mode))
