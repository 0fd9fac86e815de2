"""Loops run in blocks and tiles: what was fetched into a cache is used up while it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Atom,
    For,
    Kernel,
    Load,
    Statement,
    Var,
    accesses,
    affine,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose, choose_products
from neurlang.passes.loops.choose_products import TileShape
from neurlang.passes.loops.products import PlainProduct, find_product, plain_product
from neurlang.passes.loops.tile_product import tile_product


def tile(kernel: Kernel, machine: Machine) -> Kernel:
    """Tile products; block `for i: for j:` where an access steps far along j and near along i.

    The second is a transpose: within a block of rows i, columns j go by the cache line, and what
    one row of the block fetched serves the next ones. Needs plain loops over simple statements;
    leaves their order otherwise. A product's kernel is `packed` after it where the chosen tiles
    want their right operand packed, `shared` where as a whole, and `tiles` where not.
    """
    if kernel.schedule == "product":
        return _tiled_product(kernel, machine)
    if kernel.schedule == "exchanged":
        tiles = _exchanged_tiles(kernel.body, machine)
        return replace(kernel, body=tuple(tiles), schedule="packed")
    if kernel.schedule != "rows":
        return kernel
    body: list[Statement] = []
    for statement in kernel.body:
        body.extend(_tiled(statement))
    return kernel.with_body(body)


def _tiled_product(kernel: Kernel, machine: Machine) -> Kernel:
    """The kernel with its product, which may stand in loops over a batch, in tiles."""
    if not kernel.body:
        return kernel
    outer, product = find_product(kernel.body)
    blocks = any(around.kind == "block" for around in outer)
    shape = _shape(product, machine, divided=not blocks, alone=not outer)
    body = tile_product(product, shape)
    for around in reversed(outer):
        body = [replace(around, body=tuple(body))]
    schedule = "tiles"
    if shape.packed:
        schedule = "shared" if shape.whole else "packed"
    return replace(kernel, body=tuple(body), schedule=schedule)


def _exchanged_tiles(body: Sequence[Statement], machine: Machine) -> list[Statement]:
    """Loops with the exchanged products inside of them in tiles, over all of k at once."""
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif (product := plain_product(statement)) is not None:
            shape = choose_products.exchanged_tile(
                product.rows.stop,
                product.columns.stop,
                product.steps,
                product.total.dtype,
                machine,
            )
            result += tile_product(product, shape)
        else:
            inner = _exchanged_tiles(statement.body, machine)
            result.append(replace(statement, body=tuple(inner)))
    return result


def _shape(product: PlainProduct, machine: Machine, divided: bool, alone: bool) -> TileShape:
    """The tile that suits a product."""
    _, right = product.operands
    column = product.columns.var
    contiguous = isinstance(right, Load) and right.buffer.flat(right.index).coefficient(column) == 1
    rows, columns, depth = product.rows.stop, product.columns.stop, product.steps
    dtype = product.total.dtype
    shape = choose_products.tile(rows, columns, depth, dtype, contiguous, machine, divided, alone)
    if product.partial is None:
        return replace(shape, depth=depth)
    return shape


def _tiled(statement: Statement) -> list[Statement]:
    if not isinstance(statement, For) or len(statement.body) != 1:
        return [statement]
    (inner,) = statement.body
    if not isinstance(inner, For):
        return [statement]
    if any(isinstance(s, For) for s in inner.body):
        return [replace(statement, body=tuple(_tiled(inner)))]
    if not any(
        _crosses(buffer.flat(index), statement.var, inner.var)
        for buffer, index in accesses(inner.body)
    ):
        return [statement]
    size = choose.line_elements(inner.body)
    return _blocks(statement, inner, choose.BLOCK_ROWS, size)


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
