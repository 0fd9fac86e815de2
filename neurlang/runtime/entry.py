"""What the native entry of a program accepts and returns."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Kind = Literal["array", "float", "int", "bool"]
Shape = tuple[int, ...]


class EntryMiss(Exception):
    """Leaves are not what a native entry takes, or its program failed and is to be asked why."""


Overrides = Mapping[str, Any]


@lru_cache(maxsize=1024)
def shared_overrides(values: frozenset[tuple[str, Any]]) -> Overrides:
    """What `options` sets, by name: one object for equal values, by which entries know it."""
    return dict(values)


overrides: ContextVar[Overrides] = ContextVar(
    "neurlang_options",
    default=shared_overrides(frozenset()),  # noqa: B039  # nobody changes it
)
"""What is in force in this context."""

entered = ctypes.c_int64()
"""How many `options` blocks are entered, in any thread: with none, entries do not look for any."""


class Count:
    """How many there are of something in all threads; entries look at its cell."""

    def __init__(self) -> None:
        self.cell = ctypes.c_int64()
        self.renew(0)

    def renew(self, number: int) -> None:
        """Begin again with so many: after a fork, the other threads do not exist."""
        self.lock = threading.Lock()
        self.cell.value = number

    def change(self, by: int) -> None:
        with self.lock:
            self.cell.value += by


traces = Count()
"""Functions that are being traced: lazy arrays may be traced with them, so Python answers."""


@dataclass(frozen=True)
class Nest:
    """A container: its items, and the numbers of a dict's keys, or of a named tuple's class, among
    the objects that the entry's table is made with. Or a static argument: the number of its value.
    """

    kind: Literal["tuple", "list", "dict", "named", "static"]
    items: tuple[Nested, ...]
    names: tuple[int, ...] = ()


Nested = Literal["leaf", "none"] | Nest


def leaves_of(nested: Nested) -> int:
    """How many leaves there are."""
    if isinstance(nested, Nest):
        return sum(map(leaves_of, nested.items))
    return int(nested == "leaf")


def flat(kind: Literal["tuple", "list"], count: int) -> Nest:
    """A container of so many leaves."""
    leaf: Nested = "leaf"
    return Nest(kind, (leaf,) * count)


@dataclass(frozen=True)
class EntrySignature:
    """What one native entry accepts and returns; anything else goes to the Python dispatcher.

    `arguments` are those of a call, whose leaves are the inputs, the last of them by name: with the
    objects of the numbers `keywords`. None stands for one argument an input. `result` is what the
    outputs are put into. `bounds` are (input, least, most) of Python integers. `orders` are (input,
    axes) of arrays that are contiguous along their axes in this order, the slowest first.

    An input is (dtype name, shape, kind): kind "array" is exactly an ndarray of that dtype and
    shape, C-contiguous unless `orders` has it, aligned, in native byte order; "float", "int" and
    "bool" are exactly Python's, and the program reads them as f64, i64 and i8. An output is (dtype
    name, shape).
    """

    inputs: tuple[tuple[str, Shape, Kind], ...]
    outputs: tuple[tuple[str, Shape], ...]
    result: Nested = "leaf"
    release_gil: bool = False
    arguments: tuple[Nested, ...] | None = None
    keywords: tuple[int, ...] = ()
    bounds: tuple[tuple[int, int, int], ...] = ()
    orders: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if leaves_of(self.result) != len(self.outputs):
            raise ValueError(f"the result does not hold {len(self.outputs)} outputs")
        if sum(map(leaves_of, self.passed)) != len(self.inputs):
            raise ValueError(f"the arguments do not hold {len(self.inputs)} inputs")

    @property
    def passed(self) -> tuple[Nested, ...]:
        """The arguments of a call."""
        leaf: Nested = "leaf"
        return (leaf,) * len(self.inputs) if self.arguments is None else self.arguments
