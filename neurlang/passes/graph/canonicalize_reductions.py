"""Every reduction is over one axis; arg-reductions become two plain ones; long ones become chunks.

What remains is what the schedules handle, and the order of every sum depends on shape, axes and
dtype alone.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from neurlang.ir.graph import Graph, Node, make_constant, make_node, rebuild, with_args
from neurlang.ir.identities import REDUCTIONS, identity
from neurlang.ir.ops import PURE_VIEWS, REDUCES
from neurlang.ir.types import INT32, INT64, DType, Shape

CHUNK = 1 << 15  # elements that one thread reduces before the partial results are combined
LONG = 4 * CHUNK
WIDTH = 64  # elements that a sum adds at once
LONG_ROW = 256  # elements of a last axis that is worth reducing on its own
REWRITTEN = frozenset(op.name for op in REDUCES) | {"dot"}
FEW_ROWS = 16  # with more outer elements than this, the outer loop feeds the threads


def canonicalize_reductions(graph: Graph) -> Graph:
    """Rewrite every reduction into reductions over a single axis of more than one element."""
    return rebuild(graph, _rewrite, ops=REWRITTEN)


def _rewrite(node: Node, args: tuple[Node, ...]) -> Node:
    if node.op == "dot" and not args[0].shape[-1]:
        return make_constant(np.zeros((), node.dtype), node.type, node.where)  # an empty sum
    if node.op == "dot":
        return with_args(node, args)
    (source,) = args
    if node.op in ("argmax", "argmin"):
        return _arg_reduce(node, source)
    return _reduce(node, source)


def _reduce(node: Node, source: Node) -> Node:
    axes = node.attrs["axes"]
    empty = math.prod(source.shape[axis] for axis in axes) == 0
    if empty:
        value = np.asarray(identity(REDUCTIONS[node.op], node.dtype))
        if node.op == "reduce_sum":
            value = np.zeros((), node.dtype)
        return make_constant(value, node.type, node.where)
    result = source
    for run in reversed(neighbouring_axes(axes, source.shape)):
        result = _one_run(node, result, run)
    return _reshape(result, node.shape, node)


def neighbouring_axes(axes: tuple[int, ...], shape: Shape) -> list[tuple[int, int]]:
    """Neighbours among axes together: (0, 1, 3) is 0..2 and 3..4; but long rows stay rows.

    As one axis, neighbours that do not lie contiguous would need a division for every element.
    """
    if not axes:
        return []
    cuts = [0, *(k + 1 for k, (a, b) in enumerate(pairwise(axes)) if b != a + 1), len(axes)]
    runs = []
    for start, stop in ((axes[a], axes[b - 1] + 1) for a, b in pairwise(cuts)):
        last = stop - 1
        if stop - start > 1 and shape[last] >= LONG_ROW:
            runs += [(start, last), (last, stop)]
        else:
            runs.append((start, stop))
    return runs


def _one_run(node: Node, source: Node, run: tuple[int, int]) -> Node:
    """Reduce neighbouring axes as one; kept axes of size 1 behind them would hide a last axis."""
    start, stop = run
    before, after = source.shape[:start], source.shape[stop:]
    count = math.prod(source.shape[start:stop])
    if count == 1:
        return _reshape(_positive_zeros(node, source), (*before, *after), node)
    outer, right = math.prod(before), math.prod(after)
    behind = after if right != 1 else ()
    flat = _reshape(source, (*before, count, *behind), node)
    reduced = _long(node, flat, start) if _is_long(outer, count, right) else None
    if reduced is None:
        reduced = _reduced(node, flat, start)
    return _reshape(reduced, (*before, *after), node)


def _reduced(node: Node, source: Node, axis: int) -> Node:
    """One reduction over one axis; a sum of narrow integers in no wider a dtype than it needs."""
    if node.op == "reduce_sum" and node.dtype.kind in "iu":
        narrow = _narrowed(source, source.shape[axis])
        if narrow is not None:
            total = make_node(node.op, [narrow], node.where, axes=(axis,))
            return make_node("cast", [total], node.where, dtype=node.dtype)
    return make_node(node.op, [source], node.where, axes=(axis,))


def _narrowed(source: Node, count: int) -> Node | None:
    """What a sum of so many elements adds, in the narrowest dtype that holds it; None where that
    is the dtype that they have. Counts of what holds somewhere are such sums."""
    if source.op in PURE_VIEWS:
        inner = _narrowed(source.args[0], count)
        if inner is None:
            return None
        return make_node(source.op, [inner], source.where, **source.attrs)
    if source.op != "cast" or source.args[0].dtype.kind not in "biu":
        return None
    (value,) = source.args
    most = 1 if value.dtype.kind == "b" else max(map(abs, _bounds(value.dtype)))
    sign = "int" if value.dtype.kind == "i" else "uint"
    for bits in (16, 32):
        dtype = np.dtype(f"{sign}{bits}")
        between = value.dtype.itemsize <= dtype.itemsize < source.dtype.itemsize
        if between and count * most <= _bounds(dtype)[1]:
            return make_node("cast", [value], source.where, dtype=dtype)
    return None


def _bounds(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _positive_zeros(node: Node, source: Node) -> Node:
    """A sum of one element is that element, but +0.0 where it is -0.0."""
    if node.op != "reduce_sum" or node.dtype.kind != "f":
        return source
    zero = make_constant(np.zeros((), node.dtype), source.type, node.where)
    return make_node("add", [source, zero], node.where)


def _is_long(outer: int, count: int, right: int) -> bool:
    """Whether there are too few results to give every thread some, and much to add for each."""
    return outer * right < FEW_ROWS * 16 and outer < FEW_ROWS and count * right >= LONG


def _chunk(count: int, longest: int) -> int:
    """The longest chunk of which a whole number makes up `count`: a rest needs kernels of its own.

    Multiples of the width of sums go first; where none from half of `longest` on divides `count`,
    there is a rest.
    """
    for unit in (WIDTH, 1):
        for size in range(longest // unit * unit, longest // 2, -unit):
            if count % size == 0:
                return size
    return longest


def _long(node: Node, flat: Node, axis: int) -> Node:
    """Chunks of a fixed size, then the results of the chunks."""
    count = flat.shape[axis]
    right = math.prod(flat.shape[axis + 1 :])
    size = _chunk(count, max(1, CHUNK // right))
    chunks, rest = divmod(count, size)
    main = _sliced(flat, axis, 0, chunks * size, node) if rest else flat
    shape = (*flat.shape[:axis], chunks, size, *flat.shape[axis + 1 :])
    parts = _reduced(node, _reshape(main, shape, node), axis + 1)
    if rest:
        tail = _sliced(flat, axis, chunks * size, rest, node)
        last = _reduced(node, tail, axis)
        kept = (*last.shape[:axis], 1, *last.shape[axis:])
        joined = [parts, _reshape(last, kept, node)]
        parts = make_node("concat", joined, node.where, axis=axis)
    return make_node(node.op, [parts], node.where, axes=(axis,))


def _sliced(source: Node, axis: int, start: int, size: int, node: Node) -> Node:
    starts = [0] * len(source.shape)
    sizes = list(source.shape)
    starts[axis], sizes[axis] = start, size
    steps = (1,) * len(source.shape)
    return make_node(
        "slice", [source], node.where, start=tuple(starts), size=tuple(sizes), step=steps
    )


def _reshape(source: Node, shape: Shape, node: Node) -> Node:
    if source.shape == shape:
        return source
    return make_node("reshape", [source], node.where, shape=shape)


def _arg_reduce(node: Node, source: Node) -> Node:
    """The least index at which the extreme value, or a NaN, stands."""
    axes, where = node.attrs["axes"], node.where
    rank = len(source.shape)
    start, stop = (axes[0], axes[-1] + 1) if axes else (rank, rank)
    if stop - start > len(axes):  # they do not lie side by side
        kept = [axis for axis in range(rank) if axis not in axes]
        source = make_node("transpose", [source], where, axes=(*kept, *axes))
        start, stop = len(kept), rank
    before, after = source.shape[:start], source.shape[stop:]
    count, axis = math.prod(source.shape[start:stop]), start
    flat = _reshape(source, (*before, count, *after), node)
    if flat.dtype.kind == "b":
        flat = make_node("cast", [flat], where, dtype=np.dtype("uint8"))
    first = _first_place(node, flat, axis)
    first = _reshape(first, node.shape, node)
    return first if first.dtype == INT64 else make_node("cast", [first], where, dtype=INT64)


def _first_place(node: Node, flat: Node, axis: int) -> Node:
    """Of each run along an axis the least index of its extreme value; long runs by chunks.

    The first of the chunks that have the best value of all is the one whose place counts: its
    elements are read once, and wait in the cache for the search.
    """
    shape = flat.shape
    outer, count, right = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    dtype = INT32 if count < 2**31 else INT64
    if right != 1 or not _is_long(outer, count, right):
        best = _extreme(node, flat, axis)
        return _least_index(node, flat, best, axis, _places(flat.shape, axis, dtype, node))
    size = _chunk(count, CHUNK)
    chunks = count // size
    bests, places = [], []
    for start, number, length in ((0, chunks, size), (chunks * size, 1, count - chunks * size)):
        if not length:
            continue
        part = _sliced(flat, axis, start, number * length, node)
        rows = _reshape(part, (*shape[:axis], number, length), node)
        best = _extreme(node, rows, axis + 1)
        inside = _places(rows.shape, axis + 1, dtype, node)
        place = _least_index(node, rows, best, axis + 1, inside)
        offset = _times(_places(best.shape, axis, dtype, node), length, start)
        bests.append(best)
        places.append(make_node("add", [place, offset], node.where))
    best, place = (_joined(parts, axis, node) for parts in (bests, places))
    return _least_index(node, best, _extreme(node, best, axis), axis, place)


def _extreme(node: Node, source: Node, axis: int) -> Node:
    op = "reduce_max" if node.op == "argmax" else "reduce_min"
    return _reduce(make_node(op, [source], node.where, axes=(axis,)), source)


def _least_index(node: Node, source: Node, best: Node, axis: int, index: Node) -> Node:
    """The least index of those elements along an axis that are the best, or NaN."""
    where = node.where
    spread = _reshape(best, (*best.shape[:axis], 1, *best.shape[axis:]), node)
    spread = make_node("broadcast", [spread], where, shape=source.shape)
    found = make_node("equal", [source, spread], where)
    if source.dtype.kind == "f":
        number = make_node("equal", [source, source], where)
        found = make_node("or", [found, make_node("not", [number], where)], where)
    most = np.asarray(np.iinfo(index.dtype).max, index.dtype)
    beyond = make_constant(most, index.type, where)
    chosen = make_node("where", [found, index, beyond], where)
    return _reduce(make_node("reduce_min", [chosen], where, axes=(axis,)), chosen)


def _places(shape: Shape, axis: int, dtype: DType, node: Node) -> Node:
    return make_node("iota", (), node.where, dtype=dtype, shape=shape, axis=axis)


def _times(index: Node, factor: int, more: int) -> Node:
    """index * factor + more."""
    numbers = (np.asarray(number, index.dtype) for number in (factor, more))
    by, to = (make_constant(number, index.type, index.where) for number in numbers)
    scaled = make_node("mul", [index, by], index.where)
    return make_node("add", [scaled, to], index.where)


def _joined(parts: list[Node], axis: int, node: Node) -> Node:
    return make_node("concat", parts, node.where, axis=axis) if len(parts) > 1 else parts[0]
