"""Sorting by keys keeps indices, on graphs that the interpreter runs; others are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from neurlang.ir.graph import Node, graph_from, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.types import Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.sort_by_keys import SHORT, sort_by_keys

GENERATOR = np.random.default_rng(0)


def sorting(dtype: str, shape: tuple[int, ...]) -> tuple[Node, Node]:
    x = Node("param", (), {"name": "x"}, Type(np.dtype(dtype), shape))
    return x, make_node("argsort", [x])


@pytest.mark.parametrize("shape", [(30,), (4, 25), (2, 3, 9), (SHORT + 1,)])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int32", "int64", "float32", "float64"]
)
def test_the_indices_stay(dtype: str, shape: tuple[int, ...]) -> None:
    x, node = sorting(dtype, shape)
    graph = sort_by_keys(graph_from([node], [x], "f"))
    verify(graph)
    values = (GENERATOR.normal(size=shape) * 5).round().astype(dtype)
    if dtype.startswith("float"):
        values[values == 2] = -0.0
        values[values == 3] = np.nan
    np.testing.assert_array_equal(
        interpret(graph, values), np.argsort(values, axis=-1, kind="stable")
    )
    assert sort_by_keys(graph) is graph


@pytest.mark.parametrize(("dtype", "shape"), [("uint64", (9,)), ("int8", (1 << 32 | 1,))])
def test_what_is_left_alone(dtype: str, shape: tuple[int, ...]) -> None:
    x, node = sorting(dtype, shape)
    graph = graph_from([node], [x], "f")
    assert sort_by_keys(graph) is graph
