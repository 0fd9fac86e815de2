"""Products that follow each other by rows run in blocks of rows: what is between is never whole.

In attention the scores, their softmax and the product with the values each need, for some rows,
only those rows of what came before:

    k0: for b: for i: for j: scores[b, i, j] = sum(q[b, i, k] * k[b, j, k])
    k1: for b: for i: for j: weights[b, i, j] = exp(scores[b, i, j] - max) / total
    k2: for b: for i: for j: out[b, i, j] = sum(weights[b, i, k] * v[b, k, j])

`block_rows` gives every one of them the loops `block for b: block for i in steps of 64` around its
own, and lets what is between them be as small as a block. The other passes work inside of these
loops as they would on kernels of 64 rows. `join_blocks` then makes one kernel of them:

    for b: for i in steps of 64:
        scores: f32[64, ...]
        weights: f32[64, ...]
        the loops of k0, of k1, of k2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Atom,
    Buffer,
    Expression,
    For,
    Kernel,
    Load,
    Statement,
    Store,
    Var,
    accesses,
    affine,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.steps import Step
from neurlang.ir.types import Shape
from neurlang.passes.loops import choose_products
from neurlang.passes.loops.products import chain, plain_product


def block_rows(steps: Sequence[Step], results: set[Buffer], machine: Machine) -> list[Step]:
    """Put row loops of kernels that follow each other into blocks, where it saves memory traffic.

    `results` are the buffers that the caller of the program sees. Needs plain loops. Steps that
    have no part in it, and stand in between, go first.
    """
    done: list[Step] = []
    left = list(steps)
    while left:
        found = _find(left, results)
        rows = 0 if found is None else _block(found, machine)
        if found is None or not rows:
            done.append(left.pop(0))
            continue
        last = left.index(found.kernels[-1])
        done += [step for step in left[:last] if step not in found.kernels]
        done += _blocked(found, rows)
        left = left[last + 1 :]
    return done


# which kernels


@dataclass(frozen=True)
class _Chain:
    """Kernels that agree in their outer loops; `between` are buffers that nothing else reads."""

    kernels: tuple[Kernel, ...]
    extents: tuple[int, ...]
    between: tuple[Buffer, ...]


def _find(steps: Sequence[Step], results: set[Buffer]) -> _Chain | None:
    """The kernels that go on, row by row, with what the first step makes."""
    first = steps[0]
    if not isinstance(first, Kernel) or first.schedule != "product" or not first.body:
        return None
    extents = tuple(loop.stop for loop in _rows_of_product(first) if loop.stop > 1)
    written = set(first.outputs)
    kernels = [first]
    if not extents or not _goes_by_rows(first, extents, written):
        return None
    for step in steps[1:]:
        if not written.intersection(step.inputs):
            continue
        outputs = {*written, *step.outputs}
        if not isinstance(step, Kernel) or not _goes_by_rows(step, extents, outputs):
            break
        kernels.append(step)
        written = outputs
    outside = {b for step in steps if step not in kernels for b in step.inputs} | results
    between = tuple(buffer for buffer in written if buffer not in outside)
    return _Chain(tuple(kernels), extents, between) if len(kernels) > 1 and between else None


def _rows_of_product(kernel: Kernel) -> list[For]:
    """The loops over a batch and over rows of a plain product."""
    (loop,) = kernel.body
    assert isinstance(loop, For)
    found = []
    for inner in chain(loop):
        found.append(inner)
        if plain_product(inner) is not None:
            break
    return found


def _goes_by_rows(kernel: Kernel, extents: Sequence[int], buffers: set[Buffer]) -> bool:
    """Whether the outer loops have these extents, and rows of `buffers` are theirs alone."""
    if kernel.schedule not in ("product", "rows"):
        return False
    loops = _outer(kernel, extents)
    if loops is None:
        return False
    place = [affine(loop.var) for loop in loops if loop.stop > 1]
    for buffer, index in accesses(kernel.body):
        if buffer in buffers:
            rank = _rank(buffer.shape, extents)
            counted = [at for at, extent in zip(index[:rank], buffer.shape) if extent > 1]
            if rank is None or len(index) != len(buffer.shape) or counted != place:
                return False
    return True


def _outer(kernel: Kernel, extents: Sequence[int]) -> list[For] | None:
    """The outermost loops with these extents, and those between them that have one trip."""
    found: list[For] = []
    wanted = list(extents)
    loops = chain(kernel.body[0]) if _is_loop(kernel.body) else ()
    for loop in loops:
        found.append(loop)
        if (loop.start, loop.step) != (0, 1) or loop.stop not in (1, wanted[0]):
            return None
        if loop.stop > 1:
            del wanted[0]
        if not wanted:
            return found
    return None


def _is_loop(body: Sequence[Statement]) -> TypeGuard[tuple[For]]:
    return len(body) == 1 and isinstance(body[0], For)


def _rank(shape: Shape, extents: Sequence[int]) -> int | None:
    """How many axes, but for those of extent one, have these extents; None for others."""
    wanted = list(extents)
    for number, extent in enumerate(shape, 1):
        if extent > 1 and extent != wanted.pop(0):
            return None
        if not wanted:
            return number
    return None


def _block(found: _Chain, machine: Machine) -> int:
    """How many rows go together; 0 where whole buffers are better."""
    *batch, rows = found.extents
    count = rows
    for extent in batch:
        count *= extent
    row = sum(buffer.nbytes for buffer in found.between) // count
    return choose_products.rows_together(
        rows, count, row, sum(map(_right_bytes, found.kernels)), machine
    )


def _right_bytes(kernel: Kernel) -> int:
    """What a product reads for every block anew: its right operand, of one batch."""
    if kernel.schedule != "product":
        return 0
    product = plain_product(_rows_of_product(kernel)[-1])
    assert product is not None
    return product.steps * product.columns.stop * product.total.dtype.itemsize


# in blocks


def _blocked(found: _Chain, rows: int) -> list[Step]:
    """The kernels in whole blocks, then what is left of the rows as one more block."""
    extent = found.extents[-1]
    main = extent // rows * rows
    pieces = [(0, main, rows, "")]
    if main < extent:
        pieces.append((main, extent, extent - main, "_rest"))
    steps: list[Step] = []
    for start, stop, size, suffix in pieces:
        small = {buffer: _small(buffer, found.extents, size, suffix) for buffer in found.between}
        batch = [Var(f"b{n}", 0, extent - 1) for n, extent in enumerate(found.extents[:-1])]
        around = [For(var, 0, var.high + 1, 1, "block", ()) for var in batch]
        around.append(For(Var("block", start, stop - size), start, stop, size, "block", ()))
        place = [loop.var for loop in around]
        for kernel in found.kernels:
            body = _one_block(kernel, found.extents, place, size, small)
            for loop in reversed(around):
                body = (replace(loop, body=body),)
            inputs = tuple(small.get(buffer, buffer) for buffer in kernel.inputs)
            outputs = tuple(small.get(buffer, buffer) for buffer in kernel.outputs)
            name = kernel.name + suffix
            steps.append(replace(kernel, name=name, body=body, inputs=inputs, outputs=outputs))
    return steps


def _small(buffer: Buffer, extents: Sequence[int], size: int, suffix: str) -> Buffer:
    """The rows of one block."""
    rank = _rank(buffer.shape, extents)
    return Buffer(buffer.name + suffix, buffer.dtype, (size, *buffer.shape[rank:]))


def _one_block(
    kernel: Kernel,
    extents: Sequence[int],
    place: Sequence[Var],
    size: int,
    small: Mapping[Buffer, Buffer],
) -> tuple[Statement, ...]:
    """A kernel's loop over the rows of the block at a place."""
    loops = _outer(kernel, extents)
    assert loops is not None
    rows = loops[-1]
    var = Var(rows.var.name, 0, size - 1)
    table: dict[Atom, Affine] = {loop.var: Affine() for loop in loops}
    table |= {loop.var: affine(at) for loop, at in zip((f for f in loops if f.stop > 1), place)}
    table[rows.var] = affine(place[-1]) + affine(var)
    body = _InBlock(table, small, affine(var)).body(rows.body)
    return (For(var, 0, size, 1, "serial", body),)


class _InBlock(Rewriter):
    """Copies the loops of a row; what is between the kernels counts rows from the block's start."""

    def __init__(
        self, table: Mapping[Atom, Affine], small: Mapping[Buffer, Buffer], row: Affine
    ) -> None:
        super().__init__(table)
        self.small = small
        self.row = row

    def _place(self, small: Buffer, index: tuple[Affine, ...]) -> tuple[Affine, ...]:
        inner = len(small.shape) - 1
        return (self.row, *self.indices(index[len(index) - inner :]))

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Load) and expression.buffer in self.small:
            small = self.small[expression.buffer]
            return Load(small, self._place(small, expression.index))
        return super().expression(expression)

    def statement(self, statement: Statement) -> Statement:
        if isinstance(statement, Store) and statement.buffer in self.small:
            small = self.small[statement.buffer]
            value = self.expression(statement.value)
            return Store(small, self._place(small, statement.index), value)
        return super().statement(statement)
