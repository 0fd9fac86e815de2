"""What library steps do with whole buffers: NumPy's vectorised sorts, made stable.

NumPy's stable sorts merge, and take ten times as long as its vectorised quicksort, which is not
stable. Among values that shows in zeros of both signs alone. For indices the sort runs over keys
that no two elements share: the value's place in the order, then the index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_INDEX_BITS = 32
_BLOCK = 1 << 14  # elements of rows and their keys that stay in a cache
_PIECE = 1 << 16  # elements of which one bool each does
_INDEX = np.uint64((1 << _INDEX_BITS) - 1)


def sort(x: Any, result: Any) -> None:
    """Each row in ascending order, NaN last, zeros of both signs as they come."""
    np.copyto(result, x)
    if x.dtype.itemsize == 1:  # NumPy counts bytes instead of comparing them
        result.sort(axis=-1, kind="stable")
        return
    result.sort(axis=-1)
    if x.dtype.kind == "f" and _has_negative_zero(x):
        result[result == 0] = x[x == 0]  # row by row there are as many in both


def _has_negative_zero(x: Any) -> bool:
    flat = x.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        zero = piece == 0
        if zero.any() and np.signbit(piece[zero]).any():
            return True
    return False


def argsort(x: Any, result: Any) -> None:
    """The int64 indices that sort each row; of equal elements, and NaN, the first comes first.

    Fast for rows of uint64, which is what `sort_by_keys` leaves.
    """
    if x.dtype != np.uint64 or x.shape[-1] > 1 << _INDEX_BITS:
        result[...] = np.argsort(x, axis=-1, kind="stable")
        return
    for rows, order in _blocks(x, result):
        _argsort(rows, order)


def top_k(x: Any, result: Any) -> None:
    """The int64 indices of the largest elements of each row, in descending order; NaN is largest,
    and of equal elements the first comes first."""
    largest = _largest_by_value if x.dtype.itemsize > 4 else _largest_by_keys
    for rows, order in _blocks(x, result):
        order[...] = largest(rows, order.shape[-1])


def _blocks(x: Any, result: Any) -> Iterator[tuple[Any, Any]]:
    """Rows and their results, so many at once that they stay in a cache."""
    if not result.size:
        return
    size = x.shape[-1]
    rows, results = x.reshape(-1, size), result.reshape(-1, result.shape[-1])
    step = max(1, _BLOCK // size)
    for start in range(0, len(rows), step):
        yield rows[start : start + step], results[start : start + step]


def _argsort(x: Any, order: Any) -> None:
    """By the upper half; rows in which that of two elements is the same, by both halves."""
    indices = np.arange(x.shape[-1], dtype=np.uint64)
    keys = (x & ~_INDEX) | indices
    keys.sort(axis=-1)
    np.bitwise_and(keys, _INDEX, out=order.view(np.uint64))
    same = ((keys[:, 1:] ^ keys[:, :-1]) <= _INDEX).any(axis=-1)
    if same.any():
        unclear = x[same]
        first = _by_keys(unclear & _INDEX, indices)
        upper = np.take_along_axis(unclear >> np.uint64(_INDEX_BITS), first, axis=-1)
        order[same] = np.take_along_axis(first, _by_keys(upper, indices), axis=-1)


def _largest_by_keys(x: Any, count: int) -> Any:
    """Of at most four bytes: by keys, as above."""
    keys = _keys(np.uint64(0xFFFFFFFF) - _places(x), np.arange(x.shape[-1], dtype=np.uint64))
    if count < x.shape[-1]:
        keys = np.partition(keys, count - 1, axis=-1)[:, :count]
    keys.sort(axis=-1)
    return (keys & _INDEX).view(np.int64)


def _largest_by_value(x: Any, count: int) -> Any:
    """What is above the smallest of the chosen, and of its equals the first."""
    size = x.shape[-1]
    least = np.partition(x, size - count, axis=-1)[:, size - count, None]
    above = (x > least) | ((x != x) & (least == least))
    equal = (x == least) | ((x != x) & (least != least))
    wanted = count - above.sum(axis=-1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=-1) <= wanted))
    indices = np.nonzero(chosen)[1].reshape(-1, count)
    values = np.take_along_axis(x, indices, axis=-1)[:, ::-1]
    order = count - 1 - np.argsort(values, axis=-1, kind="stable")[:, ::-1]
    return np.take_along_axis(indices, order, axis=-1)


def _by_keys(places: Any, indices: Any) -> Any:
    """Indices in the order of places below 2**32, and of the indices where those are equal."""
    keys = _keys(places, indices)
    keys.sort(axis=-1)
    return (keys & _INDEX).view(np.int64)


def _keys(places: Any, indices: Any) -> Any:
    return (places << np.uint64(_INDEX_BITS)) | indices


def _places(x: Any) -> Any:
    """Where elements of at most four bytes stand in their dtype's order, as uint64.

    The bits of floats of one sign are in order, those of negative ones backwards.
    """
    if x.dtype.kind in "ub":
        return x.astype(np.uint64)
    if x.dtype.kind == "i":
        return (x.astype(np.int64) + (1 << 31)).view(np.uint64)
    bits = (x + x.dtype.type(0)).astype(np.float32, copy=False).view(np.int32)  # no -0.0 is left
    places = (bits ^ ((bits >> 31) | np.int32(-(1 << 31)))).view(np.uint32)
    places[x != x] = 0xFFFFFFFF
    return places.astype(np.uint64)
