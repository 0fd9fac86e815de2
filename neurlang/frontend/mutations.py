"""What changes an ndarray in place, refused on arrays here: the error names what returns a new one.

`augmented` has `x += y`, which is allowed where it makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from neurlang.errors import MutationError
from neurlang.frontend.array import Array

METHODS: Mapping[str, str] = {
    "__setitem__": "use update(x, key, value), where() or concatenate, and keep what they return",
    "__delitem__": "use slices and concatenate, and keep what they return",
    "fill": "use full_like(x, value), which returns a filled array",
    "partition": "use sort(x), which returns a sorted array",
    "put": "use update(x, key, value), and keep what it returns",
    "resize": "use reshape(x, shape) or pad(x, width), and keep what they return",
    "setflags": "leave it out: nothing writes into an array here",
    "sort": "use sort(x), which returns a sorted array",
}
ATTRIBUTES: Mapping[str, str] = {
    "dtype": "use astype(dtype), and keep what it returns",
    "flat": "use full_like(x, value) or update(x, key, value), and keep what they return",
    "imag": "leave it out: imaginary parts are zeros here",
    "real": "use full_like(x, value) or update(x, key, value), and keep what they return",
    "shape": "use reshape(x, shape), and keep what it returns",
}


def attach() -> None:
    """Give Array the refused methods; and its properties, which are there, setters that refuse."""
    for name, hint in METHODS.items():
        setattr(Array, name, _method(name, hint))
    for name, hint in ATTRIBUTES.items():
        setattr(Array, name, _attribute(Array.__dict__[name], hint))


def _method(name: str, hint: str) -> Callable[..., None]:
    def refuse(self: Array, *args: Any, **keywords: Any) -> None:
        """Refused: an ndarray is changed in place."""
        _refuse(self, hint)

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def _attribute(read: property, hint: str) -> property:
    def refuse(self: Array, value: Any) -> None:
        _refuse(self, hint)

    return read.setter(refuse)


def _refuse(x: Array, hint: str) -> NoReturn:
    raise MutationError(
        f"{x.node.type} is a value and cannot be assigned into", origin=x.node.where, hint=hint
    )


__all__ = ["attach"]
