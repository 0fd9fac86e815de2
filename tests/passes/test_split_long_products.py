"""split_long_products: which products are split, their values and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.ir.graph import Graph
from neurlang.ir.interpret import interpret
from neurlang.ir.verify import verify
from neurlang.passes.graph.split_long_products import LONG, RANGE, split_long_products

GENERATOR = np.random.default_rng(0)


def product(left: tuple[int, ...], right: tuple[int, ...], dtype: str = "float32") -> Graph:
    args = nl.ShapeDtype(left, dtype), nl.ShapeDtype(right, dtype)
    return nl.jit(lambda a, b: a @ b).trace(*args).graph


def is_split(graph: Graph) -> bool:
    return any(node.op == "reduce_sum" for node in split_long_products(graph).nodes)


def test_what_is_split() -> None:
    assert is_split(product((4, LONG), (LONG, 5)))
    assert is_split(product((2, 64, LONG), (2, LONG, 64)))
    assert not is_split(product((4, LONG - 1), (LONG - 1, 5)))
    assert not is_split(product((512, LONG), (LONG, 512)))
    assert not is_split(product((4, LONG), (LONG, 5), "bool"))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 50_000), (50_000, 3)),
        ((33, LONG), (LONG, 17)),
        ((5, LONG + 1), (LONG + 1, 64)),
        ((3, 2, 4, LONG + RANGE // 2), (LONG + RANGE // 2, 6)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_values(left: tuple[int, ...], right: tuple[int, ...], dtype: str) -> None:
    a, b = (GENERATOR.normal(0, 9, shape).astype(dtype) for shape in (left, right))
    split = split_long_products(product(left, right, dtype))
    verify(split)
    results = set()
    for threads in (1, 2, 5):
        with nl.options(verify=True, cache="off"):
            found = nl.jit(lambda a, b: a @ b, threads=threads)(a, b)
        results.add(found.tobytes())
    assert len(results) == 1
    for each in (found, interpret(split, a, b)):
        assert_near(each, a, b)


def assert_near(found: Any, a: Any, b: Any) -> None:
    assert found.dtype == a.dtype
    if a.dtype.kind != "f":
        np.testing.assert_array_equal(found, a @ b)
        return
    wide = a.astype(np.longdouble) @ b.astype(np.longdouble)
    size = np.abs(a).astype(np.longdouble) @ np.abs(b).astype(np.longdouble)
    bound = (RANGE + 2 + np.log2(a.shape[-1] / RANGE)) * np.finfo(a.dtype).eps
    assert (np.abs(found - wide) <= bound * size).all()


def test_transposed_operands() -> None:
    a = GENERATOR.normal(size=(LONG, 7)).astype(np.float32)
    with nl.options(verify=True, cache="off"):
        found = nl.jit(lambda a: a.T @ a + 1)(a)
    np.testing.assert_allclose(found, a.astype(np.float64).T @ a + 1, atol=2e-3)


def test_the_error_of_equal_numbers() -> None:
    """Added in order, 500,000 products of 0.1 by 0.1 are off by 3.5e-3 of their sum."""
    a, b = np.full((2, 500_000), 0.1, np.float32), np.full((500_000, 3), 0.1, np.float32)
    found = nl.jit(lambda a, b: a @ b, cache=False)(a, b)
    exact = 500_000 * float(np.float32(0.1)) ** 2
    np.testing.assert_allclose(found, exact, rtol=3e-5)
