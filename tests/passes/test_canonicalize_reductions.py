"""canonicalize_reductions: the form it promises, and NumPy's values in every shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from neurlang.ir.graph import Graph, Node, graph_from, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.types import Shape, Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.canonicalize_reductions import canonicalize_reductions
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes

NUMPY: dict[str, Callable[..., Any]] = {
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_and": np.all,
    "reduce_or": np.any,
    "argmax": np.argmax,
    "argmin": np.argmin,
}
SHAPES = [(), (1,), (5,), (3, 4), (1, 4), (4, 1), (2, 3, 4), (2, 1, 3), (3, 2, 1, 4)]


def canonical(graph: Graph) -> Graph:
    """The pass, verified: every reduction has one axis of more than one element, at most rank 3."""
    new = canonicalize_reductions(graph)
    verify(new, "canonicalize_reductions")
    clean = eliminate_dead_nodes(new)
    for node in clean.nodes:
        if node.kind == "reduce":
            (axis,) = node.attrs["axes"]
            assert not node.op.startswith("arg")
            assert node.args[0].shape[axis] > 1
    return clean


def reduction(op: str, array: Any, axes: Shape) -> Graph:
    param = Node("param", (), {"name": "x"}, Type(array.dtype, array.shape))
    return graph_from([make_node(op, [param], axes=axes)], [param], "reduction")


def all_axes(rank: int) -> list[Shape]:
    return [axes for count in range(rank + 1) for axes in combinations(range(rank), count)]


def oracle(op: str, array: Any, axes: Shape) -> Any:
    """NumPy's value; its arg-reductions know one axis, so the reduced ones are flattened."""
    if not op.startswith("arg"):
        extra = {"dtype": array.dtype} if op in ("reduce_sum", "reduce_prod") else {}
        return NUMPY[op](array, axis=axes, **extra)
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    shape = tuple(array.shape[axis] for axis in kept)
    count = math.prod(array.shape[axis] for axis in axes)
    return NUMPY[op](array.transpose(*kept, *axes).reshape(*shape, count), axis=-1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", NUMPY)
def test_every_shape_and_axes(op: str, shape: Shape) -> None:
    random = np.random.default_rng(len(shape))
    array = random.integers(-4, 5, shape).astype("bool" if op[-3:] in ("and", "_or") else "int16")
    for axes in all_axes(len(shape)):
        graph = reduction(op, array, axes)
        new = canonical(graph)
        found = interpret(new, array)
        assert found.dtype == graph.outputs[0].dtype
        np.testing.assert_array_equal(found, oracle(op, array, axes), err_msg=str(axes))


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min", "argmax", "argmin"])
def test_nan_wins(op: str) -> None:
    array = np.array([[1, np.nan, 3, np.nan], [np.inf, 2, -np.inf, 2], [np.nan, 0, 1, 2]])
    for axes in all_axes(2):
        new = canonical(reduction(op, array, axes))
        np.testing.assert_array_equal(interpret(new, array), oracle(op, array, axes))


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_prod", "reduce_and", "reduce_or"])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)], ids=str)
def test_nothing_has_the_neutral_value(op: str, shape: Shape) -> None:
    for dtype in ["bool"] if op[-3:] in ("and", "_or") else ["int32", "float64"]:
        array = np.zeros(shape, dtype)
        for axes in all_axes(len(shape)):
            found = interpret(canonical(reduction(op, array, axes)), array)
            np.testing.assert_array_equal(found, oracle(op, array, axes))


@pytest.mark.parametrize("shape", [(300_001,), (2, 200_000), (150_000, 3), (5, 40_000, 2)], ids=str)
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max", "argmin"])
def test_long_reductions(op: str, shape: Shape) -> None:
    random = np.random.default_rng(1)
    array = random.integers(-(2**40), 2**40, shape)
    for axes in all_axes(len(shape))[1:]:
        found = interpret(canonical(reduction(op, array, axes)), array)
        np.testing.assert_array_equal(found, oracle(op, array, axes))


def test_long_float_sums_are_close_to_the_exact_sum() -> None:
    array = np.random.default_rng(2).standard_normal(500_003).astype("float32")
    found = float(interpret(canonical(reduction("reduce_sum", array, (0,))), array))
    bound = (2 + math.log2(array.size)) * np.finfo("float32").eps * float(np.abs(array).sum())
    assert abs(found - math.fsum(array.tolist())) <= bound


def test_a_second_time_nothing_changes() -> None:
    for op in ("reduce_sum", "argmax"):
        new = canonical(reduction(op, np.zeros((4, 5, 6)), (0, 2)))
        assert str(canonical(new)) == str(new)


def test_golden() -> None:
    graph = parse("""
graph f(%x: f32[2,3,4,5]):
    %0: f32[2,5] = reduce_sum %x axes=[1, 2]
    return %0
""")
    assert (
        str(canonical(graph))
        == """
graph f(%x: f32[2,3,4,5]):
    %0: f32[2,12,5] = reshape %x shape=[2, 12, 5]
    %1: f32[2,5] = reduce_sum %0 axes=[1]
    return %1
""".strip()
    )


@pytest.mark.parametrize(
    ("count", "pieces"),
    [(16_000_000, 1), (1_000_000, 1), (1 << 24, 1), (10_000_019, 2)],
)
def test_chunks_come_out_even_where_they_can(count: int, pieces: int) -> None:
    """A rest needs a reduction, and a concatenation, of its own."""
    param = Node("param", (), {"name": "x"}, Type(np.dtype("float32"), (count,)))
    total = make_node("reduce_sum", [param], axes=(0,))
    clean = canonical(Graph("total", (param,), (param, total), (total,)))
    sums = [node for node in clean.nodes if node.op == "reduce_sum"]
    assert len(sums) == pieces + 1
    assert any(node.op == "concat" for node in clean.nodes) == (pieces == 2)
