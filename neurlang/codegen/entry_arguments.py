"""What the native entry does with the arguments of a call: guards, and where their data lie."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.entry_table import ANY_STRIDE, READS, EntryTable, ReadRecord
from neurlang.runtime.objects import (
    C_CONTIGUOUS,
    ROWS_FIRST,
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
_EQUAL = 2  # Py_EQ
MISS = "miss"  # the block that hands a call on


class Arguments:
    """Reads the arguments of a call by the table; `pointers` is what the program will receive."""

    def __init__(self, module: Module, writer: Writer) -> None:
        self.module = module
        self.writer = writer
        self.overflow = writer.value("alloca i32, align 4", "ptr")
        self.cursor = writer.value("alloca [3 x i64], align 16", "ptr")  # of a dict, and its item
        self.borrowing = writer.value("alloca i64, align 8", "ptr")
        self.copying = writer.value("alloca i64, align 8", "ptr")
        for count in (self.borrowing, self.copying):
            writer.store(constant(0, "i64"), count)
        self.table = self.field(SELF, ArrayHeader, "data", "ptr")
        self.inputs, self.outputs = self.of_table("inputs"), self.of_table("outputs")
        self.objects = writer.value(f"alloca ptr, {self.of_table('objects')}", "ptr")
        self.slots = writer.value(f"alloca i64, {self.inputs}", "ptr")
        self.borrowed = writer.value(f"alloca ptr, {self.inputs}", "ptr")  # held by containers
        self.copies = writer.value(f"alloca i64, {self.inputs}", "ptr")  # places, then arrays
        places = writer.add(self.inputs, self.outputs)
        self.pointers = writer.value(f"alloca ptr, {places}", "ptr")

    def read_all(self) -> None:
        """Put the data of all leaves into `pointers`, or leave the call to the dispatcher."""
        writer = self.writer
        passed, keywords = self.of_table("passed"), self.of_table("keywords")
        self.guard_equal(COUNT, writer.sub(passed, keywords))
        self.guard_keywords(keywords)
        with self.each(passed) as position:
            self.store_at(self.load_at(ARGS, position), self.objects, position)
        with self.each(self.of_table("reads")) as position:
            self.read(self.record("first_read", ReadRecord, position))

    # small things

    def imported(self, symbol: str) -> Value:
        """The address of a foreign object."""
        self.module.declarations[symbol] = f"@{symbol} = external global i8"
        return Value(f"@{symbol}", "ptr")

    def field(
        self, base: Value, structure: type[ctypes.Structure], name: str, type: str = "i64"
    ) -> Value:
        offset = getattr(structure, name).offset
        return self.writer.load(self.writer.offset(base, offset), type)

    def of_table(self, name: str, type: str = "i64") -> Value:
        return self.field(self.table, EntryTable, name, type)

    def record(self, first: str, structure: type[ctypes.Structure], position: Value) -> Value:
        """The address of one of the records that follow each other in the table."""
        size = constant(ctypes.sizeof(structure), "i64")
        return self.writer.offset(self.of_table(first, "ptr"), self.writer.mul(position, size))

    def load_at(self, base: Value, position: Value, type: str = "ptr") -> Value:
        return self.writer.load(self.writer.offset(base, position, type), type)

    def store_at(self, value: Value, base: Value, position: Value) -> None:
        self.writer.store(value, self.writer.offset(base, position, value.type))

    def guard(self, condition: Value) -> None:
        """Go on if the condition holds; otherwise leave the call to the dispatcher."""
        self.go_on_if(condition, MISS)

    def guard_equal(self, found: Value, wanted: Value) -> None:
        self.guard(self.writer.icmp("eq", found, wanted))

    def go_on_if(self, condition: Value, otherwise: str) -> None:
        here = self.writer.label("good")
        self.writer.branch_if(condition, here, otherwise)
        self.writer.start_block(here)

    @contextmanager
    def each(self, count: Value) -> Iterator[Value]:
        """Run what is written inside for every position in 0..count."""
        writer = self.writer
        test, body, after = (writer.label(name) for name in ("test", "body", "after"))
        before = writer.block
        writer.branch(test)
        writer.start_block(test)
        position = writer.phi("i64")
        writer.branch_if(writer.icmp("slt", position[0], count), body, after)
        writer.start_block(body)
        yield position[0]
        following = writer.add(position[0], constant(1, "i64"))
        writer.set_phi(position, [(constant(0, "i64"), before), (following, writer.block)])
        writer.branch(test)
        writer.start_block(after)

    def switch(self, number: Value, names: Sequence[str]) -> dict[str, str]:
        """Go on at one of several labels; a number beyond them does not occur."""
        writer = self.writer
        labels = {name: writer.label(name) for name in names}
        cases = " ".join(f"i64 {n}, label %{labels[name]}" for n, name in enumerate(names))
        writer.line(f"switch {number}, label %{MISS} [ {cases} ]")
        return labels

    # what is read

    def guard_keywords(self, count: Value) -> None:
        """The names of the last arguments are these, in this order."""
        writer = self.writer
        named = writer.icmp("ne", NAMES, NULL)
        self.guard_equal(named, writer.icmp("ne", count, constant(0, "i64")))
        with writer.when(named, "named"):
            self.guard_equal(self.field(NAMES, ItemsHeader, "size"), count)
            items = writer.offset(NAMES, ItemsHeader.items.offset)
            wanted = self.of_table("names", "ptr")
            with self.each(count) as position:
                self.guard_name(self.load_at(items, position), self.load_at(wanted, position))

    def guard_name(self, name: Value, wanted: Value) -> None:
        """A string: mostly it is the same object, as names in a source file are."""
        writer = self.writer
        with writer.when(writer.icmp("ne", name, wanted), "other_name"):
            types = (self.field(one, ObjectHeader, "type", "ptr") for one in (name, wanted))
            self.guard_equal(*types)
            order = writer.call("PyUnicode_Compare", "i32", (name, wanted))
            self.guard_equal(order, constant(0, "i32"))

    def read(self, record: Value) -> None:
        """One object: a leaf, None, or a container, whose items are read later."""
        writer = self.writer
        given = self.load_at(self.objects, self.field(record, ReadRecord, "source"))
        type = self.field(given, ObjectHeader, "type", "ptr")
        is_first, is_second = (
            writer.icmp("eq", type, self.field(record, ReadRecord, name, "ptr"))
            for name in ("type", "scalar")
        )
        found, is_first, is_carried = self.carried(given, is_first, is_second, record)
        labels = self.switch(self.field(record, ReadRecord, "kind"), READS)
        after = writer.label("read")
        writer.start_block(labels["scalar"])
        writer.branch_if(is_first, labels["array"], "numpy_scalar")
        writer.start_block("numpy_scalar")
        self.pass_pointer(record, writer.offset(found, ScalarHeader.value.offset))
        writer.branch(after)
        for kind in READS:
            if kind in ("scalar", "none"):
                continue
            writer.start_block(labels[kind])
            match kind:
                case "array":
                    self.read_array(found, record, is_carried)
                case "float" | "int" | "bool":
                    self.read_number(kind, found, record)
                case "static":
                    self.guard_static(found, record)
                case "dict":
                    self.read_dict(found, record)
                case _:
                    self.read_items(kind, found, record)
            writer.branch(after)
        writer.start_block(labels["none"])  # its type has told everything
        writer.branch(after)
        writer.start_block(after)

    def carried(
        self, given: Value, is_first: Value, is_second: Value, record: Value
    ) -> tuple[Value, Value, Value]:
        """An object of a class that the record names, and whether that is the first of them; where
        none is, the array that a lazy array holds. The third is 1 for such an array."""
        writer = self.writer
        wanted, carrier = writer.label("wanted"), writer.label("carrier")
        start = writer.block
        writer.branch_if(writer.or_(is_first, is_second), wanted, carrier)
        writer.start_block(carrier)
        type = self.field(given, ObjectHeader, "type", "ptr")
        self.guard_equal(type, self.of_table("carrier", "ptr"))
        traces = writer.load(self.imported("neurlang_traces"), "i64")
        self.guard_equal(traces, constant(0, "i64"))
        value = writer.load(writer.offset(given, self.of_table("carried")), "ptr")
        self.guard(writer.icmp("ne", value, NULL))
        ndarray = self.imported("neurlang_ndarray")
        self.guard_equal(self.field(value, ObjectHeader, "type", "ptr"), ndarray)
        self.guard_equal(self.field(record, ReadRecord, "type", "ptr"), ndarray)
        held = writer.block
        writer.branch(wanted)
        writer.start_block(wanted)
        found, first, carried = writer.phi("ptr"), writer.phi("i1"), writer.phi("i64")
        zero, one = constant(0, "i64"), constant(1, "i64")
        writer.set_phi(carried, [(zero, start), (one, held)])
        writer.set_phi(found, [(given, start), (value, held)])
        writer.set_phi(first, [(is_first, start), (constant(True, "i1"), held)])
        return found[0], first[0], carried[0]

    def pass_pointer(self, record: Value, pointer: Value) -> None:
        self.store_at(pointer, self.pointers, self.field(record, ReadRecord, "place"))

    def read_array(self, array: Value, record: Value, carried: Value) -> None:
        """An array of this dtype and shape; `carried` says whether a lazy one holds it, which may
        let it go while the program runs."""
        writer = self.writer
        rank = self.field(record, ReadRecord, "rank")
        dimensions = self.field(array, ArrayHeader, "dimensions", "i32")
        self.guard_equal(writer.sext(dimensions, "i64"), rank)
        self.guard_dtype(self.field(array, ArrayHeader, "dtype", "ptr"), record)
        extents = self.field(array, ArrayHeader, "shape", "ptr")
        wanted = self.field(record, ReadRecord, "extents", "ptr")
        with self.each(rank) as axis:
            self.guard_equal(*(self.load_at(base, axis, "i64") for base in (extents, wanted)))
        self.pass_pointer(record, self.field(array, ArrayHeader, "data", "ptr"))
        flags = writer.zext(self.field(array, ArrayHeader, "flags", "i32"), "i64")
        needed = self.field(record, ReadRecord, "flags")
        strides = self.field(record, ReadRecord, "strides", "ptr")
        ordered = writer.icmp("ne", strides, NULL)
        with writer.when(writer.icmp("ne", writer.and_(flags, needed), needed), "strided"):
            self.guard_equal(ordered, constant(False, "i1"))
            self.guard_copied(array, flags, record)
        with writer.when(ordered, "ordered"):
            self.guard_strides(self.field(array, ArrayHeader, "strides", "ptr"), strides, rank)
        borrowed = writer.or_(carried, self.field(record, ReadRecord, "borrowed"))
        self.count(self.borrowing, self.borrowed, array, borrowed)

    def count(self, counter: Value, list: Value, value: Value, change: Value) -> None:
        """Put a value at the end of a list; it counts only if the number grows."""
        number = self.writer.load(counter, "i64")
        self.store_at(value, list, number)
        self.writer.store(self.writer.add(number, change), counter)

    def guard_copied(self, array: Value, flags: Value, record: Value) -> None:
        """The array is to be copied: it is no contiguous one, or contiguous and not aligned.

        One that is contiguous in another order of its axes has a program of its own. From the
        fastest on, each of its axes of several elements has the stride that those before come to;
        as that grows, none is found twice.
        """
        writer = self.writer
        one, cell = constant(1, "i64"), self.cursor
        contiguous = writer.and_(flags, constant(C_CONTIGUOUS, "i64"))
        with writer.when(writer.icmp("eq", contiguous, constant(0, "i64")), "compare"):
            extents, strides = (
                self.field(array, ArrayHeader, name, "ptr") for name in ("shape", "strides")
            )
            rank = self.field(record, ReadRecord, "rank")
            writer.store(self.field(record, ReadRecord, "itemsize"), cell)
            with self.each(rank), self.each(rank) as axis:
                expected, extent = writer.load(cell, "i64"), self.load_at(extents, axis, "i64")
                found = writer.icmp("eq", self.load_at(strides, axis, "i64"), expected)
                several = writer.icmp("sgt", extent, one)
                with writer.when(writer.and_(found, several), "found"):
                    writer.store(writer.mul(expected, extent), cell)
            whole = self.field(record, ReadRecord, "bytes")
            self.guard(writer.icmp("ne", writer.load(cell, "i64"), whole))
        place = self.field(record, ReadRecord, "place")
        self.pass_pointer(record, array)
        self.count(self.copying, self.copies, place, one)

    def copy_all(self, failed: str) -> None:
        """Give the program copies of arrays with strides; NumPy makes them.

        `copying` goes on to count the copies that there are, also where the last one failed.
        """
        writer = self.writer
        count = writer.load(self.copying, "i64")
        writer.store(constant(0, "i64"), self.copying)
        with self.each(count) as position:
            place = self.load_at(self.copies, position, "i64")
            arguments = (self.load_at(self.pointers, place), constant(ROWS_FIRST, "i32"))
            copy = writer.call("neurlang_copy_array", "ptr", arguments)
            self.go_on_if(writer.icmp("ne", copy, NULL), failed)
            self.store_at(copy, self.copies, position)
            writer.store(writer.add(position, constant(1, "i64")), self.copying)
            self.store_at(self.field(copy, ArrayHeader, "data", "ptr"), self.pointers, place)

    def drop_copies(self) -> None:
        with self.each(self.writer.load(self.copying, "i64")) as position:
            self.writer.call_void("Py_DecRef", (self.load_at(self.copies, position),))

    def guard_dtype(self, descriptor: Value, record: Value) -> None:
        """NumPy keeps one descriptor of a dtype, but what was unpickled brings its own."""
        writer = self.writer
        known = self.field(record, ReadRecord, "descriptor", "ptr")
        with writer.when(writer.icmp("ne", descriptor, known), "own"):
            type = self.field(descriptor, ObjectHeader, "type", "ptr")
            self.guard_equal(type, self.field(record, ReadRecord, "descriptor_type", "ptr"))
            order = self.field(descriptor, DescriptorHeader, "byte_order", "i8")
            native = writer.trunc(self.field(record, ReadRecord, "byte_order"), "i8")
            self.guard_equal(order, native)

    def guard_strides(self, found: Value, wanted: Value, rank: Value) -> None:
        writer = self.writer
        with self.each(rank) as axis:
            stride = self.load_at(wanted, axis, "i64")
            same = writer.icmp("eq", self.load_at(found, axis, "i64"), stride)
            self.guard(writer.or_(same, writer.icmp("eq", stride, constant(ANY_STRIDE, "i64"))))

    def read_number(self, kind: str, number: Value, record: Value) -> None:
        """A Python number as the eight bytes that the program reads, or the first of them."""
        writer = self.writer
        if kind == "float":
            value = self.field(number, FloatHeader, "value", "double")
        elif kind == "bool":
            true = writer.icmp("eq", number, self.imported("neurlang_true"))
            value = writer.zext(true, "i64")
        else:
            parts = (number, self.overflow)
            value = writer.call("PyLong_AsLongLongAndOverflow", "i64", parts)
            self.guard_equal(writer.load(self.overflow, "i32"), constant(0, "i32"))
            self.guard(writer.icmp("sge", value, self.field(record, ReadRecord, "least")))
            self.guard(writer.icmp("sle", value, self.field(record, ReadRecord, "most")))
        slot = writer.offset(self.slots, self.field(record, ReadRecord, "place"), "i64")
        writer.store(value, slot)
        self.pass_pointer(record, slot)

    def guard_static(self, found: Value, record: Value) -> None:
        """The value that the program was made for; what has its type is compared to it."""
        writer = self.writer
        wanted = self.field(record, ReadRecord, "object", "ptr")
        with writer.when(writer.icmp("ne", found, wanted), "other_object"):
            by_value = self.field(record, ReadRecord, "by_value")
            self.guard(writer.icmp("ne", by_value, constant(0, "i64")))
            equal = constant(_EQUAL, "i32")
            same = writer.call("PyObject_RichCompareBool", "i32", (found, wanted, equal))
            self.guard_equal(same, constant(1, "i32"))

    def read_items(self, kind: str, container: Value, record: Value) -> None:
        """The items of a tuple or list join the objects."""
        writer = self.writer
        size = self.field(record, ReadRecord, "size")
        self.guard_equal(self.field(container, ItemsHeader, "size"), size)
        items = writer.offset(container, ItemsHeader.items.offset)
        if kind == "list":
            items = writer.load(items, "ptr")
        joined = self.joined(record)
        with self.each(size) as position:
            self.store_at(self.load_at(items, position), joined, position)

    def joined(self, record: Value) -> Value:
        """Where the items of a container stand among the objects."""
        return self.writer.offset(self.objects, self.field(record, ReadRecord, "first"), "ptr")

    def read_dict(self, container: Value, record: Value) -> None:
        """The values of a dict whose keys are these, in this order."""
        writer = self.writer
        size = self.field(record, ReadRecord, "size")
        self.guard_equal(writer.call("PyDict_Size", "i64", (container,)), size)
        key, value = (writer.offset(self.cursor, place, "i64") for place in (1, 2))
        writer.store(constant(0, "i64"), self.cursor)
        names, joined = self.field(record, ReadRecord, "names", "ptr"), self.joined(record)
        with self.each(size) as position:
            writer.call("PyDict_Next", "i32", (container, self.cursor, key, value))
            self.guard_name(writer.load(key, "ptr"), self.load_at(names, position))
            self.store_at(writer.load(value, "ptr"), joined, position)
