"""Medians, quantiles and percentiles: sorted rows, read at places between two neighbours.

`axis` is an integer, a tuple of integers, or None for all axes, as for reductions. Integers are
computed in float64. Functions named `nan...` leave NaN out, row by row; NaN where all is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurlang.errors import DomainError, DTypeError, IndexingError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    as_weak_array,
    asarray,
    broadcast_to,
    cast,
    full,
    origin,
    reshape,
)
from neurlang.frontend.axes import averaged_axes, permute, slice_axis
from neurlang.frontend.elementwise import (
    add,
    divide,
    floor,
    greater_equal,
    isnan,
    multiply,
    subtract,
    where,
)
from neurlang.frontend.ordering import known_value, pick_in_rows
from neurlang.frontend.rearrange import select
from neurlang.frontend.reducing import Axes, kept_shape, mean_dtype
from neurlang.ir.types import BOOL, FLOAT64, INT64, Shape


def median(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """The middle value over `axis`, or the mean of the two middle ones; NaN where one is NaN.

    float64 for integers and bools, else the dtype of `x`. Of no elements it is NaN.
    """
    rows, axes = _sorted_rows("median", asarray(x), axis)
    size = rows.shape[-1]
    if size:
        found = _middle(rows, [(size - 1) // 2], [size // 2])
        found = _nan_where_last_is(rows, found)
    else:
        found = _of_nothing(rows)
    return _without_axes(found, asarray(x), axes, (), keepdims)


def nanmedian(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """`median` of what is not NaN; NaN where all is."""
    array = asarray(x)
    rows, axes = _sorted_rows("nanmedian", array, axis)
    if array.dtype.kind != "f" or not rows.shape[-1]:
        return median(array, axis, keepdims=keepdims)
    count = _numbers_in(rows)
    low = apply("floor_div", subtract(count, 1), full(count.shape, 2, INT64))
    low = apply("max", low, full(count.shape, 0, INT64))
    high = apply("floor_div", count, full(count.shape, 2, INT64))
    return _without_axes(_middle(rows, low, high), array, axes, (), keepdims)


def quantile(
    x: Operand, q: Operand, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """The value over `axis` below which lies the part `q` of the elements, 0 <= q <= 1.

    The axes of `q` come first in the result. Between two neighbours it is interpolated. float64
    for integers, else the common dtype with `q`; the dtype of `x` where `q` is an integer. NaN
    where an element is. DomainError for a known `q` out of range, for a traced one an IndexingError
    when it is run; DomainError for methods other than "linear", IndexingError over no elements.
    """
    return _quantile("quantile", x, q, axis, method, keepdims)


def percentile(
    x: Operand, q: Operand, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` with `q` in percent, 0 <= q <= 100."""
    return _quantile("percentile", x, _of_hundred(q), axis, method, keepdims)


def nanquantile(
    x: Operand, q: Operand, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` of what is not NaN; NaN where all is."""
    return _quantile("nanquantile", x, q, axis, method, keepdims)


def nanpercentile(
    x: Operand, q: Operand, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`percentile` of what is not NaN; NaN where all is."""
    return _quantile("nanpercentile", x, _of_hundred(q), axis, method, keepdims)


# --- rows ---------------------------------------------------------------------------------------


def _sorted_rows(name: str, x: Array, axis: Any) -> tuple[Array, Axes]:
    """The elements over `axis` in ascending order along one last axis, NaN last; and the axes."""
    axes = averaged_axes(name, axis, x)
    others = [at for at in range(x.ndim) if at not in axes]
    moved = permute(x, [*others, *axes])
    shape = tuple(x.shape[at] for at in others)
    rows = reshape(moved, (*shape, math.prod(x.shape[at] for at in axes)))
    return apply("sort", rows), axes


def _without_axes(found: Array, x: Array, axes: Axes, q: Shape, keepdims: bool) -> Array:
    """Results of rows, those of each q along a last axis, as (*q, *the axes that are left)."""
    turned = permute(found, [found.ndim - 1, *range(found.ndim - 1)])
    kept = kept_shape(x.shape, axes) if keepdims else found.shape[:-1]
    return reshape(turned, (*q, *kept))


def _numbers_in(rows: Array) -> Array:
    """How many elements of each row are not NaN, along a last axis of size 1."""
    numbers = cast(apply("equal", rows, rows), INT64)
    return reshape(apply("reduce_sum", numbers, axes=(rows.ndim - 1,)), (*rows.shape[:-1], 1))


def _at(rows: Array, places: Any) -> Array:
    """Elements of rows: at known places, the same for all, or at places of each row's own."""
    if isinstance(places, Array):
        return pick_in_rows(rows, broadcast_to(places, (*rows.shape[:-1], places.shape[-1])))
    return select(rows, rows.ndim - 1, places)


def _nan_where_last_is(rows: Array, found: Array) -> Array:
    if rows.dtype.kind != "f":
        return found
    last = slice_axis(rows, rows.ndim - 1, rows.shape[-1] - 1, 1)
    return where(isnan(last), np.array(np.nan, found.dtype), found)


def _of_nothing(rows: Array, count: int = 1, dtype: Any = None) -> Array:
    return full((*rows.shape[:-1], count), np.nan, dtype or mean_dtype(rows))


def _middle(rows: Array, low: Any, high: Any) -> Array:
    left, right = (cast(_at(rows, places), mean_dtype(rows)) for places in (low, high))
    return divide(add(left, right), 2)


# --- between two neighbours ---------------------------------------------------------------------


def _of_hundred(q: Operand) -> Operand:
    """q / 100, which stays a Python number where it is one."""
    if isinstance(q, int | float) and not isinstance(q, bool):
        return q / 100
    percent: Any = as_weak_array(q)
    return percent / 100


def _quantile(name: str, x: Operand, q: Operand, axis: Any, method: str, keepdims: bool) -> Array:
    array = asarray(x)
    if method != "linear":
        raise DomainError(f"{name} has no method {method!r}", hint="use 'linear'")
    part = as_weak_array(q)
    known = known_value(part)
    if known is not None and not ((known >= 0) & (known <= 1)).all():
        limit = 100 if "percent" in name else 1
        raise DomainError(f"{name}: q lies outside of 0..{limit}")
    rows, axes = _sorted_rows(name, array, axis)
    ignoring = name.startswith("nan") and array.dtype.kind == "f"
    size = rows.shape[-1]
    if not size and not name.startswith("nan"):
        raise IndexingError(
            f"{name} of {array.node.type} over an axis of size 0 has no value",
            origin=origin(array),
            hint="give it at least one element",
        )
    if array.dtype == BOOL and part.dtype.kind == "f":
        raise DTypeError(f"{name} of {array.node.type}", hint="convert with astype('float64')")
    flat = Array(reshape(part, (part.size,)).node, part.traced_by, part.weak)
    if not size:
        found = _of_nothing(rows, flat.size)
    elif ignoring:
        count = _numbers_in(rows)
        found = _interpolated(rows, flat, None, count)
        found = where(greater_equal(count, 1), found, np.array(np.nan, found.dtype))
    else:
        last = full((1,), size, INT64)
        found = _interpolated(rows, flat, None if known is None else known.reshape(-1), last)
        found = _nan_where_last_is(rows, found)
    return _without_axes(found, array, axes, part.shape, keepdims)


def _interpolated(rows: Array, q: Array, known: Any, count: Array) -> Array:
    """The values of ascending rows at q * (count - 1), for each q along the last axis.

    low + (high - low) t; from t = 1/2 on as high - (high - low)(1 - t), which is exact at t = 1.
    """
    size = rows.shape[-1]
    if q.dtype.kind != "f":  # 0 or 1: an element as it is
        ends = multiply(Array(q.node, q.traced_by), subtract(count, 1))
        return _at(rows, _neighbours(ends, q, count, size)[0])
    if known is not None:
        place = known * (size - 1)
        before = np.floor(place)
        low = np.minimum(before, size - 1).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        t: Any = asarray(place - before)
    else:
        strong = Array(q.node, q.traced_by)
        place = multiply(strong, cast(subtract(count, 1), strong.dtype))
        before = floor(place)
        low, high = _neighbours(before, q, count, size)
        t = subtract(place, before)
    if q.weak is not None:
        t = Array(cast(t, FLOAT64).node, t.traced_by, float)
    left, right = _at(rows, low), _at(rows, high)
    distance = subtract(right, left)
    rising = add(left, multiply(distance, t))
    falling = subtract(right, multiply(distance, 1 - t))
    return where(greater_equal(t, 0.5), falling, rising)


def _neighbours(before: Array, q: Array, count: Array, size: int) -> tuple[Array, Array]:
    """The places beside a traced place; outside of the row where q is outside of 0..1."""
    place = cast(before, INT64)
    last = broadcast_to(subtract(count, 1), place.shape)
    last = apply("max", last, full(last.shape, 0, INT64))
    low = apply("max", apply("min", place, last), full(place.shape, 0, INT64))
    high = apply("min", add(low, 1), last)
    strong = Array(q.node, q.traced_by)
    inside = apply(
        "and", greater_equal(strong, 0), greater_equal(full(strong.shape, 1, strong.dtype), strong)
    )
    return where(inside, low, full((), size, INT64)), high


__all__: Sequence[str] = """
    median nanmedian nanpercentile nanquantile percentile quantile
""".split()
