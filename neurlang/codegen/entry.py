"""How programs are entered: the native entry that Python calls, and the environment they run in.

`neurlang_run(program, pointers)` calls a program in the default floating-point environment, and
`neurlang_release(cell)` frees the workspace that a program keeps in its cell.

`neurlang_entry(self, args, count, names)` follows Python's METH_FASTCALL | METH_KEYWORDS
convention. It serves every program: `self` is the table of one (`runtime.entry.entry_table`). When
the arguments are what the table says, it allocates the outputs, gives the program the address of
every input's and output's data, and returns the outputs. Otherwise it hands its arguments on to
the Python dispatcher, so that it is right for every call.

Every address is an imported symbol or stands in the table: the object can be cached.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from neurlang.codegen.environment import Environment
from neurlang.codegen.machine import Machine
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.call import (
    ALIGNED,
    C_CONTIGUOUS,
    ArrayHeader,
    DescriptorHeader,
    FloatHeader,
    ObjectHeader,
)
from neurlang.runtime.entry import KINDS, RESULTS, EntryTable, InputRecord, OutputRecord

RUN, RELEASE, ENTRY = "neurlang_run", "neurlang_release", "neurlang_entry"
_NULL = Value("null", "ptr")
_SELF, _ARGS, _COUNT, _NAMES = (
    Value("%self", "ptr"),
    Value("%args", "ptr"),
    Value("%count", "i64"),
    Value("%names", "ptr"),
)


def run_text(machine: Machine) -> str:
    """The module text of `neurlang_run`, which returns the program's status, and of the release."""
    module = Module(machine.present)
    writer = Writer(module, f"i32 @{RUN}(ptr %program, ptr %pointers) nounwind")
    environment = Environment(writer, machine)
    environment.enter()
    status = writer.value("call i32 %program(ptr %pointers)", "i32")
    environment.leave()
    writer.ret(status)
    writer.finish()
    writer = Writer(module, f"void @{RELEASE}(ptr %cell) nounwind")
    kept = writer.value("atomicrmw xchg ptr %cell, ptr null seq_cst", "ptr")
    writer.call_void("free", [kept])
    writer.ret()
    writer.finish()
    return module.text()


def entry_text() -> str:
    """The module text of `neurlang_entry`, which goes with that of `neurlang_run`."""
    module = Module()
    _EntryWriter(module).write()
    return module.text()


class _EntryWriter:
    """Writes the entry, from top to bottom."""

    def __init__(self, module: Module) -> None:
        self.module = module
        signature = f"ptr @{ENTRY}(ptr %self, ptr %args, i64 %count, ptr %names) nounwind"
        self.writer = Writer(module, signature)
        self.overflow = self.writer.value("alloca i32, align 4", "ptr")
        self.handler = self.writer.value("alloca ptr, align 8", "ptr")  # NumPy's, meanwhile
        self.thread = self.writer.value("alloca ptr, align 8", "ptr")  # what gave up the GIL
        self.made = self.writer.value("alloca i64, align 8", "ptr")  # outputs to free on errors
        self.writer.store(constant(0, "i64"), self.made)
        self.table = self.field(_SELF, ArrayHeader, "data", "ptr")

    def write(self) -> None:
        writer = self.writer
        self.guard(writer.icmp("eq", _COUNT, self.of_table("inputs")))
        self.guard(writer.icmp("eq", _NAMES, _NULL))
        self.outputs = self.of_table("outputs")
        self.slots = writer.value(f"alloca i64, {_COUNT}", "ptr")
        self.arrays = writer.value(f"alloca ptr, {self.outputs}", "ptr")
        places = writer.add(_COUNT, self.outputs)
        self.pointers = writer.value(f"alloca ptr, {places}", "ptr")
        with self.each(_COUNT) as position:
            self.read(position)
        self.allocate()
        status = self.run()
        self.give_back()
        self.write_failure(status)
        self.write_miss()
        writer.finish()

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
        self.go_on_if(condition, "miss")

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
        edges = [(constant(0, "i64"), before), (following, writer.block)]
        writer.set_phi(position, edges)
        writer.branch(test)
        writer.start_block(after)

    # inputs

    def read(self, position: Value) -> None:
        """Store where the program finds one argument, after its guards."""
        writer = self.writer
        argument = self.load_at(_ARGS, position)
        record = self.record("first_input", InputRecord, position)
        type = self.field(argument, ObjectHeader, "type", "ptr")
        self.guard(writer.icmp("eq", type, self.field(record, InputRecord, "type", "ptr")))
        kind = self.field(record, InputRecord, "kind")
        after = writer.label("read")
        labels = [writer.label(name) for name in KINDS]
        cases = " ".join(f"i64 {number}, label %{label}" for number, label in enumerate(labels))
        writer.line(f"switch {kind}, label %miss [ {cases} ]")
        slot = writer.label("slot")
        for name, label in zip(KINDS, labels):
            writer.start_block(label)
            if name == "array":
                self.store_at(self.read_array(argument, record), self.pointers, position)
                writer.branch(after)
            else:
                self.store_at(self.read_scalar(name, argument), self.slots, position)
                writer.branch(slot)
        writer.start_block(slot)
        self.store_at(writer.offset(self.slots, position, "i64"), self.pointers, position)
        writer.branch(after)
        writer.start_block(after)

    def read_array(self, argument: Value, record: Value) -> Value:
        """The data of an array."""
        writer = self.writer
        rank = self.field(record, InputRecord, "rank")
        dimensions = writer.sext(self.field(argument, ArrayHeader, "dimensions", "i32"), "i64")
        flags = self.field(argument, ArrayHeader, "flags", "i32")
        needed = constant(C_CONTIGUOUS | ALIGNED, "i32")
        plain = writer.icmp("eq", writer.and_(flags, needed), needed)
        self.guard(writer.and_(writer.icmp("eq", dimensions, rank), plain))
        self.guard_dtype(self.field(argument, ArrayHeader, "dtype", "ptr"), record)
        extents = self.field(argument, ArrayHeader, "shape", "ptr")
        wanted = self.field(record, InputRecord, "extents", "ptr")
        with self.each(rank) as axis:
            extent = self.load_at(extents, axis, "i64")
            self.guard(writer.icmp("eq", extent, self.load_at(wanted, axis, "i64")))
        return self.field(argument, ArrayHeader, "data", "ptr")

    def guard_dtype(self, descriptor: Value, record: Value) -> None:
        """NumPy keeps one descriptor of a dtype, but what was unpickled brings its own."""
        writer = self.writer
        known = self.field(record, InputRecord, "descriptor", "ptr")
        with writer.when(writer.icmp("ne", descriptor, known), "own"):
            type = self.field(descriptor, ObjectHeader, "type", "ptr")
            wanted = self.field(record, InputRecord, "descriptor_type", "ptr")
            order = self.field(descriptor, DescriptorHeader, "byte_order", "i8")
            native = writer.trunc(self.field(record, InputRecord, "byte_order"), "i8")
            same = writer.icmp("eq", type, wanted)
            self.guard(writer.and_(same, writer.icmp("eq", order, native)))

    def read_scalar(self, kind: str, argument: Value) -> Value:
        """A Python scalar as the eight bytes that the program reads, or the first of them."""
        writer = self.writer
        if kind == "float":
            return self.field(argument, FloatHeader, "value", "double")
        if kind == "bool":
            return writer.zext(writer.icmp("eq", argument, self.imported("neurlang_true")), "i64")
        parts = (argument, self.overflow)
        number = writer.call("PyLong_AsLongLongAndOverflow", "i64", parts)
        fits = writer.icmp("eq", writer.load(self.overflow, "i32"), constant(0, "i32"))
        self.guard(fits)
        return number

    # outputs

    def allocate(self) -> None:
        """New arrays. What is made is counted, so that an error frees as many."""
        writer = self.writer
        with self.each(self.outputs) as position:
            record = self.record("first_output", OutputRecord, position)
            array = self.new_array(record)
            self.go_on_if(writer.icmp("ne", array, _NULL), "release")
            self.store_at(array, self.arrays, position)
            writer.store(writer.add(position, constant(1, "i64")), self.made)
            data = self.field(array, ArrayHeader, "data", "ptr")
            self.store_at(data, self.pointers, writer.add(position, _COUNT))

    def new_array(self, record: Value) -> Value:
        """NumPy takes over the reference to the descriptor, also when it fails."""
        writer = self.writer
        pooled = writer.icmp("ne", self.field(record, OutputRecord, "pooled"), constant(0, "i64"))
        with writer.when(pooled, "pooled"):
            writer.store(self.set_handler(self.of_table("handler", "ptr")), self.handler)
        descriptor = self.field(record, OutputRecord, "descriptor", "ptr")
        writer.call_void("Py_IncRef", (descriptor,))
        rank = writer.trunc(self.field(record, OutputRecord, "rank"), "i32")
        extents = self.field(record, OutputRecord, "extents", "ptr")
        ndarray = self.imported("neurlang_ndarray")
        no_flags = constant(0, "i32")
        arguments = (ndarray, descriptor, rank, extents, _NULL, _NULL, no_flags, _NULL)
        array = writer.call("neurlang_new_array", "ptr", arguments)
        with writer.when(pooled, "pooled"):
            before = writer.load(self.handler, "ptr")
            writer.call_void("Py_DecRef", (self.set_handler(before),))
            writer.call_void("Py_DecRef", (before,))
        return array

    def set_handler(self, handler: Value) -> Value:
        """Say who allocates the data of new arrays; the result is a reference to who did."""
        change = self.of_table("set_handler", "ptr")
        return self.writer.value(f"call ptr {change.text}({handler})", "ptr")

    def run(self) -> Value:
        """Call the program; the result is its status, which is 0 from here on."""
        writer = self.writer
        release = writer.icmp("ne", self.of_table("release_gil"), constant(0, "i64"))
        with writer.when(release, "save"):
            writer.store(writer.call("PyEval_SaveThread", "ptr", ()), self.thread)
        program = self.of_table("program", "ptr")
        status = writer.value(f"call i32 @{RUN}({program}, {self.pointers})", "i32")
        with writer.when(release, "restore"):
            writer.call_void("PyEval_RestoreThread", (writer.load(self.thread, "ptr"),))
        self.go_on_if(writer.icmp("eq", status, constant(0, "i32")), "failed")
        return status

    def give_back(self) -> None:
        """Return the outputs; arrays without axes become NumPy scalars."""
        writer = self.writer
        result = self.of_table("result")
        labels = {name: writer.label(name) for name in RESULTS}
        cases = " ".join(f"i64 {n}, label %{labels[name]}" for n, name in enumerate(RESULTS))
        writer.line(f"switch {result}, label %release [ {cases} ]")
        writer.start_block(labels["single"])
        array = writer.load(self.arrays, "ptr")
        rank = self.field(self.of_table("first_output", "ptr"), OutputRecord, "rank")
        scalar, whole = writer.label("scalar"), writer.label("whole")
        writer.branch_if(writer.icmp("eq", rank, constant(0, "i64")), scalar, whole)
        writer.start_block(whole)
        writer.ret(array)
        writer.start_block(scalar)
        writer.ret(self.scalar(array))
        for container in ("tuple", "list"):
            writer.start_block(labels[container])
            self.give_back_together(f"Py{container.title()}")

    def give_back_together(self, container: str) -> None:
        """The container owns the arrays first, so that it alone is freed when a scalar fails."""
        writer = self.writer
        together = writer.call(f"{container}_New", "ptr", (self.outputs,))
        self.go_on_if(writer.icmp("ne", together, _NULL), "release")
        with self.each(self.outputs) as position:
            self.set_item(container, together, position, self.load_at(self.arrays, position))
        failed = writer.label("no_scalar")
        with self.each(self.outputs) as position:
            record = self.record("first_output", OutputRecord, position)
            rank = self.field(record, OutputRecord, "rank")
            with writer.when(writer.icmp("eq", rank, constant(0, "i64")), "scalar"):
                array = self.load_at(self.arrays, position)
                writer.call_void("Py_IncRef", (array,))
                scalar = self.scalar(array)
                self.go_on_if(writer.icmp("ne", scalar, _NULL), failed)
                self.set_item(container, together, position, scalar)
        writer.ret(together)
        writer.start_block(failed)
        writer.call_void("Py_DecRef", (together,))
        writer.ret(_NULL)

    def scalar(self, array: Value) -> Value:
        return self.writer.call("neurlang_return_array", "ptr", (array,))

    def set_item(self, container: str, together: Value, position: Value, item: Value) -> None:
        self.writer.call(f"{container}_SetItem", "i32", (together, position, item))

    # the ways out

    def write_failure(self, status: Value) -> None:
        writer = self.writer
        writer.start_block("failed")
        writer.branch_if(writer.icmp("eq", status, constant(1, "i32")), "exhausted", "refused")
        writer.start_block("refused")
        self.free_outputs()
        writer.branch("miss")
        writer.start_block("exhausted")
        writer.call("PyErr_NoMemory", "ptr", ())
        writer.branch("release")
        writer.start_block("release")
        self.free_outputs()
        writer.ret(_NULL)

    def free_outputs(self) -> None:
        with self.each(self.writer.load(self.made, "i64")) as position:
            self.writer.call_void("Py_DecRef", (self.load_at(self.arrays, position),))

    def write_miss(self) -> None:
        self.writer.start_block("miss")
        arguments = (self.of_table("dispatcher", "ptr"), _ARGS, _COUNT, _NAMES)
        self.writer.ret(self.writer.call("PyObject_Vectorcall", "ptr", arguments))
