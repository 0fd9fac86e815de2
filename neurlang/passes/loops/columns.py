"""Reductions down columns: several vectors of columns side by side, rows streamed through them.

Eight rows are added as a tree, the trees with their rounding error carried along: a fixed order
that depends on the number of rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Atom,
    Buffer,
    Check,
    Expression,
    For,
    Let,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    accesses,
    affine,
    defined_in,
    index_registers,
    needed,
    registers_in,
    updated_in,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose
from neurlang.passes.loops.trees import compensated, finished_sum, literal_of, tree, two_sum


def vectorize_columns(body: Sequence[Statement], machine: Machine, threads: int) -> list[Statement]:
    """Vectorise the loop around the innermost ones; its iterations lie side by side in lanes."""
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif any(isinstance(s, For) and _is_flat(s) for s in statement.body):
            result.extend(_Columns(statement, machine, threads).statements())
        else:
            result.append(
                replace(statement, body=tuple(vectorize_columns(statement.body, machine, threads)))
            )
    return result


def _is_flat(loop: For) -> bool:
    return not any(isinstance(statement, For) for statement in loop.body)


def _values(loop: For) -> list[Statement]:
    """What a loop down the rows computes, without the registers that it adds to."""
    return [Let(s.register, s.value) if isinstance(s, Update) else s for s in loop.body]


class _Columns:
    def __init__(self, loop: For, machine: Machine, threads: int) -> None:
        self.loop = loop
        self.machine = machine
        sweeps = [statement for statement in loop.body if isinstance(statement, For)]
        self.lanes = choose.lanes(sweeps, machine)
        self.vectors = choose.column_vectors(sweeps)
        self.block = choose.column_block(loop.stop, self.lanes, loop.body, machine, threads)

    def statements(self) -> list[Statement]:
        return self._blocks() if self.block else self._tiles()

    def _tiles(self) -> list[Statement]:
        """Several vectors of columns, whose sums are registers, go down all rows."""
        count = self.loop.stop
        width = self.vectors * self.lanes
        main = count // width * width
        result: list[Statement] = []
        if main:
            var = Var(f"{self.loop.var.name}_tile", 0, main - width)
            tile = _Tile(self.loop, affine(var), self.lanes, self.vectors, 0)
            result.append(For(var, 0, main, width, "serial", tuple(tile.statements())))
        if main < count:
            full, partial = divmod(count - main, self.lanes)
            tile = _Tile(self.loop, Affine(main), self.lanes, full, partial)
            # one trip: a loop so that its registers are its own
            var = Var(f"{self.loop.var.name}_tile", main, main)
            result.append(For(var, main, main + 1, 1, "serial", tuple(tile.statements())))
        return result

    def _blocks(self) -> list[Statement]:
        """Blocks of columns, whose sums wait in scratch memory; the last may be smaller."""
        count, width = self.loop.stop, self.block
        main = count // width * width
        result: list[Statement] = []
        for start, stop, size in ((0, main, width), (main, count, count - main)):
            if start < stop:
                var = Var(f"{self.loop.var.name}_block", start, stop - size)
                block = _Block(self.loop, affine(var), self.machine, size)
                result.append(For(var, start, stop, size, "serial", tuple(block.statements())))
        return result


class _Tile:
    """`full` vectors of columns from `base`, and `partial` more columns."""

    def __init__(
        self, loop: For, base: Affine, lanes: int, full: int, partial: int, width: int = 0
    ) -> None:
        width = self.width = width or full * lanes + partial
        self.scratch = {
            s.buffer: replace(s.buffer, shape=(*s.buffer.shape, width))
            for s in loop.body
            if isinstance(s, Alloc)
        }
        self.loop = _in_wide_scratch(loop, self.scratch, base) if self.scratch else loop
        self.base = base
        self.lanes = lanes
        self.full = full
        self.partial = partial
        self.vectors = full + (partial > 0)
        body = self.loop.body
        carried, indices = updated_in(body), needed(body, index_registers(body))
        self.indices = [let for let in indices if let.register not in carried]
        self.arrays = {
            register: Register(register.name, register.dtype, lanes, (full + (partial > 0),))
            for register in self._crossing()
        }

    def _crossing(self) -> list[Register]:
        """Registers of the column's own body: they live on from one sweep to the next."""
        lets = (s for s in self.loop.body if isinstance(s, Let) and s not in self.indices)
        return [let.register for let in lets]

    def statements(self) -> list[Statement]:
        result: list[Statement] = []
        run: list[Statement] = []
        for statement in self.loop.body:
            if isinstance(statement, For):
                result += self._spread(run)
                result += self._rows(statement)
                run = []
            elif statement not in self.indices:
                run.append(statement)
        return [*map(Alloc, self.scratch.values()), *result, *self._spread(run)]

    def _spread(
        self, run: Sequence[Statement], more: dict[Register, Register] | None = None
    ) -> list[Statement]:
        """Plain statements for every column of the tile, and before them the indices they need.

        An index is no element of a register array, so those are made anew in each sweep.
        """
        if not run:
            return []
        run = [*needed(self.indices, registers_in(run)), *run]
        result: list[Statement] = []
        if self.full:
            v = Var("v", 0, self.full - 1)
            lane = Var(self.loop.var.name, 0, self.lanes - 1)
            body = self._renewed(run, affine(v), lane, more)
            vector = For(lane, 0, self.lanes, self.lanes, "vector", body)
            result.append(For(v, 0, self.full, 1, "unroll", (vector,)))
        if self.partial:
            lane = Var(self.loop.var.name, 0, self.partial - 1)
            body = self._renewed(run, Affine(self.full), lane, more)
            result.append(For(lane, 0, self.partial, self.lanes, "vector", body))
        return result

    def _renewed(
        self,
        run: Sequence[Statement],
        which: Affine,
        lane: Var,
        more: dict[Register, Register] | None,
    ) -> tuple[Statement, ...]:
        registers = {old: Ref(new, (which,)) for old, new in self.arrays.items()}
        for old, new in (more or {}).items():
            registers[old] = Ref(new, (which,))
        column = self.base + which * self.lanes + affine(lane)
        rewriter = Rewriter({self.loop.var: column}, registers, self.lanes, [lane])
        rewriter.varying.update(found.register for found in registers.values())
        return rewriter.body(run)

    def _rows(self, loop: For) -> list[Statement]:
        """The loop down the rows: eight at a time, then the rest."""
        carried = updated_in(loop.body)
        if not carried:
            return [replace(loop, body=tuple(self._spread(loop.body)))]
        step = choose.TREE_ROWS
        count = loop.stop - loop.start
        main = count // step * step
        long = count > step
        result: list[Statement] = []
        errors: dict[Register, Register] = {}
        for register, op in carried.items():
            if long and compensated(op, register.dtype):
                shape = self.arrays[register].shape
                name = f"{register.name}error"
                errors[register] = Register(name, register.dtype, self.lanes, shape)
        for register, array in errors.items():
            start = Let(array, literal_of("add", register.dtype), ())
            result += self._spread_arrays([start], array)
        proxies = {r: Register(f"{r.name}error", r.dtype) for r in errors}
        more = {proxies[r]: errors[r] for r in errors}
        if main:
            var = Var(loop.var.name, loop.start, loop.start + main - step)
            inner = tuple(self._group(loop, affine(var), step, proxies, more))
            result.append(For(var, loop.start, loop.start + main, step, "serial", inner))
        if main < count:
            rest = count - main
            result += self._group(loop, Affine(loop.start + main), rest, proxies, more)
        for register, proxy in proxies.items():
            done = Update(register, "set", finished_sum(Ref(register), Ref(proxy)))
            result += self._spread([done], more)
        return result

    def _spread_arrays(self, lets: Sequence[Let], array: Register) -> list[Statement]:
        count = array.shape[0]
        v = Var("v", 0, count - 1)
        body = tuple(Let(array, let.value, (affine(v),)) for let in lets)
        return [For(v, 0, count, 1, "unroll", body)]

    def _group(
        self,
        loop: For,
        base: Affine,
        rows: int,
        proxies: dict[Register, Register],
        more: dict[Register, Register],
    ) -> list[Statement]:
        """Some rows of every carried register, as one tree, for every column of the tile."""
        crossing = registers_in(_values(loop)) & set(self.arrays)
        if choose.copies_are_short(loop.body, rows * self.vectors) or crossing:
            return self._spread(self._added(loop, base, rows, proxies), more)
        return self._through_scratch(loop, base, rows, proxies, more)

    def _through_scratch(
        self,
        loop: For,
        base: Affine,
        rows: int,
        proxies: dict[Register, Register],
        more: dict[Register, Register],
    ) -> list[Statement]:
        """The same where the values take much to compute: one small loop stores them first."""
        width = self.full * self.lanes + self.partial
        row, column = Var(loop.var.name, 0, rows - 1), Var(self.loop.var.name, 0, width - 1)
        table: dict[Atom, Affine] = {
            loop.var: base + affine(row),
            self.loop.var: self.base + affine(column),
        }
        lets = needed(self.indices, registers_in(loop.body))
        rewriter = Rewriter(table, lanes=self.lanes, varying=[column])
        scratch: list[Statement] = []
        body: list[Statement] = []
        sums: list[Statement] = []
        here = affine(self.loop.var) + self.base * -1
        for statement in rewriter.body([*lets, *loop.body]):
            if isinstance(statement, Update) and statement.register in self.arrays:
                register = statement.register
                place = Buffer(f"{register.name}s", register.dtype, (rows, width))
                scratch.append(Alloc(place))
                body.append(Store(place, (affine(row), affine(column)), statement.value))
                value = Load(place, (affine(loop.var), here))
                sums.append(Update(register, statement.op, value))
            else:
                body.append(statement)
        vectors = For(column, 0, width, self.lanes, "vector", tuple(body))
        fill = For(row, 0, rows, 1, "serial", (vectors,))
        adding = replace(loop, body=tuple(sums))
        return [*scratch, fill, *self._spread(self._added(adding, Affine(), rows, proxies), more)]

    def _added(
        self, loop: For, base: Affine, rows: int, proxies: dict[Register, Register]
    ) -> list[Statement]:
        """Rows base .. base + rows - 1 of every carried register, as one tree."""
        values: dict[Register, list[Expression]] = {}
        ops = updated_in(loop.body)
        result: list[Statement] = []
        inner = defined_in(loop.body)
        for row in range(rows):
            rewriter = Rewriter({loop.var: base + row})
            for statement in rewriter.body(loop.body):
                if isinstance(statement, Update) and statement.register not in inner:
                    values.setdefault(statement.register, []).append(statement.value)
                else:
                    result.append(statement)
        for register, found in values.items():
            whole = tree(ops[register], found, register.dtype)
            if register in proxies:
                result += two_sum(Ref(register), Ref(proxies[register]), whole, 1)
            else:
                result.append(Update(register, ops[register], whole))
        return result


class _Block(_Tile):
    """Columns whose sums are elements of scratch memory: rows are read in long pieces."""

    def __init__(self, loop: For, base: Affine, machine: Machine, width: int) -> None:
        super().__init__(loop, base, 1, 1, 0, width)
        self.machine = machine
        self.whole = -(-width // machine.lanes(2)) * machine.lanes(2)  # in whole vectors
        self.places: dict[Register, Buffer] = {}

    def statements(self) -> list[Statement]:
        body = super().statements()
        return [*map(Alloc, self.places.values()), *body]

    def _spread(
        self, run: Sequence[Statement], more: dict[Register, Register] | None = None
    ) -> list[Statement]:
        if not run:
            return []
        run = [*needed(self.indices, registers_in(run)), *run]
        column = Var(self.loop.var.name, 0, self.whole - 1)
        kept = {old: self._place(new) for old, new in {**self.arrays, **(more or {})}.items()}
        atoms: dict[Atom, Affine] = {self.loop.var: self.base + affine(column)}
        lanes = self._lanes(run)
        body = _InScratch(kept, affine(column), atoms, lanes, column).body(run)
        return [self._along(column, lanes, body)]

    def _spread_arrays(self, lets: Sequence[Let], array: Register) -> list[Statement]:
        column = Var(self.loop.var.name, 0, self.whole - 1)
        body = tuple(Store(self._place(array), (affine(column),), let.value) for let in lets)
        return [self._along(column, choose.lanes(body, self.machine), body)]

    def _along(self, column: Var, lanes: int, body: tuple[Statement, ...]) -> For:
        """A loop along the columns; one that stays in scratch runs on to the end of the vectors."""
        places = set(self.places.values())
        inside = all(buffer in places for buffer, _ in accesses(body))
        if not inside or any(isinstance(statement, Check) for statement in body):
            return For(column, 0, self.width, lanes, "vector", body)
        return For(column, 0, self.whole, lanes, "vector", body)

    def _lanes(self, run: Sequence[Statement]) -> int:
        """As in other loops; registers of the columns are stored here, and count as what is."""
        registers = {s.register for s in run if isinstance(s, Let) and s.register in self.arrays}
        stored = [self.machine.lanes(max(2, r.dtype.itemsize)) for r in registers]
        return min([choose.lanes(run, self.machine), *stored])

    def _place(self, array: Register) -> Buffer:
        if array not in self.places:
            self.places[array] = Buffer(f"{array.name}s", array.dtype, (self.whole,))
        return self.places[array]


def _in_wide_scratch(loop: For, wide: dict[Buffer, Buffer], base: Affine) -> For:
    """The loop over columns with scratch that holds all columns from `base`."""
    body = [statement for statement in loop.body if not isinstance(statement, Alloc)]
    return replace(loop, body=_InWideScratch(wide, affine(loop.var) + base * -1).body(body))


class _InWideScratch(Rewriter):
    """Copies statements of a column whose scratch lies in a buffer for several columns."""

    def __init__(self, wide: dict[Buffer, Buffer], column: Affine) -> None:
        super().__init__({})
        self.wide = wide
        self.column = column

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Load) and expression.buffer in self.wide:
            index = (*self.indices(expression.index), self.column)
            return Load(self.wide[expression.buffer], index)
        return super().expression(expression)

    def statement(self, statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer in self.wide:
            index = (*self.indices(statement.index), self.column)
            return Store(self.wide[statement.buffer], index, self.expression(statement.value))
        return super().statement(statement)


class _InScratch(Rewriter):
    """Copies statements for the columns of a block; registers of theirs are elements of scratch."""

    def __init__(
        self,
        places: dict[Register, Buffer],
        column: Affine,
        atoms: dict[Atom, Affine],
        lanes: int,
        var: Var,
    ) -> None:
        super().__init__(atoms, lanes=lanes, varying=[var])
        self.places = places
        self.column = column

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Ref) and expression.register in self.places:
            return Load(self.places[expression.register], (self.column,))
        return super().expression(expression)

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case Let(register, value) if register in self.places:
                return Store(self.places[register], (self.column,), self.expression(value))
            case Update(register, op, value) if register in self.places:
                place, new = self.places[register], self.expression(value)
                if op != "set":
                    new = Apply(op, (Load(place, (self.column,)), new), register.dtype)
                return Store(place, (self.column,), new)
            case _:
                return super().statement(statement)
