"""Where the scratch memory of a kernel lies, and how much of it there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neurlang.ir.loops import Alloc, Buffer, For, Kernel, Statement

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class Scratch:
    """Where the scratch of a kernel lies: threads share what stands at the top, and own the rest.

    Offsets are in bytes, those of what a thread owns from the start of its part.
    """

    shared: dict[Buffer, int]
    own: dict[Buffer, int]
    shared_bytes: int
    own_bytes: int

    def nbytes(self, threads: int) -> int:
        """The bytes for a number of threads."""
        return self.shared_bytes + threads * self.own_bytes


def scratch_of(kernel: Kernel) -> Scratch:
    """The scratch of a kernel; buffers that are never there together share memory."""
    shared: dict[Buffer, int] = {}
    own: dict[Buffer, int] = {}
    tops = [statement for statement in kernel.body if isinstance(statement, Alloc)]
    loops = [statement for statement in kernel.body if isinstance(statement, For)]
    shared_bytes = _placed(tops, shared, 0)
    own_bytes = max((_placed(loop.body, own, 0) for loop in loops), default=0)
    return Scratch(shared, own, shared_bytes, own_bytes)


def _placed(body: Sequence[Statement], offsets: dict[Buffer, int], start: int) -> int:
    """Put scratch after what is in scope, where others were before; returns the end of all."""
    end = start
    for statement in body:
        if isinstance(statement, Alloc):
            offsets[statement.buffer] = start
            start += -(-statement.buffer.nbytes // ALIGNMENT) * ALIGNMENT
        elif isinstance(statement, For):
            end = max(end, _placed(statement.body, offsets, start))
    return max(end, start)
