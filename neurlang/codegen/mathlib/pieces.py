"""Functions given by a polynomial for each of 16 cells of the argument, narrow near 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neurlang.codegen.mathlib.common import at_most, evaluate_polynomial
from neurlang.codegen.mathlib.lanes import index_bits, look_up
from neurlang.codegen.writer import Value, Writer

# Cells end where y * STRETCH / span + 1/2 has two bits after its first; the span is just below 8.
STRETCH, OFFSET = 7.4999, 0.5
CELL_BITS = 2
Rows = Sequence[Sequence[float]]


class Piece(NamedTuple):
    """A function is value + t * slope, the value being as exact as a float can be.

    `first` says whether the argument is in the first cell.
    """

    first: Value
    value: Value
    t: Value
    slope: Value


def evaluate_piece(writer: Writer, y: Value, rows: Rows, span: float) -> Piece:
    """A function of 0 <= y <= span from its table: middles, values there, coefficients.

    The middle was searched for such that the value is nearly exact: only the sum is rounded by
    much. Source: Gal and Bachelis, An accurate elementary mathematical library for the IEEE
    floating point standard, 1991.
    """
    scaled = writer.fma(y, writer.constant(STRETCH / span, y), writer.constant(OFFSET, y))
    index = index_bits(writer, scaled, CELL_BITS)
    middle, value, *coefficients = (look_up(writer, row, index, y.scalar) for row in rows)
    t = writer.fsub(y, middle)
    first = writer.fcmp("olt", scaled, writer.constant(OFFSET + 0.125, y))
    return Piece(first, value, t, evaluate_polynomial(writer, t, coefficients))


def odd_function(writer: Writer, x: Value, rows: Rows, span: float) -> Value:
    """An odd function that is what it is at `span` for all larger x.

    In the first cell it is x + x p(x), with the coefficients of p: x is as good as a value.
    """
    y = at_most(writer, writer.fabs(x), span)
    piece = evaluate_piece(writer, y, rows, span)
    value = writer.select(piece.first, y, piece.value)
    return writer.copysign(writer.fma(piece.t, piece.slope, value), x)
