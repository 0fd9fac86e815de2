"""Rows of a product change places with its columns: lanes run where they leave no rest.

A convolution is a product of kernels and windows. Its columns are the pixels of one row of the
image, and there are rarely whole vectors of those; its rows are channels, of which there are 16, 32
or 64 more. So, where the same kernels meet many rows of pixels,

    for b: for y: for i: for j: out[b, i, y, j] = f(sum of w[i, k] * x[b, k, y, j])

becomes

    for b: for y:
        turned: f32[j, i]
        for j: for i: turned[j, i] = sum of x[b, k, y, j] * w[i, k]
        for i: for j: out[b, i, y, j] = f(turned[j, i])

`tile` and `pack` take the new product as any other. Its right operand, the kernels, is packed once
for all of b and y, and no window is ever copied. `transpose` turns the sums in registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Atom,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Ref,
    Statement,
    Store,
    Update,
    Var,
    affine,
    depends_on,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose_products
from neurlang.passes.loops.products import (
    PlainProduct,
    find_product,
    multiply_add,
    nest,
    strips,
)


def exchange(kernel: Kernel, machine: Machine) -> Kernel:
    """Let the rows of a product run along vectors where `choose` finds that faster.

    Needs the plain loops of a product whose left operand is the same in all loops around it. Leaves
    an `exchanged` product, whose sums wait in scratch, and the loops that store its results.
    """
    if kernel.schedule != "product" or not kernel.body:
        return kernel
    around, product = find_product(kernel.body)
    plain = all(loop.kind == "serial" for loop in around)
    if not around or not plain or not _is_shared(around, product):
        return kernel
    blocks = choose_products.exchanged_blocks(
        product.rows.stop,
        product.columns.stop,
        product.steps,
        math.prod(loop.trips for loop in around),
        product.total.dtype,
        _is_contiguous(product),
        machine,
    )
    if blocks is None:
        return kernel
    body = _Exchange(around, product, *blocks).statements()
    note = f"vectors lie along its {product.rows.stop} rows, not {product.columns.stop} columns"
    notes = (*kernel.notes, note)
    return replace(kernel, body=tuple(body), schedule="exchanged", notes=notes)


def _is_shared(around: Sequence[For], product: PlainProduct) -> bool:
    """Whether one left operand, read as it is, serves all loops around the product."""
    left, _ = product.operands
    changing: set[Atom] = {loop.var for loop in around}
    return isinstance(left, Load) and not product.lets and not depends_on(left, changing)


def _is_contiguous(product: PlainProduct) -> bool:
    """Whether columns lie side by side where the right operand is read."""
    _, right = product.operands
    column = product.columns.var
    return isinstance(right, Load) and right.buffer.flat(right.index).coefficient(column) == 1


class _Exchange:
    """Blocks of the product's rows around all loops; pieces of its columns inside of them."""

    def __init__(
        self, around: Sequence[For], product: PlainProduct, block: int, piece: int
    ) -> None:
        self.around = around
        self.product = product
        self.block = block
        self.piece = piece

    def statements(self) -> list[Statement]:
        rows = self.product.rows.stop
        if self.block >= rows:
            return self._pieces(Affine(), rows)
        return strips("ic", rows, self.block, self._pieces)

    def _pieces(self, first: Affine, rows: int) -> list[Statement]:
        """Some rows, in loops of their own over what is around the product."""
        atoms: dict[Atom, Affine] = {}
        loops = []
        for loop in self.around:
            var = replace(loop.var)
            atoms[loop.var] = affine(var)
            loops.append(replace(loop, var=var))

        def piece(column: Affine, columns: int) -> list[Statement]:
            return _Piece(self.product, first, rows, column, columns, atoms).statements()

        columns = self.product.columns.stop
        if columns <= self.piece:
            body = piece(Affine(), columns)
        else:
            body = strips("jc", columns, self.piece, piece)
        return [nest(loops, body)]


@dataclass(frozen=True)
class _Piece:
    """Some rows and columns of the product, from a first one on."""

    product: PlainProduct
    row: Affine
    rows: int
    column: Affine
    columns: int
    around: Mapping[Atom, Affine]

    def statements(self) -> list[Statement]:
        """Scratch for the sums, the product into it, and what stores them as results."""
        dtype = self.product.total.dtype
        turned = Buffer(
            "turned", dtype, (self.columns, choose_products.turned_pitch(self.rows, dtype))
        )
        return [Alloc(turned), self._turned(turned), self._results(turned)]

    def _turned(self, turned: Buffer) -> For:
        """The product with its loops and its operands exchanged."""
        product = self.product
        rows, columns, table = self._places()
        depth = []
        for loop in product.depth:
            var = replace(loop.var)
            table[loop.var] = affine(var)
            depth.append(replace(loop, var=var))
        left, right = (Rewriter(table).expression(operand) for operand in product.operands)
        total = replace(product.total)
        step = Update(total, "set", multiply_add(right, left, Ref(total)))
        place = affine(columns.var), affine(rows.var)
        store = Store(turned, place, Ref(total))
        return nest([columns, rows], [Let(total, product.zero), nest(depth, [step]), store])

    def _results(self, turned: Buffer) -> For:
        """What follows the product, in its own order."""
        rows, columns, table = self._places()
        total = Load(turned, (affine(columns.var), affine(rows.var)))
        body = (Let(self.product.total, total), *self.product.after)
        return nest([rows, columns], Rewriter(table).body(body))

    def _places(self) -> tuple[For, For, dict[Atom, Affine]]:
        """Loops over rows and columns of the piece, and where their elements lie in the product."""
        i, j = self.product.rows.var, self.product.columns.var
        rows = For(Var(i.name, 0, self.rows - 1), 0, self.rows, 1, "serial", ())
        columns = For(Var(j.name, 0, self.columns - 1), 0, self.columns, 1, "serial", ())
        table = {
            **self.around,
            i: self.row + affine(rows.var),
            j: self.column + affine(columns.var),
        }
        return rows, columns, table
