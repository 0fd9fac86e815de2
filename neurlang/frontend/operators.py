"""The operators of Array: NumPy's between arrays, Python's between Python numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from neurlang.errors import ConcreteValueError, DTypeError
from neurlang.frontend import augmented, elementwise
from neurlang.frontend.array import PYTHON_SCALARS, Array, Operand, known_integer
from neurlang.frontend.creation import asarray
from neurlang.frontend.linear import matmul
from neurlang.ir.types import BOOL

_NO_OPERANDS = (type(None), str, bytes, complex)
_SEQUENCES = (list, tuple, str, bytes)
_OPERANDS = (Array, np.ndarray, np.generic, *PYTHON_SCALARS, list, tuple)

BINARY_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "divmod": "divmod",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "matmul": "matmul",
}
COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
EXACT: Mapping[str, Callable[..., int]] = {  # operators whose result may need more bits
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "pow": operator.pow,
    "lshift": operator.lshift,
    "neg": operator.neg,
    "abs": operator.abs,
}
LARGEST_WIDTH = 64
UNARY_OPERATORS = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}


def _is_weak(operand: Operand) -> bool:
    return operand.weak is not None if isinstance(operand, Array) else type(operand) in (int, float)


def keep_weak(result: Any, *operands: Operand) -> Any:
    """An operator on Python numbers gives a Python number: its result stays weakly typed."""
    if not all(_is_weak(operand) for operand in operands):
        return result
    if isinstance(result, tuple):
        return tuple(keep_weak(part, *operands) for part in result)
    weak = {"i": int, "f": float}.get(result.dtype.kind)
    return Array(result.node, result.traced_by, weak)


def _of_numbers(name: str, function: Callable[..., Any], *operands: Operand) -> Any:
    """An operator with a Python number; lazy integers are Python's, which have no width to wrap at.

    RangeError for results beyond 64 bits.
    """
    exact = EXACT.get(name)
    if exact is None or not all(_is_known_integer(operand) for operand in operands):
        return keep_weak(function(*operands), *operands)
    first, *rest = (
        known_integer(operand) if isinstance(operand, Array) else operand for operand in operands
    )
    if name in ("pow", "lshift"):
        if rest[0] < 0:
            return function(*operands)
        if abs(first) > (name == "pow"):
            rest = [min(rest[0], LARGEST_WIDTH)]  # more is beyond 64 bits as well
    return asarray(exact(first, *rest))


def _is_known_integer(operand: Operand) -> bool:
    if isinstance(operand, Array):
        return operand.weak is int and operand.traced_by is None
    return type(operand) is int


def _binary_operator(name: str, function: Callable[..., Any]) -> None:
    """Attach `__name__` and `__rname__`; `augmented` has `x += y`."""

    def computed(self: Array, other: Operand, *operands: Operand) -> Any:
        if isinstance(other, _SEQUENCES):
            _check_sequence(name, self, other)
        if not isinstance(other, _OPERANDS):
            _refuse(name, other)
            return NotImplemented
        if self.weak is not None:
            return _of_numbers(name, function, *operands)
        return function(*operands)

    def forward(self: Array, other: Operand) -> Any:
        return computed(self, other, self, other)

    def reflected(self: Array, other: Operand) -> Any:
        return computed(self, other, other, self)

    _attach(f"__{name}__", forward, function)
    if name not in COMPARISONS:
        _attach(f"__r{name}__", reflected, function)


def _check_sequence(name: str, x: Array, other: Any) -> None:
    """TypeErrors for lists and texts beside a traced number, which to Python are no arrays.

    A list times an integer repeats the list, so its length would depend on a value; also times a
    scalar of NumPy, which a trace cannot tell from an array without axes.
    """
    if x.traced_by is None or x.ndim:
        return
    kind = type(other).__name__
    if name == "mul" and x.dtype.kind in "iu":
        raise ConcreteValueError(
            f"a {kind} times {x.node.type} has a length that depends on a traced value",
            origin=x.node.where,
            hint="make the integer static (static_argnames=), or the list an array (np.asarray)",
        )
    if x.weak is not None:
        raise DTypeError(
            f"{name} takes a {kind} and {x.node.type}, a Python {x.weak.__name__}",
            origin=x.node.where,
            hint="use numbers, and arrays (np.asarray) in place of lists",
        )


def _refuse(name: str, other: Any) -> None:
    """DTypeError for a value that no array can hold, where Python would compare identities."""
    if not isinstance(other, _NO_OPERANDS):
        return
    hint = "use numbers or arrays of bool, integers or floats"
    if name in ("eq", "ne"):
        hint = f"use `is {'not ' if name == 'ne' else ''}None`" if other is None else hint
    raise DTypeError(f"{name} takes an array and {other!r}", hint=hint)


def _power(base: Operand, exponent: Operand) -> Array:
    """`base ** exponent`, which differs from `power` for squares of bools, as in NumPy."""
    is_square = type(exponent) is int and exponent == 2
    if is_square and isinstance(base, Array) and base.dtype == BOOL:
        return elementwise.square(base)
    return elementwise.power(base, exponent)


def _unary_operator(name: str, function: Callable[..., Any]) -> None:
    def unary(self: Array) -> Any:
        return function(self) if self.weak is None else _of_numbers(name, function, self)

    _attach(f"__{name}__", unary, function)


def _attach(name: str, function: Callable[..., Any], source: Callable[..., Any]) -> None:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = source.__doc__
    setattr(Array, name, function)


def attach() -> None:
    """Give Array its operators."""
    functions = {**vars(elementwise), "matmul": matmul}
    for name, public in (*BINARY_OPERATORS.items(), *COMPARISONS.items()):
        _binary_operator(name, functions[public])
    _binary_operator("pow", _power)
    for name, public in UNARY_OPERATORS.items():
        _unary_operator(name, functions[public])
    augmented.attach(lambda name: Array.__dict__[f"__{name}__"])


__all__ = ["BINARY_OPERATORS", "attach"]
