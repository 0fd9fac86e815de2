"""The outermost loops of a kernel that are worth it run on several threads.

The pieces depend on the program alone, never on the number of threads: whoever computes a piece,
its bits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.ir.apart import stores_apart
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Atom,
    For,
    Kernel,
    Let,
    Load,
    Statement,
    Store,
    Var,
    affine,
    defined_in,
    elements_loaded,
    elements_stored,
    needed,
    parts,
    registers_in,
    updated_in,
    walk,
    without_unused,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose


def parallelize(kernel: Kernel, tile: int = 0) -> Kernel:
    """Make top-level loops parallel where their work pays for waking a thread.

    `tile` fixes the elements of a flat loop's chunk; 0 lets the cost model choose.
    """
    if kernel.schedule in ("serial", "fixed"):
        return kernel
    loops = [s for s in kernel.body if isinstance(s, For) and s.trips > 1 and _is_independent(s)]
    effort = [(choose.cost([loop]), _traffic(loop)) for loop in loops]
    awake = any(choose.worth_threads(work, traffic) for work, traffic in effort)
    shared = [
        loop
        for loop, (work, traffic) in zip(loops, effort)
        if choose.worth_threads(work, traffic, awake)
    ]
    body: list[Statement] = []
    lets: list[Let] = []
    for statement in kernel.body:
        if isinstance(statement, For) and any(statement is loop for loop in shared):
            own = needed(lets, registers_in([statement])) if lets else []
            if _can_be_repeated(own, kernel):
                body += [_with_own(piece, own) for piece in _parallel(statement, tile)]
                continue
        if isinstance(statement, Let):
            lets.append(statement)
        body.append(statement)
    return kernel.with_body(without_unused(body) if lets else body)


def _traffic(loop: For) -> int:
    """Bytes that a loop reads and writes."""
    moved = (elements_loaded([loop]), elements_stored([loop]))
    return sum(
        min(count * buffer.dtype.itemsize, buffer.nbytes)
        for found in moved
        for buffer, count in found.items()
    )


def _is_independent(loop: For) -> bool:
    """Whether iterations carry no register on, and each stores to elements of its own."""
    carried = set(updated_in(loop.body)) - defined_in(loop.body)
    return loop.kind in ("serial", "vector") and not carried and stores_apart(loop)


def _can_be_repeated(lets: Sequence[Let], kernel: Kernel) -> bool:
    """Whether each thread finds the same values: they are not updated, nor read what is stored."""
    updated = updated_in(kernel.body)
    loads = (part for let in lets for part in parts(let.value) if isinstance(part, Load))
    stored = any(load.buffer in kernel.outputs for load in loads)
    return not stored and not any(let.register in updated for let in lets)


def _with_own(loop: Statement, lets: Sequence[Let]) -> Statement:
    """Each thread names the values that it needs anew: registers are not shared."""
    if not lets or not isinstance(loop, For) or loop.kind != "parallel":
        return loop
    return loop.with_body(Rewriter({}).body([*lets, *loop.body]))


def _parallel(loop: For, tile: int) -> list[Statement]:
    if loop.kind == "vector":
        return _chunks(loop, tile)
    grain = choose.grain(loop.trips, choose.cost(loop.body), _bytes_apart(loop))
    if loop.start == 0 and loop.step == 1:
        return [For(loop.var, 0, loop.stop, 1, "parallel", loop.body, grain=grain)]
    var = Var(loop.var.name, 0, loop.trips - 1)
    index = affine(var) * loop.step + loop.start
    body = Rewriter({loop.var: index}).body(loop.body)
    return [For(var, 0, loop.trips, 1, "parallel", body, grain=grain)]


def _bytes_apart(loop: For) -> int:
    """The least distance of what two iterations that follow each other store."""
    inside = list(walk(loop.body))
    own = {statement.buffer for statement in inside if isinstance(statement, Alloc)}
    stores = [s for s in inside if isinstance(s, Store) and s.buffer not in own]
    apart = (
        abs(s.buffer.flat(s.index).coefficient(loop.var) * loop.step) * s.buffer.dtype.itemsize
        for s in stores
    )
    return min(apart, default=0)


def _chunks(loop: For, tile: int) -> list[Statement]:
    """A flat vector loop in chunks; what is left over runs after them."""
    step = loop.step * loop.unroll
    count = loop.stop - loop.start
    per_element = max(1, choose.cost(loop.body) // loop.step)
    size = choose.chunk(count, step, per_element, tile)
    if loop.unroll == 1:
        return _vectors(loop, size // step)
    whole = count // size
    if whole < 2:
        return [loop]
    chunk = Var("chunk", 0, whole - 1)
    inner = Var(loop.var.name, 0, size - 1)
    index = affine(chunk) * size + affine(inner) + loop.start
    body = _moved(loop, index, inner)
    piece = For(inner, 0, size, loop.step, "vector", body, loop.unroll)
    result: list[Statement] = [For(chunk, 0, whole, 1, "parallel", (piece,))]
    done = loop.start + whole * size
    if done < loop.stop:
        var = Var(loop.var.name, done, loop.stop - 1)
        rest = _moved(loop, affine(var), var)
        unroll = loop.unroll if (loop.stop - done) % step == 0 else 1
        result.append(For(var, done, loop.stop, loop.step, "vector", rest, unroll))
    return result


def _vectors(loop: For, grain: int) -> list[Statement]:
    """A flat loop of single vectors by the vector, and what is left after them: so the body, which
    is long, stands there once where nothing is left."""
    whole, left = divmod(loop.stop - loop.start, loop.step)
    vector, lane = Var("vector", 0, whole - 1), Var(loop.var.name, 0, loop.step - 1)
    body = _moved(loop, affine(vector) * loop.step + affine(lane) + loop.start, lane)
    piece = For(lane, 0, loop.step, loop.step, "vector", body)
    result: list[Statement] = [For(vector, 0, whole, 1, "parallel", (piece,), grain=grain)]
    if left:
        var = Var(loop.var.name, loop.stop - left, loop.stop - 1)
        rest = _moved(loop, affine(var), var)
        result.append(For(var, loop.stop - left, loop.stop, loop.step, "vector", rest))
    return result


def _moved(loop: For, index: Affine, var: Var) -> tuple[Statement, ...]:
    table: dict[Atom, Affine] = {loop.var: index}
    return Rewriter(table, lanes=loop.step, varying=[var]).body(loop.body)
