"""Results larger than the last cache go past it: nobody will find them there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Buffer,
    For,
    Kernel,
    Statement,
    Store,
    Var,
    elements_loaded,
)
from neurlang.passes.loops import choose


def stream(kernel: Kernel, machine: Machine, aligned: bool) -> Kernel:
    """Make vector stores to large results nontemporal; they must be `aligned` to cache lines.

    A plain store reads the line first that it is going to overwrite, and evicts another. Leaves
    alone what the program reads again, and stores that do not fill whole vectors at addresses that
    are multiples of them.
    """
    loaded = elements_loaded(kernel.body)
    read = (min(count * b.dtype.itemsize, b.nbytes) for b, count in loaded.items())
    traffic = sum(read) + sum(buffer.nbytes for buffer in kernel.outputs)
    if not aligned or not choose.outgrows_cache(traffic, machine):
        return kernel
    alone = kernel.final - set(loaded)
    large = {b for b in kernel.outputs if b in alone and choose.streams(b.nbytes)}
    return kernel.with_body(_body(kernel.body, large, {})) if large else kernel


def _body(
    body: Sequence[Statement], large: set[Buffer], multiples: Mapping[Var, int]
) -> list[Statement]:
    """`multiples` says of each loop variable around of what number its values are multiples."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For):
            inside = {**multiples, statement.var: math.gcd(statement.start, statement.step)}
            if statement.kind == "vector":
                statement = statement.with_body(_vector(statement, large, inside))
            else:
                statement = statement.with_body(_body(statement.body, large, inside))
        result.append(statement)
    return result


def _vector(loop: For, large: set[Buffer], multiples: Mapping[Var, int]) -> tuple[Statement, ...]:
    """The body of a vector loop."""
    if (loop.stop - loop.start) % loop.step:
        return loop.body
    return tuple(
        replace(statement, nontemporal=True)
        if isinstance(statement, Store)
        and statement.buffer in large
        and _is_whole(statement.buffer.flat(statement.index), loop, multiples)
        else statement
        for statement in loop.body
    )


def _is_whole(flat: Affine, loop: For, multiples: Mapping[Var, int]) -> bool:
    """Whether lanes lie side by side, from a multiple of their number on."""
    first = [flat.constant]
    for atom, coefficient in flat.terms:
        if not isinstance(atom, Var):
            return False
        first.append(coefficient * multiples[atom])
    return flat.coefficient(loop.var) == 1 and all(part % loop.step == 0 for part in first)
