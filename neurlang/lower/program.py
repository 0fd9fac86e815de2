"""A whole graph as kernels in order, and where each of their buffers lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neurlang.ir.graph import Graph, Node
from neurlang.ir.loops import (
    Alloc,
    Buffer,
    Kernel,
    Statement,
    Store,
    expressions_of,
    walk,
    without_unused,
)
from neurlang.ir.loops import Load as LoadElement
from neurlang.ir.loops import parts as parts_of
from neurlang.ir.steps import LibraryCall, Repeat, Step
from neurlang.ir.types import Type
from neurlang.lower.contraction import lower_dot
from neurlang.lower.cumulative import lower_cumulative
from neurlang.lower.elements import Failure, Scope
from neurlang.lower.rows import lower_rows
from neurlang.lower.single import (
    lower_scatter,
    lower_scatter_in_parts,
    lower_update,
    scatter_parts,
)
from neurlang.passes.graph.group import Group, Plan, is_trailing
from neurlang.passes.graph.sort_by_keys import has_keys
from neurlang.passes.loops import choose

ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class Program:
    """Steps in order. `offsets` place temporaries in a workspace of `temporary_bytes`.

    `captured` are the buffers of the graph's captured arrays, and then those of `numbers`.
    """

    name: str
    inputs: tuple[Buffer, ...]
    captured: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    offsets: dict[Buffer, int] = field(default_factory=dict)
    temporary_bytes: int = 0
    failures: tuple[Failure, ...] = ()
    places: dict[Buffer, Buffer] = field(default_factory=dict)
    numbers: tuple[Any, ...] = ()

    def kernel(self, step: Step) -> Kernel | None:
        """The kernel whose loops a step runs, on its own buffers or another's; None for NumPy's."""
        if isinstance(step, Repeat):
            return next(k for k in self.steps if isinstance(k, Kernel) and k.name == step.of)
        return step if isinstance(step, Kernel) else None

    @property
    def results(self) -> set[Buffer]:
        """The buffers that the caller sees."""
        return {*self.outputs, *self.places}

    def with_steps(self, steps: Sequence[Step]) -> Program:
        """The same program by other steps, which may need other temporaries."""
        written = {buffer for step in steps for buffer in step.outputs}
        offsets, size = place_temporaries(steps, written - self.results)
        return replace(self, steps=tuple(steps), offsets=offsets, temporary_bytes=size)

    def __str__(self) -> str:
        texts = [str(step) for step in self.steps]
        if self.temporary_bytes:
            places = ", ".join(f"{buffer} at {offset}" for buffer, offset in self.offsets.items())
            texts.append(f"# workspace: {self.temporary_bytes} bytes: {places}")
        return "\n\n".join(texts)


def own_outputs(graph: Graph) -> Graph:
    """Give every output a node of its own: leaves and repeated outputs are copied."""
    seen: set[Node] = set()
    nodes = list(graph.nodes)
    outputs = []
    for node in graph.outputs:
        if node in seen or node.kind == "leaf":
            node = Node("reshape", (node,), {"shape": node.shape}, node.type, node.where)
            nodes.append(node)
        seen.add(node)
        outputs.append(node)
    return replace(graph, nodes=tuple(nodes), outputs=tuple(outputs))


def lower(graph: Graph, plan: Plan) -> Program:
    """Kernels of plain loops for the groups of a plan; schedules are chosen by the loop passes."""
    return _Lowering(graph, plan).program()


class _Lowering:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.position = {node: number for number, node in enumerate(graph.nodes)}
        self.failures: list[Failure] = []
        self.buffers: dict[Node, Buffer] = {}
        self.places: dict[Buffer, Buffer] = {}
        self.reserved: dict[Node, Buffer] = {}
        for param in graph.params:
            self.buffers[param] = _buffer(param.attrs["name"], param.type)
        self.outputs: dict[Node, Buffer] = {}
        single = len(graph.outputs) == 1
        for number, node in enumerate(graph.outputs):
            self.outputs[node] = _buffer("out" if single else f"out{number}", node.type)
        self.used_outside = self._used_outside()
        self.skipped = self._reshaped_outputs()

    def program(self) -> Program:
        steps: list[Step] = []
        for group in self.plan.groups:
            if group in self.skipped:
                self.buffers.update({anchor: self.outputs[anchor] for anchor in group.anchors})
                continue
            targets = {
                anchor: self._target(anchor)
                for anchor in group.anchors
                if anchor in self.used_outside
            }
            steps.extend(self._steps(group, targets, len(steps)))
            self.buffers.update(targets)
        count = len(self.graph.params) - len(self.graph.captured)
        params = [self.buffers[param] for param in self.graph.params]
        program = Program(
            self.graph.name,
            tuple(params[:count]),
            tuple(params[count:]),
            tuple(self.outputs[node] for node in self.graph.outputs),
            (),
            failures=tuple(self.failures),
            places=self.places,
        )
        return program.with_steps(_with_final(steps, program.results))

    def _used_outside(self) -> set[Node]:
        """Anchors that another kernel, or the caller, reads."""
        group_of = {anchor: group for group in self.plan.groups for anchor in group.anchors}
        used = set(self.graph.outputs)
        for group in self.plan.groups:
            stack = [arg for anchor in group.anchors for arg in anchor.args]
            seen: set[Node] = set()
            while stack:
                node = stack.pop()
                if node in seen:
                    continue
                seen.add(node)
                if node in group_of:
                    if group_of[node] is not group:
                        used.add(node)
                else:
                    stack.extend(node.args)
        return used

    def _reshaped_outputs(self) -> set[Group]:
        """Outputs that are only another shape of a stored node: it is stored in their place."""
        skipped = set()
        group_of = {anchor: group for group in self.plan.groups for anchor in group.anchors}
        for node in self.graph.outputs:
            source = node
            while source.op == "reshape":
                source = source.args[0]
            alone = node.op == "reshape" and len(group_of[node].anchors) == 1
            free = source in group_of and source not in (*self.outputs, *self.reserved)
            if alone and free and source.type.size == node.type.size:
                buffer = Buffer(self.outputs[node].name, source.dtype, source.shape)
                self.places[buffer] = self.outputs[node]
                self.reserved[source] = buffer
                skipped.add(group_of[node])
        return skipped

    def _target(self, anchor: Node) -> Buffer:
        if anchor in self.outputs:
            return self.outputs[anchor]
        if anchor in self.reserved:
            return self.reserved[anchor]
        return _buffer(f"temp{self.position[anchor]}", anchor.type)

    def _scope(self) -> Scope:
        return Scope(self.position, self.graph.nodes, dict(self.buffers), self.failures)

    def _steps(self, group: Group, targets: dict[Node, Buffer], number: int) -> list[Step]:
        scope = self._scope()
        first = group.anchors[0]
        name = f"k{number}_{first.op.removeprefix('reduce_')}"
        notes = tuple(dict.fromkeys(group.reasons))
        match group.kind:
            case "sort" | "argsort" | "top_k" if not first.type.size:
                return []
            case "sort" | "argsort" | "top_k":
                return [_sort_step(group.kind, self.buffers[first.args[0]], targets[first])]
            case "dot":
                body, schedule = lower_dot(group, scope, targets), "product"
            case "scatter":
                return self._scatter_steps(group, scope, targets, name)
            case "update":
                body, schedule = lower_update(first, scope, targets[first]), "rows"
            case "cumulative":
                body, schedule = lower_cumulative(first, scope, targets[first]), "running"
            case _:
                body = lower_rows(group, scope, targets)
                down = any(a.kind == "reduce" and not is_trailing(a) for a in group.anchors)
                schedule = "columns" if down else "rows"
        return [_kernel(name, body, scope, targets, notes, schedule)]

    def _scatter_steps(
        self, group: Group, scope: Scope, targets: dict[Node, Buffer], name: str
    ) -> list[Step]:
        """Copy the base, then scatter into the copy: two kernels, for the loops differ."""
        (node,) = group.anchors
        count = scatter_parts(node)
        if count > 1:
            copies = Buffer(f"copies{self.position[node]}", node.dtype, (count, *node.shape))
            bodies = lower_scatter_in_parts(node, scope, targets[node], copies)
            stages = zip(("_start", "", "_join"), bodies, ("rows", "scan", "rows"))
            return [
                _kernel(name + stage, body, scope, targets, (), schedule)
                for stage, body, schedule in stages
            ]
        copy, scatter = lower_scatter(node, scope, targets[node])
        schedule = "serial" if any(size > 1 for size in node.shape[1:]) else "fixed"
        return [
            _kernel(name + "_copy", copy, scope, targets, (), "rows"),
            _kernel(name, scatter, scope, targets, (), schedule),
        ]


def _buffer(name: str, type: Type) -> Buffer:
    return Buffer(name, type.dtype, type.shape)


def _sort_step(op: str, source: Buffer, target: Buffer) -> LibraryCall:
    """Row by row, where NumPy's functions for that will do: they sort values, and keys in place of
    indices, which `passes/graph/sort_by_keys.py` makes."""
    *outer, size = source.shape
    by_rows = op == "sort" or (op == "argsort" and has_keys(source.dtype, size))
    grain = choose.sort_grain(math.prod(outer), size) if by_rows else 0
    return LibraryCall(op, (source,), (target,), grain)


def _kernel(
    name: str,
    body: Sequence[Statement],
    scope: Scope,
    targets: dict[Node, Buffer],
    notes: tuple[str, ...],
    schedule: str,
) -> Kernel:
    """A kernel whose signature lists what its body reads and writes."""
    if scope.divides:
        body = without_unused(body)
    scratch = {s.buffer for s in walk(body) if isinstance(s, Alloc)}
    written = {s.buffer: None for s in walk(body) if isinstance(s, Store)}
    read: dict[Buffer, None] = {}
    for statement in walk(body):
        for expression in expressions_of(statement):
            for part in parts_of(expression):
                if isinstance(part, LoadElement):
                    read[part.buffer] = None
    outputs = tuple(buffer for buffer in written if buffer not in scratch)
    inputs = tuple(buffer for buffer in read if buffer not in scratch and buffer not in written)
    return Kernel(name, inputs, outputs, tuple(body), notes, schedule)


def _with_final(steps: Sequence[Step], results: set[Buffer]) -> list[Step]:
    """Each kernel knows which of its large outputs only the caller reads."""
    large = {buffer for buffer in results if choose.streams(buffer.nbytes)}
    free = large - {buffer for step in steps for buffer in step.inputs}
    return [
        replace(step, final=frozenset(free.intersection(step.outputs)))
        if isinstance(step, Kernel)
        else step
        for step in steps
    ]


def place_temporaries(
    steps: Sequence[Step], temporaries: set[Buffer]
) -> tuple[dict[Buffer, int], int]:
    """Offsets so that buffers share memory when no step needs both: first fit, in order."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for number, step in enumerate(steps):
        for buffer in (*step.inputs, *step.outputs):
            if buffer in temporaries:
                first.setdefault(buffer, number)
                last[buffer] = number
    offsets: dict[Buffer, int] = {}
    live: list[Buffer] = []
    total = 0
    for buffer, start in first.items():
        live = [other for other in live if last[other] >= start]
        live.sort(key=lambda other: offsets[other])
        size = -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
        offset = 0
        for other in live:
            if offset + size <= offsets[other]:
                break
            taken = offsets[other] + -(-other.nbytes // ALIGNMENT) * ALIGNMENT
            offset = max(offset, taken)
        offsets[buffer] = offset
        live.append(buffer)
        total = max(total, offset + size)
    return offsets, total
