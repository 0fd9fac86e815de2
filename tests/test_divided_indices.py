"""Indices that reshapes divide: quotients and remainders are put together again where they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.access import NameOnlyDivider, divide, reshape_index
from neurlang.ir.loops import Affine, Kernel, Let, Var, affine, loads_in, walk

GENERATOR = np.random.default_rng(0)
E = Var("e", 0, 719)
ROW = Var("i", 0, 4)

Function = Callable[..., Any]


def test_both_parts_are_the_whole() -> None:
    divider = NameOnlyDivider()
    quotient, remainder = divider.divide(affine(E), 32)
    assert divider.joined(quotient * 32 + remainder) == affine(E)
    other = affine(ROW) * 720 + 7
    assert divider.joined(quotient * 96 + remainder * 3 + other) == affine(E) * 3 + other
    assert divider.joined(quotient * -32 + remainder * -1) == affine(E) * -1


def test_parts_of_other_wholes_stay() -> None:
    divider = NameOnlyDivider()
    quotient, remainder = divider.divide(affine(E), 32)
    other, _ = divider.divide(affine(E), 16)
    for index in (quotient * 31 + remainder, quotient, remainder, other * 32 + remainder):
        assert divider.joined(index) == index


@pytest.mark.parametrize("shape", [(24, 30), (2, 360), (8, 9, 10), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("through", [(48, 15), (6, 8, 15), (16, 45), (720,)])
def test_several_splits_in_a_row(shape: tuple[int, ...], through: tuple[int, ...]) -> None:
    divider = NameOnlyDivider()
    index: tuple[Affine, ...] = (affine(E),)
    for target, source in (((720,), shape), (shape, through), (through, shape)):
        index = reshape_index(source, target, index, divider)
    assert reshape_index((720,), shape, index, divider) == (affine(E),)


def test_where_only_a_part_is_divided() -> None:
    """(6*i + e) // 12 divides i alone: the two parts are joined with what was not divided."""
    divider = NameOnlyDivider()
    small = Var("e", 0, 5)
    whole = affine(ROW) * 6 + affine(small)
    quotient, remainder = divide(whole, 12, divider)
    assert divider.joined(quotient * 12 + remainder) == whole


def normalized(x: Any) -> Any:
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + 1e-5)


def twice(x: Any) -> Any:
    rows = (x - x[:1]).reshape(12, 30)
    return (rows * rows[:, :1]).reshape(3, 120).sum(axis=1)


WHOLE: dict[str, Function] = {
    "differences": lambda x: (x - x[:1, :, :1, :1]).sum(axis=(2, 3)),
    "normalized": normalized,
    "spread": lambda x: np.exp(x * x[:, :1, :1, :1]).max(axis=(1, 2, 3)),
}
PARTLY: dict[str, Function] = {
    "of columns": lambda x: (x - x[:1, :1, :1, :]).sum(axis=(2, 3)),
    "twice": twice,
}


def lowered(function: Function, shape: tuple[int, ...]) -> list[Kernel]:
    made = nl.jit(function).trace(nl.ShapeDtype(shape, "float32")).lower().made
    return [step for step in made.program.steps if isinstance(step, Kernel)]


def divisions(kernels: list[Kernel]) -> list[str]:
    names = [s.register.name for kernel in kernels for s in walk(kernel.body) if isinstance(s, Let)]
    return [name for name in names if name[0] in "qm"]


@pytest.mark.parametrize("name", list(WHOLE))
def test_nothing_is_divided(name: str) -> None:
    assert not divisions(lowered(WHOLE[name], (3, 4, 5, 6)))


def test_what_needs_the_remainder_has_it_alone() -> None:
    """A row that is repeated is read at the remainder, the array itself in order."""
    kernels = lowered(PARTLY["of columns"], (3, 4, 5, 6))
    assert {name[0] for name in divisions(kernels)} == {"m"}
    loads = [load for kernel in kernels for load in loads_in(kernel.body)]
    assert any(len(load.index) == 1 for load in loads if load.buffer.name == "x")


@pytest.mark.parametrize("name", [*WHOLE, *PARTLY])
@pytest.mark.parametrize("bits", [128, 0])
def test_the_elements_are_numpys(name: str, bits: int) -> None:
    function = {**WHOLE, **PARTLY}[name]
    x = GENERATOR.normal(size=(3, 4, 5, 6))
    with nl.options(verify=True, cache="off", vector_bits=bits):
        np.testing.assert_allclose(nl.jit(function)(x), function(x), rtol=1e-12, atol=1e-12)
