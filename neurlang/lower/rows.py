"""Row programs: maps and reductions over one outer space, as plain loops of scalars.

For each outer point the stages run one after the other over the inner axes; what a later stage
needs of an earlier one is a register (a reduction's result) or a scratch row (costly elements).
Schedules come later, from the loop passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from neurlang.ir.access import Indices, SplitNeeded, reduce_index
from neurlang.ir.graph import Node
from neurlang.ir.identities import REDUCTIONS, identity
from neurlang.ir.loops import (
    ZERO,
    Alloc,
    Buffer,
    Expression,
    For,
    Let,
    Literal,
    Ref,
    Statement,
    Store,
    Update,
    Var,
    affine,
)
from neurlang.ir.ops import OPS
from neurlang.ir.types import Shape
from neurlang.lower.elements import Block, Key, Scope
from neurlang.passes.graph.group import RECOMPUTE_COST, Group

MAX_REGIONS = 40  # pieces that cutting at pads and concatenations may make
LETTERS = "ijklmnop"

Range = tuple[int, int]


@dataclass
class Stage:
    """What one sweep over the inner axes computes, and what follows it at the outer point."""

    inner: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)


def lower_rows(group: Group, scope: Scope, targets: dict[Node, Buffer]) -> list[Statement]:
    """The loops of a group; `targets` are the buffers of the anchors that are stored."""
    outer = group.shape if group.outer is None else group.outer
    ranges = [(0, size) for size in outer]
    if math.prod(outer) == 0:
        return []
    if group.outer is None:
        return _lower_maps(group, scope, targets, ranges)
    inner = group.shape[len(outer) :]
    index, loops = outer_loops(ranges, LETTERS)
    body = _Rows(group, scope, targets, index, inner).lower()
    return nest(loops, body)


def outer_loops(ranges: Sequence[Range], letters: str = LETTERS) -> tuple[Indices, list[For]]:
    """Loops over ranges and their index; a range of one value needs no loop."""
    index = []
    loops = []
    for axis, (start, stop) in enumerate(ranges):
        if stop - start == 1:
            index.append(ZERO + start)
            continue
        name = letters[axis] if axis < len(letters) else f"{letters[-1]}{axis}"
        var = Var(name, start, stop - 1)
        index.append(affine(var))
        loops.append(For(var, start, stop, 1, "serial", ()))
    return tuple(index), loops


def nest(loops: Sequence[For], body: Sequence[Statement]) -> list[Statement]:
    """The loops around a body, the first outermost; nothing where one has no iteration."""
    result = list(body)
    for loop in reversed(loops):
        if not loop.trips:
            return []
        result = [For(loop.var, loop.start, loop.stop, loop.step, loop.kind, tuple(result))]
    return result


def _lower_maps(
    group: Group, scope: Scope, targets: dict[Node, Buffer], ranges: Sequence[Range]
) -> list[Statement]:
    """Elementwise work; where pads and concatenations change piece, the loops are cut."""
    result: list[Statement] = []
    pending = [list(ranges)]
    regions = 1
    while pending:
        region = pending.pop()
        if any(start >= stop for start, stop in region):
            continue
        index, loops = outer_loops(region, LETTERS)
        block = Block(scope, cut_loops=regions < MAX_REGIONS)
        try:
            values = block.evaluate([(anchor, index) for anchor in group.anchors])
        except SplitNeeded as split:
            axis = next(a for a, at in enumerate(index) if at.coefficient(split.var))
            start, stop = region[axis]
            lower, upper = list(region), list(region)
            lower[axis], upper[axis] = (start, split.point), (split.point, stop)
            pending += [upper, lower]
            regions += 1
            continue
        body = block.statements + _stores(group.anchors, targets, index, values)
        result.extend(nest(loops, body))
    return result


def _stores(
    nodes: Sequence[Node],
    targets: dict[Node, Buffer],
    index: Indices,
    values: Sequence[Expression],
) -> list[Statement]:
    return [
        Store(targets[node], index, value) for node, value in zip(nodes, values) if node in targets
    ]


class _Rows:
    """The body for one outer point."""

    def __init__(
        self,
        group: Group,
        scope: Scope,
        targets: dict[Node, Buffer],
        index: Indices,
        inner: Shape,
    ) -> None:
        self.group = group
        self.scope = scope
        self.targets = targets
        self.index = index
        self.inner = inner
        self.members = set(group.anchors)
        self.stages = self._stages()

    def lower(self) -> list[Statement]:
        body: list[Statement] = []
        saved = self._saved()
        for node in saved:
            buffer = Buffer(f"row{len(self.scope.scratch)}", node.dtype, self.inner)
            body.append(Alloc(buffer))
            saved[node] = buffer
        for number, stage in enumerate(self.stages):
            save = [node for node in saved if self.first_stage[node] == number]
            body.extend(self._sweep(stage, {node: saved[node] for node in save}))
            body.extend(self._after(stage))
        return body

    def _stages(self) -> list[Stage]:
        """Anchors by the sweep in which everything they need is at hand."""
        level: dict[Node, int] = {}
        stages: list[Stage] = []
        for node in self.group.anchors:
            at_point = self._at_point(node)
            own = 0
            for found in self._needs(node):
                later = found.kind == "reduce" or self._at_point(found)
                own = max(own, level[found] + (1 if later and not at_point else 0))
            level[node] = own
            while len(stages) <= own:
                stages.append(Stage())
            (stages[own].after if at_point else stages[own].inner).append(node)
        return stages

    def _at_point(self, node: Node) -> bool:
        """Whether an anchor has one element for each outer point."""
        return node.kind != "reduce" and node.shape == self.group.outer

    def _needs(self, node: Node) -> list[Node]:
        """The anchors of this group that a node reads."""
        found = []
        seen = set()
        stack = list(node.args)
        while stack:
            arg = stack.pop()
            if arg in seen:
                continue
            seen.add(arg)
            if arg in self.members:
                found.append(arg)
            elif arg not in self.scope.buffers:
                stack.extend(arg.args)
        return found

    def _roots(self, stage: Stage, inner: Indices) -> list[Key]:
        roots: list[Key] = []
        for node in stage.inner:
            if node.kind == "reduce":
                roots.append((node.args[0], reduce_index(node, self.index, inner)))
            else:
                roots.append((node, self._element(inner)))
        return roots

    def _element(self, inner: Indices) -> Indices:
        """The index of an element at this outer point."""
        kept, reduced = iter(self.index), iter(inner)
        axes = self.group.axes
        rank = len(self.index) + len(inner)
        return tuple(next(reduced) if axis in axes else next(kept) for axis in range(rank))

    def _saved(self) -> dict[Node, Buffer]:
        """Costly elements that more than one sweep needs: computed in the first, kept in a row."""
        seen: dict[Node, int] = {}
        shared: dict[Node, None] = {}
        names = self.scope.names
        for number, stage in enumerate(self.stages):
            for node in self._elements(stage):
                if node in seen and seen[node] != number:
                    shared[node] = None
                seen.setdefault(node, number)
        self.scope.names = names
        self.first_stage = seen
        inner_args = {arg for node in shared for arg in node.args if arg in shared}
        kept = [n for n in shared if n not in inner_args and _inline_cost(n, self) > RECOMPUTE_COST]
        return {node: Buffer("", node.dtype, self.inner) for node in kept}

    def _elements(self, stage: Stage) -> list[Node]:
        """Map nodes that a sweep evaluates at its own point."""
        found: dict[Node, None] = {}
        stack = [node.args[0] if node.kind == "reduce" else node for node in stage.inner]
        while stack:
            node = stack.pop()
            blocked = node in self.scope.buffers or (node in self.members and node.kind == "reduce")
            if node in found or blocked or node.kind != "map":
                continue
            if node.shape == self.group.elements and node not in self.targets:
                found[node] = None
            stack.extend(node.args)
        return list(found)

    def _sweep(self, stage: Stage, save: dict[Node, Buffer]) -> list[Statement]:
        if not stage.inner:
            return []
        inner, loops = outer_loops([(0, size) for size in self.inner], "rst")
        before: list[Statement] = []
        block = Block(self.scope)
        roots = self._roots(stage, inner)
        kept = [(node, self._element(inner)) for node in save]
        values = block.evaluate(roots + kept)
        body = list(block.statements)
        for (node, _), value in zip(kept, values[len(roots) :]):
            body.append(Store(save[node], inner, value))
        for node, value in zip(stage.inner, values):
            if node.kind == "reduce":
                op = REDUCTIONS[node.op]
                register = self.scope.register(node.dtype, "acc")
                # a sum is +0.0 where NumPy's is, also where all that it adds is -0.0
                start = node.dtype.type(0) if op == "add" else identity(op, node.dtype)
                before.append(Let(register, Literal(start, node.dtype)))
                body.append(Update(register, op, value))
                self.scope.registers[node] = Ref(register)
            elif node in self.targets:
                body.append(Store(self.targets[node], self._element(inner), value))
        for node, buffer in save.items():
            self.scope.scratch[node] = (buffer, self.group.axes)
        for node in stage.inner:
            if node in self.targets and node.kind != "reduce":
                self.scope.buffers[node] = self.targets[node]
        if not math.prod(self.inner):
            return before + self._store_reduced(stage)
        return before + nest(loops, body) + self._store_reduced(stage)

    def _store_reduced(self, stage: Stage) -> list[Statement]:
        reduced = [node for node in stage.inner if node.kind == "reduce" and node in self.targets]
        return [
            Store(self.targets[node], self.index, self.scope.registers[node]) for node in reduced
        ]

    def _after(self, stage: Stage) -> list[Statement]:
        if not stage.after:
            return []
        block = Block(self.scope)
        values = block.evaluate([(node, self.index) for node in stage.after])
        for node, value in zip(stage.after, values):
            self.scope.registers[node] = value if isinstance(value, Ref) else block.let(value)
        refs = [self.scope.registers[node] for node in stage.after]
        return block.statements + _stores(stage.after, self.targets, self.index, refs)


def _inline_cost(node: Node, rows: _Rows) -> int:
    """Operations to compute an element again from what is stored."""
    cost = 0
    stack = [node]
    seen = set()
    while stack:
        found = stack.pop()
        if found in seen or found in rows.scope.buffers or found in rows.members - {node}:
            continue
        seen.add(found)
        cost += OPS[found.op].cost if found.kind == "map" else 0
        stack.extend(found.args)
    return cost
