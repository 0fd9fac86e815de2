"""A program as one LLVM module: its kernels, and the function that runs them in order.

`program(arguments)` takes an array of pointers, inputs first, then outputs. It returns 0; 1 where
memory ran out; 1 + the number of a Check that failed; or STOPPED or RAISED after an exception of
Python's. Temporaries and scratch lie in one workspace, which the program keeps from call to call
(`workspace` is exported, for who frees it); a
call that finds it in use takes another.
"""

from __future__ import annotations

import time

from neurlang.codegen.emit import (
    FIRST_BUFFER,
    OUT_OF_MEMORY,
    STATUS,
    STOPPED,
    WORKSPACE,
    emit_kernel,
)
from neurlang.codegen.machine import Machine
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.ir.loops import Buffer, For, Kernel
from neurlang.ir.scratch import scratch_of
from neurlang.ir.steps import LibraryCall, Repeat, Step
from neurlang.ir.types import SHORT
from neurlang.lower.program import Program

ALIGNMENT = 64
STAMPS = "stamps"
EXPORTS = ("program", "workspace", "captured")


def emit_program(program: Program, threads: int, machine: Machine, stamped: bool = False) -> Module:
    """The module of a program; its kernels' parallel loops use at most `threads` workers.

    One that is `stamped` writes the time in nanoseconds into STAMPS: at its start, and after each
    step.
    """
    module = Module(machine.present)
    for step in program.steps:
        if isinstance(step, Kernel):
            emit_kernel(module, step, threads)
    module.globals.append("@workspace = global ptr null")
    count = max(1, len(program.captured))
    module.globals.append(f"@captured = global [{count} x ptr] zeroinitializer")
    if stamped:
        module.globals.append(
            f"@{STAMPS} = global [{len(program.steps) + 1} x i64] zeroinitializer"
        )
    _Main(module, program, threads, stamped).emit()
    return module


class _Main:
    """The function that runs the steps."""

    def __init__(self, module: Module, program: Program, threads: int, stamped: bool) -> None:
        self.module = module
        self.stamped = stamped
        self.program = program
        self.writer = Writer(module, "i32 @program(ptr %arguments) noinline optnone")
        kernels = [step for step in program.steps if isinstance(step, Kernel)]
        scratch = max((scratch_of(kernel).nbytes(threads) for kernel in kernels), default=0)
        self.scratch_start = -(-program.temporary_bytes // ALIGNMENT) * ALIGNMENT
        self.size = self.scratch_start + scratch
        self.pointers: dict[Buffer, Value] = {}

    def emit(self) -> None:
        writer = self.writer
        most = max((len(s.inputs) + len(s.outputs) for s in self.program.steps), default=0)
        context = writer.value(f"alloca [{most + FIRST_BUFFER} x ptr], align 8", "ptr")
        status = writer.value("alloca i64, align 8", "ptr")
        writer.store(constant(0, "i64"), status)
        workspace = self._take_workspace()
        self._locate(workspace)
        self._fill(context, STATUS, status)
        if self.size:
            self._fill(context, WORKSPACE, writer.offset(workspace, self.scratch_start))
        leave = writer.label("leave")
        self._stamp(0)
        for number, step in enumerate(self.program.steps, 1):
            self._step(step, context, status)
            self._stamp(number)
            if can_stop(step):
                self._leave_if_stopped(status, leave)
        writer.branch(leave)
        writer.start_block(leave)
        self._return_workspace(workspace)
        writer.ret(writer.trunc(writer.load(status, "i64"), "i32"))
        writer.finish()

    def _fill(self, context: Value, slot: int, value: Value) -> None:
        self.writer.store(value, self.writer.offset(context, slot, "ptr"), 8)

    def _take_workspace(self) -> Value:
        """The kept workspace, or a new one where there is none or another call has it."""
        writer = self.writer
        if not self.size:
            return Value("null", "ptr")
        kept = writer.value("atomicrmw xchg ptr @workspace, ptr null seq_cst", "ptr")
        missing = writer.icmp("eq", kept, Value("null", "ptr"))
        fresh, failed, ready = writer.label("fresh"), writer.label("failed"), writer.label("ready")
        before = writer.block
        writer.branch_if(missing, fresh, ready)
        writer.start_block(fresh)
        size = -(-self.size // ALIGNMENT) * ALIGNMENT
        arguments = [constant(ALIGNMENT, "i64"), constant(size, "i64")]
        made = writer.call("aligned_alloc", "ptr", arguments)
        writer.branch_if(writer.icmp("eq", made, Value("null", "ptr")), failed, ready)
        writer.start_block(failed)
        writer.ret(constant(OUT_OF_MEMORY, "i32"))
        writer.start_block(ready)
        phi = writer.phi("ptr")
        writer.set_phi(phi, [(kept, before), (made, fresh)])
        return phi[0]

    def _return_workspace(self, workspace: Value) -> None:
        if self.size:
            other = self.writer.value(f"atomicrmw xchg ptr @workspace, {workspace} seq_cst", "ptr")
            self.writer.call_void("free", [other])

    def _locate(self, workspace: Value) -> None:
        """Where every buffer lies."""
        writer, program = self.writer, self.program
        arguments = Value("%arguments", "ptr")
        for slot, buffer in enumerate((*program.inputs, *program.outputs)):
            self.pointers[buffer] = writer.load(writer.offset(arguments, slot, "ptr"), "ptr", 8)
        for slot, buffer in enumerate(program.captured):
            cell = writer.offset(Value("@captured", "ptr"), slot, "ptr")
            self.pointers[buffer] = writer.load(cell, "ptr", 8)
        for buffer, offset in program.offsets.items():
            self.pointers[buffer] = writer.offset(workspace, offset)
        for buffer, place in program.places.items():
            self.pointers[buffer] = self.pointers[place]

    def _step(self, step: Step, context: Value, status: Value) -> None:
        buffers = (*step.inputs, *step.outputs)
        for slot, buffer in enumerate(buffers):
            self._fill(context, FIRST_BUFFER + slot, self.pointers[buffer])
        if isinstance(step, LibraryCall):
            text = self._text(library_text(step))
            buffers_start = self.writer.offset(context, FIRST_BUFFER, "ptr")
            failed = self.writer.call("neurlang_library", "i32", [text, buffers_start])
            with self.writer.when(self.writer.icmp("ne", failed, constant(0, "i32"))):
                self.writer.store(self.writer.zext(failed, "i64"), status)
        else:
            name = step.of if isinstance(step, Repeat) else step.name
            self.writer.line(f"call void @{name}({context})")

    def _stamp(self, number: int) -> None:
        """Write down the time, where that is asked for."""
        if not self.stamped:
            return
        writer = self.writer
        now = writer.value("alloca [2 x i64], align 8", "ptr")
        writer.call("clock_gettime", "i32", [constant(time.CLOCK_MONOTONIC, "i32"), now])
        seconds = writer.load(now, "i64")
        nanoseconds = writer.load(writer.offset(now, 1, "i64"), "i64")
        whole = writer.mul(seconds, constant(1_000_000_000, "i64"))
        place = writer.offset(Value(f"@{STAMPS}", "ptr"), number, "i64")
        writer.store(writer.add(whole, nanoseconds), place)

    def _leave_if_stopped(self, status: Value, leave: str) -> None:
        """What follows a step that an exception ended would read what is not there."""
        writer = self.writer
        go_on = writer.label("go_on")
        stopped = writer.icmp("sge", writer.load(status, "i64"), constant(STOPPED, "i64"))
        writer.branch_if(stopped, leave, go_on)
        writer.start_block(go_on)

    def _text(self, text: str) -> Value:
        """A C string constant."""
        return self.module.constant_array("i8", [*text.encode(), 0])


def can_stop(step: Step) -> bool:
    """Whether an exception of Python's may end a step: a library step, or one with threads."""
    if not isinstance(step, Kernel):
        return True
    return any(isinstance(part, For) and part.kind == "parallel" for part in step.body)


def library_text(call: LibraryCall) -> str:
    """What the library's side reads: `top_k f32 64,100 10`, the op, the input's dtype and shape,
    and the length of a row of the result."""
    (source,), (result,) = call.inputs, call.outputs
    shape = ",".join(map(str, source.shape))
    return f"{call.op} {SHORT[source.dtype]} {shape} {result.shape[-1]}"
