"""The heuristics of products: which tiles, blocks and panels, and which way their lanes run.

As in `choose.py`, the figures were measured and depend on the machine's description alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import Statement
from neurlang.ir.types import DType
from neurlang.passes.loops.choose import CACHE_LINE, cost, grain, multiple, worth_threads

SHORTEST_VECTOR = 16  # bytes
SMALL_SQUARE = 4  # rows and lanes
FEW_SETS = 2048  # bytes between rows of which few fit into the first cache at once
DEPTH_UNROLL = 2  # most steps of k in one iteration
INLINE_EPILOGUE = 12  # cost of what follows a product and is worth writing out for every vector
MOST_ROWS = 14
REACH = 5.5  # rows of a tile that hide the loads of its right operand
LATENCY = 8  # multiply-adds in flight
EDGE_COST = 0.05  # of one more piece of rows or columns: another copy of the code
LEAST_ROWS = 128  # for which a right operand is packed as a whole
LONGEST_ROW_BLOCK = 256  # rows that a thread claims at once
STREAM_ROWS = 96  # with no more rows than this, the right operand is read once, in its order
FEW_ROWS = 32  # the same, where it comes from memory
STREAM_DEPTH = 1024  # steps of k in a row; longer ones are cut
STREAM_BLOCK = 1024  # columns whose sums stay in cache while k runs on
DEPTH_STEPS = 16, 4  # of which ranges of k are multiples: squares and unrolled steps come out even
REREAD_LEFT, REREAD_RIGHT = 0.2, 4.0  # cost of a block: of a tile's width, of a row
PACK_CYCLES = 0.5  # of an element that is packed, in multiply-adds of vectors
TURN_CYCLES = 10  # of a vector of sums that is turned and stored
EXCHANGE_GAIN = 1.03  # that pays for longer code
LONGEST_PIECE = 128  # columns whose sums are turned together
LONGEST_DEPTH = 768  # a range of k: its panels stay in the second cache


def sum_lanes(columns: int, dtype: DType, machine: Machine) -> int:
    """Elements at once in the tiles of a product, whatever its results are converted to; of few
    columns no more than fit: short vectors are no slower, and some processors do two at once."""
    size = max(2, dtype.itemsize)
    least = min(SHORTEST_VECTOR, machine.vector_bits // 8) // size
    return min(machine.lanes(size), max(least, 1 << (columns - 1).bit_length()))


def writes_out(epilogue: Sequence[Statement]) -> bool:
    """Whether what follows a product is written out for every vector of a tile."""
    return cost(epilogue) <= INLINE_EPILOGUE


def depth_unroll(steps: int, plain: bool) -> int:
    """Steps of k in one iteration: a divisor of a short loop, so that nothing is left.

    A `plain` tile reads rows of the right operand that follow each other, and stores its sums:
    there the code would only be longer. Rows that lie apart are read sooner where two are asked for
    at once. And where much is computed with the sums, LLVM keeps constants of that in registers
    and, in a short loop, spills sums for them.
    """
    if plain:
        return 1
    if steps <= DEPTH_UNROLL * 2:
        return max(n for n in range(1, DEPTH_UNROLL + 1) if steps % n == 0)
    return DEPTH_UNROLL


@dataclass(frozen=True)
class TileShape:
    """The tiles of a product: rows by columns, ranges of `depth`, blocks of columns.

    `packed` copies a block into panels first, or, with `whole`, all of the right operand, for
    blocks of `row_block` rows; `stream` reads the right operand in its own order; neither reads it
    in place. Without `row_block` there are no blocks of rows.
    """

    rows: int
    columns: int
    depth: int
    block: int
    packed: bool = False
    stream: bool = False
    whole: bool = False
    row_block: int = 0


def tile(
    rows: int,
    columns: int,
    depth: int,
    dtype: DType,
    side_by_side: bool,
    machine: Machine,
    divided: bool = True,
    alone: bool = False,
) -> TileShape:
    """The tile for an (rows, depth) by (depth, columns) product.

    Where the right operand is contiguous along its columns and fits in half of the second cache it
    is read in place. Threads share the blocks of columns where the product is to be `divided`; one
    that stands `alone`, in no loops over a batch, may share blocks of rows instead.
    """
    width = sum_lanes(columns, dtype, machine)
    size = columns * depth * dtype.itemsize
    height, vectors = _accumulators(rows, columns, width, machine.vector_registers)
    across = vectors * width
    fits = size <= machine.l2 // 2
    if side_by_side and fits:
        shared = _row_share(rows, height, -(-columns // width) * depth) if alone else 0
        return TileShape(height, across, depth, columns, row_block=shared)
    if side_by_side and rows <= (STREAM_ROWS if size <= machine.l3 // 2 else FEW_ROWS):
        block = _column_share(columns, across, STREAM_BLOCK)
        piece = depth if depth <= STREAM_DEPTH else _even(depth, STREAM_DEPTH // 2, DEPTH_STEPS)
        return TileShape(height, across, piece, block, stream=True)
    if alone and not fits and rows >= LEAST_ROWS and size <= machine.l3 // 4:
        ranges = -(-depth // LONGEST_DEPTH)
        piece = -(-depth // ranges)
        most = max(1, machine.l2 // 2 // (piece * dtype.itemsize * across))
        panels = -(-columns // across)
        block = -(-panels // -(-panels // most)) * across
        down = _row_block(rows, height)
        return TileShape(height, across, piece, block, packed=True, whole=True, row_block=down)
    piece = _even(depth, LONGEST_DEPTH, DEPTH_STEPS)
    longest = max(across, machine.l2 // 2 // (piece * dtype.itemsize))
    block = _column_share(columns, across, longest) if divided else min(columns, longest)
    return TileShape(height, across, piece, multiple(block, across), packed=True)


def exchanged_blocks(
    rows: int,
    columns: int,
    depth: int,
    times: int,
    dtype: DType,
    side_by_side: bool,
    machine: Machine,
) -> tuple[int, int] | None:
    """Rows of a block and columns of a piece where rows had better lie along vectors; else None.

    The product is done so many `times` with the same left operand, which is then packed once, and
    every sum is turned; where columns are not `side_by_side`, they would have been packed instead.
    """
    width = sum_lanes(max(rows, columns), dtype, machine)
    plain = _least_cycles(rows, columns, width, machine) * depth
    if not side_by_side:
        plain += columns * depth * PACK_CYCLES
    turned = _least_cycles(columns, rows, width, machine) * depth
    turned += rows * depth * PACK_CYCLES / times
    turned += columns * multiple(rows, width) / width * TURN_CYCLES
    if turned * EXCHANGE_GAIN > plain:
        return None
    fits = machine.l2 // 2 // (depth * dtype.itemsize)
    block = rows
    if rows > fits:
        block = _even(rows, max(width, min(fits, -(-rows // 4)) // width * width), (width,))
    return block, _even(columns, LONGEST_PIECE, (width,))


def exchanged_tile(
    rows: int, columns: int, depth: int, dtype: DType, machine: Machine
) -> TileShape:
    """The tile of an exchanged product: its right operand is packed, k is one range."""
    width = sum_lanes(columns, dtype, machine)
    height, vectors = _accumulators(rows, columns, width, machine.vector_registers)
    return TileShape(height, vectors * width, depth, columns, packed=True)


def turned_pitch(rows: int, dtype: DType) -> int:
    """Elements from one row of sums that wait to be turned to the next."""
    return rows + CACHE_LINE // dtype.itemsize if rows * dtype.itemsize % FEW_SETS == 0 else rows


def square_side(lanes: int, pitches: Sequence[int]) -> int:
    """Rows and lanes of a square that a product transposes.

    Small ones are nearly as fast, and LLVM takes a quarter of the time for them. But they use a
    part of a cache line at a time, which must stay until the rest is wanted: not where rows lie a
    power of two apart and fall into few sets of the first cache.
    """
    return lanes if any(pitch % FEW_SETS == 0 for pitch in pitches) else min(lanes, SMALL_SQUARE)


def least_of_square(lanes: int) -> int:
    """Rows and columns that a square of vectors needs to be worth its shuffles."""
    return max(2, lanes // 4)


def _row_share(rows: int, height: int, work: int) -> int:
    """Rows that a thread claims at once, so that the last tile, of fewer rows, is among them; 0
    where there is none, or too little `work` on a row for two threads."""
    tiles = -(-rows // height)
    if rows % height == 0 or not worth_threads(rows * work * 2):
        return 0
    return grain(tiles, height * work * 2) * height


def _column_share(columns: int, across: int, longest: int) -> int:
    """Columns of a block that is a thread's work: the narrower, the more often the left operand is
    read."""
    return _share(-(-columns // across), max(1, longest // across), REREAD_LEFT) * across


def _row_block(rows: int, height: int) -> int:
    """Rows of a block that is a thread's work: the fewer, the more often panels are read."""
    tiles = -(-rows // height)
    return _share(tiles, max(1, LONGEST_ROW_BLOCK // height), REREAD_RIGHT / height) * height


def _share(tiles: int, most: int, cost: float) -> int:
    """Tiles of a block, `most` at most, so that two threads come out even, and four nearly so; each
    takes the next block when it is done with one. Small blocks have a `cost`."""
    best, least = 1, math.inf
    for number in range(1, min(tiles, most) + 1):
        two, four = (_longest(tiles, number, threads) * threads / tiles for threads in (2, 4))
        found = 2 * two + four / 4 + cost / number
        if found <= least:
            best, least = number, found
    return best


def _longest(tiles: int, number: int, threads: int) -> int:
    """The most tiles that a thread gets, in blocks of so many and what is left, the last of all."""
    each, more = divmod(tiles // number, threads)
    return max((each + (more > 0)) * number, each * number + tiles % number)


def _even(count: int, longest: int, units: Sequence[int]) -> int:
    """A piece of `count`, a multiple of a unit not above `longest`, so that pieces come out even.

    An uneven last piece is another copy of all loops. Where up to half as many pieces more do not
    help, there are as few as possible, multiples of the first unit.
    """
    pieces = -(-count // longest)
    if pieces == 1:
        return count
    for unit in units:
        for number in range(pieces, pieces * 3 // 2 + 1):
            if count % (number * unit) == 0:
                return count // number
    return min(longest, multiple(-(-count // pieces), units[0]))


def _accumulators(rows: int, columns: int, width: int, registers: int) -> tuple[int, int]:
    """Rows and vectors of a tile: those that need the fewest cycles, edges included."""
    _, height, vectors = min(_tiles(rows, columns, width, registers), key=itemgetter(0))
    return height, vectors


def _least_cycles(rows: int, columns: int, width: int, machine: Machine) -> float:
    """Of one step of k in all tiles of a product."""
    return min(cycles for cycles, _, _ in _tiles(rows, columns, width, machine.vector_registers))


def _tiles(rows: int, columns: int, width: int, registers: int) -> Iterator[tuple[float, int, int]]:
    """The tiles that there may be: cycles of all of them for one k, rows and vectors of each.

    The accumulators fill the registers but for the right operand's vectors and two more.
    """
    needed = -(-columns // width)
    for vectors in range(1, min(4, needed) + 1):
        most = max(1, min(MOST_ROWS, (registers - vectors - 2) // vectors, rows))
        for height in range(1, most + 1):
            down, across = _pieces(rows, height), _pieces(needed, vectors)
            cycles = sum(n * h * m * v * _cycles(h, v) for n, h in down for m, v in across)
            yield cycles * (1 + EDGE_COST * (len(down) + len(across))), height, vectors


def _pieces(count: int, size: int) -> list[tuple[int, int]]:
    """How many pieces of which size make up a count: whole ones, and what is left."""
    found = ((count // size, size), (1, count % size))
    return [(number, piece) for number, piece in found if number and piece]


def _cycles(height: int, vectors: int) -> float:
    """Relative time of one multiply-add in a tile.

    Vectors of the right operand come from the second cache, and serve as many multiply-adds as
    the tile has rows; too few sums would wait for each other.
    """
    bound = max(1.0, REACH / height, LATENCY / (height * vectors))
    return bound + (1 / height + 1 / vectors) / 4


LONGEST_BLOCK = 64  # rows: from there on, what a block reads anew costs little beside its products


def rows_together(rows: int, count: int, row: int, right: int, machine: Machine) -> int:
    """How many of a batch's rows products that follow each other take at once; 0 for all of them.

    A row has `row` bytes between the products, all `count` rows together more than the second
    cache if blocks are to pay. Every block reads `right` bytes of right operands anew, which has
    to be less than what the block itself no longer writes to memory and reads again.
    """
    if row * count <= machine.l2:
        return 0
    longest = min(LONGEST_BLOCK, rows, max(machine.l2 // 2, machine.l3 // 8) // row)
    block = _even(rows, longest // 8 * 8, (8,)) if longest >= 8 else 0
    return block if block * row * 4 >= right else 0


def panel_pitch(depth: int) -> int:
    """Elements from one row of a panel to the next: powers of two would share a few cache sets."""
    return multiple(depth, 16) + 16
