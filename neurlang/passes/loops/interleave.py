"""Rows of few elements lie across vectors: the loops along them are written out.

    for i: s = 0; for r in 0..3: s += x[i, r]   ->   for i: s = 0 + ((x[i, 0] + x[i, 2]) + x[i, 1])

The loop around then becomes the vector loop, with a row in each lane. Loops that fill such rows one
place after the other, as those of `stack` do, become one loop first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Buffer,
    Check,
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
    accesses,
    affine,
    defined_in,
    expressions_of,
    loads_in,
    registers_of,
    updated_in,
    walk,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.rows import LONGEST_ROW, filled_rows, row_stride
from neurlang.passes.loops import choose


def interleave(kernel: Kernel) -> Kernel:
    """Write out loops along short rows, where all that they access lies in such rows.

    What they store must fill rows, so that whole vectors are written. The bits are those of the
    reductions' trees, which are wider than a row. Leaves alone what is stored where data says.
    """
    if kernel.schedule != "rows":
        return kernel
    return kernel.with_body([_written_out(statement) for statement in _joined(kernel.body)])


# loops that fill rows, side by side


def _joined(body: Sequence[Statement]) -> list[Statement]:
    """Neighbouring loops that store to the same rows as one."""
    result: list[Statement] = []
    for statement in body:
        one = _as_one(result[-1], statement) if result else None
        if one is None:
            result.append(statement)
        else:
            result[-1] = one
    return result


def _as_one(first: Statement, second: Statement) -> For | None:
    """Two loops over the same range as one; None where that is wrong, or of no use."""
    if not isinstance(first, For) or not isinstance(second, For):
        return None
    shape = [(loop.start, loop.stop, loop.step, loop.kind) for loop in (first, second)]
    if shape[0] != shape[1] or first.kind != "serial":
        return None
    body = Rewriter({second.var: affine(first.var)}).body(second.body)
    rows = _rows_stored(first)
    if len(rows) == 1 and None not in rows and rows == _rows_stored(replace(first, body=body)):
        return replace(first, body=(*first.body, *body))
    if len(first.body) == len(body) == 1:
        inner = _as_one(first.body[0], body[0])
        return None if inner is None else replace(first, body=(inner,))
    return None


def _rows_stored(loop: For) -> set[tuple[Buffer, int] | None]:
    """The buffers whose rows a loop stores to, and how long those are; None for other stores, and
    for what it carries from one iteration to the next."""
    carried = updated_in(loop.body).keys() - defined_in(loop.body)
    rows: set[tuple[Buffer, int] | None] = {None} if carried else set()
    for statement in walk(loop.body):
        if isinstance(statement, Store):
            stride = row_stride(statement, loop.var)
            rows.add((statement.buffer, stride) if stride else None)
    loaded = {load.buffer for load in loads_in(loop.body)}
    return {None if row is None or row[0] in loaded else row for row in rows}


# loops along rows


def _written_out(statement: Statement) -> Statement:
    if not isinstance(statement, For):
        return statement
    loop = replace(statement, body=tuple(map(_written_out, statement.body)))
    if not choose.rows_lie_across(loop) or not _is_regular(loop):
        return loop
    body = _Copies(loop.body).result
    stores = [n for n, s in enumerate(body) if isinstance(s, Store) and row_stride(s, loop.var)]
    filled = sorted(place for row in filled_rows(body, loop.var) for place in row)
    return replace(loop, body=tuple(body)) if stores == filled else loop


def _is_regular(loop: For) -> bool:
    """Whether all that is accessed outside of scratch lies in short rows, by the loop's variable,
    or is read where data says, and inner loops carry nothing on but reductions."""
    inside = list(walk(loop.body))
    if not all(isinstance(s, Let | Update | Store | Alloc | Check | For) for s in inside):
        return False
    scratch = {statement.buffer for statement in inside if isinstance(statement, Alloc)}
    stored = {statement.buffer for statement in inside if isinstance(statement, Store)}
    own, gathers = defined_in(loop.body), choose.gathers_lie_across(loop)
    for buffer, index in accesses(loop.body):
        flat = buffer.flat(index)
        if any(atom in own for atom, _ in flat.terms):
            if buffer in stored or not gathers:
                return False
        elif buffer not in scratch and abs(flat.coefficient(loop.var)) > LONGEST_ROW:
            return False
    return all(_only_reduces(inner) for inner in inside if isinstance(inner, For))


def _only_reduces(loop: For) -> bool:
    """Whether what a loop carries from one iteration to the next is read by nothing in it."""
    carried = updated_in(loop.body).items()
    read = registers_of(e for statement in walk(loop.body) for e in expressions_of(statement))
    own = defined_in(loop.body)
    return not any(op == "set" or (r in read and r not in own) for r, op in carried)


class _Copies(Rewriter):
    """Statements with every loop written out, and scratch in registers."""

    def __init__(self, body: Sequence[Statement]) -> None:
        super().__init__({})
        self.result: list[Statement] = []
        self.kept: dict[tuple[Buffer, tuple[Affine, ...]], Ref] = {}
        self.scratch: set[Buffer] = set()
        self.suffix = ""
        self._add(body, {})

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Load) and expression.buffer in self.scratch:
            return self.kept[expression.buffer, self.indices(expression.index)]
        return super().expression(expression)

    def _named(self, name: str, value: Expression, low: int = 0, high: int = 0) -> Ref:
        register = Register(name + self.suffix, value.dtype, low=low, high=high)
        self.result.append(Let(register, value))
        return Ref(register)

    def _add(
        self, body: Sequence[Statement], sums: dict[tuple[Register, str], list[Expression]]
    ) -> None:
        """Copy statements; what is added to registers of the outside is collected."""
        own = defined_in(body)
        for statement in body:
            match statement:
                case Alloc(buffer):
                    self.scratch.add(buffer)
                case For():
                    self._write_out(statement)
                case Let(register, value):
                    new = self.expression(value)
                    found = self._named(register.name, new, register.low, register.high)
                    self.registers[register] = found
                    self.atoms[register] = affine(found.register)
                case Update(register, op, value) if register in own:
                    self._update(register, op, self.expression(value))
                case Update(register, op, value):
                    found = self._named(register.name, self.expression(value))
                    sums.setdefault((register, op), []).append(found)
                case Store(buffer, index, value) if buffer in self.scratch:
                    key = buffer, self.indices(index)
                    self.kept[key] = self._named(buffer.name, self.expression(value))
                case _:
                    self.result.append(self.statement(statement))

    def _update(self, register: Register, op: str, value: Expression) -> None:
        old = self.expression(Ref(register))
        name = f"{register.name}_all"
        self.registers[register] = self._named(name, Apply(op, (old, value), register.dtype))

    def _write_out(self, loop: For) -> None:
        sums: dict[tuple[Register, str], list[Expression]] = {}
        outside = self.suffix
        for number in range(loop.start, loop.stop):
            self.atoms[loop.var] = Affine(number)
            self.suffix = f"{outside}_{number}"
            self._add(loop.body, sums)
        self.suffix = outside
        for (register, op), values in sums.items():
            self._update(register, op, _tree(op, values))


def _tree(op: str, values: Sequence[Expression]) -> Expression:
    """Values combined by halves, as the lanes of a vector are."""
    found = list(values)
    while len(found) > 1:
        half = 1 << (len(found) - 1).bit_length() - 1
        pairs = zip(found[:half], found[half:])
        combined: list[Expression] = [Apply(op, pair, pair[0].dtype) for pair in pairs]
        found = combined + found[len(combined) : half]
    return found[0]
