"""The native entry's tables: what it is told of a program, and the Python function over it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from neurlang.runtime.call import numpy_function
from neurlang.runtime.memory import is_pooled, set_handler_address

Kind = Literal["array", "float", "int", "bool"]
Result = Literal["single", "tuple", "list"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # their numbers in an entry's table
RESULTS: tuple[Result, ...] = get_args(Result)
Shape = tuple[int, ...]

# Numbers of functions in the table that NumPy publishes in `__multiarray_api.h`.
_RETURN_SLOT = 76
_NEW_FROM_DESCRIPTOR_SLOT = 94

_METH_KEYWORDS = 0x0002
_METH_FASTCALL = 0x0080

_PYTHON_FUNCTIONS = (
    "PyErr_NoMemory",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyList_New",
    "PyList_SetItem",
    "PyLong_AsLongLongAndOverflow",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyTuple_SetItem",
    "Py_DecRef",
    "Py_IncRef",
)


class EntryMiss(Exception):
    """Leaves are not what a native entry takes, or its program failed and is to be asked why."""


@dataclass(frozen=True)
class EntrySignature:
    """What one native entry accepts and returns; anything else goes to the Python dispatcher.

    An input is (dtype name, shape, kind): kind "array" is exactly an ndarray of that dtype and
    shape, C-contiguous, aligned, in native byte order; "float", "int" and "bool" are exactly
    Python's, and the program reads them as f64, i64 and i8. An output is (dtype name, shape).
    """

    inputs: tuple[tuple[str, Shape, Kind], ...]
    outputs: tuple[tuple[str, Shape], ...]
    result: Result = "single"
    release_gil: bool = False

    def __post_init__(self) -> None:
        if self.result == "single" and len(self.outputs) != 1:
            raise ValueError(f"a single result has one output, not {len(self.outputs)}")


def _words(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int64) for name in names]


class EntryTable(ctypes.Structure):
    """What the native entry reads of one program; the records of its inputs and outputs follow."""

    _fields_ = _words(
        "dispatcher", "program", "inputs", "outputs", "first_input", "first_output", "result",
        "release_gil", "handler", "set_handler",
    )  # fmt: skip


class InputRecord(ctypes.Structure):
    """What one argument must be; all but the first two only for arrays."""

    _fields_ = _words(
        "type", "kind", "descriptor", "descriptor_type", "byte_order", "rank", "extents"
    )


class OutputRecord(ctypes.Structure):
    """One array to be made."""

    _fields_ = _words("descriptor", "rank", "extents", "pooled")


class _MethodDefinition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def entry_symbols() -> dict[str, int]:
    """The address of every name that the native entry imports."""
    functions = {
        name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        for name in _PYTHON_FUNCTIONS
    }
    return {
        **functions,
        "neurlang_new_array": numpy_function(_NEW_FROM_DESCRIPTOR_SLOT),
        "neurlang_return_array": numpy_function(_RETURN_SLOT),
        "neurlang_ndarray": id(np.ndarray),
        "neurlang_true": id(True),
    }


_SCALARS: dict[Kind, type] = {"float": float, "int": int, "bool": bool}


def entry_table(
    signature: EntrySignature, program: int, dispatcher: object, handler: int = 0
) -> np.ndarray[Any, Any]:
    """The table, of int64, of a program at the address `program`.

    It keeps neither the dispatcher nor the code alive. `handler` is the address of NumPy's
    memory handler for large outputs; 0 leaves them to NumPy.
    """
    inputs, outputs = signature.inputs, signature.outputs
    shapes = [*(shape for _, shape, _ in inputs), *(shape for _, shape in outputs)]
    first_input = ctypes.sizeof(EntryTable)
    first_output = first_input + len(inputs) * ctypes.sizeof(InputRecord)
    first_extent = first_output + len(outputs) * ctypes.sizeof(OutputRecord)
    table = np.empty(first_extent // 8 + sum(map(len, shapes)), np.int64)
    start = table.ctypes.data
    words = _record(
        EntryTable,
        dispatcher=id(dispatcher),
        program=program,
        inputs=len(inputs),
        outputs=len(outputs),
        first_input=start + first_input,
        first_output=start + first_output,
        result=RESULTS.index(signature.result),
        release_gil=signature.release_gil,
        handler=handler,
        set_handler=set_handler_address(),
    )
    extents = start + first_extent
    for name, shape, kind in inputs:
        words += _input(np.dtype(name), len(shape), kind, extents)
        extents += 8 * len(shape)
    for name, shape in outputs:
        dtype = np.dtype(name)
        pooled = bool(handler) and is_pooled(shape, dtype)
        at = {"rank": len(shape), "extents": extents}
        words += _record(OutputRecord, descriptor=id(dtype), **at, pooled=pooled)
        extents += 8 * len(shape)
    table[:] = [*words, *(extent for shape in shapes for extent in shape)]
    return table


def _input(dtype: np.dtype[Any], rank: int, kind: Kind, extents: int) -> list[int]:
    return _record(
        InputRecord,
        type=id(_SCALARS.get(kind, np.ndarray)),
        kind=KINDS.index(kind),
        descriptor=id(dtype),
        descriptor_type=id(type(dtype)),
        byte_order=ord(dtype.byteorder),
        rank=rank,
        extents=extents,
    )


def _record(structure: type[ctypes.Structure], **fields: int) -> list[int]:
    """The fields in their order."""
    return [fields[name] for name, *_ in structure._fields_]


def make_entry(
    address: int, table: np.ndarray[Any, Any], dispatcher: object, name: str = "entry"
) -> Callable[..., Any]:
    """The builtin function that enters the program of `table`; refused calls go to `dispatcher`.

    `address` is that of the native entry. The function refers to `dispatcher`, which has to keep
    the program linked as long as it lives itself.
    """
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL | _METH_KEYWORDS, None)
    # Python reads the definition when it frees the function, at the very end of the process
    # too, where nobody says which of the two goes first: the definition, 32 bytes, stays.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))
    make: Callable[..., Callable[..., Any]] = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object
    )(("PyCFunction_NewEx", ctypes.pythonapi))
    return make(ctypes.addressof(definition), table, dispatcher)
