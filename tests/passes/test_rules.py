"""Every rule of the algebra on both sides, bit for bit: int8 exhaustively, floats on specials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from neurlang.ir.graph import Graph, Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.ops import OPS, cast
from neurlang.ir.types import SHORT, DType, Shape, Type
from neurlang.ir.verify import verify
from neurlang.passes.graph.simplify import RULES, inner_cast_is_idle, simplify
from neurlang.passes.rules import (
    Apply,
    Computed,
    ConstantHole,
    Hole,
    Literal,
    Pattern,
    Rule,
    equal,
    instantiate,
    less,
    less_equal,
    make_plainly,
    match,
    op,
    rule,
)

x, y = Hole("x"), Hole("y")

BOOLEAN = np.dtype("bool")
SPECIALS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 0.1, 7.25, 1e-3, 1e10, np.inf]
DTYPES = [np.dtype(name) for name in ("bool", "int8", "uint8", "int64", "float32", "float64")]


def values(dtype: DType) -> Any:
    """Everything of small dtypes; of floats both signs of specials, NaN, subnormal and huge."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if dtype.itemsize == 1:
            return np.arange(limits.min, limits.max + 1).astype(dtype)
        chosen = [0, 1, 2, 3, 7, 8, 255, limits.max - 1, limits.max, limits.min, limits.min // 2]
        return np.array([*chosen, *(-v for v in chosen[:7] if limits.min)], dtype)
    of_float = np.finfo(dtype)
    least, largest = of_float.smallest_subnormal, of_float.max
    edges = [of_float.tiny, of_float.tiny / 2, least, largest, largest / 2]
    with np.errstate(all="ignore"):
        magnitudes = np.array([*SPECIALS, *edges], dtype)
    return np.concatenate([magnitudes, -magnitudes, np.array([np.nan], dtype)])


def bits(array: Any) -> tuple[DType, Shape, bytes]:
    """An array's bytes with every NaN the same."""
    array = np.array(array)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.dtype, array.shape, array.tobytes()


def parts(pattern: Pattern) -> Iterator[Pattern]:
    """The pattern and all that is in it."""
    yield pattern
    for part in getattr(pattern, "args", ()) or getattr(pattern, "holes", ()):
        yield from parts(part)


def holes_of(pattern: Pattern) -> list[Hole]:
    return list(dict.fromkeys(part for part in parts(pattern) if isinstance(part, Hole)))


def constants_of(pattern: Pattern) -> list[ConstantHole]:
    return list(dict.fromkeys(part for part in parts(pattern) if isinstance(part, ConstantHole)))


def conditions_of(pattern: Pattern) -> set[str]:
    """Names of holes that stand where `where` takes its condition."""
    found = set()
    for part in parts(pattern):
        if isinstance(part, Apply) and part.name == "where":
            found |= {hole.name for hole in parts(part.args[0]) if isinstance(hole, Hole)}
    return found


def accepts(pattern: Pattern, dtype: DType) -> bool:
    """Whether every op of a pattern takes arguments of a dtype."""
    used = [OPS[part.name] for part in parts(pattern) if isinstance(part, Apply)]
    return all(dtype.kind in found.accepts or found.result == "bool" for found in used)


def root_dtypes(pattern: Apply, dtype: DType) -> list[DType]:
    """The dtypes that a match's root may have where `x` has one."""
    if pattern.name == "where" and "x" in conditions_of(pattern):
        return DTYPES
    comparison = any(isinstance(p, Apply) and OPS[p.name].result == "bool" for p in parts(pattern))
    return [BOOLEAN if comparison else dtype]


def constant_choices(hole: ConstantHole, dtype: DType) -> Any:
    accepted = [value for value in values(dtype) if hole.accepts(np.asarray(value))]
    return accepted if len(accepted) <= 12 else accepted[:: len(accepted) // 8]


def grids(count: int, dtypes: Sequence[DType]) -> list[Any]:
    """Every combination of values, one flat array for each hole."""
    axes = np.meshgrid(*(values(dtype) for dtype in dtypes), indexing="ij") if count else []
    size = axes[0].size if axes else 1
    step = max(1, size // 70000) | 1
    return [np.ascontiguousarray(axis.ravel()[::step]) for axis in axes]


def both_sides(
    rule: Rule, dtype: DType, root: DType, choice: dict[ConstantHole, Any]
) -> tuple[list[Graph], list[Any]]:
    """Two graphs over the same parameters, and inputs for them."""
    holes = holes_of(rule.pattern)
    conditions = conditions_of(rule.pattern)
    dtypes = [BOOLEAN if hole.name in conditions else dtype for hole in holes]
    inputs = grids(len(holes), dtypes)
    shape = inputs[0].shape if inputs else (1,)
    params = [
        Node("param", (), {"name": hole.name}, Type(kind, shape))
        for hole, kind in zip(holes, dtypes)
    ]
    bindings = {hole.name: param for hole, param in zip(holes, params)}
    for hole, value in choice.items():
        bindings[hole.name] = make_constant(np.asarray(value, dtype), Type(dtype, shape))
    type = Type(root, shape)
    sides = [
        graph_from([instantiate(side, bindings, type, make_plainly)], params, "side")
        for side in (rule.pattern, rule.replacement)
    ]
    return sides, inputs


def cases(fast_math: bool) -> Iterator[tuple[Rule, DType, DType]]:
    for each in RULES:
        if each.fast_math != fast_math or is_about_dtypes(each):
            continue
        conditional = "x" in conditions_of(each.pattern)
        for dtype in [BOOLEAN] if conditional else DTYPES:
            if dtype.kind in each.dtypes and (conditional or accepts(each.pattern, dtype)):
                for root in root_dtypes(each.pattern, dtype):
                    yield each, dtype, root


def is_about_dtypes(rule: Rule) -> bool:
    return rule.pattern.name in ("cast", "bitcast")


def describe(value: Any) -> str:
    match value:
        case np.dtype():
            return SHORT[value]
        case Hole(name) | ConstantHole(name):
            return name
        case Literal(number):
            return repr(number)
        case Computed(function):
            return f"{function.__name__}(...)"
        case Apply(name, args):
            return f"{name}({','.join(map(describe, args))})"
    return f"{describe(value.pattern)}->{describe(value.replacement)}"


@pytest.mark.parametrize(("rule", "dtype", "root"), list(cases(False)), ids=describe)
def test_both_sides_have_the_same_bits(rule: Rule, dtype: DType, root: DType) -> None:
    holes = constants_of(rule.pattern)
    choices = [constant_choices(hole, dtype) for hole in holes]
    assert all(choices)
    for chosen in product(*choices):
        choice = dict(zip(holes, chosen))
        (left, right), inputs = both_sides(rule, dtype, root, choice)
        verify(left)
        verify(right)
        assert match(rule, left.outputs[0]) is not None
        assert bits(interpret(left, *inputs)) == bits(interpret(right, *inputs)), choice


@pytest.mark.parametrize(("rule", "dtype", "root"), list(cases(True)), ids=describe)
def test_inexact_rules_need_fast_math(rule: Rule, dtype: DType, root: DType) -> None:
    choice = {hole: np.asarray(3, dtype) for hole in constants_of(rule.pattern)}
    (left, _), _ = both_sides(rule, dtype, root, choice)
    assert simplify(left).outputs[0].op == left.outputs[0].op
    fast = simplify(left, fast_math=True)
    verify(fast)
    assert fast.outputs[0] is not left.outputs[0]


@pytest.mark.parametrize("source", SHORT, ids=describe)
@pytest.mark.parametrize("middle", SHORT, ids=describe)
def test_idle_casts_lose_nothing(source: DType, middle: DType) -> None:
    given = values(source)
    if source.kind == "f":
        given = np.concatenate([given, (2.0 ** np.arange(70) * 1.25).astype(source)])
    elif source.itemsize > 1:
        powers = np.array([2**k - 1 for k in range(8 * source.itemsize)], np.uint64)
        given = np.concatenate([given, powers.astype(source), -powers.astype(source)])
    with np.errstate(all="ignore"):
        for target in SHORT:
            if inner_cast_is_idle(source, middle, target):
                through = cast(cast(given, middle), target)
                assert bits(through) == bits(cast(given, target)), target


@pytest.mark.parametrize(
    ("chain", "left"),
    [
        (("float32", "float64", "float32"), 0),
        (("int8", "int32", "int64"), 1),
        (("int64", "int32", "int8"), 1),
        (("bool", "int32", "bool"), 0),
        (("int32", "float64", "int32"), 0),
        (("float64", "float32", "float64"), 2),
        (("int64", "float64", "int64"), 2),
        (("uint32", "float64", "int32"), 2),
        (("int32", "int8", "int32"), 2),
        (("float32", "int32", "float32"), 2),
    ],
)
def test_cast_chains(chain: tuple[str, ...], left: int) -> None:
    node = param = Node("param", (), {"name": "x"}, Type(np.dtype(chain[0]), (4,)))
    for name in chain[1:]:
        node = make_node("cast", [node], dtype=np.dtype(name))
    new = simplify(graph_from([node], [param], "casts"))
    kept = graph_from(new.outputs, new.params, "casts")
    assert sum(found.op == "cast" for found in kept.nodes) == left


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classic", ["x + 0", "x - x", "x * 0"])
def test_the_three_classics_are_refused_for_floats(classic: str, dtype: str) -> None:
    param = Node("param", (), {"name": "x"}, Type(np.dtype(dtype), (3,)))
    zero = make_constant(np.zeros((), dtype), param.type)
    name, args = {
        "x + 0": ("add", [param, zero]),
        "x - x": ("sub", [param, param]),
        "x * 0": ("mul", [param, zero]),
    }[classic]
    graph = graph_from([make_node(name, args)], [param], "classic")
    assert simplify(graph).outputs[0].op == name
    x = np.array([-0.0, np.inf, np.nan], dtype)
    assert bits(interpret(simplify(graph), x)) == bits(interpret(graph, x))


@pytest.mark.parametrize(
    "wrong",
    [
        rule(x + 0, x),
        rule(x - x, 0),
        rule(x * 0, 0),
        rule(0 - x, -x),
        rule(-(x - y), y - x),
        rule(equal(x, x), True),
        rule(~less(x, y), less_equal(y, x)),
        rule(op("exp", op("log", x)), x),
        rule(x / 3, x * (1 / 3)),
        rule((x + y) - y, x),
    ],
    ids=describe,
)
def test_the_grid_tells_wrong_rules_from_right_ones(wrong: Rule) -> None:
    dtype = np.dtype("float32")
    (left, right), inputs = both_sides(wrong, dtype, root_dtypes(wrong.pattern, dtype)[0], {})
    assert bits(interpret(left, *inputs)) != bits(interpret(right, *inputs))


def test_literals_are_matched_by_their_bits() -> None:
    param = Node("param", (), {"name": "x"}, Type(np.dtype("float32"), (2,)))
    for value, simple in ((-0.0, True), (0.0, False), (1.0, False)):
        constant = make_constant(np.float32(value), param.type)
        graph = graph_from([make_node("add", [constant, param])], [param], "sum")
        assert (simplify(graph).outputs[0] is graph.params[0]) == simple


def test_a_hole_that_stands_twice_is_one_node() -> None:
    type = Type(np.dtype("int32"), (2,))
    first, second = (Node("param", (), {"name": name}, type) for name in "xy")
    different = graph_from([make_node("sub", [first, second])], [first, second], "different")
    assert simplify(different).outputs[0].op == "sub"
    equal = graph_from([make_node("sub", [first, first])], [first], "equal")
    assert simplify(equal).outputs[0].op == "const"
