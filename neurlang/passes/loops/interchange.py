"""Loops change places where what is read lies along one that is far outside.

    for i: for j: for k: out[i, j, k] = x[k, j, i]   ->   for j: for i: for k: ...

The two loops along which memory lies, those of the result and of the operand, are the inner ones
then: `tile` and `transpose` make blocks and squares of them. Where rows of the operand are short,
the loop along them comes last, and `interleave` writes it out:

    for i in 0..3: for k: out[i, k] = x[k, i]        ->   for k: for i in 0..3: ...
"""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.ir.apart import stores_apart
from neurlang.ir.loops import (
    Apply,
    For,
    Kernel,
    Let,
    Load,
    Statement,
    Store,
    depends_on,
    expressions_of,
    loads_in,
    parts,
)
from neurlang.passes.loops import choose
from neurlang.passes.loops.collapse import merged
from neurlang.passes.loops.products import nest


def interchange(kernel: Kernel) -> Kernel:
    """Move the loop along which a load is contiguous next to the innermost one, which it crosses.

    Needs loops right inside of each other, in any order of which the same is computed: simple
    statements that store apart, and load nothing of that. Leaves a nest as it is where something
    costly would be computed more often. Loops of the new nest that count on become one.
    """
    if kernel.schedule != "rows":
        return kernel
    return kernel.with_body([_interchanged(statement) for statement in kernel.body])


def _interchanged(statement: Statement) -> Statement:
    loops, body = _nest_of(statement)
    if len(loops) < 2 or not _in_any_order(loops, body):
        return statement
    found = _across(loops, body)
    if found is None:
        return statement
    load, place = found
    order = _order(loops, load, place)
    if order != loops and _computes_more(loops[place], loops[place + 1 :], order, body):
        return statement
    return _merged(order, body)


def _nest_of(statement: Statement) -> tuple[list[For], Sequence[Statement]]:
    """Loops right inside of each other, and what the innermost one does."""
    loops: list[For] = []
    body: Sequence[Statement] = [statement]
    while len(body) == 1 and isinstance(body[0], For):
        loops.append(body[0])
        body = body[0].body
    return loops, body


def _in_any_order(loops: Sequence[For], body: Sequence[Statement]) -> bool:
    """Whether it makes no difference which iteration comes first."""
    if not all(isinstance(statement, Let | Store) for statement in body):
        return False
    if not all(loop.kind == "serial" and loop.window is None for loop in loops):
        return False
    stored = {statement.buffer for statement in body if isinstance(statement, Store)}
    loaded = {load.buffer for load in loads_in(body)}
    return not stored & loaded and all(map(stores_apart, loops))


def _across(loops: Sequence[For], body: Sequence[Statement]) -> tuple[Load, int] | None:
    """A load that steps far along the innermost loop, and which loop it goes along, if it varies
    with all from there on: else its elements are few, and stay in a cache."""
    *outer, inner = loops
    for load in loads_in(body):
        flat = load.buffer.flat(load.index)
        if abs(flat.coefficient(inner.var)) > 1:
            for place, loop in enumerate(outer):
                varies = all(flat.coefficient(other.var) for other in loops[place:])
                if flat.coefficient(loop.var) == 1 and varies:
                    return load, place
    return None


def _order(loops: Sequence[For], load: Load, place: int) -> list[For]:
    """The loops with the one that the load goes along next to the innermost one, or last."""
    along, inner = loops[place], loops[-1]
    rest = [*loops[:place], *loops[place + 1 : -1]]
    row = abs(load.buffer.flat(load.index).coefficient(inner.var))
    if row == along.trips and choose.is_short_row(row, inner.trips):
        return [*rest, inner, along]
    return [*rest, along, inner]


def _computes_more(
    along: For, inside: Sequence[For], order: Sequence[For], body: Sequence[Statement]
) -> bool:
    """Whether something costly that changes with a loop is the same for one that it is now in."""
    passed = [loop for loop in inside if loop in order[: order.index(along)]]
    return any(
        isinstance(part, Apply)
        and choose.is_costly(part.op)
        and depends_on(part, {along.var})
        and not all(depends_on(part, {loop.var}) for loop in passed)
        for statement in body
        for expression in expressions_of(statement)
        for part in parts(expression)
    )


def _merged(loops: list[For], body: Sequence[Statement]) -> Statement:
    """The nest, with loops that follow each other in memory as one."""
    place = 0
    while place + 1 < len(loops):
        one = merged(loops[place], loops[place + 1], body)
        if one is None:
            place += 1
        else:
            loops[place : place + 2] = [one]
            body = one.body
    return nest(loops, body)
