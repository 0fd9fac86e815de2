"""Kernels that `block_rows` gave the same loops over blocks of rows become one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Alloc,
    Buffer,
    For,
    Kernel,
    Statement,
    Store,
    Var,
    accesses,
    depends_on,
    expressions_of,
    walk,
)
from neurlang.ir.steps import Step


def join_blocks(steps: Sequence[Step], results: set[Buffer]) -> list[Step]:
    """Make one kernel of those that `block_rows` gave the same loops."""
    joined: list[Step] = []
    for loop, same in itertools.groupby(steps, _block_loop):
        found = list(same)
        if loop is None:
            joined += found
        else:
            read = {buffer for step in steps if step not in found for buffer in step.inputs}
            joined.append(_joined([k for k in found if isinstance(k, Kernel)], read | results))
    return joined


def _block_loop(step: Step) -> Var | None:
    """The variable of the loop over blocks that a kernel shares with others."""
    loop = step.body[-1] if isinstance(step, Kernel) and step.body else None
    return loop.var if isinstance(loop, For) and loop.kind == "block" else None


def _joined(kernels: Sequence[Kernel], read: set[Buffer]) -> Kernel:
    """One kernel; what nothing outside reads becomes scratch of a block."""
    outputs = list(dict.fromkeys(buffer for kernel in kernels for buffer in kernel.outputs))
    between = [buffer for buffer in outputs if buffer not in read]
    inputs = dict.fromkeys(buffer for kernel in kernels for buffer in kernel.inputs)
    first = kernels[0]
    return replace(
        first,
        inputs=tuple(buffer for buffer in inputs if buffer not in outputs),
        outputs=tuple(buffer for buffer in outputs if buffer in read),
        body=_together([kernel.body for kernel in kernels], between),
        notes=tuple(dict.fromkeys(note for kernel in kernels for note in kernel.notes)),
        schedule="rows",
        final=frozenset().union(*(kernel.final for kernel in kernels)),
    )


def _together(
    bodies: Sequence[tuple[Statement, ...]], between: Sequence[Buffer]
) -> tuple[Statement, ...]:
    """The bodies of one loop over blocks: what they name first, then the next loop inside."""
    before = [statement for body in bodies for statement in body[:-1]]
    loops = [loop for *_, loop in bodies if isinstance(loop, For)]
    inside = [loop.body for loop in loops]
    if _is_blocks(inside[0][-1]):
        inner = _together(inside, between)
    else:
        written = {*between, *_stored(statement for body in inside for statement in body)}
        counts = [_fixed(body, loops[0].var, written) for body in inside]
        before += [statement for body, n in zip(inside, counts) for statement in body[:n]]
        rest = (statement for body, n in zip(inside, counts) for statement in body[n:])
        inner = (*map(Alloc, between), *rest)
    return (*before, replace(loops[0], kind="serial", body=inner))


def _is_blocks(statement: Statement) -> bool:
    return isinstance(statement, For) and statement.kind == "block"


def _stored(statements: Iterable[Statement]) -> set[Buffer]:
    """The buffers that are written, but for panels of these statements' own."""
    inside = list(walk(list(statements)))
    own = {statement.buffer for statement in inside if isinstance(statement, Alloc)}
    return {s.buffer for s in inside if isinstance(s, Store)} - own


def _fixed(body: Sequence[Statement], block: Var, written: set[Buffer]) -> int:
    """How many statements, from the first on, are the same for every block: panels, filled."""
    count = 0
    for number, statement in enumerate(body, 1):
        inside = list(walk([statement]))
        values = (value for one in inside for value in expressions_of(one))
        changes = any(depends_on(value, {block}) for value in values)
        touched = {buffer for buffer, _ in accesses([statement])}
        if not isinstance(statement, Alloc | For) or changes or touched & written:
            break
        if isinstance(statement, For):
            count = number
    return count
