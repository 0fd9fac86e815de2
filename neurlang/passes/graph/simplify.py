"""Algebra: nodes that are cheaper under another name, as a table of rules and a few view rules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, make_node, rebuild, with_args
from neurlang.ir.types import DType
from neurlang.passes.graph.fold_constants import fold
from neurlang.passes.graph.simplify_views import VIEW_RULES
from neurlang.passes.rules import (
    BITS,
    BOOL,
    FLOAT,
    INTEGER,
    NUMBER,
    SIGNED,
    UNSIGNED,
    Bindings,
    Hole,
    Rule,
    abs_,
    cast,
    computed,
    constant,
    equal,
    head,
    instantiate,
    less,
    less_equal,
    match,
    max_,
    min_,
    op,
    rule,
    where,
)

STEPS = 64  # rewritings of one node: chains of rules are short, and no rule may run for ever


def _is_power_of_two(value: Any) -> bool:
    """Whether 1 / value is exact: then x / value and x * (1 / value) round the same number."""
    with np.errstate(all="ignore"):
        return bool(abs(np.frexp(value)[0]) == 0.5 and np.isfinite(np.reciprocal(value)))


def _is_positive_power_of_two(value: Any) -> bool:
    if value.dtype.kind not in INTEGER:
        return False
    number = int(value)
    return number > 0 and number & (number - 1) == 0


def _is_least(value: Any) -> bool:
    if value.dtype.kind == "f":
        return bool(value == -np.inf)
    return bool(value == np.iinfo(value.dtype).min)


def _is_greatest(value: Any) -> bool:
    return value.dtype.kind in INTEGER and bool(value == np.iinfo(value.dtype).max)


def _exponent(value: Any) -> int:
    return int(value).bit_length() - 1


def _one_less(value: Any) -> int:
    return int(value) - 1


def _keeps_dtype(node: Node, bindings: Bindings) -> bool:
    return node.dtype == bindings["x"].dtype


def _inner_cast_is_idle(node: Node, bindings: Bindings) -> bool:
    return inner_cast_is_idle(bindings["x"].dtype, node.args[0].dtype, node.dtype)


@cache
def inner_cast_is_idle(source: DType, middle: DType, target: DType) -> bool:
    """Whether source -> middle -> target is source -> target for every value."""
    if source.kind == "b":
        return True
    if source.kind in INTEGER and middle.kind in INTEGER:
        narrows = target.kind in INTEGER and target.itemsize <= middle.itemsize
        return narrows or np.can_cast(source, middle)
    if source.kind == "f":
        return middle.kind == "f" and np.can_cast(source, middle)
    if middle.kind != "f" or np.finfo(middle).nmant + 1 < 8 * source.itemsize:
        return False  # bool and lossy conversions
    # Beyond int32 a float becomes INT_MIN, where an integer keeps its low bits (promise P6).
    return source != np.dtype("uint32") or target.kind not in INTEGER or target.itemsize == 8


c, d = Hole("c"), Hole("d")
x, y, z = Hole("x"), Hole("y"), Hole("z")
a, b = constant("a"), constant("b")
power = constant("power", _is_power_of_two)
positive_power = constant("power", _is_positive_power_of_two)
least = constant("least", _is_least)
greatest = constant("greatest", _is_greatest)
ROUNDINGS = ("floor", "ceil", "trunc", "round")

SIGNS = (
    rule(-(-x), x),  # noqa: B002
    rule(0 - x, -x, dtypes=INTEGER),  # not floats: 0 - 0 is +0.0, and the negative of 0 is -0.0
    rule(-0.0 - x, -x, dtypes=FLOAT),
    rule(x + -y, x - y),
    rule(x - -y, x + y),
    rule(-(x - y), y - x, dtypes=INTEGER),  # not floats: x - x is +0.0
    rule(-x * -y, x * y),
    rule(-x / -y, x / y),
    rule(x * -1, -x, dtypes=NUMBER),
    rule(x / -1, -x),
    rule(abs_(x), x, dtypes=UNSIGNED),
    rule(abs_(abs_(x)), abs_(x)),
    rule(abs_(-x), abs_(x), dtypes=SIGNED),  # not unsigned: there -x is 2^bits - x
    rule(abs_(x) * abs_(x), x * x),
    rule(abs_(x * x), x * x, dtypes=FLOAT),  # not integers: x * x wraps
    rule(op("copysign", x, x), x),
    rule(op("copysign", abs_(x), y), op("copysign", x, y)),
    rule(op("copysign", -x, y), op("copysign", x, y)),
)

ARITHMETIC = (
    rule(x + 0, x, dtypes=INTEGER),  # not floats: -0.0 + 0 is +0.0
    rule(x + -0.0, x, dtypes=FLOAT),
    rule(x - 0, x, dtypes=NUMBER),  # floats too: 0.0 is subtracted, not added
    rule(x * 1, x),
    rule(x * 0, 0, dtypes=INTEGER),  # not floats: infinity * 0 is NaN, -1 * 0 is -0.0
    rule(x - x, 0, dtypes=INTEGER),  # not floats: infinity - infinity is NaN
    rule((x + y) - y, x, dtypes=INTEGER),
    rule((x - y) + y, x, dtypes=INTEGER),
    rule(x - (x - y), y, dtypes=INTEGER),
    rule((x + a) + b, x + computed(np.add, a, b), dtypes=INTEGER),
    rule((x + a) - b, x + computed(np.subtract, a, b), dtypes=INTEGER),
    rule((x - a) - b, x - computed(np.add, a, b), dtypes=INTEGER),
    rule((x - a) + b, x + computed(np.subtract, b, a), dtypes=INTEGER),
    rule((x * a) * b, x * computed(np.multiply, a, b), dtypes=INTEGER),
    rule(x / 1, x),
    rule(x / power, x * computed(np.reciprocal, power)),
    rule(x // 1, x, dtypes=INTEGER),  # not floats: infinity // 1 is NaN
    rule(x // -1, -x, dtypes="i"),
    rule(x % 1, 0, dtypes=INTEGER),
    rule(x % -1, 0, dtypes="i"),
    rule(x // positive_power, x >> computed(_exponent, positive_power), dtypes=INTEGER),
    rule(x % positive_power, x & computed(_one_less, positive_power), dtypes=INTEGER),
    rule(op("fmod", x, positive_power), x & computed(_one_less, positive_power), dtypes=UNSIGNED),
    rule(x**0, 1),  # NaN as well
    rule(x**1, x),
    rule(x**2, x * x, dtypes=INTEGER),  # not floats: pow need not round as a product does
    rule(x**3, x * x * x, dtypes=INTEGER),
    rule(1**x, 1, dtypes=FLOAT + UNSIGNED),  # not signed: a negative exponent fails
    rule(max_(x, x), x),
    rule(min_(x, x), x),
    rule(max_(x, least), x),  # of floats -infinity: NaN wins on both sides
    rule(max_(x, greatest), greatest, dtypes=INTEGER),
    rule(min_(x, greatest), x, dtypes=INTEGER),
    rule(min_(x, least), least, dtypes=INTEGER),
    rule(max_(max_(x, y), y), max_(x, y), dtypes=INTEGER),  # not floats: 0.0 or -0.0 may win
    rule(min_(min_(x, y), y), min_(x, y), dtypes=INTEGER),
    *(rule(op(f, op(g, x)), op(g, x)) for f in ROUNDINGS for g in ROUNDINGS),
)

LOGIC = (
    rule(~~x, x),
    rule(x & x, x),
    rule(x | x, x),
    rule(x ^ x, 0),
    rule(x & 0, 0),
    rule(x | 0, x),
    rule(x ^ 0, x),
    rule(x & -1, x),
    rule(x | -1, -1),
    rule(x ^ -1, ~x),
    rule(x & ~x, 0),
    rule(x | ~x, -1),
    rule(~x ^ ~y, x ^ y),
    rule((x & y) & y, x & y),
    rule((x | y) | y, x | y),
    rule(x & (x | y), x),
    rule(x | (x & y), x),
    rule((x & a) & b, x & computed(np.bitwise_and, a, b)),
    rule((x | a) | b, x | computed(np.bitwise_or, a, b)),
    rule((x ^ a) ^ b, x ^ computed(np.bitwise_xor, a, b)),
    rule(x << 0, x),
    rule(x >> 0, x),
)

COMPARISONS = (
    rule(equal(x, x), True, dtypes=BITS),  # not floats: NaN is not itself
    rule(less_equal(x, x), True, dtypes=BITS),
    rule(less(x, x), False),
    rule(~less(x, y), less_equal(y, x), dtypes=BITS),  # not floats: NaN is neither
    rule(~less_equal(x, y), less(y, x), dtypes=BITS),
    rule(less(x, 0), False, dtypes=UNSIGNED),
    rule(less_equal(0, x), True, dtypes=UNSIGNED),
    rule(equal(x, True), x, dtypes=BOOL),
    rule(equal(x, False), ~x, dtypes=BOOL),
    rule(equal(-x, -y), equal(x, y)),
    rule(less(-x, -y), less(y, x), dtypes=FLOAT),  # not integers: the least is its own negative
    rule(less_equal(-x, -y), less_equal(y, x), dtypes=FLOAT),
)

CHOICES = (
    rule(where(c, x, x), x),
    rule(where(True, x, y), x),
    rule(where(False, x, y), y),
    rule(where(~c, x, y), where(c, y, x)),
    rule(where(c, where(c, x, y), z), where(c, x, z)),
    rule(where(c, x, where(c, y, z)), where(c, x, z)),
    rule(where(c, where(d, x, y), y), where(c & d, x, y)),
    rule(where(x, 1, 0), cast(x)),
    rule(where(x, 0, 1), cast(~x)),
)

CASTS = (
    rule(cast(x), x, when=_keeps_dtype),
    rule(cast(cast(x)), cast(x), when=_inner_cast_is_idle),
    rule(cast(where(c, a, b)), where(c, cast(a), cast(b))),
    rule(cast(where(c, cast(x), b)), where(c, cast(x), cast(b)), when=_inner_cast_is_idle),
    rule(cast(where(c, a, cast(x))), where(c, cast(a), cast(x)), when=_inner_cast_is_idle),
    rule(op("bitcast", x), x, when=_keeps_dtype),
    rule(op("bitcast", op("bitcast", x)), op("bitcast", x)),
)

INEXACT = (
    rule(x + 0, x, dtypes=FLOAT, fast_math=True),
    rule(x * 0, 0, dtypes=FLOAT, fast_math=True),
    rule(x - x, 0, dtypes=FLOAT, fast_math=True),
    rule(x / x, 1, dtypes=FLOAT, fast_math=True),
    rule(x / a, x * computed(np.reciprocal, a), dtypes=FLOAT, fast_math=True),
    rule(x**2, x * x, dtypes=FLOAT, fast_math=True),
    rule(x**3, x * x * x, dtypes=FLOAT, fast_math=True),
    rule(x**0.5, op("sqrt", x), dtypes=FLOAT, fast_math=True),
    rule((x + a) + b, x + computed(np.add, a, b), dtypes=FLOAT, fast_math=True),
    rule((x * a) * b, x * computed(np.multiply, a, b), dtypes=FLOAT, fast_math=True),
    rule(op("log", op("exp", x)), x, dtypes=FLOAT, fast_math=True),
    rule(op("exp", op("log", x)), x, dtypes=FLOAT, fast_math=True),
)

RULES: tuple[Rule, ...] = (
    *SIGNS,
    *ARITHMETIC,
    *LOGIC,
    *COMPARISONS,
    *CHOICES,
    *CASTS,
    *INEXACT,  # last: an exact rule goes first
)


@cache
def _rules_by_op(fast_math: bool) -> dict[str, tuple[Rule, ...]]:
    """The rules in every order of commuted arguments, by the op at the root."""
    table: dict[str, list[Rule]] = {}
    for found in RULES:
        if fast_math or not found.fast_math:
            table.setdefault(found.pattern.name, []).extend(found.variants())
    return {name: tuple(rules) for name, rules in table.items()}


@lru_cache(maxsize=1 << 12)
def _candidates(name: str, args: tuple[str, ...], fast_math: bool) -> tuple[Rule, ...]:
    """The rules that may fit an op on arguments of these ops: for most nodes few or none."""
    return tuple(
        found
        for found in _rules_by_op(fast_math).get(name, ())
        if all(head(part) in (None, arg) for part, arg in zip(found.pattern.args, args))
    )


def simplify(graph: Graph, fast_math: bool = False) -> Graph:
    """Rewrite nodes by the algebra of `RULES` and by what is known of views.

    Bit for bit the same values, unless `fast_math`. Needs constants folded; leaves dead nodes
    behind. One forward walk: arguments are simple already when a node is looked at.
    """
    return rebuild(graph, lambda node, args: _settle(with_args(node, args), fast_math, STEPS))


def _settle(node: Node, fast_math: bool, steps: int) -> Node:
    """Rewrite until nothing fits; the arguments of a replacement are settled as they are used."""
    for left in range(steps, 0, -1):
        found = _rewrite(node, fast_math, left)
        if found is None:
            break
        node = found
    return node


def _rewrite(node: Node, fast_math: bool, steps: int) -> Node | None:
    fresh: set[Node] = set()

    def make(name: str, args: Sequence[Node], attrs: dict[str, Any]) -> Node:
        settled = [_settle(arg, fast_math, steps // 4) if arg in fresh else arg for arg in args]
        made = fold(make_node(name, settled, node.where, **attrs))
        fresh.add(made)
        return made

    view_rule = VIEW_RULES.get(node.op)
    if view_rule is not None:
        return view_rule(node, make)
    for candidate in _candidates(node.op, tuple(arg.op for arg in node.args), fast_math):
        bindings = match(candidate, node)
        if bindings is not None:
            return instantiate(candidate.replacement, bindings, node.type, make)
    return None
