"""Rows whose sums read the same operand are added up side by side: it is loaded once for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from neurlang.codegen.machine import Machine
from neurlang.ir.apart import stores_apart
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Atom,
    For,
    Kernel,
    Ref,
    Statement,
    Store,
    Update,
    Var,
    affine,
    defined_in,
    loads_in,
    updated_in,
    uses_any,
    walk,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose


def jam(kernel: Kernel, machine: Machine) -> Kernel:
    """Take a few rows at a time where each is a sum of an operand that all rows read.

    A product with a vector loads as much of the vector as of the matrix, and the pairwise
    distances of rows as much of one row as of all others. With the loops of some rows in one, what
    they share is loaded once. Every sum adds as before. Needs vector loops; leaves rows alone that
    do not come out even, that keep scratch, or of which much is computed.
    """
    if kernel.schedule != "rows":
        return kernel
    return kernel.with_body([_jammed(statement, machine) for statement in kernel.body])


def _jammed(statement: Statement, machine: Machine) -> Statement:
    if not isinstance(statement, For) or statement.kind != "serial":
        return statement
    if len(statement.body) == 1 and isinstance(statement.body[0], For):
        return replace(statement, body=(_jammed(statement.body[0], machine),))
    if not _is_simple(statement):
        return statement
    sums = sum(math.prod(register.shape) for register in updated_in(statement.body))
    loads = loads_in(statement.body)
    own = max(load.buffer.nbytes for load in loads if uses_any(load.index, {statement.var}))
    rows = choose.rows_at_once(statement.trips, own, sums, machine)
    return _side_by_side(statement, rows) if rows > 1 else statement


def _is_simple(rows: For) -> bool:
    """Whether rows are sums over vectors, some of which all rows read, and nothing but stores."""
    inside = list(walk(rows.body))
    vectors = [s for s in inside if isinstance(s, For) and s.kind == "vector"]
    stored = {s.buffer for s in inside if isinstance(s, Store)}
    carried = set(updated_in(rows.body)) - defined_in(rows.body)
    return (
        rows.step == 1
        and bool(vectors)
        and all(_shares(loop, rows.var) for loop in vectors)
        and not carried
        and not any(isinstance(s, Alloc) for s in inside)
        and not any(load.buffer in stored for load in loads_in(rows.body))
        and stores_apart(rows)
    )


def _shares(loop: For, row: Var) -> bool:
    """Whether a vector loop only adds up, and reads vectors of a row's own and of all rows."""
    loads = [load for load in loads_in(loop.body) if uses_any(load.index, {loop.var})]
    own = [load for load in loads if uses_any(load.index, {row})]
    updates = all(isinstance(statement, Update) for statement in loop.body)
    return updates and 0 < len(own) < len(loads) and choose.waits_for_memory(loop.body)


def _side_by_side(rows: For, count: int) -> For:
    """The loop with `count` rows in an iteration, each with registers of its own."""
    var = Var(rows.var.name, rows.start, rows.stop - count)
    copies = []
    for number in range(count):
        atoms: dict[Atom, Affine] = {rows.var: affine(var) + number}
        registers = {}
        for register in defined_in(rows.body):
            new = replace(register, name=f"{register.name}_{number}")
            atoms[register], registers[register] = affine(new), Ref(new)
        copies.append(Rewriter(atoms, registers).body(rows.body))
    return replace(rows, var=var, step=count, body=tuple(_together(copies)))


def _together(copies: Sequence[Sequence[Statement]]) -> list[Statement]:
    """Statements of several rows one after the other, and their loops as one."""
    result: list[Statement] = []
    for same in zip(*copies, strict=True):
        first = same[0]
        if isinstance(first, For):
            bodies = [loop.body for loop in same if isinstance(loop, For)]
            result.append(replace(first, body=tuple(_together(bodies))))
        else:
            result += same
    return result
