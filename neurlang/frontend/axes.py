"""Axes as users name them, made nonnegative; and reordering that records nothing needless."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, AxisError
from neurlang.frontend.array import Array, apply, origin


def as_integer(name: str, what: str, value: Any) -> int:
    """A static Python integer; ArgumentError naming the function and the argument otherwise.

    A bool is a count, but neither an axis nor a size: as NumPy's reductions have it.
    """
    try:
        if isinstance(value, bool | np.bool_) and what in ("axis", "a size"):
            raise TypeError("a bool is no integer")
        return operator.index(value)
    except TypeError as error:
        if isinstance(value, Array):
            raise
        raise ArgumentError(f"{name}: {what} must be an integer, not {value!r}") from error


def as_integers(name: str, what: str, value: Any) -> tuple[int, ...]:
    """One static integer or a sequence of them, as a tuple."""
    if isinstance(value, Sequence) or (
        hasattr(value, "__iter__") and getattr(value, "ndim", 1) != 0
    ):
        return tuple(as_integer(name, what, item) for item in value)
    return (as_integer(name, what, value),)


def normalize_axis(name: str, axis: Any, x: Array, ndim: int | None = None) -> int:
    """`axis` in 0..ndim - 1; AxisError naming it and the array where it is out of range."""
    count = x.ndim if ndim is None else ndim
    found = as_integer(name, "axis", axis)
    if not -count <= found < count:
        raise AxisError(
            f"{name}: axis {found} is out of range for {x.node.type}",
            origin=origin(x),
            hint=f"axes lie in {-count}..{count - 1}" if count else "the array has no axis",
        )
    return found % count


def normalize_axes(name: str, axes: Any, x: Array, ndim: int | None = None) -> tuple[int, ...]:
    """One axis or several, nonnegative, in the order given; AxisError where one stands twice."""
    given = as_integers(name, "axis", axes)
    found = tuple(normalize_axis(name, axis, x, ndim) for axis in given)
    if len(set(found)) < len(found):
        raise AxisError(f"{name}: axes {given} name one axis of {x.node.type} twice")
    return found


def reduced_axes(name: str, axis: Any, x: Array) -> tuple[int, ...]:
    """The axes of a reduction, ascending; None stands for all, and 0 is an axis of a scalar."""
    if not x.ndim and axis in (0, -1):
        return ()
    return averaged_axes(name, axis, x)


def averaged_axes(name: str, axis: Any, x: Array) -> tuple[int, ...]:
    """The axes of a mean or a norm, ascending; NumPy gives a scalar none here, also not 0."""
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(sorted(normalize_axes(name, axis, x)))


def permute(x: Array, order: Sequence[int]) -> Array:
    """Axes in another order; nothing is recorded where it is theirs already."""
    if tuple(order) == tuple(range(x.ndim)):
        return x
    return apply("transpose", x, axes=tuple(order))


def move_axis(x: Array, source: int, destination: int) -> Array:
    """One axis moved to another place; the others keep their order."""
    order = [axis for axis in range(x.ndim) if axis != source]
    order.insert(destination, source)
    return permute(x, order)


def slice_axis(x: Array, axis: int, start: int, size: int, step: int = 1) -> Array:
    """`size` elements of one axis, `step` apart; nothing is recorded where that is all."""
    if size == x.shape[axis] and (step == 1 or size == 1):
        return x
    starts, sizes, steps = [0] * x.ndim, list(x.shape), [1] * x.ndim
    if size:
        starts[axis], steps[axis] = start, step
    sizes[axis] = size
    return apply("slice", x, start=tuple(starts), size=tuple(sizes), step=tuple(steps))
