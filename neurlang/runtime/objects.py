"""How Python's and NumPy's objects lie in memory, and whether they do in this Python."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from functools import lru_cache
from typing import Any

import numpy as np

SCALARS = ("bool", "int8", "uint16", "int32", "uint64", "float32", "float64")
C_CONTIGUOUS = 0x0001
ALIGNED = 0x0100
ROWS_FIRST = 0  # the order of a copy: NPY_CORDER
# Numbers of functions in the table that NumPy publishes in `__multiarray_api.h`.
TYPE_SLOT = 2
RETURN_SLOT = 76
COPY_SLOT = 85
NEW_FROM_DESCRIPTOR_SLOT = 94


class ObjectHeader(ctypes.Structure):
    """Where every Python object begins, in builds with a GIL."""

    _fields_ = [("references", ctypes.c_ssize_t), ("type", ctypes.c_void_p)]


class FloatHeader(ctypes.Structure):
    """A Python float."""

    _fields_ = [("object", ObjectHeader), ("value", ctypes.c_double)]


class ItemsHeader(ctypes.Structure):
    """A tuple, whose items begin at `items`, or a list, where that is their address."""

    _fields_ = [
        ("object", ObjectHeader),
        ("size", ctypes.c_ssize_t),
        ("items", ctypes.c_void_p),
    ]


class ScalarHeader(ctypes.Structure):
    """A NumPy scalar: its value begins at `value`."""

    _fields_ = [("object", ObjectHeader), ("value", ctypes.c_int64)]


class ArrayHeader(ctypes.Structure):
    """The fields of an ndarray that NumPy's headers show to extension modules."""

    _fields_ = [
        ("object", ObjectHeader),
        ("data", ctypes.c_void_p),
        ("dimensions", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    ]


class DescriptorHeader(ctypes.Structure):
    """A NumPy dtype's instance. Its class is one for each dtype, whatever the byte order."""

    _fields_ = [
        ("object", ObjectHeader),
        ("scalar", ctypes.c_void_p),
        ("kind", ctypes.c_char),
        ("letter", ctypes.c_char),
        ("byte_order", ctypes.c_char),
    ]


@lru_cache(maxsize=1)
def native_entry_available() -> bool:
    """Whether Python's and NumPy's objects lie in memory as the native entry reads them.

    False on PyPy and on free-threaded builds, where they do not.
    """
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if object.__basicsize__ != ctypes.sizeof(ObjectHeader) or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    fraction = 4.0 / 7.0
    known = np.arange(15, dtype=np.float32).reshape(3, 5)
    bytes_ = known.view(np.uint8).reshape(-1)
    unaligned = bytes_[1:57].view(np.float64)
    swapped = known.astype(known.dtype.newbyteorder())
    arrays = (known, known.T, known[:, ::2], unaligned, swapped, bytes_)
    return (
        numpy_function(TYPE_SLOT) == id(np.ndarray)
        and FloatHeader.from_address(id(fraction)).value == fraction
        and all(_header_tells(array) for array in arrays)
        and _items_tell((fraction, known))
        and all(_scalar_tells(np.dtype(name).type(77)) for name in SCALARS)
    )


def _items_tell(items: tuple[Any, ...]) -> bool:
    """Whether ItemsHeader agrees with what Python says of a tuple and of a list."""
    held, listed = ItemsHeader.from_address(id(items)), list(items)
    header = ItemsHeader.from_address(id(listed))
    addresses = [id(item) for item in items]
    there = id(items) + ItemsHeader.items.offset
    found = [(ctypes.c_void_p * len(items)).from_address(at)[:] for at in (there, header.items)]
    return found == [addresses, addresses] and held.size == header.size == len(items)


def slot_offset(holder: Any, value: Any) -> int:
    """Where an object with slots holds a value, which it holds once."""
    words = (ctypes.c_void_p * (type(holder).__basicsize__ // 8)).from_address(id(holder))
    return 8 * list(words).index(id(value))


def _scalar_tells(scalar: Any) -> bool:
    """Whether a NumPy scalar's bytes begin where ScalarHeader says."""
    address = id(scalar) + ScalarHeader.value.offset
    return bool(ctypes.string_at(address, scalar.dtype.itemsize) == scalar.tobytes())


def _header_tells(array: np.ndarray[Any, Any]) -> bool:
    """Whether ArrayHeader, read from the array's memory, agrees with its Python attributes."""
    header = ArrayHeader.from_address(id(array))
    descriptor = DescriptorHeader.from_address(id(array.dtype))
    return (
        header.object.type == id(np.ndarray)
        and header.data == array.ctypes.data
        and header.dimensions == array.ndim
        and tuple(header.shape[: array.ndim]) == array.shape
        and tuple(header.strides[: array.ndim]) == array.strides
        and header.dtype == id(array.dtype)
        and descriptor.object.type == id(type(array.dtype))
        and descriptor.byte_order == array.dtype.byteorder.encode()
        and bool(header.flags & C_CONTIGUOUS) == array.flags.c_contiguous
        and bool(header.flags & ALIGNED) == array.flags.aligned
    )


@lru_cache(maxsize=1)
def _numpy_table() -> Any:
    """NumPy's table of C functions and types."""
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return ctypes.cast(get_pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))


def numpy_function(slot: int) -> int:
    """The address of a function in the table that NumPy publishes."""
    return int(_numpy_table()[slot])
