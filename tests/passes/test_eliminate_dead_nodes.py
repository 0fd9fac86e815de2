"""eliminate_dead_nodes: what no output needs is gone, parameters stay."""

from __future__ import annotations

import numpy as np

from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.verify import verify
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes

BEFORE = """
graph f(%x: f32[4], %unused: f32[4]):
    %0: f32[4] = neg %x
    %1: f32[4] = exp %unused
    %2: f32[4] = abs %0
    %3: f32[4] = add %1, %2
    %4: f32[4] = mul %0, %0
    return %4, %x
"""

AFTER = """
graph f(%x: f32[4], %unused: f32[4]):
    %0: f32[4] = neg %x
    %1: f32[4] = mul %0, %0
    return %1, %x
"""


def test_golden() -> None:
    graph = parse(BEFORE)
    new = eliminate_dead_nodes(graph)
    verify(new, "eliminate_dead_nodes")
    assert str(new) == AFTER.strip()
    assert new.params == graph.params
    x = np.array([1, 2, -3, 4], np.float32)
    square, same = interpret(new, x, x)
    np.testing.assert_array_equal(square, x * x)
    np.testing.assert_array_equal(same, x)


def test_a_second_time_nothing_goes() -> None:
    new = eliminate_dead_nodes(parse(BEFORE))
    assert eliminate_dead_nodes(new).nodes == new.nodes


def test_nodes_that_live_are_the_same_nodes() -> None:
    graph = parse(BEFORE)
    assert eliminate_dead_nodes(graph).outputs == graph.outputs
