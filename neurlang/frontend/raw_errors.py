"""What Python and NumPy themselves raise inside a trace, as errors that name the user's line."""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import numpy as np

from neurlang.errors import (
    ArgumentError,
    AxisError,
    DomainError,
    IndexingError,
    NeurlangError,
    Where,
    is_user_file,
)
from neurlang.frontend.protocols import FUNCTIONS

KINDS: Mapping[type[BaseException], type[NeurlangError]] = {
    TypeError: ArgumentError,
    ValueError: DomainError,
    IndexError: IndexingError,
    np.exceptions.AxisError: AxisError,
}
_RAISING = ("RAISE_VARARGS", "RERAISE")
_BAD_CALL = re.compile(r"(\w+)\(\) (?:got|missing|takes)\b")


@contextmanager
def named_lines() -> Iterator[None]:
    """Give errors of wrong calls our kind, which is Python's as well, and the user's line.

    What the user's own code raises is left as it is, and so are kinds with a public name that we
    have no counterpart of.
    """
    try:
        yield
    except tuple(KINDS) as error:
        nameless = type(error) in KINDS or type(error).__module__.startswith("numpy._core")
        if not nameless or _raised_by_user(error.__traceback__):
            raise
        kind = next(KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)
        text = str(error)
        raise kind(text, where=_last_user_line(error.__traceback__), hint=_hint(text)) from error


def _raised_by_user(traceback: TracebackType | None) -> bool:
    """Whether a `raise` in the user's code, and nothing that it calls, made the error."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    code = traceback.tb_frame.f_code
    name = dis.opname[code.co_code[traceback.tb_lasti]]
    return is_user_file(code.co_filename) and name in _RAISING


def _last_user_line(traceback: TracebackType | None) -> Where | None:
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if is_user_file(file):
            found = Where(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _hint(text: str) -> str | None:
    """How the function is called that the error of a wrong call names."""
    match = _BAD_CALL.match(text)
    function = FUNCTIONS.get(match[1]) if match else None
    return f"it is {match[1]}{inspect.signature(function)}" if match and function else None


__all__ = ["named_lines"]
