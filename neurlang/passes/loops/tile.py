"""Loops over arrays that lie across each other run in blocks: each cache line is used up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Affine,
    Atom,
    For,
    Kernel,
    Load,
    Rewriter,
    Statement,
    Store,
    Var,
    affine,
    expressions_of,
    parts,
    walk,
)
from neurlang.passes.loops import choose


def tile(kernel: Kernel) -> Kernel:
    """Block `for i: for j:` where an access steps far along j and near along i, as a transpose.

    Within a block of rows i, columns j go by the cache line: what one row of the block fetched
    serves the next ones. Needs plain loops over simple statements; leaves their order otherwise.
    """
    if kernel.schedule != "rows":
        return kernel
    body: list[Statement] = []
    for statement in kernel.body:
        body.extend(_tiled(statement))
    return kernel.with_body(body)


def _tiled(statement: Statement) -> list[Statement]:
    if not isinstance(statement, For) or len(statement.body) != 1:
        return [statement]
    (inner,) = statement.body
    if not isinstance(inner, For):
        return [statement]
    if any(isinstance(s, For) for s in inner.body):
        return [replace(statement, body=tuple(_tiled(inner)))]
    if not any(_crosses(flat, statement.var, inner.var) for flat in _accesses(inner.body)):
        return [statement]
    size = choose.line_elements(inner.body)
    return _blocks(statement, inner, choose.BLOCK_ROWS, size)


def _accesses(body: Sequence[Statement]) -> list[Affine]:
    flats = []
    for statement in walk(body):
        if isinstance(statement, Store):
            flats.append(statement.buffer.flat(statement.index))
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    flats.append(part.buffer.flat(part.index))
    return flats


def _crosses(flat: Affine, outer: Var, inner: Var) -> bool:
    return abs(flat.coefficient(inner)) > 1 and abs(flat.coefficient(outer)) == 1


def _blocks(outer: For, inner: For, rows: int, columns: int) -> list[Statement]:
    """Whole blocks of rows, then the rows that are left."""
    result: list[Statement] = []
    main = (outer.stop - outer.start) // rows * rows
    if main:
        var = Var(f"{outer.var}_tile", outer.start, outer.start + main - rows)
        body = _lines(outer, inner, affine(var), rows, columns)
        result.append(For(var, outer.start, outer.start + main, rows, "serial", tuple(body)))
    left = outer.stop - outer.start - main
    if left:
        result.extend(_lines(outer, inner, Affine(outer.start + main), left, columns))
    return result


def _lines(outer: For, inner: For, first: Affine, rows: int, columns: int) -> list[Statement]:
    """For some rows: cache lines of columns, then the columns that are left."""
    result: list[Statement] = []
    main = (inner.stop - inner.start) // columns * columns
    if main:
        var = Var(f"{inner.var}_tile", inner.start, inner.start + main - columns)
        body = _block(outer, inner, first, rows, affine(var), columns)
        result.append(For(var, inner.start, inner.start + main, columns, "serial", (body,)))
    left = inner.stop - inner.start - main
    if left:
        result.append(_block(outer, inner, first, rows, Affine(inner.start + main), left))
    return result


def _block(outer: For, inner: For, row: Affine, rows: int, column: Affine, columns: int) -> For:
    i = Var(outer.var.name, 0, rows - 1)
    j = Var(inner.var.name, 0, columns - 1)
    table: dict[Atom, Affine] = {outer.var: row + affine(i), inner.var: column + affine(j)}
    body = Rewriter(table).body(inner.body)
    return For(i, 0, rows, 1, "serial", (For(j, 0, columns, 1, "serial", body),))
