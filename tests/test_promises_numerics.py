"""Sums that are accurate and results that never change (promises T8, T9 and T12)."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import random_case
from fuzzing_run import compiled, jitted, rebuilt, same_bits

import neurlang as nl
from neurlang import executable
from neurlang.codegen.compile import Library, compile_object, link_object
from neurlang.codegen.machine import host_machine

SHAPES = [
    ((1000,), 0),
    ((100_003,), 0),
    ((10_000_000,), 0),
    ((300_000, 3), 0),
    ((1_000_000, 1), 0),
    ((3, 300_001), 1),
    ((17, 4097), 1),
    ((4097, 17), 0),
    ((2, 2050, 33), 1),
    ((70, 71, 72), 2),
    ((70, 71, 72), 0),
    ((70, 71, 72), None),
]


def exact_sums(array: Any, axis: int | None) -> tuple[Any, Any, int]:
    """Correctly rounded sums by `math.fsum`, the sums of magnitudes, and how many are added."""
    if axis is None:
        rows = array.reshape(1, -1)
    else:
        rows = np.moveaxis(array, axis, -1)
        rows = rows.reshape(-1, rows.shape[-1])
    chosen = rows[:: max(1, len(rows) // 20)]
    sums = np.array([math.fsum(row.tolist()) for row in chosen])
    sizes = np.array([math.fsum(np.abs(row).tolist()) for row in chosen])
    return sums, sizes, rows.shape[-1]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_of_sums_is_within_the_bound(dtype: str, shape: Any, axis: int | None) -> None:
    random = np.random.default_rng(1)
    mixed = random.normal(0, 1, shape) * np.exp(random.normal(0, 4, shape))
    for array in (np.full(shape, 0.1, dtype), mixed.astype(dtype)):
        with nl.options(cache="off"):
            found = np.ravel(nl.jit(lambda x: nl.sum(x, axis=axis))(array))
        expected, sizes, count = exact_sums(array, axis)
        found = found[:: max(1, len(found) // 20)].astype(np.float64)
        bound = (2 + np.log2(count)) * np.finfo(dtype).eps * sizes
        assert (np.abs(found - expected) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [7, 100, 1000, 100_003])
def test_variance_of_equal_values_is_zero(dtype: str, count: int) -> None:
    for value in (0.1, 1e6 + 0.1, -3.3e-5):
        array = np.full((3, count), value, dtype)
        with nl.options(cache="off"):
            assert not nl.jit(lambda x: nl.var(x, axis=1))(array).any()
            assert not nl.jit(lambda x: nl.var(x.T, axis=0))(array).any()


# the same bits always


@pytest.mark.parametrize("chunk", range(10))
def test_bits_do_not_depend_on_run_thread_count_or_cache(chunk: int, tmp_path: Path) -> None:
    for seed in range(5_000_000 + chunk, 5_000_000 + 40, 10):
        case = random_case(seed, large=True)
        results = []
        for threads in (1, 2, 3, 8):
            with nl.options(cache="off", threads=threads):
                results += [jitted(case), compiled(case)]
        with nl.options(cache=str(tmp_path), threads=2):
            for _ in range(2):  # cold, then from the disk
                executable.clear()
                function = nl.jit(rebuilt(case.graph))
                found = function(*case.inputs)
                results.append(found if isinstance(found, tuple) else (found,))
        for other in results[1:]:
            assert same_bits(results[0], other), f"seed {seed}"


# flags that another library may set

ACCESS = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define void @read_flags(ptr %p) {
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  ret void
}
define void @write_flags(ptr %p) {
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
"""
FLUSH, DENORMALS_ARE_ZERO, ROUND_DOWN = 0x8000, 0x0040, 0x2000
EXCEPTIONS = 0x003F
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is a register of x86-64")


@lru_cache(maxsize=1)
def access() -> Library:
    names = ["read_flags", "write_flags"]
    return link_object(compile_object(ACCESS, host_machine()), names, {})


def flags_now() -> int:
    cell = ctypes.c_uint32()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(access()["read_flags"])(ctypes.addressof(cell))
    return cell.value


def set_flags(value: int) -> None:
    cell = ctypes.c_uint32(value)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(access()["write_flags"])(ctypes.addressof(cell))


@contextmanager
def flags_set(flags: int) -> Iterator[None]:
    before = flags_now()
    set_flags(before | flags)
    try:
        yield
    finally:
        set_flags(before)


def subnormal_work(x: Any, y: Any) -> Any:
    """Needs subnormals and rounding to nearest."""
    return x * y + x, nl.sum(x / 3 + y, axis=0), nl.exp(x * 1e38) / 7, x @ y.T


FUNCTIONS: list[Callable[..., Any]] = [subnormal_work]


@x86
@pytest.mark.parametrize(
    "flags", [FLUSH, DENORMALS_ARE_ZERO, FLUSH | DENORMALS_ARE_ZERO, ROUND_DOWN]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 3000])
def test_flags_of_another_library_change_nothing(flags: int, dtype: str, rows: int) -> None:
    tiny = np.finfo(dtype).tiny
    random = np.random.default_rng(2)
    x = (random.normal(0, 1, (rows, 40)) * tiny).astype(dtype)
    y = random.normal(0, 0.3, (rows, 40)).astype(dtype)
    with nl.options(cache="off", threads=2):
        function = nl.jit(subnormal_work)
        plain = [function(x, y) for _ in range(2)][1]
        with flags_set(flags):
            before = flags_now()
            found = function(x, y)
            after = flags_now()
    assert after & ~EXCEPTIONS == before & ~EXCEPTIONS
    assert same_bits([np.asarray(a) for a in plain], [np.asarray(a) for a in found])
