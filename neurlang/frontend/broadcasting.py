"""Scalar functions lifted over arrays: all of their work is elementwise, and so one kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from neurlang.errors import ArgumentError, ShapeError
from neurlang.frontend.array import Array, as_operand, asarray, broadcast_to, common_shape
from neurlang.ir.types import Shape


def broadcast(function: Callable[..., Any], /) -> Callable[..., Any]:
    """`function` of scalars as a function of arrays, applied to every set of elements at once.

    Positional arguments broadcast together and are computed with as arrays of their common shape;
    Python numbers keep taking the dtype of the arrays that they meet. Keywords are passed on. The
    result, or each one of a tuple, has the common shape. ShapeError where arguments do not
    broadcast or a result is not elementwise; a branch on a value needs `where`.
    """
    if not callable(function):
        raise ArgumentError(f"broadcast takes a function, not {function!r}")
    name = getattr(function, "__name__", "a function")

    @functools.wraps(function)
    def elementwise(*args: Any, **keywords: Any) -> Any:
        operands = [as_operand(arg) for arg in args]
        shape = common_shape(name, operands)
        spread = [broadcast_to(x, shape) if isinstance(x, Array) else x for x in operands]
        result = function(*spread, **keywords)
        if isinstance(result, tuple):
            return tuple(_of_shape(name, part, shape) for part in result)
        return _of_shape(name, result, shape)

    return elementwise


def _of_shape(name: str, result: Any, shape: Shape) -> Array:
    """A result of the common shape; a constant is repeated to it."""
    found = asarray(result)
    if found.shape not in ((), shape):
        raise ShapeError(
            f"{name} made {found.node.type} out of elements of shape {list(shape)}",
            hint="a function that is broadcast must be elementwise",
        )
    return broadcast_to(found, shape)


__all__ = ["broadcast"]
