"""Squares of vectors whose rows and lanes change places."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.writer import BITS, SMALLEST_REGISTER, Value, Writer


def transposed(writer: Writer, rows: Sequence[Value]) -> list[Value]:
    """As many vectors as each has lanes: lane l of row r becomes lane r of row l.

    Within 128 bits rows are interleaved, by ever longer pieces, for which every processor has
    instructions; then pieces of 128 bits change places.
    """
    count = len(rows)
    piece = min(count, SMALLEST_REGISTER // BITS[rows[0].scalar])
    found, size = list(rows), 1
    while size < piece:
        before = list(found)
        for first in range(0, count, 2 * size):
            for number in range(size):
                pair = before[first + number], before[first + number + size]
                for half in (0, 1):
                    lanes = _interleaved(count, piece, size, half)
                    found[first + 2 * number + half] = writer.shuffle(*pair, lanes)
        size *= 2
    for number in range(piece):
        found[number::piece] = _exchanged(writer, found[number::piece], piece)
    return found


def _exchanged(writer: Writer, rows: Sequence[Value], piece: int) -> list[Value]:
    """As many vectors as each has pieces: piece p of row r becomes piece r of row p."""

    def of(a: Value, b: Value, first: int, step: int) -> Value:
        """Half of the pieces of each of two vectors."""
        each = range(first, first + step * count // 2, step)
        pieces = [*each, *(count + number for number in each)]
        return writer.shuffle(a, b, [n * piece + lane for n in pieces for lane in range(piece)])

    count = len(rows)
    match rows:
        case [a, b]:
            return [of(a, b, 0, 1), of(a, b, 1, 1)]
        case [a, b, c, d]:
            halves = [(of(a, b, first, 1), of(c, d, first, 1)) for first in (0, 2)]
            return [of(*pair, number, 2) for pair in halves for number in (0, 1)]
        case _:
            return list(rows)


def _interleaved(count: int, piece: int, size: int, half: int) -> list[int]:
    """Lanes of two vectors, `size` of each in turn, from one half of every piece."""
    lanes: list[int] = []
    for first in range(half * piece // 2, count, piece):
        for start in range(first, first + piece // 2, size):
            ours = range(start, start + size)
            lanes += [*ours, *(count + lane for lane in ours)]
    return lanes
