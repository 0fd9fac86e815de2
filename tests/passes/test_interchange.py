"""interchange: loops in another order give what NumPy gives, and read along memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import (
    Alloc,
    Buffer,
    For,
    Kernel,
    Load,
    Statement,
    Store,
    Transpose,
    Var,
    affine,
    walk,
)
from neurlang.ir.types import FLOAT32
from neurlang.passes.loops.interchange import interchange

GENERATOR = np.random.default_rng(0)
SHAPES = ((2, 3, 4), (33, 5, 18), (16, 16, 16), (3, 40, 21), (40, 21, 3), (9, 1, 70))
LONGER_SHAPES = ((2, 3, 4, 5), (17, 2, 8, 9), (3, 33, 2, 16))
DTYPES = ("float32", "float64", "int8", "uint16", "int64", "bool")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_order_of_axes_is_numpys(dtype: str) -> None:
    for shape in (*SHAPES, *LONGER_SHAPES):
        x = (GENERATOR.standard_normal(shape) * 10).astype(dtype)
        for axes in itertools.permutations(range(x.ndim)):
            with nl.options(verify=True, cache="off", vector_bits=256):
                found = nl.jit(lambda x, axes=axes: np.maximum(x.transpose(axes), x.dtype.type(0)))(
                    x
                )
            np.testing.assert_array_equal(found, np.maximum(x.transpose(axes), x.dtype.type(0)))


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "rows scaled": lambda x, s: x.T * s[:, None, None],
    "columns scaled": lambda x, s: x.T * s,
    "planes scaled": lambda x, s: x.T * s[:, None],
    "rows of roots": lambda x, s: x.T / np.sqrt(s)[:, None, None],
    "reversed": lambda x, s: x.T[::-1, :, ::-1] - s,
    "two of them": lambda x, s: x.T + x.transpose(1, 2, 0) * s,
    "matrices": lambda x, s: x[0].T * s[:, None],
    "matrices by roots": lambda x, s: x[0].T * np.sqrt(s)[:, None],
}


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_named_for_a_row_stays_with_it(name: str, bits: int) -> None:
    """Blocks of rows, whole and in part: 8, 37 and 67 of them."""
    function = FUNCTIONS[name]
    for side in (8, 37, 67):
        x = GENERATOR.standard_normal((side, side, side)).astype("float32")
        s = GENERATOR.uniform(1, 2, side).astype("float32")
        with nl.options(verify=True, cache="off", vector_bits=bits):
            found = nl.jit(function)(x, s)
        np.testing.assert_array_equal(found, function(x, s))


def kernel_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Kernel:
    with nl.options(vector_bits=512, threads=2):
        made = nl.jit(function).trace(*(nl.ShapeDtype(s, "float32") for s in shapes)).lower().made
    assert made.program is not None
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    return kernel


def kinds(kernel: Kernel, kind: type) -> list[Statement]:
    return [statement for statement in walk(kernel.body) if isinstance(statement, kind)]


@pytest.mark.parametrize("axes", [(2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_axes_that_change_places_are_read_in_squares(axes: tuple[int, ...]) -> None:
    kernel = kernel_of(lambda x: x.transpose(axes) + 1, (64, 64, 64))
    assert len(kinds(kernel, Transpose)) == 1


def test_axes_that_follow_each_other_become_one() -> None:
    """Rows of 56 leave a rest of 24 in blocks of 32; rows of 56 times 56 leave none."""
    kernel = kernel_of(lambda x: x.transpose(0, 2, 3, 1) + 1, (4, 64, 56, 56))
    assert len(kinds(kernel, Transpose)) == 1


def test_short_rows_come_last() -> None:
    """Pixels to planes: whole vectors are read once, and each plane is stored along its own."""
    kernel = kernel_of(lambda x, s: x.transpose(2, 0, 1) * s[:, None, None], (64, 64, 3), (3,))
    (stores,) = [loop.body for loop in kinds(kernel, For) if len(loop.body) == 3]
    assert all(isinstance(store, Store) for store in stores)


def test_a_costly_value_of_a_row_is_computed_once_for_a_block() -> None:
    kernel = kernel_of(lambda x, s: x.T * np.exp(s)[:, None], (256, 256), (256,))
    assert len(kinds(kernel, Transpose)) == len(kinds(kernel, Alloc)) == 1
    plain = kernel_of(lambda x, s: x.T * s[:, None], (256, 256), (256,))
    assert len(kinds(plain, Transpose)) == 1
    assert not kinds(plain, Alloc)


# by hand


def nest_of(load: Callable[[Var, Var, Var], Load], out: Buffer, x: Buffer) -> Kernel:
    """for i: for j: for k: out[i, j, k] = load"""
    i, j, k = (Var(name, 0, size - 1) for name, size in zip("ijk", out.shape))
    body: Statement = Store(out, (affine(i), affine(j), affine(k)), load(i, j, k))
    for var in (k, j, i):
        body = For(var, 0, var.high + 1, 1, "serial", (body,))
    return Kernel("k", (x,), (out,), (body,))


def order(kernel: Kernel) -> str:
    return "".join(loop.var.name for loop in walk(kernel.body) if isinstance(loop, For))


def test_the_loop_along_memory_moves_inside() -> None:
    x, out = Buffer("x", FLOAT32, (64, 32, 16)), Buffer("out", FLOAT32, (16, 32, 64))
    assert (
        order(nest_of(lambda i, j, k: Load(x, (affine(k), affine(j), affine(i))), out, x)) == "ijk"
    )
    kernel = nest_of(lambda i, j, k: Load(x, (affine(k), affine(j), affine(i))), out, x)
    assert order(interchange(kernel)) == "jik"


def test_a_table_that_some_loops_share_moves_nothing() -> None:
    """Its elements are few, and what lies along the inner loops would come in pieces."""
    x, out = Buffer("x", FLOAT32, (64, 16)), Buffer("out", FLOAT32, (16, 32, 64))
    kernel = nest_of(lambda i, j, k: Load(x, (affine(k), affine(i))), out, x)
    assert order(interchange(kernel)) == "ijk"


def test_what_is_stored_is_not_read_in_another_order() -> None:
    out = Buffer("out", FLOAT32, (16, 16, 16))
    kernel = nest_of(lambda i, j, k: Load(out, (affine(k), affine(j), affine(i))), out, out)
    assert order(interchange(kernel)) == "ijk"
