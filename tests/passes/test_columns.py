"""Reductions down columns: the same bits for columns in registers and for blocks in scratch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl

GENERATOR = np.random.default_rng(0)
FEW = 100  # columns that go down in registers

REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x.sum(axis=0),
    "max": lambda x: x.max(axis=0),
    "var": lambda x: x.var(axis=0),
    "normalized": lambda x: (x - x.mean(axis=0)) / (x.std(axis=0) + 1),
    "argmin": lambda x: x.argmin(axis=0),
    "argmax": lambda x: x.argmax(axis=0),
    "log of a sum": lambda x: np.log(np.exp(x * 0.01 - (x * 0.01).max(axis=0)).sum(axis=0)),
    "of two": lambda x: (x * 2 + 1).sum(axis=0) + x.max(axis=0),
    "exponentials": lambda x: np.exp(x * 0.001).sum(axis=0),
}


def in_pieces(function: Callable[[Any], Any], x: Any) -> Any:
    """What the function gives for some columns at a time."""
    pieces = [x[..., start : start + FEW] for start in range(0, x.shape[-1], FEW)]
    return np.concatenate([nl.jit(function)(np.ascontiguousarray(piece)) for piece in pieces], -1)


@pytest.mark.parametrize("name", list(REDUCTIONS))
@pytest.mark.parametrize("shape", [(1, 600), (9, 2048), (70, 1025), (200, 1024)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_blocks_have_the_bits_of_columns_in_registers(
    name: str, shape: tuple[int, int], dtype: str
) -> None:
    x = (GENERATOR.normal(size=shape) * 100).astype(dtype)
    function = REDUCTIONS[name]
    for bits in (128, 0):
        with nl.options(verify=True, cache="off", vector_bits=bits):
            found = nl.jit(function)(x)
            np.testing.assert_array_equal(found, in_pieces(function, x))
    with np.errstate(all="ignore"):
        close = (
            {"rtol": 1e-12, "atol": 1e-9} if dtype == "float64" else {"rtol": 1e-5, "atol": 0.02}
        )
        np.testing.assert_allclose(found, function(x), **close)


def test_sums_of_blocks_are_accurate() -> None:
    x = np.full((30_000, 600), 0.1, np.float32)
    x[::7] = -1e4
    exact = math.fsum(x[:, 0].tolist())
    found = nl.jit(lambda x: x.sum(axis=0))(x)
    bound = (2 + math.log2(len(x))) * 2.0**-24 * np.abs(x[:, 0].astype(np.float64)).sum()
    assert np.abs(found - exact).max() <= bound


def test_infinite_and_missing_values_stay_in_their_columns() -> None:
    x = np.ones((40, 700), np.float32)
    x[3, 5], x[9, 500], x[2, 699], x[4, 699] = np.inf, np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        wanted = x.sum(axis=0)
    np.testing.assert_array_equal(nl.jit(lambda x: x.sum(axis=0))(x), wanted)


def kernels(function: Callable[[Any], Any], *shape: int, **options: Any) -> list[str]:
    with nl.options(**options):
        text = nl.jit(function).lower(nl.ShapeDtype(shape, "float32")).as_text("loops")
    return text.split("\nkernel ")


@pytest.mark.parametrize("name", ["var", "argmin", "argmax", "log of a sum"])
def test_several_sweeps_are_one_kernel_where_the_cache_holds_the_columns(name: str) -> None:
    assert len(kernels(REDUCTIONS[name], 1000, 1000)) == 1
    assert len(kernels(REDUCTIONS[name], 4000, 1000)) == 2  # columns are too long
    assert len(kernels(REDUCTIONS[name], 200, 16384)) == 2  # all rows fall into the same sets


def softmax(x: Any) -> Any:
    exponentials = np.exp(x - x.max(axis=-2, keepdims=True))
    return exponentials / exponentials.sum(axis=-2, keepdims=True)


def with_parts(x: Any) -> Any:
    """Elements, sums and what both make, all of them results."""
    mean = x.mean(axis=-2, keepdims=True)
    apart = np.exp(np.abs(x - mean) * 0.1)
    return apart, mean, apart.sum(axis=-2), apart - apart.max(axis=-2, keepdims=True)


def test_what_follows_two_sweeps_is_stored_by_them() -> None:
    (text,) = kernels(softmax, 100, 1000)
    assert "row0: f32[100," in text  # exponentials are computed once
    assert len(kernels(REDUCTIONS["normalized"], 100, 1000)) == 1
    assert len(kernels(softmax, 5, 100, 300)) == 1
    assert len(kernels(softmax, 100, 30)) > 1  # few columns
    assert len(kernels(lambda x: x - x.max(axis=0), 100, 1000)) == 2  # one sweep
    assert len(kernels(lambda x: x - x.max(axis=0), 500, 20_000)) == 1  # that no cache holds


@pytest.mark.parametrize("shape", [(7, 300), (100, 300), (65, 1030), (3, 20, 270)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [softmax, with_parts, REDUCTIONS["normalized"]])
def test_elements_that_columns_store(
    function: Callable[[Any], Any], shape: tuple[int, ...], dtype: str
) -> None:
    x = GENERATOR.normal(size=shape).astype(dtype)
    wanted = function(x.astype(np.float64))
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for bits, threads in ((128, 1), (0, 2)):
        with nl.options(verify=True, cache="off", vector_bits=bits, threads=threads):
            found = nl.jit(function)(x)
        pairs = zip(found, wanted) if isinstance(wanted, tuple) else [(found, wanted)]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_what_reads_another_column_is_another_kernel() -> None:
    def read_across(x: Any) -> Any:
        parts = softmax(x)
        return parts, parts[:, 0] * 2 + x.max(axis=0), parts[0] + x.sum(axis=0)

    x = GENERATOR.normal(size=(300, 300))
    with nl.options(verify=True, cache="off"):
        found = nl.jit(read_across)(x)
    for one, other in zip(found, read_across(x)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_wide_indices_do_not_narrow_the_sweeps() -> None:
    """Only the conversion to int64 at the end has half as many lanes."""
    (text,) = kernels(REDUCTIONS["argmax"], 64, 1024, vector_bits=256)
    steps = [line.split(" step ")[1].split()[0] for line in text.splitlines() if "vector" in line]
    assert steps.count("4:") + steps.count("4") == 1
    (text,) = kernels(REDUCTIONS["argmax"], 64, 100, vector_bits=256)
    assert "step 4" not in text


@pytest.mark.parametrize("shape", [(5, 3), (9, 40), (70, 700), (3, 41, 30), (2000, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
@pytest.mark.parametrize("op", [np.argmax, np.argmin])
def test_the_first_extreme_value_or_nan_of_a_column(
    shape: tuple[int, ...], dtype: str, op: Callable[..., Any]
) -> None:
    x = GENERATOR.integers(-3, 4, shape).astype(dtype)  # with many equal ones
    if x.dtype.kind == "f":
        x[..., 1::7][GENERATOR.random(x[..., 1::7].shape) < 0.1] = np.nan
    for axis in range(x.ndim):
        with nl.options(verify=True, cache="off"):
            found = nl.jit(lambda x, axis=axis: op(x, axis=axis))(x)
        np.testing.assert_array_equal(found, op(x, axis=axis))


def test_batches_of_columns() -> None:
    x = GENERATOR.normal(size=(3, 50, 700)).astype(np.float32)
    with nl.options(verify=True, cache="off"):
        found = nl.jit(lambda x: x.sum(axis=1))(x)
    np.testing.assert_allclose(found, x.astype(np.float64).sum(axis=1), rtol=1e-4, atol=1e-4)


def elaborate(x: Any) -> Any:
    for _ in range(8):
        x = np.arctan2(np.sin(x), np.tan(x))
    return x


def test_which_columns_wait_in_scratch() -> None:
    def scratch(columns: int, function: Callable[[Any], Any]) -> bool:
        x = nl.ShapeDtype((64, columns), "float32")
        return "acc1s" in nl.jit(function).lower(x).as_text("loops")

    assert scratch(1024, REDUCTIONS["sum"])
    assert not scratch(256, REDUCTIONS["sum"])  # too few for blocks
    assert not scratch(4096, lambda x: elaborate(x).sum(axis=0))


def test_indices_that_columns_make() -> None:
    """A place that is found down columns is an index, and a quotient both that and a value."""
    b, v = GENERATOR.normal(size=(9, 65)), GENERATOR.normal(size=9)
    w, q = GENERATOR.normal(size=(17, 480)), GENERATOR.normal(size=(17, 5))

    def picked(b: Any, v: Any) -> Any:
        place = np.argmax(b, 0)
        return v[place], b[place, np.arange(65)]

    def in_blocks(w: Any, q: Any) -> Any:
        return (w * np.repeat(q, 96, axis=1) * (nl.arange(480) // 96)).argmax(0)

    with nl.options(verify=True, cache="off"):
        for one, other in zip(nl.jit(picked)(b, v), picked(b, v)):
            np.testing.assert_array_equal(one, other)
        wanted = (w * np.repeat(q, 96, axis=1) * (np.arange(480) // 96)).argmax(0)
        np.testing.assert_array_equal(nl.jit(in_blocks)(w, q), wanted)
