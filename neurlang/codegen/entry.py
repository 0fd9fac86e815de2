"""How programs are entered: the native entry that Python calls, and the environment they run in.

`neurlang_run(plan, pointers)` runs a program by its plan (`codegen.steps_text`) in the default
floating-point environment, and `neurlang_release(cell)` frees the workspace that a program keeps in
its cell.

`neurlang_entry(self, args, count, names)` follows Python's METH_FASTCALL | METH_KEYWORDS
convention. It serves every program: `self` is the table of one (`runtime.entry_table`). When the
arguments are what the table says, it allocates the outputs, gives the program the address of every
input's and output's data, and returns the outputs in their containers. Otherwise it hands its
arguments on to the Python dispatcher, so that it is right for every call.

A program returns 0; 1 when out of memory, and the caller gets a MemoryError; STOPPED with an
exception set, which the caller gets; or anything else, and the call is handed on to the dispatcher,
which knows what to raise and must not come back here.

Every address is an imported symbol or stands in the table: the object can be cached.
"""

from __future__ import annotations

from neurlang.codegen.emit import STOPPED
from neurlang.codegen.entry_arguments import ARGS, COUNT, MISS, NAMES, NULL, Arguments
from neurlang.codegen.environment import Environment
from neurlang.codegen.machine import Machine
from neurlang.codegen.steps_text import STEPS
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.runtime.entry_table import BUILDS, BuildRecord, EntryTable, OutputRecord
from neurlang.runtime.objects import ArrayHeader, ItemsHeader

RUN, RELEASE, ENTRY = "neurlang_run", "neurlang_release", "neurlang_entry"
_FREE = "free_all"  # the block that frees all references and returns an error
_UNCOPIED = "uncopied"  # the block for a call whose arguments could not all be copied


def run_text(machine: Machine) -> str:
    """The module text of `neurlang_run`, which returns the program's status, and of the release."""
    module = Module(machine.present)
    writer = Writer(module, f"i32 @{RUN}(ptr %plan, ptr %pointers) nounwind")
    environment = Environment(writer, machine)
    environment.enter()
    status = writer.value(f"call i32 @{STEPS}(ptr %plan, ptr %pointers)", "i32")
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
    header = f"ptr @{ENTRY}(ptr %self, ptr %args, i64 %count, ptr %names) nounwind"
    _EntryWriter(module, Writer(module, header)).write()
    return module.text()


class _EntryWriter(Arguments):
    """Writes the entry, from top to bottom.

    `references` are ours until the end: the outputs, then the containers that are built.
    """

    def __init__(self, module: Module, writer: Writer) -> None:
        super().__init__(module, writer)
        self.handler = writer.value("alloca ptr, align 8", "ptr")  # NumPy's, meanwhile
        self.thread = writer.value("alloca ptr, align 8", "ptr")  # what gave up the GIL
        self.builds = self.of_table("builds")
        self.kept = writer.add(self.outputs, self.builds)
        self.references = writer.value(f"alloca ptr, {self.kept}", "ptr")

    def write(self) -> None:
        self.guard_options()
        self.read_all()
        with self.each(self.kept) as place:
            self.store_at(NULL, self.references, place)
        with self.each(self.outputs) as position:
            self.allocate(position)
        status = self.run()
        self.give_back()
        self.write_failure(status)
        self.write_miss()
        self.writer.finish()

    def keep(self, reference: Value, place: Value) -> None:
        """A new reference is ours; null is an error of Python's."""
        self.store_at(reference, self.references, place)
        self.go_on_if(self.writer.icmp("ne", reference, NULL), _FREE)

    def guard_options(self) -> None:
        """The options in force are those that the program is for: mostly none are, nor were."""
        writer = self.writer
        entered = writer.load(self.imported("neurlang_entered"), "i64")
        any_ = writer.or_(entered, self.of_table("overridden"))
        with writer.when(writer.icmp("ne", any_, constant(0, "i64")), "options"):
            arguments = (self.imported("neurlang_overrides"), NULL, self.cursor)
            writer.call("PyContextVar_Get", "i32", arguments)
            found = writer.load(self.cursor, "ptr")
            writer.call_void("Py_DecRef", (found,))  # the context has another reference
            self.guard_equal(found, self.of_table("overrides", "ptr"))

    # outputs

    def allocate(self, position: Value) -> None:
        """A new array. NumPy takes over the reference to the descriptor, also when it fails."""
        writer = self.writer
        record = self.record("first_output", OutputRecord, position)
        pooled = writer.icmp("ne", self.field(record, OutputRecord, "pooled"), constant(0, "i64"))
        with writer.when(pooled, "pooled"):
            writer.store(self.set_handler(self.of_table("handler", "ptr")), self.handler)
        descriptor = self.field(record, OutputRecord, "descriptor", "ptr")
        writer.call_void("Py_IncRef", (descriptor,))
        rank = writer.trunc(self.field(record, OutputRecord, "rank"), "i32")
        extents = self.field(record, OutputRecord, "extents", "ptr")
        ndarray = self.imported("neurlang_ndarray")
        no_flags = constant(0, "i32")
        arguments = (ndarray, descriptor, rank, extents, NULL, NULL, no_flags, NULL)
        array = writer.call("neurlang_new_array", "ptr", arguments)
        with writer.when(pooled, "pooled"):
            before = writer.load(self.handler, "ptr")
            writer.call_void("Py_DecRef", (self.set_handler(before),))
            writer.call_void("Py_DecRef", (before,))
        self.keep(array, position)
        data = self.field(array, ArrayHeader, "data", "ptr")
        self.store_at(data, self.pointers, writer.add(position, self.inputs))

    def set_handler(self, handler: Value) -> Value:
        """Say who allocates the data of new arrays; the result is a reference to who did."""
        change = self.of_table("set_handler", "ptr")
        return self.writer.value(f"call ptr {change.text}({handler})", "ptr")

    def run(self) -> Value:
        """Run the program; the result is its status, which is 0 from here on."""
        writer = self.writer
        borrowed = writer.load(self.borrowing, "i64")
        with self.each(borrowed) as position:  # another thread may empty a container meanwhile
            writer.call_void("Py_IncRef", (self.load_at(self.borrowed, position),))
        self.copy_all(_UNCOPIED)
        release = writer.icmp("ne", self.of_table("release_gil"), constant(0, "i64"))
        with writer.when(release, "save"):
            writer.store(writer.call("PyEval_SaveThread", "ptr", ()), self.thread)
        plan = self.of_table("plan", "ptr")
        status = writer.value(f"call i32 @{RUN}({plan}, {self.pointers})", "i32")
        with writer.when(release, "restore"):
            writer.call_void("PyEval_RestoreThread", (writer.load(self.thread, "ptr"),))
        self.let_go(borrowed)
        self.go_on_if(writer.icmp("eq", status, constant(0, "i32")), "failed")
        return status

    def let_go(self, borrowed: Value) -> None:
        """The program does not read its arguments any more."""
        self.drop_copies()
        with self.each(borrowed) as position:
            self.writer.call_void("Py_DecRef", (self.load_at(self.borrowed, position),))

    def give_back(self) -> None:
        """Return the outputs in their containers; arrays without axes become NumPy scalars."""
        writer = self.writer
        with self.each(self.outputs) as position:
            record = self.record("first_output", OutputRecord, position)
            rank = self.field(record, OutputRecord, "rank")
            with writer.when(writer.icmp("eq", rank, constant(0, "i64")), "scalar"):
                array = self.load_at(self.references, position)
                self.store_at(NULL, self.references, position)
                self.keep(writer.call("neurlang_return_array", "ptr", (array,)), position)
        with self.each(self.builds) as position:
            self.build(position)
        calls = writer.offset(self.table, EntryTable.calls.offset)
        writer.store(writer.add(writer.load(calls, "i64"), constant(1, "i64")), calls)
        writer.ret(self.load_at(self.references, self.of_table("result")))

    def build(self, position: Value) -> None:
        """One container of the result takes over the references to its items."""
        writer = self.writer
        record = self.record("first_build", BuildRecord, position)
        size = self.field(record, BuildRecord, "size")
        place = writer.add(position, self.outputs)
        labels = self.switch(self.field(record, BuildRecord, "kind"), BUILDS)
        filled = writer.label("filled")
        for kind in BUILDS:
            writer.start_block(labels[kind])
            made = self.new(kind, record, size)
            self.keep(made, place)
            if kind != "none":
                with self.each(size) as item:
                    self.put(kind, made, record, item)
            writer.branch(filled)
        writer.start_block(filled)

    def new(self, kind: str, record: Value, size: Value) -> Value:
        """An empty container, or None."""
        writer = self.writer
        match kind:
            case "none":
                none = self.imported("neurlang_none")
                writer.call_void("Py_IncRef", (none,))
                return none
            case "dict":
                return writer.call("PyDict_New", "ptr", ())
            case "named":
                type = writer.load(self.field(record, BuildRecord, "names", "ptr"), "ptr")
                return writer.call("PyType_GenericAlloc", "ptr", (type, size))
        return writer.call(f"Py{kind.title()}_New", "ptr", (size,))

    def put(self, kind: str, container: Value, record: Value, position: Value) -> None:
        """Hand a reference that is kept on to a container."""
        writer = self.writer
        place = self.load_at(self.field(record, BuildRecord, "children", "ptr"), position, "i64")
        item = self.load_at(self.references, place)
        if kind == "dict":
            key = self.load_at(self.field(record, BuildRecord, "names", "ptr"), position)
            failed = writer.call("PyDict_SetItem", "i32", (container, key, item))
            self.go_on_if(writer.icmp("eq", failed, constant(0, "i32")), _FREE)
            writer.call_void("Py_DecRef", (item,))
        elif kind == "named":
            self.store_at(item, writer.offset(container, ItemsHeader.items.offset), position)
        else:
            writer.call(f"Py{kind.title()}_SetItem", "i32", (container, position, item))
        self.store_at(NULL, self.references, place)

    # the ways out

    def write_failure(self, status: Value) -> None:
        writer = self.writer
        writer.start_block(_UNCOPIED)
        self.let_go(writer.load(self.borrowing, "i64"))
        writer.branch(_FREE)
        writer.start_block("failed")
        writer.branch_if(writer.icmp("eq", status, constant(1, "i32")), "exhausted", "other")
        writer.start_block("other")
        stopped = writer.icmp("eq", status, constant(STOPPED, "i32"))
        writer.branch_if(stopped, _FREE, "refused")
        writer.start_block("refused")
        self.free_all()
        writer.branch(MISS)
        writer.start_block("exhausted")
        writer.call("PyErr_NoMemory", "ptr", ())
        writer.branch(_FREE)
        writer.start_block(_FREE)
        self.free_all()
        writer.ret(NULL)

    def free_all(self) -> None:
        """Give up every reference that is kept; Python takes null, too."""
        with self.each(self.kept) as place:
            self.writer.call_void("Py_DecRef", (self.load_at(self.references, place),))

    def write_miss(self) -> None:
        self.writer.start_block(MISS)
        arguments = (self.of_table("dispatcher", "ptr"), ARGS, COUNT, NAMES)
        self.writer.ret(self.writer.call("PyObject_Vectorcall", "ptr", arguments))
