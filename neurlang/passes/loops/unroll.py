"""Bodies of loops are written out: vectors side by side, and the tiles of products in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Atom,
    Buffer,
    Expression,
    For,
    Kernel,
    Let,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    affine,
    parts,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.rows import filled_rows
from neurlang.passes.loops import choose, choose_products
from neurlang.passes.loops.products import Tile, factors, multiply_add, nest, tile_of

VectorBody = Callable[[Affine, Affine, Var], Sequence[Statement]]


def unroll(kernel: Kernel, machine: Machine) -> Kernel:
    """Several copies of a small vector loop's body in one iteration; tiles of products written out.

    A vector loop is cut into whole iterations of all copies, without a mask, and a rest. The sums
    of a tile become registers, and the vectors and elements that a step multiplies are loaded once
    for the tile. Where much follows a product its tile stays in scratch for that, and one small
    loop does it.
    """
    late = {b for b in kernel.outputs if choose.comes_late(b.nbytes, machine)}
    return kernel.with_body(_body(kernel.body, late))


def _body(body: Sequence[Statement], late: set[Buffer]) -> list[Statement]:
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif statement.kind == "vector":
            result += _copies(statement, late)
        elif (tile := tile_of(statement)) is not None and _is_vectorized(tile):
            result.append(replace(statement, body=tuple(_Registers(tile, late).statements())))
        else:
            result.append(replace(statement, body=tuple(_body(statement.body, late))))
    return result


def _copies(loop: For, late: set[Buffer]) -> list[Statement]:
    """Vectors, some of them in an iteration, then single ones, the last masked."""
    fills = filled_rows(loop.body, loop.var)  # with vectors side by side already
    stores = any(isinstance(one, Store) and one.buffer in late for one in loop.body)
    size = loop.step * (1 if fills else choose.unroll(loop.body, stores))
    main = loop.start + (loop.stop - loop.start) // size * size
    if loop.trips < 2 or (size == loop.step and main == loop.stop):
        return [loop]
    result: list[Statement] = []
    if main > loop.start:
        result.append(replace(_part(loop, loop.start, main), unroll=size // loop.step))
    if main < loop.stop:
        result.append(_part(loop, main, loop.stop))
    return result


def _part(loop: For, start: int, stop: int) -> For:
    """The iterations from start to stop, with names of their own."""
    var = Var(loop.var.name, start, stop - 1)
    return replace(loop, var=var, start=start, stop=stop, body=_moved(loop, affine(var), var))


def _moved(loop: For, index: Affine, var: Var) -> tuple[Statement, ...]:
    """A vector loop's body with another index, whose lanes lie along `var`."""
    table: dict[Atom, Affine] = {loop.var: index}
    return Rewriter(table, lanes=loop.step, varying=[var]).body(loop.body)


def _is_vectorized(tile: Tile) -> bool:
    return tile.columns.kind == "vector" and not tile.lets


class _Registers:
    """A tile whose sums are registers: an array of rows by vectors."""

    def __init__(self, tile: Tile, late: set[Buffer]) -> None:
        self.tile = tile
        self.late = late
        self.lanes = tile.columns.step
        rows, columns = tile.sums.shape
        self.rows = rows
        self.full, self.partial = divmod(columns, self.lanes)
        vectors = self.full + (self.partial > 0)
        self.sums = Register("sum", tile.sums.dtype, self.lanes, (rows, vectors))
        self.plain = choose_products.writes_out(_inner(tile.finish).body)
        self.vectors = Register("right", tile.sums.dtype, self.lanes, (vectors,))

    def statements(self) -> list[Statement]:
        tile = self.tile
        body = [self._written_out(tile.start), *self._steps()]
        if self.plain:
            return [*body, self._written_out(tile.finish)]
        return [Alloc(tile.sums), *body, self._spilled(), *_body([tile.finish], self.late)]

    def _each_vector(self, body: VectorBody) -> tuple[For, ...]:
        """Something for every vector of a row: body(which one, column, lane)."""
        result: list[For] = []
        if self.full:
            v, lane = Var("v", 0, self.full - 1), Var("l", 0, self.lanes - 1)
            column = affine(v) * self.lanes + affine(lane)
            statements = tuple(body(affine(v), column, lane))
            vector = For(lane, 0, self.lanes, self.lanes, "vector", statements)
            result.append(For(v, 0, self.full, 1, "unroll", (vector,)))
        if self.partial:
            lane = Var("l", 0, self.partial - 1)
            column = affine(lane) + self.full * self.lanes
            statements = tuple(body(Affine(self.full), column, lane))
            result.append(For(lane, 0, self.partial, self.lanes, "vector", statements))
        return tuple(result)

    def _written_out(self, rows: For) -> For:
        """A loop over all of the tile, once for every vector of it, its sums in registers."""
        r = Var("r", 0, self.rows - 1)
        columns = _inner(rows)

        def body(which: Affine, column: Affine, lane: Var) -> Sequence[Statement]:
            atoms: dict[Atom, Affine] = {rows.var: affine(r), columns.var: column}
            return _InRegisters(self.tile.sums, self.sums, which, atoms, lane).body(columns.body)

        return For(r, 0, self.rows, 1, "unroll", self._each_vector(body))

    def _spilled(self) -> For:
        """The sums, stored where the loop that follows reads them."""
        r = Var("r", 0, self.rows - 1)

        def body(which: Affine, column: Affine, lane: Var) -> Sequence[Statement]:
            value = Ref(self.sums, (affine(r), which))
            return [Store(self.tile.sums, (affine(r), column), value)]

        return For(r, 0, self.rows, 1, "unroll", self._each_vector(body))

    def _steps(self) -> list[Statement]:
        """The loops over k: in the innermost some steps in an iteration, then what is left."""
        *around, inner = self.tile.depth
        copies = 1
        if inner.window is None:
            copies = choose_products.depth_unroll(
                inner.trips, self.plain and self._in_order(inner.var)
            )
        main = inner.stop - (inner.stop - inner.start) % copies
        body: list[Statement] = []
        for start, stop, times in ((inner.start, main, copies), (main, inner.stop, 1)):
            if start < stop:
                k = Var(inner.var.name, start, stop - 1)
                step = tuple(self._step(inner.var, affine(k)))
                body.append(For(k, start, stop, 1, "serial", step, times, window=inner.window))
        return [nest(around, body)] if around else body

    def _in_order(self, k: Var) -> bool:
        """Whether the rows of the right operand that a tile reads follow each other in memory."""
        _, right = factors(self.tile.step.value)
        loads = [part for part in parts(right) if isinstance(part, Load)]
        columns = self.tile.sums.shape[1]
        return all(load.buffer.flat(load.index).coefficient(k) == columns for load in loads)

    def _step(self, var: Var, k: Affine) -> list[Statement]:
        """One k: every vector of the right operand and every element of the left one, read once."""
        tile = self.tile
        left, right = factors(tile.step.value)
        r = Var("r", 0, self.rows - 1)
        v = Var("v", 0, self.vectors.shape[0] - 1)

        def load(which: Affine, column: Affine, lane: Var) -> Sequence[Statement]:
            value = Rewriter({var: k, tile.columns.var: column}).expression(right)
            return [Let(self.vectors, value, (which,))]

        element = Register("left", tile.sums.dtype)
        value = Rewriter({var: k, tile.rows.var: affine(r)}).expression(left)
        at = (affine(r), affine(v))
        total = multiply_add(Ref(element), Ref(self.vectors, (affine(v),)), Ref(self.sums, at))
        update = Update(self.sums, "set", total, at)
        across = For(v, 0, v.high + 1, 1, "unroll", (update,))
        down = For(r, 0, self.rows, 1, "unroll", (Let(element, value), across))
        return [*self._each_vector(load), down]


class _InRegisters(Rewriter):
    """Copies statements of one vector of a tile; its sums are elements of a register array."""

    def __init__(
        self, tile: Buffer, sums: Register, which: Affine, atoms: dict[Atom, Affine], lane: Var
    ) -> None:
        super().__init__(atoms, lanes=sums.lanes, varying=[lane, sums])
        self.tile = tile
        self.sums = sums
        self.which = which

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Load) and expression.buffer is self.tile:
            return Ref(self.sums, self._place(expression.index))
        return super().expression(expression)

    def statement(self, statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer is self.tile:
            value = self.expression(statement.value)
            return Let(self.sums, value, self._place(statement.index))
        return super().statement(statement)

    def _place(self, index: Sequence[Affine]) -> tuple[Affine, Affine]:
        row, _ = self.indices(tuple(index))
        return row, self.which


def _inner(rows: For) -> For:
    """The loop over a tile's columns in the one over its rows."""
    (columns,) = rows.body
    assert isinstance(columns, For)
    return columns
