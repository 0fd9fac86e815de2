"""Products in machine code: sizes for several threads, edges of vectors, all layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl

GENERATOR = np.random.default_rng(0)
WIDTHS = (128, 256, 512)


def values(shape: tuple[int, ...], dtype: str) -> Any:
    return (GENERATOR.standard_normal(shape) * 5).astype(dtype)


def check(function: Callable[..., Any], *arguments: Any) -> None:
    """Machine code against NumPy in float64: 4 k eps for each element of a product over k."""
    found = nl.jit(function)(*arguments)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments]
    expected = np.asarray(function(*wide))
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * size)


TALL = [(700, 65, 17), (257, 512, 2), (300, 300, 5), (700, 64, 64), (1024, 256, 64), (33, 700, 700)]
OPERANDS: dict[str, Callable[[Any, Any], Any]] = {
    "plain": lambda x, w: x @ w.T.copy(),
    "transposed": lambda x, w: x @ w.T,
    "reversed": lambda x, w: x @ w.T[::-1],
    "computed": lambda x, w: x @ (w.T * 2),
    "both computed": lambda x, w: (x + 1) @ (w.T - 1),
    "left reversed": lambda x, w: x[:, ::-1] @ w.T,
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("name", OPERANDS)
def test_threads_share_what_is_packed_for_all(name: str, dtype: str) -> None:
    for rows, depth, columns in TALL:
        x, w = values((rows, depth), dtype), values((columns, depth), dtype)
        for threads in (1, 2, 3):
            with nl.options(threads=threads, cache="off"):
                check(OPERANDS[name], x, w)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("size", [1, 3, 5, 9, 15, 17, 33])
def test_edges(size: int, bits: int) -> None:
    a, b = values((5, 8), "int64"), values((8, size), "int64")
    x, y = values((size, 33), "float64"), values((33, size), "float64")
    column = np.asfortranarray(values((size, size), "float64"))
    with nl.options(vector_bits=bits, cache="off", verify=True):
        check(lambda a, b: (a @ b).astype(np.int32), a, b)
        check(lambda a, b: (a @ b).astype(np.int8), a, b)
        check(lambda x, y: (x @ y).astype(np.float32), x, y)
        check(lambda x, y, c: x @ y + c, x, y, column)
        check(lambda x, y, c: np.tanh(x @ y) * c, x, y, column)
        check(lambda x, y, c: x @ y > c, x, y, column)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 17, 33, 65])
def test_one_lane_of_a_narrowed_integer(size: int, bits: int) -> None:
    """Memory beyond the last element stays as it is: pieces lie side by side in one array."""
    x = values((5, size), "int64")
    with nl.options(vector_bits=bits, cache="off", verify=True):
        check(lambda x: np.concatenate([x.astype(np.int32), (x + 1).astype(np.int32)], axis=1), x)
        check(lambda x: np.concatenate([x[:, :1].astype(np.int8), x.astype(np.int8)], axis=1), x)
        check(lambda x: np.stack([x.astype(np.int16)] * 2, axis=1), x)
        check(lambda x: np.stack([x.astype(np.uint32)[:, ::-1]] * 2, axis=2), x)
