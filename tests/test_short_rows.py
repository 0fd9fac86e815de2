"""Rows of few elements in vectors, to columns and back: the plans, and programs that need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen.short_rows import Step, columns, rows

LANES = (2, 4, 8, 16)
LENGTHS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


def value_of(step: Step, sources: Sequence[Any], shuffles: set[Step]) -> Any:
    """What a step gives; lanes that do not matter are -1."""
    if not step.parts:
        return sources[step.source]
    shuffles.add(step)
    both = np.concatenate([value_of(part, sources, shuffles) for part in step.parts])
    return np.array([both[place] if place >= 0 else -1 for place in step.places])


def vectors(flat: Any, lanes: int) -> list[Any]:
    """An array in vectors, the last one filled up."""
    padded = np.pad(flat, (0, -len(flat) % lanes), constant_values=-2)
    return [padded[start : start + lanes] for start in range(0, len(padded), lanes)]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("length", LENGTHS)
def test_plans(length: int, lanes: int) -> None:
    for count in range(1, lanes + 1):
        table = np.arange(count * length).reshape(count, length)
        whole = vectors(table.ravel(), lanes)
        for backwards in (False, True):
            ordered = table[::-1] if backwards else table
            for n, step in enumerate(columns(lanes, length, count, backwards)):
                found = value_of(step, whole, set())
                np.testing.assert_array_equal(found[:count], ordered[:, n])
        across = [np.pad(column, (0, lanes - count), constant_values=-2) for column in table.T]
        back = [value_of(step, across, set()) for step in rows(lanes, length, count)]
        np.testing.assert_array_equal(np.concatenate(back)[: table.size], table.ravel())


def test_shuffles_are_shared() -> None:
    """Three halvings of eight vectors, of which each step makes as many."""
    shuffles: set[Step] = set()
    for step in columns(16, 8, 16, False):
        value_of(step, [np.zeros(16)] * 8, shuffles)
    assert len(shuffles) == 24


FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: (x * x).sum(axis=-1),
    lambda x: x.max(axis=-1, keepdims=True) - x,
    lambda x: x[..., ::-1] + x.sum(axis=-1, keepdims=True),
    lambda x: np.stack([x[..., 1], x[..., 0]], -1),
    lambda x: x.reshape(-1)[1::3] * 2,
    lambda x: x.reshape(-1)[::-2] * 2,
)


@pytest.mark.parametrize("vector_bits", [128, 512])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int8"])
@pytest.mark.parametrize("length", [2, 3, 5, 8, 9, 12, 13])
def test_programs(length: int, dtype: str, vector_bits: int) -> None:
    generator = np.random.default_rng(length)
    with nl.options(vector_bits=vector_bits, verify=True):
        for shape in ((1025, length), (37, 9, length), (3, 17, length)):
            x = generator.integers(-9, 9, shape).astype(dtype)
            for function in FUNCTIONS:
                found = nl.jit(function, cache=False)(x)
                np.testing.assert_array_equal(found, function(x))


def test_bits_of_sums_do_not_depend_on_where_rows_lie() -> None:
    x = np.random.default_rng(3).standard_normal((2048, 11)).astype(np.float32)
    across = nl.jit(lambda x: (x * x).sum(axis=1), cache=False)
    many = across(x)
    few = np.concatenate([across(x[k : k + 4]) for k in range(0, 2048, 4)])
    np.testing.assert_array_equal(many, few)
