"""The trace that is being recorded, one stack a thread."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from neurlang.errors import Where
from neurlang.ir.graph import Node
from neurlang.ir.types import DType
from neurlang.runtime.entry import traces


@dataclass(eq=False)
class Trace:
    """What one function has done so far: its nodes in order. It ends when the function returns.

    `narrowed` tells which Python integers became which dtypes, and at which line: their values are
    checked at every call, as NumPy checks them.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    captured: dict[int, tuple[Any, Node]] = field(default_factory=dict)
    narrowed: dict[Node, dict[DType, Where | None]] = field(default_factory=dict)
    arrays: list[weakref.ref[Any]] = field(default_factory=list)
    active: bool = True

    def record(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def living(self) -> Iterator[Any]:
        """The arrays of the trace that somebody still holds."""
        self.arrays = [found for found in self.arrays if found() is not None]
        for reference in self.arrays:
            array = reference()
            if array is not None:
                yield array

    def capture(self, owner: Any, node: Node) -> Node:
        """The constant that stands for an outside array; the same array is one constant."""
        if id(owner) not in self.captured:
            self.captured[id(owner)] = (owner, self.record(node))
        return self.captured[id(owner)][1]


class _Stack(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace] = []


_stack = _Stack()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: traces.renew(len(_stack.traces)))


def current_trace() -> Trace | None:
    """The innermost trace of this thread, or None outside of any."""
    return _stack.traces[-1] if _stack.traces else None


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Record into `trace` what runs inside."""
    _stack.traces.append(trace)
    traces.change(1)
    try:
        yield trace
    finally:
        traces.change(-1)
        _stack.traces.pop()
        trace.active = False
