"""Indices of triangles and diagonals, and flat indices made of several and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurlang.errors import ConcreteValueError, DomainError, DTypeError, ShapeError
from neurlang.frontend.array import Array, Operand, apply, asarray, cast, full, promote
from neurlang.frontend.axes import as_integer, as_integers
from neurlang.frontend.ordering import known_value
from neurlang.ir.types import INT64, Shape

# --- triangles and diagonals --------------------------------------------------------------------


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """Rows and columns, int64, of what lies on and below the diagonal `k` of an (n, m or n)."""
    return _indices("tril_indices", np.tril_indices, n, k, m)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """Rows and columns, int64, of what lies on and above the diagonal `k` of an (n, m or n)."""
    return _indices("triu_indices", np.triu_indices, n, k, m)


def _indices(name: str, function: Any, n: int, k: int, m: int | None) -> tuple[Array, Array]:
    rows = as_integer(name, "n", n)
    columns = rows if m is None else as_integer(name, "m", m)
    row, column = function(rows, as_integer(name, "k", k), columns)
    return asarray(row), asarray(column)


def tril_indices_from(arr: Operand, /, k: int = 0) -> tuple[Array, Array]:
    """`tril_indices` of the shape of a matrix."""
    return tril_indices(*_matrix_arguments("tril_indices_from", arr, k))


def triu_indices_from(arr: Operand, /, k: int = 0) -> tuple[Array, Array]:
    """`triu_indices` of the shape of a matrix."""
    return triu_indices(*_matrix_arguments("triu_indices_from", arr, k))


def _matrix_arguments(name: str, arr: Operand, k: int) -> tuple[int, int, int]:
    array = asarray(arr)
    if array.ndim != 2:
        raise ShapeError(f"{name} of {array.node.type}", hint="it takes a matrix")
    return array.shape[0], k, array.shape[1]


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """0, 1, ... n - 1 in int64, once for each of `ndim` axes: the indices of the diagonal."""
    index = asarray(np.arange(as_integer("diag_indices", "n", n)))
    return (index,) * as_integer("diag_indices", "ndim", ndim)


def diag_indices_from(arr: Operand, /) -> tuple[Array, ...]:
    """`diag_indices` of an array of equal sizes, with two axes or more."""
    array = asarray(arr)
    if array.ndim < 2 or len(set(array.shape)) > 1:
        raise ShapeError(
            f"diag_indices_from of {array.node.type}", hint="it takes two axes or more of one size"
        )
    return diag_indices(array.shape[0], array.ndim)


# --- flat indices -------------------------------------------------------------------------------


def unravel_index(indices: Operand, shape: Any, order: str = "C") -> tuple[Array, ...]:
    """The index along each axis of `shape` of flat indices: int64 arrays of their shape.

    With `order` "F" the first axis is counted fastest. DomainError for known indices out of range;
    a traced one gives an index out of range of the slowest axis.
    """
    sizes = as_integers("unravel_index", "a size", shape)
    array = _integers("unravel_index", indices)
    known = known_value(array)
    limit = math.prod(sizes)
    if known is not None and ((known < 0) | (known >= limit)).any():
        raise DomainError(
            f"unravel_index: an index is out of range for a shape of {limit} elements"
        )
    parts: list[Array] = []
    fastest_first = _from_fastest("unravel_index", order, sizes)
    for place, extent in enumerate(fastest_first):
        if place == len(sizes) - 1:
            parts.append(array)
            break
        along = full(array.shape, max(extent, 1), INT64)
        parts.append(apply("mod", array, along))
        array = apply("floor_div", array, along)
    return tuple(parts if order == "F" else reversed(parts))


def ravel_multi_index(
    multi_index: Any, dims: Any, mode: str | tuple[str, ...] = "raise", order: str = "C"
) -> Array:
    """Flat int64 indices of one index for each axis of `dims`, which broadcast together.

    What is out of range is, by `mode` (one, or one for each axis), clipped with "clip", wrapped
    around with "wrap", and with "raise" a DomainError; a traced one a ConcreteValueError, as it
    could not be told. With `order` "F" the first axis is counted fastest.
    """
    sizes = as_integers("ravel_multi_index", "a size", dims)
    given = [_integers("ravel_multi_index", index) for index in multi_index]
    modes = (mode,) * len(sizes) if isinstance(mode, str) else tuple(mode)
    if len(given) != len(sizes) or len(modes) != len(sizes):
        raise ShapeError(
            f"ravel_multi_index of {len(given)} indices for {len(sizes)} axes",
            hint="give one index for each axis",
        )
    inside = [_inside(index, size, rule) for index, size, rule in zip(given, sizes, modes)]
    indices = promote("ravel_multi_index", inside, INT64) if inside else []
    if order == "F":
        indices, sizes = indices[::-1], sizes[::-1]
    _from_fastest("ravel_multi_index", order, sizes)
    total = full(indices[0].shape if indices else (), 0, INT64)
    for index, extent in zip(indices, sizes):
        total = apply("add", apply("mul", total, full(total.shape, extent, INT64)), index)
    return total


def _integers(name: str, indices: Operand) -> Array:
    given = indices if isinstance(indices, Array) else np.asarray(indices)
    if given.dtype.kind not in "iu":
        raise DTypeError(f"{name} of {given.dtype}", hint="convert with astype('int64')")
    return cast(given, INT64) if isinstance(given, Array) else asarray(given.astype(np.int64))


def _from_fastest(name: str, order: str, sizes: Shape) -> Shape:
    """The sizes from that of the axis that is counted fastest on."""
    if order not in ("C", "F"):
        raise DomainError(f"{name} has no order {order!r}", hint="use 'C' or 'F'")
    return sizes if order == "F" else sizes[::-1]


def _inside(index: Array, size: int, mode: str) -> Array:
    """An index brought into its axis."""
    match mode:
        case "clip":
            low = apply("max", index, full(index.shape, 0, INT64))
            return apply("min", low, full(index.shape, size - 1, INT64))
        case "wrap":
            return apply("mod", index, full(index.shape, max(size, 1), INT64))
        case "raise":
            values = known_value(index)
            if values is None:
                raise ConcreteValueError(
                    "ravel_multi_index cannot raise for indices that are only traced",
                    origin=index.node.where,
                    hint="give mode='clip' or mode='wrap'",
                )
            if ((values < 0) | (values >= size)).any():
                raise DomainError(f"ravel_multi_index: an index is out of range for size {size}")
            return index
    raise DomainError(f"ravel_multi_index has no mode {mode!r}", hint="use raise, clip or wrap")


__all__ = """
    diag_indices diag_indices_from ravel_multi_index tril_indices tril_indices_from triu_indices
    triu_indices_from unravel_index
""".split()
