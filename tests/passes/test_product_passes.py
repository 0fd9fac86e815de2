"""tile, pack, vectorize, unroll, parallelize on products: after each one the same bits.

The oracle is NumPy for the plain loops, and the plain loops for what the passes make of them: a
product adds over k in order, so that no pass may change a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import pipeline
from neurlang.ir.loops import (
    Alloc,
    Apply,
    Buffer,
    For,
    Kernel,
    Load,
    Store,
    Transpose,
    Var,
    affine,
    expressions_of,
    parts,
    walk,
)
from neurlang.ir.loops_interpret import interpret_kernel
from neurlang.ir.loops_verify import verify_kernel
from neurlang.lower.program import lower, own_outputs
from neurlang.passes import GRAPH_PASSES, LOOP_PASSES
from neurlang.passes.graph.group import group
from neurlang.passes.loops import choose, choose_products
from neurlang.passes.loops.block_rows import block_rows
from neurlang.passes.loops.exchange import exchange
from neurlang.passes.loops.join_blocks import join_blocks
from neurlang.passes.loops.parallelize import parallelize

GENERATOR = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return GENERATOR.standard_normal(shape).astype(np.float32)


PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "in place": (lambda a, b: a @ b, (floats(7, 9), floats(9, 21))),
    "right transposed": (lambda a, b: a @ b.T, (floats(7, 9), floats(21, 9))),
    "left transposed": (lambda a, b: a.T @ b, (floats(9, 7), floats(9, 21))),
    "batch": (lambda a, b: a @ b, (floats(2, 3, 4, 5), floats(2, 3, 5, 6))),
    "ranges of k": (lambda a, b: a @ b, (floats(18, 50), floats(50, 40))),
    "few rows": (lambda a, b: a @ b, (floats(3, 50), floats(50, 40))),
    "computed operands": (
        lambda a, b: (a * 2 - 1) @ (b * np.float32(0.5)).T,
        (floats(18, 50), floats(40, 50)),
    ),
    "computed left operand": (lambda a, b: (a * a) @ b, (floats(3, 50), floats(50, 40))),
    "short epilogue": (
        lambda a, b, c: np.maximum(a @ b + c, 0),
        (floats(18, 50), floats(50, 40), floats(40)),
    ),
    "long epilogue": (
        lambda a, b, c: np.tanh(a @ b + c) * (a @ b),
        (floats(18, 50), floats(50, 40), floats(40)),
    ),
    "blocks of columns": (lambda a, b: a @ b, (floats(10, 35), floats(35, 40))),
    "odd blocks": (lambda a, b: a @ b, (floats(19, 35), floats(35, 22))),
    "odd blocks of a transposed operand": (lambda a, b: a @ b.T, (floats(19, 35), floats(22, 35))),
    "odd blocks of computed operands, epilogue": (
        lambda a, b, c: np.maximum((a + 1) @ (b * 2) - c, 0),
        (floats(19, 35), floats(35, 22), floats(22)),
    ),
    "few columns": (lambda a, b: a @ b, (floats(40, 9), floats(9, 3))),
    "another dtype": (lambda a, b: (a @ b) > 0, (floats(18, 50), floats(50, 40))),
    "integers": (
        lambda a, b: a @ b,
        (GENERATOR.integers(-9, 9, (5, 7)), GENERATOR.integers(-9, 9, (7, 11))),
    ),
    "bools": (lambda a, b: a @ b, (floats(5, 7) > 0, floats(7, 11) > 1)),
    "convolution": (
        lambda x, w: nl.conv2d(x, w, padding=((1, 0), (0, 0))),
        (floats(2, 2, 3, 11), floats(8, 2, 3, 3)),
    ),
    "convolution in blocks of channels": (
        lambda x, w: nl.conv2d(x, w, stride=2),
        (floats(1, 2, 5, 19), floats(30, 2, 3, 3)),
    ),
    "convolution of long rows": (
        lambda x, w: nl.conv1d(x, w, dilation=2),
        (floats(2, 4, 17), floats(8, 4, 3)),
    ),
    "grouped convolution": (
        lambda x, w: nl.conv2d(x, w, groups=2),
        (floats(1, 4, 4, 11), floats(16, 2, 3, 3)),
    ),
}
EXCHANGED = ["convolution", "convolution in blocks of channels", "convolution of long rows"]


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> pipeline.Target:
    """A target whose caches and ranges are so small that these products need all schedules."""
    monkeypatch.setattr(choose_products, "LONGEST_DEPTH", 16)
    monkeypatch.setattr(choose_products, "STREAM_DEPTH", 16)
    monkeypatch.setattr(choose_products, "STREAM_ROWS", 4)
    monkeypatch.setattr(choose_products, "FEW_ROWS", 4)
    monkeypatch.setattr(choose_products, "LEAST_ROWS", 16)
    monkeypatch.setattr(choose_products, "LONGEST_ROW_BLOCK", 12)
    monkeypatch.setattr(choose, "PARALLEL_WORK", 1000)
    monkeypatch.setattr(choose_products, "LONGEST_PIECE", 8)
    monkeypatch.setattr(choose_products, "TURN_CYCLES", 1)
    target = pipeline.current_target()
    return replace(target, machine=replace(target.machine, l2=4096, vector_bits=128))


def plain_kernel(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Kernel, Any]:
    """The kernel of a function's first product, before any loop pass, and what it reads."""
    graph = nl.jit(function).trace(*arguments).graph
    for apply in GRAPH_PASSES:
        graph = apply(graph)
    graph = own_outputs(graph)
    program = lower(graph, group(graph))
    memory = dict(zip(program.inputs, arguments))
    for step in program.steps:
        assert isinstance(step, Kernel)
        if step.schedule == "product":
            return step, memory
        memory.update(values(step, memory))
    raise AssertionError("no product")


def values(kernel: Kernel, memory: Any) -> Any:
    """What a kernel stores, by the loop interpreter."""
    verify_kernel(kernel)
    outputs = {buffer: np.zeros(buffer.shape, buffer.dtype) for buffer in kernel.outputs}
    assert interpret_kernel(kernel, {**memory, **outputs}) == 0
    return outputs


def applied(apply: Callable[..., Any], kernel: Kernel, target: pipeline.Target) -> Kernel:
    told = pipeline.told_of_target(apply, target)
    if apply in (block_rows, join_blocks):  # they see whole programs
        (one,) = told([kernel], set(kernel.outputs))
        assert isinstance(one, Kernel)
        return one
    return told(kernel)


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_pass_keeps_every_bit(name: str, small_caches: pipeline.Target) -> None:
    kernel, memory = plain_kernel(*PRODUCTS[name])
    wanted = values(kernel, memory)
    for apply in LOOP_PASSES:
        kernel = applied(apply, kernel, small_caches)
        for found, expected in zip(values(kernel, memory).values(), wanted.values(), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=f"{apply.__name__}\n{kernel}")


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("left_out", [apply.__name__ for apply in LOOP_PASSES])
def test_any_pass_can_be_left_out(name: str, left_out: str, small_caches: pipeline.Target) -> None:
    kernel, memory = plain_kernel(*PRODUCTS[name])
    wanted = values(kernel, memory)
    for apply in LOOP_PASSES:
        if apply.__name__ != left_out:
            kernel = applied(apply, kernel, small_caches)
    for found, expected in zip(values(kernel, memory).values(), wanted.values(), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=f"without {left_out}\n{kernel}")


@pytest.mark.parametrize("name", [name for name in PRODUCTS if "epilogue" not in name])
def test_the_plain_loops_give_what_numpy_gives(name: str) -> None:
    function, arguments = PRODUCTS[name]
    kernel, memory = plain_kernel(function, arguments)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments]
    (found,) = values(kernel, memory).values()
    expected = function(*wide)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=2e-5)


def scheduled(name: str, target: pipeline.Target) -> Kernel:
    kernel, _ = plain_kernel(*PRODUCTS[name])
    for apply in LOOP_PASSES:
        kernel = applied(apply, kernel, target)
    return kernel


def scratch(kernel: Kernel) -> set[str]:
    return {s.buffer.name for s in walk(kernel.body) if isinstance(s, Alloc)}


def test_which_operands_are_packed(small_caches: pipeline.Target) -> None:
    assert scratch(scheduled("in place", small_caches)) == set()
    assert scratch(scheduled("few rows", small_caches)) == set()
    assert scratch(scheduled("ranges of k", small_caches)) == {"panel"}
    assert scratch(scheduled("right transposed", small_caches)) == {"panel"}
    assert scratch(scheduled("computed operands", small_caches)) == {"panel", "rows"}
    assert scratch(scheduled("computed left operand", small_caches)) == {"rows"}


@pytest.mark.parametrize("name", EXCHANGED)
def test_kernels_lie_along_vectors_and_are_packed_once(
    name: str, small_caches: pipeline.Target
) -> None:
    """Panels are filled outside of the loops over images and their rows; sums are turned inside."""
    kernel = scheduled(name, small_caches)
    assert scratch(kernel) == {"panel", "turned"}
    for loop in walk(kernel.body):
        if isinstance(loop, For) and loop.var.name in ("b0", "j0"):
            assert {s.buffer.name for s in walk(loop.body) if isinstance(s, Alloc)} == {"turned"}
    assert any(isinstance(statement, Transpose) for statement in walk(kernel.body))


def test_what_whole_vectors_of_pixels_cover_is_not_exchanged(
    small_caches: pipeline.Target,
) -> None:
    arguments = floats(2, 4, 5, 18), floats(8, 4, 3, 3)
    kernel, _ = plain_kernel(lambda x, w: nl.conv2d(x, w), arguments)
    assert exchange(kernel, small_caches.machine) is kernel


def test_a_computed_operand_is_computed_once_a_block(small_caches: pipeline.Target) -> None:
    """Nothing but multiply-adds in the loops over k."""
    kernel = scheduled("computed operands", small_caches)
    for loop in walk(kernel.body):
        if isinstance(loop, For) and loop.var.name == "k" and loop.kind == "serial":
            used = {
                part.op
                for statement in walk(loop.body)
                if not isinstance(statement, Store)
                for expression in expressions_of(statement)
                for part in parts(expression)
                if hasattr(part, "op")
            }
            assert used <= {"fma"}


def test_a_long_epilogue_stands_once_a_tile(small_caches: pipeline.Target) -> None:
    """It reads the tile from scratch; a short one is written out on registers."""
    assert "tile" in scratch(scheduled("long epilogue", small_caches))
    assert "tile" not in scratch(scheduled("short epilogue", small_caches))


def test_sums_wait_in_the_result_between_ranges(small_caches: pipeline.Target) -> None:
    kernel = scheduled("ranges of k", small_caches)
    (out,) = kernel.outputs
    loads = [
        part
        for statement in walk(kernel.body)
        for expression in expressions_of(statement)
        for part in parts(expression)
        if isinstance(part, Load) and part.buffer is out
    ]
    assert loads
    whole = scheduled("another dtype", small_caches)  # a bool cannot hold a sum
    assert whole.outputs[0].dtype == np.bool_
    assert not any(isinstance(s, For) and s.var.name == "kc" for s in walk(whole.body))


@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(300, 5000, 20), (32, 4099, 64), (129, 2500, 70), (1, 5000, 3)]
)
def test_ranges_of_k_are_not_shared_among_threads(rows: int, depth: int, columns: int) -> None:
    """Their sums wait in the same elements: rows are shared, whoever runs them."""
    a, b = floats(rows, depth), floats(depth, columns)
    results = set()
    for threads in (1, 2, 5):
        with nl.options(verify=True):
            product = nl.jit(lambda a, b: a @ b, threads=threads, cache=False)
            results |= {product(a, b).tobytes() for _ in range(10)}
    assert len(results) == 1
    wide = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(product(a, b), wide, rtol=0, atol=3e-3)


def test_a_loop_that_stores_to_the_same_elements_stays_serial() -> None:
    x = Buffer("x", np.dtype("float32"), (64, 1 << 14))
    out = Buffer("out", np.dtype("float32"), (1 << 14,))
    i, j = Var("i", 0, 63), Var("j", 0, (1 << 14) - 1)
    load = Load(out, (affine(j),))
    total = Apply("add", (load, Load(x, (affine(i), affine(j)))), load.dtype)
    inner = For(j, 0, j.high + 1, 1, "serial", (Store(out, (affine(j),), total),))
    body = (For(i, 0, 64, 1, "serial", (inner,)),)
    kernel = Kernel("k", (x,), (out,), body)
    kinds = [s.kind for s in walk(parallelize(kernel).body) if isinstance(s, For)]
    assert kinds == ["serial", "serial"]


def test_columns_that_fill_no_block_are_packed_like_those_that_do() -> None:
    """Every tile reads its right operand from a panel, whatever lies across."""
    a, b = np.ones((500, 128), np.float32), np.ones((600, 128), np.float32)
    with nl.options(threads=2):
        text = nl.jit(lambda a, b: a @ b.T).lower(a, b).as_text("loops")
    reads = [line for line in text.splitlines() if "right[v] =" in line]
    assert len(reads) > 1 and all("panel[" in line for line in reads)


def test_rows_that_share_cache_lines_are_claimed_together() -> None:
    """56 pixels are 224 bytes: of rows that threads take in turns they would share every line."""
    assert choose.grain(56, 10**6) == choose.grain(56, 10**6, 256) == 1
    assert choose.grain(56, 10**6, 224) == 3
    assert choose.grain(1000, 10**6, 224) == 5
    x, w = nl.ShapeDtype((1, 32, 58, 58), "float32"), nl.ShapeDtype((32, 32, 3, 3), "float32")
    with nl.options(threads=2):
        text = nl.jit(nl.conv2d).lower(x, w).as_text("loops")
    assert "parallel for j0 in 0..56 grain 3:" in text
