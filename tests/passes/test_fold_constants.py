"""fold_constants: what is folded, to the bits of the interpreter, and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from neurlang.ir.graph import Graph, Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.ops import MAPS
from neurlang.ir.parse import parse
from neurlang.ir.types import Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes
from neurlang.passes.graph.fold_constants import LARGEST, fold_constants

ELEMENTARY = ["exp", "log", "sin", "cos", "tanh", "erf", "pow", "atan2", "cbrt"]
VALUES = {
    "b": [False, True],
    "i": [0, 1, -1, 5, -128, 127],
    "u": [0, 1, 7, 255],
    "f": [0.0, -0.0, 1.5, -2.0, np.inf, np.nan, 1e-45],
}


def folded(graph: Graph) -> Graph:
    new = fold_constants(graph)
    verify(new, "fold_constants")
    clean = eliminate_dead_nodes(new)
    assert str(eliminate_dead_nodes(fold_constants(clean))) == str(clean)
    return clean


def exact_cases() -> Iterator[tuple[str, str]]:
    for op in MAPS:
        if op.cost <= 4 and op.result != "attr":
            for dtype in ("bool", "int8", "uint8", "float32"):
                if np.dtype(dtype).kind in op.accepts:
                    yield op.name, dtype


@pytest.mark.parametrize(("name", "dtype"), list(exact_cases()))
def test_exact_maps_of_splats(name: str, dtype: str) -> None:
    kind = np.dtype(dtype)
    values = np.array(VALUES[kind.kind], np.float64 if kind.kind == "f" else np.int64).astype(kind)
    (op,) = (op for op in MAPS if op.name == name)
    for k in range(len(values)):
        operands = [values[(k + shift) % len(values)] for shift in range(op.arity)]
        if name == "where":
            operands[0] = np.bool_(k % 2)
        args = [make_constant(operand, Type(operand.dtype, (3, 5))) for operand in operands]
        new = folded(graph_from([make_node(name, args)], [], "splats"))
        (node,) = new.nodes
        assert node.op == "const" and node.attrs["value"].ndim == 0
        assert op.numpy is not None
        with np.errstate(all="ignore"):
            oracle = np.asarray(op.numpy(*(np.full((3, 5), operand) for operand in operands)))
        found = interpret(new)
        assert found.dtype == oracle.dtype
        np.testing.assert_array_equal(found, oracle)
        if oracle.dtype.kind == "f" and not np.isnan(oracle).any():
            np.testing.assert_array_equal(np.signbit(found), np.signbit(oracle))


@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions_are_left_to_machine_code(name: str) -> None:
    (op,) = (op for op in MAPS if op.name == name)
    args = [make_constant(np.float32(0.5))] * op.arity
    graph = graph_from([make_node(name, args)], [], "elementary")
    assert folded(graph).outputs[0].op == name


def test_golden() -> None:
    graph = parse("""
graph f(%x: f32[2,3]):
    %0: f32[] = const 2.0
    %1: f32[2,3] = broadcast %0
    %2: f32[3,2] = transpose %1 axes=[1, 0]
    %3: f64[3,2] = cast %2 dtype=f64
    %4: f64[3,2] = mul %3, %3
    %5: f32[3,2] = cast %4 dtype=f32
    %6: f32[2,3] = reshape %5 shape=[2, 3]
    %7: i32[3] = const [1, 2, 3]
    %8: i32[3] = add %7, %7
    %9: i32[2] = slice %8 start=[2] size=[2] step=[-2]
    %10: f32[2,3] = add %x, %6
    return %10, %9
""")
    assert (
        str(folded(graph))
        == """
graph f(%x: f32[2,3]):
    %0: f32[2,3] = const 4.0
    %1: i32[2] = const [6, 2]
    %2: f32[2,3] = add %x, %0
    return %2, %1
""".strip()
    )


def test_large_arrays_stay_as_they_are() -> None:
    small = make_constant(np.arange(LARGEST))
    large = make_constant(np.arange(LARGEST + 1))
    graph = graph_from([make_node("neg", [small]), make_node("neg", [large])], [], "sizes")
    first, second = folded(graph).outputs
    assert first.op == "const" and second.op == "neg"


def test_what_depends_on_a_parameter_stays() -> None:
    param = Node("param", (), {"name": "x"}, Type(np.dtype("float32"), ()))
    node = make_node("mul", [param, make_constant(np.float32(0))])
    assert folded(graph_from([node], [param], "parameter")).outputs[0].op == "mul"
