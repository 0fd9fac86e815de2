"""sink_views: what moves, what stays, and the same values on random graphs."""

from __future__ import annotations

import numpy as np
import pytest

from neurlang.ir.graph import Graph, Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.types import Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes
from neurlang.passes.graph.sink_views import sink_views


def sunk(graph: Graph) -> Graph:
    """The pass, verified and found to have nothing left to do."""
    new = sink_views(graph)
    verify(new, "sink_views")
    clean = eliminate_dead_nodes(new)
    assert str(eliminate_dead_nodes(sink_views(clean))) == str(clean)
    return clean


GOLDEN = {
    "below maps, splats for free": (
        """
graph f(%x: f32[2,3], %y: f32[2,3]):
    %0: f32[3,2] = transpose %x axes=[1, 0]
    %1: f32[3,2] = transpose %y axes=[1, 0]
    %2: f32[3,2] = const 2.0
    %3: f32[3,2] = mul %2, %0
    %4: f32[3,2] = add %3, %1
    %5: f32[3,2] = tanh %4
    return %5
""",
        """
graph f(%x: f32[2,3], %y: f32[2,3]):
    %0: f32[2,3] = const 2.0
    %1: f32[2,3] = mul %0, %x
    %2: f32[2,3] = add %1, %y
    %3: f32[2,3] = tanh %2
    %4: f32[3,2] = transpose %3 axes=[1, 0]
    return %4
""",
    ),
    "two views together, met by their opposites": (
        """
graph f(%x: f32[2,6]):
    %0: f32[2,2,3] = reshape %x shape=[2, 2, 3]
    %1: f32[3,2,2] = transpose %0 axes=[2, 0, 1]
    %2: f32[3,2,2] = exp %1
    %3: f32[2,2,3] = transpose %2 axes=[1, 2, 0]
    %4: f32[12] = reshape %3 shape=[12]
    return %4
""",
        """
graph f(%x: f32[2,6]):
    %0: f32[2,6] = exp %x
    %1: f32[12] = reshape %0 shape=[12]
    return %1
""",
    ),
    "through a reduction": (
        """
graph f(%x: f32[2,3,4]):
    %0: f32[4,2,3] = transpose %x axes=[2, 0, 1]
    %1: f32[4,3] = reduce_max %0 axes=[1]
    %2: f32[4,3] = neg %1
    return %2
""",
        """
graph f(%x: f32[2,3,4]):
    %0: f32[3,4] = reduce_max %x axes=[0]
    %1: f32[3,4] = neg %0
    %2: f32[4,3] = transpose %1 axes=[1, 0]
    return %2
""",
    ),
    "a product reads the source in order": (
        """
graph f(%x: f32[3,4], %w: f32[3,5]):
    %0: f32[4,3] = transpose %x axes=[1, 0]
    %1: f32[4,5] = dot %0, %w
    %2: f32[2,2,5] = reshape %1 shape=[2, 2, 5]
    %3: f32[2,2,5] = tanh %2
    return %3
""",
        """
graph f(%x: f32[3,4], %w: f32[3,5]):
    %0: f32[4,3] = transpose %x axes=[1, 0]
    %1: f32[4,5] = dot %0, %w
    %2: f32[4,5] = tanh %1
    %3: f32[2,2,5] = reshape %2 shape=[2, 2, 5]
    return %3
""",
    ),
    "what follows a product is computed in its shape": (
        """
graph f(%x: f32[3,4], %w: f32[4,10], %b: f32[2], %r: f32[3,2,5]):
    %0: f32[3,10] = dot %x, %w
    %1: f32[3,2,5] = reshape %0 shape=[3, 2, 5]
    %2: f32[2,1] = reshape %b shape=[2, 1]
    %3: f32[3,2,5] = broadcast %2
    %4: f32[3,2,5] = add %1, %r
    %5: f32[3,2,5] = const 0.0
    %6: f32[3,2,5] = max %4, %5
    return %6
""",
        """
graph f(%x: f32[3,4], %w: f32[4,10], %b: f32[2], %r: f32[3,2,5]):
    %0: f32[3,10] = dot %x, %w
    %1: f32[3,10] = reshape %r shape=[3, 10]
    %2: f32[3,10] = add %0, %1
    %3: f32[3,10] = const 0.0
    %4: f32[3,10] = max %2, %3
    %5: f32[3,2,5] = reshape %4 shape=[3, 2, 5]
    return %5
""",
    ),
    "a bias is repeated in the product's shape": (
        """
graph f(%x: f32[2,3,4], %w: f32[2,4,6], %b: f32[3]):
    %0: f32[2,3,6] = dot %x, %w
    %1: f32[2,3,1,3,2] = reshape %0 shape=[2, 3, 1, 3, 2]
    %2: f32[3,1,1,1] = reshape %b shape=[3, 1, 1, 1]
    %3: f32[2,3,1,3,2] = broadcast %2
    %4: f32[2,3,1,3,2] = add %3, %1
    return %4
""",
        """
graph f(%x: f32[2,3,4], %w: f32[2,4,6], %b: f32[3]):
    %0: f32[2,3,6] = dot %x, %w
    %1: f32[1,3,1] = reshape %b shape=[1, 3, 1]
    %2: f32[2,3,6] = broadcast %1
    %3: f32[2,3,6] = add %2, %0
    %4: f32[2,3,1,3,2] = reshape %3 shape=[2, 3, 1, 3, 2]
    return %4
""",
    ),
}

STAYS = {
    "views that differ": """
graph f(%x: f32[3,3]):
    %0: f32[3,3] = transpose %x axes=[1, 0]
    %1: f32[3,3] = add %x, %0
    return %1
""",
    "views of other shapes": """
graph f(%x: f32[2,6], %y: f32[3,4]):
    %0: f32[12] = reshape %x shape=[12]
    %1: f32[12] = reshape %y shape=[12]
    %2: f32[12] = add %0, %1
    return %2
""",
    "a row that others read as well": """
graph f(%x: f32[4,3]):
    %0: f32[3,4] = transpose %x axes=[1, 0]
    %1: f32[3] = reduce_max %0 axes=[1]
    %2: f32[3,1] = reshape %1 shape=[3, 1]
    %3: f32[3,4] = broadcast %2
    %4: f32[3,4] = sub %0, %3
    return %4
""",
    "an index along axes in another order": """
graph f(%x: f32[4,3]):
    %0: f32[3,4] = transpose %x axes=[1, 0]
    %1: i64[] = argmax %0 axes=[0, 1]
    return %1
""",
    "a vector that repeats within an axis of a product": """
graph f(%x: f32[3,4], %w: f32[4,10], %b: f32[5]):
    %0: f32[3,10] = dot %x, %w
    %1: f32[3,2,5] = reshape %0 shape=[3, 2, 5]
    %2: f32[3,2,5] = broadcast %b
    %3: f32[3,2,5] = add %1, %2
    return %3
""",
    "axes of a product that are one": """
graph f(%x: f32[3,4], %w: f32[4,10], %b: f32[30]):
    %0: f32[3,10] = dot %x, %w
    %1: f32[30] = reshape %0 shape=[30]
    %2: f32[30] = add %1, %b
    return %2
""",
    "a reduction of a reshape": """
graph f(%x: f32[12]):
    %0: f32[3,4] = reshape %x shape=[3, 4]
    %1: f32[3] = reduce_sum %0 axes=[1]
    return %1
""",
}


def same_values(graph: Graph, new: Graph) -> None:
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(p.shape).astype(p.dtype) for p in graph.params]
    old, found = interpret(graph, *inputs), interpret(new, *inputs)
    assert old.dtype == found.dtype and old.shape == found.shape
    assert old.tobytes() == found.tobytes()


@pytest.mark.parametrize("case", GOLDEN)
def test_golden(case: str) -> None:
    before, after = (parse(text) for text in GOLDEN[case])
    new = sunk(before)
    assert str(new) == str(after)
    same_values(before, new)


@pytest.mark.parametrize("case", STAYS)
def test_stays(case: str) -> None:
    graph = parse(STAYS[case])
    assert str(sunk(graph)) == str(graph)


REDUCTIONS = ["reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "argmax", "argmin"]


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("seed", range(10))
def test_reductions_of_every_transpose(op: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    param = Node("param", (), {"name": "x"}, Type(np.dtype("int32"), (2, 3, 4, 5)))
    view = make_node("transpose", [param], axes=tuple(random.permutation(4)))
    chosen = random.choice(4, int(random.integers(0, 5)), replace=False)
    reduced = make_node(op, [view], axes=tuple(sorted(chosen)))
    graph = graph_from([reduced], [param], "reduction")
    new = sunk(graph)
    (found,) = (node for node in new.nodes if node.kind == "reduce")
    assert found.args[0] is param or op.startswith("arg")
    x = random.integers(-9, 9, param.shape).astype("int32")
    oracle = np.transpose(x, view.attrs["axes"])
    if op == "reduce_sum":
        np.testing.assert_array_equal(
            interpret(new, x), oracle.sum(tuple(sorted(chosen)), dtype="int32")
        )
    np.testing.assert_array_equal(interpret(new, x), interpret(graph, x))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed: int) -> None:
    """Integers, whose sums do not depend on their order."""
    random = np.random.default_rng(seed)
    type = Type(np.dtype("int32"), (2, 3, 2))
    params = [Node("param", (), {"name": name}, type) for name in "xy"]
    nodes: list[Node] = [*params, make_constant(np.int32(7), type)]
    for _ in range(40):
        node = nodes[int(random.integers(len(nodes)))]
        alike = [other for other in nodes if other.type == node.type]
        other = alike[int(random.integers(len(alike)))]
        rank = len(node.shape)
        match int(random.integers(6)):
            case 0:
                nodes.append(make_node("neg", [node]))
            case 1 | 2:
                nodes.append(make_node("sub", [node, other]))
            case 3:
                nodes.append(make_node("transpose", [node], axes=tuple(random.permutation(rank))))
            case 4:
                shape = random.permutation(node.shape)
                nodes.append(make_node("reshape", [node], shape=tuple(shape)))
            case 5 if rank:
                axes = (int(random.integers(rank)),)
                nodes.append(make_node("reduce_max", [node], axes=axes))
    graph = graph_from(nodes[-5:], params, "random")
    new = sunk(graph)
    inputs = [random.integers(-99, 99, type.shape).astype("int32") for _ in params]
    for old_value, new_value in zip(interpret(graph, *inputs), interpret(new, *inputs)):
        assert old_value.shape == new_value.shape
        np.testing.assert_array_equal(new_value, old_value)
