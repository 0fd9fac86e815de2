"""Notices what would run once, while tracing, and silently become a constant."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from neurlang.errors import SideEffectError, Where, user_frame
from neurlang.frontend.trace import current_trace

_hooked: list[bool] = []
_TRUSTED = ("importlib", "linecache.py", "tokenize.py", "traceback.py", "codecs")


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Opening a file inside a trace is an error, unless Python itself does it to import."""
    if event != "open" or current_trace() is None:
        return
    frame = sys._getframe(1)
    user = user_frame()
    while frame is not None and frame is not user:
        if any(name in frame.f_code.co_filename for name in _TRUSTED):
            return
        frame = frame.f_back  # type: ignore[assignment]
    raise SideEffectError(
        f"{args[0]!r} is opened while the function is traced",
        hint="read files outside and pass their contents as arguments",
    )


@contextmanager
def watching(function: Callable[..., Any]) -> Iterator[None]:
    """Raise SideEffectError when the function draws random numbers or opens a file."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_audit)
    generators = _generators(function)
    before = [_state(generator) for generator in generators]
    yield
    for generator, state in zip(generators, before):
        if _state(generator) != state:
            code = getattr(function, "__code__", None)
            raise SideEffectError(
                f"{getattr(function, '__name__', 'the function')} draws random numbers while it "
                "is traced: every call would get the same ones",
                where=Where(code.co_filename, code.co_firstlineno) if code else None,
                hint="draw them outside and pass them as arguments",
            )


def _generators(function: Callable[..., Any]) -> list[Any]:
    """Random generators in reach: the global ones, and those that the function names."""
    found: list[Any] = [random, np.random.mtrand._rand]  # type: ignore[attr-defined]
    code = getattr(function, "__code__", None)
    names = getattr(code, "co_names", ())
    values = [getattr(function, "__globals__", {}).get(name) for name in names]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            continue  # the variable is not bound yet
    kinds = (np.random.Generator, np.random.RandomState, random.Random)
    found.extend(value for value in values if isinstance(value, kinds))
    return found


def _state(generator: Any) -> Any:
    if generator is random or isinstance(generator, random.Random):
        return generator.getstate()
    bits = getattr(generator, "bit_generator", None) or generator._bit_generator
    state = bits.state
    if state["bit_generator"] == "MT19937":
        return state["state"]["key"].tobytes(), state["state"]["pos"]
    return repr(state)
