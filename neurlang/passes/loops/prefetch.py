"""Rows that are read once, and added up as they come, are asked for before they are needed."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Atom,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Prefetch,
    Statement,
    Store,
    Update,
    Var,
    affine,
    elements_loaded,
    loads_in,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose


def prefetch(kernel: Kernel, machine: Machine) -> Kernel:
    """Ask for the cache lines of large operands some distance ahead, in vector loops that reduce.

    A processor finds streams by itself, but not across the end of a row, and stops at every page;
    a loop that does little else than read waits for it. The first loop over a row asks: for those
    after it the row has come. Beside stores there is nothing to gain.

    The tiles of a product that read a large right operand in place ask for what the tiles beside
    them read: pieces of the same rows, too short for a processor to take them for streams.
    """
    if kernel.schedule == "tiles":
        late = {b for b in kernel.inputs if choose.comes_late(b.nbytes, machine)}
        return kernel.with_body(_tiles(kernel.body, late)) if late else kernel
    large = {
        buffer
        for buffer, elements in elements_loaded(kernel.body).items()
        if buffer in kernel.inputs
        and choose.asks_ahead(elements, buffer.size, buffer.nbytes, machine)
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
    return updates and not stores and choose.waits_for_memory(loop.body, _sums(loop))


def _sums(loop: For) -> int:
    """How many rows are added up side by side."""
    return len({statement.register for statement in loop.body if isinstance(statement, Update)})


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


def _tiles(body: Sequence[Statement], late: set[Buffer]) -> list[Statement]:
    """Loops over tiles, in whose steps of k stand prefetches."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For) and statement.kind not in ("vector", "unroll"):
            beside = _beside(statement, late)
            inside = _tiles(statement.body, late)
            statement = statement.with_body((*beside, *inside))
        result.append(statement)
    return result


def _beside(step: For, late: set[Buffer]) -> list[Statement]:
    """What the tile to the right reads of the rows that a step of k reads here."""
    found: list[Statement] = []
    loops = [loop for loop in step.body if isinstance(loop, For)]
    wide = [loop for loop in loops if loop.kind == "unroll" and _is_vector(loop.body)]
    for across in wide:
        (vector,) = across.body
        assert isinstance(vector, For)
        if not all(isinstance(statement, Let) for statement in vector.body):
            continue
        width = across.trips * vector.step
        for load in loads_in(vector.body):
            apart = load.buffer.flat(load.index).coefficient(step.var)
            if load.buffer in late and _is_contiguous(load, vector.var) and apart not in (0, 1):
                first: dict[Atom, Affine] = {vector.var: Affine(), across.var: Affine()}
                *outer, last = Rewriter(first).indices(load.index)
                line = Var("line", 0, width - 1)
                size = max(1, choose.CACHE_LINE // load.dtype.itemsize)
                ask = Prefetch(load.buffer, (*outer, last + affine(line) + width))
                found.append(For(line, 0, width, size, "unroll", (ask,)))
    return found


def _is_vector(body: Sequence[Statement]) -> bool:
    return len(body) == 1 and isinstance(body[0], For) and body[0].kind == "vector"
