"""locate: the places of extreme values are NumPy's, and which loops find them in one sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl

GENERATOR = np.random.default_rng(5)
SHAPES = ((5, 128), (3, 1000), (4, 129), (2, 191), (7, 300), (9, 2050))


def specials(shape: tuple[int, ...], dtype: str) -> list[Any]:
    """Rows with ties, with NaN early and late, of nothing but what accumulators start at."""
    plain = (GENERATOR.standard_normal(shape) * 20).astype(dtype)
    found = [plain, np.sign(plain).astype(dtype)]
    if np.dtype(dtype).kind == "f":
        sparse, late = plain.copy(), np.full(shape, np.inf, dtype)
        sparse[GENERATOR.random(shape) < 0.01] = np.nan
        late[..., -3:] = np.nan
        zeros = np.where(GENERATOR.random(shape) < 0.5, 0.0, -0.0).astype(dtype)
        ends = [np.full(shape, end, dtype) for end in (-np.inf, np.inf, np.nan)]
        return [*found, sparse, late, zeros, *ends]
    info = np.iinfo(dtype)
    return [*found, *(np.full(shape, end, dtype) for end in (info.min, info.max))]


FUNCTIONS: tuple[Callable[[Any], Any], ...] = (
    lambda x: (x.argmax(axis=-1), x.argmin(axis=-1)),
    lambda x: (x.max(axis=-1), x.argmax(axis=-1)),
    lambda x: np.argmin(x + x, axis=-1),
)


@pytest.mark.parametrize("vector_bits", [128, 512])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "int8", "uint32"])
def test_places(dtype: str, vector_bits: int) -> None:
    with nl.options(vector_bits=vector_bits, verify=True), np.errstate(all="ignore"):
        for shape in SHAPES:
            compiled = [nl.jit(function, cache=False) for function in FUNCTIONS]
            for x in specials(shape, dtype):
                for function, mine in zip(FUNCTIONS, compiled):
                    np.testing.assert_array_equal(np.stack(mine(x)), np.stack(function(x)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int8"])
@pytest.mark.parametrize("shape", [(200_003,), (3, 262_147), (131_072,)])
def test_long_rows(shape: tuple[int, ...], dtype: str) -> None:
    """By chunks, of which one may be shorter."""
    for function in (np.argmax, np.argmin):
        with nl.options(verify=True):
            mine = nl.jit(lambda x, function=function: function(x, axis=-1), cache=False)
            for x in specials(shape, dtype):
                np.testing.assert_array_equal(mine(x), function(x, axis=-1))


def loops(function: Callable[..., Any], dtype: str, *shape: int) -> str:
    return nl.jit(function).lower(nl.ShapeDtype(shape, dtype)).as_text("loops")


def test_who_finds_both_at_once() -> None:
    assert "placev" in loops(lambda x: x.argmax(axis=1), "float32", 9, 1000)
    assert "placev" in loops(lambda x: x.argmin(axis=1), "int64", 9, 1000)
    assert "placev" in loops(lambda x: np.argmax(x * 2 + 1, axis=1), "float32", 9, 1000)


def test_who_does_not() -> None:
    assert "placev" not in loops(lambda x: x.argmax(axis=1), "float32", 9, 100)  # short rows
    assert "placev" not in loops(lambda x: x.argmax(axis=1), "int8", 9, 1000)  # narrow elements
    assert "placev" not in loops(lambda x: x.argmax(axis=0), "float32", 1000, 900)  # down columns
    assert "placev" not in loops(lambda x: x.max(axis=1), "float32", 9, 1000)
