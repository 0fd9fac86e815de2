"""The loops of a product: how the passes make them, know them again, and take them apart.

The lowering leaves three plain loops:

    for i: for j: sum = 0; for k: sum = a[i, k] * b[k, j] + sum; out[i, j] = f(sum)

`tile` makes tiles of them, whose sums wait in scratch while k runs:

    for i step 6: for j step 64:
        tile: f32[6,64]
        for r in 0..6: for l in 0..64: tile[r, l] = 0
        for k: for r in 0..6: for l in 0..64: tile[r, l] = a[i + r, k] * b[k, j + l] + tile[r, l]
        for r in 0..6: for l in 0..64: out[i + r, j + l] = f(tile[r, l])

`pack` changes where its operands are read; `vectorize` makes vectors of l; `unroll` writes r and
the vectors out, and the sums become registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Buffer,
    Expression,
    For,
    Let,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    affine,
    parts,
)


def multiply_add(a: Expression, b: Expression, c: Expression) -> Expression:
    """One step of a product: a * b + c, with one rounding for floats; `and` and `or` for bools."""
    dtype = c.dtype
    if dtype.kind == "f":
        return Apply("fma", (a, b, c), dtype)
    if dtype.kind == "b":
        return Apply("or", (Apply("and", (a, b), dtype), c), dtype)
    return Apply("add", (Apply("mul", (a, b), dtype), c), dtype)


def factors(value: Expression) -> tuple[Expression, Expression]:
    """The a and b of `multiply_add(a, b, c)`."""
    assert isinstance(value, Apply)
    if value.op == "fma":
        return value.args[0], value.args[1]
    product = value.args[0]
    assert isinstance(product, Apply)
    return product.args[0], product.args[1]


@dataclass(frozen=True)
class PlainProduct:
    """Three plain loops and what stands in them."""

    rows: For
    columns: For
    total: Register
    zero: Expression
    depth: For
    after: tuple[Statement, ...]

    @property
    def lets(self) -> tuple[Statement, ...]:
        """What is named below the operands."""
        return self.depth.body[:-1]

    @property
    def operands(self) -> tuple[Expression, Expression]:
        """The elements that one step multiplies."""
        step = self.depth.body[-1]
        assert isinstance(step, Update)
        return factors(step.value)

    @property
    def partial(self) -> Store | None:
        """A result of the sums' own dtype: there they can wait between ranges of k."""
        for statement in self.after:
            if isinstance(statement, Store) and statement.buffer.dtype == self.total.dtype:
                return statement
        return None


def plain_product(loop: For) -> PlainProduct | None:
    """The product that a loop over rows makes; None where it is a loop around it (a batch)."""
    columns = loop.body[0]
    assert isinstance(columns, For)
    start, *rest = columns.body
    if not isinstance(start, Let):
        return None
    depth = rest[0]
    assert isinstance(depth, For)
    return PlainProduct(loop, columns, start.register, start.value, depth, tuple(rest[1:]))


@dataclass(frozen=True)
class Tile:
    """The body of a loop over tiles: scratch for sums, their start, the loop over k, their end."""

    sums: Buffer
    start: For
    depth: For
    finish: For

    @property
    def rows(self) -> For:
        """The loop over the tile's rows, in the loop over k."""
        (rows,) = self.depth.body
        assert isinstance(rows, For)
        return rows

    @property
    def columns(self) -> For:
        """The loop over the tile's columns, in the one over its rows."""
        (columns,) = self.rows.body
        assert isinstance(columns, For)
        return columns

    @property
    def lets(self) -> tuple[Statement, ...]:
        """What is named below the operands."""
        return self.columns.body[:-1]

    @property
    def step(self) -> Store:
        """The statement that multiplies and adds."""
        step = self.columns.body[-1]
        assert isinstance(step, Store)
        return step

    def body(self) -> tuple[Statement, ...]:
        return (Alloc(self.sums), self.start, self.depth, self.finish)


def tile_of(loop: For) -> Tile | None:
    """The tile that a loop steps by; None for loops further out."""
    match loop.body:
        case (
            Alloc(buffer=sums),
            For(body=(For(body=(Store(buffer=first),)),)) as start,
            For(body=(For(body=(For(body=(*_, Store(buffer=summed))),)),)) as depth,
            For() as finish,
        ) if first is summed is sums:
            return Tile(sums, start, depth, finish)
        case _:
            return None


def strips(
    name: str, count: int, size: int, body: Callable[[Affine, int], Sequence[Statement]]
) -> list[Statement]:
    """A loop in steps of `size`, and a trip of its own for what is left: body(start, length)."""
    result: list[Statement] = []
    main = count // size * size
    if main:
        var = Var(name, 0, main - size)
        result.append(For(var, 0, main, size, "serial", tuple(body(affine(var), size))))
    if main < count:
        var = Var(name, main, main)
        rest = tuple(body(affine(var), count - main))
        result.append(For(var, main, main + 1, 1, "serial", rest))
    return result


def needed(lets: Sequence[Statement], values: Sequence[Expression]) -> tuple[Statement, ...]:
    """The named values that others are made of, in their order."""
    used = {part.register for value in values for part in parts(value) if isinstance(part, Ref)}
    kept: list[Statement] = []
    for statement in reversed(lets):
        assert isinstance(statement, Let)
        if statement.register in used:
            kept.append(statement)
            found = (part for part in parts(statement.value) if isinstance(part, Ref))
            used.update(part.register for part in found)
    return tuple(reversed(kept))
