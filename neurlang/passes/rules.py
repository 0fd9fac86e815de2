"""Patterns as data: holes, the expressions that Python's operators make of them, and matching."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from neurlang.ir.graph import Node, is_splat, make_constant, make_node
from neurlang.ir.ops import OPS
from neurlang.ir.types import DType, Type

BOOL = "b"
SIGNED = "if"
INTEGER = "iu"
UNSIGNED = "u"
FLOAT = "f"
NUMBER = "iuf"
BITS = "biu"
ANY = "biuf"

COMMUTATIVE = frozenset({"add", "mul", "max", "min", "equal", "and", "or", "xor"})

Bindings = Mapping[str, Node]
Make = Callable[[str, Sequence[Node], dict[str, Any]], Node]


class Pattern:
    """What a node may look like. Operators on patterns make the patterns of their results."""

    def __neg__(self) -> Pattern:
        return op("neg", self)

    def __invert__(self) -> Pattern:
        return op("not", self)

    def __add__(self, other: Operand) -> Pattern:
        return op("add", self, other)

    def __sub__(self, other: Operand) -> Pattern:
        return op("sub", self, other)

    def __rsub__(self, other: Operand) -> Pattern:
        return op("sub", other, self)

    def __mul__(self, other: Operand) -> Pattern:
        return op("mul", self, other)

    def __truediv__(self, other: Operand) -> Pattern:
        return op("div", self, other)

    def __floordiv__(self, other: Operand) -> Pattern:
        return op("floor_div", self, other)

    def __mod__(self, other: Operand) -> Pattern:
        return op("mod", self, other)

    def __pow__(self, other: Operand) -> Pattern:
        return op("pow", self, other)

    def __rpow__(self, other: Operand) -> Pattern:
        return op("pow", other, self)

    def __and__(self, other: Operand) -> Pattern:
        return op("and", self, other)

    def __or__(self, other: Operand) -> Pattern:
        return op("or", self, other)

    def __xor__(self, other: Operand) -> Pattern:
        return op("xor", self, other)

    def __lshift__(self, other: Operand) -> Pattern:
        return op("shift_left", self, other)

    def __rshift__(self, other: Operand) -> Pattern:
        return op("shift_right", self, other)


Operand = Pattern | bool | int | float


@dataclass(frozen=True)
class Hole(Pattern):
    """Any node; the same one wherever the name stands again."""

    name: str


@dataclass(frozen=True)
class ConstantHole(Pattern):
    """A splat whose value `accepts` holds for."""

    name: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Literal(Pattern):
    """A splat of one value, bit for bit: 0.0 is not -0.0. It takes the dtype it stands at."""

    value: bool | int | float

    def as_array(self, dtype: DType) -> Any:
        """The value in a dtype; -1 is all ones in every integer dtype."""
        return np.asarray(self.value).astype(dtype)


@dataclass(frozen=True)
class Apply(Pattern):
    """An op on patterns. A cast or bitcast matches any dtype, and makes the root's."""

    name: str
    args: tuple[Pattern, ...]


@dataclass(frozen=True)
class Computed(Pattern):
    """In a replacement: the splat that a function gives for the values of constant holes."""

    function: Callable[..., Any]
    holes: tuple[ConstantHole, ...]


@dataclass(frozen=True)
class Rule:
    """Nodes like `pattern` may become `replacement` where `x` has one of the dtype kinds.

    `when` is asked last, with the node that matched and what the holes stand for.
    """

    pattern: Apply
    replacement: Pattern
    dtypes: str = ANY
    fast_math: bool = False
    when: Callable[[Node, Bindings], bool] | None = None

    def variants(self) -> list[Rule]:
        """The rule for every order of the arguments of commutative ops."""
        patterns = dict.fromkeys(_orders(self.pattern))
        more = (self.dtypes, self.fast_math, self.when)
        return [Rule(found, self.replacement, *more) for found in patterns]


def _orders(pattern: Pattern) -> Iterator[Any]:
    if not isinstance(pattern, Apply):
        yield pattern
        return
    for args in product(*(list(_orders(arg)) for arg in pattern.args)):
        yield Apply(pattern.name, args)
        if pattern.name in COMMUTATIVE:
            yield Apply(pattern.name, args[::-1])


def op(name: str, *args: Operand) -> Pattern:
    """The pattern of any op by its name."""
    return Apply(name, tuple(map(_as_pattern, args)))


def _as_pattern(value: Operand) -> Pattern:
    return value if isinstance(value, Pattern) else Literal(value)


def max_(a: Operand, b: Operand) -> Pattern:
    """The larger of two."""
    return op("max", a, b)


def min_(a: Operand, b: Operand) -> Pattern:
    """The smaller of two."""
    return op("min", a, b)


def abs_(a: Operand) -> Pattern:
    """The absolute value."""
    return op("abs", a)


def equal(a: Operand, b: Operand) -> Pattern:
    """a == b, which Python keeps for itself."""
    return op("equal", a, b)


def less(a: Operand, b: Operand) -> Pattern:
    """a < b."""
    return op("less", a, b)


def less_equal(a: Operand, b: Operand) -> Pattern:
    """a <= b."""
    return op("less_equal", a, b)


def where(condition: Operand, a: Operand, b: Operand) -> Pattern:
    """a where the condition holds, else b."""
    return op("where", condition, a, b)


def cast(a: Operand) -> Pattern:
    """Any cast in a pattern; in a replacement, the one to the root's dtype."""
    return op("cast", a)


def constant(name: str, accepts: Callable[[Any], bool] = lambda value: True) -> ConstantHole:
    """A hole for splats, whose value is a 0-d array."""
    return ConstantHole(name, accepts)


def computed(function: Callable[..., Any], *holes: ConstantHole) -> Pattern:
    """A splat of `function` of the values of the holes, in the first one's dtype."""
    return Computed(function, holes)


def rule(
    pattern: Pattern,
    replacement: Operand,
    dtypes: str = ANY,
    fast_math: bool = False,
    when: Callable[[Node, Bindings], bool] | None = None,
) -> Rule:
    """A rewriting that is exact bit for bit, on every value of `dtypes`, unless `fast_math`."""
    assert isinstance(pattern, Apply)
    return Rule(pattern, _as_pattern(replacement), dtypes, fast_math, when)


def match(rule: Rule, node: Node) -> Bindings | None:
    """What the holes of a rule's pattern stand for in a node; None where it does not fit."""
    bindings: dict[str, Node] = {}
    if not _fits(rule.pattern, node, bindings):
        return None
    if "x" in bindings and bindings["x"].dtype.kind not in rule.dtypes:
        return None
    if rule.when is not None and not rule.when(node, bindings):
        return None
    return bindings


def _fits(pattern: Pattern, node: Node, bindings: dict[str, Node]) -> bool:
    match pattern:
        case Apply(name, args):
            if node.op != name:
                return False
            return all(_fits(part, arg, bindings) for part, arg in zip(args, node.args))
        case Hole(name):
            return same(bindings.setdefault(name, node), node)
        case Literal():
            return is_splat(node) and _has_bits(node, pattern.as_array(node.dtype))
        case ConstantHole(name, accepts):
            if not is_splat(node) or not accepts(node.attrs["value"]):
                return False
            return same(bindings.setdefault(name, node), node)
    return False


def head(pattern: Pattern) -> str | None:
    """The only op that a node may have to fit a pattern; None where any may."""
    match pattern:
        case Apply(name):
            return name
        case Literal() | ConstantHole():
            return "const"
    return None


def same(a: Node, b: Node) -> bool:
    """Whether two nodes are one, or splats of the same bits."""
    if a is b:
        return True
    return is_splat(a) and is_splat(b) and a.type == b.type and _has_bits(a, b.attrs["value"])


def _has_bits(node: Node, value: Any) -> bool:
    return bool(node.attrs["value"].tobytes() == value.tobytes())


def instantiate(pattern: Pattern, bindings: Bindings, type: Type, make: Make) -> Node:
    """The node of type `type` that a pattern describes; `make` builds what is not bound."""
    match pattern:
        case Hole(name) | ConstantHole(name):
            return bindings[name]
        case Literal():
            return make_constant(pattern.as_array(type.dtype), type)
        case Computed(function, holes):
            operands = [bindings[hole.name] for hole in holes]
            with np.errstate(all="ignore"):
                value = function(*(operand.attrs["value"] for operand in operands))
            return make_constant(np.asarray(value, operands[0].dtype), operands[0].type)
        case Apply(name, args):
            nodes = _arguments(name, args, bindings, type, make)
            converts = OPS[name].result == "attr"
            return make(name, nodes, {"dtype": type.dtype} if converts else {})
    raise AssertionError(pattern)


def _arguments(
    name: str, args: Sequence[Pattern], bindings: Bindings, type: Type, make: Make
) -> list[Node]:
    """Arguments of an op; a literal takes its dtype from its siblings, else from the result."""
    found: dict[int, Node] = {}
    expected = type
    for position, arg in enumerate(args):
        if isinstance(arg, Literal):
            continue
        is_condition = name == "where" and position == 0
        wanted = Type(np.dtype(bool), type.shape) if is_condition else type
        found[position] = instantiate(arg, bindings, wanted, make)
        if not is_condition:
            expected = found[position].type
    return [
        found[position]
        if position in found
        else instantiate(arg, bindings, _literal_type(name, position, expected), make)
        for position, arg in enumerate(args)
    ]


def _literal_type(name: str, position: int, expected: Type) -> Type:
    is_condition = name == "where" and position == 0
    return Type(np.dtype(bool), expected.shape) if is_condition else expected


def make_plainly(name: str, args: Sequence[Node], attrs: dict[str, Any]) -> Node:
    """The node as it stands: what `instantiate` needs where nothing is to be simplified."""
    return make_node(name, args, **attrs)
