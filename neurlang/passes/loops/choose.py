"""Every heuristic: how many lanes, how far to unroll, what is worth a thread, which tiles.

The passes apply what is chosen here; nothing else in the compiler guesses. The figures were
measured (docs/benchmarks.md) and depend on the machine's description alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Apply,
    For,
    Index,
    Load,
    Ref,
    Sort,
    Statement,
    Store,
    Update,
    expressions_of,
    parts,
    walk,
)
from neurlang.ir.ops import OPS

# A sum's tree is fixed: 64 running sums, each over blocks of 16, whatever the vector width.
TREE_WIDTH = 64
TREE_CHAIN = 16
TREE_ROWS = 8

UNROLL_LIMIT = 24  # operators of a body that is still worth writing out more than once
PARALLEL_WORK = 1 << 17  # operators under which one thread is faster than two (about 50 us)
GRAIN_WORK = 1 << 16  # operators that one claim of a thread should be worth
COLUMN_VECTORS = 8  # vectors side by side when a reduction runs down columns


def lanes(body: Sequence[Statement], machine: Machine) -> int:
    """Elements at once: full vectors of the widest dtype that the body computes with."""
    size = 1
    for statement in walk(body):
        if isinstance(statement, Store):
            size = max(size, statement.buffer.dtype.itemsize)
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load | Apply | Ref) and not _is_index(part):
                    size = max(size, part.dtype.itemsize)
    return machine.lanes(max(size, 2))


def _is_index(part: object) -> bool:
    """An index that is only converted is made in the dtype that it is wanted in."""
    return isinstance(part, Index)


def cost(body: Sequence[Statement]) -> int:
    """Operators and memory accesses of one execution of the statements, loops multiplied."""
    total = 0
    for statement in body:
        if isinstance(statement, For):
            total += statement.trips * cost(statement.body)
            continue
        if isinstance(statement, Store | Update):
            total += 1
        if isinstance(statement, Sort):
            total += 20 * statement.count
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    total += 1
                elif isinstance(part, Apply):
                    total += OPS[part.op].cost if part.op in OPS else 1
    return total


def unroll(body: Sequence[Statement]) -> int:
    """Copies of a vector loop's body: small ones hide the latency of their loads."""
    work = cost(body)
    if work > UNROLL_LIMIT:
        return 1
    return 4 if work <= UNROLL_LIMIT // 2 else 2


def worth_threads(work: int) -> bool:
    return work >= PARALLEL_WORK


def grain(trips: int, work_per_trip: int) -> int:
    """Iterations that a thread claims at once."""
    wanted = max(1, GRAIN_WORK // max(1, work_per_trip))
    return max(1, min(wanted, trips // 8))


def chunk(count: int, step: int, work_per_element: int, tile: int = 0) -> int:
    """Elements of a flat loop that a thread claims at once: a multiple of the vector step."""
    wanted = tile or max(step, min(GRAIN_WORK // max(1, work_per_element), count // 8))
    return max(step, wanted // step * step)
