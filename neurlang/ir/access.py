"""Which element of its arguments does an element of a node need: index rules for views.

The fusion pass asks to learn what may be fused; the lowering asks to write the loads. Both give a
`Divider`, which makes quotient and remainder of an index where a reshape needs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neurlang.ir.graph import Node
from neurlang.ir.loops import ZERO, Affine, Atom, Register, Var, affine
from neurlang.ir.types import INT64, Shape

Indices = tuple[Affine, ...]


class Divider:
    """Makes registers for what an affine index cannot say, and knows what they are parts of."""

    def __init__(self) -> None:
        self.made: dict[tuple[Affine, int], tuple[Affine, Affine]] = {}
        self.parts: dict[Atom, tuple[Affine, int, Register]] = {}  # by remainder

    def divide(self, value: Affine, divisor: int) -> tuple[Affine, Affine]:
        """Quotient and remainder of a non-negative index."""
        key = (value, divisor)
        if key not in self.made:
            quotient, remainder = self.new_parts(value, divisor)
            self.made[key] = (affine(quotient), affine(remainder))
            self.parts[remainder] = (value, divisor, quotient)
        return self.made[key]

    def new_parts(self, value: Affine, divisor: int) -> tuple[Register, Register]:
        """New registers for quotient and remainder."""
        raise NotImplementedError

    def joined(self, index: Affine) -> Affine:
        """The index with every c*d*(e // d) + c*(e % d) in it written as c*e."""
        while True:
            remainder = next((r for r, _ in index.terms if self._is_whole(index, r)), None)
            if remainder is None:
                return index
            index = self._with_whole(index, remainder)

    def _with_whole(self, index: Affine, remainder: Atom) -> Affine:
        """The index with what was divided in the quotient's place: equal ones have equal terms."""
        value, divisor, quotient = self.parts[remainder]
        result = Affine(index.constant)
        for atom, coefficient in index.terms:
            if atom is quotient:
                result = result + value * (coefficient // divisor)
            elif atom is not remainder:
                result = result + Affine(0, ((atom, coefficient),))
        return result

    def _is_whole(self, index: Affine, remainder: Atom) -> bool:
        """Whether the quotient that belongs to a remainder stands in the index as well."""
        if remainder not in self.parts:
            return False
        _, divisor, quotient = self.parts[remainder]
        return index.coefficient(quotient) == divisor * index.coefficient(remainder)


class NameOnlyDivider(Divider):
    """Registers without the statements that fill them: for questions about structure."""

    def new_parts(self, value: Affine, divisor: int) -> tuple[Register, Register]:
        quotient = Register("q", INT64, high=value.high // divisor)
        return quotient, Register("r", INT64, high=divisor - 1)


class SplitNeeded(Exception):
    """The variable's range must be cut at `point`: a pad or concat changes piece there."""

    def __init__(self, var: Var, point: int) -> None:
        super().__init__(f"{var} at {point}")
        self.var = var
        self.point = point


def loop_vars(shape: Shape, names: str) -> tuple[list[Var], Indices]:
    """A variable for each axis, and the index they make; an axis of size 1 has index 0."""
    variables = []
    index = []
    for axis, size in enumerate(shape):
        name = names[axis] if axis < len(names) else f"{names[-1]}{axis}"
        var = Var(name, 0, max(0, size - 1))
        variables.append(var)
        index.append(ZERO if size == 1 else affine(var))
    return variables, tuple(index)


def divide(value: Affine, divisor: int, divider: Divider) -> tuple[Affine, Affine]:
    """value // divisor and value % divisor; affine wherever the ranges allow it.

    With value = g * high + low, 0 <= low < g and g a divisor of `divisor`, only `high` has to be
    divided: (g * high + low) // divisor = high // (divisor / g).
    """
    if divisor <= 1:  # 0 where an axis is empty, and then nothing is read
        return value, ZERO
    high, low = split_at(value, divisor)
    if 0 <= low.low and low.high < divisor:
        return high, low
    for unit in sorted({math.gcd(divisor, abs(c)) for _, c in value.terms}, reverse=True):
        high, low = split_at(value, unit)
        if unit > 1 and 0 <= low.low and low.high < unit:
            quotient, remainder = divide(high, divisor // unit, divider)
            return quotient, remainder * unit + low
    return divider.divide(value, divisor)


def split_at(value: Affine, unit: int) -> tuple[Affine, Affine]:
    """value = unit * high + low, by terms: those whose coefficient is a multiple go to `high`."""
    high = Affine(value.constant // unit)
    low = Affine(value.constant % unit)
    for atom, coefficient in value.terms:
        term = Affine(0, ((atom, 1),))
        if coefficient % unit == 0:
            high = high + term * (coefficient // unit)
        else:
            low = low + term * coefficient
    return high, low


def reshape_index(source: Shape, target: Shape, index: Indices, divider: Divider) -> Indices:
    """The source's index for the target's: through the flat index, except where axes agree."""
    if 0 in source:
        return (ZERO,) * len(source)  # no element is ever asked for
    if same_axes(source, target):
        kept = iter([i for i, n in zip(index, target) if n != 1])
        return tuple(ZERO if n == 1 else next(kept) for n in source)
    rest = divider.joined(flat_index(target, index))
    result = []
    stride = 1
    strides = []
    for extent in reversed(source):
        strides.append(stride)
        stride *= extent
    for extent, stride in zip(source, reversed(strides)):
        if extent == 1:
            result.append(ZERO)
            continue
        quotient, rest = divide(rest, stride, divider)
        result.append(quotient)
    return tuple(result)


def flat_index(shape: Shape, index: Indices) -> Affine:
    """The position of an element counted in row-major order."""
    result = ZERO
    for position, extent in zip(index, shape):
        result = result * extent + position
    return result


def below_reshapes(node: Node) -> Node:
    """What a chain of reshapes starts at: in memory it is the same array."""
    while node.op == "reshape":
        node = node.args[0]
    return node


def same_axes(source: Shape, target: Shape) -> bool:
    """Whether two shapes differ in axes of size 1 only."""
    return [n for n in source if n != 1] == [n for n in target if n != 1]


def view_index(node: Node, index: Indices, divider: Divider) -> Indices:
    """The index into the only argument of a transpose, broadcast, slice, window or reshape."""
    (source,) = node.args
    match node.op:
        case "transpose":
            result = [ZERO] * len(index)
            for position, axis in zip(index, node.attrs["axes"]):
                result[axis] = position
            return tuple(result)
        case "broadcast":
            kept = index[len(index) - len(source.shape) :]
            return tuple(ZERO if n == 1 else i for i, n in zip(kept, source.shape))
        case "slice":
            return tuple(
                i * step + start
                for i, start, step in zip(index, node.attrs["start"], node.attrs["step"])
            )
        case "window":
            rank = len(source.shape)
            moved = list(index[:rank])
            names = ("axes", "step", "dilation")
            for position, (axis, step, dilation) in zip(
                index[rank:], zip(*(node.attrs[name] for name in names))
            ):
                moved[axis] = moved[axis] * step + position * dilation
            return tuple(moved)
        case "reshape":
            return reshape_index(source.shape, node.shape, index, divider)
    raise AssertionError(node.op)


def axis_factors(node: Node, axis: int) -> Shape:
    """Sizes of the axes that views below a node have merged into one of its axes.

    With an index for each of them the element of a merged axis needs no division.
    """
    while node.op in ("reshape", "transpose", "broadcast"):
        (source,) = node.args
        match node.op:
            case "transpose":
                axis = node.attrs["axes"][axis]
            case "broadcast":
                axis -= len(node.shape) - len(source.shape)
                if axis < 0 or source.shape[axis] == 1:
                    break
            case "reshape":
                merged = _merged_axes(source.shape, node.shape, axis)
                if len(merged) != 1:
                    return tuple(source.shape[a] for a in merged) or (node.shape[axis],)
                (axis,) = merged
        node = source
    return (node.shape[axis],)


def _merged_axes(source: Shape, target: Shape, axis: int) -> list[int]:
    """The source's axes, without those of size 1, whose product is one axis of the target."""
    before = math.prod(target[:axis])
    found: list[int] = []
    passed = 1
    size = 1
    for a, extent in enumerate(source):
        if passed >= before and size < target[axis] and extent != 1:
            found.append(a)
            size *= extent
        else:
            passed *= extent
    return found if passed >= before and size == target[axis] and 0 not in source else []


@dataclass(frozen=True)
class ProductSpace:
    """The loops of a product: variables of its batch, rows, columns and sums over k.

    Columns and k may be several loops each, where one index would have to be divided.
    """

    batch: tuple[Var, ...]
    row: Var
    columns: tuple[Var, ...]
    depth: tuple[Var, ...]

    def indices(self) -> tuple[Indices, Indices, Indices]:
        """Of the left operand, the right one and the product."""
        batch = tuple(affine(var) if var.high else ZERO for var in self.batch)
        row, column, k = affine(self.row), _counted(self.columns), _counted(self.depth)
        return (*batch, row, k), (*batch, k, column), (*batch, row, column)


def _counted(variables: Sequence[Var]) -> Affine:
    """The position that several loops count in row-major order."""
    result = ZERO
    for var in variables:
        result = result * (var.high + 1) + affine(var)
    return result


def product_space(product: Node, merged: bool = False) -> ProductSpace:
    """The loops of a product; `merged` asks for one over each axis that views have merged."""
    left, right = product.args
    depth, columns = right.shape[-2:]
    over_columns: Shape = (columns,)
    over_k: Shape = (depth,)
    if merged:
        over_columns = axis_factors(right, len(right.shape) - 1)
        over_k = axis_factors(right, len(right.shape) - 2)
        if len(over_k) == 1:
            over_k = axis_factors(left, len(left.shape) - 1)
    (row,) = _variables("i", product.shape[-2:-1])
    batch = _variables("b", left.shape[:-2])
    return ProductSpace(batch, row, _variables("j", over_columns), _variables("k", over_k))


def _variables(letter: str, sizes: Shape) -> tuple[Var, ...]:
    """Loop variables; the innermost has the plain name, those around it are numbered."""
    names = (*(f"{letter}{n}" for n in range(len(sizes) - 1)), letter)
    return tuple(Var(name, 0, max(0, size - 1)) for name, size in zip(names, sizes))


def piece_of(position: Affine, bounds: Sequence[int]) -> int | None:
    """Which of the pieces bounds[k]..bounds[k + 1] an index lies in.

    SplitNeeded where cutting a variable's range tells; None where only the running program knows.
    """
    for piece in range(len(bounds) - 1):
        if bounds[piece] <= position.low and position.high < bounds[piece + 1]:
            return piece
    if len(position.terms) == 1:
        ((atom, coefficient),) = position.terms
        if isinstance(atom, Var) and coefficient in (1, -1):
            for bound in bounds[1:-1]:
                if position.low < bound <= position.high:
                    raise SplitNeeded(atom, _cut(position.constant, coefficient, bound))
    return None


def _cut(constant: int, coefficient: int, bound: int) -> int:
    """The least variable on the upper side of the cut between bound - 1 and bound."""
    return bound - constant if coefficient == 1 else constant - bound + 1


def pad_bounds(node: Node, axis: int) -> tuple[int, int, int, int]:
    """Where the padding before, the source and the padding after begin, and the end."""
    low = node.attrs["low"][axis]
    size = node.args[0].shape[axis]
    return 0, low, low + size, node.shape[axis]


def concat_bounds(node: Node) -> list[int]:
    """Where each piece of a concatenation begins, and the end."""
    bounds = [0]
    for arg in node.args:
        bounds.append(bounds[-1] + arg.shape[node.attrs["axis"]])
    return bounds


def reduce_index(node: Node, outer: Indices, inner: Indices) -> Indices:
    """The index into a reduction's argument from kept and reduced positions."""
    kept, reduced = iter(outer), iter(inner)
    axes = node.attrs["axes"]
    return tuple(
        next(reduced) if axis in axes else next(kept) for axis in range(len(node.args[0].shape))
    )
