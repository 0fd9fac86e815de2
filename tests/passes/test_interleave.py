"""interleave: rows of few elements in lanes give what NumPy gives, bit by bit where a tree says."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import (
    Buffer,
    For,
    Kernel,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Store,
    Update,
    Var,
    affine,
    walk,
)
from neurlang.ir.types import FLOAT32
from neurlang.passes.loops.interleave import interleave

GENERATOR = np.random.default_rng(0)
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "int64", "bool")
ROWS = (1, 7, 8, 31, 32, 67, 1000, 40_000)

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "maximum": lambda x: x.max(axis=1),
    "any": lambda x: (x > 0).any(axis=1),
    "sum": lambda x: x.sum(axis=1),
    "every other": lambda x: x[:, ::2] | x[:, ::2] if x.dtype.kind in "biu" else x[:, ::2] * 2,
    "backwards": lambda x: np.where(x[:, ::-1] > 0, x[:, ::-1], x),
    "a column for each": lambda x: np.maximum(x, x[:, :1]),
    "planes": lambda x: np.maximum(x.T.copy(), x.dtype.type(1)),
    "and back": lambda x: np.maximum(x.T, x.dtype.type(1)).T.copy(),
    "stacked": lambda x: np.stack([x[:, 0], x[:, -1], x[:, 0]], axis=-1),
    "concatenated": lambda x: np.concatenate([x[:, :1], x[:, ::-1]], axis=1),
    "maximum of pairs": lambda x: x[: len(x) // 2 * 2].reshape(-1, 2, x.shape[1]).max(axis=1),
    "two reductions": lambda x: np.where(x == x.max(axis=1, keepdims=True), x, x.min()),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_numpy(name: str, dtype: str) -> None:
    function = FUNCTIONS[name]
    jitted = nl.jit(function)
    for rows in ROWS:
        for length in (2, 3, 5, 8, 9):
            x = (GENERATOR.standard_normal((rows, length)) * 10).astype(dtype)
            with nl.options(verify=True):
                found = jitted(x)
            expected = function(x)
            assert found.dtype == expected.dtype
            if name == "sum" and dtype.startswith("float"):
                eps = np.finfo(dtype).eps
                exact = x.astype(np.float64).sum(axis=1)
                bound = 4 * eps * np.abs(x).astype(np.float64).sum(axis=1)
                assert (np.abs(found - exact) <= bound).all()
            else:
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", range(2, 9))
def test_the_tree_of_a_sum(length: int, dtype: str) -> None:
    """By halves of the next power of two, as for longer rows, however many rows there are."""
    x = (GENERATOR.standard_normal((500, length)) * 10.0 ** GENERATOR.integers(-9, 9)).astype(dtype)
    parts = [*x.T]
    while len(parts) > 1:
        half = 1 << ((len(parts) - 1).bit_length() - 1)
        pairs = [a + b for a, b in zip(parts[:half], parts[half:])]
        parts = pairs + parts[len(pairs) : half]
    for rows in (5, 31, 64, 500):
        found = nl.jit(lambda x: x.sum(axis=1))(x[:rows])
        np.testing.assert_array_equal(found, parts[0][:rows] + x.dtype.type(0))


def test_softmax_of_short_rows() -> None:
    def softmax(x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    for rows in (33, 20_000):
        x = GENERATOR.standard_normal((rows, 4)).astype("float32") * 5
        np.testing.assert_allclose(nl.jit(softmax)(x), softmax(x.astype("f8")), rtol=1e-5)


def loops_of(function: Callable[..., Any], *args: Any) -> list[For]:
    program = nl.jit(function).trace(*args).lower().made.program
    return [
        loop
        for step in program.steps
        if isinstance(step, Kernel)
        for loop in walk(step.body)
        if isinstance(loop, For) and loop.trips > 1
    ]


def test_loops_along_rows_are_gone() -> None:
    x, y = np.ones((64, 3), "float32"), np.ones(64, "float32")
    for function in (
        lambda x, y: np.sqrt((x * x).sum(axis=1)),
        lambda x, y: np.stack([y, y + 1], axis=-1),
        lambda x, y: x.reshape(3, 64).T * 2,
    ):
        loops = loops_of(function, x, y)
        assert loops and all(loop.stop - loop.start > 3 for loop in loops)
    assert any(loop.trips > 8 for loop in loops_of(lambda x, y: x.cumsum(axis=1), x, y))


def test_a_sum_is_whole_before_it_is_used() -> None:
    """A loop that carries a sum is not joined to one over the same range that stores rows."""
    x, out = Buffer("x", FLOAT32, (40,)), Buffer("out", FLOAT32, (40, 2))
    total, r, i = Register("total", FLOAT32), Var("r", 0, 39), Var("i", 0, 39)
    body = (
        Let(total, Literal(np.float32(0), FLOAT32)),
        For(r, 0, 40, 1, "serial", (Update(total, "add", Load(x, (affine(r),))),)),
        For(i, 0, 40, 1, "serial", (Store(out, (affine(i), affine(0)), Ref(total)),)),
        For(i, 0, 40, 1, "serial", (Store(out, (affine(i), affine(1)), Ref(total)),)),
    )
    _, adding, storing = interleave(Kernel("k", (x,), (out,), body)).body
    assert adding == body[1]
    assert isinstance(storing, For) and len(storing.body) == 2


GUARDED = sys.platform == "linux"
memory_kept: list[Any] = []  # a page that must not be touched is not to be given back either


def guarded(nbytes: int) -> tuple[Any, int]:
    """Memory that ends where a page begins that must not be touched, and its address."""
    page = mmap.PAGESIZE
    whole = -(-nbytes // page) * page
    memory = mmap.mmap(-1, whole + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(start + whole), ctypes.c_size_t(page), 0) == 0
    return memory, start + whole - nbytes


@pytest.mark.skipif(not GUARDED, reason="needs mprotect")
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_nothing_behind_an_array_is_read(dtype: str) -> None:
    """An access would end the process."""
    for length in (2, 3, 5, 8):
        for rows in (32, 64, 1000, 1024):
            nbytes = rows * length * np.dtype(dtype).itemsize
            memory, address = guarded(nbytes)
            bytes_ = (ctypes.c_char * nbytes).from_address(address)
            x: Any = np.frombuffer(bytes_, dtype).reshape(rows, length)
            x[...] = GENERATOR.integers(0, 9, x.shape)
            for function in (lambda x: x[:, -1] * 2, lambda x: x.max(axis=1), lambda x: x[:, ::-1]):
                jitted = nl.jit(lambda x, function=function: function(x) + x.dtype.type(1))
                np.testing.assert_array_equal(jitted(x), function(x) + x.dtype.type(1))
            del x, bytes_
            memory_kept.append(memory)


@pytest.mark.parametrize("stride", [-8, -3, -2, 2, 3, 4, 7, 8, 9])
def test_elements_a_few_apart(stride: int) -> None:
    """Whole vectors, partial ones, and few elements that fill one vector exactly."""
    for dtype in ("uint8", "float32", "int64"):
        for count in (1, 2, 3, 5, 6, 8, 9, 11, 15, 16, 17, 31, 33, 64, 70):
            x = GENERATOR.integers(0, 99, 1 + (count - 1) * abs(stride)).astype(dtype)
            found = nl.jit(lambda x: x[::stride] + x.dtype.type(1))(x)
            np.testing.assert_array_equal(found, x[::stride] + x.dtype.type(1))
