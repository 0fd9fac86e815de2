"""Reductions and running totals of what is not NaN, as NumPy names them.

`axis` and `keepdims` are as for the reductions of `reductions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.frontend.array import Array, Operand, apply, asarray, cast, full
from neurlang.frontend.axes import averaged_axes, reduced_axes
from neurlang.frontend.ordering import cumprod, cumsum
from neurlang.frontend.reducing import Axes, as_like, chosen, mask_like, reduce_over
from neurlang.frontend.reductions import any, argmax, argmin, max, mean, min, prod, sum, var
from neurlang.ir.types import FLOAT64


def _without_nan(x: Operand) -> tuple[Array, Operand]:
    """The array, and a mask of what is not NaN; True for dtypes that have no NaN."""
    array = asarray(x)
    return array, True if array.dtype.kind != "f" else apply("equal", array, array)


def _axes_without_nan(name: str, axis: Any, x: Array) -> Axes:
    """The axes of a mean of what is not NaN; that of integers is a plain mean, as in NumPy."""
    return (reduced_axes if x.dtype.kind == "f" else averaged_axes)(name, axis, x)


def nansum(x: Operand, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """`sum` of what is not NaN."""
    array, mask = _without_nan(x)
    return sum(array, axis, dtype, keepdims=keepdims, where=mask)


def nanprod(x: Operand, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """`prod` of what is not NaN."""
    array, mask = _without_nan(x)
    return prod(array, axis, dtype, keepdims=keepdims, where=mask)


def nanmean(x: Operand, /, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Array:
    """`mean` of what is not NaN; NaN where all is."""
    array, mask = _without_nan(x)
    axes = _axes_without_nan("nanmean", axis, array)
    return mean(array, axes, dtype, keepdims=keepdims, where=mask)


def nanvar(
    x: Operand, /, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """`var` of what is not NaN; NaN where no more than `ddof` elements are left."""
    array, mask = _without_nan(x)
    axes = _axes_without_nan("nanvar", axis, array)
    result = var(array, axes, dtype, ddof=ddof, keepdims=keepdims, where=mask)
    count = reduce_over("reduce_sum", cast(mask_like(mask, array), FLOAT64), axes, keepdims)
    enough = apply("less", as_like(ddof, count), count)
    return apply("where", enough, result, as_like(np.nan, result))


def nanstd(
    x: Operand, /, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """`std` of what is not NaN; NaN where no more than `ddof` elements are left."""
    return apply("sqrt", nanvar(x, axis, dtype, ddof=ddof, keepdims=keepdims))


def nanmax(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """`max` of what is not NaN; NaN where all is."""
    return _extreme_without_nan("max", x, axis, keepdims, -np.inf)


def nanmin(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """`min` of what is not NaN; NaN where all is."""
    return _extreme_without_nan("min", x, axis, keepdims, np.inf)


def _extreme_without_nan(name: str, x: Operand, axis: Any, keepdims: bool, ignored: float) -> Array:
    array, mask = _without_nan(x)
    extreme = max if name == "max" else min
    result = extreme(chosen(array, mask, ignored), axis, keepdims=keepdims)
    if mask is True:
        return result
    found = any(mask, axis, keepdims=keepdims)
    return apply("where", found, result, full(result.shape, np.nan, result.dtype))


def nanargmax(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """`argmax` of what is not NaN; 0 where all is, which NumPy finds out and refuses."""
    array, mask = _without_nan(x)
    return argmax(chosen(array, mask, -np.inf), axis, keepdims=keepdims)


def nanargmin(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """`argmin` of what is not NaN; 0 where all is, which NumPy finds out and refuses."""
    array, mask = _without_nan(x)
    return argmin(chosen(array, mask, np.inf), axis, keepdims=keepdims)


def nancumsum(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Array:
    """`cumsum` with 0 for NaN."""
    array, mask = _without_nan(x)
    return cumsum(chosen(array, mask, 0), axis, dtype)


def nancumprod(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Array:
    """`cumprod` with 1 for NaN."""
    array, mask = _without_nan(x)
    return cumprod(chosen(array, mask, 1), axis, dtype)


__all__ = """
    nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmin nanprod nanstd nansum nanvar
""".split()
