"""Special values: NaN, infinities, zeros, subnormals, integer ends (promises T5 and T7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fuzzing import DTYPES, ELEMENTARY, Case, special_values
from fuzzing_oracle import check
from fuzzing_run import compiled

import neurlang as nl
from neurlang.ir.graph import Graph, Node, graph_from, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.ops import MAPS, OPS, REDUCES, Op
from neurlang.ir.types import Type

SIZES = (1, 3, 8, 17, 33, 70)
CALLABLE = [op for op in MAPS if op.name not in ("cast", "bitcast", "where")]
PAIRS = [(op, d) for op in CALLABLE for d in DTYPES if d.kind in op.accepts]
REDUCED = [(op, d) for op in REDUCES for d in DTYPES if d.kind in op.accepts]


def named(value: Any) -> str:
    return value.name if isinstance(value, Op) else str(value)


def parameter(position: int, array: Any) -> Node:
    return Node("param", (), {"name": f"x{position}"}, Type(array.dtype, array.shape))


def run(case: Case) -> tuple[Any, ...]:
    with nl.options(cache="off", verify=True):
        return compiled(case)


def values_of(dtype: Any) -> Any:
    if dtype.kind == "b":
        return np.array([False, True])
    return special_values(dtype)


def operands(op: Op, dtype: Any) -> list[Any]:
    """Every special value; for two arguments every pair, in an order that mixes them."""
    values = values_of(dtype)
    if op.arity == 1:
        return [np.resize(values, max(len(values), SIZES[-1]))]
    right = values
    if op.name == "pow" and dtype.kind == "i":
        right = values[values >= 0]  # others are an error: tests/test_failures.py
    left, right = (grid.ravel() for grid in np.meshgrid(values, right))
    order = np.random.default_rng(0).permutation(len(left))
    return [np.resize(x[order], max(len(left), SIZES[-1])) for x in (left, right)]


@pytest.mark.parametrize(("op", "dtype"), PAIRS, ids=named)
def test_special_values_of_maps(op: Op, dtype: Any) -> None:
    """NumPy's values, and the same bits wherever in an array of whatever length they stand."""
    arrays = operands(op, dtype)
    pieces = [[array[:size].copy() for array in arrays] for size in SIZES] + [arrays]
    inputs = [array for piece in pieces for array in piece]
    params = [parameter(position, array) for position, array in enumerate(inputs)]
    count = op.arity
    outputs = [
        make_node(op.name, params[start : start + count]) for start in range(0, len(params), count)
    ]
    case = Case(graph_from(outputs, params, "special"), tuple(inputs))
    results = run(case)
    whole = results[-1]
    for short in results[:-1]:
        assert short.tobytes() == whole[: len(short)].tobytes()
    assert not check(case.graph, case.inputs, results)
    if op.name in ELEMENTARY or op.name == "pow":
        expected = interpret(graph_from(outputs[-1:], params[-count:], "special"), *arrays)
        zero = expected == 0
        assert np.array_equal(np.signbit(whole[zero]), np.signbit(expected[zero]))


def reducible(dtype: Any, length: int, special: Any) -> Any:
    """Rows of ones with one special value, each row at another place."""
    rows = np.ones((min(length, 20), length), dtype)
    places = np.linspace(0, length - 1, len(rows)).astype(int)
    rows[np.arange(len(rows)), places] = special
    return rows


@pytest.mark.parametrize(("op", "dtype"), REDUCED, ids=named)
def test_special_values_of_reductions(op: Op, dtype: Any) -> None:
    """Along rows and down columns, with the value at any place."""
    inputs: list[Any] = []
    outputs: list[Node] = []
    specials = values_of(dtype)
    for size in SIZES:
        rows = np.concatenate([reducible(dtype, size, special) for special in specials])
        for array, axis in ((rows, 1), (np.ascontiguousarray(rows.T), 0)):
            param = parameter(len(inputs), array)
            inputs.append(array)
            outputs.append(make_node(op.name, [param], axes=(axis,)))
    params = [output.args[0] for output in outputs]
    case = Case(Graph("special", tuple(params), (*params, *outputs), tuple(outputs)), tuple(inputs))
    assert not check(case.graph, case.inputs, run(case))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind == "f"], ids=named)
def test_sort_puts_nan_last_and_keeps_the_order_of_zeros(dtype: Any) -> None:
    for size in SIZES:
        x = np.resize(special_values(dtype), size)
        with nl.options(cache="off"):
            order = nl.jit(lambda a: nl.argsort(a, stable=True))(x)
        assert np.array_equal(order, np.argsort(x, kind="stable"))


# promise P6: what C leaves open

SIGNED = [d for d in DTYPES if d.kind == "i"]
UNSIGNED = [d for d in DTYPES if d.kind == "u"]


def evaluate(op: str, args: Sequence[Any], **attrs: Any) -> list[Any]:
    """An op on runtime values, by machine code and by the interpreter, and on constants."""
    arrays = [np.atleast_1d(arg) for arg in args]
    params = [parameter(position, array) for position, array in enumerate(arrays)]
    graph = graph_from([make_node(op, params, **attrs)], params, "edge")
    constants = [Node("const", (), {"value": a}, Type(a.dtype, a.shape)) for a in arrays]
    folded = graph_from([make_node(op, constants, **attrs)], [], "edge")
    results = [run(Case(graph, tuple(arrays)))[0], interpret(graph, *arrays)]
    return [*results, run(Case(folded, ()))[0]]


def edges(dtype: Any) -> list[tuple[str, int, int, int]]:
    """(op, left, right, result) that every integer dtype must give."""
    info = np.iinfo(dtype)
    low, high, bits = int(info.min), int(info.max), info.bits
    cases = [
        ("add", high, 1, low),
        ("sub", low, 1, high),
        ("mul", high, 2, -2 if low else high - 1),
        ("floor_div", 7, 0, 0),
        ("floor_div", high, 0, 0),
        ("mod", 7, 0, 0),
        ("fmod", 7, 0, 0),
        ("shift_left", 1, bits, 0),
        ("shift_left", 3, bits + 5, 0),
        ("shift_left", 1, bits - 1, low if low else 1 << (bits - 1)),
        ("shift_right", high, bits, 0),
        ("shift_right", 1, bits - 1, 0),
        ("pow", 0, 0, 1),
        ("pow", 2, bits, 0),
        ("pow", 3, 5, 243 if bits > 8 else (243 - 256 if low else 243)),
    ]
    if low:
        cases += [
            ("floor_div", low, -1, low),
            ("floor_div", low, 0, 0),
            ("floor_div", -7, 2, -4),
            ("mod", low, -1, 0),
            ("mod", -7, 3, 2),
            ("mod", 7, -3, -2),
            ("fmod", -7, 3, -1),
            ("fmod", low, -1, 0),
            ("shift_right", -1, bits, -1),
            ("shift_right", low, bits + 9, -1),
            ("shift_left", -1, -1, 0),
        ]
    return cases


@pytest.mark.parametrize("dtype", SIGNED + UNSIGNED, ids=named)
def test_integer_edges(dtype: Any) -> None:
    table = edges(dtype)
    for op in sorted({row[0] for row in table}):
        rows = [row[1:] for row in table if row[0] == op]
        left, right, expected = (np.array(column, dtype) for column in zip(*rows))
        for result in evaluate(op, [left, right]):
            assert result.tolist() == expected.tolist(), op
    least = np.array([np.iinfo(dtype).min], dtype)
    for op in ("neg", "abs"):
        for result in evaluate(op, [least]):
            assert result.tolist() == least.tolist()


I32, I64 = -(2**31), -(2**63)
CASTS: list[tuple[float, dict[str, int]]] = [
    (np.nan, {"int8": 0, "uint16": 0, "int32": I32, "int64": I64, "uint32": 0}),
    (np.inf, {"int8": 0, "int32": I32, "int64": I64, "uint64": 0, "uint32": 0}),
    (-np.inf, {"int16": 0, "int32": I32, "int64": I64, "uint32": 0}),
    (300.7, {"int8": 44, "uint8": 44, "int16": 300, "uint64": 300, "uint32": 300}),
    (-1.9, {"int8": -1, "uint8": 255, "uint16": 65535, "uint32": 2**32 - 1, "uint64": 2**64 - 1}),
    (2.0**31, {"int8": 0, "int32": I32, "uint32": 2**31, "int64": 2**31, "uint64": 2**31}),
    (2.0**32, {"int32": I32, "uint32": 0, "int64": 2**32}),
    (2.0**63, {"int64": I64, "uint64": 2**63, "int32": I32}),
    (2.0**64, {"int64": I64, "uint64": 0, "int32": I32}),
    (2.0**63 + 2.0**40, {"uint64": 2**63 + 2**40, "int64": I64}),
    (-(2.0**31), {"int32": I32, "int64": I32, "int16": 0}),
    (-(2.0**63), {"int64": I64}),
]


@pytest.mark.parametrize("source", ["float32", "float64"])
def test_floats_out_of_range_become_integers_as_numpy_converts(source: str) -> None:
    for value, targets in CASTS:
        for target, expected in targets.items():
            array = np.full(19, value, source)
            for result in evaluate("cast", [array], dtype=np.dtype(target)):
                assert result.tolist() == [expected] * 19, (value, target)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "max", "less", "equal", "floor_div", "mod"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_narrow_integers_exhaustively(op: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    every = np.arange(info.min, info.max + 1).astype(dtype)
    left, right = (grid.ravel() for grid in np.meshgrid(every, every))
    function = OPS[op].numpy
    assert function is not None
    with np.errstate(all="ignore"):
        expected = function(left, right)
    params = [parameter(0, left), parameter(1, right)]
    case = Case(graph_from([make_node(op, params)], params, "narrow"), (left, right))
    assert np.array_equal(run(case)[0], expected)
