"""Sorting, running sums and extremes, searching sorted arrays, and counting.

`sort` and `argsort` work along the last axis; other axes are moved there and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from neurlang.errors import ConcreteValueError, DomainError, DTypeError, ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    asarray,
    broadcast_to,
    cast,
    full,
    origin,
    reshape,
    result_dtype,
)
from neurlang.frontend.axes import (
    as_integer,
    as_integers,
    move_axis,
    normalize_axes,
    normalize_axis,
)
from neurlang.frontend.indexing import take
from neurlang.frontend.manipulation import join
from neurlang.frontend.rearrange import flip
from neurlang.frontend.reducing import sum_dtype
from neurlang.ir.types import BOOL, FLOAT64, INT64

SMALL_SEARCH = 16  # elements up to which comparing with all of them beats a binary search


def _along_last(name: str, x: Operand, axis: Any, compute: Callable[[Array], Array]) -> Array:
    """`compute` along one axis, as along the last; of the flattened array for None."""
    array = asarray(x)
    if axis is None:
        return compute(reshape(array, (array.size,)))
    place = normalize_axis(name, axis, array)
    last = array.ndim - 1
    return move_axis(compute(move_axis(array, place, last)), last, place)


# --- sorting ------------------------------------------------------------------------------------


def sort(
    x: Operand,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool | None = None,
) -> Array:
    """`x` with elements along `axis` in ascending order, NaN last; flattened for None.

    With `descending` in the reverse order, NaN first. Every sort is stable: `kind` and `stable`
    change nothing.
    """

    def compute(array: Array) -> Array:
        ordered = apply("sort", array)
        return flip(ordered, -1) if descending else ordered

    return _along_last("sort", x, axis, compute)


def argsort(
    x: Operand,
    /,
    axis: int | None = -1,
    kind: str | None = None,
    *,
    descending: bool = False,
    stable: bool | None = None,
) -> Array:
    """The int64 indices that sort `x` along `axis`, of the flattened array for None.

    Equal elements keep their order, also with `descending`, which puts NaN first. A scalar counts
    as a vector of one element, as in NumPy.
    """
    array = asarray(x)

    def compute(rows: Array) -> Array:
        return _descending(rows) if descending else apply("argsort", rows)

    return _along_last("argsort", reshape(array, array.shape or (1,)), axis, compute)


def _descending(x: Array) -> Array:
    """Stable: the reverse of what sorts the reversed array, counted from the other end."""
    order = flip(apply("argsort", flip(x, -1)), -1)
    return apply("sub", full(order.shape, x.shape[-1] - 1, INT64), order)


def partition(x: Operand, /, kth: Any, axis: int | None = -1, kind: str | None = None) -> Array:
    """`x` with the elements at `kth` where sorting puts them, smaller ones before: all are sorted.

    `kth` is a known integer or several, in the range of the axis; else a DomainError.
    """
    ordered = sort(x, axis)
    _check_places("partition", kth, ordered, axis)
    return ordered


def argpartition(x: Operand, /, kth: Any, axis: int | None = -1, kind: str | None = None) -> Array:
    """The int64 indices that `partition` the elements along `axis`."""
    order = argsort(x, axis)
    _check_places("argpartition", kth, order, axis)
    return order


def _check_places(name: str, kth: Any, x: Array, axis: int | None) -> None:
    size = x.shape[-1 if axis is None else axis]
    for place in as_integers(name, "kth", kth):
        if not -size <= place < size:
            raise DomainError(f"{name}: kth {place} is out of range for size {size}")


def top_k(x: Operand, /, k: int, *, axis: int = -1) -> tuple[Array, Array]:
    """The `k` largest elements along `axis`, largest first, and their int64 indices.

    NaN counts as largest; of equal elements the first come first. ShapeError for k out of range.
    """
    array = asarray(x)
    place = normalize_axis("top_k", axis, array)
    count = as_integer("top_k", "k", k)
    if not 0 <= count <= array.shape[place]:
        raise ShapeError(
            f"top_k of {array.node.type} along axis {place} with k = {count}",
            origin=origin(array),
            hint=f"k must lie in 0..{array.shape[place]}",
        )
    last = array.ndim - 1
    rows = move_axis(array, place, last)
    indices = apply("top_k", rows, count=count)
    values = pick_in_rows(rows, indices)
    return move_axis(values, last, place), move_axis(indices, last, place)


def pick_in_rows(x: Array, indices: Array) -> Array:
    """x[..., indices[..., j]]."""
    rows = [
        apply("iota", shape=indices.shape, axis=axis, dtype=INT64) for axis in range(x.ndim - 1)
    ]
    return apply("gather", x, *rows, indices, axis=0)


# --- running sums, products and extremes --------------------------------------------------------


def cumsum(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Array:
    """Running sums along `axis`, of the flattened array for None; dtypes as for `sum`."""
    array = asarray(x)
    return _accumulate("cumsum", "sum", cast(array, sum_dtype(array, dtype)), axis)


def cumprod(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Array:
    """Running products along `axis`, of the flattened array for None; dtypes as for `sum`."""
    array = asarray(x)
    return _accumulate("cumprod", "prod", cast(array, sum_dtype(array, dtype)), axis)


def cummax(x: Operand, /, axis: int | None = None) -> Array:
    """Running maxima along `axis`, of the flattened array for None; NaN from the first one on."""
    return _accumulate("cummax", "max", asarray(x), axis)


def cummin(x: Operand, /, axis: int | None = None) -> Array:
    """Running minima along `axis`, of the flattened array for None; NaN from the first one on."""
    return _accumulate("cummin", "min", asarray(x), axis)


def _accumulate(name: str, op: str, x: Array, axis: Any) -> Array:
    """The primitive, which has no bools: those are counted as bytes 0 and 1 meanwhile."""
    if not x.ndim and axis in (0, -1):
        axis = None
    if x.dtype == BOOL:
        extreme = {"sum": "max", "prod": "min"}.get(op, op)
        return cast(_accumulate(name, extreme, cast(x, np.dtype("uint8")), axis), BOOL)
    if axis is None:
        return apply("cumulative", reshape(x, (x.size,)), op=op, axis=0)
    place = normalize_axis(name, axis, x)
    inner = x.shape[place + 1 :]
    rows = reshape(x, (*x.shape[: place + 1], math.prod(inner))) if len(inner) > 1 else x
    return reshape(apply("cumulative", rows, op=op, axis=place), x.shape)


def cumulative_sum(
    x: Operand,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Array:
    """Running sums along `axis`, which only vectors may leave out; with the sum of none first."""
    return _cumulative("cumulative_sum", cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Operand,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Array:
    """Running products along `axis`, which only vectors may leave out; with 1 first if asked."""
    return _cumulative("cumulative_prod", cumprod, 1, x, axis, dtype, include_initial)


def _cumulative(
    name: str,
    function: Callable[..., Array],
    initial: int,
    x: Operand,
    axis: Any,
    dtype: Any,
    include_initial: bool,
) -> Array:
    array = asarray(x)
    array = reshape(array, array.shape or (1,))
    if axis is None and array.ndim > 1:
        raise ShapeError(f"{name} of {array.node.type} needs an axis", hint="give axis=")
    places = normalize_axes(name, 0 if axis is None else axis, array)
    if len(places) != 1:
        raise ShapeError(f"{name} along {list(places)}", hint="give one axis")
    place = places[0]
    result = function(array, place, dtype)
    if not include_initial:
        return result
    shape = (*array.shape[:place], 1, *array.shape[place + 1 :])
    return join([full(shape, initial, result.dtype), result], place)


# --- searching ----------------------------------------------------------------------------------


def searchsorted(x1: Operand, x2: Operand, /, side: str = "left", sorter: Operand = None) -> Array:
    """Where each value of `x2` must be inserted into the ascending vector `x1` to keep its order.

    int64 indices of the shape of `x2`: before equal elements, or after them with `side` "right".
    NaN counts as largest. `sorter` are indices that sort `x1`. Compares with all elements of short
    vectors; else an unrolled binary search, one gather for each bit of the size.
    """
    sorted_array, values = asarray(x1), asarray(x2)
    if sorted_array.ndim != 1:
        raise ShapeError(f"searchsorted in {sorted_array.node.type}", hint="it takes a vector")
    if side not in ("left", "right"):
        raise DomainError(f"searchsorted has no side {side!r}", hint="use 'left' or 'right'")
    if sorter is not None:
        sorted_array = take(sorted_array, sorter)
    dtype = result_dtype(cast(sorted_array, sorted_array.dtype), cast(values, values.dtype))
    sorted_array, values = cast(sorted_array, dtype), cast(values, dtype)
    if sorted_array.size <= SMALL_SEARCH:
        return _count_before(sorted_array, values, side)
    return _binary_search(sorted_array, values, side)


def _stands_before(element: Array, value: Array, side: str) -> Array:
    """Whether a value is inserted after an element; NaN is larger than all else."""
    if element.dtype == BOOL:
        element, value = (cast(each, np.dtype("uint8")) for each in (element, value))
    found = apply("less" if side == "left" else "less_equal", element, value)
    if element.dtype.kind != "f":
        return found
    value_is_nan = apply("not", apply("equal", value, value))
    if side == "left":
        value_is_nan = apply("and", value_is_nan, apply("equal", element, element))
    return apply("or", found, value_is_nan)


def _count_before(sorted_array: Array, values: Array, side: str) -> Array:
    shape = (*values.shape, sorted_array.size)
    each = broadcast_to(reshape(values, (*values.shape, 1)), shape)
    before = _stands_before(broadcast_to(sorted_array, shape), each, side)
    return apply("reduce_sum", cast(before, INT64), axes=(values.ndim,))


def _binary_search(sorted_array: Array, values: Array, side: str) -> Array:
    """The count of elements before each value, from its highest bit to its lowest.

    A bit is set where the element that it would make the last one still stands before the value.
    """
    size = full(values.shape, sorted_array.size, INT64)
    one = full(values.shape, 1, INT64)
    found = full(values.shape, 0, INT64)
    for bit in reversed(range(sorted_array.size.bit_length())):
        count = apply("add", found, full(values.shape, 1 << bit, INT64))
        last = apply("sub", apply("min", count, size), one)
        element = apply("gather", sorted_array, last, axis=0)
        grows = apply(
            "and", apply("less_equal", count, size), _stands_before(element, values, side)
        )
        found = apply("where", grows, count, found)
    return found


def digitize(x: Operand, bins: Operand, right: bool = False) -> Array:
    """The int64 number of the bin of each element: how many edges stand before it.

    `bins` is a monotonic vector; whether it is cannot be told where it is traced, only which way
    it goes. An edge belongs to the bin above it, with `right` to the one below.
    """
    edges = asarray(bins)
    side = "left" if right else "right"
    known = known_value(edges)
    if known is None:
        return _digitize_traced(edges, x, side)
    if (known[1:] >= known[:-1]).all():
        return searchsorted(edges, x, side)
    if (known[1:] > known[:-1]).any():
        raise DomainError("digitize takes monotonic bins", hint="sort them first")
    above = searchsorted(flip(edges), x, side)
    return apply("sub", full(above.shape, edges.size, INT64), above)


def _digitize_traced(edges: Array, x: Operand, side: str) -> Array:
    """Edges that descend are turned around, and the bins counted from the other end."""
    if edges.size < 2:
        return searchsorted(edges, x, side)
    first, last = take(edges, 0), take(edges, edges.size - 1)
    descends = apply("less", last, first)
    turned = apply("where", broadcast_to(descends, edges.shape), flip(edges), edges)
    found = searchsorted(turned, x, side)
    other = apply("sub", full(found.shape, edges.size, INT64), found)
    return apply("where", broadcast_to(descends, found.shape), other, found)


def known_value(x: Array) -> Any:
    """The NumPy array where it is known now, else None."""
    if x.node.op == "const":
        return np.broadcast_to(x.node.attrs["value"], x.shape)
    return x.value("its values") if x.traced_by is None else None


def bincount(x: Operand, /, weights: Operand = None, minlength: int = 0) -> Array:
    """How often each of 0, 1, 2, ... stands in a vector of integers, or the sums of its weights.

    int64, with weights float64. The size is the largest element plus 1, at least `minlength`; of
    a traced vector it is `minlength`, and larger elements are an IndexingError when it is run.
    """
    array = asarray(x)
    if array.dtype.kind == "f":
        raise DTypeError(f"bincount of {array.node.type}", hint="convert with astype('int64')")
    if array.ndim != 1:
        raise ShapeError(f"bincount of {array.node.type}", hint="it takes a vector")
    length = _bin_count(array, as_integer("bincount", "minlength", minlength))
    index = cast(array, INT64)
    negative = apply("less", index, full(index.shape, 0, INT64))
    index = apply("where", negative, full(index.shape, length, INT64), index)
    dtype = INT64 if weights is None else FLOAT64
    amounts = full(index.shape, 1, INT64) if weights is None else asarray(weights, FLOAT64)
    if amounts.shape != index.shape:
        raise ShapeError(f"bincount with weights {amounts.node.type} for {array.node.type}")
    return apply("scatter", full((length,), 0, dtype), index, amounts, mode="add")


def _bin_count(x: Array, least: int) -> int:
    """The size of the result of bincount."""
    known = known_value(x)
    if least < 0 or (known is not None and (known < 0).any()):
        raise DomainError("bincount takes integers and a minlength that are not negative")
    if known is not None:
        return max(least, int(known.max()) + 1 if known.size else 0)
    if not least:
        raise ConcreteValueError(
            f"bincount of {x.node.type} needs minlength: its size depends on values",
            origin=origin(x),
            hint="give minlength=, which is the size of the result",
        )
    return least


__all__ = """
    argpartition argsort bincount cummax cummin cumprod cumsum cumulative_prod cumulative_sum
    digitize partition searchsorted sort top_k
""".split()
