"""Quotients of values that narrow integers can give become products, where all of them agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Apply,
    Expression,
    Kernel,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
)
from neurlang.ir.loops_interpret import fused_multiply_add
from neurlang.ir.ops import OPS, cast
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.types import DType

Values = Any  # an array of what an expression is for each value of the narrow integer in it


def quotients(kernel: Kernel, machine: Machine) -> Kernel:
    """x / c becomes x * (1 / c), or fma(x, h, x * l) with h + l next to 1 / c, where x is made of
    an integer of 8 or 16 bits and of constants, and the result is the same for all that it can be.

    A quotient takes as long as several products. Source: N. Brisebarre, J.-M. Muller and S. Raina,
    "Accelerating correctly rounded floating-point division when the divisor is known in advance",
    IEEE Transactions on Computers 53 (2004); there h and l serve every x that they can be shown to.
    """
    narrow = any(buffer.dtype.kind in "iu" and _is_narrow(buffer.dtype) for buffer in kernel.inputs)
    if not narrow or not machine.has_fma:
        return kernel
    return kernel.with_body(_Quotients().body(kernel.body))


def _is_narrow(dtype: DType) -> bool:
    return dtype.itemsize <= 2


class _Quotients(Rewriter):
    """Rewrites quotients, and knows the values of registers that are made of a narrow integer."""

    def __init__(self) -> None:
        super().__init__({})
        self.values: dict[Register, tuple[Load, Values]] = {}
        self.named: list[Statement] = []  # in front of the statement that is being rewritten

    def body(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        outside, result = self.named, []
        for statement in statements:
            self.named = []
            found = self.statement(statement)
            result += [*self.named, found]
            if isinstance(found, Let) and not found.index:
                self._remember(found.register, found.value)
        self.named = outside
        return tuple(result)

    def expression(self, expression: Expression) -> Expression:
        found = super().expression(expression)
        match found:
            case Apply("div", (x, Literal(divisor)), dtype) if dtype.kind == "f":
                dividends = self._values(x)
                factors = dividends and _factors(dividends[1], divisor, dtype)
                if factors:
                    return self._product(x, factors)
        return found

    def _product(self, x: Expression, factors: list[Literal]) -> Expression:
        """x times the sum of the factors."""
        high, *low = factors
        if not low:
            return Apply("mul", (x, high), x.dtype)
        if not isinstance(x, Ref):
            register = Register(f"x{len(self.values)}", x.dtype)
            self.named.append(Let(register, x))
            self._remember(register, x)
            x = Ref(register)
        return Apply("fma", (x, high, Apply("mul", (x, *low), x.dtype)), x.dtype)

    def _remember(self, register: Register, value: Expression) -> None:
        values = self._values(value)
        if values is not None:
            self.values[register] = values

    def _values(self, expression: Expression) -> tuple[Load, Values] | None:
        """The one narrow integer that an expression depends on, and what it is for each value."""
        match expression:
            case Load(dtype=dtype) if dtype.kind in "iu" and _is_narrow(dtype):
                info = np.iinfo(dtype)
                return expression, np.arange(info.min, info.max + 1).astype(dtype)
            case Ref(register, ()):
                return self.values.get(register)
            case Apply("cast", (x,), dtype):
                found = self._values(x)
                return None if found is None else (found[0], cast(found[1], dtype))
            case Apply("add" | "sub" | "mul" | "div" as op, args, dtype) if dtype.kind == "f":
                return self._applied(OPS[op].numpy, args, dtype)
            case Apply("fma", args, dtype):
                return self._applied(fused_multiply_add, args, dtype)
        return None

    def _applied(
        self, function: Callable[..., Any] | None, args: tuple[Expression, ...], dtype: DType
    ) -> tuple[Load, Values] | None:
        assert function is not None
        source: Load | None = None
        operands = []
        for arg in args:
            if isinstance(arg, Literal):
                operands.append(arg.value)
                continue
            found = self._values(arg)
            if found is None or (source is not None and source != found[0]):
                return None
            source = found[0]
            operands.append(found[1])
        if source is None:
            return None
        with np.errstate(all="ignore"):
            return source, np.asarray(function(*operands), dtype)


def _factors(dividends: Values, divisor: Any, dtype: DType) -> list[Literal]:
    """What to multiply by for the bits of a quotient, in one part or two; nothing where neither
    gives them for all dividends."""
    if not np.isfinite(divisor) or divisor == 0:
        return []
    with np.errstate(all="ignore"):
        high = dtype.type(1 / dtype.type(divisor))
        if not np.isfinite(high):
            return []
        low = dtype.type(1 / Fraction(float(divisor)) - Fraction(float(high)))
        wanted = (dividends / dtype.type(divisor)).tobytes()
        if (dividends * high).tobytes() == wanted:
            return [Literal(high, dtype)]
        fused = np.asarray(fused_multiply_add(dividends, high, dividends * low), dtype)
    return [Literal(high, dtype), Literal(low, dtype)] if fused.tobytes() == wanted else []
