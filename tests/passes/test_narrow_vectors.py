"""vectorize: loops shorter than a vector have one that they fill, and the bits of whole ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.loops import For, Kernel, walk

GENERATOR = np.random.default_rng(0)


def matrices_by_vectors(a: Any, b: Any) -> Any:
    return (a * b[:, None, :]).sum(axis=2)


def arguments(rows: int, side: int, dtype: str = "float32") -> tuple[Any, Any]:
    shapes = (rows, side, side), (rows, side)
    a, b = ((GENERATOR.standard_normal(shape) * 9).astype(dtype) for shape in shapes)
    return a, b


def steps(function: Callable[..., Any], *arrays: Any) -> set[int]:
    """Of the vector loops, with 512 bits."""
    with nl.options(vector_bits=512):
        made = nl.jit(function).trace(*arrays).lower().made
    (kernel,) = made.program.steps
    assert isinstance(kernel, Kernel)
    return {s.step for s in walk(kernel.body) if isinstance(s, For) and s.kind == "vector"}


def test_a_short_loop_has_a_vector_that_it_fills() -> None:
    assert steps(matrices_by_vectors, *arguments(500, 4)) == {4}
    assert steps(matrices_by_vectors, *arguments(500, 6)) == {8}
    assert steps(matrices_by_vectors, *arguments(500, 4, "float64")) == {4}
    assert steps(matrices_by_vectors, *arguments(500, 20)) == {16}


def test_functions_have_whole_vectors() -> None:
    """What they give for an element, such as the sign of a NaN, depends on the instructions."""
    short = GENERATOR.uniform(1, 2, 3).astype("float32")
    assert steps(lambda x: x + 1, short) == {4}
    assert steps(lambda x: np.log(x), short) == {16}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 11, 13])
def test_sums_have_the_bits_of_every_width(side: int, dtype: str) -> None:
    a, b = arguments(40, side, dtype)
    found = []
    for bits in (128, 256, 512):
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            found.append(nl.jit(matrices_by_vectors)(a, b))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    exact = matrices_by_vectors(a.astype(np.longdouble), b.astype(np.longdouble))
    scale = matrices_by_vectors(abs(a).astype(np.longdouble), abs(b).astype(np.longdouble))
    assert (abs(found[0] - exact) <= 4 * np.finfo(dtype).eps * scale).all()
