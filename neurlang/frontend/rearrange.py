"""Elements of whole axes reversed, rolled, repeated, padded, and seen through windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, DomainError, DTypeError, ShapeError
from neurlang.frontend import array as core
from neurlang.frontend.array import Array, Operand, apply, asarray, constant, origin, python_numbers
from neurlang.frontend.axes import (
    as_integer,
    as_integers,
    normalize_axes,
    normalize_axis,
    permute,
    slice_axis,
)
from neurlang.frontend.elementwise import not_equal, subtract
from neurlang.frontend.manipulation import concatenate, join, ravel
from neurlang.ir.types import BOOL

MOST_RUNS = 8


def select(x: Array, axis: int, positions: Any) -> Array:
    """Elements of one axis at known positions: a few slices if they run evenly, else a gather."""
    runs = _even_runs(positions)
    if len(runs) > MOST_RUNS or not runs:
        return apply("gather", x, constant(np.asarray(positions, np.int64)), axis=axis)
    parts = []
    for start, size, step in runs:
        part = slice_axis(x, axis, start, size if step else 1, step or 1)
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        parts.append(core.broadcast_to(part, shape))
    return join(parts, axis)


def _even_runs(positions: Any) -> list[tuple[int, int, int]]:
    """Positions as runs (start, size, step)."""
    runs: list[tuple[int, int, int]] = []
    for position in map(int, positions):
        if runs:
            start, size, step = runs[-1]
            step = position - start if size == 1 else step
            if position == start + size * step and abs(step) <= 1:
                runs[-1] = (start, size + 1, step)
                continue
        if len(runs) > MOST_RUNS:
            break
        runs.append((position, 1, 1))
    return runs


# --- reversing and rolling ----------------------------------------------------------------------


def flip(x: Operand, /, axis: Any = None) -> Array:
    """`x` with the elements of `axis` (one, several, or all for None) in reverse order."""
    array = asarray(x)
    axes = range(array.ndim) if axis is None else normalize_axes("flip", axis, array)
    flipped = [at for at in axes if array.shape[at] > 1]
    if not flipped or not array.size:
        return array
    start = tuple(size - 1 if at in flipped else 0 for at, size in enumerate(array.shape))
    step = tuple(-1 if at in flipped else 1 for at in range(array.ndim))
    return apply("slice", array, start=start, size=array.shape, step=step)


def fliplr(x: Operand, /) -> Array:
    """`x` with axis 1 reversed."""
    return flip(x, 1)


def flipud(x: Operand, /) -> Array:
    """`x` with axis 0 reversed."""
    return flip(x, 0)


def rot90(x: Operand, /, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """`x` turned by `k` quarters in the plane of two axes, from the first towards the second."""
    array = asarray(x)
    plane = normalize_axes("rot90", axes, array)
    if len(plane) != 2:
        raise ArgumentError(f"rot90 turns two axes, not {axes}")
    first, second = plane
    order = list(range(array.ndim))
    order[first], order[second] = second, first
    match as_integer("rot90", "k", k) % 4:
        case 1:
            return permute(flip(array, second), order)
        case 2:
            return flip(array, plane)
        case 3:
            return flip(permute(array, order), second)
    return array


def roll(x: Operand, /, shift: Any, axis: Any = None) -> Array:
    """`x` with elements moved `shift` places along `axis`; what leaves the end enters the front.

    Shifts and axes broadcast together; one axis may stand twice. Without an axis the elements of
    the flattened array are moved.
    """
    array = asarray(x)
    if axis is None:
        return core.reshape(roll(ravel(array), shift, 0), array.shape)
    axes = [normalize_axis("roll", at, array) for at in as_integers("roll", "axis", axis)]
    shifts = as_integers("roll", "shift", shift)
    if 1 not in (len(axes), len(shifts)) and len(axes) != len(shifts):
        raise ShapeError(f"roll by {list(shifts)} along {axes}", hint="give a shift for each axis")
    total: dict[int, int] = {}
    for at, by in np.broadcast(axes, shifts):
        total[at] = total.get(at, 0) + by
    for at, by in total.items():
        size = array.shape[at]
        if size and by % size:
            cut = size - by % size
            parts = [slice_axis(array, at, cut, size - cut), slice_axis(array, at, 0, cut)]
            array = join(parts, at)
    return array


# --- repeating ----------------------------------------------------------------------------------


def tile(x: Operand, /, reps: Any) -> Array:
    """`x` laid out side by side `reps` times along each axis, the last count for the last axis."""
    array = asarray(x)
    counts = as_integers("tile", "a count", reps)
    if any(count < 0 for count in counts):
        raise ShapeError(f"tile by {list(counts)}", hint="counts are not negative")
    ndim = max(array.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - array.ndim) + array.shape
    apart = tuple(part for size in shape for part in (1, size))
    spread = tuple(part for pair in zip(counts, shape) for part in pair)
    repeated = core.broadcast_to(core.reshape(array, apart), spread)
    return core.reshape(repeated, tuple(a * b for a, b in zip(counts, shape)))


def repeat(x: Operand, /, repeats: Any, axis: int | None = None) -> Array:
    """Each element of `axis` (of the flattened array for None) `repeats` times in succession.

    `repeats` is a known integer, or one for each element of the axis.
    """
    array = asarray(x)
    if axis is None:
        array, axis = ravel(array), 0
    place = normalize_axis("repeat", axis, array)
    size = array.shape[place]
    counts = as_integers("repeat", "a count", repeats)
    if any(count < 0 for count in counts) or len(counts) not in (1, size):
        raise ShapeError(
            f"repeat of {array.node.type} along axis {place} by {list(counts)}",
            origin=origin(array),
            hint="give one count that is not negative, or one for each element of the axis",
        )
    if len(counts) > 1:
        return select(array, place, np.repeat(np.arange(size), counts))
    before, after = array.shape[: place + 1], array.shape[place + 1 :]
    apart = core.reshape(array, (*before, 1, *after))
    spread = core.broadcast_to(apart, (*before, counts[0], *after))
    return core.reshape(spread, (*before[:-1], size * counts[0], *after))


def resize(a: Operand, new_shape: Any) -> Array:
    """The elements of `a` in order, from the start again as often as `new_shape` needs.

    Zeros where `a` has none. ShapeError for negative sizes.
    """
    flat = ravel(a)
    sizes = as_integers("resize", "a size", new_shape)
    if any(size < 0 for size in sizes):
        raise ShapeError(f"resize to {list(sizes)}", hint="sizes are not negative")
    count = math.prod(sizes)
    if not flat.size:
        return core.full(sizes, 0, flat.dtype)
    repeated = tile(flat, -(-count // flat.size))
    return core.reshape(slice_axis(repeated, 0, 0, count), sizes)


def block(arrays: Any) -> Array:
    """Nested lists of arrays joined to one: the innermost along the last axis, the next before it.

    Arrays get leading axes of size 1 where others have more. DTypeError for tuples, ShapeError
    for empty lists and lists nested to different depths, or sizes that do not fit.
    """
    depth = _list_depth(arrays)
    ndim = max(depth, *(part.ndim for part in _leaves(arrays)))
    return _joined_blocks(arrays, depth, ndim)


def _list_depth(arrays: Any) -> int:
    if isinstance(arrays, tuple):
        raise DTypeError("block of a tuple", hint="nest lists")
    if not isinstance(arrays, list):
        return 0
    depths = {_list_depth(part) for part in arrays}
    if len(depths) != 1:
        raise ShapeError(
            "block of lists nested to different depths" if depths else "block of an empty list",
            hint="nest all arrays equally deep",
        )
    return depths.pop() + 1


def _leaves(arrays: Any) -> list[Array]:
    if not isinstance(arrays, list):
        return [asarray(arrays)]
    return [leaf for part in arrays for leaf in _leaves(part)]


def _joined_blocks(arrays: Any, depth: int, ndim: int) -> Array:
    if not depth:
        array = asarray(arrays)
        return core.reshape(array, (*(1,) * (ndim - array.ndim), *array.shape))
    return concatenate([_joined_blocks(part, depth - 1, ndim) for part in arrays], -depth)


# --- padding ------------------------------------------------------------------------------------

PAD_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Operand, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Array:
    """`x` with elements added before and after each axis.

    `pad_width` is n, (before, after), or such a pair for each axis. `mode` says what is added:
    "constant" `constant_values` (given as the widths are), "edge" the outermost element,
    "reflect" and "symmetric" a mirror image without and with it, "wrap" the other end.
    """
    array = asarray(x)
    widths = _for_each_axis("pad_width", pad_width, array)
    if widths.dtype.kind not in "iu":
        raise ArgumentError(f"pad: pad_width must be integers, not {pad_width!r}")
    if mode not in PAD_MODES or (widths < 0).any():
        raise DomainError(
            f"pad with mode {mode!r} and widths {widths.tolist()}",
            hint=f"use a mode of {', '.join(PAD_MODES)}, and widths that are not negative",
        )
    if mode == "constant":
        return _pad_constant(array, widths, constant_values)
    for axis, (before, after) in enumerate(widths.tolist()):
        if before or after:
            if not array.shape[axis]:
                raise ShapeError(
                    f"pad of {array.node.type} with mode {mode!r}: axis {axis} is empty"
                )
            options: Any = {"mode": mode}
            positions = np.pad(np.arange(array.shape[axis]), (before, after), **options)
            array = select(array, axis, positions)
    return array


def _for_each_axis(what: str, value: Any, x: Array) -> Any:
    """One value, a pair, or pairs, as a pair for each axis."""
    try:
        return np.broadcast_to(np.asarray(value), (x.ndim, 2))
    except ValueError:
        raise ShapeError(
            f"pad: {what} {value} does not fit {x.node.type}",
            hint="give one number, a pair, or a pair for each axis",
        ) from None


def _pad_constant(x: Array, widths: Any, values: Any) -> Array:
    filler = python_numbers(_for_each_axis("constant_values", values, x).tolist(), x.dtype)
    if not x.ndim or not widths.any():
        return x
    if (filler == filler[0, 0]).all():
        return _pad_with(x, widths[:, 0], widths[:, 1], filler[0, 0])
    nothing = np.zeros(x.ndim, np.int64)
    for axis in range(x.ndim):
        for side in (0, 1):
            width = nothing.copy()
            width[axis] = widths[axis, side]
            low, high = (nothing, width) if side else (width, nothing)
            x = _pad_with(x, low, high, filler[axis, side])
    return x


def _pad_with(x: Array, low: Any, high: Any, value: Any) -> Array:
    if not low.any() and not high.any():
        return x
    return apply("pad", x, low=tuple(map(int, low)), high=tuple(map(int, high)), value=value.item())


# --- diagonals and neighbours -------------------------------------------------------------------


def diagonal(x: Operand, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The elements x[..., i, i + offset, ...] of two axes, along a new last axis.

    ShapeError where `x` has fewer than two axes, AxisError where the axes are equal.
    """
    array = asarray(x)
    if array.ndim < 2:
        raise ShapeError(f"diagonal of {array.node.type}", hint="it needs at least two axes")
    first, second = normalize_axes("diagonal", (axis1, axis2), array)
    above = as_integer("diagonal", "offset", offset)
    order = [axis for axis in range(array.ndim) if axis not in (first, second)]
    moved = permute(array, [*order, first, second])
    *batch, rows, columns = moved.shape
    count = max(0, min(rows - max(0, -above), columns - max(0, above)))
    start = above if above >= 0 else -above * columns
    flat = core.reshape(moved, (*batch, rows * columns))
    return slice_axis(flat, flat.ndim - 1, start, count, columns + 1)


def diff(
    x: Operand,
    /,
    n: int = 1,
    axis: int = -1,
    prepend: Operand = None,
    append: Operand = None,
) -> Array:
    """The `n`-th differences x[i + 1] - x[i] along `axis`, which gets `n` shorter; of bools xor.

    `prepend` and `append` are joined to the axis first; scalars stand for one slice of them.
    """
    array = asarray(x)
    count = as_integer("diff", "n", n)
    if count < 0:
        raise ShapeError(f"diff of order {count}", hint="the order is not negative")
    if not array.ndim:
        raise ShapeError(f"diff of {array.node.type}", hint="it needs at least one axis")
    place = normalize_axis("diff", axis, array)
    if not count:
        return array
    ends = [prepend, array, append]
    parts = [_as_slice(part, array, place) for part in ends if part is not None]
    array = concatenate(parts, place) if len(parts) > 1 else array
    for _ in range(count):
        rest = max(0, array.shape[place] - 1)
        later = slice_axis(array, place, array.shape[place] - rest, rest)
        earlier = slice_axis(array, place, 0, rest)
        array = (not_equal if array.dtype == BOOL else subtract)(later, earlier)
    return array


def _as_slice(part: Operand, x: Array, axis: int) -> Array:
    found = asarray(part)
    if found.ndim:
        return found
    return core.broadcast_to(found, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def sliding_window_view(x: Operand, /, window_shape: Any, axis: Any = None) -> Array:
    """All windows of `window_shape` along `axis` (all axes for None); their axes come last.

    An axis of size n becomes one of size n - window + 1. The result holds copies, not views.
    """
    array = asarray(x)
    sizes = as_integers("sliding_window_view", "a size", window_shape)
    axes = tuple(range(array.ndim)) if axis is None else as_integers("", "axis", axis)
    places = [normalize_axis("sliding_window_view", at, array) for at in axes]
    if len(sizes) != len(places):
        raise ShapeError(
            f"sliding_window_view of {array.node.type} by {list(sizes)} along {places}",
            hint="give a size for each axis",
        )
    for place, size in zip(places, sizes):
        if not 0 <= size <= array.shape[place]:
            raise ShapeError(f"a window of {size} is larger than axis {place} of {array.node.type}")
        array = _windows(array, place, size)
    return array


def _windows(x: Array, axis: int, size: int) -> Array:
    """Windows along one axis. Those of no elements are empty, and as many as NumPy's."""
    if not size:
        shape = (*x.shape[:axis], x.shape[axis] + 1, *x.shape[axis + 1 :], 0)
        return core.broadcast_to(constant(np.zeros(0, x.dtype)), shape)
    return apply("window", x, axes=(axis,), size=(size,), step=(1,), dilation=(1,))


__all__ = """
    block diagonal diff flip fliplr flipud pad repeat resize roll rot90 sliding_window_view tile
""".split()
