"""transpose: squares in registers give what NumPy gives, at every width, dtype and edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import Alloc, Kernel, Transpose, walk

GENERATOR = np.random.default_rng(0)
SHAPES = ((3, 5), (16, 16), (33, 65), (70, 100), (128, 64), (200, 31), (64, 7))
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "int64", "bool")

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "copy": lambda a, b: a.T.copy(),
    "a short body": lambda a, b: np.maximum(a.T, b),
    "two loads": lambda a, b: np.where(a.T > b, a.T, b),
    "reversed": lambda a, b: np.minimum(a.T[:, ::-1], b),
    "both reversed": lambda a, b: np.minimum(a.T[::-1, ::-1], b),
    "another dtype": lambda a, b: (a.T != b).astype(np.float64),
    "a long body": lambda a, b: np.sqrt(np.sqrt(np.abs(a.T.astype(np.float32)))) - b,
    "three axes": lambda a, b: np.stack([a, a + a], axis=2).transpose(2, 1, 0).copy(),
}


def values(shape: tuple[int, int], dtype: str) -> Any:
    return (GENERATOR.standard_normal(shape) * 10).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_lies_across_is_what_numpy_gives(name: str, dtype: str) -> None:
    if dtype == "bool" and name == "a long body":
        pytest.skip("bools cannot be subtracted")
    function = FUNCTIONS[name]
    for shape in SHAPES:
        a, b = values(shape, dtype), values(shape[::-1], dtype)
        for bits in (128, 256, 512):
            with nl.options(vector_bits=bits, verify=True, cache="off"):
                found = nl.jit(function)(a, b)
            expected = function(a, b)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected, err_msg=f"{shape} {bits}")


def kernel_of(function: Callable[..., Any], *shapes: tuple[int, ...], bits: int = 256) -> Kernel:
    arguments = [nl.ShapeDtype(shape, "float32") for shape in shapes]
    with nl.options(vector_bits=bits):
        made = nl.jit(function).trace(*arguments).lower().made
    assert made.program is not None
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    return kernel


def count(kernel: Kernel, kind: type) -> int:
    return sum(isinstance(statement, kind) for statement in walk(kernel.body))


def test_a_transpose_is_made_of_squares() -> None:
    kernel = kernel_of(lambda a, b: a.T + b, (64, 64), (64, 64))
    assert count(kernel, Transpose) == 1
    assert count(kernel, Alloc) == 0


def test_what_is_packed_has_small_squares() -> None:
    """LLVM takes many times as long for squares of whole vectors; rows 2 KiB apart need them."""
    sides = {}
    for depth in (500, 512):
        kernel = kernel_of(lambda a, b: a @ b.T, (64, depth), (96, depth), bits=512)
        (sides[depth],) = {s.register.lanes for s in walk(kernel.body) if isinstance(s, Transpose)}
    assert sides == {500: 4, 512: 16}


def test_each_array_across_has_its_square() -> None:
    kernel = kernel_of(lambda a, b: a.T + b.T, (64, 64), (64, 64))
    assert count(kernel, Transpose) in (0, 2)  # the sum may be transposed instead
    kernel = kernel_of(lambda a, b, c: a.T * c + b.T, (64, 64), (64, 64), (64, 64))
    assert count(kernel, Transpose) == 2


def test_a_long_body_reads_the_square_from_scratch() -> None:
    kernel = kernel_of(lambda a, b: np.exp(a.T) / np.exp(b), (64, 64), (64, 64))
    assert count(kernel, Transpose) == 1
    assert count(kernel, Alloc) == 1


def test_what_lies_along_the_loops_has_no_square() -> None:
    assert count(kernel_of(lambda a, b: a + b, (64, 64), (64, 64)), Transpose) == 0
    assert count(kernel_of(lambda a, b: a[::2] + b, (64, 64), (32, 64)), Transpose) == 0
    assert count(kernel_of(lambda a, b: a[:, ::2] + b, (64, 64), (64, 32)), Transpose) == 0
