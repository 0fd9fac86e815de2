"""The native entry: a builtin function that checks its arguments and jumps into the program.

`entry(self, args, count, names)` follows Python's METH_FASTCALL | METH_KEYWORDS convention. When
the arguments are what the signature says, it allocates the outputs, gives the program the address
of every input's and output's data, and returns the outputs. Otherwise it hands its arguments on
to `self`, the Python dispatcher, so that it is right for every call.

Every address is an imported symbol (`runtime.call.entry_symbols`): the object can be cached.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from neurlang.codegen.emit import STOPPED
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.call import (
    ALIGNED,
    C_CONTIGUOUS,
    ArrayHeader,
    DescriptorHeader,
    EntrySignature,
    FloatHeader,
    Kind,
    ObjectHeader,
    Shape,
    constant_symbol,
    dtype_class_symbol,
    dtype_symbol,
)
from neurlang.runtime.memory import is_pooled

__all__ = ["ENTRY", "EntrySignature", "write_entry"]

ENTRY = "entry"
_NULL = Value("null", "ptr")
_SELF, _ARGS, _COUNT, _NAMES = (
    Value("%self", "ptr"),
    Value("%args", "ptr"),
    Value("%count", "i64"),
    Value("%names", "ptr"),
)
_MISS = "miss"


def write_entry(module: Module, signature: EntrySignature, constants: int = 0) -> None:
    """Add `entry` to a module that defines `i32 @program(ptr)`.

    The program receives an array of data pointers: the inputs, `constants` captured arrays
    (imported as `runtime.call.constant_symbol`), the outputs. It returns 0; 1 when out of memory,
    and the caller gets a MemoryError; STOPPED with an exception set, which the caller gets; or
    anything else, and the call is handed on to the dispatcher, which knows what to raise and must
    not come back here.
    """
    _EntryWriter(module, signature, constants).write()


class _EntryWriter:
    """Writes one entry, from top to bottom; `pointers` is what the program will receive."""

    def __init__(self, module: Module, signature: EntrySignature, constants: int) -> None:
        self.module = module
        self.signature = signature
        self.constants = constants
        self.writer = Writer(
            module,
            f"ptr @{ENTRY}(ptr %self, ptr %args, i64 %count, ptr %names) nounwind noinline optnone",
        )
        places = len(signature.inputs) + constants + len(signature.outputs)
        self.pointers = self.writer.value(f"alloca [{places} x ptr], align 16", "ptr")
        self.stored = 0
        self.outputs: list[Value] = []

    def write(self) -> None:
        writer = self.writer
        slots = [
            None if kind == "array" else writer.value("alloca i64, align 8", "ptr")
            for _, _, kind in self.signature.inputs
        ]
        count = constant(len(self.signature.inputs), "i64")
        self.guard(writer.icmp("eq", _COUNT, count))
        self.guard(writer.icmp("eq", _NAMES, _NULL))
        for position, ((dtype, shape, kind), slot) in enumerate(zip(self.signature.inputs, slots)):
            argument = writer.load(writer.offset(_ARGS, position, "ptr"), "ptr")
            if slot is None:
                self.pass_pointer(self.read_array(argument, dtype, shape))
            else:
                self.read_scalar(argument, kind, slot)
                self.pass_pointer(slot)
        for position in range(self.constants):
            self.pass_pointer(self.imported(constant_symbol(position)))
        for dtype, shape in self.signature.outputs:
            self.allocate(dtype, shape)
        status = self.run()
        self.give_back()
        self.write_failure(status)
        self.write_release()
        self.write_miss()
        writer.finish()

    # small things

    def imported(self, symbol: str) -> Value:
        """The address of a foreign object."""
        self.module.declarations[symbol] = f"@{symbol} = external global i8"
        return Value(f"@{symbol}", "ptr")

    def field(self, base: Value, offset: int, type: str) -> Value:
        return self.writer.load(self.writer.offset(base, offset), type)

    def guard(self, condition: Value) -> None:
        """Go on if the condition holds; otherwise leave the call to the dispatcher."""
        self.go_on_if(condition, _MISS)

    def go_on_if(self, condition: Value, otherwise: str) -> None:
        here = self.writer.label("good")
        self.writer.branch_if(condition, here, otherwise)
        self.writer.start_block(here)

    def pass_pointer(self, pointer: Value) -> None:
        self.writer.store(pointer, self.writer.offset(self.pointers, self.stored, "ptr"))
        self.stored += 1

    def release_label(self) -> str:
        """Where an error goes that has to free the outputs allocated so far."""
        return f"release_{len(self.outputs)}"

    # inputs

    def guard_type(self, argument: Value, symbol: str) -> None:
        type = self.field(argument, ObjectHeader.type.offset, "ptr")
        self.guard(self.writer.icmp("eq", type, self.imported(symbol)))

    def read_array(self, argument: Value, dtype: str, shape: Shape) -> Value:
        """The data of an array, after its guards."""
        writer = self.writer
        self.guard_type(argument, "neurlang_ndarray")
        dimensions = self.field(argument, ArrayHeader.dimensions.offset, "i32")
        flags = self.field(argument, ArrayHeader.flags.offset, "i32")
        needed = constant(C_CONTIGUOUS | ALIGNED, "i32")
        same_rank = writer.icmp("eq", dimensions, constant(len(shape), "i32"))
        plain = writer.icmp("eq", writer.and_(flags, needed), needed)
        self.guard(writer.and_(same_rank, plain))
        self.guard_dtype(self.field(argument, ArrayHeader.dtype.offset, "ptr"), dtype)
        if shape:
            extents = self.field(argument, ArrayHeader.shape.offset, "ptr")
            sizes = (
                writer.load(writer.offset(extents, axis, "i64"), "i64")
                for axis in range(len(shape))
            )
            same = [
                writer.icmp("eq", size, constant(extent, "i64"))
                for size, extent in zip(sizes, shape)
            ]
            self.guard(reduce(writer.and_, same))
        return self.field(argument, ArrayHeader.data.offset, "ptr")

    def guard_dtype(self, descriptor: Value, dtype: str) -> None:
        """NumPy keeps one descriptor of a dtype, but what was unpickled brings its own."""
        writer = self.writer
        other = writer.icmp("ne", descriptor, self.imported(dtype_symbol(dtype)))
        with writer.when(other, "own"):
            self.guard_type(descriptor, dtype_class_symbol(dtype))
            order = self.field(descriptor, DescriptorHeader.byte_order.offset, "i8")
            native = constant(ord(np.dtype(dtype).byteorder), "i8")
            self.guard(writer.icmp("eq", order, native))

    def read_scalar(self, argument: Value, kind: Kind, slot: Value) -> None:
        """Put a Python scalar into its slot, after its guards."""
        writer = self.writer
        self.guard_type(argument, f"neurlang_{kind}")
        match kind:
            case "float":
                writer.store(self.field(argument, FloatHeader.value.offset, "double"), slot)
            case "bool":
                true = writer.icmp("eq", argument, self.imported("neurlang_true"))
                writer.store(writer.zext(true, "i8"), slot)
            case "int":
                # The slot serves as the overflow flag, too, before it takes the number.
                number = writer.call("PyLong_AsLongLongAndOverflow", "i64", (argument, slot))
                overflow = writer.load(slot, "i32")
                self.guard(writer.icmp("eq", overflow, constant(0, "i32")))
                writer.store(number, slot)

    # outputs

    def allocate(self, dtype: str, shape: Shape) -> None:
        """A new array. NumPy takes over the reference to the descriptor, also when it fails."""
        writer = self.writer
        descriptor = self.imported(dtype_symbol(dtype))
        extents = self.module.constant_array("i64", shape) if shape else _NULL
        writer.call_void("Py_IncRef", (descriptor,))
        rank = constant(len(shape), "i32")
        no_flags = constant(0, "i32")
        ndarray = self.imported("neurlang_ndarray")
        arguments = (ndarray, descriptor, rank, extents, _NULL, _NULL, no_flags, _NULL)
        pooled = self.signature.pooled and is_pooled(shape, np.dtype(dtype))
        before = self.set_handler(self.imported("neurlang_handler")) if pooled else _NULL
        array = writer.call("neurlang_new_array", "ptr", arguments)
        if pooled:
            writer.call_void("Py_DecRef", (self.set_handler(before),))
            writer.call_void("Py_DecRef", (before,))
        self.go_on_if(writer.icmp("ne", array, _NULL), self.release_label())
        self.outputs.append(array)
        self.pass_pointer(self.field(array, ArrayHeader.data.offset, "ptr"))

    def set_handler(self, handler: Value) -> Value:
        """Say who allocates the data of new arrays; the result is a reference to who did."""
        return self.writer.call("neurlang_set_handler", "ptr", (handler,))

    def run(self) -> Value:
        """Call the program; the result is its status, which is 0 from here on."""
        writer = self.writer
        thread = _NULL
        if self.signature.release_gil:
            thread = writer.call("PyEval_SaveThread", "ptr", ())
        status = writer.value(f"call i32 @program({self.pointers})", "i32")
        if self.signature.release_gil:
            writer.call_void("PyEval_RestoreThread", (thread,))
        self.go_on_if(writer.icmp("eq", status, constant(0, "i32")), "failed")
        return status

    def give_back(self) -> None:
        """Return the outputs; arrays without axes become NumPy scalars."""
        if self.signature.result == "single":
            (array,) = self.outputs
            _, shape = self.signature.outputs[0]
            self.writer.ret(array if shape else self.scalar(array))
            return
        writer = self.writer
        container = "PyTuple" if self.signature.result == "tuple" else "PyList"
        size = constant(len(self.outputs), "i64")
        together = writer.call(f"{container}_New", "ptr", (size,))
        self.go_on_if(writer.icmp("ne", together, _NULL), self.release_label())
        for position, array in enumerate(self.outputs):
            self.set_item(container, together, position, array)
        # The container owns the arrays now, so that it alone is freed when a scalar fails.
        for position, (array, (_, shape)) in enumerate(zip(self.outputs, self.signature.outputs)):
            if not shape:
                writer.call_void("Py_IncRef", (array,))
                scalar = self.scalar(array)
                self.go_on_if(writer.icmp("ne", scalar, _NULL), "no_scalar")
                self.set_item(container, together, position, scalar)
        writer.ret(together)
        writer.start_block("no_scalar")
        writer.call_void("Py_DecRef", (together,))
        writer.ret(_NULL)

    def scalar(self, array: Value) -> Value:
        return self.writer.call("neurlang_return_array", "ptr", (array,))

    def set_item(self, container: str, together: Value, position: int, item: Value) -> None:
        place = constant(position, "i64")
        self.writer.call(f"{container}_SetItem", "i32", (together, place, item))

    # the ways out

    def write_failure(self, status: Value) -> None:
        writer = self.writer
        writer.start_block("failed")
        writer.branch_if(writer.icmp("eq", status, constant(1, "i32")), "exhausted", "other")
        writer.start_block("other")
        stopped = writer.icmp("eq", status, constant(STOPPED, "i32"))
        writer.branch_if(stopped, self.release_label(), "refused")
        writer.start_block("refused")
        for array in self.outputs:
            writer.call_void("Py_DecRef", (array,))
        writer.branch(_MISS)
        writer.start_block("exhausted")
        writer.call("PyErr_NoMemory", "ptr", ())
        writer.branch(self.release_label())

    def write_release(self) -> None:
        """Free what was allocated, the last first: each block falls into the one before it."""
        writer = self.writer
        while self.outputs:
            writer.start_block(self.release_label())
            writer.call_void("Py_DecRef", (self.outputs.pop(),))
            writer.branch(self.release_label())
        writer.start_block(self.release_label())
        writer.ret(_NULL)

    def write_miss(self) -> None:
        self.writer.start_block(_MISS)
        arguments = (_SELF, _ARGS, _COUNT, _NAMES)
        self.writer.ret(self.writer.call("PyObject_Vectorcall", "ptr", arguments))
