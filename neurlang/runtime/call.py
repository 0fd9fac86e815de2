"""How Python calls a compiled program: the native entry's signature and addresses, or ctypes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from neurlang.runtime.objects import (
    NEW_FROM_DESCRIPTOR_SLOT,
    RETURN_SLOT,
    numpy_function,
)

Kind = Literal["array", "float", "int", "bool"]
Shape = tuple[int, ...]


_METH_KEYWORDS = 0x0002
_METH_FASTCALL = 0x0080

_PYTHON_FUNCTIONS = (
    "PyDict_New",
    "PyDict_Next",
    "PyDict_SetItem",
    "PyDict_Size",
    "PyErr_NoMemory",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyList_New",
    "PyList_SetItem",
    "PyLong_AsLongLongAndOverflow",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyType_GenericAlloc",
    "PyUnicode_Compare",
    "Py_DecRef",
    "Py_IncRef",
)
_SIGNAL_FUNCTIONS = (
    "PyErr_CheckSignals",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyGILState_Ensure",
    "PyGILState_Release",
)


class EntryMiss(Exception):
    """Leaves are not what a native entry takes, or its program failed and is to be asked why."""


detour = ctypes.c_int64()
"""How many `options` blocks are entered, in any thread: with any, entries leave calls to Python."""


@dataclass(frozen=True)
class Nest:
    """A container: its items, and the numbers of a dict's keys, or of a named tuple's class, among
    the objects that the entry is linked with."""

    kind: Literal["tuple", "list", "dict", "named"]
    items: tuple[Nested, ...]
    names: tuple[int, ...] = ()


Nested = Literal["leaf", "none"] | Nest


def leaves_of(nested: Nested) -> int:
    """How many leaves there are."""
    if isinstance(nested, Nest):
        return sum(map(leaves_of, nested.items))
    return int(nested == "leaf")


def containers_of(nested: Nested) -> int:
    """How many containers and Nones there are."""
    if isinstance(nested, Nest):
        return 1 + sum(map(containers_of, nested.items))
    return int(nested == "none")


def objects_of(nested: Nested) -> set[int]:
    """The numbers of all objects that are named."""
    if not isinstance(nested, Nest):
        return set()
    return set(nested.names).union(*map(objects_of, nested.items))


def flat(kind: Literal["tuple", "list"], count: int) -> Nest:
    """A container of so many leaves."""
    leaf: Nested = "leaf"
    return Nest(kind, (leaf,) * count)


@dataclass(frozen=True)
class EntrySignature:
    """What one native entry accepts and returns; anything else goes to the Python dispatcher.

    `arguments` are those of a call, whose leaves are the inputs, the last of them by name: with the
    objects of the numbers `keywords`. None stands for one argument an input. `result` is what the
    outputs are put into. `bounds` are (input, least, most) of Python integers. `orders` are (input,
    axes) of arrays that are contiguous along their axes in this order, the slowest first. `pooled`
    says that large outputs come from the pool of `runtime.memory`.

    An input is (dtype name, shape, kind): kind "array" is exactly an ndarray of that dtype and
    shape, C-contiguous unless `orders` has it, aligned, in native byte order; "float", "int" and
    "bool" are exactly Python's, and the program reads them as f64, i64 and i8. An output is (dtype
    name, shape).
    """

    inputs: tuple[tuple[str, Shape, Kind], ...]
    outputs: tuple[tuple[str, Shape], ...]
    result: Nested = "leaf"
    release_gil: bool = False
    pooled: bool = False
    arguments: tuple[Nested, ...] | None = None
    keywords: tuple[int, ...] = ()
    bounds: tuple[tuple[int, int, int], ...] = ()
    orders: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if leaves_of(self.result) != len(self.outputs):
            raise ValueError(f"the result does not hold {len(self.outputs)} outputs")
        if sum(map(leaves_of, self.passed)) != len(self.inputs):
            raise ValueError(f"the arguments do not hold {len(self.inputs)} inputs")

    @property
    def passed(self) -> tuple[Nested, ...]:
        """The arguments of a call."""
        leaf: Nested = "leaf"
        return (leaf,) * len(self.inputs) if self.arguments is None else self.arguments

    @property
    def objects(self) -> list[int]:
        """The numbers of the objects that the entry is linked with."""
        nests = (self.result, *self.passed)
        return sorted(set(self.keywords).union(*map(objects_of, nests)))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of arrays that come in or go out, each once, sorted."""
        names = {dtype for dtype, _, kind in self.inputs if kind == "array"}
        return tuple(sorted(names | {dtype for dtype, _ in self.outputs}))


class _MethodDefinition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def _python_function(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


@lru_cache(maxsize=1)
def _common_symbols() -> Mapping[str, int]:
    functions = {name: _python_function(name) for name in _PYTHON_FUNCTIONS}
    return {
        **functions,
        "neurlang_new_array": numpy_function(NEW_FROM_DESCRIPTOR_SLOT),
        "neurlang_return_array": numpy_function(RETURN_SLOT),
        "neurlang_ndarray": id(np.ndarray),
        "neurlang_float": id(float),
        "neurlang_int": id(int),
        "neurlang_bool": id(bool),
        "neurlang_true": id(True),
        "neurlang_none": id(None),
        "neurlang_tuple": id(tuple),
        "neurlang_list": id(list),
        "neurlang_dict": id(dict),
        "neurlang_detour": ctypes.addressof(detour),
    }


def signal_symbols() -> dict[str, int]:
    """The functions by which a running program asks Python for signals; none but in CPython."""
    if sys.implementation.name != "cpython":
        return {}
    return {name: _python_function(name) for name in _SIGNAL_FUNCTIONS}


def dtype_symbol(dtype: str) -> str:
    """The name under which an entry imports the descriptor of a dtype."""
    return f"neurlang_dtype_{dtype}"


def dtype_class_symbol(dtype: str) -> str:
    """The name under which an entry imports the class of a dtype's descriptor."""
    return f"neurlang_dtype_class_{dtype}"


def scalar_symbol(dtype: str) -> str:
    """The name under which an entry imports the class of a dtype's scalars."""
    return f"neurlang_scalar_{dtype}"


def object_symbol(number: int) -> str:
    """The name under which an entry imports a dict's key, a keyword, or a named tuple's class."""
    return f"neurlang_object_{number}"


def constant_symbol(position: int) -> str:
    """The name under which an entry imports the data of a captured array."""
    return f"neurlang_constant_{position}"


def entry_symbols(signature: EntrySignature, objects: Sequence[Any] = ()) -> dict[str, int]:
    """The address of every name that the entry of `signature` imports, captured arrays aside.

    `objects` are those of the signature's numbers; they have to live as long as the entry does.
    """
    dtypes = {dtype_symbol(dtype): id(np.dtype(dtype)) for dtype in signature.dtypes}
    classes = {dtype_class_symbol(dtype): id(type(np.dtype(dtype))) for dtype in signature.dtypes}
    scalars = {scalar_symbol(dtype): id(np.dtype(dtype).type) for dtype in signature.dtypes}
    named = {object_symbol(number): id(objects[number]) for number in signature.objects}
    return {**_common_symbols(), **dtypes, **classes, **scalars, **named}


def constant_symbols(arrays: Sequence[np.ndarray[Any, Any]]) -> dict[str, int]:
    """The addresses of captured arrays, which have to live as long as the entry does."""
    return {constant_symbol(position): array.ctypes.data for position, array in enumerate(arrays)}


def make_entry(address: int, dispatcher: object, name: str = "entry") -> Callable[..., Any]:
    """The builtin function whose code is at `address`; calls that it refuses go to `dispatcher`.

    It refers to `dispatcher`, which has to keep the code linked as long as it lives itself.
    """
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL | _METH_KEYWORDS, None)
    # Python reads the definition when it frees the function, at the very end of the process
    # too, where nobody says which of the two goes first: the definition, 32 bytes, stays.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))
    make: Callable[..., Callable[..., Any]] = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
    )(("PyCFunction_NewEx", ctypes.pythonapi))
    return make(ctypes.addressof(definition), dispatcher, None)


def call_program(address: int, pointers: Sequence[int], caller: int | None = None) -> int:
    """Run the program at `address` on data pointers, inputs first; 1 means out of memory.

    The GIL is released. This is the way for layouts and builds that the native entry refuses.
    `caller` is the address of `neurlang_call`, where there is one: then what a signal's handler
    raises meanwhile is raised here.
    """
    arguments = (ctypes.c_void_p * len(pointers))(*pointers)
    if caller is None:
        return int(_program_at(address)(arguments))
    return int(_caller_at(caller)(address, arguments))


@lru_cache(maxsize=1024)
def _program_at(address: int) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(address)


@lru_cache(maxsize=8)
def _caller_at(address: int) -> Callable[..., Any]:
    # The kind of function that keeps the GIL, and after which ctypes looks for an exception.
    return ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(address)
