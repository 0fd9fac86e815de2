"""capture_constants: arrays become hidden parameters, splats stay in the text."""

from __future__ import annotations

import numpy as np

from neurlang.ir.graph import Graph, Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.types import Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.capture_constants import capture_constants


def captured(graph: Graph) -> Graph:
    new = capture_constants(graph)
    verify(new, "capture_constants")
    assert capture_constants(new) is new
    return new


def test_golden() -> None:
    graph = parse("""
graph f(%x: i64[3]):
    %0: i64[3] = const [4, 5, 6]
    %1: i64[3] = const 7
    %2: i64[3] = mul %x, %0
    %3: i64[3] = const [1, 1, 2]
    %4: i64[3] = add %2, %1
    %5: i64[3] = sub %4, %3
    return %5
""")
    new = captured(graph)
    assert (
        str(new)
        == """
graph f(%x: i64[3], %captured0: i64[3], %captured1: i64[3]):
    %0: i64[3] = const 7
    %1: i64[3] = mul %x, %captured0
    %2: i64[3] = add %1, %0
    %3: i64[3] = sub %2, %captured1
    return %3
""".strip()
    )
    x = np.array([1, 2, 3])
    np.testing.assert_array_equal(interpret(new, x), x * [4, 5, 6] + 7 - [1, 1, 2])
    np.testing.assert_array_equal(interpret(graph, x), interpret(new, x))


def test_captured_values_are_contiguous() -> None:
    value = np.arange(12.0).reshape(3, 4).T
    new = captured(graph_from([make_constant(value)], [], "transposed"))
    (found,) = new.captured
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(interpret(new), value)


def test_later_captures_count_on() -> None:
    first = captured(graph_from([make_constant(np.arange(3))], [], "first"))
    more = make_node("add", [first.outputs[0], make_constant(np.arange(3) * 10)])
    graph = graph_from([more], first.params, "second")
    graph = type(graph)("second", graph.params, graph.nodes, graph.outputs, first.captured)
    second = captured(graph)
    assert [param.attrs["name"] for param in second.params] == ["captured0", "captured1"]
    np.testing.assert_array_equal(interpret(second), np.arange(3) * 11)


def test_a_graph_without_arrays_is_returned_as_it_is() -> None:
    param = Node("param", (), {"name": "x"}, Type(np.dtype("float32"), (4,)))
    splat = make_constant(np.float32(2), param.type)
    graph = graph_from([make_node("mul", [param, splat])], [param], "splat")
    assert capture_constants(graph) is graph
