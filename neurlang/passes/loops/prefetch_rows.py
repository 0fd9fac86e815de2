"""Rows that are needed soon are asked for while a loop reads what is in a cache already."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Buffer,
    For,
    Kernel,
    Load,
    Prefetch,
    Statement,
    Store,
    Var,
    loads_in,
    walk,
)
from neurlang.passes.loops import choose

_Place = Callable[[Load, For], Prefetch | None]


def prefetch_rows(kernel: Kernel, machine: Machine) -> Kernel:
    """Let the last loop that only reads a row ask for what comes next.

    The loops over a row that come after the first find it in a cache: memory is idle meanwhile.
    Where another loop stores a row of a result then, its lines are asked for: a store needs the
    line that it changes in the first cache, and few stores can wait for theirs; what is stored past
    the caches needs none. Where none does, the next row of the operand is asked for, on cores for
    which `prefetch` does not do so in the first loop.
    """
    stored = {b for b in kernel.outputs if choose.comes_late(b.nbytes, machine)}
    read = {b for b in kernel.inputs if choose.reads_ahead(b.nbytes, b.shape, machine)}
    if not stored and not read:
        return kernel
    return kernel.with_body(_body(kernel.body, None, stored, read))


def _body(
    body: Sequence[Statement], row: Var | None, stored: set[Buffer], read: set[Buffer]
) -> list[Statement]:
    """What asks for some results and for some operands; `row` counts in the loop around."""
    result = [
        statement.with_body(_body(statement.body, statement.var, stored, read))
        if isinstance(statement, For) and statement.kind in ("serial", "parallel")
        else statement
        for statement in body
    ]
    sweeps = [place for place, one in enumerate(result) if _span(one) >= choose.SWEEP]
    for before, place in itertools.pairwise(sweeps[1:]):
        wanted = stored - _stored(result[:place])
        if _span(result[place]) >= choose.LONG_ROW:
            for store in _stores([result[place]]):
                if store.buffer in wanted and not store.nontemporal:
                    result[before:place] = _with(result[before:place], _beside(store))
    if row is not None and len(sweeps) > 1 and not _stored(result) & stored:
        first, last = sweeps[0], sweeps[-1]
        if choose.reads_more_slowly(result[first], result[last]):
            again = read & {load.buffer for load in loads_in(result[first:last])}
            result[last:] = _with(result[last:], _next_row(row, again))
    return result


def _span(statement: Statement) -> int:
    """Bytes that a loop over a row moves over; 0 for what does not begin at a row's beginning."""
    if not isinstance(statement, For) or statement.kind not in ("serial", "vector"):
        return 0
    loads = [load for load in loads_in([statement]) if load.index and load.index[-1].low == 0]
    sizes = {load.dtype.itemsize for load in loads if load.index[-1].coefficient(statement.var)}
    return (statement.stop - statement.start) * max(sizes, default=0)


def _stores(body: Sequence[Statement]) -> list[Store]:
    return [statement for statement in walk(body) if isinstance(statement, Store)]


def _stored(body: Sequence[Statement]) -> set[Buffer]:
    return {store.buffer for store in _stores(body)}


def _beside(store: Store) -> _Place:
    """The elements of the stored row that stand where those do which are loaded."""
    *row, _ = store.index

    def place(load: Load, loop: For) -> Prefetch | None:
        *outer, _ = load.index
        same = outer == row and load.buffer.shape[-1:] == store.buffer.shape[-1:]
        return Prefetch(store.buffer, load.index) if same else None

    return place


def _next_row(row: Var, buffers: set[Buffer]) -> _Place:
    """The elements of some operands one row after those that are loaded."""

    def place(load: Load, loop: For) -> Prefetch | None:
        if load.buffer not in buffers or len(load.index) < 2:
            return None
        *_, number, last = load.index
        if number.coefficient(row) != 1 or last.coefficient(loop.var) != 1:
            return None
        return Prefetch(load.buffer, (*load.index[:-1], last + load.buffer.shape[-1]))

    return place


def _with(body: Sequence[Statement], place: _Place) -> list[Statement]:
    """Vector loops ask for what `place` finds for the first of their loads that it knows."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For) and statement.kind == "vector":
            found = (place(load, statement) for load in loads_in(statement.body))
            asked = [one for one in found if one is not None]
            statement = statement.with_body((*asked[:1], *statement.body))
        elif isinstance(statement, For):
            statement = statement.with_body(_with(statement.body, place))
        result.append(statement)
    return result


__all__ = ["prefetch_rows"]
