"""`x += y` inside a trace: a new array under the old name, where nobody can tell the difference.

NumPy writes into x. Arrays of a trace are values, so the result is bound to the name anew. That is
the same as long as nothing else shows the old array: another name, a container, a view, or the
caller whose argument it is. Where something does, it is an error and never another result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from neurlang.errors import DTypeError, MutationError, ShapeError
from neurlang.frontend.array import Array, cast, origin
from neurlang.ir.graph import Node
from neurlang.ir.ops import PURE_VIEWS

SYMBOLS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "matmul": "@",
    "and": "&",
    "or": "|",
    "xor": "^",
    "lshift": "<<",
    "rshift": ">>",
}


class _Probe:
    """Counts the references that Python itself holds while an operator runs."""

    def __iadd__(self, other: Any) -> int:
        return sys.getrefcount(self)


def _alone() -> int:
    probe: Any = _Probe()
    probe += 1
    return int(probe)


def _with_itself() -> int:
    probe: Any = _Probe()
    probe += probe
    return int(probe)


ALONE = _alone()  # references to an array that has one name
WITH_ITSELF = _with_itself()  # the same in `x += x`


def attach(function_of: Callable[[str], Callable[..., Any]]) -> None:
    """Give Array the augmented operators; `function_of` gives the operator's own function."""
    for name, symbol in SYMBOLS.items():
        setattr(Array, f"__i{name}__", _augmented(f"{symbol}=", function_of(name)))


def _augmented(symbol: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def augmented(self: Array, other: Any) -> Any:
        result = function(self, other)
        if result is NotImplemented or self.traced_by is None or not self.ndim:
            return result  # lazy arrays are values; what has no axes is a number, as in NumPy
        _check_outside(self, symbol)
        if sys.getrefcount(self) > (WITH_ITSELF if other is self else ALONE):
            raise _refused(self, symbol, "another name or container holds it")
        _check_views(self, symbol)
        return _in_place(self, result, symbol)

    return augmented


def _check_outside(x: Array, symbol: str) -> None:
    """MutationError where NumPy would write into memory of the caller."""
    assert x.traced_by is not None
    base = _base(x.node)
    captured = any(base is node for _, node in x.traced_by.captured.values())
    if base.op == "param" or captured:
        shown = base.attrs.get("name", "an array from outside")
        raise _refused(x, symbol, f"NumPy would write into {shown}")


def _check_views(x: Array, symbol: str) -> None:
    """MutationError where a view shows the memory that NumPy would write to."""
    assert x.traced_by is not None
    base = _base(x.node)
    for other in x.traced_by.living():
        if other is not x and _base(other.node) is base:
            raise _refused(x, symbol, "a view of it, or what it is a view of, is alive")


def _base(node: Node) -> Node:
    """What a chain of views shows."""
    while node.op in PURE_VIEWS:
        node = node.args[0]
    return node


def _in_place(x: Array, result: Array, symbol: str) -> Array:
    """The result in the shape and dtype of what it replaces, as NumPy writes it."""
    if result.shape != x.shape:
        raise ShapeError(
            f"{symbol} makes {result.node.type} of {x.node.type}, which has another shape",
            hint=f"write x = x {symbol[:-1]} y",
        )
    if result.dtype == x.dtype:
        return result
    if not np.can_cast(result.dtype, x.dtype, "same_kind"):
        raise DTypeError(
            f"{symbol} makes {result.node.type}, which {x.node.type} does not hold",
            hint=f"write x = x {symbol[:-1]} y",
        )
    return cast(result, x.dtype)


def _refused(x: Array, symbol: str, reason: str) -> MutationError:
    return MutationError(
        f"{symbol} would change {x.node.type} in place: {reason}",
        origin=origin(x),
        hint=f"write x = x {symbol[:-1]} y, which makes a new array",
    )


__all__ = ["attach"]
