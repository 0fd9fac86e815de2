"""Kernels that are the same but for names, buffers and a few numbers are compiled once.

Layers of a network and steps of a simulation, which Python's loops have written out, then cost the
compiler no more than one of them. Floats that differ, such as the size of each step, become
elements of a buffer that every kernel has of its own:

    kernel k0(x) -> (temp3):  ... x[i] * 0.5 ...        kernel k0(x, k0_numbers) -> (temp3):
    kernel k1(temp3) -> (out): ... temp3[i] * 0.51 ...       ... x[i] * k0_numbers[0] ...
                                                        kernel k1(temp3, k1_numbers) -> (out):
                                                            the loops of k0
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from neurlang.ir.loops import (
    Apply,
    Buffer,
    Expression,
    For,
    Kernel,
    Literal,
    Load,
    Register,
    Var,
    affine,
    short_exponent,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.steps import Repeat, Step
from neurlang.ir.types import SHORT, DType
from neurlang.lower.program import Program

NAMED = (Buffer, Register, Var)
MOST_NUMBERS = 32  # that kernels differ in: each takes a register, or memory, as long as they run

Numbers = list[Any]


def share_kernels(program: Program) -> Program:
    """The program with a Repeat in place of each kernel that another one before it is like."""
    alike = Counter(_outline(step) for step in program.steps if isinstance(step, Kernel))
    sets: dict[Any, list[tuple[Kernel, Numbers]]] = defaultdict(list)
    for step in program.steps:
        if isinstance(step, Kernel) and not _in_blocks(step) and alike[_outline(step)] > 1:
            form, numbers = _form(step)
            sets[form].append((step, numbers))
    shared: dict[Step, Step] = {}
    values: dict[Buffer, Any] = {}
    for kernels in sets.values():
        for some in _near(kernels):
            if len(some) > 1:
                shared.update(_together(some, values))
    return replace(
        program.with_steps([shared.get(step, step) for step in program.steps]),
        captured=(*program.captured, *values),
        numbers=(*program.numbers, *values.values()),
    )


def _near(kernels: list[tuple[Kernel, Numbers]]) -> list[list[tuple[Kernel, Numbers]]]:
    """Kernels of one form that differ in few numbers; else those that differ in none."""
    if len(_differing(kernels)) <= MOST_NUMBERS:
        return [kernels]
    equal = defaultdict(list)
    for kernel, numbers in kernels:
        equal[_bits(numbers)].append((kernel, numbers))
    return list(equal.values())


def _together(kernels: list[tuple[Kernel, Numbers]], values: dict[Buffer, Any]) -> dict[Step, Step]:
    """What stands for each kernel; `values` gets the numbers of each."""
    first, numbers = kernels[0]
    places: dict[int, tuple[DType, int]] = {}  # by position among a kernel's numbers
    chosen: dict[DType, list[int]] = defaultdict(list)
    for positions in _differing(kernels).values():
        dtype = numbers[positions[0]].dtype
        places.update(dict.fromkeys(positions, (dtype, len(chosen[dtype]))))
        chosen[dtype].append(positions[0])
    shared: dict[Step, Step] = {}
    for kernel, numbers in kernels:
        own = {
            dtype: Buffer(f"{kernel.name}_{SHORT[dtype]}", dtype, (len(positions),))
            for dtype, positions in chosen.items()
        }
        for dtype, positions in chosen.items():
            values[own[dtype]] = np.array([numbers[position] for position in positions], dtype)
        inputs = (*kernel.inputs, *own.values())
        if kernel is first:
            loads = {
                position: Load(own[dtype], (affine(slot),))
                for position, (dtype, slot) in places.items()
            }
            body = _WithLoads(loads).body(kernel.body) if loads else kernel.body
            shared[kernel] = replace(kernel, inputs=inputs, body=body)
        else:
            shared[kernel] = Repeat(kernel.name, first.name, inputs, kernel.outputs, kernel.notes)
    return shared


def _differing(kernels: list[tuple[Kernel, Numbers]]) -> dict[tuple[bytes, ...], list[int]]:
    """The numbers that are not the same in all kernels: for each that differs from kernel to kernel
    in its own way, the positions at which it stands."""
    found = defaultdict(list)
    for position, column in enumerate(zip(*(_bits(numbers) for _, numbers in kernels))):
        if len({*column}) > 1:
            found[column].append(position)
    return found


def _bits(numbers: Numbers) -> tuple[bytes, ...]:
    return tuple([number.tobytes() for number in numbers])  # -0.0 is not 0.0, a NaN equals itself


def _in_blocks(kernel: Kernel) -> bool:
    """Whether a kernel is yet to be joined with others."""
    return any(isinstance(loop, For) and loop.kind == "block" for loop in kernel.body)


def _outline(kernel: Kernel) -> Any:
    """What kernels that are alike have in common and is quick to find."""
    types = [(buffer.dtype, buffer.shape) for buffer in (*kernel.inputs, *kernel.outputs)]
    return kernel.schedule, len(kernel.body), len(kernel.inputs), tuple(types)


def _form(kernel: Kernel) -> tuple[Any, Numbers]:
    """A kernel with counted names in place of its buffers, registers and variables, and with its
    floats left out, for comparison; and those floats."""
    final = tuple(buffer in kernel.final for buffer in kernel.outputs)
    parts = (kernel.inputs, kernel.outputs, final, kernel.schedule, kernel.body)
    form = _Form()
    return form.of(parts), form.numbers


class _Form:
    def __init__(self) -> None:
        self.names: dict[Any, int] = {}
        self.numbers: Numbers = []

    def of(self, value: Any) -> Any:
        kind: type = type(value)
        if kind is tuple:
            return tuple([self.of(part) for part in value])
        if kind is Literal and _is_number(value):
            self.numbers.append(value.value)
            return value.dtype
        exponent = short_exponent(value)
        if exponent is not None:
            return "pow", exponent, self.of(value.args[0])
        names = _field_names(kind)
        if names is None:
            if isinstance(value, np.generic):
                return value.dtype.str, value.tobytes()
            return value
        first = self.names.setdefault(value, len(self.names)) if kind in NAMED else kind
        return first, *[self.of(getattr(value, name)) for name in names]


class _WithLoads(Rewriter):
    """Copies loops with loads in place of some of the numbers, which it meets as `_Form` does."""

    def __init__(self, loads: Mapping[int, Load]) -> None:
        super().__init__({})
        self.loads = loads
        self.position = 0

    def expression(self, expression: Expression) -> Expression:
        if isinstance(expression, Literal) and _is_number(expression):
            found = self.loads.get(self.position, expression)
            self.position += 1
            return found
        if isinstance(expression, Apply) and short_exponent(expression) is not None:
            base, exponent = expression.args
            return replace(expression, args=(self.expression(base), exponent))
        return super().expression(expression)


def _is_number(literal: Literal) -> bool:
    """Whether a literal may be read from memory as well; what is computed with integers that the
    compiler knows, such as a quotient, is cheaper."""
    return literal.dtype.kind == "f"


@cache
def _field_names(kind: type) -> Sequence[str] | None:
    """The fields of a dataclass that tell one value from another; None for other types."""
    if not is_dataclass(kind):
        return None
    return [field.name for field in fields(kind) if not (kind in NAMED and field.name == "name")]


__all__ = ["share_kernels"]
