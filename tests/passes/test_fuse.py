"""fuse: what merges, what stays apart, and the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import Buffer, For, Kernel, Load, Statement, Store, Var, affine
from neurlang.ir.types import FLOAT32
from neurlang.passes.loops.fuse import fuse

GENERATOR = np.random.default_rng(0)


def stencil(x: Any) -> Any:
    inner = 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
    return np.pad(inner, ((1, 1), (1, 1)))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "stencil": stencil,
    "stencil, five times": lambda x: stencil(stencil(stencil(stencil(stencil(x))))),
    "rolled": lambda x: np.roll(x, 3, axis=1) - np.roll(x, -2, axis=0),
    "joined": lambda x: np.concatenate([x[:, 5:], x * 2, x[:, :5]], axis=1),
    "joined three ways": lambda x: np.concatenate([x, np.concatenate([x, x * 2], axis=1)[:, :90]]),
    "padded on all axes": lambda x: np.pad(x[None], ((1, 0), (2, 3), (1, 4)), constant_values=7),
    "with a transpose": lambda x: np.concatenate([x, x.T.reshape(x.shape)], axis=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(40, 90), (400, 90), (33, 90)])
def test_values_stay(name: str, shape: tuple[int, int]) -> None:
    x = GENERATOR.standard_normal(shape).astype(np.float32)
    with nl.options(verify=True, cache="off"):
        found = nl.jit(FUNCTIONS[name])(x)
    np.testing.assert_array_equal(found, FUNCTIONS[name](x))


def loops_of(function: Callable[[Any], Any], shape: tuple[int, ...]) -> list[Statement]:
    made = nl.jit(function).trace(nl.ShapeDtype(shape, "float32")).lower().made
    assert made.program is not None
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    return list(kernel.body)


def test_pieces_of_rows_are_one_loop() -> None:
    """The rows of a stencil: borders on both sides and the inner part; above and below a row."""
    assert len(loops_of(stencil, (1024, 1024))) == 3
    assert len(loops_of(FUNCTIONS["joined"], (64, 64))) == 1


def over(stop: int, target: Buffer, source: Buffer, inner: bool = True) -> For:
    i, j = Var("i", 0, stop - 1), Var("j", 0, 7)
    if not inner:
        at = (affine(i), affine(0))
        return For(i, 0, stop, 1, "serial", (Store(target, at, Load(source, at)),))
    at = (affine(i), affine(j))
    body = For(j, 0, 8, 1, "serial", (Store(target, at, Load(source, at)),))
    return For(i, 0, stop, 1, "serial", (body,))


def count(*loops: For) -> int:
    """The loops that are left of some."""
    x, y, z = (Buffer(name, FLOAT32, (8, 8)) for name in "xyz")
    return len(fuse(Kernel("k", (x,), (y, z), loops)).body)


def test_what_merges() -> None:
    x, y, z = (Buffer(name, FLOAT32, (8, 8)) for name in "xyz")
    assert count(over(8, y, x), over(8, z, x)) == 1
    assert count(over(8, y, x), over(8, y, x, inner=False)) == 1
    assert count(over(8, y, x), over(7, z, x)) == 2  # another range
    assert count(over(8, y, x), over(8, z, y)) == 2  # reads what the first stores
    assert count(over(8, z, y), over(8, y, x)) == 2  # the first reads what it stores
    assert count(over(8, y, x, inner=False), over(8, z, x, inner=False)) == 2  # better apart


def test_rows_that_are_stored_twice() -> None:
    """Another order of rows, or another axis: the later store must come last."""
    x, y = (Buffer(name, FLOAT32, (8, 8)) for name in "xy")
    i, j = Var("i", 0, 7), Var("j", 0, 7)
    read = Load(x, (affine(i), affine(j)))

    def storing(*at: Any) -> For:
        inner = For(j, 0, 8, 1, "serial", (Store(y, at, read),))
        return For(i, 0, 8, 1, "serial", (inner,))

    straight = storing(affine(i), affine(j))
    assert count(straight, storing(affine(i), affine(j) * -1 + 7)) == 1
    assert count(straight, storing(affine(i) * 8 + affine(j))) == 1
    assert count(straight, storing(affine(i) * -1 + 7, affine(j))) == 2
    assert count(straight, storing(affine(j), affine(i))) == 2
    assert count(straight, storing(affine(i) * 8 + affine(j) + 1)) == 2
    assert count(storing(affine(j), affine(i)), storing(affine(j), affine(i))) == 1


def test_updates_of_regions() -> None:
    def reversed_rows(x: Any) -> Any:
        base = np.broadcast_to(nl.arange(33, dtype="float32"), (3, 33))
        return nl.update(base, (slice(None, None, -1), slice(None, -22, -1)), x)

    x = GENERATOR.standard_normal((3, 21)).astype(np.float32)
    wanted = np.broadcast_to(np.arange(33, dtype=np.float32), (3, 33)).copy()
    wanted[::-1, :-22:-1] = x
    with nl.options(verify=True, cache="off"):
        np.testing.assert_array_equal(nl.jit(reversed_rows)(x), wanted)
