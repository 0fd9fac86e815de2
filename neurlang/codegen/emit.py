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

from neurlang.codegen.accesses import Accesses, Place
from neurlang.codegen.mathlib.short_power import emit_short_power
from neurlang.codegen.scalar import constant_value, emit_op
from neurlang.codegen.squares import transposed
from neurlang.codegen.writer import (
    BITS,
    SMALLEST_REGISTER,
    Module,
    Value,
    constant,
    constant_vector,
)
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
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
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
    Window,
    accesses,
    short_exponent,
    updated_in,
)
from neurlang.ir.rows import LONGEST_ROW, filled_rows
from neurlang.ir.scratch import scratch_of
from neurlang.ir.types import BOOL, DType

STATUS, WORKSPACE, FIRST_BUFFER = 0, 1, 2
OUT_OF_MEMORY, FIRST_FAILURE = 1, 2  # what a program returns; 0 is success
RAISED = (1 << 31) - 1  # a library step raised a Python exception
STOPPED = RAISED - 1  # a signal's handler did, and the exception is the thread's
CACHE_LINE = 64  # bytes
MOST_ROUNDS = 1 << 20  # of a loop, as LLVM is told


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
    function = _Function(shared, f"@{kernel.name}(ptr %context)", None)
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
        signature = f"@{name}(ptr %context, i64 %claim, i64 %worker)"
        function = _Function(self, signature, Value("%worker", "i64"))
        function.claimed(loop)
        function.finish()
        return Stage(name, -(-loop.stop // loop.grain))


class _Function(Accesses):
    """One function: the kernel itself, or the body of one of its parallel loops."""

    def __init__(self, shared: _Shared, signature: str, worker: Value | None) -> None:
        # A vector that is spilled shall not lie across two cache lines.
        super().__init__(shared.module, f"internal void {signature} alignstack({CACHE_LINE})")
        self.shared = shared
        self.worker = worker
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
                    if not index:
                        self.remember(register, value)
                case Update(register, op, value, index):
                    self._update(register, op, value, index)
                case Store():
                    self.store(statement, self._stored(statement))
                case Prefetch(buffer, index):
                    self.prefetch(buffer, index)
                case Transpose(register):
                    self._transpose(register)
                case Rotate(register, by):
                    self._rotate(register, by)
                case Check(condition, code):
                    self._check(condition, code)
                case Alloc():
                    pass  # its place in the workspace is fixed
                case _:
                    raise AssertionError(statement)

    def _set(self, register: Register, index: tuple[Affine, ...], value: Value) -> None:
        place = self._place(register, index)
        value = self.widened(value, register.lanes)
        old = self.registers.get(place)
        if self.mask is not None and old is not None and old.lanes > 1:
            value = self.writer.select(self.mask, value, old)
        self.registers[place] = value

    def _update(
        self, register: Register, op: str, value: Expression, index: tuple[Affine, ...]
    ) -> None:
        old = self.registers[self._place(register, index)]
        dtype = register.dtype
        new = self.widened(self._value(value), register.lanes)
        self._set(register, index, emit_op(self.writer, op, [old, new], dtype, dtype))

    def _place(self, register: Register, index: tuple[Affine, ...]) -> Place:
        numbers = []
        for position in index:
            value = self.affine(position)
            assert isinstance(value, int), f"{register} is indexed by what is not unrolled"
            numbers.append(value)
        return register, tuple(numbers)

    def _transpose(self, register: Register) -> None:
        places = [(register, (number,)) for number in range(register.lanes)]
        rows = transposed(self.writer, [self.registers[place] for place in places])
        self.registers.update(zip(places, rows))

    def _rotate(self, register: Register, by: int) -> None:
        """Values get other places; only a loop that carries them moves any."""
        places = [(register, (number,)) for number in range(*register.shape)]
        values = [self.registers[place] for place in places]
        self.registers.update(zip(places, values[by:] + values[:by]))

    def _check(self, condition: Expression, code: int) -> None:
        usual = None
        if isinstance(condition, Apply) and condition.op == "inside":
            usual = self.usual(condition.args[0])
        if usual is None:
            self._require(self._value(condition), code)
        else:
            with self.writer.when(self._not(usual), "unusual"):
                self._require(self._value(condition), code)

    def _require(self, condition: Value, code: int) -> None:
        """Where a condition does not hold, in any lane, the program ends with that error."""
        writer = self.writer
        if self.mask is not None:
            condition = writer.or_(self.widened(condition, self.lanes), self._not(self.mask))
        with writer.when(self._not(writer.all_lanes(condition)), "failed"):
            writer.store(constant(FIRST_FAILURE + code - 1, "i64"), self.status)

    def _not(self, condition: Value) -> Value:
        return self.writer.xor(condition, constant(1, condition.type))

    # loops

    def _for(self, loop: For) -> None:
        if loop.kind == "parallel":
            self._parallel(loop)
        elif loop.kind == "unroll":
            starts = []
            for number in range(loop.start, loop.stop, loop.step):
                starts.append(len(self.writer.lines))
                self.vars[loop.var] = number
                self.body(loop.body)
            if all(isinstance(inner, For) and inner.kind == "vector" for inner in loop.body):
                self.writer.interleave(starts)
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
        if loop.window is not None:
            self._windowed(loop, loop.window)
        elif loop.trips == 1:
            self.vars[loop.var] = loop.start
            self.body(loop.body)
        elif loop.trips:
            self._counted(loop, masked=False)

    def _windowed(self, loop: For, window: Window) -> None:
        """The iterations whose numbers lie in a window; the test is left out where there is one."""
        writer, first = self.writer, self._index(window.first)
        start, stop = constant(loop.start, "i64"), constant(loop.stop, "i64")
        end = writer.add(first, constant(window.length, "i64"))
        if window.first.low < loop.start:
            first = writer.intrinsic("smax", first, start)
        if window.first.high + window.length > loop.stop:
            end = writer.intrinsic("smin", end, stop)
        self.addresses.enter(loop, first)
        if loop.may_be_empty:
            with writer.when(writer.icmp("slt", first, end), "inside"):
                self._repeat(loop, first, end, masked=False)
        else:
            self._repeat(loop, first, end, masked=False)

    def _counted(self, loop: For, masked: bool) -> None:
        """A loop with its test at the end: the trip count is known and not zero."""
        stop = constant(loop.stop, "i64")
        if loop.trips == loop.unroll and not masked:
            self.vars[loop.var] = loop.start
            self._copies(loop)
        else:
            start = constant(loop.start, "i64")
            self.addresses.enter(loop, start)
            self._repeat(loop, start, stop, masked)

    def _copies(self, loop: For, stop: Value | None = None) -> None:
        """The body, as often as the loop is unrolled; in front of `stop` where that is given."""
        starts = []
        for copy in range(loop.unroll):
            starts.append(len(self.writer.lines))
            self.ahead[loop.var] = copy * loop.step
            if stop is not None:
                here = self.vars[loop.var]
                assert isinstance(here, Value)
                self.mask = self._active(here, stop, loop.step)
            self.body(loop.body)
        if loop.kind == "vector":  # else one copy may read what another stores
            self.writer.interleave(starts)
        self.ahead[loop.var] = 0

    def _repeat(self, loop: For, start: Value, stop: Value, masked: bool) -> None:
        """A loop of one iteration or more, whose addresses have been told of it."""
        writer = self.writer
        updated = updated_in(loop.body)
        carried = [place for place in self.registers if place[0] in updated]
        before = writer.block
        head, after = writer.label("loop"), writer.label("done")
        writer.branch(head)
        writer.start_block(head)
        counter = writer.phi("i64")
        phis = {place: writer.phi(self.registers[place].type) for place in carried}
        initial = {place: self.registers[place] for place in carried}
        for place, (value, _) in phis.items():
            self.registers[place] = value
        self.addresses.begin()
        self.vars[loop.var] = counter[0]
        self.forget_memory()
        self._copies(loop, stop if masked else None)
        self.addresses.leave(before)
        step = constant(loop.step * loop.unroll, "i64")
        following = writer.value(f"add nuw nsw {counter[0]}, {step.text}", "i64")
        more = writer.icmp("slt", following, stop)
        rounds = loop.grain if loop.kind == "parallel" else -(-loop.trips // loop.unroll)
        writer.branch_if(more, head, after, max(1, min(rounds, MOST_ROUNDS) - 1))
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
            self.addresses.enter(loop, first)
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

    # stores

    def _rows(self, statements: Sequence[Statement]) -> dict[int, list[Store]]:
        """Stores of a vector loop that fill rows, by their places: all are stored at the last."""
        rows: dict[int, list[Store]] = {}
        if self.lane is not None and self.active is not None:
            for places in filled_rows(statements, self.lane):
                row = [s for s in map(statements.__getitem__, places) if isinstance(s, Store)]
                rows |= {place: row if place == max(places) else [] for place in places}
        return rows

    def _store_row(self, stores: Sequence[Store]) -> None:
        if stores:
            self.store_row(stores[0], [self._stored(store) for store in stores])

    def _stored(self, store: Store) -> Value:
        """What is stored, as it lies in memory."""
        value = self._value(store.value)
        return self.writer.zext(value, "i8") if store.buffer.dtype == BOOL else value

    # expressions

    def _value(self, expression: Expression) -> Value:
        match expression:
            case Literal(value=value, dtype=dtype):
                return constant_value(value, dtype, 1)
            case Ref(register=register, index=index):
                return self.registers[self._place(register, index)]
            case Load():
                return self.load(expression)
            case Index(value=value):
                return self._index(value)
            case Fold(op=op, register=register):
                return self._fold(op, self._value(register), register.dtype)
            case Apply(op=op, args=args, dtype=dtype):
                exponent = short_exponent(expression)
                if exponent is not None:
                    return emit_short_power(self.writer, self._value(args[0]), exponent)
                return self._apply(op, args, dtype)
        raise AssertionError(expression)

    def _index(self, index: Affine) -> Value:
        value = self.affine(index)
        if isinstance(value, int):
            value = constant(value, "i64")
        step = index.coefficient(self.lane) if self.lane is not None else 0
        if not step:
            return value
        steps = constant_vector([k * step for k in range(self.lanes)], "i64")
        return self.writer.add(self.widened(value, self.lanes), steps)

    def _apply(self, op: str, args: Sequence[Expression], dtype: DType) -> Value:
        values = [self._value(arg) for arg in args]
        lanes = max(value.lanes for value in values)
        values = [
            constant_value(arg.value, arg.dtype, lanes)
            if isinstance(arg, Literal)
            else self.widened(value, lanes)
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
