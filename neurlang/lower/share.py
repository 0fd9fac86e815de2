"""Kernels that are the same but for names and buffers are compiled once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from neurlang.ir.loops import Buffer, For, Kernel, Register, Var
from neurlang.ir.steps import Repeat, Step


def share_kernels(steps: Sequence[Step]) -> list[Step]:
    """Steps in which a kernel that another one before it is equal to is a Repeat of that one.

    Layers of a network and steps of a simulation, which Python's loops have written out, then cost
    the compiler no more than one of them.
    """
    alike = Counter(_outline(step) for step in steps if isinstance(step, Kernel))
    known: dict[Any, str] = {}
    result: list[Step] = []
    for step in steps:
        if isinstance(step, Kernel) and not _in_blocks(step) and alike[_outline(step)] > 1:
            first = known.setdefault(_form(step), step.name)
            if first != step.name:
                step = Repeat(step.name, first, step.inputs, step.outputs, step.notes)
        result.append(step)
    return result


def _in_blocks(kernel: Kernel) -> bool:
    """Whether a kernel is yet to be joined with others."""
    return any(isinstance(loop, For) and loop.kind == "block" for loop in kernel.body)


def _outline(kernel: Kernel) -> Any:
    """What equal kernels have in common and is quick to find."""
    types = [(buffer.dtype, buffer.shape) for buffer in (*kernel.inputs, *kernel.outputs)]
    return kernel.schedule, len(kernel.body), len(kernel.inputs), tuple(types)


def _form(kernel: Kernel) -> Any:
    """A kernel with numbers in place of its buffers, registers and variables, for comparison."""
    final = tuple(buffer in kernel.final for buffer in kernel.outputs)
    parts = (kernel.inputs, kernel.outputs, final, kernel.schedule, kernel.body)
    return _Form().of(parts)


class _Form:
    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self.of, value))
        if isinstance(value, np.generic):
            return value.dtype.str, value.tobytes()  # -0.0 is not 0.0, and a NaN equals itself
        if not is_dataclass(value):
            return value
        named = [field.name for field in fields(value)]
        if isinstance(value, Buffer | Register | Var):
            named.remove("name")
            number = self.numbers.setdefault(value, len(self.numbers))
            return number, *(self.of(getattr(value, name)) for name in named)
        return type(value).__name__, *(self.of(getattr(value, name)) for name in named)


__all__ = ["share_kernels"]
