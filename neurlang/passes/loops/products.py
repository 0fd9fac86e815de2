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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    Window,
    affine,
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


def chain(loop: For) -> tuple[For, ...]:
    """A loop and those inside it, as far as each holds nothing but the next one."""
    found = [loop]
    while len(found[-1].body) == 1:
        (inner,) = found[-1].body
        if not isinstance(inner, For):
            break
        found.append(inner)
    return tuple(found)


def nest(loops: Sequence[For], body: Sequence[Statement]) -> For:
    """Loops around another body, the first outermost."""
    *around, innermost = loops
    result = replace(innermost, body=tuple(body))
    for loop in reversed(around):
        result = replace(loop, body=(result,))
    return result


@dataclass(frozen=True)
class PlainProduct:
    """The plain loops over rows, columns and k, of which there may be several, and their body."""

    rows: For
    columns: For
    total: Register
    zero: Expression
    depth: tuple[For, ...]
    after: tuple[Statement, ...]

    @property
    def steps(self) -> int:
        """How many products each sum has."""
        return math.prod(loop.trips for loop in self.depth)

    @property
    def lets(self) -> tuple[Statement, ...]:
        """What is named below the operands."""
        return self.depth[-1].body[:-1]

    @property
    def operands(self) -> tuple[Expression, Expression]:
        """The elements that one step multiplies."""
        step = self.depth[-1].body[-1]
        assert isinstance(step, Update)
        return factors(step.value)

    @property
    def partial(self) -> Store | None:
        """A result of the sums' own dtype: there they can wait between ranges of k."""
        for statement in self.after:
            if isinstance(statement, Store) and statement.buffer.dtype == self.total.dtype:
                return statement
        return None

    @property
    def ends_in_store(self) -> bool:
        """Whether nothing follows the product but its store, where sums can wait, too."""
        match self.after:
            case (Store(value=Ref(register=total)) as store,) if total is self.total:
                return store is self.partial
            case _:
                return False


def plain_product(loop: For) -> PlainProduct | None:
    """The product that a loop over rows makes; None where it is a loop around it (a batch)."""
    match loop.body:
        case (For(body=(Let(register=total, value=zero), For() as depth, *after)) as columns,):
            return PlainProduct(loop, columns, total, zero, chain(depth), tuple(after))
        case _:
            return None


def find_product(body: Sequence[Statement]) -> tuple[list[For], PlainProduct]:
    """The product that plain loops make, and the loops around it, the outermost first."""
    around: list[For] = []
    (loop,) = body
    assert isinstance(loop, For)
    product = plain_product(loop)
    while product is None:
        around.append(loop)
        (loop,) = loop.body
        assert isinstance(loop, For)
        product = plain_product(loop)
    return around, product


@dataclass(frozen=True)
class Tile:
    """The body of a loop over tiles: scratch for sums, their start, loops over k, their end."""

    sums: Buffer
    start: For
    depth: tuple[For, ...]
    rows: For
    columns: For
    finish: For

    @property
    def steps(self) -> int:
        """How many products each sum gets here."""
        return math.prod(loop.trips for loop in self.depth)

    @property
    def k(self) -> Affine:
        """Which of all k a step is: several loops over k count in row-major order."""
        result = Affine()
        for loop in self.depth:
            result = result * loop.trips + affine(loop.var)
        return result

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

    def with_step(self, body: Sequence[Statement]) -> Tile:
        """The tile with other statements for each step."""
        return replace(self, columns=replace(self.columns, body=tuple(body)))

    def body(self) -> tuple[Statement, ...]:
        """The statements of the tile."""
        loops = (*self.depth, self.rows)
        return (Alloc(self.sums), self.start, nest(loops, [self.columns]), self.finish)


def tile_of(loop: For) -> Tile | None:
    """The tile that a loop steps by; None for loops further out."""
    match loop.body:
        case (
            Alloc(buffer=sums),
            For(body=(For(body=(Store(buffer=first),)),)) as start,
            For() as depth,
            For() as finish,
        ) if first is sums and _adds_up(depth, sums):
            *over_k, rows, columns = chain(depth)
            return Tile(sums, start, tuple(over_k), rows, columns, finish)
        case _:
            return None


def _adds_up(depth: For, sums: Buffer) -> bool:
    """Whether loops over k, rows and columns add to the sums of a tile."""
    loops = chain(depth)
    last = loops[-1].body[-1]
    return len(loops) > 2 and isinstance(last, Store) and last.buffer is sums


def strips(
    name: str,
    count: int,
    size: int,
    body: Callable[[Affine, int], Sequence[Statement]],
    window: Window | None = None,
) -> list[Statement]:
    """A loop in steps of `size`, and a trip of its own for what is left: body(start, length).

    With a window, what of them lies in it; it begins at a multiple of `size`.
    """
    result: list[Statement] = []
    main = count // size * size
    if main:
        var = Var(name, 0, main - size)
        inside = tuple(body(affine(var), size))
        result.append(For(var, 0, main, size, "serial", inside, window=window))
    if main < count:
        var = Var(name, main, main)
        rest = tuple(body(affine(var), count - main))
        step = size if window is not None else 1
        result.append(For(var, main, main + 1, step, "serial", rest, window=window))
    return result


def blocks(
    name: str, count: int, size: int, body: Callable[[Window | None], Sequence[Statement]]
) -> list[Statement]:
    """A loop over windows of `size`, of which the last may reach past the end; none for one."""
    if count <= size:
        return list(body(None))
    number = -(-count // size)
    var = Var(name, 0, number - 1)
    inside = tuple(body(Window(affine(var) * size, size)))
    return [For(var, 0, number, 1, "serial", inside)]
