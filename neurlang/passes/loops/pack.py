"""Operands of products are copied into panels, in the order in which the tiles read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurlang.ir.loops import (
    Affine,
    Alloc,
    Atom,
    Buffer,
    Expression,
    For,
    Kernel,
    Let,
    Literal,
    Load,
    Statement,
    Store,
    Var,
    accesses,
    affine,
    depends_on,
    expressions_of,
    needed,
    registers_of,
    uses_any,
    walk,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.types import Shape
from neurlang.passes.loops import choose_products
from neurlang.passes.loops.collapse import merged
from neurlang.passes.loops.products import Tile, factors, multiply_add, tile_of

LEFT, RIGHT = 0, 1


Filled = tuple[Statement, ...]  # the memory of a panel, and the loops that fill it


def pack(kernel: Kernel) -> Kernel:
    """Evaluate operands of a tiled product into panels, in front of the loops that reuse them.

    The right operand of a `packed` kernel goes into panels as wide as a tile, for one block of
    columns and one range of k: every tile then reads consecutive vectors. A left operand that is
    computed (a cast, a scale) goes into rows of a panel, so that it is computed once and not for
    every tile beside it. Loops further out that do not change what is in a panel, as those over a
    batch that shares an operand, find it filled. The right operand of a `shared` kernel goes into
    panels as a whole, in front of all loops, so that all threads fill them. Leaves a kernel of
    `tiles`.
    """
    if kernel.schedule not in ("packed", "shared", "tiles"):
        return kernel
    panels, body = _packed(kernel.body, kernel.schedule == "packed")
    body = [*_statements(panels), *body]
    if kernel.schedule == "shared":
        loops = [s for s in body if isinstance(s, For) and _tiles_below([s], ())]
        before = body[: len(body) - len(loops)]
        filled, loops = _with_panel(loops, _tiles_below(loops, ()), RIGHT, whole=True)
        body = [*before, *filled, *loops]
    return replace(kernel, body=tuple(body), schedule="tiles")


def _packed(body: Sequence[Statement], right: bool) -> tuple[list[Filled], list[Statement]]:
    """Find the two loops over tiles, and pack what they read: the panels, which have to be filled
    in front of the body, and the body that reads them.

    Blocks of columns are loops around those; the columns that fill no block stand beside them.
    """
    level = [
        statement for statement in body if isinstance(statement, For) and _places([statement], 2)
    ]
    panels, packed = _with_panels(level, right) if level else ([], [])
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, For) and _places([statement], 2):
            result.append(packed.pop(0))
        elif isinstance(statement, For):
            found, inner = _packed(statement.body, right)
            own = [panel for panel in found if _belongs_to(panel, statement)]
            panels += [panel for panel in found if panel not in own]
            result.append(replace(statement, body=(*_statements(own), *inner)))
        else:
            result.append(statement)
    return panels, result


def _with_panels(level: Sequence[For], right: bool) -> tuple[list[Filled], list[For]]:
    left = _Operand(LEFT, _places(level, 2)[0].tile)
    panels: list[Filled] = []
    loops = [*level]
    if left.is_computed and left.uses(level[0].var):
        loops = []
        for loop in level:
            inside = [s for s in loop.body if isinstance(s, For)]
            filled, inner = _with_panel(inside, _places(inside, 1), LEFT)
            loops.append(replace(loop, body=(*filled, *inner)))
    elif left.is_computed:
        filled, loops = _with_panel(level, _places(level, 2), LEFT)
        panels.append(filled)
    if right:
        filled, loops = _with_panel(loops, _places(loops, 2), RIGHT)
        panels.append(filled)
    return panels, loops


def _belongs_to(panel: Filled, loop: For) -> bool:
    """Whether each iteration of a loop fills a panel with something else."""
    var: set[Atom] = {loop.var}
    indices = any(uses_any(index, var) for _, index in accesses(panel))
    inside = list(walk(panel))
    values = (value for statement in inside for value in expressions_of(statement))
    windows = [s.window.first for s in inside if isinstance(s, For) and s.window is not None]
    indices = indices or uses_any(windows, var)
    return loop.kind != "serial" or indices or any(depends_on(value, var) for value in values)


def _statements(panels: Sequence[Filled]) -> list[Statement]:
    return [statement for panel in panels for statement in panel]


@dataclass(frozen=True)
class _Place:
    """A tile and the loops over tiles around it."""

    loops: tuple[For, ...]
    tile: Tile


def _places(level: Sequence[Statement], height: int) -> list[_Place]:
    """The tiles below some loops, `height` loops down; none where the tiles lie deeper."""
    found: list[_Place] = []
    for loop in level:
        if not isinstance(loop, For):
            continue
        tile = tile_of(loop)
        if height == 1 and tile is not None:
            found.append(_Place((loop,), tile))
        elif height > 1:
            inner = _places(loop.body, height - 1)
            found += [_Place((loop, *place.loops), place.tile) for place in inner]
    return found


def _tiles_below(body: Sequence[Statement], around: tuple[For, ...]) -> list[_Place]:
    """All tiles inside of some statements."""
    found: list[_Place] = []
    for loop in body:
        if not isinstance(loop, For):
            continue
        tile = tile_of(loop)
        loops = (*around, loop)
        found += [_Place(loops, tile)] if tile is not None else _tiles_below(loop.body, loops)
    return found


class _Operand:
    """One of the two elements that a tile multiplies, and what is named below it."""

    def __init__(self, which: int, tile: Tile) -> None:
        self.which = which
        self.tile = tile
        self.value = factors(tile.step.value)[which]
        self.lets = needed(tile.lets, registers_of([self.value]))

    @property
    def is_computed(self) -> bool:
        return not isinstance(self.value, Load | Literal)

    def uses(self, var: Var) -> bool:
        changing: set[Atom] = {var}
        for statement in self.lets:
            assert isinstance(statement, Let)
            if depends_on(statement.value, changing):
                changing.add(statement.register)
        return depends_on(self.value, changing)

    def replaced(self, value: Expression) -> Tile:
        """The tile with another expression in the operand's place."""
        tile = self.tile
        left, right = factors(tile.step.value)
        operands = (value, right) if self.which == LEFT else (left, value)
        step = replace(tile.step, value=multiply_add(*operands, Load(tile.sums, tile.step.index)))
        return tile.with_step((*needed(tile.lets, registers_of(operands)), step))


def _with_panel(
    level: Sequence[For], places: Sequence[_Place], which: int, whole: bool = False
) -> tuple[Filled, list[For]]:
    """A panel for one operand of some tiles, and the loops around them, which read it."""
    panel = _Panel(which, places, whole)
    loops = [panel.read_by(loop, ()) for loop in level]
    return (Alloc(panel.buffer), *panel.fills()), loops


def _with_merged(loops: Sequence[For], body: list[Statement]) -> tuple[list[For], list[Statement]]:
    """Loops around a body, those that count the same elements as one: long loops transpose well."""
    kept = [*loops]
    for at in reversed(range(len(loops) - 1)):
        one = merged(kept[at], kept[at + 1], body)
        if one is not None:
            kept[at : at + 2] = [one]
            body = [*one.body]
    return kept, body


class _Panel:
    """The memory for one operand of all tiles below some loops; `whole` for all columns and k."""

    def __init__(self, which: int, places: Sequence[_Place], whole: bool) -> None:
        self.which = which
        self.places = places
        self.whole = whole
        tile = places[0].tile
        outer, *inner = tile.depth
        self.stop = max(place.tile.depth[0].stop for place in places) if whole else outer.stop
        depth = math.prod((self.stop, *(loop.trips for loop in inner)))
        extent = max(map(self._extent, places))
        if which == RIGHT:
            width = tile.columns.stop
            shape: Shape = (-(-extent // width), depth, width)
        else:
            shape = (extent, choose_products.panel_pitch(depth))
        self.buffer = Buffer("panel" if which == RIGHT else "rows", tile.sums.dtype, shape)

    def _own(self, place: _Place) -> list[For]:
        """The loops over tiles that the operand depends on."""
        operand = _Operand(self.which, place.tile)
        return [loop for loop in place.loops if operand.uses(loop.var)]

    def _extent(self, place: _Place) -> int:
        """How many rows or columns the panel needs for a tile."""
        windows = [loop.window for loop in self._own(place) if loop.window is not None]
        if windows and not self.whole:
            return max(window.length for window in windows)
        return 1 + (self._start(place) + affine(self._along(place))).high

    def _start(self, place: _Place) -> Affine:
        """The tile's first row or column, counted from the panel's."""
        result = Affine()
        for loop in self._own(place):
            result = result + affine(loop.var)
            if loop.window is not None and not self.whole:
                result = result + loop.window.first * -1
        return result

    def _along(self, place: _Place) -> Var:
        """The variable that counts the tile's rows, or its columns."""
        tile = place.tile
        return tile.columns.var if self.which == RIGHT else tile.rows.var

    def _index(self, place: _Place) -> tuple[Affine]:
        """Where the element of one step of a tile lies in the panel."""
        start, along = self._start(place), affine(self._along(place))
        k = place.tile.k
        if self.which == LEFT:
            return ((start + along) * self.buffer.shape[1] + k,)
        _, depth, width = self.buffer.shape
        return (start * depth + k * width + along,)

    def fills(self) -> list[Statement]:
        """Loops that evaluate the operand into the panel, each part of it once."""
        done: set[tuple[int, ...]] = set()
        result: list[Statement] = []
        for place in self.places:
            own = self._own(place)
            key = tuple(loop.start for loop in own)
            if key not in done:
                done.add(key)
                result += self._fill(place, own)
        return result

    def _fill(self, place: _Place, own: Sequence[For]) -> list[Statement]:
        tile = place.tile
        operand = _Operand(self.which, tile)
        body: list[Statement] = [
            *operand.lets,
            Store(self.buffer, self._index(place), operand.value),
        ]
        depth = [*tile.depth]
        if self.whole:
            own = [replace(loop, window=None) for loop in own]
            every = Var(depth[0].var.name, 0, self.stop - 1)
            body = list(Rewriter({depth[0].var: affine(every)}).body(body))
            depth = [For(every, 0, self.stop, 1, "serial", ()), *depth[1:]]
        depth, body = _with_merged(depth, body)
        inner = (*depth, tile.columns) if self.which == RIGHT else (tile.rows, *depth)
        for loop in reversed([*own, *inner]):
            var = replace(loop.var)
            body = [replace(loop, var=var, body=Rewriter({loop.var: affine(var)}).body(body))]
        return body

    def read_by(self, loop: For, around: tuple[For, ...]) -> For:
        """A loop over tiles whose operand is read from the panel."""
        loops = (*around, loop)
        tile = tile_of(loop)
        if tile is not None:
            operand = _Operand(self.which, tile)
            load = Load(self.buffer, self._index(_Place(loops, tile)))
            return replace(loop, body=operand.replaced(load).body())
        body = [
            self.read_by(inner, loops) if isinstance(inner, For) else inner for inner in loop.body
        ]
        return replace(loop, body=tuple(body))
