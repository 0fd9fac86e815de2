"""simplify: small graphs before and after, and the same values on random ones."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from neurlang.ir.graph import Graph, Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.parse import parse
from neurlang.ir.types import Shape, Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes
from neurlang.passes.graph.simplify import simplify

FLOAT32 = np.dtype("float32")


def simplified(graph: Graph) -> Graph:
    """The pass, verified and found to have nothing left to do."""
    new = simplify(graph)
    verify(new, "simplify")
    clean = eliminate_dead_nodes(new)
    assert str(eliminate_dead_nodes(simplify(clean))) == str(clean)
    return clean


def graph_of(*lines: str, params: str, result: str) -> Graph:
    """A graph of lines like `%0: f32[4] = neg %x`."""
    body = "\n".join(f"    {line}" for line in lines)
    return parse(f"graph f({params}):\n{body}\n    return {result}")


def numbers(graph: Graph) -> list[Any]:
    """An input for each parameter in which every element is another number."""
    return [
        (np.arange(param.type.size).reshape(param.shape) - 5).astype(param.dtype)
        for param in graph.params
    ]


def body(graph: Graph) -> list[str]:
    return [line.strip() for line in str(graph).splitlines()[1:]]


CASES = {
    "reshape of reshape": (
        ["%0: f32[4,6] = reshape %x shape=[4, 6]", "%1: f32[8,3] = reshape %0 shape=[8, 3]"],
        ["%0: f32[8,3] = reshape %x shape=[8, 3]"],
    ),
    "reshape there and back": (
        ["%0: f32[24] = reshape %x shape=[24]", "%1: f32[2,3,4] = reshape %0 shape=[2, 3, 4]"],
        [],
    ),
    "transpose of transpose": (
        [
            "%0: f32[4,2,3] = transpose %x axes=[2, 0, 1]",
            "%1: f32[3,4,2] = transpose %0 axes=[2, 0, 1]",
        ],
        ["%0: f32[3,4,2] = transpose %x axes=[1, 2, 0]"],
    ),
    "transpose there and back": (
        [
            "%0: f32[4,2,3] = transpose %x axes=[2, 0, 1]",
            "%1: f32[2,3,4] = transpose %0 axes=[1, 2, 0]",
        ],
        [],
    ),
    "broadcast of broadcast": (
        ["%0: f32[5,2,3,4] = broadcast %x", "%1: f32[7,5,2,3,4] = broadcast %0"],
        ["%0: f32[7,5,2,3,4] = broadcast %x"],
    ),
    "broadcast of added axes": (
        [
            "%0: f32[1,1,2,3,4] = reshape %x shape=[1, 1, 2, 3, 4]",
            "%1: f32[7,5,2,3,4] = broadcast %0",
        ],
        ["%0: f32[7,5,2,3,4] = broadcast %x"],
    ),
    "broadcast of an inner axis stays": (
        ["%0: f32[2,3,1,4] = reshape %x shape=[2, 3, 1, 4]", "%1: f32[2,3,5,4] = broadcast %0"],
        ["%0: f32[2,3,1,4] = reshape %x shape=[2, 3, 1, 4]", "%1: f32[2,3,5,4] = broadcast %0"],
    ),
    "slice of slice": (
        [
            "%0: f32[2,3,2] = slice %x start=[0, 2, 3] size=[2, 3, 2] step=[1, -1, -2]",
            "%1: f32[1,2,2] = slice %0 start=[1, 0, 1] size=[1, 2, 2] step=[1, 2, -1]",
        ],
        ["%0: f32[1,2,2] = slice %x start=[1, 2, 1] size=[1, 2, 2] step=[1, -2, 2]"],
    ),
    "slice of everything": (
        ["%0: f32[2,3,4] = slice %x start=[0, 0, 0] size=[2, 3, 4] step=[1, 1, 1]"],
        [],
    ),
    "slice of a broadcast": (
        [
            "%0: f32[9,2,3,4] = broadcast %x",
            "%1: f32[3,1,3,2] = slice %0 start=[8, 1, 0, 0] size=[3, 1, 3, 2] step=[-4, 1, 1, 2]",
        ],
        [
            "%0: f32[1,3,2] = slice %x start=[1, 0, 0] size=[1, 3, 2] step=[1, 1, 2]",
            "%1: f32[3,1,3,2] = broadcast %0",
        ],
    ),
    "slice inside a pad": (
        [
            "%0: f32[4,6,5] = pad %x low=[1, 2, 0] high=[1, 1, 1] value=0.0",
            "%1: f32[2,2,4] = slice %0 start=[1, 2, 3] size=[2, 2, 4] step=[1, 2, -1]",
        ],
        ["%0: f32[2,2,4] = slice %x start=[0, 0, 3] size=[2, 2, 4] step=[1, 2, -1]"],
    ),
    "slice of padding stays": (
        [
            "%0: f32[4,3,4] = pad %x low=[1, 0, 0] high=[1, 0, 0] value=1.0",
            "%1: f32[3,3,4] = slice %0 start=[1, 0, 0] size=[3, 3, 4] step=[1, 1, 1]",
        ],
        [
            "%0: f32[4,3,4] = pad %x low=[1, 0, 0] high=[1, 0, 0] value=1.0",
            "%1: f32[3,3,4] = slice %0 start=[1, 0, 0] size=[3, 3, 4] step=[1, 1, 1]",
        ],
    ),
    "pad of pad": (
        [
            "%0: f32[4,3,4] = pad %x low=[1, 0, 0] high=[1, 0, 0] value=1.0",
            "%1: f32[4,4,4] = pad %0 low=[0, 1, 0] high=[0, 0, 0] value=1.0",
        ],
        ["%0: f32[4,4,4] = pad %x low=[1, 1, 0] high=[1, 0, 0] value=1.0"],
    ),
    "pad of pad with the other zero stays": (
        [
            "%0: f32[4,3,4] = pad %x low=[1, 0, 0] high=[1, 0, 0] value=0.0",
            "%1: f32[4,4,4] = pad %0 low=[0, 1, 0] high=[0, 0, 0] value=-0.0",
        ],
        [
            "%0: f32[4,3,4] = pad %x low=[1, 0, 0] high=[1, 0, 0] value=0.0",
            "%1: f32[4,4,4] = pad %0 low=[0, 1, 0] high=[0, 0, 0] value=-0.0",
        ],
    ),
    "pad by nothing": (["%0: f32[2,3,4] = pad %x low=[0, 0, 0] high=[0, 0, 0] value=0.0"], []),
    "concat of one": (["%0: f32[2,3,4] = concat %x axis=1"], []),
    "slice of a piece": (
        [
            "%0: f32[2,3,4] = neg %x",
            "%1: f32[2,6,4] = concat %x, %0 axis=1",
            "%2: f32[2,2,4] = slice %1 start=[0, 5, 0] size=[2, 2, 4] step=[1, -1, 1]",
        ],
        [
            "%0: f32[2,3,4] = neg %x",
            "%1: f32[2,2,4] = slice %0 start=[0, 2, 0] size=[2, 2, 4] step=[1, -1, 1]",
        ],
    ),
    "slice of two pieces stays": (
        [
            "%0: f32[2,3,4] = neg %x",
            "%1: f32[2,6,4] = concat %x, %0 axis=1",
            "%2: f32[2,2,4] = slice %1 start=[0, 2, 0] size=[2, 2, 4] step=[1, 1, 1]",
        ],
        [
            "%0: f32[2,3,4] = neg %x",
            "%1: f32[2,6,4] = concat %x, %0 axis=1",
            "%2: f32[2,2,4] = slice %1 start=[0, 2, 0] size=[2, 2, 4] step=[1, 1, 1]",
        ],
    ),
    "reduction over nothing": (["%0: f32[2,3,4] = reduce_max %x axes=[]"], []),
    "reduction over an axis of one": (
        [
            "%0: f32[2,3,1,4] = reshape %x shape=[2, 3, 1, 4]",
            "%1: f32[2,3,4] = reduce_prod %0 axes=[2]",
        ],
        [],
    ),
    "the only index": (
        ["%0: f32[2,3,1,4] = reshape %x shape=[2, 3, 1, 4]", "%1: i64[2,3,4] = argmax %0 axes=[2]"],
        ["%0: i64[2,3,4] = const 0"],
    ),
    "rules follow rules": (
        [
            "%0: f32[2,3,4] = const -1.0",
            "%1: f32[2,3,4] = mul %0, %x",
            "%2: f32[2,3,4] = div %1, %0",
            "%3: f32[2,3,4] = abs %x",
            "%4: f32[2,3,4] = neg %2",
            "%5: f32[2,3,4] = add %3, %4",
        ],
        ["%0: f32[2,3,4] = abs %x", "%1: f32[2,3,4] = sub %0, %x"],
    ),
    "division by a power of two": (
        ["%0: f32[2,3,4] = const 8.0", "%1: f32[2,3,4] = div %x, %0"],
        ["%0: f32[2,3,4] = const 0.125", "%1: f32[2,3,4] = mul %x, %0"],
    ),
    "division by three stays": (
        ["%0: f32[2,3,4] = const 3.0", "%1: f32[2,3,4] = div %x, %0"],
        ["%0: f32[2,3,4] = const 3.0", "%1: f32[2,3,4] = div %x, %0"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_small_graphs(case: str) -> None:
    before, after = CASES[case]
    result = before[-1].split(":")[0]
    graph = graph_of(*before, params="%x: f32[2,3,4]", result=result)
    new = simplified(graph)
    returned = f"return {after[-1].split(':')[0] if after else '%x'}"
    assert body(new) == [*after, returned]
    inputs = numbers(graph)
    old_value, new_value = interpret(graph, *inputs), interpret(new, *inputs)
    assert old_value.tobytes() == new_value.tobytes()
    assert old_value.dtype == new_value.dtype and old_value.shape == new_value.shape


def test_golden() -> None:
    graph = parse("""
graph scaled(%x: f32[3,4], %b: bool[4]):
    %0: f32[4,3] = transpose %x axes=[1, 0]
    %1: f64[4,3] = cast %0 dtype=f64
    %2: f32[4,3] = cast %1 dtype=f32
    %3: bool[4] = not %b
    %4: bool[3,4] = broadcast %3
    %5: f32[3,4] = transpose %2 axes=[1, 0]
    %6: f32[3,4] = const 0.0
    %7: f32[3,4] = sub %5, %6
    %8: bool[3,4] = broadcast %b
    %9: bool[3,4] = not %8
    %10: f32[3,4] = where %9, %7, %6
    return %10
""")
    assert (
        str(simplified(graph))
        == """
graph scaled(%x: f32[3,4], %b: bool[4]):
    %0: f32[3,4] = const 0.0
    %1: bool[3,4] = broadcast %b
    %2: f32[3,4] = where %1, %0, %x
    return %2
""".strip()
    )


def random_region(random: np.random.Generator, shape: Shape) -> dict[str, Shape]:
    """A strided region of an array, either sign."""
    starts, sizes, steps = [], [], []
    for extent in shape:
        first, last = (int(v) for v in random.integers(0, extent, 2))
        step = int(random.integers(1, 3)) * (1 if last >= first else -1)
        starts.append(first)
        steps.append(step)
        sizes.append((last - first) // step + 1)
    return {"start": tuple(starts), "size": tuple(sizes), "step": tuple(steps)}


def random_view(random: np.random.Generator, node: Node) -> Node:
    """A view of a node, of any kind."""
    rank = len(node.shape)
    match int(random.integers(7)):
        case 0:
            return make_node("slice", [node], **random_region(random, node.shape))
        case 1:
            return make_node("transpose", [node], axes=tuple(random.permutation(rank)))
        case 2 if rank < 4:
            axis = int(random.integers(rank + 1))
            return make_node("reshape", [node], shape=(*node.shape[:axis], 1, *node.shape[axis:]))
        case 3 if node.type.size < 500:
            shape = tuple(3 if size == 1 else size for size in node.shape)
            return make_node("broadcast", [node], shape=shape)
        case 4 if node.type.size < 500:
            low, high = (tuple(random.integers(0, 2, rank)) for _ in range(2))
            return make_node("pad", [node], low=low, high=high, value=float(random.integers(2)))
        case 5 if node.type.size < 500 and rank:
            return make_node("concat", [node, node], axis=int(random.integers(rank)))
        case 6:
            return make_node("reshape", [node], shape=(node.type.size,))
    return node


@pytest.mark.parametrize("seed", range(60))
def test_random_chains_of_views(seed: int) -> None:
    random = np.random.default_rng(seed)
    param = node = Node("param", (), {"name": "x"}, Type(FLOAT32, (3, 4, 2)))
    for _ in range(12):
        node = random_view(random, node)
    graph = graph_from([node], [param], "views")
    new = simplified(graph)
    assert len(new.nodes) <= len(graph.nodes)
    x = random.standard_normal((3, 4, 2)).astype(FLOAT32)
    assert interpret(graph, x).tobytes() == interpret(new, x).tobytes()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "float32"])
@pytest.mark.parametrize("seed", range(12))
def test_random_arithmetic(seed: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    names = ["add", "sub", "mul", "max", "min", "neg", "abs"]
    if kind.kind != "f":
        names = [*names, "and", "or", "xor", "not", "mod", "floor_div"]
    if kind.kind == "b":
        names = ["and", "or", "xor", "not", "where"]
    params = [Node("param", (), {"name": name}, Type(kind, (64,))) for name in "xy"]
    literals = [np.asarray(value).astype(kind) for value in (0, 1, -1, -0.0, 2, 4)]
    nodes = [*params, *(make_constant(value, params[0].type) for value in literals)]
    for _ in range(60):
        name = str(random.choice(names))
        count = {"neg": 1, "abs": 1, "not": 1, "where": 3}.get(name, 2)
        args = [nodes[int(k)] for k in random.integers(max(0, len(nodes) - 9), len(nodes), count)]
        nodes.append(make_node(name, args))
    graph = graph_from(nodes[-6:], params, "arithmetic")
    new = simplified(graph)
    values = [0, 1, -1, -0.0, 2, 127, 128, 255, 3.5, np.nan, np.inf, -np.inf, 1e-45, 3e38, 7, 100]
    with np.errstate(all="ignore"):
        inputs = [random.choice(np.array(values).astype(kind), 64) for _ in params]
    for old_value, new_value in zip(interpret(graph, *inputs), interpret(new, *inputs)):
        np.testing.assert_array_equal(new_value, old_value)
        known = ~np.isnan(old_value)
        if not {"max", "min"} & {node.op for node in graph.nodes}:
            np.testing.assert_array_equal(
                np.signbit(new_value[known]), np.signbit(old_value[known])
            )


def test_a_long_chain_needs_no_recursion() -> None:
    param = node = Node("param", (), {"name": "x"}, Type(FLOAT32, (2,)))
    one = make_constant(np.float32(1.0), param.type)
    for _ in range(3000):
        node = make_node("neg", [make_node("mul", [node, one])])
    graph = graph_from([node], [param], "chain")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        new = simplify(graph)
    finally:
        sys.setrecursionlimit(limit)
    assert new.outputs[0] is param
