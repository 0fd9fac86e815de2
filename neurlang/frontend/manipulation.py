"""Movement of elements: shapes, axes, joining, splitting, repeating and padding.

Arrays are values, so nothing here is a view that a later assignment could show through; the
compiler reads most of these in place all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, DomainError, ShapeError
from neurlang.frontend import array as core
from neurlang.frontend.array import Array, Operand, apply, asarray, cast, origin, result_dtype
from neurlang.frontend.axes import (
    as_integer,
    as_integers,
    move_axis,
    normalize_axes,
    normalize_axis,
    permute,
    slice_axis,
)
from neurlang.ir.graph import Node
from neurlang.ir.types import Shape, check_dtype

# --- shapes -------------------------------------------------------------------------------------


def reshape(x: Operand, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Array:
    """The elements of `x` in order under another shape; one size may be -1 and is worked out.

    `order` "F" reads and writes with the first axis fastest; "A" asks how NumPy would lay `x` out,
    and is an ArgumentError where that cannot be told. ShapeError where sizes do not fit.
    """
    array = asarray(x)
    sizes = _known_sizes(array, as_integers("reshape", "a size", shape))
    if not _first_axis_fastest("reshape", order, "CFA", array):
        return core.reshape(array, sizes)
    backwards = core.reshape(permute(array, range(array.ndim)[::-1]), sizes[::-1])
    return permute(backwards, range(len(sizes))[::-1])


def _first_axis_fastest(name: str, order: Any, known: str, x: Array) -> bool:
    """Whether elements are read in Fortran's order; DomainError for an order that is not known."""
    letter = "C" if order is None else str(order).upper()
    if letter not in list(known):
        raise DomainError(f"{name} has no order {order!r}", hint="use 'C' or 'F'")
    if letter in "AK" and x.ndim > 1 and not _lies_in_rows(x.node):
        raise ArgumentError(
            f"{name} in order {letter!r} depends on how NumPy lays {x.node.type} out in memory",
            origin=origin(x),
            hint="use 'C', or 'F' for the first axis fastest",
        )
    return letter == "F"


def _lies_in_rows(node: Node) -> bool:
    """Whether NumPy has the value in row-major order, as it does where nothing turned axes."""
    pending = [(node, False)]
    seen = set()
    while pending:
        node, computed = pending.pop()
        if (node, computed) in seen:
            continue
        seen.add((node, computed))
        computed = computed or node.kind in ("map", "reduce")
        ordinary = node.kind in ("leaf", "map", "reduce", "contract") or node.op in _KEEPING_ROWS
        if not ordinary and not (node.op == "broadcast" and computed):
            return False
        pending.extend((arg, computed) for arg in node.args)
    return True


_KEEPING_ROWS = ("reshape", "slice", "pad", "concat")


def _known_sizes(x: Array, sizes: Shape) -> Shape:
    """The sizes with -1 replaced by what is left."""
    unknown = [position for position, size in enumerate(sizes) if size == -1]
    known = math.prod(size for size in sizes if size != -1)
    wrong = len(unknown) > 1 or min(sizes, default=0) < -1
    if unknown and not wrong:
        wrong = known == 0 or x.size % known != 0
    if wrong or (not unknown and known != x.size):
        raise ShapeError(
            f"cannot reshape {x.node.type} into {list(sizes)}",
            origin=origin(x),
            hint=f"the sizes must multiply to {x.size}; one of them may be -1",
        )
    return tuple(x.size // known if size == -1 else size for size in sizes)


def ravel(x: Operand, /, order: str = "C") -> Array:
    """All elements in one axis; with `order` "F" the first axis fastest.

    "A" and "K" ask how NumPy would lay `x` out, and are ArgumentErrors where that cannot be told.
    """
    array = asarray(x)
    return reshape(array, -1, "F" if _first_axis_fastest("ravel", order, "CFAK", array) else "C")


def flatten(x: Operand, /, order: str = "C") -> Array:
    """All elements in one axis: `ravel` under the name of ndarray's method."""
    return ravel(x, order)


def expand_dims(x: Operand, /, axis: Any) -> Array:
    """`x` with axes of size 1 inserted, so that they stand at `axis` of the result."""
    array = asarray(x)
    count = len(as_integers("expand_dims", "axis", axis))
    added = normalize_axes("expand_dims", axis, array, array.ndim + count)
    sizes = iter(array.shape)
    shape = tuple(1 if at in added else next(sizes) for at in range(array.ndim + count))
    return core.reshape(array, shape)


def squeeze(x: Operand, /, axis: Any = None) -> Array:
    """`x` without the axes of size 1, or without those of `axis`; ShapeError for larger ones."""
    array = asarray(x)
    dropped = tuple(at for at, size in enumerate(array.shape) if size == 1)
    if axis is not None and not (array.ndim == 0 and axis in (0, -1)):
        dropped = normalize_axes("squeeze", axis, array)
    if any(array.shape[at] != 1 for at in dropped):
        raise ShapeError(
            f"squeeze of {array.node.type} along axis {axis}, whose size is not 1",
            origin=origin(array),
            hint="only axes of size 1 can be dropped",
        )
    shape = tuple(size for at, size in enumerate(array.shape) if at not in dropped)
    return core.reshape(array, shape)


def _at_least(name: str, arrays: tuple[Operand, ...], ndim: int, leading: Any) -> Any:
    """Each array with axes of size 1 added: `leading(x)` of them before the others."""
    found = []
    for x in map(asarray, arrays):
        missing = max(0, ndim - x.ndim)
        before = leading(x) if missing else 0
        found.append(core.reshape(x, (1,) * before + x.shape + (1,) * (missing - before)))
    return found[0] if len(found) == 1 else tuple(found)


def atleast_1d(*arrays: Operand) -> Any:
    """Each array with at least one axis; a tuple where there are several."""
    return _at_least("atleast_1d", arrays, 1, lambda x: 1)


def atleast_2d(*arrays: Operand) -> Any:
    """Each array with at least two axes, new ones in front; a tuple where there are several."""
    return _at_least("atleast_2d", arrays, 2, lambda x: 2 - x.ndim)


def atleast_3d(*arrays: Operand) -> Any:
    """Each array with at least three axes: (n,) becomes (1, n, 1), and (m, n) becomes (m, n, 1)."""
    return _at_least("atleast_3d", arrays, 3, lambda x: (1, 1, 0)[x.ndim])


# --- order of axes ------------------------------------------------------------------------------


def transpose(x: Operand, /, axes: Any = None) -> Array:
    """`x` with its axes in the order `axes`, a permutation of them; reversed without one."""
    return permute_dims(x, axes)


def permute_dims(x: Operand, /, axes: Any = None) -> Array:
    """`transpose`; AxisError or ShapeError for what is no permutation of the axes."""
    array = asarray(x)
    if axes is None:
        return permute(array, range(array.ndim)[::-1])
    order = normalize_axes("transpose", axes, array)
    if len(order) != array.ndim:
        raise ShapeError(
            f"transpose of {array.node.type} by {list(order)}",
            origin=origin(array),
            hint="name every axis once",
        )
    return permute(array, order)


def matrix_transpose(x: Operand, /) -> Array:
    """`x` with its last two axes exchanged; ShapeError where it has fewer."""
    array = asarray(x)
    if array.ndim < 2:
        raise ShapeError(
            f"matrix_transpose of {array.node.type}", hint="it needs at least two axes"
        )
    return swapaxes(array, -1, -2)


def swapaxes(x: Operand, /, axis1: int, axis2: int) -> Array:
    """`x` with two axes exchanged."""
    array = asarray(x)
    first = normalize_axis("swapaxes", axis1, array)
    second = normalize_axis("swapaxes", axis2, array)
    order = list(range(array.ndim))
    order[first], order[second] = second, first
    return permute(array, order)


def moveaxis(x: Operand, /, source: Any, destination: Any) -> Array:
    """`x` with the axes `source` moved to `destination`; the others keep their order."""
    array = asarray(x)
    sources = normalize_axes("moveaxis", source, array)
    destinations = normalize_axes("moveaxis", destination, array)
    if len(sources) != len(destinations):
        raise ShapeError(
            f"moveaxis from {list(sources)} to {list(destinations)}", hint="name as many axes"
        )
    order = [axis for axis in range(array.ndim) if axis not in sources]
    for place, axis in sorted(zip(destinations, sources)):
        order.insert(place, axis)
    return permute(array, order)


def rollaxis(x: Operand, /, axis: int, start: int = 0) -> Array:
    """`x` with one axis moved back until it stands before the axis that was at `start`."""
    array = asarray(x)
    moved = normalize_axis("rollaxis", axis, array)
    extent = array.ndim if start < 0 else array.ndim + 1
    before = normalize_axis("rollaxis", start, array, extent)
    return move_axis(array, moved, before - 1 if moved < before else before)


# --- broadcasting -------------------------------------------------------------------------------


def broadcast_shapes(*shapes: Any) -> Shape:
    """The shape that arrays of these shapes broadcast to; ShapeError where there is none."""
    given = [as_integers("broadcast_shapes", "a size", shape) for shape in shapes]
    try:
        return tuple(np.broadcast_shapes(*given))
    except ValueError:
        raise ShapeError(
            f"shapes {' and '.join(str(list(shape)) for shape in given)} do not broadcast",
            hint="sizes must be equal or 1, counted from the last axis",
        ) from None


def broadcast_to(x: Operand, /, shape: Any) -> Array:
    """`x` repeated along axes of size 1 and new leading ones to `shape`; else ShapeError."""
    return core.broadcast_to(asarray(x), as_integers("broadcast_to", "a size", shape))


def broadcast_arrays(*arrays: Operand) -> tuple[Array, ...]:
    """All arrays, each in its own dtype, broadcast to their common shape; else ShapeError."""
    found = [asarray(x) for x in arrays]
    shape = core.common_shape("broadcast_arrays", found)
    return tuple(core.broadcast_to(x, shape) for x in found)


# --- joining ------------------------------------------------------------------------------------


def _as_list(name: str, arrays: Any) -> list[Array]:
    found = unstack(arrays) if isinstance(arrays, Array) else [asarray(x) for x in arrays]
    if not found:
        raise ShapeError(f"{name} of no arrays", hint="give at least one")
    return list(found)


def concatenate(arrays: Any, /, axis: int | None = 0, *, dtype: Any = None) -> Array:
    """Arrays one after the other along `axis`, in their common dtype or in `dtype`.

    All sizes but that of `axis` must agree, else ShapeError; without an axis all are flattened.
    """
    parts = _as_list("concatenate", arrays)
    found = result_dtype(*parts) if dtype is None else check_dtype(dtype)
    if axis is None:
        parts, axis = [ravel(part) for part in parts], 0
    if not all(part.ndim for part in parts):
        raise ShapeError("concatenate of arrays without axes", hint="use stack")
    if len({part.ndim for part in parts}) > 1:
        types = ", ".join(str(part.node.type) for part in parts)
        raise ShapeError(f"concatenate of {types}", hint="all must have as many axes")
    place = normalize_axis("concatenate", axis, parts[0])
    return join([cast(part, found) for part in parts], place)


def join(parts: Sequence[Array], axis: int) -> Array:
    """Arrays of one dtype along an axis; one array stays itself."""
    return parts[0] if len(parts) == 1 else apply("concat", *parts, axis=axis)


concat = concatenate


def stack(arrays: Any, /, axis: int = 0, *, dtype: Any = None) -> Array:
    """Arrays of one shape along a new axis, at `axis` of the result; else ShapeError."""
    parts = _as_list("stack", arrays)
    if len({part.shape for part in parts}) > 1:
        types = ", ".join(str(part.node.type) for part in parts)
        raise ShapeError(f"stack of {types}", hint="all shapes must agree")
    place = normalize_axis("stack", axis, parts[0], parts[0].ndim + 1)
    return concatenate([expand_dims(part, place) for part in parts], place, dtype=dtype)


def vstack(arrays: Any, /, *, dtype: Any = None) -> Array:
    """Arrays along axis 0, where vectors are rows."""
    return concatenate([atleast_2d(x) for x in _as_list("vstack", arrays)], 0, dtype=dtype)


def hstack(arrays: Any, /, *, dtype: Any = None) -> Array:
    """Arrays along axis 1, vectors along their only axis."""
    parts = [atleast_1d(x) for x in _as_list("hstack", arrays)]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1, dtype=dtype)


def dstack(arrays: Any, /) -> Array:
    """Arrays along axis 2, where (n,) counts as (1, n, 1) and (m, n) as (m, n, 1)."""
    return concatenate([atleast_3d(x) for x in _as_list("dstack", arrays)], 2)


def column_stack(arrays: Any, /) -> Array:
    """Arrays along axis 1, where vectors are columns."""
    parts = _as_list("column_stack", arrays)
    columns = [x if x.ndim > 1 else core.reshape(x, (x.size, 1)) for x in parts]
    return concatenate(columns, 1)


def append(x: Operand, values: Operand, axis: int | None = None) -> Array:
    """`values` after `x` along `axis`; both are flattened without one."""
    return concatenate([x, values], axis)


# --- splitting ----------------------------------------------------------------------------------


def array_split(x: Operand, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """`x` cut along `axis` before the given indices, or into so many parts as equal as can be."""
    array = asarray(x)
    place = normalize_axis("split", axis, array)
    size = array.shape[place]
    if isinstance(indices_or_sections, Sequence | np.ndarray) and np.ndim(indices_or_sections):
        cuts = [0, *as_integers("split", "an index", indices_or_sections), size]
    else:
        sections = as_integer("split", "the number of sections", indices_or_sections)
        if sections <= 0:
            raise ShapeError(f"split into {sections} sections", hint="give at least one")
        short, longer = divmod(size, sections)
        cuts = [short * part + min(part, longer) for part in range(sections + 1)]
    parts = []
    for first, last in pairwise(cuts):
        start, stop, _ = slice(first, last).indices(size)
        parts.append(slice_axis(array, place, start, max(0, stop - start)))
    return parts


def split(x: Operand, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """`x` cut along `axis` before the given indices, or into equal parts; else ShapeError."""
    array = asarray(x)
    place = normalize_axis("split", axis, array)
    if not np.ndim(indices_or_sections):
        sections = as_integer("split", "the number of sections", indices_or_sections)
        if sections <= 0 or array.shape[place] % sections:
            raise ShapeError(
                f"split of {array.node.type} along axis {place} into {sections} equal parts",
                origin=origin(array),
                hint="use array_split for parts of different sizes",
            )
    return array_split(array, indices_or_sections, place)


def vsplit(x: Operand, indices_or_sections: Any) -> list[Array]:
    """`split` along axis 0 of an array with at least two axes."""
    array = asarray(x)
    normalize_axis("vsplit", 1, array)
    return split(array, indices_or_sections, 0)


def hsplit(x: Operand, indices_or_sections: Any) -> list[Array]:
    """`split` along axis 1, of a vector along its only axis."""
    array = asarray(x)
    normalize_axis("hsplit", 0, array)
    return split(array, indices_or_sections, min(1, array.ndim - 1))


def dsplit(x: Operand, indices_or_sections: Any) -> list[Array]:
    """`split` along axis 2 of an array with at least three axes."""
    array = asarray(x)
    normalize_axis("dsplit", 2, array)
    return split(array, indices_or_sections, 2)


def unstack(x: Operand, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of `x` along `axis`, without that axis."""
    array = asarray(x)
    place = normalize_axis("unstack", axis, array)
    shape = array.shape[:place] + array.shape[place + 1 :]
    slices = [slice_axis(array, place, at, 1) for at in range(array.shape[place])]
    return tuple(core.reshape(part, shape) for part in slices)


__all__ = """
    append array_split atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_shapes
    broadcast_to column_stack concat concatenate dsplit dstack expand_dims flatten hsplit hstack
    matrix_transpose moveaxis permute_dims ravel reshape rollaxis split squeeze stack swapaxes
    transpose unstack vsplit vstack
""".split()
