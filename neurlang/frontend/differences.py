"""Derivatives as differences, and polynomials."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, DomainError, DTypeError, ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    as_weak_array,
    asarray,
    broadcast_to,
    cast,
    reshape,
    result_dtype,
)
from neurlang.frontend.axes import as_integer, normalize_axes, slice_axis
from neurlang.frontend.creation import ones, zeros_like
from neurlang.frontend.elementwise import add, divide, multiply, subtract
from neurlang.frontend.manipulation import concatenate, join, ravel, unstack
from neurlang.frontend.ordering import cumprod, known_value
from neurlang.frontend.rearrange import diff, flip
from neurlang.frontend.reducing import mean_dtype
from neurlang.ir.types import INT64

# --- differences --------------------------------------------------------------------------------


def gradient(f: Operand, /, *varargs: Operand, axis: Any = None, edge_order: int = 1) -> Any:
    """The derivative of samples along `axis`: one array, or a tuple of one for each axis.

    Central differences inside, of first order at the ends. `varargs` are the distance of samples
    for all axes, or for each axis a distance or the vector of its coordinates. float64 for
    integers, else the dtype of `f`. ShapeError for fewer than two samples along an axis,
    DomainError for another `edge_order`, ArgumentError for another number of distances.
    """
    array = asarray(f)
    if edge_order != 1:
        raise DomainError(f"gradient with edge_order {edge_order}", hint="leave it at 1")
    axes = range(array.ndim) if axis is None else normalize_axes("gradient", axis, array)
    spacings = list(varargs or (1.0,))
    if len(spacings) == 1 and (not varargs or not as_weak_array(spacings[0]).ndim):
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise ArgumentError(
            f"gradient with {len(spacings)} distances for {len(axes)} axes",
            hint="give one number, or one for each axis",
        )
    steps = [_distances(array, at, by) for at, by in zip(axes, spacings)]
    found = [_slope(array, at, step) for at, step in zip(axes, steps)]
    return found[0] if len(found) == 1 else tuple(found)


def _distances(x: Array, axis: int, spacing: Operand) -> Array:
    """The distance of samples, or the distances between neighbours where they differ."""
    points = as_weak_array(spacing)
    if not points.ndim:
        return points
    if points.shape != (x.shape[axis],):
        raise ShapeError(
            f"gradient of {x.node.type} at coordinates {points.node.type} along axis {axis}",
            hint="give a number, or a vector of the size of the axis",
        )
    between = diff(cast(points, mean_dtype(points)))
    steps = known_value(between)
    if steps is not None and steps.size and (steps == steps[0]).all():
        return asarray(steps[0])
    return between


def _slope(x: Array, axis: int, step: Array) -> Array:
    """(x[i + 1] - x[i - 1]) / 2h; between unequal steps p and q the parabola through three points:

    x[i - 1] (-q / p(p + q)) + x[i] (q - p) / pq + x[i + 1] p / q(p + q).
    """
    size = x.shape[axis]
    if size < 2:
        raise ShapeError(f"gradient of {x.node.type} along axis {axis}", hint="give two samples")
    if x.dtype.kind == "b":
        raise DTypeError(f"gradient of {x.node.type}", hint="convert with astype('int8')")
    x = cast(x, mean_dtype(x))
    before, at, after = (slice_axis(x, axis, start, size - 2) for start in range(3))
    steps = diff(x, axis=axis)
    if step.ndim:
        line = tuple(-1 if place == axis else 1 for place in range(x.ndim))
        left, right = (slice_axis(step, 0, start, size - 2) for start in (0, 1))
        both = add(left, right)
        weights = [
            divide(multiply(right, -1), multiply(left, both)),
            divide(subtract(right, left), multiply(left, right)),
            divide(left, multiply(right, both)),
        ]
        sized = [tuple(size - 2 if each < 0 else 1 for each in line)] * 3
        a, b, c = map(reshape, weights, sized)
        inside = add(add(multiply(a, before), multiply(b, at)), multiply(c, after))
        ends = [slice_axis(step, 0, place, 1) for place in (0, size - 2)]
        first, last = (reshape(each, (1,) * x.ndim) for each in ends)
    else:
        number: Any = step  # an operator keeps a Python number one
        inside = divide(subtract(after, before), number * 2.0)
        first = last = step
    head = divide(slice_axis(steps, axis, 0, 1), first)
    tail = divide(slice_axis(steps, axis, size - 2, 1), last)
    return join([cast(part, x.dtype) for part in (head, inside, tail)], axis)


def ediff1d(ary: Operand, /, to_end: Operand = None, to_begin: Operand = None) -> Array:
    """The differences of neighbours of the flattened array, between `to_begin` and `to_end`.

    In the dtype of `ary`, which those must fit by NumPy's rule "same_kind"; else a DTypeError, as
    for bools.
    """
    flat = ravel(ary)
    if flat.dtype.kind == "b":
        raise DTypeError(f"ediff1d of {flat.node.type}", hint="convert with astype('int8')")
    parts = []
    for given in (to_begin, diff(flat), to_end):
        if given is None:
            continue
        part = ravel(given)
        if not np.can_cast(part.dtype, flat.dtype, "same_kind"):
            raise DTypeError(f"ediff1d of {flat.node.type} between {part.node.type}")
        parts.append(cast(part, flat.dtype))
    return concatenate(parts)


# --- polynomials --------------------------------------------------------------------------------


def polyval(p: Operand, x: Operand, /) -> Array:
    """p[0] x^(n - 1) + ... + p[n - 1], by Horner's rule: the shape of `x`, the common dtype."""
    array = asarray(x)
    result = zeros_like(array)
    for coefficient in unstack(p):
        result = add(multiply(result, array), coefficient)
    return result


def vander(x: Operand, /, N: int | None = None, increasing: bool = False) -> Array:
    """The powers N - 1, ... 1, 0 of each element of a vector as columns; upwards if `increasing`.

    Integers in int64, else the common dtype with it. ShapeError for other shapes.
    """
    array = asarray(x)
    if array.ndim != 1:
        raise ShapeError(f"vander of {array.node.type}", hint="it takes a vector")
    count = array.size if N is None else as_integer("vander", "N", N)
    if count < 0:
        raise ShapeError(f"vander of {count} columns", hint="the count is not negative")
    dtype = np.promote_types(result_dtype(array), INT64)
    if not count:
        return ones((array.size, 0), dtype)
    column = reshape(cast(array, dtype), (array.size, 1))
    factors = join([ones((array.size, 1), dtype), broadcast_to(column, (array.size, count - 1))], 1)
    powers = cumprod(factors, 1, dtype)
    return powers if increasing else flip(powers, 1)


__all__ = ["ediff1d", "gradient", "polyval", "vander"]
