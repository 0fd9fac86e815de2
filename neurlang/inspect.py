"""What the compiler made of a function: the stages as text, and what was decided and why."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurlang.errors import ArgumentError
from neurlang.ir.graph import Node
from neurlang.ir.loops import Alloc, Buffer, Kernel, walk
from neurlang.ir.scratch import scratch_of
from neurlang.ir.steps import LibraryCall, Step
from neurlang.ir.text import node_names
from neurlang.jit import STAGES, JitFunction
from neurlang.passes.graph.group import Group, Plan
from neurlang.passes.run import PassRecord

if TYPE_CHECKING:
    from neurlang.lower.program import Program
    from neurlang.pipeline import Compilation

# These move or test bits: they are not counted as floating-point operations.
_UNCOUNTED = ("cast", "bitcast", "where", "copysign", "abs", "neg")


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

    @property
    def bytes(self) -> int:
        """Bytes that must be read and written at least."""
        return sum(buffer.nbytes for buffer in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        inputs = ", ".join(buffer.declared for buffer in self.inputs)
        outputs = ", ".join(buffer.declared for buffer in self.outputs)
        lines = [f"{self.name}({inputs}) -> ({outputs})"]
        lines += [f"    {reason}" for reason in self.reasons]
        for buffer in self.scratch:
            lines.append(f"    keeps {buffer.declared} in scratch: {buffer.nbytes:,} bytes")
        lines.append(f"    {self.flops:,} FLOPs, {self.bytes:,} bytes read and written")
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
        return "\n\n".join("\n".join(section) for section in sections)


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
    each stage. Arguments are arrays, numbers or `ShapeDtype`s; nothing is computed. Errors: those
    of `jit`.
    """
    started = time.perf_counter()
    traced = _fresh(function, "explain").trace(*args, **kwargs)
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
