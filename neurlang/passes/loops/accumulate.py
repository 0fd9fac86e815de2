"""Running sums become vectors of them: those of columns in order, those of rows by squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
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
    Transpose,
    Update,
    Var,
    affine,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose
from neurlang.passes.loops.products import strips


def accumulate(kernel: Kernel, machine: Machine) -> Kernel:
    """Loops that keep a running value, one for each iteration of a loop around, take several.

    Where the loop around goes along memory its vectors of running values go down side by side.
    Where the running loop does, a square of vectors is loaded along it and transposed, so that a
    vector holds one step of every row; running values are made of these, and transposed back. The
    order of each sum stays as it is. Leaves alone what runs across memory both ways.
    """
    if kernel.schedule != "running":
        return kernel
    return kernel.with_body(_body(kernel.body, machine))


def _body(body: Sequence[Statement], machine: Machine) -> list[Statement]:
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif (running := _running(statement)) is not None:
            result += _vectors(running, machine)
        else:
            result.append(replace(statement, body=tuple(_body(statement.body, machine))))
    return result


@dataclass(frozen=True)
class _Running:
    """`for row: start; for step: values; update; store`; `lets` are named before the inner loop."""

    row: For
    start: Let
    lets: tuple[Let, ...]
    step: For
    register: Register
    advance: Apply
    store: Store

    @property
    def values(self) -> tuple[Statement, ...]:
        """What an iteration computes before its running value advances."""
        return (*self.lets, *self.step.body[:-2])

    @property
    def value(self) -> Expression:
        """What the running value is combined with."""
        return self.advance.args[1]


def _running(loop: For) -> _Running | None:
    """A loop over rows that does nothing else than to run along each."""
    *before, step = loop.body
    if loop.kind != "serial" or not isinstance(step, For) or len(step.body) < 2:
        return None
    update, store = step.body[-2:]
    lets = [statement for statement in before if isinstance(statement, Let)]
    plain = len(lets) == len(before) and not any(isinstance(s, For) for s in step.body)
    match update, store:
        case (
            Update(register, "set", Apply(args=(Ref(carried), _)) as advance),
            Store(value=Ref(stored)),
        ) if plain and register is carried is stored:
            starts = [let for let in lets if let.register is register]
            rest = tuple(let for let in lets if let.register is not register)
            if len(starts) == 1:
                return _Running(loop, starts[0], rest, step, register, advance, store)
    return None


def _vectors(running: _Running, machine: Machine) -> list[Statement]:
    lanes = choose.lanes(running.step.body, machine)
    flat = running.store.buffer.flat(running.store.index)
    if flat.coefficient(running.row.var) == 1:
        return _columns(running, lanes)
    side = choose.running_side(running.row.trips, lanes)
    if flat.coefficient(running.step.var) == 1 and side > 1:
        return _Squares(running, side).statements()
    return [running.row]


# --- down columns ---------------------------------------------------------------------------------


def _columns(running: _Running, lanes: int) -> list[Statement]:
    """Vectors of columns, several of them side by side, each with its running value."""

    def strip(base: Affine, width: int) -> list[Statement]:
        full, partial = divmod(width, lanes)
        register = running.register
        vectors = Register(register.name, register.dtype, lanes, (full + (partial > 0),))

        def each(body: Sequence[Statement]) -> tuple[Statement, ...]:
            """Statements for every column of the strip."""
            found: list[Statement] = []
            for count, first, active in ((full, 0, lanes), (partial > 0, full, partial)):
                v, lane = Var("v", 0, count - 1), Var("lane", 0, active - 1)
                which = affine(v) + first
                column = base + which * lanes + affine(lane) + running.row.start
                registers = {register: Ref(vectors, (which,))}
                moved = Rewriter({running.row.var: column}, registers, lanes, [lane]).body(body)
                vector = For(lane, 0, active, lanes, "vector", moved)
                if count:
                    found.append(For(v, 0, int(count), 1, "unroll", (vector,)))
            return tuple(found)

        inner = replace(running.step, body=each((*running.lets, *running.step.body)))
        return [*each([running.start]), inner]

    width = choose.RUNNING_VECTORS * lanes
    return strips(running.row.var.name, running.row.trips, width, strip)


# --- along rows -----------------------------------------------------------------------------------


class _Squares:
    """`side` rows at once; what fills no square goes on one element after the other."""

    def __init__(self, running: _Running, side: int) -> None:
        self.running = running
        self.side = side
        self.main = running.step.trips // side * side
        register = running.register
        self.totals = Register(register.name, register.dtype, side)
        self.square = Register("square", register.dtype, side, (side,))

    def statements(self) -> list[Statement]:
        row = self.running.row
        if not self.main:
            return [row]

        def strip(base: Affine, height: int) -> list[Statement]:
            first = base + row.start
            if height < self.side:
                return [self._plain(first, height, self.running.start.value, 0)]
            step = self.running.step
            var = Var(step.var.name, step.start, step.start + self.main - self.side)
            body = self._square(first, affine(var))
            squares = For(var, step.start, step.start + self.main, self.side, "serial", body)
            start = Let(self.totals, self.running.start.value)
            return [start, squares, *self._rest(first)]

        return strips(row.var.name, row.trips, self.side, strip)

    def _square(self, first: Affine, base: Affine) -> tuple[Statement, ...]:
        """Vectors along the rows, transposed, summed, and transposed back."""
        row, step = self._var("row"), self._var("s")
        at = (affine(step),)
        both = (Ref(self.totals), Ref(self.square, at))
        total = Apply(self.running.advance.op, both, self.totals.dtype)
        sums = (Update(self.totals, "set", total), Update(self.square, "set", Ref(self.totals), at))
        stored = {self.running.register: Ref(self.square, (affine(row),))}
        store = self._along(row, first, base, [self.running.store], stored)
        return (
            *self._loaded(first, base),
            Transpose(self.square),
            For(step, 0, self.side, 1, "unroll", sums),
            Transpose(self.square),
            self._each(row, store),
        )

    def _loaded(self, first: Affine, base: Affine) -> list[Statement]:
        """The values, a row in each vector; what is long is not written out for every row."""
        row = self._var("row")
        body = [*self.running.values, Let(self.running.register, self.running.value)]
        if choose.cost(body) * self.side <= choose.SQUARE_LIMIT:
            named = {self.running.register: Ref(self.square, (affine(row),))}
            return [self._each(row, self._along(row, first, base, body, named))]
        scratch = Buffer("values", self.square.dtype, (self.side, self.side))
        computed = self._along(row, first, base, body, {})
        last = computed.body[-1]
        assert isinstance(last, Let)
        store = Store(scratch, (affine(row), affine(computed.var)), last.value)
        computed = replace(computed, body=(*computed.body[:-1], store))
        again, lane = self._var("row"), self._var("lane")
        load = Let(self.square, Load(scratch, (affine(again), affine(lane))), (affine(again),))
        return [
            Alloc(scratch),
            For(row, 0, self.side, 1, "serial", (computed,)),
            self._each(again, For(lane, 0, self.side, self.side, "vector", (load,))),
        ]

    def _along(
        self,
        row: Var,
        first: Affine,
        base: Affine,
        body: Sequence[Statement],
        registers: dict[Register, Ref],
    ) -> For:
        """Statements for one row of the square, its steps in the lanes."""
        lane = self._var("lane")
        table: dict[Atom, Affine] = {
            self.running.row.var: first + affine(row),
            self.running.step.var: base + affine(lane),
        }
        moved = Rewriter(table, registers, self.side, [lane]).body(body)
        return For(lane, 0, self.side, self.side, "vector", moved)

    def _rest(self, first: Affine) -> list[Statement]:
        """The steps after the last square, from what it stored on."""
        done = self.running.step.start + self.main
        if done == self.running.step.stop:
            return []
        store = self.running.store
        last = Rewriter({self.running.step.var: Affine(done - 1)}).indices(store.index)
        return [self._plain(first, self.side, Load(store.buffer, last), self.main)]

    def _plain(self, first: Affine, height: int, start: Expression, skipped: int) -> For:
        """Rows as they were, but for the steps that are done."""
        running = self.running
        var = Var("row", 0, height - 1)
        step = replace(running.step, start=running.step.start + skipped)
        body: list[Statement] = [Let(running.register, start), *running.lets, step]
        moved = Rewriter({running.row.var: first + affine(var)}).body(body)
        return For(var, 0, height, 1, "serial", moved)

    def _each(self, row: Var, vector: For) -> For:
        return For(row, 0, self.side, 1, "unroll", (vector,))

    def _var(self, name: str) -> Var:
        return Var(name, 0, self.side - 1)
