"""The memory of large results: NumPy takes it from our pool, and gives it back to it.

NumPy lets a program choose who allocates the data of new arrays (NEP 49). Ours stands in only
while a result is made, and every array remembers where its data is to go when it dies.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurlang.runtime.objects import numpy_function

POOLED = 1 << 18  # bytes from which a result comes from the pool: below, malloc reuses memory well
ALIGNMENT = 64  # of the data of pooled results: a cache line, and the longest vector
# A load waits for an earlier store when their addresses agree in the lowest 12 bits: processors
# compare those first. NumPy's own large arrays all begin 16 bytes after a page, so ours begin in
# the middle of one: what is stored next to what is loaded would else delay every load.
PAGE = 4096
HEADER = PAGE // 2  # bytes of a block before its data
MOST_BLOCKS = 32

_SET_HANDLER_SLOT = 304  # in the table that NumPy publishes
_NAME = b"neurlang"


class MemoryState(ctypes.Structure):
    """The pool, shared with its machine code: the blocks that are free, the oldest first."""

    _fields_ = [
        ("busy", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("held", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("reuses", ctypes.c_uint64),
        ("blocks", ctypes.c_void_p * MOST_BLOCKS),
    ]


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy's ndarraytypes.h."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    ]


class Memory:
    """The pool of large results, made of the addresses of its functions and its state."""

    def __init__(self, addresses: Mapping[str, int], limit: int) -> None:
        self.state = MemoryState.from_address(addresses["neurlang_memory"])
        self.state.limit = limit
        self._empty = ctypes.CFUNCTYPE(None)(addresses["neurlang_empty_pool"])
        handler = _Handler(
            _NAME,
            1,
            None,
            addresses["neurlang_allocate"],
            addresses["neurlang_allocate_zeroed"],
            addresses["neurlang_reallocate"],
            addresses["neurlang_free"],
        )
        make = ctypes.PYFUNCTYPE(
            ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
        )(("PyCapsule_New", ctypes.pythonapi))
        self.handler: Any = make(ctypes.addressof(handler), b"mem_handler", None)
        # Arrays that die after everything else, at exit, still read both: they stay.
        for kept in (handler, self.handler):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))

    def give_back(self) -> None:
        """Return the memory that the pool holds to the system."""
        self._empty()

    def describe(self) -> str:
        """One line for people: what the pool holds and may hold."""
        held, limit = self.state.held >> 20, self.state.limit >> 20
        return f"the pool of large results holds {held} MiB of at most {limit} MiB"


def available() -> bool:
    """Whether large results can come from the pool; NumPy has the hook, the system the calls."""
    return os.name == "posix" and set_handler_address() != 0


def set_handler_address() -> int:
    """The address of NumPy's PyDataMem_SetHandler."""
    return numpy_function(_SET_HANDLER_SLOT)


def physical_memory() -> int:
    """Bytes of memory of this machine; 1 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 30


def is_pooled(shape: Sequence[int], dtype: Any) -> bool:
    """Whether an array is large enough for the pool."""
    return math.prod(shape) * int(dtype.itemsize) >= POOLED


_set: list[Callable[[Any], Any]] = []


def _set_handler(handler: Any) -> Any:
    if not _set:
        kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)
        _set.append(kind(set_handler_address()))
    return _set[0](handler)


def empty(shape: tuple[int, ...], dtype: Any, memory: Memory | None) -> Any:
    """A new array for a result; its data is aligned as programs expect it of large ones."""
    if memory is None or not is_pooled(shape, dtype):
        return np.empty(shape, dtype)
    before = _set_handler(memory.handler)
    try:
        return np.empty(shape, dtype)
    finally:
        _set_handler(before)


__all__ = ["Memory", "MemoryState", "available", "empty", "is_pooled", "physical_memory"]
