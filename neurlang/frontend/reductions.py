"""Reductions over axes: sums, means, variances, extremes and counts, as NumPy names them.

`axis` is an integer, a tuple of integers, or None for all axes. A reduced axis disappears, or
keeps size 1 with `keepdims`. AxisError names an axis that is out of range or stands twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, ShapeError
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
from neurlang.frontend.axes import averaged_axes, normalize_axes, permute, reduced_axes
from neurlang.frontend.reducing import (
    Axes,
    as_like,
    chosen,
    count_over,
    kept_shape,
    map_with,
    mask_like,
    mean_dtype,
    op_for,
    reduce_over,
    sum_dtype,
)
from neurlang.ir.types import BOOL, FLOAT64, INT64, DType

# --- sums and products --------------------------------------------------------------------------


def sum(
    x: Operand,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand = None,
    where: Operand = True,
) -> Array:
    """The sum over `axis`; 0 where there is nothing to sum.

    bool and signed integers are summed in int64, unsigned ones in uint64, floats in their own
    dtype, all in `dtype` where it is given; integers wrap. `initial` is added; only elements
    where the mask `where` holds count.
    """
    array = asarray(x)
    return _accumulate("sum", array, axis, sum_dtype(array, dtype), keepdims, initial, where)


def prod(
    x: Operand,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand = None,
    where: Operand = True,
) -> Array:
    """The product over `axis`; 1 where there is nothing to multiply. Dtypes as for `sum`."""
    array = asarray(x)
    return _accumulate("prod", array, axis, sum_dtype(array, dtype), keepdims, initial, where)


ACCUMULATIONS = {"sum": ("reduce_sum", "add", 0), "prod": ("reduce_prod", "mul", 1)}


def _accumulate(
    name: str, x: Array, axis: Any, dtype: DType, keepdims: bool, initial: Operand, where: Operand
) -> Array:
    reduce, combine, identity = ACCUMULATIONS[name]
    axes = reduced_axes(name, axis, x)
    values = chosen(cast(x, dtype), where, identity)
    result = reduce_over(op_for(reduce, dtype), values, axes, keepdims)
    return result if initial is None else map_with(op_for(combine, dtype), result, initial)


# --- means and variances ------------------------------------------------------------------------


def mean(
    x: Operand,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Operand = True,
) -> Array:
    """The arithmetic mean over `axis`: float64 for integers, else the dtype of `x`.

    Of no elements it is NaN. Only elements where the mask `where` holds count.
    """
    array = asarray(x)
    axes = averaged_axes("mean", axis, array)
    found = mean_dtype(array, dtype)
    total = reduce_over(
        op_for("reduce_sum", found), chosen(cast(array, found), where, 0), axes, keepdims
    )
    floating = total if found.kind == "f" else cast(total, FLOAT64)
    return cast(apply("div", floating, _counted(array, axes, floating, where)), found)


def _counted(x: Array, axes: Axes, like: Array, where: Operand, ddof: Operand = 0) -> Array:
    """How many elements were reduced, less `ddof`, but never below 0; as `like` is."""
    if where is True:
        return as_like(np.maximum(count_over(x.shape, axes) - np.asarray(ddof), 0), like)
    count = reduce_over("reduce_sum", cast(mask_like(where, x), INT64), axes)
    less = map_with("sub", cast(reshape(count, like.shape), FLOAT64), ddof)
    return as_like(map_with("max", less, 0), like)


def var(
    x: Operand,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    where: Operand = True,
) -> Array:
    """The variance over `axis`: the mean of squared distances from the mean, over n - `ddof`.

    float64 for integers, else the dtype of `x`. `correction` is the Array API's name of `ddof`.
    Where n <= ddof the result is NaN or infinite. The variance of equal values is exactly 0.
    """
    array = asarray(x)
    axes = averaged_axes("var", axis, array)
    found = mean_dtype(array, dtype)
    if found.kind != "f":
        raise ArgumentError(f"var is computed in floats, not {found}", hint="drop dtype=")
    values = cast(array, found)
    distance = apply("sub", values, broadcast_to(_center(values, axes, where), values.shape))
    square = chosen(apply("mul", distance, distance), where, 0)
    total = reduce_over("reduce_sum", square, axes, keepdims)
    less = ddof if correction is None else correction
    return apply("div", total, _counted(array, axes, total, where, less))


def _center(x: Array, axes: Axes, where: Operand) -> Array:
    """The mean as x0 + mean(x - x0), which is exact for equal values; axes keep size 1.

    x0 is the first element of each reduction, or with a mask the largest that counts.
    """
    if not count_over(x.shape, axes):
        return full(kept_shape(x.shape, axes), np.nan, x.dtype)
    if where is True:
        first = _first(x, axes)
    else:
        first = reduce_over("reduce_max", chosen(x, where, -np.inf), axes, keepdims=True)
    distance = chosen(apply("sub", x, broadcast_to(first, x.shape)), where, 0)
    total = reduce_over("reduce_sum", distance, axes, keepdims=True)
    return apply("add", first, apply("div", total, _counted(x, axes, total, where)))


def _first(x: Array, axes: Axes) -> Array:
    shape = kept_shape(x.shape, axes)
    if shape == x.shape:
        return x
    return apply("slice", x, start=(0,) * x.ndim, size=shape, step=(1,) * x.ndim)


def std(
    x: Operand,
    /,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    where: Operand = True,
) -> Array:
    """The standard deviation over `axis`: the square root of `var`, with its arguments."""
    return apply(
        "sqrt",
        var(x, axis, dtype, ddof=ddof, correction=correction, keepdims=keepdims, where=where),
    )


def average(
    x: Operand,
    /,
    axis: Any = None,
    weights: Operand = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The mean over `axis`, weighted by `weights`: sum(x * weights) / sum(weights).

    `weights` have the shape of `x`, or the sizes of the reduced axes in the order given. With
    `returned`, the sum of the weights comes second. Weights that sum to 0 give NaN or infinity.
    """
    array = asarray(x)
    axes = averaged_axes("average", axis, array)
    if weights is None:
        found = mean(array, axes, keepdims=keepdims)
        return (
            (found, full(found.shape, count_over(array.shape, axes), found.dtype))
            if returned
            else found
        )
    weight = asarray(weights)
    integer = [] if array.dtype.kind == "f" else [FLOAT64]
    dtype = np.result_type(result_dtype(array, weight), *integer)
    if weight.shape != array.shape:
        weight = _spread_weights(weight, array, axis)
    weight = broadcast_to(cast(weight, dtype), array.shape)
    total = reduce_over("reduce_sum", weight, axes, keepdims)
    product = apply("mul", cast(array, dtype), weight)
    found = apply("div", reduce_over("reduce_sum", product, axes, keepdims), total)
    return (found, total) if returned else found


def _spread_weights(weight: Array, x: Array, axis: Any) -> Array:
    """Weights of the reduced axes alone, laid along those axes of `x`."""
    axes = normalize_axes("average", axis, x) if axis is not None else ()
    if not axes or weight.shape != tuple(x.shape[axis] for axis in axes):
        raise ShapeError(
            f"average: weights {weight.node.type} do not fit {x.node.type} along axis {axis}",
            origin=origin(weight),
            hint="give weights of the array's shape, or an axis and its sizes",
        )
    order = sorted(range(len(axes)), key=lambda position: axes[position])
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
    return reshape(permute(weight, order), shape)


# --- extremes -----------------------------------------------------------------------------------


def max(
    x: Operand,
    /,
    axis: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand = None,
    where: Operand = True,
) -> Array:
    """The largest value over `axis`, in the dtype of `x`; NaN where one is NaN.

    `initial` takes part, and must be given where the mask `where` is; ShapeError, a ValueError,
    for an axis of size 0 without it.
    """
    return _extreme("max", asarray(x), axis, keepdims, initial, where)


def min(
    x: Operand,
    /,
    axis: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand = None,
    where: Operand = True,
) -> Array:
    """The smallest value over `axis`, in the dtype of `x`; NaN where one is NaN. As `max`."""
    return _extreme("min", asarray(x), axis, keepdims, initial, where)


def _extreme(
    name: str, x: Array, axis: Any, keepdims: bool, initial: Operand, where: Operand
) -> Array:
    axes = reduced_axes(name, axis, x)
    shape = kept_shape(x.shape, axes)
    if where is not True:
        if initial is None:
            raise ArgumentError(f"{name} with where= needs initial=", hint="give initial=")
        x = apply("where", mask_like(where, x), x, as_like(initial, x))
    if not count_over(x.shape, axes):
        if initial is None:
            raise _nothing_to_compare(name, x)
        size = (
            shape
            if keepdims
            else tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
        )
        return broadcast_to(asarray(initial, x.dtype), size)
    result = reduce_over(op_for(f"reduce_{name}", x.dtype), x, axes, keepdims)
    return result if initial is None else map_with(op_for(name, x.dtype), result, initial)


def _nothing_to_compare(name: str, x: Array) -> ShapeError:
    return ShapeError(
        f"{name} of {x.node.type} over an axis of size 0 has no value",
        origin=origin(x),
        hint="give the reduction at least one element",
    )


def ptp(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """The largest less the smallest value over `axis` ("peak to peak"), in the dtype of `x`."""
    array = asarray(x)
    largest = max(array, axis, keepdims=keepdims)
    return apply("sub", largest, min(array, axis, keepdims=keepdims))


def argmax(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The int64 index of the first largest value along `axis`; of all elements in order for None.

    The first NaN counts as the largest. ShapeError, a ValueError, for an axis of size 0.
    """
    return _find("argmax", asarray(x), axis, keepdims)


def argmin(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The int64 index of the first smallest value along `axis`. As `argmax`."""
    return _find("argmin", asarray(x), axis, keepdims)


def _find(op: str, x: Array, axis: Any, keepdims: bool) -> Array:
    if isinstance(axis, tuple | list):
        raise ArgumentError(f"{op} takes one axis, not {axis}", hint="reshape the axes into one")
    axes = reduced_axes(op, axis, x)
    if not count_over(x.shape, axes):
        raise _nothing_to_compare(op, x)
    if not axes:
        return full(x.shape, 0, INT64)
    return reduce_over(op, x, axes, keepdims)


# --- truth --------------------------------------------------------------------------------------


def any(x: Operand, /, axis: Any = None, *, keepdims: bool = False, where: Operand = True) -> Array:
    """Whether any element over `axis` is nonzero (NaN is), as bool; False of no elements."""
    array = chosen(cast(asarray(x), BOOL), where, False)
    return reduce_over("reduce_or", array, reduced_axes("any", axis, array), keepdims)


def all(x: Operand, /, axis: Any = None, *, keepdims: bool = False, where: Operand = True) -> Array:
    """Whether all elements over `axis` are nonzero (NaN is), as bool; True of no elements."""
    array = chosen(cast(asarray(x), BOOL), where, True)
    return reduce_over("reduce_and", array, reduced_axes("all", axis, array), keepdims)


def count_nonzero(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """How many elements over `axis` are nonzero, as int64."""
    array = cast(cast(asarray(x), BOOL), INT64)
    return reduce_over("reduce_sum", array, reduced_axes("count_nonzero", axis, array), keepdims)


amax, amin = max, min

__all__ = """
    all amax amin any argmax argmin average count_nonzero max mean min prod ptp std sum var
""".split()
