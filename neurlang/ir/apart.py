"""Whether the iterations of a loop may run at once, and what loops store there."""

from __future__ import annotations

import math

from neurlang.ir.loops import Affine, Alloc, Atom, Buffer, For, Store, uses_any, walk

Row = tuple[int, int, int]  # axis, factor of a loop's variable, addend; or -1, length, period


def stores_apart(loop: For) -> bool:
    """Whether every store outside of the loop's own scratch depends on its variable.

    Iterations of others, such as ranges of k whose sums wait in the result, cannot run at once.
    A variable depends on it whose window moves with it, and does not overlap itself.
    """
    inside = list(walk(loop.body))
    own = {statement.buffer for statement in inside if isinstance(statement, Alloc)}
    moving: set[Atom] = {loop.var}
    for statement in inside:
        if isinstance(statement, For) and statement.window is not None:
            step = statement.window.first.coefficient(loop.var) * loop.step
            if abs(step) >= statement.window.length:
                moving.add(statement.var)
    return all(
        statement.buffer in own or uses_any([statement.buffer.flat(statement.index)], moving)
        for statement in inside
        if isinstance(statement, Store)
    )


def rows_agree(first: For, second: For) -> bool:
    """Whether two loops over one range store in each iteration to parts of their common buffers
    that no other iteration of either stores to."""
    ours, theirs = _rows(first), _rows(second)
    return all(rows & theirs[buffer] for buffer, rows in ours.items() if buffer in theirs)


def _rows(loop: For) -> dict[Buffer, set[Row]]:
    """What all stores to a buffer have in common."""
    found: dict[Buffer, set[Row]] = {}
    for statement in walk(loop.body):
        if isinstance(statement, Store):
            rows = _rows_of_store(statement, loop)
            found[statement.buffer] = found.get(statement.buffer, rows) & rows
    return found


def _rows_of_store(store: Store, loop: For) -> set[Row]:
    """What is left of a buffer for one value of a loop's variable: a row of some axis, or, in each
    period of all elements, so many of them side by side."""
    rows = {
        (axis, position.coefficient(loop.var), position.constant)
        for axis, position in enumerate(store.index)
        if [atom for atom, _ in position.terms] == [loop.var]
        and len(store.index) == len(store.buffer.shape)
    }
    flat = store.buffer.flat(store.index)
    factor = flat.coefficient(loop.var)
    length = factor * loop.step
    rest = flat + Affine(0, ((loop.var, -factor),))
    all_rows = factor * loop.var.high + length
    period = math.gcd(*(factor for _, factor in rest.terms if abs(factor) >= all_rows))
    inside = tuple(term for term in rest.terms if abs(term[1]) < all_rows)
    place = Affine(rest.constant % period if period else rest.constant, inside)
    fits = loop.var.low >= 0 and (not period or all_rows <= period)
    if fits and place.low >= 0 and place.high < length:
        rows.add((-1, length, period))
    return rows
