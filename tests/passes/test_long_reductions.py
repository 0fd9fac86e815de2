"""Reductions of what takes much to compute: compiled in time, with the bits of short bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.passes.loops import choose

REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: x.sum(),
    "rows": lambda x: x.sum(axis=1),
    "columns": lambda x: x.sum(axis=0),
    "most of rows": lambda x: x.max(axis=1),
    "least of columns": lambda x: x.min(axis=0),
    "deviation of columns": lambda x: x.var(axis=0),
    "middle": lambda x: x.reshape(5, -1, 7).sum(axis=1),
}


@pytest.mark.parametrize("turns", [0, 30])
@pytest.mark.parametrize("bits", [128, 512])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_fewer_copies_change_no_bit(
    name: str, bits: int, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether accumulators have copies of their own or take turns, or values are stored first."""
    x = np.random.default_rng(0).standard_normal((70, 133)).astype(np.float32)

    def function(x: Any) -> Any:
        return REDUCTIONS[name](np.sqrt(np.abs(x) + 1) * 0.5)

    with nl.options(vector_bits=bits, cache="off", verify=True):
        monkeypatch.setattr(choose, "COPY_LIMIT", 10**9)
        monkeypatch.setattr(choose, "OWN_COPY_LIMIT", 10**9)
        monkeypatch.setattr(choose, "SHARED_COPY_LIMIT", 10**9)
        expected = nl.jit(function)(x)
        lowered = str(nl.jit(function).trace(x).lower().made.program)
        nl.cache.clear()
        monkeypatch.setattr(choose, "COPY_LIMIT", 0)
        monkeypatch.setattr(choose, "OWN_COPY_LIMIT", turns)
        monkeypatch.setattr(choose, "SHARED_COPY_LIMIT", turns)
        found = nl.jit(function)(x)
        other = str(nl.jit(function).trace(x).lower().made.program)
    assert lowered != other or name == "deviation of columns"  # each value needs its mean
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, function(x.astype(np.float64)), rtol=1e-5)


def test_a_body_is_not_copied_for_every_accumulator() -> None:
    """LLVM's text grows with the function, not with the function times the accumulators."""

    def size(count: int, reduce: Callable[[Any], Any]) -> int:
        def function(x: Any) -> Any:
            for _ in range(count):
                x = np.sin(x) + 1
            return reduce(x)

        return len(nl.jit(function).lower(nl.ShapeDtype((100, 200), "float32")).as_text("llvm"))

    for reduce in (lambda x: x.sum(), lambda x: x.sum(axis=0)):
        assert size(60, reduce) < 8 * size(60, lambda x: x)


def test_costly_columns_go_down_in_narrow_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two vectors of columns hide the latency of a sine as well as eight; the bits are the same."""
    x = np.random.default_rng(0).standard_normal((75, 100)).astype(np.float32)

    def function(x: Any) -> Any:
        return np.sin(x).sum(axis=0)

    with nl.options(vector_bits=128, cache="off", verify=True):
        narrow, text = nl.jit(function)(x), nl.jit(function).lower(x).as_text("llvm")
        nl.cache.clear()
        monkeypatch.setattr(choose, "COLUMN_TILE_LIMIT", 10**9)
        wide, longer = nl.jit(function)(x), nl.jit(function).lower(x).as_text("llvm")
    np.testing.assert_array_equal(narrow, wide)
    assert len(text) < len(longer) / 2
