"""A kernel of the Loop IR as LLVM text. The emitter decides nothing: it writes what the loops say.

Every function that is emitted takes one `context`: an array of pointers to the status cell, the
workspace and the kernel's buffers. The body of a parallel loop is a function of its own, called
with the number of a claim and that of the worker, which owns a part of the workspace for scratch
memory. A kernel is a sequence of stages, which shared code runs one after the other: the parallel
loops of one that has nothing else, or one function.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from neurlang.codegen.addresses import Addresses, Term
from neurlang.codegen.scalar import constant_value, emit_op, memory_type
from neurlang.codegen.writer import (
    BITS,
    Module,
    Value,
    Writer,
    constant,
    constant_vector,
    vector_type,
)
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Buffer,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Prefetch,
    Ref,
    Register,
    Statement,
    Store,
    Transpose,
    Update,
    Var,
    accesses,
    updated_in,
)
from neurlang.ir.rows import LONGEST_ROW, filled_rows
from neurlang.ir.scratch import scratch_of
from neurlang.ir.types import BOOL, DType

STATUS, WORKSPACE, FIRST_BUFFER = 0, 1, 2
OUT_OF_MEMORY, FIRST_FAILURE = 1, 2  # what a program returns; 0 is success
RAISED = (1 << 31) - 1  # a library step raised a Python exception
STOPPED = RAISED - 1  # a signal's handler did, and the exception is the thread's
SMALLEST_REGISTER = 128  # bits of a vector
Place = tuple[Register, tuple[int, ...]]


class Stage(NamedTuple):
    """A part of a kernel: a function of the context, or, with claims, a parallel loop's body."""

    function: str
    claims: int = 0


def emit_kernel(module: Module, kernel: Kernel, threads: int) -> Sequence[Stage]:
    """Write a kernel into a module, and say of which stages it is."""
    shared = _Shared(module, kernel, threads)
    loops = [part for part in kernel.body if not isinstance(part, Alloc)]
    if all(isinstance(loop, For) and loop.kind == "parallel" for loop in loops):
        return [shared.emit_body(loop) for loop in loops if isinstance(loop, For)]
    function = _Function(shared, f"internal void @{kernel.name}(ptr %context)", None)
    function.body(kernel.body)
    function.finish()
    return [Stage(kernel.name)]


class _Shared:
    """What the functions of one kernel have in common."""

    def __init__(self, module: Module, kernel: Kernel, threads: int) -> None:
        self.module = module
        self.kernel = kernel
        self.threads = threads
        self.scratch = scratch_of(kernel)
        self.slots = {
            buffer: FIRST_BUFFER + number
            for number, buffer in enumerate((*kernel.inputs, *kernel.outputs))
        }
        self.bodies = itertools.count()

    def emit_body(self, loop: For) -> Stage:
        """Write the body of a parallel loop, which runs `grain` iterations a claim."""
        name = f"{self.kernel.name}_body{next(self.bodies)}"
        signature = f"internal void @{name}(ptr %context, i64 %claim, i64 %worker)"
        function = _Function(self, signature, Value("%worker", "i64"))
        function.claimed(loop)
        function.finish()
        return Stage(name, -(-loop.stop // loop.grain))


class _Function:
    """One function: the kernel itself, or the body of one of its parallel loops."""

    def __init__(self, shared: _Shared, signature: str, worker: Value | None) -> None:
        self.shared = shared
        self.writer = Writer(shared.module, signature)
        self.worker = worker
        self.vars: dict[Var, Value | int] = {}
        self.ahead: dict[Var, int] = {}  # what an unrolled copy adds to its loop's variable
        self.registers: dict[Place, Value] = {}
        self.pointers: dict[Buffer, Value] = {}
        self.lane: Var | None = None
        self.lanes = 1
        self.mask: Value | None = None
        self.active: int | None = None  # how many lanes are, where that is known
        self.streams = False  # whether it has nontemporal stores
        self.addresses = Addresses(self.writer, self.pointers)
        self._load_pointers()

    def _load_pointers(self) -> None:
        """All pointers are read on entry, where they dominate every use."""
        for buffer, slot in self.shared.slots.items():
            self.pointers[buffer] = self._context(slot)
        self.status = self._context(STATUS)
        scratch = self.shared.scratch
        if not scratch.shared and not scratch.own:
            return
        start = self._context(WORKSPACE)
        for buffer, offset in scratch.shared.items():
            self.pointers[buffer] = self.writer.offset(start, offset)
        own = self.writer.offset(start, scratch.shared_bytes)
        if self.worker is not None:
            size = constant(scratch.own_bytes, "i64")
            own = self.writer.offset(own, self.writer.mul(self.worker, size))
        for buffer, offset in scratch.own.items():
            self.pointers[buffer] = self.writer.offset(own, offset)

    def _context(self, slot: int) -> Value:
        cell = self.writer.offset(Value("%context", "ptr"), slot, "ptr")
        return self.writer.load(cell, "ptr", 8)

    def finish(self) -> None:
        """End the function."""
        if self.streams:
            self.writer.line("fence seq_cst")
        self.writer.ret()
        self.writer.finish()

    # statements

    def body(self, statements: Sequence[Statement]) -> None:
        rows = self._rows(statements)
        for place, statement in enumerate(statements):
            match statement:
                case Store() if place in rows:
                    self._store_row(rows[place])
                case For():
                    self._for(statement)
                case Let(register, Literal(value=value, dtype=dtype), index):
                    self._set(register, index, constant_value(value, dtype, register.lanes))
                case Let(register, value, index) | Update(register, "set", value, index):
                    self._set(register, index, self._value(value))
                case Update(register, op, value, index):
                    self._update(register, op, value, index)
                case Store():
                    self._store(statement)
                case Prefetch(buffer, index):
                    self._prefetch(buffer, index)
                case Transpose(register):
                    self._transpose(register)
                case Check(condition, code):
                    self._check(self._value(condition), code)
                case Alloc():
                    pass  # its place in the workspace is fixed
                case _:
                    raise AssertionError(statement)

    def _set(self, register: Register, index: tuple[Affine, ...], value: Value) -> None:
        place = self._place(register, index)
        value = self._widened(value, register.lanes)
        old = self.registers.get(place)
        if self.mask is not None and old is not None and old.lanes > 1:
            value = self.writer.select(self.mask, value, old)
        self.registers[place] = value

    def _update(
        self, register: Register, op: str, value: Expression, index: tuple[Affine, ...]
    ) -> None:
        old = self.registers[self._place(register, index)]
        dtype = register.dtype
        new = self._widened(self._value(value), register.lanes)
        self._set(register, index, emit_op(self.writer, op, [old, new], dtype, dtype))

    def _place(self, register: Register, index: tuple[Affine, ...]) -> Place:
        numbers = []
        for position in index:
            value = self._affine(position)
            assert isinstance(value, int), f"{register} is indexed by what is not unrolled"
            numbers.append(value)
        return register, tuple(numbers)

    def _transpose(self, register: Register) -> None:
        """Blocks off the diagonal change places, half as large each time (Eklundh 1972)."""
        count = register.lanes
        rows = [self.registers[(register, (r,))] for r in range(count)]
        size = count // 2
        while size:
            first = [k for k in range(count) if not k & size]
            upper = [k if k in first else count + k - size for k in range(count)]
            lower = [k + size if k in first else count + k for k in range(count)]
            for r in first:
                pair = rows[r], rows[r + size]
                rows[r] = self.writer.shuffle(*pair, upper)
                rows[r + size] = self.writer.shuffle(*pair, lower)
            size //= 2
        for r, row in enumerate(rows):
            self.registers[(register, (r,))] = row

    def _widened(self, value: Value, lanes: int) -> Value:
        return self.writer.splat(value, lanes) if value.lanes == 1 else value

    def _check(self, condition: Value, code: int) -> None:
        writer = self.writer
        if self.mask is not None:
            idle = writer.xor(self.mask, constant(1, self.mask.type))
            condition = writer.or_(self._widened(condition, self.lanes), idle)
        if condition.lanes > 1:
            name = f"llvm.vector.reduce.and.v{condition.lanes}i1"
            condition = writer.call(name, "i1", [condition])
        failed = writer.xor(condition, constant(1, "i1"))
        with writer.when(failed, "failed"):
            writer.store(constant(FIRST_FAILURE + code - 1, "i64"), self.status)

    # loops

    def _for(self, loop: For) -> None:
        if loop.kind == "parallel":
            self._parallel(loop)
        elif loop.kind == "unroll":
            for number in range(loop.start, loop.stop, loop.step):
                self.vars[loop.var] = number
                self.body(loop.body)
        elif loop.kind == "vector":
            self._vector(loop)
        else:
            self._serial(loop)

    def _vector(self, loop: For) -> None:
        partial = (loop.stop - loop.start) % loop.step
        if partial and loop.trips > 1 and self._has_rows(loop):
            self._vector(replace(loop, stop=loop.stop - partial))
            self._vector(replace(loop, start=loop.stop - partial))
            return
        self.lane, self.lanes = loop.var, loop.step
        if loop.trips == 1:
            self.vars[loop.var] = loop.start
            self.active = partial or loop.step
            if partial:
                self.mask = constant_vector([k < partial for k in range(loop.step)], "i1")
            self.body(loop.body)
        else:
            self.active = None if partial else loop.step
            self._counted(loop, masked=bool(partial))
        self.lane, self.lanes, self.mask, self.active = None, 1, None, None

    def _has_rows(self, loop: For) -> bool:
        """Whether a loop accesses elements that lie a few apart, where no mask serves."""
        flats = (buffer.flat(index) for buffer, index in accesses(loop.body))
        return any(2 <= abs(flat.coefficient(loop.var)) <= LONGEST_ROW for flat in flats)

    def _serial(self, loop: For) -> None:
        if loop.trips == 1:
            self.vars[loop.var] = loop.start
            self.body(loop.body)
        elif loop.trips:
            self._counted(loop, masked=False)

    def _counted(self, loop: For, masked: bool) -> None:
        """A loop with its test at the end: the trip count is known and not zero."""
        stop = constant(loop.stop, "i64")
        if loop.trips == loop.unroll and not masked:
            self.vars[loop.var] = loop.start
            self._copies(loop)
        else:
            self._repeat(loop, constant(loop.start, "i64"), stop, masked)

    def _copies(self, loop: For, stop: Value | None = None) -> None:
        """The body, as often as the loop is unrolled; in front of `stop` where that is given."""
        for copy in range(loop.unroll):
            self.ahead[loop.var] = copy * loop.step
            if stop is not None:
                here = self.vars[loop.var]
                assert isinstance(here, Value)
                self.mask = self._active(here, stop, loop.step)
            self.body(loop.body)
        self.ahead[loop.var] = 0

    def _repeat(self, loop: For, start: Value, stop: Value, masked: bool) -> None:
        writer = self.writer
        updated = updated_in(loop.body)
        carried = [place for place in self.registers if place[0] in updated]
        before = writer.block
        head, after = writer.label("loop"), writer.label("done")
        self.addresses.enter(loop, start)
        writer.branch(head)
        writer.start_block(head)
        counter = writer.phi("i64")
        phis = {place: writer.phi(self.registers[place].type) for place in carried}
        initial = {place: self.registers[place] for place in carried}
        for place, (value, _) in phis.items():
            self.registers[place] = value
        self.addresses.begin()
        self.vars[loop.var] = counter[0]
        self._copies(loop, stop if masked else None)
        self.addresses.leave(before)
        step = constant(loop.step * loop.unroll, "i64")
        following = writer.value(f"add nuw nsw {counter[0]}, {step.text}", "i64")
        more = writer.icmp("slt", following, stop)
        writer.branch_if(more, head, after)
        writer.set_phi(counter, [(start, before), (following, writer.block)])
        for place, phi in phis.items():
            edges = [(initial[place], before), (self.registers[place], writer.block)]
            writer.set_phi(phi, edges)
        writer.start_block(after)

    def _active(self, here: Value, stop: Value, lanes: int) -> Value:
        """Lanes of a masked vector loop that are inside its range."""
        writer = self.writer
        left = writer.trunc(writer.sub(stop, here), "i32")
        lane_numbers = constant_vector(range(lanes), "i32")
        return writer.icmp("slt", lane_numbers, writer.splat(left, lanes))

    def claimed(self, loop: For) -> None:
        """The iterations of a parallel loop that one claim runs."""
        writer = self.writer
        first = writer.mul(Value("%claim", "i64"), constant(loop.grain, "i64"))
        if loop.grain == 1:
            self.vars[loop.var] = first
            self.body(loop.body)
        else:
            last = writer.add(first, constant(loop.grain, "i64"))
            stop = writer.intrinsic("smin", last, constant(loop.stop, "i64"))
            self._repeat(loop, first, stop, masked=False)

    def _parallel(self, loop: For) -> None:
        """Let the pool run the body."""
        writer, stage = self.writer, self.shared.emit_body(loop)
        arguments = [
            Value(f"@{stage.function}", "ptr"),
            Value("%context", "ptr"),
            constant(stage.claims, "i64"),
            constant(self.shared.threads, "i64"),
        ]
        stopped = writer.call("neurlang_parallel", "i32", arguments)
        leave, go_on = writer.label("leave"), writer.label("go_on")
        writer.branch_if(writer.icmp("ne", stopped, constant(0, "i32")), leave, go_on)
        writer.start_block(leave)
        writer.store(constant(STOPPED, "i64"), self.status)
        writer.ret()
        writer.start_block(go_on)

    # indices and memory

    def _affine(self, index: Affine) -> Value | int:
        """An index as a number or an i64; the lane variable counts as its first lane."""
        number = index.constant
        total: Value | None = None
        for atom, coefficient in index.terms:
            value: Value | int
            if isinstance(atom, Var):
                value = self.vars[atom]
                number += self.ahead.get(atom, 0) * coefficient
            else:
                value = self._index_register(atom)
            if isinstance(value, int):
                number += value * coefficient
                continue
            if coefficient != 1:
                value = self.writer.mul(value, constant(coefficient, value.type))
            if total is not None and total.lanes != value.lanes:
                lanes = max(total.lanes, value.lanes)
                total, value = self._widened(total, lanes), self._widened(value, lanes)
            total = value if total is None else self.writer.add(total, value)
        if total is None:
            return number
        return self.writer.add(total, constant(number, total.type)) if number else total

    def _stride(self, flat: Affine) -> int | None:
        """Elements between neighbouring lanes; None where the lanes' indices are data."""
        if any(isinstance(atom, Register) and self._is_data(atom) for atom, _ in flat.terms):
            return None
        return flat.coefficient(self.lane) if self.lane is not None else 0

    def _address(self, buffer: Buffer, flat: Affine) -> Value:
        """Where an element lies."""
        number = flat.constant
        terms = []
        for atom, coefficient in flat.terms:
            if isinstance(atom, Register):
                terms.append(Term(None, self._index_register(atom), coefficient))
                continue
            value = self.vars[atom]
            number += self.ahead.get(atom, 0) * coefficient
            if isinstance(value, int):
                number += value * coefficient
            else:
                terms.append(Term(atom, value, coefficient))
        base = self.addresses.base(buffer, terms)
        return self.writer.offset(base, number, memory_type(buffer.dtype)) if number else base

    def _addresses(self, buffer: Buffer, flat: Affine, stride: int | None) -> Value:
        """A vector of addresses, one a lane: the one that all share, and what differs."""
        terms = [(a, n) for a, n in flat.terms if isinstance(a, Register) and self._is_data(a)]
        shared = Affine(flat.constant, tuple(term for term in flat.terms if term not in terms))
        step = flat.coefficient(self.lane) if self.lane is not None else 0
        steps = [lane * step for lane in range(self.lanes)]
        differs = Affine(0, tuple(terms))
        low, high = differs.low + min(steps), differs.high + max(steps)
        registers = [self.registers[(register, ())] for register, _ in terms]
        narrow = -(1 << 31) <= low and high < 1 << 31 and all(r.scalar == "i32" for r in registers)
        scalar = "i32" if narrow else "i64"
        index = constant_vector(steps, scalar) if step else None
        for value, (_, coefficient) in zip(registers, terms):
            value = self.writer.sext(value, scalar)
            if coefficient != 1:
                value = self.writer.mul(value, constant(coefficient, value.type))
            index = value if index is None else self.writer.add(index, value)
        assert index is not None
        base = self._address(buffer, shared)
        element = memory_type(buffer.dtype)
        type = vector_type("ptr", self.lanes)
        return self.writer.value(f"getelementptr {element}, {base}, {index}", type)

    def _is_data(self, register: Register) -> bool:
        """Whether the lanes have indices of their own in a register."""
        return self.registers[(register, ())].lanes > 1

    def _index_register(self, register: Register) -> Value:
        """A register as a part of an address."""
        return self.writer.sext(self.registers[(register, ())], "i64")

    def _reversed(self, value: Value) -> Value:
        return self.writer.shuffle(value, value, list(range(self.lanes - 1, -1, -1)))

    def _load(self, load: Load) -> Value:
        flat = load.buffer.flat(load.index)
        stride = self._stride(flat)
        element = memory_type(load.buffer.dtype)
        writer = self.writer
        if stride == 0:
            value = writer.load(self._address(load.buffer, flat), element)
        elif stride is not None and self.active == 1:
            nothing = Value("zeroinitializer", vector_type(element, self.lanes))
            single = writer.load(self._address(load.buffer, flat), element)
            value = writer.insert(nothing, single, 0)
        elif stride in (1, -1):
            type = vector_type(element, self.lanes)
            start = flat if stride == 1 else flat + (1 - self.lanes)
            pointer = self._address(load.buffer, start)
            mask = self.mask
            if mask is not None and stride == -1:
                mask = self._reversed(mask)
            if mask is None:
                value = writer.load(pointer, type)
            else:
                value = writer.masked_load(pointer, type, mask)
            if stride == -1:
                value = self._reversed(value)
        elif stride is not None and self.active and abs(stride) <= LONGEST_ROW:
            value = self._picked(load.buffer, flat, stride, self.active)
        else:
            value = self._gather(load, flat, stride)
        return self._from_memory(value, load.buffer.dtype)

    def _picked(self, buffer: Buffer, flat: Affine, stride: int, count: int) -> Value:
        """Some elements that lie a few apart, picked from vectors of all that lies there.

        The last vector ends with the last of the elements: nothing behind it is read.
        """
        writer, lanes = self.writer, self.lanes
        type = vector_type(memory_type(buffer.dtype), lanes)
        places = [lane * abs(stride) for lane in range(count)]
        size = places[-1] + 1
        if stride < 0:
            flat, places = flat + -places[-1], places[::-1]
        places += [places[0]] * (lanes - count)
        if size < lanes:
            mask = constant_vector([lane < size for lane in range(lanes)], "i1")
            whole = writer.masked_load(self._address(buffer, flat), type, mask)
            return writer.shuffle(whole, whole, places)
        starts = [*range(0, size - lanes, lanes), size - lanes]
        vectors = [writer.load(self._address(buffer, flat + start), type) for start in starts]
        numbers = [min(place // lanes, len(starts) - 1) for place in places]
        return self._mixed(vectors, [(n, p - starts[n]) for n, p in zip(numbers, places)])

    def _mixed(self, vectors: Sequence[Value], chosen: Sequence[tuple[int, int]]) -> Value:
        """The vector with these lanes, each of one of the vectors."""
        value = vectors[0]
        found = [lane if number == 0 else -1 for number, lane in chosen]
        if len(vectors) == 1:
            return self.writer.shuffle(value, value, found)
        for more, vector in enumerate(vectors[1:], 1):
            ends = [self.lanes + lane if number == more else -1 for number, lane in chosen]
            mask = [old if old >= 0 else new for old, new in zip(found, ends)]
            value = self.writer.shuffle(value, vector, mask)
            found = [lane if at >= 0 else -1 for lane, at in enumerate(mask)]
        return value

    def _rows(self, statements: Sequence[Statement]) -> dict[int, list[Store]]:
        """Stores of a vector loop that fill rows, by their places: all are stored at the last."""
        rows: dict[int, list[Store]] = {}
        if self.lane is not None and self.active is not None:
            for places in filled_rows(statements, self.lane):
                row = [s for s in map(statements.__getitem__, places) if isinstance(s, Store)]
                rows |= {place: row if place == max(places) else [] for place in places}
        return rows

    def _store_row(self, stores: Sequence[Store]) -> None:
        """Elements of rows, one vector for each place in a row, as vectors of whole rows."""
        lanes, length = self.lanes, len(stores)
        values = [self._widened(self._stored(store), lanes) for store in stores]
        assert self.active is not None
        size = self.active * length
        for start in range(0, size, lanes):
            elements = range(start, start + lanes)
            value = self._mixed(values, [(e % length, e // length) for e in elements])
            flat = stores[0].buffer.flat(stores[0].index)
            pointer = self._address(stores[0].buffer, flat + start)
            if start + lanes <= size:
                self.writer.store(value, pointer)
            else:
                mask = constant_vector([element < size for element in elements], "i1")
                self.writer.masked_store(value, pointer, mask)

    def _stored(self, store: Store) -> Value:
        """What is stored, as it lies in memory."""
        value = self._value(store.value)
        return self.writer.zext(value, "i8") if store.buffer.dtype == BOOL else value

    def _prefetch(self, buffer: Buffer, index: Sequence[Affine]) -> None:
        """Ask for a line, to be read, into all caches."""
        address = self._address(buffer, buffer.flat(index))
        hints = (constant(number, "i32") for number in (0, 3, 1))
        self.writer.call_void("llvm.prefetch.p0", [address, *hints])

    def _gather(self, load: Load, flat: Affine, stride: int | None) -> Value:
        element = memory_type(load.buffer.dtype)
        type = vector_type(element, self.lanes)
        pointers = self._addresses(load.buffer, flat, stride)
        mask = self.mask or constant(True, vector_type("i1", self.lanes))
        name = f"llvm.masked.gather.v{self.lanes}{_mangled(element)}.v{self.lanes}p0"
        zero = Value("zeroinitializer", type)
        size = load.buffer.dtype.itemsize
        self.writer.module.declare(name, type, (pointers.type, mask.type, type))
        text = f"call {type} @{name}({pointers.type} align {size} {pointers.text}, {mask}, {zero})"
        return self.writer.value(text, type)

    def _from_memory(self, value: Value, dtype: DType) -> Value:
        if dtype != BOOL:
            return value
        return self.writer.icmp("ne", value, constant(0, value.type))

    def _store(self, store: Store) -> None:
        buffer = store.buffer
        flat = buffer.flat(store.index)
        value = self._stored(store)
        stride = self._stride(flat)
        if stride == 0:
            self.writer.store(value, self._address(buffer, flat))
            return
        value = self._widened(value, self.lanes)
        if stride is not None and self.active == 1:
            # not masked: LLVM 22 for x86 stores the whole of a narrowed lane under such a mask
            self.writer.store(self.writer.extract(value, 0), self._address(buffer, flat))
            return
        if stride in (1, -1):
            start = flat if stride == 1 else flat + (1 - self.lanes)
            pointer = self._address(buffer, start)
            mask = self.mask
            if stride == -1:
                value = self._reversed(value)
                mask = None if mask is None else self._reversed(mask)
            if store.nontemporal:
                self._stream(value, pointer)
            elif mask is None:
                self.writer.store(value, pointer)
            else:
                self.writer.masked_store(value, pointer, mask)
            return
        self._scatter(buffer, flat, stride, value)

    def _stream(self, value: Value, pointer: Value) -> None:
        """Past the caches: other threads see such stores in order only after a fence."""
        size = value.lanes * BITS[value.scalar] // 8
        self.writer.store(
            value, pointer, size, f", !nontemporal {self.shared.module.nontemporal()}"
        )
        self.streams = True

    def _scatter(self, buffer: Buffer, flat: Affine, stride: int | None, value: Value) -> None:
        pointers = self._addresses(buffer, flat, stride)
        mask = self.mask or constant(True, vector_type("i1", self.lanes))
        name = f"llvm.masked.scatter.v{self.lanes}{_mangled(value.scalar)}.v{self.lanes}p0"
        self.writer.module.declare(name, "void", (value.type, pointers.type, mask.type))
        size = buffer.dtype.itemsize
        place = f"{pointers.type} align {size} {pointers.text}"
        self.writer.line(f"call void @{name}({value}, {place}, {mask})")

    # expressions

    def _value(self, expression: Expression) -> Value:
        match expression:
            case Literal(value=value, dtype=dtype):
                return constant_value(value, dtype, 1)
            case Ref(register=register, index=index):
                return self.registers[self._place(register, index)]
            case Load():
                return self._load(expression)
            case Index(value=value):
                return self._index(value)
            case Fold(op=op, register=register):
                return self._fold(op, self._value(register), register.dtype)
            case Apply(op=op, args=args, dtype=dtype):
                return self._apply(op, args, dtype)
        raise AssertionError(expression)

    def _index(self, index: Affine) -> Value:
        value = self._affine(index)
        if isinstance(value, int):
            value = constant(value, "i64")
        step = index.coefficient(self.lane) if self.lane is not None else 0
        if not step:
            return value
        steps = constant_vector([k * step for k in range(self.lanes)], "i64")
        return self.writer.add(self._widened(value, self.lanes), steps)

    def _apply(self, op: str, args: Sequence[Expression], dtype: DType) -> Value:
        values = [self._value(arg) for arg in args]
        lanes = max(value.lanes for value in values)
        values = [
            constant_value(arg.value, arg.dtype, lanes)
            if isinstance(arg, Literal)
            else self._widened(value, lanes)
            for arg, value in zip(args, values)
        ]
        source = args[-1].dtype
        return emit_op(self.writer, op, values, source, dtype)

    def _fold(self, op: str, value: Value, dtype: DType) -> Value:
        """Halves first: the same tree for every vector width.

        Halves that share a register stay there: types of fewer lanes are slow to compile.
        """
        writer, halves = self.writer, value.lanes
        while halves > 1:
            halves //= 2
            if value.lanes * BITS[value.scalar] > SMALLEST_REGISTER:
                low = writer.shuffle(value, value, range(halves))
                high = writer.shuffle(value, value, range(halves, 2 * halves))
            else:
                low, rest = value, [-1] * (value.lanes - halves)
                high = writer.shuffle(value, value, [*range(halves, 2 * halves), *rest])
            value = emit_op(writer, op, [low, high], dtype, dtype)
        return writer.extract(value, 0)


def _mangled(element: str) -> str:
    return {"float": "f32", "double": "f64"}.get(element, element)
