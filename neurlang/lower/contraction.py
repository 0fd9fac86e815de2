"""Contractions: register tiles of the product, fed from memory or from packed panels.

The product of (m, k) by (k, n) is made in tiles of a few rows by a few vectors of columns that
stay in registers while k runs. Each step spreads one element of every row over a vector and
multiplies it with the tile's vectors of the right operand. Where the right operand does not lie in
cache as the tile wants it, a block of it is packed into panels first: whatever feeds it (a
transpose, a broadcast) is evaluated there. What follows the product (bias, activation) is
evaluated while a tile is stored. Every element sums over k in order, with one rounding a step, so
tiles, threads and vector width do not show in the bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from neurlang.codegen.machine import Machine
from neurlang.ir.access import Indices
from neurlang.ir.graph import Node
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Buffer,
    Expression,
    For,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    affine,
)
from neurlang.ir.ops import OPS
from neurlang.lower.elements import Block, Scope
from neurlang.lower.rows import nest, outer_loops
from neurlang.passes.graph.group import Group
from neurlang.passes.loops import choose
from neurlang.passes.loops.choose import TileShape


@dataclass(frozen=True)
class Span:
    """A range of k that one visit of a tile adds up; the first starts at zero."""

    start: Affine
    length: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Columns:
    """The columns of a tile: whole vectors and the lanes of one more."""

    start: Affine
    full: int
    partial: int

    @property
    def vectors(self) -> int:
        return self.full + (self.partial > 0)


def lower_dot(
    group: Group, scope: Scope, targets: dict[Node, Buffer], machine: Machine
) -> list[Statement]:
    """The scheduled loops of a product and of the elementwise work that follows it."""
    product = group.anchors[0]
    if not product.type.size:
        return []
    index, loops = outer_loops([(0, size) for size in product.shape[:-2]], "bcd")
    return nest(loops, _Product(group, scope, targets, machine, index).lower())


class _Product:
    def __init__(
        self,
        group: Group,
        scope: Scope,
        targets: dict[Node, Buffer],
        machine: Machine,
        batch: Indices,
    ) -> None:
        self.group = group
        self.scope = scope
        self.targets = targets
        self.batch = batch
        self.product = group.anchors[0]
        self.left, self.right = self.product.args
        self.dtype = self.product.dtype
        self.lanes = machine.lanes(max(2, self.dtype.itemsize))
        self.rows, self.columns = self.product.shape[-2:]
        self.depth = self.left.shape[-1]
        side_by_side = self._right_stride() == 1
        self.shape: TileShape = choose.tile(
            self.rows, self.columns, self.depth, self.dtype, side_by_side, machine
        )
        self.panel: Buffer | None = None
        self.panel_start: tuple[Affine, Affine] = (Affine(), Affine())
        self.scratch = Buffer(
            "tile", self.dtype, (self.shape.rows, self.shape.vectors * self.lanes)
        )
        if next(iter(targets.values())).dtype != self.dtype:
            self.shape = replace(self.shape, depth=self.depth)  # sums cannot wait in the result
        self.compact = self._epilogue_cost() > choose.INLINE_EPILOGUE

    def lower(self) -> list[Statement]:
        if not self.product.type.size:
            return []
        if self.depth == 0:
            return self._zeros()
        body: list[Statement] = []
        if self.compact:
            body.append(Alloc(self.scratch))
        if self.shape.packed:
            return self._packed(body)
        if self.shape.stream:
            return self._streamed(body)
        return self._in_place(body)

    def _epilogue_cost(self) -> int:
        """Operators that follow the product, for each element."""
        cost = 0
        seen = {self.product}
        stack = list(self.group.anchors[1:])
        while stack:
            node = stack.pop()
            if node in seen or node in self.scope.buffers:
                continue
            seen.add(node)
            cost += OPS[node.op].cost if node.kind == "map" else 0
            stack.extend(node.args)
        return cost

    # the three ways to walk over tiles

    def _in_place(self, start: list[Statement]) -> list[Statement]:
        """The right operand lies in cache: rows outermost, so that threads share it."""
        span = Span(Affine(), self.depth, True, True)

        def across(row: Affine, count: int) -> list[Statement]:
            return start + self._over_columns(
                Affine(), self.columns, lambda columns: self._tile(row, count, columns, span)
            )

        return self._over_rows(across)

    def _streamed(self, start: list[Statement]) -> list[Statement]:
        """Few rows, large right operand: read it once, some rows at a time, in its own order."""

        def block(first: Affine, width: int) -> list[Statement]:
            body = list(start)
            for span in self._spans():
                body += self._looped_span(
                    span,
                    lambda at: self._over_columns(
                        first,
                        width,
                        lambda columns: self._over_rows(
                            lambda row, count: self._tile(row, count, columns, at)
                        ),
                    ),
                )
            return body

        return self._over_blocks(block)

    def _packed(self, start: list[Statement]) -> list[Statement]:
        """Blocks of columns; in each, ranges of k are packed, and every row passes over them."""
        width = self.shape.vectors * self.lanes

        def block(first: Affine, columns: int) -> list[Statement]:
            panels = -(-columns // width)
            depth = max(span.length for span, _ in self._spans())
            self.panel = Buffer("panel", self.dtype, (panels, depth, width))
            body: list[Statement] = [Alloc(self.panel), *start]
            for span in self._spans():
                body += self._looped_span(span, lambda at: self._visit(first, columns, at))
            return body

        return self._over_blocks(block)

    def _visit(self, first: Affine, columns: int, span: Span) -> list[Statement]:
        """Pack one range of k, then run all rows over the panels."""
        self.panel_start = (first, span.start)
        pack = self._over_columns(first, columns, lambda where: self._pack(where, span))
        rows = self._over_rows(
            lambda row, count: self._over_columns(
                first, columns, lambda where: self._tile(row, count, where, span)
            )
        )
        return pack + rows

    # ranges

    def _spans(self) -> list[tuple[Span, int]]:
        """Ranges of k and how often each kind repeats: the first, those between, the last."""
        depth = min(self.shape.depth, self.depth)
        count = -(-self.depth // depth)
        if count == 1:
            return [(Span(Affine(), self.depth, True, True), 1)]
        spans = [(Span(Affine(), depth, True, False), 1)]
        if count > 2:
            spans.append((Span(Affine(depth), depth, False, False), count - 2))
        start = (count - 1) * depth
        spans.append((Span(Affine(start), self.depth - start, False, True), 1))
        return spans

    def _looped_span(
        self, repeated: tuple[Span, int], body: Callable[[Span], list[Statement]]
    ) -> list[Statement]:
        span, count = repeated
        if count == 1:
            return body(span)
        start = span.start.constant
        var = Var("kc", start, start + (count - 1) * span.length)
        at = Span(affine(var), span.length, span.first, span.last)
        stop = start + count * span.length
        return [For(var, start, stop, span.length, "serial", tuple(body(at)))]

    def _over_blocks(self, body: Callable[[Affine, int], list[Statement]]) -> list[Statement]:
        """Blocks of columns, and a narrower one for what is left."""
        width = self.shape.block
        main = self.columns // width * width
        result: list[Statement] = []
        if main:
            var = Var("jc", 0, main - width)
            inner = tuple(body(affine(var), width))
            result.append(For(var, 0, main, width, "serial", inner))
        if main < self.columns:
            var = Var("jc", main, main)
            rest = tuple(body(Affine(main), self.columns - main))
            result.append(For(var, main, main + 1, 1, "serial", rest))
        return result

    def _over_columns(
        self, first: Affine, count: int, body: Callable[[Columns], list[Statement]]
    ) -> list[Statement]:
        """Whole tiles across, then one of the columns that are left."""
        width = self.shape.vectors * self.lanes
        main = count // width * width
        result: list[Statement] = []
        if main:
            var = Var("j", 0, main - width)
            whole = Columns(first + affine(var), self.shape.vectors, 0)
            result.append(For(var, 0, main, width, "serial", tuple(body(whole))))
        if main < count:
            full, partial = divmod(count - main, self.lanes)
            result += body(Columns(first + main, full, partial))
        return result

    def _over_rows(self, body: Callable[[Affine, int], list[Statement]]) -> list[Statement]:
        """Whole tiles down, then one of the rows that are left."""
        height = min(self.shape.rows, self.rows)
        main = self.rows // height * height
        var = Var("i", 0, main - height)
        inner = tuple(body(affine(var), height))
        result: list[Statement] = [For(var, 0, main, height, "serial", inner)]
        if main < self.rows:
            var = Var("i", main, main)
            rest = tuple(body(Affine(main), self.rows - main))
            result.append(For(var, main, main + 1, 1, "serial", rest))
        return result

    # one tile

    def _tile(self, row: Affine, count: int, columns: Columns, span: Span) -> list[Statement]:
        self.scope.names += 1
        shape = (count, columns.vectors)
        tile = Register(f"c{self.scope.names}", self.dtype, self.lanes, shape)
        body = self._start(tile, row, count, columns, span)
        unroll = choose.DEPTH_UNROLL
        main = span.length // unroll * unroll
        for first, stop, copies in ((0, main, unroll), (main, span.length, 1)):
            if first < stop:
                k = Var("k", first, stop - 1)
                step = self._step(tile, row, count, columns, span.start + affine(k), k)
                body.append(For(k, first, stop, 1, "serial", tuple(step), copies))
        if not span.last:
            return body + self._each_vector(
                count,
                columns,
                lambda r, v, at, j: [
                    Store(self._partial(), (*self.batch, row + r, j), Ref(tile, (r, v)))
                ],
            )
        if self.compact:
            return body + self._compact_epilogue(tile, row, count, columns)
        return body + self._each_vector(
            count, columns, lambda r, v, at, j: self._epilogue(Ref(tile, (r, v)), row + r, j)
        )

    def _partial(self) -> Buffer:
        """Where sums wait between ranges of k: in the place of the result."""
        return self.targets[next(a for a in self.group.anchors if a in self.targets)]

    def _start(
        self, tile: Register, row: Affine, count: int, columns: Columns, span: Span
    ) -> list[Statement]:
        if span.first:
            r, v = Var("r", 0, count - 1), Var("v", 0, columns.vectors - 1)
            zero = Literal(self.dtype.type(0), self.dtype)
            let = Let(tile, zero, (affine(r), affine(v)))
            inner = For(v, 0, columns.vectors, 1, "unroll", (let,))
            return [For(r, 0, count, 1, "unroll", (inner,))]
        partial = self._partial()
        return self._each_vector(
            count,
            columns,
            lambda r, v, at, j: [Let(tile, Load(partial, (*self.batch, row + r, j)), (r, v))],
        )

    def _each_vector(
        self,
        count: int,
        columns: Columns,
        body: Callable[[Affine, Affine, Affine, Affine], list[Statement]],
    ) -> list[Statement]:
        """Something for every vector of a tile: body(r, v, first column inside, column)."""
        result: list[Statement] = []
        r = Var("r", 0, count - 1)
        if columns.full:
            v = Var("v", 0, columns.full - 1)
            lane = Var("l", 0, self.lanes - 1)
            inside = affine(v) * self.lanes + affine(lane)
            statements = body(affine(r), affine(v), inside, columns.start + inside)
            vector = For(lane, 0, self.lanes, self.lanes, "vector", tuple(statements))
            result.append(For(v, 0, columns.full, 1, "unroll", (vector,)))
        if columns.partial:
            lane = Var("l", 0, columns.partial - 1)
            inside = affine(lane) + columns.full * self.lanes
            statements = body(affine(r), Affine(columns.full), inside, columns.start + inside)
            result.append(For(lane, 0, columns.partial, self.lanes, "vector", tuple(statements)))
        return [For(r, 0, count, 1, "unroll", tuple(result))]

    def _step(
        self, tile: Register, row: Affine, count: int, columns: Columns, k: Affine, var: Var
    ) -> list[Statement]:
        """One k: a vector of the right operand for each of the tile's, and every row's element."""
        vectors = Register("b", self.dtype, self.lanes, (columns.vectors,))
        result = self._right_vectors(vectors, columns, k)
        r, v = Var("r", 0, count - 1), Var("v", 0, columns.vectors - 1)
        block = Block(self.scope)
        (element,) = block.evaluate([(self.left, (*self.batch, row + affine(r), k))])
        spread = Register("a", self.dtype)
        at = (affine(r), affine(v))
        product = self._multiply(Ref(spread), Ref(vectors, (affine(v),)), Ref(tile, at))
        update = Update(tile, "set", product, at)
        inner = For(v, 0, columns.vectors, 1, "unroll", (update,))
        body = (*block.statements, Let(spread, element), inner)
        return [*result, For(r, 0, count, 1, "unroll", body)]

    def _multiply(self, a: Expression, b: Expression, c: Expression) -> Expression:
        if self.dtype.kind == "b":
            return Apply("or", (Apply("and", (a, b), self.dtype), c), self.dtype)
        if self.dtype.kind != "f":
            return Apply("add", (Apply("mul", (a, b), self.dtype), c), self.dtype)
        return Apply("fma", (a, b, c), self.dtype)

    def _right_vectors(self, vectors: Register, columns: Columns, k: Affine) -> list[Statement]:
        result: list[Statement] = []
        if columns.full:
            v = Var("v", 0, columns.full - 1)
            lane = Var("l", 0, self.lanes - 1)
            column = affine(v) * self.lanes + affine(lane)
            body = self._right_element(vectors, affine(v), columns, column, k)
            vector = For(lane, 0, self.lanes, self.lanes, "vector", tuple(body))
            result.append(For(v, 0, columns.full, 1, "unroll", (vector,)))
        if columns.partial:
            lane = Var("l", 0, columns.partial - 1)
            column = affine(lane) + columns.full * self.lanes
            body = self._right_element(vectors, Affine(columns.full), columns, column, k)
            result.append(For(lane, 0, columns.partial, self.lanes, "vector", tuple(body)))
        return result

    def _right_element(
        self, vectors: Register, which: Affine, columns: Columns, column: Affine, k: Affine
    ) -> list[Statement]:
        if self.panel is not None:
            value: Expression = Load(self.panel, self._in_panel(columns, k, column))
            return [Let(vectors, value, (which,))]
        block = Block(self.scope)
        (value,) = block.evaluate([(self.right, (*self.batch, k, columns.start + column))])
        return [*block.statements, Let(vectors, value, (which,))]

    def _in_panel(self, columns: Columns, k: Affine, column: Affine) -> tuple[Affine]:
        """The place in the packed block: panels of `width` columns, each `depth` deep."""
        assert self.panel is not None
        first, start = self.panel_start
        _, depth, width = self.panel.shape
        return ((columns.start + first * -1) * depth + (k + start * -1) * width + column,)

    def _right_stride(self) -> int:
        """Elements between neighbours along n in the right operand's memory; 0 is a splat."""
        n = Var("n", 0, self.columns - 1)
        k = Var("k", 0, max(0, self.depth - 1))
        names = self.scope.names
        block = Block(self.scope)
        (value,) = block.evaluate([(self.right, (*self.batch, affine(k), affine(n)))])
        self.scope.names = names
        if not isinstance(value, Load):
            return 0
        return value.buffer.flat(value.index).coefficient(n)

    # packing and epilogues

    def _pack(self, columns: Columns, span: Span) -> list[Statement]:
        """Columns of the right operand, one range of k, as the tiles will read them."""
        assert self.panel is not None
        k = Var("k", 0, span.length - 1)
        body: list[Statement] = []
        for which, active in self._pieces(columns):
            lane = Var("l", 0, active - 1)
            column = affine(lane) + which * self.lanes
            block = Block(self.scope)
            depth = span.start + affine(k)
            index = (*self.batch, depth, columns.start + column)
            (value,) = block.evaluate([(self.right, index)])
            store = Store(self.panel, self._in_panel(columns, depth, column), value)
            statements = (*block.statements, store)
            body.append(For(lane, 0, active, self.lanes, "vector", statements))
        return [For(k, 0, span.length, 1, "serial", tuple(body))]

    def _pieces(self, columns: Columns) -> Sequence[tuple[int, int]]:
        pieces = [(v, self.lanes) for v in range(columns.full)]
        if columns.partial:
            pieces.append((columns.full, columns.partial))
        return pieces

    def _epilogue(self, value: Expression, row: Affine, column: Affine) -> list[Statement]:
        """What follows the product, for one vector of it, and the stores."""
        index = (*self.batch, row, column)
        block = Block(self.scope)
        block.known[(self.product, index)] = value
        block.depth[(self.product, index)] = 0
        anchors = self.group.anchors
        values = block.evaluate([(anchor, index) for anchor in anchors])
        stores = [
            Store(self.targets[anchor], index, found)
            for anchor, found in zip(anchors, values)
            if anchor in self.targets
        ]
        return [*block.statements, *stores]

    def _compact_epilogue(
        self, tile: Register, row: Affine, count: int, columns: Columns
    ) -> list[Statement]:
        """Much follows the product: the tile goes through cache, and one small loop does it all."""
        spill = self._each_vector(
            count, columns, lambda r, v, at, j: [Store(self.scratch, (r, at), Ref(tile, (r, v)))]
        )
        width = columns.full * self.lanes + columns.partial
        r, lane = Var("r", 0, count - 1), Var("l", 0, width - 1)
        value = Load(self.scratch, (affine(r), affine(lane)))
        body = self._epilogue(value, row + affine(r), columns.start + affine(lane))
        vector = For(lane, 0, width, self.lanes, "vector", tuple(body))
        return [*spill, For(r, 0, count, 1, "serial", (vector,))]

    def _zeros(self) -> list[Statement]:
        """A product over nothing."""
        index, loops = outer_loops([(0, self.rows), (0, self.columns)], "ij")
        zero = Literal(self.dtype.type(0), self.dtype)
        return nest(loops, self._epilogue(zero, *index))
