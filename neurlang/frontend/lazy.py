"""Pending work of lazy arrays: its graph, the key of equal work, and values that are known."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from neurlang import settings
from neurlang.ir.failures import can_fail
from neurlang.ir.graph import Graph, Node, graph_from, hashable_attrs

Program = Callable[..., tuple[Any, ...]]
Prepare = Callable[[Graph], Program | None]

KEPT = 512  # programs of lazy arrays that stay in memory

_results: weakref.WeakKeyDictionary[Node, Any] = weakref.WeakKeyDictionary()
_programs: dict[Hashable, Program | None] = {}


def known_value(node: Node) -> Any:
    """The NumPy array of a node, where it is a constant or has been run; else None."""
    if node.op != "const":
        return _results.get(node)
    value = node.attrs["value"]
    return value if value.ndim == len(node.shape) else np.broadcast_to(value, node.shape)


def keep_result(node: Node, result: Any) -> Any:
    """The value of a node that has been run, as a contiguous array that nobody can change."""
    value = np.asarray(result, order="C")
    value.setflags(write=False)  # np.asarray(array) hands it out
    _results[node] = value
    return value


class Work(NamedTuple):
    """What outputs need: nodes in order, among them leaves, whose values are known or parameters.

    Equal keys are those of graphs that compute the same from leaves of the same types.
    """

    outputs: Sequence[Node]
    nodes: list[Node]
    leaves: dict[Node, Any]
    key: Hashable

    def graph(self) -> Graph:
        """The same as a graph, whose parameters are the leaves."""
        table: dict[Node, Node] = {}
        for node in self.nodes:
            if node in self.leaves:
                name = f"x{len(table)}"
                table[node] = Node("param", (), {"name": name}, node.type, node.where)
        params = list(table.values())
        for node in self.nodes:
            if node not in self.leaves:
                args = tuple(table[arg] for arg in node.args)
                table[node] = Node(node.op, args, node.attrs, node.type, node.where)
        return graph_from([table[node] for node in self.outputs], params, "lazy")


def pending_work(outputs: Sequence[Node]) -> Work:
    """The work that is left to do for some nodes."""
    numbers: dict[Node, int] = {}
    leaves: dict[Node, Any] = {}
    parts: list[Hashable] = []
    opened: set[Node] = set()
    stack = list(reversed(outputs))
    while stack:
        node = stack[-1]
        if node in numbers:
            stack.pop()
        elif node in opened:
            parts.append(_node_key(node, numbers))
            numbers[node] = len(numbers)
        elif _is_leaf(node, leaves):
            parts.append((node.type.dtype.num, node.type.shape))
            numbers[node] = len(numbers)
        else:
            opened.add(node)
            stack.extend(reversed(node.args))
    key = (*parts, *[numbers[node] for node in outputs])
    return Work(outputs, list(numbers), leaves, key)


def _is_leaf(node: Node, leaves: dict[Node, Any]) -> bool:
    """Whether a node is a parameter, or its value known; it is listed then.

    A constant that fills its shape is part of the work.
    """
    if node.op == "const":
        value = node.attrs["value"] if node.attrs["value"].ndim else None
    else:
        value = _results.get(node)
    if value is None and node.op != "param":
        return False
    leaves[node] = value
    return True


def _node_key(node: Node, numbers: Mapping[Node, int]) -> Hashable:
    """What a node does with which nodes; its type follows, but for constants. One that can fail
    names its line when it does."""
    key: list[Hashable] = [node.op, *[numbers[arg] for arg in node.args], hashable_attrs(node)]
    if not node.args:
        key += [node.type.dtype.num, node.type.shape]
    if can_fail(node) and node.where is not None:
        key += [node.where.file, node.where.line]
    return tuple(key)


# programs of work that has been run


def recall(work: Work) -> Program | None:
    """What does equal work under equal options."""
    return _programs.get((settings.stamp(), work.key))


def remember(work: Work, graph: Graph, prepare: Prepare) -> None:
    """Equal work has a program of its own from the second run on: most work runs once."""
    key = (settings.stamp(), work.key)
    _programs[key] = prepare(graph) if key in _programs else None
    while len(_programs) > KEPT:
        _programs.pop(next(iter(_programs)), None)


def forget() -> None:
    """Forget all programs."""
    _programs.clear()
