"""What a scatter reads is made ready a block at a time, so that only its additions are serial."""

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
    Kernel,
    Let,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Var,
    affine,
    expressions_of,
    parts,
    registers_of,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose


def distribute(kernel: Kernel, machine: Machine) -> Kernel:
    """Split `for i: place = f(i); out[place] += g(i)` into a vector loop and a serial one.

    For each block of i the vector loop finds and checks the places and computes the values, and
    keeps them in scratch; the serial loop stores, in order. Needs loops whose store lies where
    data says, in kernels that keep the order of their innermost loops; leaves alone what reads
    what it stores to find a place or a value.
    """
    if kernel.schedule not in ("fixed", "scan"):
        return kernel
    return kernel.with_body(_body(kernel.body, machine))


def _body(body: Sequence[Statement], machine: Machine) -> list[Statement]:
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif any(isinstance(inner, For) for inner in statement.body):
            result.append(replace(statement, body=tuple(_body(statement.body, machine))))
        else:
            result.extend(_distributed(statement, machine))
    return result


def _distributed(loop: For, machine: Machine) -> list[Statement]:
    *before, store = loop.body
    if not isinstance(store, Store) or not all(isinstance(s, Let | Check) for s in before):
        return [loop]
    if not _places(store) or loop.trips < choose.SCATTER_BLOCK or loop.step != 1:
        return [loop]
    split = _Split(loop, before, store, choose.lanes(before, machine))
    return [loop] if split.reads_its_target() else split.statements()


def _places(store: Store) -> list[Register]:
    """The registers that say where a store goes."""
    atoms = (atom for index in store.index for atom, _ in index.terms)
    return list(dict.fromkeys(atom for atom in atoms if isinstance(atom, Register)))


class _Split:
    def __init__(self, loop: For, before: Sequence[Statement], store: Store, lanes: int) -> None:
        self.loop = loop
        self.before = before
        self.store = store
        self.lanes = lanes
        self.value = _updating_value(store)

    def reads_its_target(self) -> bool:
        """Whether a place or a value depends on what the loop stores."""
        found = [e for statement in self.before for e in expressions_of(statement)]
        return any(
            isinstance(part, Load) and part.buffer is self.store.buffer
            for expression in (*found, self.value)
            for part in parts(expression)
        )

    def statements(self) -> list[Statement]:
        """Whole blocks, then the rest."""
        size = choose.SCATTER_BLOCK
        start, stop = self.loop.start, self.loop.stop
        main = start + (stop - start) // size * size
        var = Var(f"{self.loop.var}_block", start, main - size)
        block = tuple(self._block(affine(var), size))
        result: list[Statement] = [For(var, start, main, size, "serial", block)]
        if main < stop:
            result += self._block(Affine(main), stop - main)
        return result

    def _block(self, base: Affine, size: int) -> list[Statement]:
        kept = {r: Buffer("place", r.dtype, (size,)) for r in _places(self.store)}
        values = Buffer("value", self.value.dtype, (size,)) if self._is_computed() else None
        lane = Var(self.loop.var.name, 0, size - 1)
        here = (affine(lane),)
        ready = [Store(buffer, here, Ref(register)) for register, buffer in kept.items()]
        if values is not None:
            ready.append(Store(values, here, self.value))
        table: dict[Atom, Affine] = {self.loop.var: base + affine(lane)}
        rewriter = Rewriter(table, lanes=self.lanes, varying=[lane])
        vector = rewriter.body([*self.before, *ready])
        buffers = [*kept.values(), *([] if values is None else [values])]
        return [
            *(Alloc(buffer) for buffer in buffers),
            For(lane, 0, size, self.lanes, "vector", vector),
            self._stores(base, size, kept, values),
        ]

    def _is_computed(self) -> bool:
        """Whether a value is more than an element that lies in order."""
        return not isinstance(self.value, Load) or bool(registers_of([self.value]))

    def _stores(
        self, base: Affine, size: int, kept: dict[Register, Buffer], values: Buffer | None
    ) -> For:
        """The loop that stores, in order."""
        var = Var(self.loop.var.name, 0, size - 1)
        here = (affine(var),)
        found = [Let(replace(r), Load(buffer, here)) for r, buffer in kept.items()]
        names = {old: let.register for old, let in zip(kept, found)}
        table: dict[Atom, Affine] = {self.loop.var: base + affine(var)}
        table |= {old: affine(new) for old, new in names.items()}
        rewriter = Rewriter(table, {old: Ref(new) for old, new in names.items()})
        store = self.store
        if values is not None:
            store = replace(store, value=_with_value(store, Load(values, here)))
        moved = rewriter.statement(store)
        unroll = choose.SCATTER_UNROLL if size % choose.SCATTER_UNROLL == 0 else 1
        return For(var, 0, size, 1, "serial", (*found, moved), unroll)


def _updating_value(store: Store) -> Expression:
    """The v of `out[place] = out[place] + v`, or what is stored."""
    match store.value:
        case Apply(args=(Load(buffer=buffer), value)) if buffer is store.buffer:
            return value
        case value:
            return value


def _with_value(store: Store, value: Expression) -> Expression:
    match store.value:
        case Apply(op, (Load(buffer=buffer) as old, _), dtype) if buffer is store.buffer:
            return Apply(op, (old, value), dtype)
        case _:
            return value
