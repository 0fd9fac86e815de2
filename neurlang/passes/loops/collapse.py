"""Two loops over what lies contiguous in memory become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Affine,
    Apply,
    Atom,
    Buffer,
    Check,
    Expression,
    For,
    Index,
    Kernel,
    Let,
    Load,
    Ref,
    Statement,
    Store,
    Update,
    Var,
    affine,
    expressions_of,
    parts,
    walk,
)


def collapse(kernel: Kernel) -> Kernel:
    """Merge `for i: for j:` where every index counts i and j on as one number.

    Needs plain serial loops that start at 0. Leaves flat indices behind: one index into a buffer
    of several axes counts from its start.
    """
    if kernel.schedule == "product":
        return kernel
    return kernel.with_body([_collapse(statement) for statement in kernel.body])


def _collapse(statement: Statement) -> Statement:
    if not isinstance(statement, For):
        return statement
    loop = replace(statement, body=tuple(_collapse(inner) for inner in statement.body))
    if len(loop.body) != 1 or not isinstance(loop.body[0], For):
        return loop
    inner = loop.body[0]
    if any(isinstance(s, For) for s in inner.body):
        return loop
    return merged(loop, inner, inner.body) or loop


def merged(outer: For, inner: For, body: Sequence[Statement]) -> For | None:
    """One loop over plain statements in place of two; None where they count anything apart."""
    plain = all(f.start == 0 and f.step == 1 and f.kind == "serial" for f in (outer, inner))
    if not plain or not all(_merges(index, outer, inner) for index in _flat_indices(body)):
        return None
    count = outer.stop * inner.stop
    var = Var(inner.var.name, 0, count - 1)
    return For(var, 0, count, 1, "serial", _flatten(body, outer, inner, var))


def _flat_indices(body: Sequence[Statement]) -> list[Affine]:
    indices = []
    for statement in walk(body):
        if isinstance(statement, Store):
            indices.append(statement.buffer.flat(statement.index))
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    indices.append(part.buffer.flat(part.index))
                elif isinstance(part, Index):
                    indices.append(part.value)
    return indices


def _merges(index: Affine, outer: For, inner: For) -> bool:
    return index.coefficient(outer.var) == index.coefficient(inner.var) * inner.stop


def _flatten(body: Sequence[Statement], outer: For, inner: For, var: Var) -> tuple[Statement, ...]:
    table: dict[Atom, Affine] = {outer.var: Affine(), inner.var: affine(var)}

    def place(buffer: Buffer, index: Sequence[Affine]) -> tuple[Affine, ...]:
        return (buffer.flat(index).substitute(table),) if index else ()

    def value(expression: Expression) -> Expression:
        match expression:
            case Load(buffer=buffer, index=index):
                return Load(buffer, place(buffer, index))
            case Index(value=index, dtype=dtype):
                return Index(index.substitute(table), dtype)
            case Apply(op=op, args=args, dtype=dtype):
                return Apply(op, tuple(value(arg) for arg in args), dtype)
            case Ref():
                return expression
        return expression

    result: list[Statement] = []
    for statement in body:
        match statement:
            case Let():
                result.append(replace(statement, value=value(statement.value)))
            case Update():
                result.append(replace(statement, value=value(statement.value)))
            case Check():
                result.append(replace(statement, condition=value(statement.condition)))
            case Store(buffer, index, stored):
                result.append(Store(buffer, place(buffer, index), value(stored)))
            case _:
                result.append(statement)
    return tuple(result)
