"""Products run in tiles: what one tile reads is used many times before it leaves the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neurlang.ir.access import Indices
from neurlang.ir.loops import (
    ZERO,
    Affine,
    Apply,
    Atom,
    Buffer,
    Expression,
    For,
    Index,
    Let,
    Literal,
    Load,
    Statement,
    Store,
    Var,
    Window,
    affine,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.types import BOOL, INT64
from neurlang.passes.loops.choose_products import TileShape
from neurlang.passes.loops.products import PlainProduct, Tile, blocks, chain, multiply_add, strips


def tile_product(product: PlainProduct, shape: TileShape) -> list[Statement]:
    """The loops of a product in blocks of columns, ranges of k, and tiles of rows by columns.

    Between ranges of k the sums of a tile wait in the result. Rows run around columns, so that a
    block of the right operand is used by all rows in turn; with `shape.stream` columns run around
    rows, so that it is read once.
    """
    return _Tiling(product, shape).statements()


@dataclass(frozen=True)
class Span:
    """A range of the outermost loop over k that one visit of a tile adds up.

    There are `repeats` of them in a row, up to `stop`, where the last may be cut. `first` says
    whether the first of all is among them, `last` whether what follows the product is done at
    their end.
    """

    start: int
    length: int
    repeats: int
    stop: int
    first: bool
    last: bool


def _spans(depth: int, length: int, alike: bool, cut: bool) -> list[Span]:
    """Ranges of k in as few loops as possible: each is another copy of the tiles.

    The last one stands apart where it is shorter and must not be `cut`, or where it is not `alike`:
    what follows the product is done there.
    """
    count = -(-depth // length)
    if count == 1 or (alike and (cut or depth % length == 0)):
        return [Span(0, min(depth, length), count, depth, True, True)]
    start = (count - 1) * length
    return [
        Span(0, length, count - 1, start, True, False),
        Span(start, depth - start, 1, depth, False, True),
    ]


class _Tiling:
    def __init__(self, product: PlainProduct, shape: TileShape) -> None:
        self.product = product
        self.shape = shape

    def statements(self) -> list[Statement]:
        columns, rows = self.product.columns.stop, self.product.rows.stop

        def some_rows(down: Window | None) -> list[Statement]:
            return blocks("jc", columns, self.shape.block, lambda w: self._ranges(down, w))

        return blocks("ic", rows, self.shape.row_block or rows, some_rows)

    def _spans(self) -> list[Span]:
        outer, *inner = self.product.depth
        length = max(1, self.shape.depth // math.prod(loop.trips for loop in inner))
        return _spans(outer.trips, length, self.product.ends_in_store, self.shape.whole)

    def _ranges(self, down: Window | None, across: Window | None) -> list[Statement]:
        """Some rows of some columns: the ranges of k, one after the other."""
        result: list[Statement] = []
        for span in self._spans():
            if span.length == self.product.depth[0].trips:
                return self._tiles(down, across, span, ZERO)
            if self.shape.whole and span.repeats == 1:
                result += self._tiles(down, across, span, ZERO)
                continue
            var = Var("kc", span.start, span.start + (span.repeats - 1) * span.length)
            body = tuple(self._tiles(down, across, span, affine(var)))
            result.append(For(var, span.start, span.stop, span.length, "serial", body))
        return result

    def _tiles(
        self, down: Window | None, across: Window | None, span: Span, k: Affine
    ) -> list[Statement]:
        """All tiles of some rows and columns, for one range of k."""
        rows, columns = self.product.rows.stop, self.product.columns.stop
        height, width = min(self.shape.rows, rows), self.shape.columns

        def tile(i: Affine, j: Affine, h: int, w: int) -> Sequence[Statement]:
            return _TileMaker(self.product, i, j, k, self.shape.whole).tile(h, w, span).body()

        def in_columns(i: Affine, h: int) -> list[Statement]:
            return strips("j", columns, width, lambda j, w: tile(i, j, h, w), across)

        def in_rows(j: Affine, w: int) -> list[Statement]:
            return strips("i", rows, height, lambda i, h: tile(i, j, h, w), down)

        if self.shape.stream:
            return strips("j", columns, width, in_rows, across)
        return strips("i", rows, height, in_columns, down)


class _TileMaker:
    """One tile: the plain loops' body, at a place that starts at (row, column) and k.

    Its loop over k counts from there, or, with `whole`, takes that part of all k.
    """

    def __init__(
        self, product: PlainProduct, row: Affine, column: Affine, k: Affine, whole: bool
    ) -> None:
        self.product = product
        self.row = row
        self.column = column
        self.k = k
        self.whole = whole

    def tile(self, rows: int, columns: int, span: Span) -> Tile:
        sums = Buffer("tile", self.product.total.dtype, (rows, columns))
        depth = self._depth(span)
        start = _each(sums, lambda at: self._start(sums, at, span))
        step = _each(sums, lambda at: self._step(sums, at, depth))
        finish = _each(sums, lambda at: self._finish(sums, at, span))
        _, inner = chain(step)
        return Tile(sums, start, depth, step, inner, finish)

    def _depth(self, span: Span) -> tuple[For, ...]:
        """The loops over k with names of their own; the outermost has the range's numbers."""
        outer, *inner = self.product.depth
        start, stop, window = 0, span.length, None
        if self.whole:
            start, stop = span.start, span.stop
            window = Window(self.k, span.length) if span.repeats > 1 else None
        ranges = [(start, stop, window), *((0, loop.trips, None) for loop in inner)]
        return tuple(
            For(Var(loop.var.name, low, high - 1), low, high, 1, "serial", (), window=its)
            for loop, (low, high, its) in zip((outer, *inner), ranges)
        )

    def _place(self, at: Indices) -> dict[Atom, Affine]:
        """Where an element of the tile lies in the whole product."""
        r, column = at
        rows, columns = self.product.rows.var, self.product.columns.var
        return {rows: self.row + r, columns: self.column + column}

    def _start(self, sums: Buffer, at: Indices, span: Span) -> list[Statement]:
        zero = self.product.zero
        if span.first and span.repeats == 1:
            return [Store(sums, at, zero)]
        waiting = self._waiting(at)
        value: Expression = Load(waiting.buffer, waiting.index)
        if span.first:
            is_first = Apply("equal", (Index(self.k, INT64), Literal(INT64.type(0), INT64)), BOOL)
            value = Apply("where", (is_first, zero, value), sums.dtype)
        return [Store(sums, at, value)]

    def _step(self, sums: Buffer, at: Indices, depth: Sequence[For]) -> list[Statement]:
        table = self._place(at)
        for old, new in zip(self.product.depth, depth):
            table[old.var] = affine(new.var)
        outermost = self.product.depth[0].var
        if not self.whole:
            table[outermost] = table[outermost] + self.k
        rewriter = Rewriter(table)
        lets = rewriter.body(self.product.lets)
        left, right = (rewriter.expression(operand) for operand in self.product.operands)
        return [*lets, Store(sums, at, multiply_add(left, right, Load(sums, at)))]

    def _finish(self, sums: Buffer, at: Indices, span: Span) -> list[Statement]:
        total = Load(sums, at)
        if not span.last:
            waiting = self._waiting(at)
            return [Store(waiting.buffer, waiting.index, total)]
        after = (Let(self.product.total, total), *self.product.after)
        return list(Rewriter(self._place(at)).body(after))

    def _waiting(self, at: Indices) -> Store:
        """Where the sum of an element waits between two ranges of k."""
        partial = self.product.partial
        assert partial is not None, "the sums have no place to wait: the range of k must be whole"
        found = Rewriter(self._place(at)).indices(partial.index)
        return Store(partial.buffer, found, partial.value)


def _each(sums: Buffer, body: Callable[[Indices], Sequence[Statement]]) -> For:
    """Statements for every element of a tile."""
    rows, columns = sums.shape
    r, column = Var("r", 0, rows - 1), Var("l", 0, columns - 1)
    inner = For(column, 0, columns, 1, "serial", tuple(body((affine(r), affine(column)))))
    return For(r, 0, rows, 1, "serial", (inner,))
