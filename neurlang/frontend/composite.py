"""Functions of statistics and neural networks, composed from reductions and products.

Integers are computed in float64, floats in their own dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.errors import DomainError, ShapeError
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
from neurlang.frontend.axes import as_integer, normalize_axis, reduced_axes, slice_axis
from neurlang.frontend.elementwise import add, divide, exp, log, multiply, sqrt, square, subtract
from neurlang.frontend.rearrange import diff
from neurlang.frontend.reducing import count_over, kept_shape, mean_dtype
from neurlang.frontend.reductions import max as max_over
from neurlang.frontend.reductions import mean
from neurlang.frontend.reductions import sum as sum_over
from neurlang.ir.types import INT64, check_dtype


def _floating(x: Operand) -> Array:
    array = asarray(x)
    return cast(array, mean_dtype(array))


# --- exponentials that cannot overflow ----------------------------------------------------------


def _largest(name: str, x: Array, axis: Any) -> Array:
    """The maximum over axes that keep size 1; -inf where there is none."""
    axes = reduced_axes(name, axis, x)
    if count_over(x.shape, axes):
        return max_over(x, axes, keepdims=True)
    return full(kept_shape(x.shape, axes), -np.inf, x.dtype)


def softmax(x: Operand, /, *, axis: Any = -1) -> Array:
    """exp(x) / sum(exp(x)) over `axis`, which may be several axes; same shape.

    The maximum is subtracted first, so that exp cannot overflow. A row with NaN or +inf, or with
    -inf only, is NaN.
    """
    array = _floating(x)
    powers = exp(subtract(array, _largest("softmax", array, axis)))
    return divide(powers, sum_over(powers, axis, keepdims=True))


def log_softmax(x: Operand, /, *, axis: Any = -1) -> Array:
    """The logarithm of `softmax`, x - max - log(sum(exp(x - max))), which keeps its digits."""
    array = _floating(x)
    shifted = subtract(array, _largest("log_softmax", array, axis))
    return subtract(shifted, log(sum_over(exp(shifted), axis, keepdims=True)))


def logsumexp(x: Operand, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) over `axis` without overflow; -inf of no elements, or where all are -inf."""
    array = _floating(x)
    largest = _largest("logsumexp", array, axis)
    magnitude = apply("abs", largest)
    finite = apply("less", magnitude, full(magnitude.shape, np.inf, magnitude.dtype))
    shift = apply("where", finite, largest, full(largest.shape, 0, largest.dtype))
    total = log(sum_over(exp(subtract(array, shift)), axis, keepdims=True))
    result = add(total, shift)
    if keepdims:
        return result
    axes = reduced_axes("logsumexp", axis, array)
    return reshape(result, tuple(size for at, size in enumerate(array.shape) if at not in axes))


def trapezoid(y: Operand, /, x: Operand = None, dx: Operand = 1.0, axis: int = -1) -> Array:
    """The integral of `y` along `axis` by the trapezoidal rule: sum of (y[i] + y[i+1]) / 2 * step.

    The samples stand at `x`, a vector or of the shape of `y`, or `dx` apart.
    """
    array = asarray(y)
    place = normalize_axis("trapezoid", axis, array)
    step: Operand = dx
    if x is not None:
        points = asarray(x)
        step = diff(points, axis=place if points.ndim > 1 else 0)
        if points.ndim == 1:
            step = reshape(step, (step.size, *(1,) * (array.ndim - 1 - place)))
    rest = max(0, array.shape[place] - 1)
    later = slice_axis(array, place, array.shape[place] - rest, rest)
    heights = add(later, slice_axis(array, place, 0, rest))
    return sum_over(divide(multiply(step, heights), 2.0), place)


# --- normalisation ------------------------------------------------------------------------------


def layer_norm(
    x: Operand,
    /,
    weight: Operand = None,
    bias: Operand = None,
    *,
    axis: Any = -1,
    epsilon: float = 1e-5,
) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over `axis`, times `weight`, plus `bias`.

    The result has the shape of `x`; `weight` and `bias` broadcast to it.
    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, section 3.
    """
    array = _floating(x)
    distance = subtract(array, mean(array, axis, keepdims=True))
    variance = mean(square(distance), axis, keepdims=True)
    result = divide(distance, sqrt(add(variance, epsilon)))
    return _scaled("layer_norm", result, weight, bias)


def rms_norm(
    x: Operand, /, weight: Operand = None, *, axis: Any = -1, epsilon: float = 1e-6
) -> Array:
    """x / sqrt(mean(x^2) + epsilon) over `axis`, times `weight`, which broadcasts; same shape.

    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019, section 3.
    """
    array = _floating(x)
    scale = sqrt(add(mean(square(array), axis, keepdims=True), epsilon))
    return _scaled("rms_norm", divide(array, scale), weight, None)


def _scaled(name: str, x: Array, weight: Operand, bias: Operand) -> Array:
    result = x if weight is None else multiply(x, weight)
    result = result if bias is None else add(result, bias)
    if result.shape != x.shape:
        raise ShapeError(
            f"{name} of {x.node.type} with a weight or bias that makes it {result.node.type}",
            hint="weight and bias must broadcast to the shape of x",
        )
    return result


def one_hot(indices: Operand, /, count: int, *, axis: int = -1, dtype: Any = float) -> Array:
    """1 where an index points, else 0, along a new axis of size `count` at `axis` of the result.

    Indices out of range point nowhere. float64 unless `dtype` is given. DomainError for a negative
    count.
    """
    array = asarray(indices)
    size = as_integer("one_hot", "count", count)
    if array.dtype.kind not in "iu" or size < 0:
        raise DomainError(
            f"one_hot of {array.node.type} with {size} classes", hint="give integers, and a count"
        )
    place = normalize_axis("one_hot", axis, array, array.ndim + 1)
    shape = (*array.shape[:place], size, *array.shape[place:])
    apart = (*array.shape[:place], 1, *array.shape[place:])
    position = apply("iota", shape=shape, axis=place, dtype=INT64)
    chosen = broadcast_to(reshape(cast(array, INT64), apart), shape)
    return cast(apply("equal", chosen, position), check_dtype(dtype))


__all__ = """
    layer_norm log_softmax logsumexp one_hot rms_norm softmax trapezoid
""".split()
