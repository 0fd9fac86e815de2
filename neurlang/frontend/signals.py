"""Signals along one axis: convolution, correlation, interpolation, phases and windows."""

from __future__ import annotations

from collections.abc import Callable
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
    result_dtype,
)
from neurlang.frontend.axes import normalize_axis, slice_axis
from neurlang.frontend.contraction import same_dtype
from neurlang.frontend.convolution import conv1d
from neurlang.frontend.elementwise import (
    absolute,
    add,
    divide,
    equal,
    greater,
    isnan,
    less,
    logical_and,
    multiply,
    remainder,
    subtract,
    where,
)
from neurlang.frontend.indexing import take
from neurlang.frontend.linear import matmul
from neurlang.frontend.manipulation import concatenate, join
from neurlang.frontend.ordering import argsort, cumsum, searchsorted
from neurlang.frontend.rearrange import diff, flip, pad, sliding_window_view
from neurlang.frontend.selection import known
from neurlang.ir.types import FLOAT64, INT64

MOST_TAPS = 32  # of a kernel that is a sum of shifted signals, which one loop computes; else a dot
MODES = ("valid", "same", "full")

# --- convolution --------------------------------------------------------------------------------


def convolve(a: Operand, v: Operand, mode: str = "full") -> Array:
    """The discrete convolution of two vectors: result[k] = sum of a[i] * v[k - i].

    `mode` "full" gives every overlap, m + n - 1 of them; "same" the middle max(m, n); "valid" those
    where one vector lies within the other. The common dtype; integers wrap. ShapeError for arrays
    of several axes, or without elements.
    """
    x, kernel = (reshape(each, each.shape or (1,)) for each in same_dtype((a, v)))
    _check_vectors("convolve", x, kernel)
    if kernel.size > x.size:
        x, kernel = kernel, x
    return _correlation("convolve", x, flip(kernel), mode)


def correlate(a: Operand, v: Operand, mode: str = "valid") -> Array:
    """The cross-correlation of two vectors: result[k] = sum of a[i + k] * v[i].

    Modes, dtypes and errors as for `convolve`.
    """
    x, kernel = same_dtype((a, v))
    _check_vectors("correlate", x, kernel)
    if kernel.size > x.size:
        return flip(_correlation("correlate", kernel, x, mode))
    return _correlation("correlate", x, kernel, mode)


def _check_vectors(name: str, *arrays: Array) -> None:
    for x in arrays:
        if x.ndim != 1 or not x.size:
            raise ShapeError(f"{name} of {x.node.type}", hint="give vectors that have elements")


def _correlation(name: str, x: Array, kernel: Array, mode: str) -> Array:
    """Products with a kernel that is not longer, at every place of the signal between zeros."""
    if mode not in MODES:
        raise DomainError(f"{name} has no mode {mode!r}", hint=f"use {', '.join(MODES)}")
    taps = kernel.size
    before = {"valid": 0, "same": taps // 2, "full": taps - 1}[mode]
    after = {"valid": 0, "same": taps - taps // 2 - 1, "full": taps - 1}[mode]
    padded = pad(x, (before, after))
    if taps > MOST_TAPS:
        return matmul(sliding_window_view(padded, taps), kernel)
    signal = reshape(padded, (1, 1, padded.size))
    result = conv1d(signal, reshape(kernel, (1, 1, taps)))
    return reshape(result, (result.size,))


# --- interpolation ------------------------------------------------------------------------------


def interp(
    x: Operand,
    xp: Operand,
    fp: Operand,
    left: Operand = None,
    right: Operand = None,
    period: Any = None,
) -> Array:
    """The piecewise linear function through the points (`xp`, `fp`) at `x`: float64 of its shape.

    `xp` is an ascending vector, which is not checked, and `fp` as long. Before and after it the
    function is `left` and `right`, by default its ends. With a known `period`, x and `xp` count
    modulo it, and `xp` may stand in any order. ShapeError for other shapes.
    """
    at, points, values = (asarray(each, FLOAT64) for each in (x, xp, fp))
    if points.ndim != 1 or points.shape != values.shape or not points.size:
        raise ShapeError(
            f"interp between {points.node.type} and {values.node.type}",
            hint="give two vectors of one size, with elements",
        )
    if period is not None:
        length = abs(float(known("the period of interp", period)))
        if not length:
            raise DomainError("interp with a period of 0")
        at, points = remainder(at, length), remainder(points, length)
        order = argsort(points)
        points, values = take(points, order), take(values, order)
        before, after = take(points, [-1]), take(points, [0])
        points = concatenate([subtract(before, length), points, add(after, length)])
        values = concatenate([take(values, [-1]), values, take(values, [0])])
        left = right = None
    first, last = take(points, 0), take(points, -1)
    low = take(values, 0) if left is None else asarray(left, FLOAT64)
    high = take(values, -1) if right is None else asarray(right, FLOAT64)
    found = _between(at, points, values)
    found = where(less(at, first), low, where(greater(at, last), high, found))
    return where(isnan(at), at, found) if points.size > 1 else found


def _between(x: Array, points: Array, values: Array) -> Array:
    """(x - p[i]) slope + v[i] where p[i] <= x < p[i + 1]; from the other end where that is NaN."""
    size = points.size
    if size == 1:
        return broadcast_to(take(values, 0), x.shape)
    place = subtract(searchsorted(points, x, "right"), 1)
    place = apply("max", place, full(place.shape, 0, INT64))
    place = apply("min", place, full(place.shape, size - 2, INT64))
    start, stop = _neighbours(points, place)
    low, high = _neighbours(values, place)
    slope = divide(subtract(high, low), subtract(stop, start))
    forwards = add(multiply(slope, subtract(x, start)), low)
    backwards = add(multiply(slope, subtract(x, stop)), high)
    backwards = where(logical_and(isnan(backwards), equal(low, high)), low, backwards)
    found = where(isnan(forwards), backwards, forwards)
    return where(equal(x, start), low, where(equal(x, stop), high, found))


def _neighbours(x: Array, place: Array) -> tuple[Array, Array]:
    return take(x, place), take(x, add(place, 1))


# --- phases -------------------------------------------------------------------------------------


def unwrap(
    p: Operand,
    /,
    discont: Operand = None,
    axis: int = -1,
    *,
    period: Any = 2 * np.pi,
) -> Array:
    """Phases along `axis` with multiples of the period added, so that no step is above half of it.

    Steps below `discont` stay as they are. The common dtype with `period`, a known number.
    """
    array = asarray(p)
    place = normalize_axis("unwrap", axis, array)
    step = diff(array, axis=place)
    whole = known("the period of unwrap", period).item()
    exact = isinstance(whole, int) and step.dtype.kind in "iu"
    half: Any = whole // 2 if exact else whole / 2
    wrapped = add(remainder(add(step, half), whole), -half)
    if not exact or whole % 2 == 0:  # a step of just half the period keeps its direction
        wrapped = where(logical_and(equal(wrapped, -half), greater(step, 0)), half, wrapped)
    correction = subtract(wrapped, step)
    limit = whole / 2 if discont is None else discont
    correction = where(less(absolute(step), limit), 0, correction)
    rest = slice_axis(array, place, min(1, array.shape[place]), max(0, array.shape[place] - 1))
    moved = add(rest, cumsum(correction, place))
    head = slice_axis(array, place, 0, min(1, array.shape[place]))
    dtype = result_dtype(step, whole)
    return join([cast(head, dtype), cast(moved, dtype)], place)


# --- windows ------------------------------------------------------------------------------------


def _window(name: str, numpys: Callable[..., Any], meaning: str) -> Callable[[int], Array]:
    """The public function of a window of a known size, whose values are NumPy's."""

    def window(M: int, /) -> Array:
        return asarray(numpys(known(f"the size of {name}", M).item()))

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"""{meaning}: float64 [M], of a known size; empty for M < 1."""
    return window


bartlett = _window("bartlett", np.bartlett, "The triangle that rises to 1 and ends at 0")
blackman = _window("blackman", np.blackman, "Blackman's window, a sum of three cosines")
hamming = _window("hamming", np.hamming, "Hamming's window, a cosine raised to 0.08 at the ends")
hanning = _window("hanning", np.hanning, "Hann's window, a raised cosine that ends at 0")


def kaiser(M: int, /, beta: float) -> Array:
    """Kaiser's window of the shape `beta`, known numbers both: float64 [M]; empty for M < 1."""
    size, form = known("the size of kaiser", M), known("the beta of kaiser", beta)
    return asarray(np.kaiser(size.item(), form.item()))


__all__ = """
    bartlett blackman convolve correlate hamming hanning interp kaiser unwrap
""".split()
