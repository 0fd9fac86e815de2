"""What the native entry does with the arguments of a call: guards, and where their data lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce

import numpy as np

from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.call import (
    EntrySignature,
    Kind,
    Nest,
    Nested,
    Shape,
    dtype_class_symbol,
    dtype_symbol,
    object_symbol,
    scalar_symbol,
)
from neurlang.runtime.objects import (
    ALIGNED,
    C_CONTIGUOUS,
    ArrayHeader,
    DescriptorHeader,
    FloatHeader,
    ItemsHeader,
    ObjectHeader,
    ScalarHeader,
)

NULL = Value("null", "ptr")
SELF, ARGS, COUNT, NAMES = (
    Value("%self", "ptr"),
    Value("%args", "ptr"),
    Value("%count", "i64"),
    Value("%names", "ptr"),
)
MISS = "miss"  # the block that hands a call on


class Arguments:
    """Reads the arguments of one entry; `pointers` is what the program will receive."""

    def __init__(
        self, module: Module, signature: EntrySignature, writer: Writer, places: int
    ) -> None:
        self.module = module
        self.signature = signature
        self.writer = writer
        self.pointers = writer.value(f"alloca [{places} x ptr], align 16", "ptr")
        self.stored = 0
        self.slots = [
            None if kind == "array" else writer.value("alloca i64, align 8", "ptr")
            for _, _, kind in signature.inputs
        ]
        self.cursor = writer.value("alloca [3 x i64], align 16", "ptr")  # of a dict, and its item
        self.borrowed: list[Value] = []  # arrays that only a container holds

    def read_all(self) -> None:
        """Put the data of all leaves into `pointers`, or leave the call to the dispatcher."""
        writer, signature = self.writer, self.signature
        count = len(signature.passed) - len(signature.keywords)
        self.guard(writer.icmp("eq", COUNT, constant(count, "i64")))
        self.guard_keywords()
        for position, nested in enumerate(signature.passed):
            argument = writer.load(writer.offset(ARGS, position, "ptr"), "ptr")
            self.read(argument, nested, held=True)

    # small things

    def imported(self, symbol: str) -> Value:
        """The address of a foreign object."""
        self.module.declarations[symbol] = f"@{symbol} = external global i8"
        return Value(f"@{symbol}", "ptr")

    def field(self, base: Value, offset: int, type: str) -> Value:
        return self.writer.load(self.writer.offset(base, offset), type)

    def guard(self, condition: Value) -> None:
        """Go on if the condition holds; otherwise leave the call to the dispatcher."""
        self.go_on_if(condition, MISS)

    def go_on_if(self, condition: Value, otherwise: str) -> None:
        here = self.writer.label("good")
        self.writer.branch_if(condition, here, otherwise)
        self.writer.start_block(here)

    def pass_pointer(self, pointer: Value) -> None:
        self.writer.store(pointer, self.writer.offset(self.pointers, self.stored, "ptr"))
        self.stored += 1

    # inputs

    def guard_keywords(self) -> None:
        """The names of the last arguments are these, in this order."""
        writer, names = self.writer, self.signature.keywords
        if not names:
            self.guard(writer.icmp("eq", NAMES, NULL))
            return
        self.guard(writer.icmp("ne", NAMES, NULL))
        self.guard_size(NAMES, len(names))
        items = writer.offset(NAMES, ItemsHeader.items.offset)
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

    def read(self, argument: Value, nested: Nested, held: bool) -> None:
        """The leaves of an argument, after its guards; `held` says that the caller holds it."""
        if nested == "none":
            self.guard(self.writer.icmp("eq", argument, self.imported("neurlang_none")))
            return
        if isinstance(nested, Nest):
            for item, inside in zip(self.items(argument, nested), nested.items):
                self.read(item, inside, held=False)
            return
        position = self.stored
        dtype, shape, kind = self.signature.inputs[position]
        slot = self.slots[position]
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
        order = dict(self.signature.orders).get(self.stored)
        needed = constant(ALIGNED if order else C_CONTIGUOUS | ALIGNED, "i32")
        same_rank = writer.icmp("eq", dimensions, constant(len(shape), "i32"))
        plain = writer.icmp("eq", writer.and_(flags, needed), needed)
        self.guard(writer.and_(same_rank, plain))
        self.guard_dtype(self.field(argument, ArrayHeader.dtype.offset, "ptr"), dtype)
        if shape:
            self.guard_numbers(argument, ArrayHeader.shape.offset, dict(enumerate(shape)))
        if order:
            step, strides = np.dtype(dtype).itemsize, {}
            for axis in reversed(order):
                if shape[axis] > 1:  # the stride of a single element is any
                    strides[axis] = step
                step *= shape[axis]
            self.guard_numbers(argument, ArrayHeader.strides.offset, strides)
        return self.field(argument, ArrayHeader.data.offset, "ptr")

    def guard_numbers(self, array: Value, field: int, wanted: Mapping[int, int]) -> None:
        """What an array's header says of its axes, its sizes or strides."""
        writer = self.writer
        numbers = self.field(array, field, "ptr")
        found = {axis: writer.load(writer.offset(numbers, axis, "i64"), "i64") for axis in wanted}
        same = [
            writer.icmp("eq", found[axis], constant(number, "i64"))
            for axis, number in wanted.items()
        ]
        self.guard(reduce(writer.and_, same))

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
