"""Loops side by side over one range become one: threads share it, and rows stay in cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.ir.apart import rows_agree
from neurlang.ir.loops import (
    Buffer,
    For,
    Kernel,
    Load,
    Statement,
    Store,
    affine,
    defined_in,
    expressions_of,
    parts,
    updated_in,
    walk,
)
from neurlang.ir.rewriter import Rewriter


def fuse(kernel: Kernel) -> Kernel:
    """Merge neighbouring outer loops over the same range, such as the pieces of a stencil's rows.

    Neither may read what the other stores, nor share a register with it; what both store to has
    rows, of which one belongs to an iteration. Innermost loops merge
    only with a loop that holds others: on their own they are better vectors.
    """
    if kernel.schedule != "rows":
        return kernel
    return kernel.with_body(_fused(kernel.body))


def _fused(body: Sequence[Statement]) -> list[Statement]:
    result: list[Statement] = []
    for run in _runs(body):
        if len(run) > 1 and any(_holds_loops(loop) for loop in run):
            run = [_merged(run)]
        result += [_inside(statement) for statement in run]
    return result


def _inside(statement: Statement) -> Statement:
    """The same for the loops that a loop holds."""
    if not isinstance(statement, For) or not _holds_loops(statement):
        return statement
    return replace(statement, body=tuple(_fused(statement.body)))


def _runs(body: Sequence[Statement]) -> list[list[Statement]]:
    """Statements in order, where loops that can be one stand in one list."""
    runs: list[list[Statement]] = []
    for statement in body:
        if runs and _can_merge(runs[-1], statement):
            runs[-1].append(statement)
        else:
            runs.append([statement])
    return runs


def _can_merge(run: Sequence[Statement], loop: Statement) -> bool:
    first = run[0]
    if not isinstance(first, For) or not isinstance(loop, For):
        return False
    if (first.start, first.stop, first.step) != (loop.start, loop.stop, loop.step):
        return False
    if first.kind != "serial" or loop.kind != "serial":
        return False
    if not all(_keeps_to_itself(statement) for statement in (*run, loop)):
        return False
    if _stored(run) & _loaded([loop]) or _loaded(run) & _stored([loop]):
        return False
    return all(rows_agree(other, loop) for other in run if isinstance(other, For))


def _keeps_to_itself(loop: Statement) -> bool:
    """Whether a loop changes no register that was made outside of it."""
    return not set(updated_in([loop])) - defined_in([loop])


def _stored(body: Sequence[Statement]) -> set[Buffer]:
    return {s.buffer for s in walk(body) if isinstance(s, Store)}


def _loaded(body: Sequence[Statement]) -> set[Buffer]:
    expressions = (e for s in walk(body) for e in expressions_of(s))
    return {part.buffer for e in expressions for part in parts(e) if isinstance(part, Load)}


def _holds_loops(statement: Statement) -> bool:
    return isinstance(statement, For) and any(isinstance(s, For) for s in statement.body)


def _merged(run: Sequence[Statement]) -> For:
    """One loop with the bodies of all, one after the other."""
    first, *others = (statement for statement in run if isinstance(statement, For))
    body = list(first.body)
    for loop in others:
        body += Rewriter({loop.var: affine(first.var)}).body(loop.body)
    return replace(first, body=tuple(body))
