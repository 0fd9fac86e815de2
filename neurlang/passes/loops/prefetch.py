"""Rows that are read once, and added up as they come, are asked for before they are needed."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Buffer,
    For,
    Kernel,
    Load,
    Prefetch,
    Statement,
    Store,
    Update,
    Var,
    elements_loaded,
    loads_in,
)
from neurlang.passes.loops import choose


def prefetch(kernel: Kernel, machine: Machine) -> Kernel:
    """Ask for the cache lines of large operands some distance ahead, in vector loops that reduce.

    A processor finds streams by itself, but not across the end of a row, and stops at every page;
    a loop that does little else than read waits for it. The first loop over a row asks: for those
    after it the row has come. Beside stores there is nothing to gain.
    """
    large = {
        buffer
        for buffer, elements in elements_loaded(kernel.body).items()
        if buffer in kernel.inputs
        and choose.passes_through(elements, buffer.size)
        and choose.comes_late(buffer.nbytes, machine)
    }
    return kernel.with_body(_body(kernel.body, large)) if large else kernel


def _body(body: Sequence[Statement], left: set[Buffer]) -> list[Statement]:
    """Takes from `left` what the statements load: nobody after them has to ask for it."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For):
            if statement.kind == "vector" and _only_reads(statement):
                ahead = _ahead(statement, left)
                left -= _loaded(statement.body)
                statement = statement.with_body((*ahead, *statement.body))
            else:
                statement = statement.with_body(_body(statement.body, left))
        result.append(statement)
    left -= _loaded([statement for statement in body if not isinstance(statement, For)])
    return result


def _loaded(body: Sequence[Statement]) -> set[Buffer]:
    return {load.buffer for load in loads_in(body)}


def _only_reads(loop: For) -> bool:
    updates = any(isinstance(statement, Update) for statement in loop.body)
    stores = any(isinstance(statement, Store) for statement in loop.body)
    return updates and not stores and choose.waits_for_memory(loop.body)


def _ahead(loop: For, large: set[Buffer]) -> list[Statement]:
    """A statement for each place from which a large operand is read in order."""
    found: dict[object, Statement] = {}
    for load in loads_in(loop.body):
        if load.buffer in large and _is_contiguous(load, loop.var):
            distance = choose.PREFETCH_BYTES // load.dtype.itemsize
            *outer, last = load.index
            flat = load.buffer.flat(load.index)
            place = load.buffer, flat.constant, frozenset(flat.terms)
            found[place] = Prefetch(load.buffer, (*outer, last + distance))
    return list(found.values())


def _is_contiguous(load: Load, lane: Var) -> bool:
    return load.buffer.flat(load.index).coefficient(lane) == 1
