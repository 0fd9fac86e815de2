"""Errors: what happened, where in the user's code, where the value came from, and one action."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_FOREIGN = (PACKAGE, os.path.dirname(np.__file__) + os.sep, "<frozen", "<__array_function__")


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the user's program; `text` is its source where the file may not be at hand."""

    file: str
    line: int
    text: str = field(default="", compare=False)

    @property
    def source(self) -> str:
        """The line itself."""
        return self.text or linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"

    @property
    def described(self) -> str:
        """`model.py:5: return x + y`, as errors show it."""
        source = self.source
        return f"{self}: {source}" if source else str(self)


class Definition(Where):
    """Where a function begins, perhaps with decorators: its `def` is looked for when it is shown,
    since that reads the file."""

    @property
    def source(self) -> str:
        return self._below_decorators().source

    def __str__(self) -> str:
        return str(self._below_decorators())

    def _below_decorators(self) -> Where:
        for number in range(self.line, self.line + 100):
            if linecache.getline(self.file, number).lstrip().startswith(("def ", "async ")):
                return Where(self.file, number)
        return Where(self.file, self.line)


@lru_cache(maxsize=4096)
def is_user_file(file: str) -> bool:
    """Whether a file belongs neither to neurlang nor to NumPy nor to Python itself."""
    if file.startswith(_FOREIGN):
        return False
    return not file.startswith(_STANDARD) or any(part in file for part in _INSTALLED)


def user_frame() -> FrameType | None:
    """The innermost frame that belongs to the user."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_user_file(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None


def user_line() -> Where | None:
    """The user's line that is being run."""
    frame = user_frame()
    return None if frame is None else Where(frame.f_code.co_filename, frame.f_lineno)


def definition(function: Callable[..., Any]) -> Where | None:
    """The line on which a function's `def` stands, below its decorators."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    kind = Where if code.co_name == "<lambda>" else Definition
    return kind(code.co_filename, code.co_firstlineno)


class NeurlangError(Exception):
    """Base of every error that neurlang raises on purpose.

    At most four lines: what happened, `at` the user's line, `from` the line that made the value,
    and a `hint`: one thing to do.
    """

    def __init__(
        self,
        what: str,
        *,
        where: Where | None = None,
        origin: Where | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where or user_line()
        self.origin = origin = None if origin == self.where else origin
        self.hint = hint
        lines = [what]
        if self.where is not None:
            lines.append(f"  at {self.where.described}")
        if origin is not None:
            lines.append(f"  from {origin.described}")
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> Any:
        return _restored, (type(self), self.what, self.where, self.origin, self.hint)


def _restored(
    kind: type[NeurlangError], what: str, where: Where, origin: Where | None, hint: str | None
) -> NeurlangError:
    """An error that comes from another process."""
    return kind(what, where=where, origin=origin, hint=hint)


class ShapeError(NeurlangError, ValueError):
    """Shapes do not fit together."""


class DTypeError(NeurlangError, TypeError):
    """A dtype is not supported, or does not fit the operation."""


class RangeError(DTypeError, OverflowError):
    """A Python integer does not fit the dtype that it is converted to."""


class AxisError(NeurlangError, ValueError, IndexError):
    """An axis is out of range or named twice."""


class IndexingError(NeurlangError, IndexError):
    """An index is out of range or of a kind that is not supported."""


class DomainError(NeurlangError, ValueError):
    """A value lies outside of what the operation is defined for."""


class ArgumentError(NeurlangError, TypeError):
    """An argument is of a kind that cannot be compiled."""


class ConcreteValueError(NeurlangError, TypeError):
    """Python asked for the value of an array that is being traced."""


class LeakedTracerError(NeurlangError, RuntimeError):
    """A traced array outlived the trace that it belongs to."""


class MutationError(NeurlangError, TypeError):
    """A traced array was assigned into."""


class SideEffectError(NeurlangError, RuntimeError):
    """Something inside a trace would be run once and become a constant."""


class OptionError(NeurlangError, ValueError):
    """An option has an unknown name or value."""


class FormatError(NeurlangError, ValueError):
    """A text or file is not in the format it should be in."""


class InternalError(Exception):
    """A bug of ours: the message names the stage, the culprit, and how to replay it."""
