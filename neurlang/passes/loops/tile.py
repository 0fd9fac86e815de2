"""Loops run in blocks and tiles: what was fetched into a cache is used up while it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Atom,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Var,
    accesses,
    affine,
    needed,
    parts,
    registers_in,
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


# blocks of what lies across


def _tiled(statement: Statement) -> list[Statement]:
    if not isinstance(statement, For) or not statement.body:
        return [statement]
    *lets, inner = statement.body
    if not isinstance(inner, For) or not all(isinstance(let, Let) for let in lets):
        return [statement]
    if any(isinstance(s, For) for s in inner.body):
        return [statement.with_body([*lets, *_tiled(inner)])]
    if not any(
        _crosses(buffer.flat(index), statement.var, inner.var)
        for buffer, index in accesses(inner.body)
    ):
        return [statement]
    return _Blocks(statement, needed(lets, registers_in([inner])), inner).statements()


def _crosses(flat: Affine, outer: Var, inner: Var) -> bool:
    return abs(flat.coefficient(inner)) > 1 and abs(flat.coefficient(outer)) == 1


@dataclass(frozen=True)
class _Blocks:
    """`for outer: lets; for inner:` in blocks of rows, and in each of them lines of columns.

    What is named for a row is named in each of its lines; costly values are stored before these.
    """

    outer: For
    lets: Sequence[Let]
    inner: For

    def statements(self) -> list[Statement]:
        return _pieces(self.outer, choose.BLOCK_ROWS, self._rows)

    def _rows(self, first: Affine, rows: int) -> list[Statement]:
        stored = self._stored(rows)
        before: list[Statement] = [Alloc(buffer) for buffer in stored.values()]
        if stored:
            i = Var(self.outer.var.name, 0, rows - 1)
            stores = [Store(buffer, (affine(i),), Ref(one)) for one, buffer in stored.items()]
            body = Rewriter({self.outer.var: first + affine(i)}).body([*self.lets, *stores])
            before.append(For(i, 0, rows, 1, "serial", body))

        def line(column: Affine, columns: int) -> list[Statement]:
            return [self._block(first, rows, column, columns, stored)]

        return [*before, *_pieces(self.inner, choose.line_elements(self.inner.body), line)]

    def _stored(self, rows: int) -> dict[Register, Buffer]:
        """Scratch for the values of some rows, where they are not only loaded."""
        operators = (p.op for let in self.lets for p in parts(let.value) if isinstance(p, Apply))
        if not any(map(choose.is_costly, operators)):
            return {}
        used = registers_in([self.inner])
        named = [let.register for let in self.lets if let.register in used]
        return {register: Buffer(register.name, register.dtype, (rows,)) for register in named}

    def _block(
        self,
        row: Affine,
        rows: int,
        column: Affine,
        columns: int,
        stored: Mapping[Register, Buffer],
    ) -> For:
        i = Var(self.outer.var.name, 0, rows - 1)
        j = Var(self.inner.var.name, 0, columns - 1)
        table: dict[Atom, Affine] = {
            self.outer.var: row + affine(i),
            self.inner.var: column + affine(j),
        }
        lets = [Let(one, Load(buffer, (affine(i),))) for one, buffer in stored.items()]
        body = Rewriter(table).body([*(lets or self.lets), *self.inner.body])
        return For(i, 0, rows, 1, "serial", (For(j, 0, columns, 1, "serial", body),))


def _pieces(
    loop: For, size: int, body: Callable[[Affine, int], Sequence[Statement]]
) -> list[Statement]:
    """A loop's iterations in whole pieces, then what is left: body(start, length) of each."""
    result: list[Statement] = []
    main = loop.trips // size * size
    if main > size:
        var = Var(f"{loop.var}_tile", loop.start, loop.start + main - size)
        piece = tuple(body(affine(var), size))
        result.append(For(var, loop.start, loop.start + main, size, "serial", piece))
    elif main:
        result += body(Affine(loop.start), main)
    if main < loop.trips:
        result += body(Affine(loop.start + main), loop.trips - main)
    return result
