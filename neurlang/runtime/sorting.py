"""What library steps do with whole buffers: NumPy's vectorised sorts, made stable.

NumPy's stable sorts merge, and take ten times as long as its vectorised quicksort, which is not
stable. Among values that shows in zeros of both signs alone. Indices come from keys that no two
elements share, which `passes/graph/sort_by_keys.py` makes; here of rows of 64-bit integers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_INDEX_BITS = 32
_FEW = 1 << 14  # elements of rows that stay in a cache with all that is computed of them
_MANY = 1 << 18  # elements of rows that are read once or twice
_PIECE = 1 << 16  # elements whose comparisons stay in a cache
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
    for rows, order in _blocks(x, result, _FEW):
        _argsort(rows, order)


def top_k(x: Any, result: Any) -> None:
    """The int64 indices of the largest elements of each row, in descending order; NaN is largest,
    and of equal elements the first comes first."""
    for rows, order in _blocks(x, result, _MANY):
        _largest(rows, order)


def _blocks(x: Any, result: Any, size: int) -> Iterator[tuple[Any, Any]]:
    """Some rows at a time, of about so many elements, and their results."""
    if not result.size:
        return
    rows, results = x.reshape(-1, x.shape[-1]), result.reshape(-1, result.shape[-1])
    step = max(1, size // x.shape[-1])
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


def _largest(x: Any, result: Any) -> None:
    """What is not below the smallest of the largest; of too many of those the first."""
    rows, size = x.shape
    count = result.shape[-1]
    least = np.partition(x, size - count, axis=-1)[:, size - count, None]
    chosen = ~(x < least)  # NaN as well
    places = np.flatnonzero(chosen)
    if len(places) > rows * count:
        unclear = chosen.sum(axis=-1) > count
        chosen[unclear] = _first_of_equal(x[unclear], least[unclear], count)
        places = np.flatnonzero(chosen)
    values = x.reshape(-1)[places].reshape(rows, count)[:, ::-1]
    descending = count - 1 - np.argsort(values, axis=-1, kind="stable")[:, ::-1]
    indices = (places % size).reshape(rows, count)
    result[...] = np.take_along_axis(indices, descending, axis=-1)


def _first_of_equal(x: Any, least: Any, count: int) -> Any:
    """Whether elements are above the smallest of the chosen, or among the first of its equals."""
    above = (x > least) | ((x != x) & (least == least))
    equal = (x == least) | ((x != x) & (least != least))
    wanted = count - above.sum(axis=-1, keepdims=True)
    return above | (equal & (np.cumsum(equal, axis=-1) <= wanted))


def _by_keys(places: Any, indices: Any) -> Any:
    """Indices in the order of places below 2**32, and of the indices where those are equal."""
    keys = (places << np.uint64(_INDEX_BITS)) | indices
    keys.sort(axis=-1)
    return (keys & _INDEX).view(np.int64)
