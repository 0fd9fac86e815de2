"""Where elements come from when a square of vectors is transposed: places in two rows side by side.

Of two rows a and b of n elements, places 0..n are those of a, n..2n those of b.
"""

from __future__ import annotations

Places = list[int]


def swapped_blocks(count: int, size: int) -> tuple[Places, Places]:
    """The blocks of `size` elements off the diagonal change places: a0 b0 a2 b2.., a1 b1 a3 b3.."""
    upper = [k if not k & size else count + k - size for k in range(count)]
    lower = [k + size if not k & size else count + k for k in range(count)]
    return upper, lower


def interleaved_units(count: int, piece: int, size: int) -> tuple[Places, Places]:
    """Units of `size` elements of a and b in turns, within each piece of a vector: those of the
    piece's first half, and of its second."""
    halves: list[Places] = []
    for start in (0, piece // 2):
        places: Places = []
        for base in range(start, count, piece):
            for unit in range(base, base + piece // 2, size):
                places += [*range(unit, unit + size), *range(count + unit, count + unit + size)]
        halves.append(places)
    return halves[0], halves[1]


def mirrored(row: int, piece: int) -> int:
    """Where a row belongs after its piece has been interleaved: the bits of its place in reverse
    order."""
    place, result, bit = row % piece, 0, 1
    while bit < piece:
        result = 2 * result + bool(place & bit)
        bit *= 2
    return row - place + result
