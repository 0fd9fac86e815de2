"""Loops with windows: their numbers that lie in a range which moves with the loops around.

Oracles: NumPy for what hand-made kernels copy and add up, the rules of the verifier, and products
in float64 for machine code whose blocks of rows, columns and k end in the middle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.errors import InternalError
from neurlang.ir.apart import stores_apart
from neurlang.ir.loops import (
    Buffer,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    Window,
    affine,
    walk,
)
from neurlang.ir.loops_interpret import interpret_kernel
from neurlang.ir.loops_verify import verify_kernel
from neurlang.ir.types import FLOAT32, INT64
from neurlang.passes.loops import choose_products

GENERATOR = np.random.default_rng(0)
SIZE = 20


def windowed(var: Var, step: int, window: Window, body: list[Statement], start: int = 0) -> For:
    return For(var, start, SIZE, step, "serial", tuple(body), window=window)


def blocks(length: int, step: int, first: int = 0, kind: str = "serial") -> tuple[Kernel, Buffer]:
    """Elements of x that lie `step` apart, by blocks of `length`, and which block wrote them."""
    x, out = Buffer("x", FLOAT32, (SIZE,)), Buffer("out", FLOAT32, (SIZE,))
    block = Buffer("block", INT64, (SIZE,))
    b, i = Var("b", 0, 4), Var("i", 0, SIZE - 1)
    at = (affine(i),)
    window = Window(affine(b) * length + first, length)
    body: list[Statement] = [Store(out, at, Load(x, at)), Store(block, at, Index(affine(b), INT64))]
    loop = For(b, 0, 5, 1, kind, (windowed(i, step, window, body),))
    return Kernel("blocks", (x,), (out, block), (loop,)), x


def run(kernel: Kernel, **inputs: Any) -> list[Any]:
    verify_kernel(kernel)
    outputs = [np.full(buffer.shape, -1, buffer.dtype) for buffer in kernel.outputs]
    memory = {buffer: inputs[buffer.name] for buffer in kernel.inputs}
    assert interpret_kernel(kernel, {**memory, **dict(zip(kernel.outputs, outputs))}) == 0
    return outputs


@pytest.mark.parametrize(("length", "step"), [(4, 1), (4, 2), (6, 3), (8, 4), (10, 5), (30, 1)])
def test_each_number_is_taken_by_the_block_it_lies_in(length: int, step: int) -> None:
    kernel, _ = blocks(length, step)
    values = GENERATOR.standard_normal(SIZE).astype(np.float32)
    out, block = run(kernel, x=values)
    numbers = np.arange(0, SIZE, step)
    numbers = numbers[numbers < 5 * length]
    np.testing.assert_array_equal(out[numbers], values[numbers])
    np.testing.assert_array_equal(block[numbers], numbers // length)
    rest = np.setdiff1d(np.arange(SIZE), numbers)
    assert (block[rest] == -1).all()


def test_a_sum_goes_on_from_window_to_window() -> None:
    """A window that cannot be empty may carry a register."""
    x, out = Buffer("x", FLOAT32, (SIZE,)), Buffer("out", FLOAT32, (3,))
    b, i, total = Var("b", 0, 2), Var("i", 0, SIZE - 1), Register("total", FLOAT32)
    add = Update(total, "add", Load(x, (affine(i),)))
    inner = windowed(i, 1, Window(affine(b) * 7, 7), [add])
    body = (
        Let(total, Literal(np.float32(0), FLOAT32)),
        inner,
        Store(out, (affine(b),), Ref(total)),
    )
    kernel = Kernel("sums", (x,), (out,), (For(b, 0, 3, 1, "serial", body),))
    values = np.arange(SIZE, dtype=np.float32)
    (found,) = run(kernel, x=values)
    np.testing.assert_array_equal(found, [values[:7].sum(), values[7:14].sum(), values[14:].sum()])
    assert "for i in 0..20 within 7*b..7*b + 7:" in str(kernel)


def test_an_index_counts_from_the_start_of_a_window() -> None:
    """The verifier knows from the window, not from the loop's range, that it stays inside."""
    x, panel = Buffer("x", FLOAT32, (SIZE,)), Buffer("panel", FLOAT32, (6,))
    b, i = Var("b", 0, 3), Var("i", 0, SIZE - 1)
    window = Window(affine(b) * 6, 6)
    inside = affine(i) + window.first * -1
    loop = windowed(i, 2, window, [Store(panel, (inside,), Load(x, (affine(i),)))])
    kernel = Kernel("panel", (x,), (panel,), (For(b, 0, 4, 1, "serial", (loop,)),))
    (found,) = run(kernel, x=np.arange(SIZE, dtype=np.float32))
    np.testing.assert_array_equal(found, [18, -1, 14, -1, 16, -1])


def refused(window: Window, step: int = 1, start: int = 0, carries: bool = False) -> str:
    out = Buffer("out", FLOAT32, (SIZE,))
    b, i, total = Var("b", 0, 4), Var("i", 0, SIZE - 1), Register("total", FLOAT32)
    moved = Window(affine(b) * window.length + window.first, window.length)
    one = Literal(np.float32(1), FLOAT32)
    inside: Statement = Update(total, "add", one) if carries else Store(out, (affine(i),), one)
    loop = windowed(i, step, moved, [inside], start)
    body = (Let(total, one), loop)
    kernel = Kernel("refused", (), (out,), (For(b, 0, 5, 1, "serial", body),))
    with pytest.raises(InternalError) as error:
        verify_kernel(kernel)
    return str(error.value)


def test_what_the_verifier_refuses() -> None:
    assert "between the loop's numbers" in refused(Window(affine(0), 5), step=2)
    assert "between the loop's numbers" in refused(Window(affine(1), 4), step=2)
    assert "has a length" in refused(Window(affine(0), 0))
    assert "may be empty" in refused(Window(affine(0), 5), carries=True)
    assert "may be empty" in refused(Window(affine(0), 4), start=4, carries=True)


def test_windows_that_do_not_overlap_are_written_apart() -> None:
    kernel, _ = blocks(4, 1, kind="parallel")
    verify_kernel(kernel)
    (loop,) = kernel.body
    assert isinstance(loop, For) and stores_apart(loop)
    b = loop.var
    (inner,) = loop.body
    assert isinstance(inner, For)
    overlapping = For(
        b, 0, 5, 1, "parallel", (windowed(inner.var, 1, Window(affine(b) * 4, 5), [*inner.body]),)
    )
    assert not stores_apart(overlapping)


SHAPES = [
    (131, 700, 203), (257, 300, 450), (200, 777, 190), (143, 1201, 129), (500, 410, 330),
    (40, 1000, 700), (10, 2100, 333), (65, 65, 65), (300, 500, 7), (260, 390, 3), (97, 1500, 100),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_whose_blocks_end_in_the_middle(shape: tuple[int, ...], dtype: str) -> None:
    """The same bits for any number of threads, and for operands in either order of their axes."""
    rows, depth, columns = shape
    a = GENERATOR.standard_normal((rows, depth)).astype(dtype)
    b = GENERATOR.standard_normal((depth, columns)).astype(dtype)
    bits = set()
    with nl.options(verify=True, cache="off"):
        for threads in (1, 2, 3):
            product = nl.jit(lambda a, b: a @ b, threads=threads)
            bits.add(np.ascontiguousarray(product(a, b)).tobytes())
        turned = nl.jit(lambda a, b: a.T @ b.T)
        bits.add(np.ascontiguousarray(turned(a.T.copy(), b.T.copy())).tobytes())
        biased = nl.jit(lambda a, b: np.maximum(a @ b + b[0], 0))(a, b)
    assert len(bits) == 1
    wide = a.astype(np.float64) @ b.astype(np.float64)
    bound = 4 * np.finfo(dtype).eps * depth * 4
    np.testing.assert_allclose(product(a, b), wide, rtol=0, atol=bound)
    np.testing.assert_allclose(biased, np.maximum(wide + b[0], 0), rtol=0, atol=bound)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_the_longest_share_is_that_of_threads_that_take_turns(threads: int) -> None:
    """Against a simulation: whoever is done first takes the next block."""
    for tiles in range(1, 60):
        for number in range(1, tiles + 1):
            whole, rest = divmod(tiles, number)
            done = [0] * threads
            for block in [number] * whole + [rest]:
                done[done.index(min(done))] += block
            assert choose_products._longest(tiles, number, threads) == max(done)


def test_two_threads_come_out_even() -> None:
    """No thread of two waits long for the other, whatever the number of columns or rows."""
    for count in range(200, 3000, 37):
        for size in (32, 48, 64):
            tiles = -(-count // size)
            block = choose_products._column_share(count, size, 512) // size
            assert choose_products._longest(tiles, block, 2) <= tiles / 2 * 1.15 + 1


def test_few_columns_have_short_vectors() -> None:
    lanes = []
    for columns in (2, 3, 5, 9, 40):
        a, b = nl.ShapeDtype((50, 30), "float32"), nl.ShapeDtype((30, columns), "float32")
        with nl.options(vector_bits=512):
            made = nl.jit(lambda a, b: a @ b).trace(a, b).lower().made
        (kernel,) = made.program.steps
        loops = [s for s in walk(kernel.body) if isinstance(s, For) and s.kind == "vector"]
        (step,) = {loop.step for loop in loops}
        lanes.append(step)
    assert lanes == [4, 4, 8, 16, 16]


def test_llvm_knows_how_often_loops_run() -> None:
    """Or it would keep constants of what follows a product in registers, and spill its sums."""
    x, w = nl.ShapeDtype((60, 500), "float32"), nl.ShapeDtype((500, 64), "float32")
    report = nl.jit(lambda x, w: np.tanh(x @ w)).inspect(x, w)
    assert "for k in 0..500 unroll 2:" in report["loops"]
    assert '!{!"branch_weights", i32 249, i32 1}' in report["llvm"]
