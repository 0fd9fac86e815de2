"""Indices that sort come from sorting integers that no two elements share.

An element's key is its place in the order of its dtype, and behind it its index:

    argsort(x) = sort(place(x) << 32 | index) & 0xFFFFFFFF

Equal elements keep their order, so any sort will do, and the fastest is not stable. Computing keys
fuses with what computes x. Places of 64 bits leave no room for an index: long rows are sorted by
the lower half first, then by the upper half, as a radix sort does. In short ones the upper half
mostly tells all elements apart: a library step sorts by it, and looks at the others again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, make_constant, make_node, rebuild, with_args
from neurlang.ir.types import INT64, DType, Type

INDEX_BITS = 32
SHORT = 1 << 13  # elements of a row of which few agree in the upper half
LOW = (1 << INDEX_BITS) - 1
UINT32, UINT64 = np.dtype(np.uint32), np.dtype(np.uint64)


def sort_by_keys(graph: Graph) -> Graph:
    """Rewrite every `argsort` whose indices fit in 32 bits, but short rows of uint64.

    The indices are the same.
    """
    return rebuild(graph, _rewrite, ops={"argsort"})


def _rewrite(node: Node, args: tuple[Node, ...]) -> Node:
    (source,) = args
    short = source.dtype.itemsize == 8 and source.shape[-1] <= SHORT
    if source.shape[-1] > 1 << INDEX_BITS or (short and source.dtype == UINT64):
        return with_args(node, args)
    keys = _Keys(node)
    return keys.apply("argsort", keys.place(source)) if short else keys.sorting(source)


class _Keys:
    """Makes nodes that stand on the user's line of one sort."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.shape = node.shape

    def sorting(self, source: Node) -> Node:
        place = self.place(source)
        index = self.apply("iota", shape=self.shape, axis=len(self.shape) - 1, dtype=UINT64)
        if place.dtype == UINT32:
            return self.bits(self.order(self.cast(place, UINT64), index), INT64)
        lower = self.order(self.apply("and", place, self.number(LOW, UINT64)), index)
        upper = self.apply("shift_right", place, self.number(INDEX_BITS, UINT64))
        position = self.order(self.looked_up(upper, lower), index)
        return self.bits(self.looked_up(lower, position), INT64)

    def order(self, places: Node, index: Node) -> Node:
        """The indices, as uint64, of places below 2**32 in ascending order."""
        above = self.apply("shift_left", places, self.number(INDEX_BITS, UINT64))
        ordered = self.apply("sort", self.apply("or", above, index))
        return self.apply("and", ordered, self.number(LOW, UINT64))

    def place(self, source: Node) -> Node:
        """Where elements stand in their dtype's order: uint32, or uint64 for 8 bytes."""
        dtype = source.dtype
        result = UINT64 if dtype.itemsize == 8 else UINT32
        if dtype.kind in "ub":
            return self.cast(source, result)
        if dtype.kind == "f":
            return self.float_place(source, result)
        signed = np.dtype(f"i{result.itemsize}")
        return self.flipped(self.bits(self.cast(source, signed), result))

    def float_place(self, source: Node, result: DType) -> Node:
        """The bits of floats of one sign are in order, those of negative ones backwards.

        Both zeros are equal, and NaN is larger than everything.
        """
        signed = np.dtype(f"i{result.itemsize}")
        zero = self.apply("add", source, self.number(0, source.dtype))  # no -0.0 is left
        bits = self.bits(zero, signed)
        sign = self.apply("shift_right", bits, self.number(8 * result.itemsize - 1, signed))
        place = self.flipped(self.bits(self.apply("xor", bits, self.magnitude(sign)), result))
        number = self.apply("equal", source, source)
        return self.apply("where", number, place, self.number(np.iinfo(result).max, result))

    def magnitude(self, sign: Node) -> Node:
        """All bits but the sign's."""
        return self.apply("and", sign, self.number(np.iinfo(sign.dtype).max, sign.dtype))

    def flipped(self, place: Node) -> Node:
        """Negative ones before the others."""
        highest = self.number(1 << (8 * place.dtype.itemsize - 1), place.dtype)
        return self.apply("xor", place, highest)

    def looked_up(self, values: Node, index: Node) -> Node:
        """Elements of each row at indices of that row."""
        *outer, size = self.shape
        rows = int(np.prod(outer))
        flat = self.apply("reshape", values, shape=(values.type.size,))
        places = self.bits(index, INT64)
        if rows > 1:
            row = self.apply("iota", shape=(rows, size), axis=0, dtype=INT64)
            starts = self.apply("mul", row, self.constant(size, INT64, (rows, size)))
            starts = self.apply("reshape", starts, shape=self.shape)
            places = self.apply("add", starts, places)
        return self.apply("gather", flat, places, axis=0)

    # nodes

    def apply(self, op: str, *args: Node, **attrs: Any) -> Node:
        return make_node(op, args, self.node.where, **attrs)

    def cast(self, source: Node, dtype: DType) -> Node:
        return source if source.dtype == dtype else self.apply("cast", source, dtype=dtype)

    def bits(self, source: Node, dtype: DType) -> Node:
        return self.apply("bitcast", source, dtype=dtype)

    def number(self, value: int, dtype: DType) -> Node:
        return self.constant(value, dtype, self.shape)

    def constant(self, value: int, dtype: DType, shape: tuple[int, ...]) -> Node:
        return make_constant(np.asarray(value, dtype), Type(dtype, shape), self.node.where)
