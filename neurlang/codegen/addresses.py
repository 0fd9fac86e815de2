"""Where elements lie: each part of an address is written once, at the loop where it is known.

An address is a buffer's start plus loop variables times strides. What varies with an outer loop is
written before the next inner one. In an innermost loop a variable of stride 1 stays an index, which
the addressing modes of processors add for nothing; for any other stride a pointer moves along with
the loop. So LLVM's loop strength reduction finds nothing left to do (`compile.py` leaves it out).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from neurlang.codegen.scalar import memory_type
from neurlang.codegen.writer import Value, Writer, constant
from neurlang.ir.loops import Buffer, For, Statement, Var, walk


class Term(NamedTuple):
    """A part of an index: the value of a loop variable, or of a register, times a stride."""

    variable: Var | None  # None for a register's
    value: Value
    stride: int


@dataclass
class _Level:
    """A loop that is being written; the first stands for the function around all loops."""

    variable: Var | None
    start: Value
    step: int
    innermost: bool
    entry: int  # the place in the text just before the loop
    phis: int  # the place where pointers that move along begin
    bases: dict[Hashable, Value] = field(default_factory=dict)
    moving: list[tuple[Value, Value, int]] = field(default_factory=list)  # first, pointer, bytes


def is_innermost(body: Sequence[Statement]) -> bool:
    """Whether no loop of the code is inside."""
    return not any(
        isinstance(statement, For)
        and statement.kind != "unroll"
        and (statement.trips > 1 or statement.window is not None)
        for statement in walk(body)
    )


class Addresses:
    """The addresses that one function computes, by the loops it is in."""

    def __init__(self, writer: Writer, pointers: Mapping[Buffer, Value]) -> None:
        self.writer = writer
        self.pointers = pointers
        self.levels = [_Level(None, constant(0, "i64"), 0, False, 0, 0)]

    def enter(self, loop: For, start: Value) -> None:
        """A loop follows: its head is about to be written."""
        entry = self.writer.place()
        step = loop.step * loop.unroll
        self.levels.append(_Level(loop.var, start, step, is_innermost(loop.body), entry, 0))

    def begin(self) -> None:
        """The head of the loop has been written, up to its phis."""
        self.levels[-1].phis = self.writer.place()

    def leave(self, before: str) -> None:
        """The end of the loop: its pointers move on. `before` is the block that entered it."""
        level, writer = self.levels.pop(), self.writer
        lines = []
        for first, pointer, size in level.moving:
            moved = writer.offset(pointer, size)
            edges = f"[ {first.text}, %{before} ], [ {moved.text}, %{writer.block} ]"
            lines.append(f"{pointer.text} = phi ptr {edges}")
        with writer.at(level.phis):
            for line in lines:
                writer.line(line)

    def base(self, buffer: Buffer, terms: Sequence[Term]) -> Value:
        """The start of a buffer plus what varies of an index."""
        if not terms:
            return self.pointers[buffer]
        depths = [self._depth(term) for term in terms]
        depth = max(depths)
        level = self.levels[depth]
        key = (buffer, tuple((term.value.text, term.stride) for term in terms))
        if key not in level.bases:
            outer = [term for term, at in zip(terms, depths) if at < depth]
            inner = [term for term, at in zip(terms, depths) if at == depth]
            start = self.base(buffer, outer)
            if level.innermost and len(inner) == 1 and self._moves(inner[0]):
                level.bases[key] = self._moving(buffer, level, start, inner[0].stride)
            else:
                with self._known_at(depth):
                    level.bases[key] = self._plus(buffer, start, inner)
        return level.bases[key]

    def _depth(self, term: Term) -> int:
        """The loop from which on a value is known."""
        if term.variable is None:
            return len(self.levels) - 1
        return max(n for n, one in enumerate(self.levels) if one.variable in (None, term.variable))

    def _moves(self, term: Term) -> bool:
        return term.variable is not None and term.stride != 1

    @contextmanager
    def _known_at(self, depth: int) -> Iterator[None]:
        """Write what is inside in the body of a loop: before the next inner one, if there is."""
        if depth + 1 == len(self.levels):
            yield
        else:
            with self.writer.at(self.levels[depth + 1].entry):
                yield

    def _plus(self, buffer: Buffer, start: Value, terms: Sequence[Term]) -> Value:
        for term in terms:
            index = term.value
            if term.stride != 1:
                index = self.writer.mul(index, constant(term.stride, index.type))
            start = self.writer.offset(start, index, memory_type(buffer.dtype))
        return start

    def _moving(self, buffer: Buffer, level: _Level, start: Value, stride: int) -> Value:
        """A pointer that is moved on at the end of each round of the loop."""
        with self.writer.at(level.entry):
            first = self._plus(buffer, start, [Term(None, level.start, stride)])
        pointer = Value(self.writer.name("moving"), "ptr")
        level.moving.append((first, pointer, level.step * stride * buffer.dtype.itemsize))
        return pointer
