"""merge_duplicates: equal nodes are one, and nearly equal ones are two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neurlang.ir.graph import Graph, graph_from, make_constant
from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.types import Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes
from neurlang.passes.graph.merge_duplicates import merge_duplicates


def merged(graph: Graph) -> Graph:
    new = merge_duplicates(graph)
    verify(new, "merge_duplicates")
    clean = eliminate_dead_nodes(new)
    assert str(eliminate_dead_nodes(merge_duplicates(clean))) == str(clean)
    return clean


def test_golden() -> None:
    graph = parse("""
graph f(%x: f32[2,3]):
    %0: f32[3,2] = transpose %x axes=[1, 0]
    %1: f32[3,2] = const 2.0
    %2: f32[3,2] = mul %0, %1
    %3: f32[3,2] = transpose %x axes=[1, 0]
    %4: f32[3,2] = const 2.0
    %5: f32[3,2] = mul %3, %4
    %6: f32[3,2] = add %2, %5
    return %6, %5
""")
    new = merged(graph)
    assert (
        str(new)
        == """
graph f(%x: f32[2,3]):
    %0: f32[3,2] = transpose %x axes=[1, 0]
    %1: f32[3,2] = const 2.0
    %2: f32[3,2] = mul %0, %1
    %3: f32[3,2] = add %2, %2
    return %3, %2
""".strip()
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for found, expected in zip(interpret(new, x), (4 * x.T, 2 * x.T)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (np.float32(0.0), np.float32(-0.0), 2),
        (np.float32(0.0), np.int32(0), 2),
        (np.float32(np.nan), np.float32(np.nan), 1),
        (np.array([1, 2]), np.array([1, 2]), 1),
        (np.array([1, 2]), np.array([2, 1]), 2),
        (np.arange(4), np.arange(4).reshape(2, 2), 2),
    ],
)
def test_constants_are_compared_by_their_bits(first: Any, second: Any, count: int) -> None:
    graph = graph_from([make_constant(first), make_constant(second)], [], "constants")
    assert len(set(merged(graph).outputs)) == count


def test_splats_of_other_shapes_are_two() -> None:
    splats = [
        make_constant(np.float32(1), Type(np.dtype("float32"), shape)) for shape in ((2,), (3,))
    ]
    assert len(set(merged(graph_from(splats, [], "splats")).outputs)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("pad %x low=[1] high=[0] value=0.0", "pad %x low=[1] high=[0] value=-0.0"),
        ("pad %x low=[1] high=[0] value=0.0", "pad %x low=[0] high=[1] value=0.0"),
        ("concat %x, %y axis=0", "concat %y, %x axis=0"),
    ],
)
def test_attributes_and_the_order_of_arguments_count(first: str, second: str) -> None:
    size = 8 if first.startswith("concat") else 5
    graph = parse(f"""
graph f(%x: f32[4], %y: f32[4]):
    %0: f32[{size}] = {first}
    %1: f32[{size}] = {second}
    return %0, %1
""")
    assert len(set(merged(graph).outputs)) == 2


def test_parameters_of_one_type_stay_apart() -> None:
    graph = parse("""
graph f(%x: f32[4], %y: f32[4]):
    %0: f32[4] = neg %x
    %1: f32[4] = neg %y
    return %0, %1
""")
    assert str(merged(graph)) == str(graph)
