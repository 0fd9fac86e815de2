"""Lowering's one question: what is element `index` of this node?

A `Block` collects the statements that compute elements. It asks backwards through the graph, from
what is wanted to what is in memory, then answers forwards; neither walk recurses, so a chain of any
length is fine. Views only change the index. What is asked for twice is computed once.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurlang.ir.access import (
    Divider,
    Indices,
    below_reshapes,
    concat_bounds,
    flat_index,
    pad_bounds,
    piece_of,
    same_axes,
    view_index,
)
from neurlang.ir.failures import Failure, can_fail, index_failure, power_failure
from neurlang.ir.graph import Node, is_splat
from neurlang.ir.loops import (
    ZERO,
    Affine,
    Apply,
    Buffer,
    Check,
    Expression,
    Index,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    affine,
)
from neurlang.ir.types import BOOL, INT32, INT64, DType

Key = tuple[Node, Indices]
MAX_DEPTH = 6  # operators of one expression before it gets a name: long lines do not read well


@dataclass
class Scope:
    """What a kernel can read: memory, registers; and its supply of names."""

    position: Mapping[Node, int]
    nodes: Sequence[Node]
    buffers: dict[Node, Buffer]
    failures: list[Failure]
    registers: dict[Node, Ref] = field(default_factory=dict)
    scratch: dict[Node, tuple[Buffer, tuple[int, ...]]] = field(default_factory=dict)
    names: int = 0
    divides: bool = False  # whether indices have been named that may be of no use in the end

    def register(self, dtype: DType, hint: str = "t", lanes: int = 1, **more: Any) -> Register:
        self.names += 1
        return Register(f"{hint}{self.names}", dtype, lanes, **more)

    def stored(self, node: Node, index: Indices) -> Expression | None:
        """The element where it is at hand: a constant, an index, a register, or in memory."""
        if node in self.registers:
            return self.registers[node]
        if node in self.scratch:
            buffer, axes = self.scratch[node]
            return Load(buffer, tuple(index[axis] for axis in axes))
        if node in self.buffers:
            return Load(self.buffers[node], index)
        base = below_reshapes(node)
        if base in self.buffers and not same_axes(base.shape, node.shape):
            return Load(self.buffers[base], (flat_index(node.shape, index),))
        if is_splat(node):
            return Literal(node.attrs["value"][()], node.dtype)
        if node.op == "iota":
            value = Index(index[node.attrs["axis"]], INT64)
            return value if node.dtype == INT64 else Apply("cast", (value,), node.dtype)
        return None


class Block(Divider):
    """Statements of one loop body, and what they have computed so far."""

    def __init__(self, scope: Scope, cut_loops: bool = False) -> None:
        super().__init__()
        self.scope = scope
        self.cut_loops = cut_loops
        self.statements: list[Statement] = []
        self.known: dict[Key, Expression] = {}
        self.positions: dict[tuple[Key, int], Affine] = {}  # of indices, along an axis
        self.depth: dict[Key, int] = {}
        self.uses: dict[Key, int] = {}
        self.arguments: dict[Key, list[Key]] = {}
        self.visited: list[Key] = []

    # names

    def let(self, value: Expression, hint: str = "t", **bounds: int) -> Ref:
        """A name for a value."""
        register = self.scope.register(value.dtype, hint, **bounds)
        self.statements.append(Let(register, value))
        return Ref(register)

    def require(self, condition: Expression, failure: Failure) -> None:
        """Where the condition does not hold, the program ends with an error."""
        failures = self.scope.failures
        if failure not in failures:
            failures.append(failure)
        self.statements.append(Check(condition, 1 + failures.index(failure)))

    def new_parts(self, value: Affine, divisor: int) -> tuple[Register, Register]:
        """Quotient and remainder of an index, as named integers (see `access.Divider`)."""
        self.scope.divides = True
        whole = Index(value, INT64)
        by = Literal(np.int64(divisor), INT64)
        quotient = self.let(Apply("floor_div", (whole, by), INT64), "q", high=value.high // divisor)
        remainder = self.let(Apply("mod", (whole, by), INT64), "m", high=divisor - 1)
        return quotient.register, remainder.register

    # the two walks

    def evaluate(self, roots: Sequence[Key]) -> list[Expression]:
        """The values of elements; raises SplitNeeded where a loop must be cut first."""
        order = self._ask(roots)
        for key in order:
            if key not in self.known:
                self._answer(key)
        return [self.known[root] for root in roots]

    def _ask(self, roots: Sequence[Key]) -> list[Key]:
        position = self.scope.position
        places: dict[Node, dict[Indices, None]] = {}
        heap: list[int] = []
        order: list[Key] = []

        def ask(key: Key) -> None:
            self.uses[key] = self.uses.get(key, 0) + 1
            if key in self.known:
                return
            node, index = key
            if node not in places:
                places[node] = {}
                heapq.heappush(heap, -position[node])
            places[node][index] = None

        for root in roots:
            ask(root)
        while heap:
            node = self.scope.nodes[-heapq.heappop(heap)]
            for index in places.pop(node):
                key = (node, index)
                order.append(key)
                for argument in self._arguments_of(key):
                    ask(argument)
        order.reverse()
        return order

    def _arguments_of(self, key: Key) -> list[Key]:
        node, index = key
        value = self.scope.stored(node, index)
        if value is not None:
            self.known[key] = self._whole(value) if isinstance(value, Load) else value
            self.depth[key] = 0
            return []
        self.visited.append(key)
        self.arguments[key] = self._wanted(node, index)
        return self.arguments[key]

    def _wanted(self, node: Node, index: Indices) -> list[Key]:
        match node.op:
            case "pad":
                return self._pad_pieces(node, index)
            case "concat":
                return self._concat_pieces(node, index)
            case "gather":
                return [(node.args[0], self._gather_index(node, index))]
        if node.kind == "view":
            return [(node.args[0], view_index(node, index, self))]
        if node.kind == "map":
            return [(arg, index) for arg in node.args]
        raise AssertionError(f"{node} is not stored and cannot be inlined")

    def _answer(self, key: Key) -> None:
        node, _ = key
        arguments = [self.known[argument] for argument in self.arguments[key]]
        depth = 1 + max((self.depth[argument] for argument in self.arguments[key]), default=0)
        if node.op in ("pad", "concat"):
            value = self._choose_piece(key, arguments)
        elif node.kind == "map":
            if node.op == "pow" and can_fail(node):
                arguments[1] = self._checked_exponent(node, arguments[1])
            value = Apply(node.op, tuple(arguments), node.dtype)
        else:
            value, depth = arguments[0], depth - 1
        if isinstance(value, Apply) and (self.uses[key] > 1 or depth > MAX_DEPTH):
            value, depth = self.let(value), 0
        self.known[key] = value
        self.depth[key] = depth

    def _whole(self, load: Load) -> Load:
        """What was an index before reshapes divided it is that index again; it counts from the
        buffer's start."""
        flat = load.buffer.flat(load.index)
        joined = self.joined(flat)
        return load if joined == flat else Load(load.buffer, (joined,))

    # pads and concatenations

    def _piece(self, position: Affine, bounds: Sequence[int]) -> int | None:
        if self.cut_loops:
            return piece_of(position, bounds)
        for piece in range(len(bounds) - 1):
            if bounds[piece] <= position.low and position.high < bounds[piece + 1]:
                return piece
        return None

    def _clamped(self, position: Affine, size: int) -> Affine:
        """The index, kept inside an axis: what is read there is not used."""
        zero = Literal(np.int64(0), INT64)
        last = Literal(np.int64(size - 1), INT64)
        value = Apply("max", (Index(position, INT64), zero), INT64)
        bounded = self.let(Apply("min", (value, last), INT64), "k", high=size - 1)
        return affine(bounded.register)

    def _pad_pieces(self, node: Node, index: Indices) -> list[Key]:
        source = node.args[0]
        position = []
        for axis, at in enumerate(index):
            start, low, high, stop = pad_bounds(node, axis)
            piece = self._piece(at, (start, low, high, stop))
            if piece in (0, 2) or not source.shape[axis]:
                return []
            inside = at + (-low)
            position.append(inside if piece == 1 else self._clamped(inside, source.shape[axis]))
        return [(source, tuple(position))]

    def _concat_pieces(self, node: Node, index: Indices) -> list[Key]:
        axis = node.attrs["axis"]
        bounds = concat_bounds(node)
        piece = self._piece(index[axis], bounds)
        pieces = range(len(node.args)) if piece is None else [piece]
        keys = []
        for k in pieces:
            inside = index[axis] + (-bounds[k])
            if piece is None:
                if not node.args[k].shape[axis]:
                    continue
                inside = self._clamped(inside, node.args[k].shape[axis])
            keys.append((node.args[k], (*index[:axis], inside, *index[axis + 1 :])))
        return keys

    def _choose_piece(self, key: Key, arguments: list[Expression]) -> Expression:
        node, index = key
        if node.op == "pad":
            return self._choose_padding(node, index, arguments)
        axis = node.attrs["axis"]
        value = arguments[-1]
        if len(arguments) > 1:
            bounds = [b for b, arg in zip(concat_bounds(node)[1:], node.args) if arg.shape[axis]]
            for bound, argument in zip(reversed(bounds[:-1]), reversed(arguments[:-1])):
                inside = _compare("less", index[axis], bound)
                value = Apply("where", (inside, argument, value), node.dtype)
        return value

    def _choose_padding(
        self, node: Node, index: Indices, arguments: list[Expression]
    ) -> Expression:
        padding = Literal(np.asarray(node.attrs["value"]).astype(node.dtype)[()], node.dtype)
        if not arguments:
            return padding
        value = arguments[0]
        for axis, at in enumerate(index):
            _, low, high, _ = pad_bounds(node, axis)
            if at.low >= low and at.high < high:
                continue
            below = _compare("less", at, high)
            above = Apply("less_equal", (_number(low), Index(at, INT64)), BOOL)
            inside = Apply("and", (above, below), BOOL)
            value = Apply("where", (inside, value, padding), node.dtype)
        return value

    # what can fail

    def _checked_exponent(self, node: Node, exponent: Expression) -> Ref:
        """The exponent of an integer power, which NumPy refuses where it is negative."""
        named = exponent if isinstance(exponent, Ref) else self.let(exponent, "e")
        zero = Literal(node.dtype.type(0), node.dtype)
        self.require(Apply("less_equal", (zero, named), BOOL), power_failure(node))
        return named

    def _gather_index(self, node: Node, index: Indices) -> Indices:
        """Evaluate the index elements now; out of range ends the program with an error."""
        source, *indices = node.args
        axis = node.attrs["axis"]
        after = axis + len(indices[0].shape)
        wanted = [(each, index[axis:after]) for each in indices]
        self.evaluate(wanted)
        sizes = source.shape[axis : axis + len(indices)]
        places = [checked_index(self, node, key, size) for key, size in zip(wanted, sizes)]
        return (*index[:axis], *places, *index[after:])


def _number(value: int, dtype: DType = INT64) -> Literal:
    return Literal(dtype.type(value), dtype)


def _compare(op: str, left: Affine, right: int) -> Apply:
    return Apply(op, (Index(left, INT64), _number(right)), BOOL)


def checked_index(block: Block, node: Node, wanted: Key, size: int) -> Affine:
    """An index that is a value, counted from the end where negative; 0 where the check fails.

    What cannot lie outside is not checked: a loop's variable, or a number of few bits.
    """
    if (wanted, size) not in block.positions:
        (value,) = block.evaluate([wanted])
        block.positions[wanted, size] = _position(block, node, value, size)
    return block.positions[wanted, size]


def _position(block: Block, node: Node, value: Expression, size: int) -> Affine:
    if isinstance(value, Index) and value.value.low >= 0 and value.value.high < size:
        return value.value
    value, most = _narrowed(value, size)
    if most < size:
        return affine(block.let(value, "k", high=most).register)
    operands = (block.let(value, "i"), _number(size, value.dtype))
    place = block.let(Apply("position", operands, value.dtype), "k", high=size - 1)
    block.require(Apply("inside", operands, BOOL), index_failure(node, size))
    return affine(place.register)


def _narrowed(index: Expression, size: int) -> tuple[Expression, int]:
    """An index in 32 bits, twice as many at once, where neither it nor the axis has more; and the
    most that it can be, as an unsigned number."""
    unbounded = 1 << 64
    if not (isinstance(index, Apply) and index.op == "cast" and size <= np.iinfo(np.int32).max):
        return index, unbounded
    (given,) = index.args
    if not np.can_cast(given.dtype, INT32):
        return index, unbounded
    most = np.iinfo(given.dtype).max if given.dtype.kind == "u" else unbounded
    return given if given.dtype == INT32 else Apply("cast", (given,), INT32), int(most)


__all__ = ["ZERO", "Block", "Failure", "Key", "Scope", "checked_index"]
