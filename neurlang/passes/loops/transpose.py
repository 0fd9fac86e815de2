"""What lies across the loops is read in vectors and transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence
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
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Transpose,
    Update,
    Var,
    affine,
    expressions_of,
    parts,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.types import BOOL
from neurlang.passes.loops import choose, choose_products
from neurlang.passes.loops.products import strips, tile_of


def transpose(kernel: Kernel, machine: Machine) -> Kernel:
    """Two loops that read an array along the outer one run over squares, one vector wide.

    A square of what lies across is loaded in vectors along the outer loop and transposed, and the
    inner loop then reads its rows. What follows is written out on the registers where it is short,
    and else reads them from scratch. At the edges are smaller squares; these, and all squares of
    products, may be filled in part.
    """
    if kernel.schedule not in ("rows", "tiles"):
        return kernel
    return kernel.with_body(_body(kernel.body, machine, kernel.schedule == "tiles"))


def _body(body: Sequence[Statement], machine: Machine, edges: bool) -> list[Statement]:
    result: list[Statement] = []
    for statement in body:
        match statement:
            case For(body=(For() as inner,)) if loads := _across(statement, inner):
                lanes = min(choose.SQUARE_SIDE, choose.lanes(inner.body, machine))
                if edges:
                    lanes = choose_products.square_side(lanes, _pitches(loads, inner))
                result += _Squares(statement, inner, loads, lanes, edges).statements()
            case For() if tile_of(statement) is None:  # tiles of products are written out later
                result.append(replace(statement, body=tuple(_body(statement.body, machine, edges))))
            case _:
                result.append(statement)
    return result


def _across(outer: For, inner: For) -> list[Load]:
    """The loads that go along the outer loop and across the inner one, where squares can serve."""
    simple = not any(isinstance(s, For | Update | Alloc) for s in inner.body)
    if not simple or (outer.kind, inner.kind, outer.step, inner.step) != ("serial", "serial", 1, 1):
        return []
    found: dict[Load, None] = {}
    for statement in inner.body:
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load) and part.dtype != BOOL:
                    flat = part.buffer.flat(part.index)
                    if flat.coefficient(outer.var) == 1 and abs(flat.coefficient(inner.var)) > 1:
                        found[part] = None
    return list(found)


def _pitches(loads: Sequence[Load], inner: For) -> list[int]:
    """Bytes between neighbours along the inner loop, for each load."""
    return [
        abs(load.buffer.flat(load.index).coefficient(inner.var)) * load.dtype.itemsize
        for load in loads
    ]


class _Squares:
    def __init__(
        self, outer: For, inner: For, loads: Sequence[Load], lanes: int, edges: bool
    ) -> None:
        self.outer = outer
        self.inner = inner
        self.loads = loads
        self.lanes = lanes
        self.edges = edges
        work = choose.cost(inner.body) * lanes
        self.written_out = work <= choose.SQUARE_LIMIT
        self.least = choose_products.least_of_square(lanes) if edges else lanes

    def statements(self) -> list[Statement]:
        if min(self.outer.trips, self.inner.trips) < self.least:
            return self._in_smaller(self.outer, self.inner)

        def across(x: Affine, height: int) -> list[Statement]:
            def square(y: Affine, width: int) -> list[Statement]:
                if min(height, width) >= self.least:
                    return self._square(x, y, height, width)
                return self._in_smaller(*self._part(x, y, height, width))

            return strips(self.inner.var.name, self.inner.trips, self._side(self.inner), square)

        return strips(self.outer.var.name, self.outer.trips, self._side(self.outer), across)

    def _side(self, loop: For) -> int:
        """Iterations that a square covers: where squares may be filled in part, all of them alike
        if that takes no more of them. A smaller last one is another copy of the code."""
        count = -(-loop.trips // self.lanes)
        even = self.least < self.lanes and loop.trips % count == 0
        return loop.trips // count if even else self.lanes

    def _moved(self, x: Affine, y: Affine) -> dict[Atom, Affine]:
        return {self.outer.var: x + self.outer.start, self.inner.var: y + self.inner.start}

    def _part(self, x: Affine, y: Affine, height: int, width: int) -> tuple[For, For]:
        """Both loops over a part that is no square."""
        i, j = Var("r", 0, height - 1), Var("c", 0, width - 1)
        body = Rewriter(self._moved(x + affine(i), y + affine(j))).body(self.inner.body)
        inner = For(j, 0, width, 1, "serial", body)
        return For(i, 0, height, 1, "serial", (inner,)), inner

    def _in_smaller(self, outer: For, inner: For) -> list[Statement]:
        """Loops over what has no place for a square, in smaller ones."""
        side = self.lanes // choose.EDGE_SQUARES
        if self.edges or side < 2:
            return [outer]
        return _Squares(outer, inner, _across(outer, inner), side, True).statements()

    def _square(self, x: Affine, y: Affine, height: int, width: int) -> list[Statement]:
        """The loads of a square, transposed, and the loops that read them."""
        result: list[Statement] = []
        rows: dict[Load, Register | Buffer] = {}
        for number, load in enumerate(self.loads):
            square = Register(f"square{number}", load.dtype, self.lanes, (self.lanes,))
            column, lane = Var("c", 0, width - 1), Var("lane", 0, height - 1)
            index = Rewriter(self._moved(x + affine(lane), y + affine(column))).indices(load.index)
            let = Let(square, Load(load.buffer, index), (affine(column),))
            result += [self._each(column, self._vector(lane, [let])), *self._empty(square, width)]
            result.append(Transpose(square))
            rows[load] = square
            if not self.written_out:
                scratch = Buffer(square.name, load.dtype, (self.lanes, self.lanes))
                rows[load] = scratch
                result += self._stored(square, scratch)
        return [*result, self._reads(x, y, height, width, rows)]

    def _empty(self, square: Register, width: int) -> list[Statement]:
        """Columns of a square that is filled in part."""
        if width == self.lanes:
            return []
        column, lane = Var("c", width, self.lanes - 1), Var("lane", 0, self.lanes - 1)
        zero = Let(square, Literal(square.dtype.type(0), square.dtype), (affine(column),))
        vector = self._vector(lane, [zero])
        return [For(column, width, self.lanes, 1, "unroll", (vector,))]

    def _stored(self, square: Register, scratch: Buffer) -> list[Statement]:
        row, lane = Var("r", 0, self.lanes - 1), Var("lane", 0, self.lanes - 1)
        at = (affine(row), affine(lane))
        store = Store(scratch, at, Ref(square, (affine(row),)))
        return [Alloc(scratch), self._each(row, self._vector(lane, [store]))]

    def _reads(
        self, x: Affine, y: Affine, height: int, width: int, rows: dict[Load, Register | Buffer]
    ) -> For:
        """What the inner loop did, for the rows of the square."""
        row, lane = Var("r", 0, height - 1), Var("lane", 0, width - 1)
        table = self._moved(x + affine(row), y + affine(lane))
        if self.written_out:
            rewriter = _FromSquares(table, rows, row, lane, self.lanes, [lane])
            return self._each(row, self._vector(lane, rewriter.body(self.inner.body)))
        rewriter = _FromSquares(table, rows, row, lane)
        body = rewriter.body(self.inner.body)
        inner = For(lane, 0, width, 1, "serial", body)
        return For(row, 0, height, 1, "serial", (inner,))

    def _vector(self, lane: Var, body: Sequence[Statement]) -> For:
        return For(lane, 0, lane.high + 1, self.lanes, "vector", tuple(body))

    def _each(self, var: Var, statement: Statement) -> For:
        return For(var, 0, var.high + 1, 1, "unroll", (statement,))


class _FromSquares(Rewriter):
    """Copies statements that read rows of transposed squares."""

    def __init__(
        self,
        atoms: dict[Atom, Affine],
        rows: dict[Load, Register | Buffer],
        row: Var,
        lane: Var,
        lanes: int = 1,
        varying: Sequence[Atom] = (),
    ) -> None:
        registers = [found for found in rows.values() if isinstance(found, Register)]
        super().__init__(atoms, lanes=lanes, varying=[*varying, *registers])
        self.rows = rows
        self.row = row
        self.lane = lane

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Load) and expression in self.rows:
            found = self.rows[expression]
            if isinstance(found, Buffer):
                return Load(found, (affine(self.row), affine(self.lane)))
            return Ref(found, (affine(self.row),))
        return super().expression(expression)
