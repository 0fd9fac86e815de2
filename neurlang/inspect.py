"""What the compiler made of a function: the stages as text, and what was decided and why."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neurlang.arguments import random_arguments
from neurlang.errors import ArgumentError
from neurlang.frontend.signature import ShapeDtype, leaf_specs, normalized
from neurlang.ir.graph import Node
from neurlang.ir.loops import Alloc, Buffer, Kernel, walk
from neurlang.ir.scratch import scratch_of
from neurlang.ir.steps import LibraryCall, Step
from neurlang.ir.text import node_names
from neurlang.ir.types import Type
from neurlang.jit import STAGES, JitFunction
from neurlang.passes.graph.group import Group, Plan
from neurlang.passes.run import PassRecord

if TYPE_CHECKING:
    from neurlang.lower.program import Program
    from neurlang.peaks import Peaks
    from neurlang.pipeline import Compilation
    from neurlang.timing import StepTimes

# These move or test bits: they are not counted as floating-point operations.
_UNCOUNTED = ("cast", "bitcast", "where", "copysign", "abs", "neg")


_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def seconds_text(seconds: float) -> str:
    """Three digits and a unit."""
    unit, name = next((u for u in _UNITS if seconds >= u[0]), _UNITS[-1])
    return f"{seconds / unit:.3g} {name}"


class Stages(dict[str, str]):
    """The five texts of a program by stage; prints them one after the other."""

    def __str__(self) -> str:
        return "\n\n".join(f"== {stage} ==\n{text}" for stage, text in self.items())


@dataclass(frozen=True)
class StepReport:
    """One step of a program. A buffer that is read or written counts once, whole.

    `flops` are those of the graph's nodes that the step computes; an elementary function is one.
    """

    name: str
    reasons: tuple[str, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    scratch: tuple[Buffer, ...]
    flops: int
    seconds: float = 0.0  # 0 where it was not measured
    peaks: Peaks | None = None

    @property
    def bytes(self) -> int:
        """Bytes that must be read and written at least."""
        return sum(buffer.nbytes for buffer in (*self.inputs, *self.outputs))

    @property
    def roof_fraction(self) -> float:
        """The part of the roofline that was reached: the least time that this machine's peaks allow
        for these FLOPs and bytes, over the time it took; 0 where it was not measured."""
        return self._least_seconds / self.seconds if self.seconds else 0.0

    @property
    def _least_seconds(self) -> float:
        assert self.peaks is not None
        return self.peaks.least_seconds(self.flops, self.bytes, self._dtype)

    @property
    def _dtype(self) -> str:
        wide = any(buffer.dtype == np.float64 for buffer in (*self.inputs, *self.outputs))
        return "float64" if wide else "float32"

    @property
    def speed(self) -> str:
        """What was measured, in a line: time, rates, and the roof that is nearer."""
        if self.peaks is None or not self.seconds:
            return "not measured"
        level = self.peaks.level(self.bytes)
        busy = self.flops / self.peaks.flops[self._dtype] >= self._least_seconds
        roof = "multiply-adds" if busy else f"reading from {level}"
        return (
            f"{seconds_text(self.seconds)}: {self.bytes / self.seconds / 1e9:.1f} GB/s, "
            f"{self.flops / self.seconds / 1e9:.1f} GFLOP/s, "
            f"{self.roof_fraction:.0%} of the peak of {roof}"
        )

    def __str__(self) -> str:
        inputs = ", ".join(buffer.declared for buffer in self.inputs)
        outputs = ", ".join(buffer.declared for buffer in self.outputs)
        lines = [f"{self.name}({inputs}) -> ({outputs})"]
        lines += [f"    {reason}" for reason in self.reasons]
        for buffer in self.scratch:
            lines.append(f"    keeps {buffer.declared} in scratch: {buffer.nbytes:,} bytes")
        lines.append(f"    {self.flops:,} FLOPs, {self.bytes:,} bytes read and written")
        if self.peaks is not None:
            lines.append(f"    {self.speed}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """What happened to a function between its trace and its machine code; prints as a report."""

    heading: str
    passes: tuple[PassRecord, ...]
    steps: tuple[StepReport, ...]
    recomputed: tuple[str, ...]
    memory: tuple[str, ...]
    seconds: dict[str, float]
    fast_math: bool
    times: StepTimes | None = None
    _made: Compilation | None = field(default=None, repr=False, compare=False)
    _inputs: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def measure(self, peaks: Peaks | None = None) -> Explanation:
        """The same with each step's time, rates and part of this machine's peaks.

        The program runs on the arrays that were explained; for a `ShapeDtype` with random numbers,
        floats in 0.5..1.5 and integers in 0..9. It is compiled once more, with the clock read
        between its steps. `peaks` are measured where they are not given, which takes a second.
        Errors: those of a call.
        """
        # Deferred: both load LLVM, which would make importing neurlang slow.
        from neurlang.peaks import measure_peaks
        from neurlang.timing import time_steps  # the same

        assert self._made is not None
        peaks = peaks or measure_peaks(self._made.target.threads)
        times = time_steps(self._made, self._inputs)
        steps = tuple(
            replace(step, seconds=seconds, peaks=peaks)
            for step, seconds in zip(self.steps, times.steps, strict=True)
        )
        return replace(self, steps=steps, times=times)

    def __str__(self) -> str:
        exactness = (
            "fast_math is on: the passes may change the last bits of floats"
            if self.fast_math
            else "fast_math is off: rewrites that change the last bits are left out"
        )
        total = sum(self.seconds.values())
        stages = [f"{name:<14}{value * 1e3:9.3f} ms" for name, value in self.seconds.items()]
        sections = [
            [self.heading, exactness],
            ["== passes ==", *(_pass_text(record) for record in self.passes)],
            ["== steps ==", *map(str, self.steps)],
            ["== computed more than once ==", *(self.recomputed or ("nothing",))],
            ["== memory ==", *self.memory],
            ["== time ==", *stages, f"{'total':<14}{total * 1e3:9.3f} ms"],
        ]
        if self.times is not None:
            sections.append(["== measured ==", *self.measured])
        return "\n\n".join("\n".join(section) for section in sections)

    @property
    def measured(self) -> Iterator[str]:
        """A line for each step, and one for the whole program, where they were measured."""
        if self.times is None:
            return
        for step in self.steps:
            yield f"{step.name:<20}{step.speed}"
        steps = f"{len(self.steps)} step{'s' if len(self.steps) > 1 else ''}"
        calls = f"the least of {self.times.calls} calls"
        yield f"{'program':<20}{seconds_text(self.times.whole)} for {steps}, {calls}"


def inspect(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Stages:
    """The texts of the stages `trace graph loops llvm asm` for these arguments, as a mapping.

    Arguments are arrays, numbers or `ShapeDtype`s; nothing is computed. Errors: those of `jit`.
    """
    lowered = _fresh(function, "inspect").lower(*args, **kwargs)
    return Stages({stage: lowered.as_text(stage) for stage in STAGES})


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """What the compiler does with the function for these arguments, and why.

    The result prints as a report: a diff for every pass that changed something, why nodes share a
    kernel or do not, what is kept or computed again, the work of each step, and the seconds of
    each stage. Arguments are arrays, numbers or `ShapeDtype`s; nothing is computed, until `measure`
    of the result runs the program and adds what each step takes. Errors: those of `jit`.
    """
    started = time.perf_counter()
    fresh = _fresh(function, "explain")
    traced = fresh.trace(*args, **kwargs)
    seconds = {"trace": time.perf_counter() - started}
    lowered = traced.lower()
    lowered.as_text("llvm")  # generates the code, so that its stages are timed as well
    made = lowered.made
    assert made.graph is not None and made.plan is not None and made.program is not None
    names = {node: f"{node.op} {name}" for node, name in node_names(made.graph).items()}
    return Explanation(
        _heading(made),
        tuple(made.log.records),
        tuple(step_reports(made.plan, made.program)),
        tuple(_recomputed(made.plan, names)),
        tuple(_memory(made.program)),
        seconds | made.seconds,
        made.target.fast_math,
        _made=made,
        _inputs=_inputs(fresh, args, kwargs),
    )


def _inputs(function: JitFunction, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """What a program can be run on: the arguments' leaves, and arrays for those without data."""
    call = function.binder.bind(tuple(args), kwargs)
    specs = leaf_specs(call, function.signature)
    return tuple(
        random_arguments([str(Type(spec.dtype, spec.shape))])[0]
        if isinstance(leaf, ShapeDtype)
        else normalized(leaf, spec)
        for leaf, spec in zip(call.leaves, specs)
    )


def _fresh(function: Callable[..., Any], asked: str) -> JitFunction:
    """The function under the same options, without programs: looking counts as no use."""
    if not callable(function):
        raise ArgumentError(
            f"{asked} takes a function, not {type(function).__name__}",
            hint=f"write {asked}(function, *arguments)",
        )
    if not isinstance(function, JitFunction):
        return JitFunction(function)
    return JitFunction(
        function.__wrapped__,
        static_argnames=function.static,
        threads=function.threads,
        fast_math=function.fast_math,
        cache=function.use_disk,
    )


def _heading(made: Compilation) -> str:
    graph, target = made.traced, made.target
    params = ", ".join(f"{param.attrs['name']}: {param.type}" for param in graph.params)
    results = ", ".join(str(node.type) for node in graph.outputs)
    threads = "1 thread" if target.threads == 1 else f"{target.threads} threads"
    vectors = f"vectors of {target.machine.vector_bits} bits"
    return f"{graph.name}({params}) -> ({results})\nfor {threads}, {vectors}"


def _pass_text(record: PassRecord) -> str:
    """A pass in one line, and its diff where it changed something."""
    milliseconds = f"{record.seconds * 1e3:.3f} ms"
    if record.before == record.after:
        return f"{record.name}: no change, {milliseconds}"
    diff = difflib.unified_diff(
        record.before.splitlines(),
        record.after.splitlines(),
        f"before {record.name}",
        f"after {record.name}",
        lineterm="",
    )
    return "\n".join([f"{record.name}: {milliseconds}", *diff])


# steps


def step_reports(plan: Plan, program: Program) -> Iterator[StepReport]:
    """What each step of a program does, in order."""
    groups = list(plan.groups)
    for step in program.steps:
        while groups and not _makes(groups[0], step):
            groups.pop(0)  # an output that is only another shape of a stored node has no step
        yield _report(step, program.kernel(step), groups[0] if groups else None, plan)


def _makes(group: Group, step: Step) -> bool:
    """Whether a step was lowered from a group; its notes begin with the group's reasons."""
    if isinstance(step, LibraryCall):
        return group.kind == step.op
    return group.reasons[0] in step.notes if step.notes else group.kind == "scatter"


def _report(step: Step, kernel: Kernel | None, group: Group | None, plan: Plan) -> StepReport:
    reasons = tuple(group.reasons) if group is not None else ()
    if isinstance(step, LibraryCall) or kernel is None:
        assert isinstance(step, LibraryCall)
        return StepReport(f"numpy.{step.op}", reasons, step.inputs, step.outputs, (), 0)
    scratch = dict.fromkeys(s.buffer for s in walk(kernel.body) if isinstance(s, Alloc))
    if kernel is not step:
        reasons = (*reasons, f"runs the loops of {kernel.name}")
    flops = sum(map(node_flops, computed_nodes(group, plan))) if group is not None else 0
    return StepReport(step.name, reasons, step.inputs, step.outputs, tuple(scratch), flops)


def computed_nodes(group: Group, plan: Plan) -> tuple[Node, ...]:
    """The nodes that a group computes: its anchors, and what is inlined into them."""
    found = dict.fromkeys(group.anchors)
    stack = list(group.anchors)
    while stack:
        for arg in stack.pop().args:
            if arg not in plan.anchors and arg not in found and arg.kind != "leaf":
                found[arg] = None
                stack.append(arg)
    return tuple(found)


def _recomputed(plan: Plan, names: dict[Node, str]) -> Iterator[str]:
    """Maps that several kernels compute, because that is cheaper than to store them."""
    users: dict[Node, list[str]] = {}
    for group in plan.groups:
        for node in computed_nodes(group, plan):
            if node.kind == "map":
                users.setdefault(node, []).append(names[group.anchors[0]])
    for node, kernels in users.items():
        if len(kernels) > 1:
            yield f"{names[node]} in the kernels of {', '.join(kernels)}"


def _memory(program: Program) -> Iterator[str]:
    """Where what is neither an input nor an output lies."""
    for buffer, offset in program.offsets.items():
        yield f"{buffer.declared}: {buffer.nbytes:,} bytes at {offset} of the workspace"
    yield f"workspace: {program.temporary_bytes:,} bytes for {len(program.offsets)} temporaries"
    kernels = [step for step in program.steps if isinstance(step, Kernel)]
    layouts = [scratch_of(kernel) for kernel in kernels]
    shared = max((layout.shared_bytes for layout in layouts), default=0)
    own = max((layout.own_bytes for layout in layouts), default=0)
    yield f"scratch: at most {own:,} bytes for each thread, and {shared:,} that they share"


def node_flops(node: Node) -> int:
    """Floating-point operations of a node; an elementary function counts as one."""
    if node.dtype.kind != "f":
        return 0
    match node.kind:
        case "contract":
            return 2 * node.type.size * node.args[0].shape[-1]
        case "map" if node.op not in _UNCOUNTED:
            return node.type.size
        case "reduce":
            return node.args[0].type.size
    if node.op == "cumulative":
        return node.type.size
    return 0
