"""Indices that sort come from sorting integers that no two elements share.

An element's key is its place in the order of its dtype, and behind it its index:

    argsort(x) = sort(place(x) << 32 | index) & 0xFFFFFFFF

Equal elements keep their order, so any sort will do, and the fastest is not stable. Computing keys
fuses with what computes x. Elements of 16 bits in rows of at most 65,536 have keys of 32, which are
sorted in half the time. Places of 64 bits leave no room for an index unless the row's range is
smaller, which shows when it runs: a library step makes their keys. The largest elements of short
rows come first where places count backwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, make_constant, make_node, rebuild, with_args
from neurlang.ir.types import INT64, DType, Shape, Type

INDEX_BITS, NARROW_INDEX_BITS = 32, 16
SHORT, FEW = 8 << 10, 1 << 12  # bytes of a row, or elements of all: sorted before they are searched
UINT16, UINT32, UINT64 = np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64)


def sort_by_keys(graph: Graph) -> Graph:
    """Rewrite every `argsort` whose indices fit in 32 bits, and `top_k` of short rows.

    The indices are the same.
    """
    return rebuild(graph, _rewrite, ops={"argsort", "top_k"})


def has_keys(dtype: DType, size: int) -> bool:
    """Whether rows of so many elements are places that leave room for an index in their keys."""
    return dtype == UINT64 and size <= 1 << INDEX_BITS


def _rewrite(node: Node, args: tuple[Node, ...]) -> Node:
    (source,) = args
    size = source.shape[-1]
    keys = _Keys(node, source.shape)
    short = size * source.dtype.itemsize <= SHORT or source.type.size <= FEW
    if node.op == "top_k" and short:
        order = keys.sorting(keys.inverted(keys.place(source)))
        zeros, ones = (0,) * len(node.shape), (1,) * len(node.shape)
        return keys.apply("slice", order, start=zeros, size=node.shape, step=ones)
    if node.op == "argsort" and size <= 1 << INDEX_BITS and source.dtype != UINT64:
        return keys.sorting(keys.place(source))
    return with_args(node, args)


class _Keys:
    """Makes nodes that stand on the user's line of one sort."""

    def __init__(self, node: Node, shape: Shape) -> None:
        self.node = node
        self.shape = shape

    def sorting(self, place: Node) -> Node:
        """The int64 indices that sort places."""
        if place.dtype == UINT64:
            return self.apply("argsort", place)
        narrow = place.dtype == UINT16 and self.shape[-1] <= 1 << NARROW_INDEX_BITS
        key, bits = (UINT32, NARROW_INDEX_BITS) if narrow else (UINT64, INDEX_BITS)
        index = self.apply("iota", shape=self.shape, axis=len(self.shape) - 1, dtype=key)
        above = self.apply("shift_left", self.cast(place, key), self.number(bits, key))
        ordered = self.apply("sort", self.apply("or", above, index))
        return self.cast(self.apply("and", ordered, self.number((1 << bits) - 1, key)), INT64)

    def inverted(self, place: Node) -> Node:
        """The places of the opposite order."""
        highest = self.number(np.iinfo(place.dtype).max, place.dtype)
        return self.apply("xor", place, highest)

    def place(self, source: Node) -> Node:
        """Where elements stand in their dtype's order: of their size, but at least uint16."""
        dtype = source.dtype
        result = np.dtype(f"u{max(2, dtype.itemsize)}")
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

    # nodes

    def apply(self, op: str, *args: Node, **attrs: Any) -> Node:
        return make_node(op, args, self.node.where, **attrs)

    def cast(self, source: Node, dtype: DType) -> Node:
        return source if source.dtype == dtype else self.apply("cast", source, dtype=dtype)

    def bits(self, source: Node, dtype: DType) -> Node:
        return self.apply("bitcast", source, dtype=dtype)

    def number(self, value: int, dtype: DType) -> Node:
        type = Type(dtype, self.shape)
        return make_constant(np.asarray(value, dtype), type, self.node.where)
