"""Graphs of many nodes are cut into kernels of bounded size; the oracle is NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.passes.graph import group

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((6, 40)).astype(np.float32)
W = GENERATOR.standard_normal((40, 40)).astype(np.float32)


def chain(x: Any) -> Any:
    for n in range(300):
        x = x * np.float32(1.01) if n % 2 else x - np.float32(0.25)
    return x


def ladder(x: Any) -> Any:
    """Both results of each step are used by the next one."""
    y = x
    for _ in range(12):
        x, y = np.tanh(x + y), np.abs(x - y)
    return x, y


def rows(x: Any) -> Any:
    for _ in range(10):
        x = x - x.mean(axis=-1, keepdims=True)
        x = np.exp(x * np.float32(0.1)) / (np.abs(x).max(axis=-1, keepdims=True) + 1)
    return x


def after_a_product(x: Any) -> Any:
    return chain(x @ W)


def pieces(x: Any) -> Any:
    for _ in range(20):
        x = np.concatenate([x[:, 1:], x[:, :1]], axis=1) * np.float32(0.5) + x
    return x


PROGRAMS: list[Callable[..., Any]] = [chain, ladder, rows, after_a_product, pieces]


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("largest", [7, 50])
def test_pieces_give_the_same(
    function: Callable[..., Any], largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "LARGEST_KERNEL", largest)
    monkeypatch.setenv("NEURLANG_VERIFY", "1")
    found = nl.jit(function, cache=False)(X)
    expected = function(X)
    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_long_chain_is_several_kernels() -> None:
    def long(x: Any) -> Any:
        for n in range(5000):
            x = x * np.float32(1.0001) if n % 2 else x - np.float32(0.25)
        return x

    steps = nl.explain(long, X).steps
    assert 3 <= len(steps) <= 5
    np.testing.assert_array_equal(nl.jit(long, cache=False)(X), long(X))
