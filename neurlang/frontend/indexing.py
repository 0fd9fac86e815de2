"""Selecting and replacing elements: `x[key]`, take, scatter and update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.errors import (
    ArgumentError,
    DomainError,
    DTypeError,
    IndexingError,
    NeurlangError,
    ShapeError,
)
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    asarray,
    broadcast_to,
    cast,
    full,
    promote,
    reshape,
)
from neurlang.frontend.axes import normalize_axis, permute
from neurlang.ir.ops import SCATTER_MODES
from neurlang.ir.types import INT64, Shape

Index = Any  # a NumPy array of int64, or an Array of integers


@dataclass(frozen=True)
class Region:
    """What a key selects: a strided box of the array, then perhaps indices into the box.

    The array has the shape `base`, with an axis of size 1 for each bool in the key. `layout` names
    for each axis of the result the axis of the box, or None for one that the key adds; the axes of
    the box that integers picked are not in it. `indices` holds the integer arrays of the key by
    axis of the box; theirs are the result's axes from `front` on.
    """

    base: Shape
    start: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]
    layout: tuple[int | None, ...]
    indices: dict[int, Index]
    front: int

    @property
    def shape(self) -> Shape:
        """The shape of the result, without the axes of index arrays."""
        return tuple(1 if axis is None else self.size[axis] for axis in self.layout)

    def is_whole(self) -> bool:
        """Whether the box is the whole array in its own order."""
        return self.size == self.base and not any(self.start) and all(s == 1 for s in self.step)


# --- reading a key ------------------------------------------------------------------------------


def _as_index(item: Any) -> Any:
    """A part of a key as int, slice, None, Ellipsis, or an array of integers or bools."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, bool | np.bool_):
        return np.asarray(item)
    if isinstance(item, int | np.integer):
        return int(item)
    if isinstance(item, Array):
        if item.dtype.kind == "b" or (item.traced_by is None and item.node.op == "const"):
            return _as_index(_known_value(item))
        found: Any = item
    elif isinstance(item, list | tuple) and _holds_array(item):
        found = asarray(item)
    else:
        found = np.asarray(item)
        if found.size == 0 and not isinstance(item, np.ndarray | np.generic):
            found = found.astype(np.int64)
    if found.dtype.kind not in "iub":
        raise IndexingError(
            f"an index must be integers, slices, None, ... or bools, not {found.dtype}",
            hint="convert with astype('int64')",
        )
    if isinstance(found, Array):
        return cast(found, INT64)
    if found.dtype.kind == "b":
        return found
    return int(found) if found.ndim == 0 else found.astype(np.int64)


def _holds_array(items: Sequence[Any]) -> bool:
    return any(
        isinstance(item, Array) or (isinstance(item, list | tuple) and _holds_array(item))
        for item in items
    )


def _known_value(index: Array) -> Any:
    """The value of a constant, or of a mask, which decides the shape of the result."""
    if index.traced_by is not None and index.node.op != "const":
        raise IndexingError(
            f"a traced mask {index.node.type} cannot index: the shape would depend on its values",
            origin=index.node.where,
            hint="use where(mask, x, 0), which keeps the shape",
        )
    if index.node.op == "const":
        return np.broadcast_to(index.node.attrs["value"], index.shape)
    return index.value("an index")


def _axes_of(item: Any) -> int:
    """How many axes of the array a part of a key stands for."""
    if item is None or item is Ellipsis:
        return 0
    return int(item.ndim) if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1


def _expand_key(key: Any, shape: Shape) -> tuple[list[Any], Shape]:
    """The parts of a key, one for each axis and None: masks as integer arrays.

    An ellipsis that stands for no axis stays: it still keeps the arrays beside it apart. A bool is
    a mask of no axis, which gets one of size 1: the shape that the parts are for comes second.
    """
    items = [_as_index(item) for item in (key if isinstance(key, tuple) else (key,))]
    used = sum(_axes_of(item) for item in items)
    ellipses = [position for position, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexingError("an index can only have a single ellipsis ('...')")
    if used > len(shape):
        raise IndexingError(
            f"too many indices: {used} for an array of shape {list(shape)}",
            hint=f"it has {len(shape)} axes",
        )
    if used < len(shape):
        position = ellipses[0] if ellipses else len(items)
        items[position : position + 1] = [slice(None)] * (len(shape) - used)
    parts: list[Any] = []
    base = list(shape)
    axis = 0
    for item in items:
        is_mask = isinstance(item, np.ndarray) and item.dtype.kind == "b"
        if is_mask and not item.ndim:
            base.insert(axis, 1)
            parts.append(np.zeros(int(item), np.int64))
            axis += 1
        elif is_mask:
            _check_mask(item, tuple(base), axis)
            parts.extend(item.nonzero())
        else:
            parts.append(item)
        axis += _axes_of(item)
    return parts, tuple(base)


def _check_mask(mask: Any, shape: Shape, axis: int) -> None:
    if mask.shape != shape[axis : axis + mask.ndim]:
        raise IndexingError(
            f"a mask of shape {list(mask.shape)} does not fit axes {axis}.. of {list(shape)}",
            hint="a mask has the sizes of the axes that it stands for",
        )


def _check_range(index: Any, axis: int, size: int) -> Any:
    """Static indices made nonnegative; IndexingError for those out of range."""
    values = np.asarray(index)
    wrong = values[(values < -size) | (values >= size)]
    if wrong.size:
        raise IndexingError(
            f"index {int(wrong.flat[0])} is out of range for axis {axis} with size {size}",
            hint=f"indices must lie in {-size}..{size - 1}" if size else "the axis is empty",
        )
    return np.where(values < 0, values + size, values)


def _slice_bounds(part: slice, extent: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice of an axis; DomainError or ArgumentError for a bad one."""
    try:
        return part.indices(extent)
    except ValueError as error:
        raise DomainError(f"{error}", hint="use a step of 1, -1, or more") from None
    except TypeError as error:
        if isinstance(error, NeurlangError):
            raise
        raise ArgumentError(
            f"{part} has bounds that are not integers", hint="use integers or None"
        ) from None


def _region(key: Any, shape: Shape) -> Region:
    """The box that a key selects, and what remains to be done to it."""
    boxes: list[tuple[int, int, int]] = []
    layout: list[int | None] = []
    indices: dict[int, Index] = {}
    advanced: list[int] = []
    kept_before = 0
    parts, base = _expand_key(key, shape)
    for position, part in enumerate(parts):
        if part is Ellipsis:
            continue
        if part is None:
            layout.append(None)
            continue
        axis = len(boxes)
        extent = base[axis]
        if isinstance(part, slice):
            first, stop, stride = _slice_bounds(part, extent)
            count = len(range(first, stop, stride))
            boxes.append((first, count, stride) if count else (0, 0, 1))
            layout.append(axis)
            continue
        if not advanced:
            kept_before = len(layout)
        advanced.append(position)
        if isinstance(part, int):
            boxes.append((int(_check_range(part, axis, extent)), 1, 1))
        else:
            boxes.append((0, extent, 1))
            indices[axis] = part if isinstance(part, Array) else _check_range(part, axis, extent)
    together = bool(advanced) and advanced[-1] - advanced[0] == len(advanced) - 1
    start, size, step = ([box[place] for box in boxes] for place in range(3))
    return Region(
        base,
        tuple(start),
        tuple(size),
        tuple(step),
        tuple(layout),
        indices,
        kept_before if together else 0,
    )


# --- x[key] -------------------------------------------------------------------------------------


def getitem(x: Operand, key: Any) -> Array:
    """`x[key]` with NumPy's indexing.

    A key holds integers, slices of any step, None, an ellipsis, integer arrays (which broadcast
    together, and replace their axes where they stand together, else come first), lists, and masks
    whose values are known; a bool adds an axis of size 1 or 0. Traced integers may stand for
    integers. IndexingError where a known index is out of range or a mask is traced; a traced index
    is checked when it is used.
    """
    array = asarray(x)
    region = _region(key, array.shape)
    array = box = reshape(array, region.base)
    if not region.is_whole():
        box = apply("slice", array, start=region.start, size=region.size, step=region.step)
    if not region.indices:
        return reshape(box, region.shape)
    kept = [axis for axis in range(array.ndim) if axis in region.layout or axis in region.indices]
    box = reshape(box, tuple(region.size[axis] for axis in kept))
    chosen = {kept.index(axis): index for axis, index in region.indices.items()}
    picked, first, count = _pick(box, chosen)
    found = range(first, first + count)
    others = [axis for axis in range(picked.ndim) if axis not in found]
    front = sum(1 for axis in region.layout[: region.front] if axis is not None)
    placed = permute(picked, [*others[:front], *found, *others[front:]])
    sizes = list(region.shape)
    sizes[region.front : region.front] = picked.shape[first : first + count]
    return reshape(placed, tuple(sizes))


def _pick(box: Array, chosen: dict[int, Index]) -> tuple[Array, int, int]:
    """The elements at broadcast indices along some axes, and which axes the indices' are.

    Axes that are no neighbours come first. Those whose indices are all known become one.
    """
    axes = list(chosen)
    first, last = axes[0], axes[-1]
    if last - first >= len(axes):
        others = [axis for axis in range(box.ndim) if axis not in axes]
        box = permute(box, [*axes, *others])
        first, last = 0, len(axes) - 1
    known = [index for index in chosen.values() if isinstance(index, np.ndarray)]
    if len(known) == len(axes) > 1:
        before, sizes, after = box.shape[:first], box.shape[first : last + 1], box.shape[last + 1 :]
        try:
            flat = np.ravel_multi_index(tuple(known), sizes)
        except ValueError:
            raise _index_shapes(known) from None
        box = reshape(box, (*before, math.prod(sizes), *after))
        indices = [asarray(np.asarray(flat, np.int64))]
    else:
        indices = _broadcast_indices(list(chosen.values()))
    return apply("gather", box, *indices, axis=first), first, indices[0].ndim


def _broadcast_indices(indices: Sequence[Index]) -> list[Array]:
    try:
        return promote("indexing", [_as_array(index) for index in indices], INT64)
    except ShapeError:
        raise _index_shapes(indices) from None


def _index_shapes(indices: Sequence[Index]) -> IndexingError:
    shapes = " and ".join(str(list(index.shape)) for index in indices)
    return IndexingError(
        f"index arrays of shapes {shapes} do not broadcast",
        hint="sizes must be equal or 1, counted from the last axis",
    )


def _as_array(index: Index) -> Array:
    return cast(asarray(index), INT64)


# --- take ---------------------------------------------------------------------------------------


def _integer_index(name: str, indices: Operand) -> Index:
    """Indices as an int64 NumPy array where they are known, else as an Array."""
    found = _as_index(indices)
    if isinstance(found, int):
        return np.asarray(found)
    if not isinstance(found, np.ndarray | Array) or found.dtype.kind == "b":
        raise DTypeError(f"{name} takes integer indices", hint="use x[key] for slices and masks")
    return found


def take(x: Operand, indices: Operand, axis: int | None = None, mode: str = "raise") -> Array:
    """Slices of `x` along `axis` at integer `indices`; of all elements in order without an axis.

    The result has the shape of the indices in place of the axis. `mode` says what happens to
    indices out of range: "raise" an IndexingError, "clip" to the axis, or "wrap" around.
    """
    array = asarray(x)
    if axis is None:
        array, axis = reshape(array, (array.size,)), 0
    axis = normalize_axis("take", axis, array)
    size = array.shape[axis]
    index = _integer_index("take", indices)
    if mode not in ("raise", "clip", "wrap"):
        raise IndexingError(f"take has no mode {mode!r}", hint="use raise, clip or wrap")
    if isinstance(index, np.ndarray) and mode == "raise":
        index = _check_range(index, axis, size)
    index = _as_array(index)
    if mode == "clip":
        index = apply("max", index, full(index.shape, 0, INT64))
        index = apply("min", index, full(index.shape, size - 1, INT64))
    elif mode == "wrap":
        index = apply("mod", index, full(index.shape, size, INT64))
    return apply("gather", array, index, axis=axis)


def take_along_axis(x: Operand, indices: Operand, axis: int | None = -1) -> Array:
    """`x[..., indices[..., j, ...], ...]` along `axis`: what argsort and argmax give, looked up.

    `indices` has as many axes as `x`, and broadcasts with it on the others. Without an axis, `x`
    is taken as one row. IndexingError or AxisError where they do not fit.
    """
    array = asarray(x)
    if axis is None:
        array, axis = reshape(array, (array.size,)), 0
    axis = normalize_axis("take_along_axis", axis, array)
    index = _integer_index("take_along_axis", indices)
    if index.ndim != array.ndim:
        raise IndexingError(
            f"take_along_axis takes indices with {array.ndim} axes, not {index.ndim}",
            hint="add axes with reshape or None",
        )
    key: list[Any] = []
    for position, size in enumerate(array.shape):
        shape = [1] * array.ndim
        shape[position] = size
        place = apply("iota", shape=tuple(shape), axis=position, dtype=INT64)
        key.append(index if position == axis else place)
    return getitem(array, tuple(key))


# --- scatter and update -------------------------------------------------------------------------


def scatter(base: Operand, indices: Operand, values: Operand, mode: str = "set") -> Array:
    """`base` with slices of axis 0 set, added, multiplied, ... at integer `indices`, in order.

    `values` broadcast to the shape of the indices followed by that of a slice, and are converted
    to the dtype of `base`. `mode` is one of "set", "add", "mul", "max" and "min"; an index that
    stands twice counts twice. IndexingError for a known index out of range.
    """
    array = asarray(base)
    normalize_axis("scatter", 0, array)
    if mode not in SCATTER_MODES:
        raise IndexingError(
            f"scatter has no mode {mode!r}", hint=f"use one of {', '.join(SCATTER_MODES)}"
        )
    index = _integer_index("scatter", indices)
    if isinstance(index, np.ndarray):
        index = _check_range(index, 0, array.shape[0])
    index = _as_array(index)
    shape = (*index.shape, *array.shape[1:])
    filled = broadcast_to(asarray(values, array.dtype), shape)
    return apply("scatter", array, index, filled, mode=mode)


def scatter_add(base: Operand, indices: Operand, values: Operand) -> Array:
    """`base` with `values` added to slices of axis 0 at `indices`, as `np.add.at` does.

    Shapes, dtypes and errors as for `scatter`.
    """
    return scatter(base, indices, values, "add")


def update(base: Operand, key: Any, value: Operand) -> Array:
    """A copy of `base` whose elements at `key` are `value`: `x[key] = value` without mutation.

    `value` broadcasts to the shape of `base[key]` and is converted to the dtype of `base`. The
    key is as for `x[key]`. ShapeError where the value does not fit, IndexingError for bad keys.
    """
    array = asarray(base)
    region = _region(key, array.shape)
    if region.indices:
        return _update_at_indices(array, key, value)
    filled = broadcast_to(
        _without_leading_ones(asarray(value, array.dtype), region.shape), region.shape
    )
    return apply(
        "update", array, reshape(filled, region.size), start=region.start, step=region.step
    )


def _without_leading_ones(value: Array, shape: Shape) -> Array:
    """Assignment lets a value have more axes than the place where it goes, of size 1."""
    extra = max(0, value.ndim - len(shape))
    if any(size != 1 for size in value.shape[:extra]):
        raise ShapeError(
            f"cannot put {value.node.type} into a region of shape {list(shape)}",
            hint="the value must broadcast to the region",
        )
    return reshape(value, value.shape[extra:])


def _update_at_indices(array: Array, key: Any, value: Operand) -> Array:
    """By way of the flat positions of the elements, indexed by the same key."""
    flat_positions = apply("iota", shape=(array.size,), axis=0, dtype=INT64)
    positions = getitem(reshape(flat_positions, array.shape), key)
    fitting = _without_leading_ones(asarray(value, array.dtype), positions.shape)
    filled = broadcast_to(fitting, positions.shape)
    flat = reshape(array, (array.size,))
    return reshape(apply("scatter", flat, positions, filled, mode="set"), array.shape)


__all__ = ["scatter", "scatter_add", "take", "take_along_axis", "update"]
