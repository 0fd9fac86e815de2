"""accumulate: running sums in vectors have NumPy's order, or exact arithmetic's neighbourhood."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import Alloc, For, Kernel, Transpose, walk
from neurlang.ir.loops_interpret import interpret_kernel

GENERATOR = np.random.default_rng(0)
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "int64")
SHAPES = ((3, 5), (4, 4), (7, 9), (33, 65), (5, 130), (2, 3, 70), (6, 9, 2))
WIDTHS = (128, 256, 512)


def costly(x: Any) -> Any:
    """Much to compute, without an operator that NumPy rounds in another way."""
    for _ in range(8):
        x = np.sqrt(np.abs(x * 2.5) + 0.75) / 3
    return x


FUNCTIONS: dict[str, Callable[[Any, int], Any]] = {
    "sum": lambda x, axis: np.cumsum(x, axis=axis),
    "prod": lambda x, axis: np.cumprod(x, axis=axis),
    "max": lambda x, axis: np.maximum.accumulate(x, axis=axis),
    "another dtype": lambda x, axis: np.cumsum(x > 0, axis=axis),
    "a long value": lambda x, axis: np.cumsum(costly(x * 1.0), axis=axis),
    "across": lambda x, axis: np.cumsum(x.T, axis=axis),
    "reversed": lambda x, axis: np.cumsum(x[::-1, ::-1], axis=axis),
    "found by indices": lambda x, axis: np.cumsum(x[np.arange(len(x))[::-1]], axis=axis),
}


def values(shape: tuple[int, ...], dtype: str) -> Any:
    return (GENERATOR.standard_normal(shape) * 10).astype(dtype)


def along(name: str, axis: int) -> Callable[[Any], Any]:
    """One of the functions, along one axis."""
    return lambda x: FUNCTIONS[name](x, axis)


def compiled(function: Callable[..., Any], *args: Any, **variant: Any) -> Any:
    with nl.options(verify=True, cache="off", **variant):
        return nl.jit(function)(*args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_axis_has_the_bits_of_numpy(name: str, dtype: str) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis in range(len(shape)):
            with np.errstate(all="ignore"):
                expected = FUNCTIONS[name](x, axis)
            for bits in WIDTHS:
                found = compiled(along(name, axis), x, vector_bits=bits)
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected, err_msg=f"{shape} {axis} {bits}")


LONG = ((1024,), (1025,), (5000,), (3, 1300), (2, 1, 1999), (1, 4096, 1))


@pytest.mark.parametrize("shape", LONG)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_rows_are_as_exact_as_their_order_promises(shape: Any, dtype: str) -> None:
    x = GENERATOR.random(shape).astype(dtype)
    axis = int(np.argmax(shape))
    results = [
        compiled(lambda x: np.cumsum(x, axis=axis), x, vector_bits=bits, threads=threads)
        for bits, threads in itertools.product(WIDTHS, (1, 3))
    ]
    for found in results[1:]:
        np.testing.assert_array_equal(found.view(np.uint8), results[0].view(np.uint8))
    rows = x.reshape(-1, shape[axis]).astype(object)
    found = results[0].reshape(rows.shape)
    eps = np.finfo(dtype).eps
    for row, sums in zip(rows, found):
        for n in (1, 17, 256, 1000, len(row)):
            exact = math.fsum(row[:n])
            # at most 16 additions in a row of a block, one to what stands before, and that many
            additions = min(n, 16 + n // 16 + n // 256 + 256)
            assert abs(sums[n - 1] - exact) <= additions * eps * exact


@pytest.mark.parametrize("name", ["sum", "prod", "max"])
def test_long_rows_of_integers_and_extremes_are_exact(name: str) -> None:
    for shape, dtype in itertools.product(LONG, ("int8", "uint64", "float32")):
        if (name, dtype) == ("sum", "float32"):
            continue
        x = values(shape, dtype)
        if dtype == "float32":
            x = np.sign(x) * np.exp2(np.round(x / 20)).astype(dtype)
            x.reshape(-1)[700] = np.nan
        axis = int(np.argmax(shape))
        expected = FUNCTIONS[name](x, axis)
        found = compiled(along(name, axis), x)
        np.testing.assert_array_equal(found, expected)


def test_special_values_of_long_rows() -> None:
    x = np.full(2000, -0.0, np.float32)
    found = compiled(np.cumsum, x)
    assert np.signbit(found).all()
    for special in ([np.inf], [np.nan], [np.inf, -np.inf], [-np.inf, 1.0]):
        for first in (0, 15, 255, 1000, 1990):
            x = GENERATOR.standard_normal(2000)
            x[first : first + len(special)] = special
            with np.errstate(invalid="ignore"):
                expected = np.cumsum(x)
            found = compiled(np.cumsum, x)
            finite = np.isfinite(expected)
            np.testing.assert_array_equal(np.isfinite(found), finite)
            np.testing.assert_array_equal(found[~finite], expected[~finite])
    zero_first = np.full(3000, 1e30, np.float32)
    zero_first[0] = 0
    np.testing.assert_array_equal(compiled(np.cumprod, zero_first), np.zeros(3000, np.float32))


def test_threads_do_not_change_bits() -> None:
    for shape, axis in (((333, 517), 1), ((333, 517), 0), ((3, 200, 301), 1)):
        x = values(shape, "float32")
        expected = np.cumsum(x, axis=axis)
        for threads in (1, 2, 5):
            found = compiled(along("sum", axis), x, threads=threads)
            np.testing.assert_array_equal(found, expected)


def kernel_of(function: Callable[..., Any], shape: tuple[int, ...]) -> Kernel:
    made = nl.jit(function).trace(nl.ShapeDtype(shape, "float32")).lower().made
    assert made.program is not None
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    return kernel


@pytest.mark.parametrize("shape", [(9, 21), (2, 1100), (1300,)])
def test_the_loops_say_what_is_compiled(shape: tuple[int, ...]) -> None:
    x = values(shape, "float32")
    for axis in range(len(shape)):
        kernel = kernel_of(along("a long value", axis), shape)
        found = np.empty(shape, np.float32)
        assert interpret_kernel(kernel, {kernel.inputs[0]: x, kernel.outputs[0]: found}) == 0
        expected = compiled(along("a long value", axis), x)
        np.testing.assert_array_equal(found, expected)


def kinds(kernel: Kernel, kind: type) -> int:
    return sum(isinstance(statement, kind) for statement in walk(kernel.body))


def test_rows_run_in_squares_and_columns_side_by_side() -> None:
    rows = kernel_of(lambda x: np.cumsum(x * 2, axis=1), (64, 64))
    assert (kinds(rows, Transpose), kinds(rows, Alloc)) == (2, 0)
    long = kernel_of(lambda x: np.cumsum(costly(x), axis=1), (64, 64))
    assert (kinds(long, Transpose), kinds(long, Alloc)) == (2, 1)
    columns = kernel_of(lambda x: np.cumsum(x, axis=0), (64, 64))
    assert kinds(columns, Transpose) == 0
    assert any(isinstance(s, For) and s.kind == "vector" for s in walk(columns.body))
    assert kinds(kernel_of(np.cumsum, (5000,)), Transpose) == 2


def test_an_outer_axis_is_not_copied() -> None:
    def run(x: Any) -> Any:
        return np.cumsum(x, axis=1)

    made = nl.jit(run).trace(nl.ShapeDtype((4, 50, 3, 5), "float64")).lower().made
    assert made.program is not None
    assert len(made.program.steps) == 1
    assert made.program.temporary_bytes == 0
