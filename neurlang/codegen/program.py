"""A program as one LLVM module: its kernels, and the plan by which shared code runs them in order.

The plan is data, and `codegen.steps_text` says how it is read: of the smallest function LLVM takes
half a millisecond. Temporaries and scratch lie in one workspace, which the program keeps from call
to call (`workspace` is exported, for who frees it); a call that finds it in use takes another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from neurlang.codegen.emit import FIRST_BUFFER, STATUS, Stage, emit_kernel
from neurlang.codegen.machine import Machine
from neurlang.codegen.sort_text import ARGSORT_ROWS, SORT_ROWS
from neurlang.codegen.steps_text import (
    ALIGNMENT,
    ARGUMENTS,
    BASE_BITS,
    CAPTURED,
    IN_WORKSPACE,
)
from neurlang.codegen.writer import Module, Value, Writer, constant
from neurlang.ir.loops import Buffer, Kernel
from neurlang.ir.scratch import scratch_of
from neurlang.ir.steps import LibraryCall, Repeat
from neurlang.ir.types import SHORT
from neurlang.lower.program import Program
from neurlang.runtime.sorting import DTYPES

STAMPS = "stamps"
EXPORTS = ("plan", "workspace", "captured")
POINTER = 8  # bytes


def emit_program(program: Program, threads: int, machine: Machine, stamped: bool = False) -> Module:
    """The module of a program; its kernels' parallel loops use at most `threads` workers.

    One that is `stamped` writes the time in nanoseconds into STAMPS: at its start, and after each
    step.
    """
    module = Module(machine.present)
    stages = _emit_steps(module, program, threads)
    functions = [f"@{stage.function}" for own in stages for stage in own]
    numbers = _numbers(program, stages, threads)
    stamp = _emit_stamp(module, len(program.steps)) if stamped else "null"
    module.globals += [
        "@workspace = global ptr null",
        f"@captured = global [{max(1, len(program.captured))} x ptr] zeroinitializer",
        f"@functions = internal constant {_array('ptr', functions)}",
        f"; {threads} threads, {numbers[0]} bytes of workspace",
        *(f"; {text}" for text in _told(program, stages)),
        f"@numbers = internal constant {_array('i64', numbers)}",
        "@plan = constant [5 x ptr] "
        f"[ptr @workspace, ptr @captured, ptr {stamp}, ptr @functions, ptr @numbers]",
    ]
    return module


def _array(type: str, elements: Sequence[object]) -> str:
    """A constant array, by the texts of its elements."""
    return f"[{len(elements)} x {type}] [" + ", ".join(f"{type} {e}" for e in elements) + "]"


def _emit_steps(module: Module, program: Program, threads: int) -> list[Sequence[Stage]]:
    """Write the functions of all steps; the stages of each."""
    steps: list[Sequence[Stage]] = []
    kernels: dict[str, Sequence[Stage]] = {}
    for number, step in enumerate(program.steps):
        if isinstance(step, Kernel):
            kernels[step.name] = emit_kernel(module, step, threads)
        if isinstance(step, LibraryCall):
            steps.append([_emit_library(module, f"library{number}", step)])
        else:
            steps.append(kernels[step.of if isinstance(step, Repeat) else step.name])
    return steps


def _numbers(program: Program, stages: Sequence[Sequence[Stage]], threads: int) -> list[int]:
    """The numbers of a plan."""
    kernels = [step for step in program.steps if isinstance(step, Kernel)]
    scratch = max((scratch_of(kernel).nbytes(threads) for kernel in kernels), default=0)
    scratch_start = -(-program.temporary_bytes // ALIGNMENT) * ALIGNMENT
    size = -(-(scratch_start + scratch) // ALIGNMENT) * ALIGNMENT
    most = max((len(s.inputs) + len(s.outputs) for s in program.steps), default=0)
    numbers = [size, scratch_start, FIRST_BUFFER + most, threads, len(program.steps)]
    places = _places(program)
    for step, own in zip(program.steps, stages):
        buffers = (*step.inputs, *step.outputs)
        numbers += [len(buffers), *(places[buffer] for buffer in buffers)]
        numbers += [len(own), *(stage.claims for stage in own)]
    return numbers


def _told(program: Program, stages: Sequence[Sequence[Stage]]) -> Iterator[str]:
    """The steps of a plan for readers."""
    for step, own in zip(program.steps, stages):
        buffers = ", ".join(str(buffer) for buffer in (*step.inputs, *step.outputs))
        called = (f"{name} {claims} times" if claims else name for name, claims in own)
        yield f"{', '.join(called)} of {buffers}"


def _places(program: Program) -> dict[Buffer, int]:
    """Where every buffer lies, as a plan says it."""
    places = {}
    for slot, buffer in enumerate((*program.inputs, *program.outputs)):
        places[buffer] = slot * POINTER << BASE_BITS | ARGUMENTS
    for slot, buffer in enumerate(program.captured):
        places[buffer] = slot * POINTER << BASE_BITS | CAPTURED
    for buffer, offset in program.offsets.items():
        places[buffer] = offset << BASE_BITS | IN_WORKSPACE
    for buffer, place in program.places.items():
        places[buffer] = places[place]
    return places


def _emit_library(module: Module, name: str, call: LibraryCall) -> Stage:
    """Write the function of a step that NumPy does."""
    worker = ", i64 %claim, i64 %worker" if call.grain else ""
    writer = Writer(module, f"internal void @{name}(ptr %context{worker})")
    context = Value("%context", "ptr")
    failed = _rows_in_order(writer, context, call) if call.grain else _python(writer, context, call)
    with writer.when(writer.icmp("ne", failed, constant(0, "i32"))):
        status = writer.load(writer.offset(context, STATUS, "ptr"), "ptr", POINTER)
        writer.store(writer.zext(failed, "i64"), status)
    writer.ret()
    writer.finish()
    return Stage(name, -(-_rows(call) // call.grain) if call.grain else 0)


def _rows(call: LibraryCall) -> int:
    return math.prod(call.inputs[0].shape[:-1])


def _rows_in_order(writer: Writer, context: Value, call: LibraryCall) -> Value:
    """Sort the rows of one claim; the result is what the program is to return, or 0."""
    rows, (source,) = _rows(call), call.inputs
    size = source.shape[-1]
    first = writer.mul(Value("%claim", "i64"), constant(call.grain, "i64"))
    last = writer.add(first, constant(call.grain, "i64"))
    count = writer.sub(writer.intrinsic("smin", last, constant(rows, "i64")), first)
    arguments = []
    for slot, buffer in enumerate((*call.inputs, *call.outputs), FIRST_BUFFER):
        start = writer.load(writer.offset(context, slot, "ptr"), "ptr", POINTER)
        row = constant(size * buffer.dtype.itemsize, "i64")
        arguments.append(writer.offset(start, writer.mul(first, row)))
    arguments += [count, constant(size, "i64")]
    if call.op == "argsort":
        return writer.call(ARGSORT_ROWS, "i32", arguments)
    dtype = constant(DTYPES.index(source.dtype), "i64")
    return writer.call(SORT_ROWS, "i32", [*arguments, dtype])


def _python(writer: Writer, context: Value, call: LibraryCall) -> Value:
    """Call Python; the result is what the program is to return, or 0."""
    text = writer.module.constant_array("i8", [*library_text(call).encode(), 0])
    return writer.call(
        "neurlang_library", "i32", [text, writer.offset(context, FIRST_BUFFER, "ptr")]
    )


def library_text(call: LibraryCall) -> str:
    """What Python's side reads: `top_k f32 64,100 10`, the op, the input's dtype and shape, and the
    length of a row of the result."""
    (source,), (result,) = call.inputs, call.outputs
    shape = ",".join(map(str, source.shape))
    return f"{call.op} {SHORT[source.dtype]} {shape} {result.shape[-1]}"


def _emit_stamp(module: Module, steps: int) -> str:
    """Write the function that writes down the time."""
    module.globals.append(f"@{STAMPS} = global [{steps + 1} x i64] zeroinitializer")
    writer = Writer(module, "internal void @stamp(i64 %number)")
    now = writer.value("alloca [2 x i64], align 8", "ptr")
    writer.call("clock_gettime", "i32", [constant(time.CLOCK_MONOTONIC, "i32"), now])
    seconds = writer.load(now, "i64")
    nanoseconds = writer.load(writer.offset(now, 1, "i64"), "i64")
    whole = writer.mul(seconds, constant(1_000_000_000, "i64"))
    place = writer.offset(Value(f"@{STAMPS}", "ptr"), Value("%number", "i64"), "i64")
    writer.store(writer.add(whole, nanoseconds), place)
    writer.ret()
    writer.finish()
    return "@stamp"
