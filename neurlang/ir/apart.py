"""Whether the iterations of a loop may run at once."""

from __future__ import annotations

from neurlang.ir.loops import Alloc, Atom, For, Store, uses_any, walk


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
