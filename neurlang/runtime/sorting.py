"""What sorting leaves to NumPy: its vectorised sorts, as C functions, and steps over whole buffers.

NumPy's stable sorts merge, and take ten times as long as its vectorised quicksort, which is not
stable; `codegen.sort_text` makes it so. The largest elements of long rows come from `np.partition`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from neurlang.runtime.objects import numpy_function

DTYPES = [np.dtype(letter) for letter in "?bhiqBHIQfd"]
SORTERS = {dtype: f"numpy_sort_{dtype.name}" for dtype in DTYPES}
_FUNCTIONS_SLOT = 365  # of `_PyDataType_GetArrFuncs` in NumPy's table of C functions
_QUICKSORT, _STABLE = 33, 35  # the places of `sort` in a PyArray_ArrFuncs, counted in pointers
SORTER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_void_p)
_MANY = 1 << 18  # elements of rows that are read once or twice

_callbacks: dict[str, Any] = {}


def sort_symbols() -> dict[str, int]:
    """Addresses of `int sort(void *start, ssize_t count, void *)` for each of SORTERS.

    They are NumPy's own, which need no GIL; where this Python or NumPy does not show them they call
    Python. Bytes are counted instead of compared.
    """
    return {
        symbol: numpys_sorter(dtype) or pythons_sorter(dtype) for dtype, symbol in SORTERS.items()
    }


def numpys_sorter(dtype: np.dtype[Any]) -> int:
    """The address of NumPy's function; 0 where there is none that sorts."""
    if sys.implementation.name != "cpython":
        return 0
    functions_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(
        numpy_function(_FUNCTIONS_SLOT)
    )
    table = ctypes.cast(functions_of(dtype), ctypes.POINTER(ctypes.c_void_p))
    found = int(table[_STABLE if dtype.itemsize == 1 else _QUICKSORT] or 0)
    known = np.array([1, 0, 1, 0, 1], dtype)
    if found and not SORTER(found)(known.ctypes.data, known.size, None):
        return found if (known == np.array([0, 0, 1, 1, 1], dtype)).all() else 0
    return 0


def pythons_sorter(dtype: np.dtype[Any]) -> int:
    """The address of a function that sorts through Python, kept for ever."""

    def sort(start: int, count: int, unused: object) -> int:
        try:
            memory: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(start)
            np.ndarray((count,), dtype, memory).sort()
        except BaseException:  # none may pass through machine code: the caller gets a MemoryError
            return -1
        return 0

    callback = _callbacks.setdefault(dtype.name, SORTER(sort))
    return ctypes.cast(callback, ctypes.c_void_p).value or 0


def argsort(x: Any, result: Any) -> None:
    """The int64 indices that sort each row of 2**32 elements or more, equal ones as they come."""
    result[...] = np.argsort(x, axis=-1, kind="stable")


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


def _largest(x: Any, result: Any) -> None:
    """What is not below the least of the largest; of too many of those the first."""
    rows, size = x.shape
    count = result.shape[-1]
    least = np.partition(x, size - count, axis=-1)[:, size - count, None]
    chosen = ~(x < least)  # NaN as well
    places = np.flatnonzero(chosen)
    if len(places) > rows * count:
        for row in np.flatnonzero(chosen.sum(axis=-1) > count):
            _choose(x[row], least[row], chosen[row], count)
        places = np.flatnonzero(chosen)
    values = x.reshape(-1)[places].reshape(rows, count)[:, ::-1]
    descending = count - 1 - np.argsort(values, axis=-1, kind="stable")[:, ::-1]
    indices = (places % size).reshape(rows, count)
    result[...] = np.take_along_axis(indices, descending, axis=-1)


def _choose(x: Any, least: Any, chosen: Any, count: int) -> None:
    """Of a row's elements that may be chosen: those above the least one, and its first equals."""
    places = np.flatnonzero(chosen)
    values = x[places]
    above = (values > least) | ((values != values) & (least == least))
    equal = (values == least) | ((values != values) & (least != least))
    chosen[places] = above
    chosen[places[equal][: count - int(above.sum())]] = True
