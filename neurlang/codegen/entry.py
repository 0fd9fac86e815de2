"""The native entry: a builtin function that checks its arguments and jumps into the program.

`entry(self, args, count, names)` follows Python's METH_FASTCALL | METH_KEYWORDS convention. When
the arguments are what the signature says, it allocates the outputs, gives the program the address
of every input's and output's data, and returns the outputs. Otherwise it hands its arguments on
to `self`, the Python dispatcher, so that it is right for every call.

Every address is an imported symbol (`runtime.call.entry_symbols`): the object can be cached.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neurlang.codegen.emit import STOPPED
from neurlang.codegen.entry_arguments import ARGS, COUNT, MISS, NAMES, NULL, SELF, Arguments
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.call import (
    EntrySignature,
    Nest,
    Nested,
    Shape,
    constant_symbol,
    containers_of,
    dtype_symbol,
    object_symbol,
)
from neurlang.runtime.memory import is_pooled
from neurlang.runtime.objects import ArrayHeader, ItemsHeader

__all__ = ["CALLS", "ENTRY", "EntrySignature", "write_entry"]

ENTRY = "entry"
CALLS = "calls"  # how many calls it has answered
_RELEASE = "release"
_TYPES = {"tuple": "PyTuple", "list": "PyList"}


def write_entry(module: Module, signature: EntrySignature, constants: int = 0) -> None:
    """Add `entry` to a module that defines `i32 @program(ptr)`.

    The program receives an array of data pointers: the inputs, `constants` captured arrays
    (imported as `runtime.call.constant_symbol`), the outputs. It returns 0; 1 when out of memory,
    and the caller gets a MemoryError; STOPPED with an exception set, which the caller gets; or
    anything else, and the call is handed on to the dispatcher, which knows what to raise and must
    not come back here.
    """
    _EntryWriter(module, signature, constants).write()


class _EntryWriter(Arguments):
    """Writes one entry, from top to bottom."""

    def __init__(self, module: Module, signature: EntrySignature, constants: int) -> None:
        header = f"ptr @{ENTRY}(ptr %self, ptr %args, i64 %count, ptr %names)"
        writer = Writer(module, f"{header} nounwind noinline optnone")
        places = len(signature.inputs) + constants + len(signature.outputs)
        super().__init__(module, signature, writer, places)
        self.constants = constants
        self.kept = len(signature.outputs)
        most = self.kept + containers_of(signature.result)
        self.references = writer.value(f"alloca [{max(1, most)} x ptr], align 16", "ptr")
        for place in range(most):
            self.own(place, NULL)
        module.globals.append(f"@{CALLS} = global i64 0")

    def write(self) -> None:
        detour = self.writer.load(self.imported("neurlang_detour"), "i64")
        self.guard(self.writer.icmp("eq", detour, constant(0, "i64")))
        self.read_all()
        for position in range(self.constants):
            self.pass_pointer(self.imported(constant_symbol(position)))
        for place, (dtype, shape) in enumerate(self.signature.outputs):
            self.allocate(place, dtype, shape)
        status = self.run()
        self.give_back()
        self.write_failure(status)
        self.write_release()
        self.write_miss()
        self.writer.finish()

    # references that are ours until the end

    def reserve(self) -> int:
        self.kept += 1
        return self.kept - 1

    def own(self, place: int, reference: Value) -> None:
        self.writer.store(reference, self.writer.offset(self.references, place, "ptr"))

    def owned(self, place: int) -> Value:
        return self.writer.load(self.writer.offset(self.references, place, "ptr"), "ptr")

    def keep(self, immortal: Value) -> int:
        """A place with a new reference."""
        place = self.reserve()
        self.writer.call_void("Py_IncRef", (immortal,))
        self.own(place, immortal)
        return place

    # outputs

    def allocate(self, place: int, dtype: str, shape: Shape) -> None:
        """A new array. NumPy takes over the reference to the descriptor, also when it fails."""
        writer = self.writer
        descriptor = self.imported(dtype_symbol(dtype))
        extents = self.module.constant_array("i64", shape) if shape else NULL
        writer.call_void("Py_IncRef", (descriptor,))
        rank = constant(len(shape), "i32")
        no_flags = constant(0, "i32")
        ndarray = self.imported("neurlang_ndarray")
        arguments = (ndarray, descriptor, rank, extents, NULL, NULL, no_flags, NULL)
        pooled = self.signature.pooled and is_pooled(shape, np.dtype(dtype))
        before = self.set_handler(self.imported("neurlang_handler")) if pooled else NULL
        array = writer.call("neurlang_new_array", "ptr", arguments)
        if pooled:
            writer.call_void("Py_DecRef", (self.set_handler(before),))
            writer.call_void("Py_DecRef", (before,))
        self.own(place, array)
        self.go_on_if(writer.icmp("ne", array, NULL), _RELEASE)
        self.pass_pointer(self.field(array, ArrayHeader.data.offset, "ptr"))

    def set_handler(self, handler: Value) -> Value:
        """Say who allocates the data of new arrays; the result is a reference to who did."""
        return self.writer.call("neurlang_set_handler", "ptr", (handler,))

    def run(self) -> Value:
        """Call the program; the result is its status, which is 0 from here on."""
        writer = self.writer
        for array in self.borrowed:  # another thread may empty its container meanwhile
            writer.call_void("Py_IncRef", (array,))
        thread = NULL
        if self.signature.release_gil:
            thread = writer.call("PyEval_SaveThread", "ptr", ())
        status = writer.value(f"call i32 @program({self.pointers})", "i32")
        if self.signature.release_gil:
            writer.call_void("PyEval_RestoreThread", (thread,))
        for array in self.borrowed:
            writer.call_void("Py_DecRef", (array,))
        self.go_on_if(writer.icmp("eq", status, constant(0, "i32")), "failed")
        return status

    def give_back(self) -> None:
        """Return the outputs in their containers; arrays without axes become NumPy scalars."""
        writer = self.writer
        for place, (_, shape) in enumerate(self.signature.outputs):
            if not shape:
                array = self.owned(place)
                self.own(place, NULL)
                scalar = writer.call("neurlang_return_array", "ptr", (array,))
                self.own(place, scalar)
                self.go_on_if(writer.icmp("ne", scalar, NULL), _RELEASE)
        result = self.build(self.signature.result, iter(range(len(self.signature.outputs))))
        calls = Value(f"@{CALLS}", "ptr")
        writer.store(writer.add(writer.load(calls, "i64"), constant(1, "i64")), calls)
        writer.ret(self.owned(result))

    def build(self, nested: Nested, leaves: Iterator[int]) -> int:
        """Put outputs into containers; the result is where the reference to them is kept."""
        if not isinstance(nested, Nest):
            return next(leaves) if nested == "leaf" else self.keep(self.imported("neurlang_none"))
        places = [self.build(item, leaves) for item in nested.items]
        size = constant(len(places), "i64")
        match nested.kind:
            case "dict":
                made = self.writer.call("PyDict_New", "ptr", ())
            case "named":
                kind = self.imported(object_symbol(nested.names[0]))
                made = self.writer.call("PyType_GenericAlloc", "ptr", (kind, size))
            case "tuple" | "list":
                made = self.writer.call(f"{_TYPES[nested.kind]}_New", "ptr", (size,))
        place = self.reserve()
        self.own(place, made)
        self.go_on_if(self.writer.icmp("ne", made, NULL), _RELEASE)
        for position, item in enumerate(places):
            self.put(nested, made, position, item)
        return place

    def put(self, nest: Nest, container: Value, position: int, place: int) -> None:
        """Hand a reference that is kept on to a container."""
        writer, item = self.writer, self.owned(place)
        index = constant(position, "i64")
        if nest.kind == "dict":
            key = self.imported(object_symbol(nest.names[position]))
            failed = writer.call("PyDict_SetItem", "i32", (container, key, item))
            self.go_on_if(writer.icmp("eq", failed, constant(0, "i32")), _RELEASE)
            writer.call_void("Py_DecRef", (item,))
        elif nest.kind == "named":
            items = writer.offset(container, ItemsHeader.items.offset)
            writer.store(item, writer.offset(items, position, "ptr"))
        else:
            writer.call(f"{_TYPES[nest.kind]}_SetItem", "i32", (container, index, item))
        self.own(place, NULL)

    # the ways out

    def write_failure(self, status: Value) -> None:
        writer = self.writer
        writer.start_block("failed")
        writer.branch_if(writer.icmp("eq", status, constant(1, "i32")), "exhausted", "other")
        writer.start_block("other")
        stopped = writer.icmp("eq", status, constant(STOPPED, "i32"))
        writer.branch_if(stopped, _RELEASE, "refused")
        writer.start_block("refused")
        self.free_kept()
        writer.branch(MISS)
        writer.start_block("exhausted")
        writer.call("PyErr_NoMemory", "ptr", ())
        writer.branch(_RELEASE)

    def write_release(self) -> None:
        """Free what is kept, and return what Python takes for an exception."""
        self.writer.start_block(_RELEASE)
        self.free_kept()
        self.writer.ret(NULL)

    def free_kept(self) -> None:
        for place in range(self.kept):
            self.writer.call_void("Py_DecRef", (self.owned(place),))

    def write_miss(self) -> None:
        self.writer.start_block(MISS)
        arguments = (SELF, ARGS, COUNT, NAMES)
        self.writer.ret(self.writer.call("PyObject_Vectorcall", "ptr", arguments))
