"""Rows that are about to be stored are asked for while what they depend on is reduced."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Buffer,
    For,
    Kernel,
    Prefetch,
    Statement,
    Store,
    loads_in,
    walk,
)
from neurlang.passes.loops import choose


def prefetch_results(kernel: Kernel, machine: Machine) -> Kernel:
    """Ask for the lines of a row of a result in the loop over the row before that which stores it.

    A store needs the line that it changes in the first cache, and few stores can wait for theirs.
    The loops over a row that come after the first find it in a cache: memory is idle meanwhile.
    The first one waits for memory itself, so it is not given more to ask for. What is stored past
    the caches needs no line.
    """
    late = {b for b in kernel.outputs if choose.comes_late(b.nbytes, machine)}
    return kernel.with_body(_body(kernel.body, late)) if late else kernel


def _body(body: Sequence[Statement], late: set[Buffer]) -> list[Statement]:
    result = [
        statement.with_body(_body(statement.body, late))
        if isinstance(statement, For) and statement.kind in ("serial", "parallel")
        else statement
        for statement in body
    ]
    sweeps = [place for place, one in enumerate(result) if _is_sweep(one)]
    stored: set[Buffer] = set()
    for first, before, place in zip(sweeps, sweeps[1:], sweeps[2:]):
        stored |= {store.buffer for store in _stores(result[first:place])}
        for store in _stores([result[place]]):
            if store.buffer in late - stored and not store.nontemporal:
                result[before:place] = [_asking(one, store) for one in result[before:place]]
    return result


def _is_sweep(statement: Statement) -> bool:
    """Whether a statement is a loop of vectors over a long row, but for its end."""
    if not isinstance(statement, For) or statement.kind not in ("serial", "vector"):
        return False
    vectors = [one for one in walk([statement]) if isinstance(one, For) and one.kind == "vector"]
    sizes = (load.dtype.itemsize for load in loads_in(vectors[:1]))
    return (statement.stop - statement.start) * max(sizes, default=0) >= choose.LONG_ROW


def _stores(body: Sequence[Statement]) -> list[Store]:
    return [statement for statement in walk(body) if isinstance(statement, Store)]


def _asking(statement: Statement, store: Store) -> Statement:
    """The vector loops of a statement ask for the elements that stand where those do they load."""
    if not isinstance(statement, For):
        return statement
    if statement.kind != "vector":
        return statement.with_body([_asking(one, store) for one in statement.body])
    *row, _ = store.index
    for load in loads_in(statement.body):
        *outer, _ = load.index
        if outer == row and load.buffer.shape[-1:] == store.buffer.shape[-1:]:
            return statement.with_body((Prefetch(store.buffer, load.index), *statement.body))
    return statement


__all__ = ["prefetch_results"]
