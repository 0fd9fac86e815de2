"""How a reduction is called: the dtypes that NumPy reduces in, kept axes, masks, ops of bools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    asarray,
    broadcast_to,
    cast,
    full,
    reshape,
)
from neurlang.ir.types import BOOL, FLOAT64, INT64, DType, Shape, check_dtype

UINT64 = np.dtype("uint64")
Axes = tuple[int, ...]
BOOL_OPS = {
    "reduce_sum": "reduce_or",
    "add": "or",
    "reduce_prod": "reduce_and",
    "mul": "and",
    "reduce_max": "reduce_or",
    "max": "or",
    "reduce_min": "reduce_and",
    "min": "and",
}


def sum_dtype(x: Array, dtype: Any = None) -> DType:
    """The dtype that NumPy sums and multiplies in: integers in 64 bits, unless one is given."""
    if dtype is not None:
        return check_dtype(dtype)
    if x.dtype.kind in "bi":
        return INT64
    return UINT64 if x.dtype.kind == "u" else x.dtype


def mean_dtype(x: Array, dtype: Any = None) -> DType:
    """The dtype of a mean: float64 for integers and bools, unless one is given."""
    if dtype is not None:
        return check_dtype(dtype)
    return x.dtype if x.dtype.kind == "f" else FLOAT64


def kept_shape(shape: Shape, axes: Axes) -> Shape:
    """The shape with the reduced axes of size 1."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def reduce_over(op: str, x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """One reduction primitive over ascending axes; over none of them the array itself."""
    result = apply(op, x, axes=axes) if axes else cast(x, x.dtype)
    return reshape(result, kept_shape(x.shape, axes)) if keepdims else result


def count_over(shape: Shape, axes: Axes) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape[axis] for axis in axes)


def mask_like(where: Operand, x: Array) -> Array:
    """A mask as bools of the shape of `x`."""
    return broadcast_to(cast(asarray(where), BOOL), x.shape)


def chosen(x: Array, where: Operand, otherwise: Any) -> Array:
    """`x` where the mask holds, else a value that the reduction ignores."""
    if where is True:
        return x
    return apply("where", mask_like(where, x), x, full(x.shape, otherwise, x.dtype))


def as_like(value: Operand, x: Array) -> Array:
    """A value in the dtype and shape of `x`."""
    return broadcast_to(asarray(value, x.dtype), x.shape)


def map_with(op: str, x: Array, value: Operand) -> Array:
    """A binary map of `x` and a value that is brought to its dtype and shape."""
    return apply(op, x, as_like(value, x))


def op_for(op: str, dtype: DType) -> str:
    """The primitive of that meaning; bools have logical ones of other names."""
    return BOOL_OPS[op] if dtype == BOOL else op
