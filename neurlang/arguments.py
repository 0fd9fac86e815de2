"""What words on the command line name: functions in modules, and the types of arguments."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurlang.errors import FormatError
from neurlang.frontend.signature import ShapeDtype
from neurlang.ir.types import Type, parse_type


class CommandError(Exception):
    """The command line cannot be obeyed: what is wrong, and one thing to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what}\n  hint: {hint}" if hint else what)


def load_function(text: str) -> Callable[..., Any]:
    """The function that `module:function` names; the current folder is searched first."""
    module_name, _, path = text.partition(":")
    if not module_name or not path:
        raise CommandError(f"{text!r} names no function", "write module:function, like model:loss")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does while it is imported
        raise CommandError(
            f"cannot import {module_name!r}: {type(error).__name__}: {error}",
            "run from the folder of the module, and write a/b.py as a.b",
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise CommandError(
                f"{module_name} has no {path!r}", f"choose from {_functions(module_name)}"
            )
        found = getattr(found, name)
    if not callable(found):
        raise CommandError(f"{text} is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def _functions(module_name: str) -> str:
    """The public functions and classes that a module defines itself."""
    found = [
        name
        for name, value in vars(sys.modules[module_name]).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module_name
    ]
    return ", ".join(found) or "the functions of another module: it has none"


def read_type(text: str) -> Type:
    """`f32[64,128]` as a type."""
    try:
        return parse_type(text)
    except FormatError as error:
        raise CommandError(error.what, error.hint or "") from error


def placeholders(texts: Sequence[str]) -> list[ShapeDtype]:
    """Stand-ins for arrays of these types."""
    return [ShapeDtype(type.shape, type.dtype) for type in map(read_type, texts)]


def random_arguments(texts: Sequence[str], seed: int = 0) -> tuple[Any, ...]:
    """Arrays of these types: floats 0.5..1.5, integers 0..9, bools; the same for a seed."""
    random = np.random.default_rng(seed)
    return tuple(_random_array(random, read_type(text)) for text in texts)


def _random_array(random: np.random.Generator, type: Type) -> Any:
    if type.dtype.kind == "b":
        return random.random(type.shape) < 0.5
    if type.dtype.kind == "f":
        return np.asarray(random.uniform(0.5, 1.5, type.shape), type.dtype)
    return np.asarray(random.integers(0, 10, type.shape), type.dtype)
