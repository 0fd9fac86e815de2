"""Running sums, products, maxima and minima, as plain loops: one after the other, or in blocks."""

from __future__ import annotations

from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.identities import identity
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Buffer,
    Expression,
    For,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    affine,
)
from neurlang.ir.ops import CUMULATIVE
from neurlang.lower.elements import Block, Scope
from neurlang.lower.rows import nest, outer_loops
from neurlang.passes.loops import choose


def lower_cumulative(node: Node, scope: Scope, target: Buffer) -> list[Statement]:
    """Elements one after the other, as NumPy has them; a few long rows in blocks.

    The order depends on shape, axis, op and dtype alone.
    """
    if not node.type.size:
        return []
    return _Running(node, scope, target).statements()


class _Running:
    def __init__(self, node: Node, scope: Scope, target: Buffer) -> None:
        self.node = node
        self.scope = scope
        self.target = target
        self.op = CUMULATIVE[node.attrs["op"]]
        self.axis = node.attrs["axis"]
        self.length = node.shape[self.axis]

    def statements(self) -> list[Statement]:
        shape = self.node.shape
        others = (*shape[: self.axis], *shape[self.axis + 1 :])
        outer, loops = outer_loops([(0, size) for size in others])
        self.before, self.after = outer[: self.axis], outer[self.axis :]
        start, running = self._register("running")
        in_blocks = self._may_change_order() and choose.runs_in_blocks(shape, self.axis)
        body = self._in_blocks(running) if in_blocks else self._swept(running, 0)
        return nest(loops, [start, *body])

    def _may_change_order(self) -> bool:
        """Not where a product of later elements may overflow, though an earlier one is 0."""
        return self.node.dtype.kind != "f" or self.op != "mul"

    def _register(self, name: str) -> tuple[Let, Register]:
        register = self.scope.register(self.node.dtype, name)
        return Let(register, Literal(identity(self.op, register.dtype), register.dtype)), register

    def _place(self, position: Affine) -> tuple[Buffer, Indices]:
        return self.target, (*self.before, position, *self.after)

    def _swept(self, running: Register, first: int) -> list[Statement]:
        """Elements from `first` on, one after the other."""
        (position,), loops = outer_loops([(first, self.length)], "r")
        return nest(loops, self._step(running, position, *self._place(position)))

    def _step(
        self, running: Register, position: Affine, place: Buffer, index: Indices
    ) -> list[Statement]:
        """One more element, and the running value stored."""
        block = Block(self.scope)
        (value,) = block.evaluate([(self.node.args[0], self._place(position)[1])])
        update = self._advanced(running, value)
        return [*block.statements, update, Store(place, index, Ref(running))]

    def _advanced(self, running: Register, value: Expression) -> Update:
        """Set, not combined: the value in between is wanted, so this is no reduction."""
        return Update(running, "set", Apply(self.op, (Ref(running), value), running.dtype))

    def _in_blocks(self, carried: Register) -> list[Statement]:
        """Rows of a square block each for itself, then what stands before each row added to it."""
        side = choose.RUNNING_BLOCK
        size = side * side
        block = Buffer("block", self.node.dtype, (side, side))
        blocks = self.length // size
        b, row, step = Var("b", 0, blocks - 1), Var("row", 0, side - 1), Var("r", 0, side - 1)
        start, running = self._register("running")
        position = affine(b) * size + affine(row) * side + affine(step)
        at = (affine(row), affine(step))
        inner = tuple(self._step(running, position, block, at))
        alone = For(row, 0, side, 1, "serial", (start, For(step, 0, side, 1, "serial", inner)))

        row, step = Var("row", 0, side - 1), Var("r", 0, side - 1)
        position = affine(b) * size + affine(row) * side + affine(step)
        value = Load(block, (affine(row), affine(step)))
        whole = Apply(self.op, (Ref(carried), value), carried.dtype)
        spread = For(step, 0, side, 1, "serial", (Store(*self._place(position), whole),))
        last = Load(block, (affine(row), Affine(side - 1)))
        joined = For(row, 0, side, 1, "serial", (spread, self._advanced(carried, last)))
        loop = For(b, 0, blocks, 1, "serial", (Alloc(block), alone, joined))
        return [loop, *self._swept(carried, blocks * size)]
