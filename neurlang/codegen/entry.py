"""The native entry: a builtin function that checks its arguments and jumps into the program.

`entry(self, args, count, names)` follows Python's METH_FASTCALL | METH_KEYWORDS convention. When
the arguments are what the signature says, it allocates the outputs, gives the program the address
of every input's and output's data, and returns the outputs. Otherwise it hands its arguments on
to `self`, the Python dispatcher, so that it is right for every call.

Every address is an imported symbol (`runtime.call.entry_symbols`): the object can be cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    ItemsHeader,
    Kind,
    Nest,
    Nested,
    ObjectHeader,
    ScalarHeader,
    Shape,
    constant_symbol,
    containers_of,
    dtype_class_symbol,
    dtype_symbol,
    object_symbol,
    scalar_symbol,
)
from neurlang.runtime.memory import is_pooled

__all__ = ["CALLS", "ENTRY", "EntrySignature", "write_entry"]

ENTRY = "entry"
CALLS = "calls"  # how many calls it has answered
_NULL = Value("null", "ptr")
_SELF, _ARGS, _COUNT, _NAMES = (
    Value("%self", "ptr"),
    Value("%args", "ptr"),
    Value("%count", "i64"),
    Value("%names", "ptr"),
)
_MISS, _RELEASE = "miss", "release"
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
        self.kept = len(signature.outputs)
        most = self.kept + containers_of(signature.result)
        self.references = self.writer.value(f"alloca [{max(1, most)} x ptr], align 16", "ptr")
        for place in range(most):
            self.own(place, _NULL)
        cursor = "alloca [3 x i64], align 16"
        self.cursor = self.writer.value(cursor, "ptr")  # of a dict: position, key, value
        self.borrowed: list[Value] = []  # arrays that only a container holds
        self.module.globals.append(f"@{CALLS} = global i64 0")

    def write(self) -> None:
        writer = self.writer
        signature = self.signature
        slots = [
            None if kind == "array" else writer.value("alloca i64, align 8", "ptr")
            for _, _, kind in signature.inputs
        ]
        detour = writer.load(self.imported("neurlang_detour"), "i64")
        self.guard(writer.icmp("eq", detour, constant(0, "i64")))
        count = len(signature.passed) - len(signature.keywords)
        self.guard(writer.icmp("eq", _COUNT, constant(count, "i64")))
        self.guard_keywords()
        for position, nested in enumerate(signature.passed):
            argument = writer.load(writer.offset(_ARGS, position, "ptr"), "ptr")
            self.read(argument, nested, slots, held=True)
        for position in range(self.constants):
            self.pass_pointer(self.imported(constant_symbol(position)))
        for place, (dtype, shape) in enumerate(self.signature.outputs):
            self.allocate(place, dtype, shape)
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

    # inputs

    def guard_keywords(self) -> None:
        """The names of the last arguments are these, in this order."""
        writer, names = self.writer, self.signature.keywords
        if not names:
            self.guard(writer.icmp("eq", _NAMES, _NULL))
            return
        self.guard(writer.icmp("ne", _NAMES, _NULL))
        self.guard_size(_NAMES, len(names))
        items = writer.offset(_NAMES, ItemsHeader.items.offset)
        for position, number in enumerate(names):
            name = writer.load(writer.offset(items, position, "ptr"), "ptr")
            self.guard_name(name, number)

    def guard_size(self, items: Value, size: int) -> None:
        found = self.field(items, ItemsHeader.size.offset, "i64")
        self.guard(self.writer.icmp("eq", found, constant(size, "i64")))

    def guard_name(self, name: Value, number: int) -> None:
        """A string: mostly it is the same object, as names in a source file are."""
        writer, wanted = self.writer, self.imported(object_symbol(number))
        with writer.when(writer.icmp("ne", name, wanted), "other_name"):
            same_class = writer.icmp(
                "eq",
                self.field(name, ObjectHeader.type.offset, "ptr"),
                self.field(wanted, ObjectHeader.type.offset, "ptr"),
            )
            self.guard(same_class)
            order = writer.call("PyUnicode_Compare", "i32", (name, wanted))
            self.guard(writer.icmp("eq", order, constant(0, "i32")))

    def read(
        self, argument: Value, nested: Nested, slots: Sequence[Value | None], held: bool
    ) -> None:
        """The leaves of an argument, after its guards; `held` says that the caller holds it."""
        if nested == "none":
            self.guard(self.writer.icmp("eq", argument, self.imported("neurlang_none")))
            return
        if isinstance(nested, Nest):
            for item, inside in zip(self.items(argument, nested), nested.items):
                self.read(item, inside, slots, held=False)
            return
        position = self.stored
        dtype, shape, kind = self.signature.inputs[position]
        slot = slots[position]
        if slot is None:
            self.pass_pointer(self.read_array(argument, dtype, shape))
            self.borrowed += [] if held else [argument]
        else:
            self.read_scalar(argument, kind, slot)
            self.pass_pointer(slot)

    def items(self, container: Value, nest: Nest) -> Iterator[Value]:
        """What a container holds, after its guards."""
        writer, count = self.writer, len(nest.items)
        if nest.kind == "dict":
            self.guard_type(container, "neurlang_dict")
            size = writer.call("PyDict_Size", "i64", (container,))
            self.guard(writer.icmp("eq", size, constant(count, "i64")))
            yield from self.dict_items(container, nest)
            return
        named = nest.kind == "named"
        self.guard_type(
            container, object_symbol(nest.names[0]) if named else f"neurlang_{nest.kind}"
        )
        self.guard_size(container, count)
        start = writer.offset(container, ItemsHeader.items.offset)
        if nest.kind == "list":
            start = writer.load(start, "ptr")
        for position in range(count):
            yield writer.load(writer.offset(start, position, "ptr"), "ptr")

    def dict_items(self, container: Value, nest: Nest) -> list[Value]:
        """The values of a dict whose keys are these, in this order."""
        writer, found = self.writer, []
        key, value = (writer.offset(self.cursor, place, "i64") for place in (1, 2))
        writer.store(constant(0, "i64"), self.cursor)
        for number in nest.names:
            writer.call("PyDict_Next", "i32", (container, self.cursor, key, value))
            self.guard_name(writer.load(key, "ptr"), number)
            found.append(writer.load(value, "ptr"))
        return found

    def guard_type(self, argument: Value, symbol: str) -> None:
        type = self.field(argument, ObjectHeader.type.offset, "ptr")
        self.guard(self.writer.icmp("eq", type, self.imported(symbol)))

    def read_array(self, argument: Value, dtype: str, shape: Shape) -> Value:
        """The data of an array, or of a NumPy scalar, after its guards."""
        if shape:
            return self.read_whole_array(argument, dtype, shape)
        writer = self.writer
        found = self.field(argument, ObjectHeader.type.offset, "ptr")
        is_scalar = writer.icmp("eq", found, self.imported(scalar_symbol(dtype)))
        scalar, array, after = writer.label("scalar"), writer.label("array"), writer.label("data")
        writer.branch_if(is_scalar, scalar, array)
        writer.start_block(scalar)
        value = writer.offset(argument, ScalarHeader.value.offset)
        writer.branch(after)
        writer.start_block(array)
        data = self.read_whole_array(argument, dtype, shape)
        end = writer.block
        writer.branch(after)
        writer.start_block(after)
        phi = writer.phi("ptr")
        writer.set_phi(phi, [(value, scalar), (data, end)])
        return phi[0]

    def read_whole_array(self, argument: Value, dtype: str, shape: Shape) -> Value:
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
                for position, least, most in self.signature.bounds:
                    if position == self.stored:
                        self.guard(writer.icmp("sge", number, constant(least, "i64")))
                        self.guard(writer.icmp("sle", number, constant(most, "i64")))
                writer.store(number, slot)

    # outputs

    def allocate(self, place: int, dtype: str, shape: Shape) -> None:
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
        self.own(place, array)
        self.go_on_if(writer.icmp("ne", array, _NULL), _RELEASE)
        self.pass_pointer(self.field(array, ArrayHeader.data.offset, "ptr"))

    def set_handler(self, handler: Value) -> Value:
        """Say who allocates the data of new arrays; the result is a reference to who did."""
        return self.writer.call("neurlang_set_handler", "ptr", (handler,))

    def run(self) -> Value:
        """Call the program; the result is its status, which is 0 from here on."""
        writer = self.writer
        for array in self.borrowed:  # another thread may empty its container meanwhile
            writer.call_void("Py_IncRef", (array,))
        thread = _NULL
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
                self.own(place, _NULL)
                scalar = writer.call("neurlang_return_array", "ptr", (array,))
                self.own(place, scalar)
                self.go_on_if(writer.icmp("ne", scalar, _NULL), _RELEASE)
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
        self.go_on_if(self.writer.icmp("ne", made, _NULL), _RELEASE)
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
        self.own(place, _NULL)

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
        writer.branch(_MISS)
        writer.start_block("exhausted")
        writer.call("PyErr_NoMemory", "ptr", ())
        writer.branch(_RELEASE)

    def write_release(self) -> None:
        """Free what is kept, and return what Python takes for an exception."""
        self.writer.start_block(_RELEASE)
        self.free_kept()
        self.writer.ret(_NULL)

    def free_kept(self) -> None:
        for place in range(self.kept):
            self.writer.call_void("Py_DecRef", (self.owned(place),))

    def write_miss(self) -> None:
        self.writer.start_block(_MISS)
        arguments = (_SELF, _ARGS, _COUNT, _NAMES)
        self.writer.ret(self.writer.call("PyObject_Vectorcall", "ptr", arguments))
