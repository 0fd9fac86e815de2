"""The native entry's table: what it reads of one program, as numbers and addresses."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from neurlang.runtime.call import python_function
from neurlang.runtime.entry import (
    EntrySignature,
    Nest,
    Nested,
    Overrides,
    Shape,
    entered,
    overrides,
    traces,
)
from neurlang.runtime.memory import is_pooled, set_handler_address
from neurlang.runtime.objects import (
    ALIGNED,
    C_CONTIGUOUS,
    COPY_SLOT,
    NEW_FROM_DESCRIPTOR_SLOT,
    RETURN_SLOT,
    numpy_function,
)

# What a ReadRecord and a BuildRecord may be about: their numbers are the places here. A `scalar` is
# an array without axes, or NumPy's scalar of its dtype.
READS = (
    "array", "scalar", "float", "int", "bool", "none", "static", "tuple", "named", "list", "dict",
)  # fmt: skip
BUILDS = ("none", "tuple", "named", "list", "dict")

ANY_STRIDE = -1  # of an axis of one element

_METH_KEYWORDS = 0x0002
_METH_FASTCALL = 0x0080
_PYTHON_FUNCTIONS = (
    "PyContextVar_Get",
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
    "PyObject_RichCompareBool",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyType_GenericAlloc",
    "PyUnicode_Compare",
    "Py_DecRef",
    "Py_IncRef",
)


def _words(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int64) for name in names]


class EntryTable(ctypes.Structure):
    """The head of a table. `names` are those of the last `keywords` of `passed` arguments; `calls`
    counts those that were answered; `result` is a reference's place: outputs come first, then what
    is built. Only calls under `overrides` are answered; `overridden` says that there are any.
    Objects of the class `carrier` hold arrays, `carried` bytes from their beginning."""

    _fields_ = _words(
        "dispatcher", "plan", "calls", "passed", "keywords", "names", "objects", "reads",
        "first_read", "inputs", "outputs", "first_output", "builds", "first_build", "result",
        "release_gil", "handler", "set_handler", "overrides", "overridden",
        "carrier", "carried",
    )  # fmt: skip


class ReadRecord(ctypes.Structure):
    """What one object must be. Arguments are the objects 0, 1, ...; a container puts its `size`
    items among them from `first` on; a leaf gives the program its pointer at `place`; what is
    static is `object`, or equal to it where it is compared `by_value`."""

    _fields_ = _words(
        "kind", "source", "type", "scalar", "size", "first", "names", "place", "borrowed",
        "descriptor", "descriptor_type", "byte_order", "itemsize", "bytes", "rank", "flags",
        "extents", "strides",
        "least", "most", "object", "by_value",
    )  # fmt: skip


class OutputRecord(ctypes.Structure):
    """One array to be made."""

    _fields_ = _words("descriptor", "rank", "extents", "pooled")


class BuildRecord(ctypes.Structure):
    """One container, or None, of the result: it takes over the references at `children`."""

    _fields_ = _words("kind", "size", "children", "names")


class _Place(int):
    """A position in the table, which becomes an address."""


class _Words:
    """The table while it is made: numbers, and places among them."""

    def __init__(self) -> None:
        self.words: list[int] = [0] * len(EntryTable._fields_)
        self.places: list[int] = []

    def add(self, numbers: Iterable[int]) -> _Place:
        """Append numbers; the result is where they begin."""
        start = _Place(len(self.words))
        for number in numbers:
            self.words.append(self.word(len(self.words), number))
        return start

    def word(self, position: int, number: int) -> int:
        """What stands at a position: of a place, its bytes from the start, for now."""
        if not isinstance(number, _Place):
            return int(number)
        self.places.append(position)
        return 8 * number

    def records(self, structure: type[ctypes.Structure], rows: Sequence[dict[str, int]]) -> _Place:
        """Append records, whose fields are 0 where a row does not have them."""
        names = [name for name, *_ in structure._fields_]
        return self.add(row.get(name, 0) for row in rows for name in names)

    def table(self, head: dict[str, int]) -> np.ndarray[Any, Any]:
        for position, (name, *_) in enumerate(EntryTable._fields_):
            self.words[position] = self.word(position, head[name])
        table = np.array(self.words, np.int64)
        table[self.places] += table.ctypes.data
        return table


def entry_table(
    signature: EntrySignature,
    plan: int,
    dispatcher: object,
    objects: Sequence[Any] = (),
    handler: int = 0,
    carrier: tuple[int, int] = (0, 0),
    under: Overrides | None = None,
) -> np.ndarray[Any, Any]:
    """The table, of int64, of the program whose plan lies at the address `plan`.

    It keeps nothing alive: not the dispatcher, nor the code, nor the `objects` whose numbers the
    signature has, nor the overrides `under` which it answers, by default those of this context.
    `handler` is the address of NumPy's memory handler for large outputs; 0 leaves them to NumPy.
    `carrier` is the class of lazy arrays, and where they hold their values.
    """
    under = overrides.get() if under is None else under
    words = _Words()
    reads = _Reads(signature, objects, words)
    builds, result = _builds(signature, objects, words)
    outputs = [
        {
            "descriptor": id(np.dtype(name)),
            "rank": len(shape),
            "extents": words.add(shape),
            "pooled": bool(handler) and is_pooled(shape, np.dtype(name)),
        }
        for name, shape in signature.outputs
    ]
    return words.table(
        {
            "dispatcher": id(dispatcher),
            "plan": plan,
            "calls": 0,
            "passed": len(signature.passed),
            "keywords": len(signature.keywords),
            "names": words.add(id(objects[number]) for number in signature.keywords),
            "objects": reads.objects,
            "reads": len(reads.rows),
            "first_read": words.records(ReadRecord, reads.rows),
            "inputs": len(signature.inputs),
            "outputs": len(outputs),
            "first_output": words.records(OutputRecord, outputs),
            "builds": len(builds),
            "first_build": words.records(BuildRecord, builds),
            "result": result,
            "release_gil": signature.release_gil,
            "handler": handler,
            "set_handler": set_handler_address(),
            "overrides": id(under),
            "overridden": bool(under),
            "carrier": carrier[0],
            "carried": carrier[1],
        }
    )


class _Reads:
    """The records of what is read, containers before their items."""

    def __init__(self, signature: EntrySignature, objects: Sequence[Any], words: _Words) -> None:
        self.signature = signature
        self.named = objects
        self.words = words
        self.rows: list[dict[str, int]] = []
        self.leaves = 0
        self.objects = len(signature.passed)
        for position, nested in enumerate(signature.passed):
            self.read(nested, position, held=True)

    def read(self, nested: Nested, source: int, held: bool) -> None:
        """`held` says that the caller holds the object, not just a container of its."""
        if nested == "none":
            self.add("none", source, type(None))
        elif isinstance(nested, Nest) and nested.kind == "static":
            value = self.named[nested.names[0]]
            row = self.add("static", source, type(value))
            row |= {"object": id(value), "by_value": _is_compared(value)}
        elif isinstance(nested, Nest):
            first = self.objects
            self.objects += len(nested.items)
            named = [self.named[number] for number in nested.names]
            kinds = {"tuple": tuple, "list": list, "dict": dict}
            kind = named[0] if nested.kind == "named" else kinds[nested.kind]
            row = self.add(nested.kind, source, kind)
            row |= {"size": len(nested.items), "first": first}
            row["names"] = self.words.add(map(id, named))
            for position, item in enumerate(nested.items, first):
                self.read(item, position, held=False)
        else:
            self.leaf(source, held)

    def add(self, kind: str, source: int, type: type) -> dict[str, int]:
        row = {"kind": READS.index(kind), "source": source, "type": id(type), "scalar": id(type)}
        self.rows.append(row)
        return row

    def leaf(self, source: int, held: bool) -> None:
        place = self.leaves
        self.leaves += 1
        name, shape, kind = self.signature.inputs[place]
        if kind == "array":
            row = self.add("array" if shape else "scalar", source, np.ndarray)
            row |= self.array(np.dtype(name), shape, dict(self.signature.orders).get(place))
            row["borrowed"] = not held
        else:
            row = self.add(kind, source, {"float": float, "int": int, "bool": bool}[kind])
            bounds = {position: ends for position, *ends in self.signature.bounds}
            row["least"], row["most"] = bounds.get(place, (-(2**63), 2**63 - 1))
        row["place"] = place

    def array(
        self, dtype: np.dtype[Any], shape: Shape, order: tuple[int, ...] | None
    ) -> dict[str, int]:
        strides = [ANY_STRIDE] * len(shape)
        step = dtype.itemsize
        for axis in reversed(order or ()):
            if shape[axis] > 1:
                strides[axis] = step
            step *= shape[axis]
        fields: dict[str, int] = {
            "descriptor": id(dtype),
            "descriptor_type": id(type(dtype)),
            "byte_order": ord(dtype.byteorder),
            "itemsize": dtype.itemsize,
            "bytes": math.prod(shape) * dtype.itemsize,
            "rank": len(shape),
            "flags": ALIGNED if order else ALIGNED | C_CONTIGUOUS,
            "extents": self.words.add(shape),
        }
        if not shape:
            fields["scalar"] = id(dtype.type)
        if order:
            fields["strides"] = self.words.add(strides)
        return fields


def _is_compared(value: Any) -> bool:
    """Whether an object that Python holds equal, of the same class, is the same static argument: a
    zero is not, which has a sign."""
    return type(value) in (int, str, bytes) or (type(value) is float and value != 0)


def _builds(
    signature: EntrySignature, objects: Sequence[Any], words: _Words
) -> tuple[list[dict[str, int]], int]:
    """The records of the result's containers, items before them, and the result's place."""
    rows: list[dict[str, int]] = []
    leaves = iter(range(len(signature.outputs)))

    def build(nested: Nested) -> int:
        if nested == "leaf":
            return next(leaves)
        row = {"kind": BUILDS.index("none")}
        if isinstance(nested, Nest):
            children = [build(item) for item in nested.items]
            row = {"kind": BUILDS.index(nested.kind), "size": len(children)}
            row["children"] = words.add(children)
            row["names"] = words.add(id(objects[number]) for number in nested.names)
        rows.append(row)
        return len(signature.outputs) + len(rows) - 1

    result = build(signature.result)
    return rows, result


def entry_symbols() -> dict[str, int]:
    """The address of every name that the native entry imports."""
    return {
        **{name: python_function(name) for name in _PYTHON_FUNCTIONS},
        "neurlang_new_array": numpy_function(NEW_FROM_DESCRIPTOR_SLOT),
        "neurlang_copy_array": numpy_function(COPY_SLOT),
        "neurlang_return_array": numpy_function(RETURN_SLOT),
        "neurlang_ndarray": id(np.ndarray),
        "neurlang_true": id(True),
        "neurlang_none": id(None),
        "neurlang_entered": ctypes.addressof(entered),
        "neurlang_overrides": id(overrides),
        "neurlang_traces": ctypes.addressof(traces.cell),
    }


class _MethodDefinition(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def make_entry(
    address: int, table: np.ndarray[Any, Any], dispatcher: object, name: str = "entry"
) -> Callable[..., Any]:
    """The builtin function that enters the program of `table`; refused calls go to `dispatcher`.

    `address` is that of the native entry. The function refers to `dispatcher`, which has to keep
    the program linked, and the objects that the table names, as long as it lives itself.
    """
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL | _METH_KEYWORDS, None)
    # Python reads the definition when it frees the function, at the very end of the process
    # too, where nobody says which of the two goes first: the definition, 32 bytes, stays.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))
    return _function_maker()(ctypes.addressof(definition), table, dispatcher)


@lru_cache(maxsize=1)
def _function_maker() -> Callable[..., Callable[..., Any]]:
    """Python's function that makes builtin functions."""
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    return kind(("PyCFunction_NewEx", ctypes.pythonapi))


def calls_of(table: np.ndarray[Any, Any]) -> int:
    """How many calls an entry has answered."""
    return int(table[EntryTable.calls.offset // 8])
