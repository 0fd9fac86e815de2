"""Every NEURLANG_* environment variable, and the `options` context manager that overrides them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, ContextDecorator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from neurlang.errors import OptionError
from neurlang.runtime.entry import Overrides, entered, overrides, shared_overrides
from neurlang.runtime.threads import MOST_THREADS

STAGES = ("trace", "graph", "loops", "llvm", "asm")
TRUE, FALSE = ("1", "true", "on", "yes"), ("0", "false", "off", "no")


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Option:
    """One option: its variable is NEURLANG_ and the name in capitals."""

    name: str
    default: Any
    allowed: Callable[[Any], bool]
    wanted: str
    meaning: str
    normal: Callable[[Any], Any] = _unchanged  # one spelling of what can be written in several

    @cached_property
    def variable(self) -> str:
        """The environment variable."""
        return "NEURLANG_" + self.name.upper()

    def checked(self, value: Any) -> Any:
        """The value that `options` was given, in its usual spelling; OptionError for no value."""
        if type(value) is not type(self.default) or not self.allowed(value):
            wanted = "True or False" if type(self.default) is bool else self.wanted
            raise OptionError(f"the option {self.name} is {value!r}", hint=f"give it {wanted}")
        return self.normal(value)

    def parsed(self, text: str) -> Any:
        """The value of the environment variable."""
        value: Any = text
        if type(self.default) is bool and text.lower() in (*TRUE, *FALSE):
            value = text.lower() in TRUE
        elif type(self.default) is int:
            try:
                value = int(text)
            except ValueError:
                pass  # a text is no integer: refused below
        if type(value) is not type(self.default) or not self.allowed(value):
            raise OptionError(
                f"{self.variable} is {text!r}", hint=f"set it to {self.wanted}, or unset it"
            )
        return self.normal(value)


def _any(value: Any) -> bool:
    return True


def _natural(value: int) -> bool:
    return value >= 0


def _thread_count(value: int) -> bool:
    return 0 <= value <= MOST_THREADS


def _cache_word(text: str) -> str:
    """`off`, `ro`, a folder as it is, or nothing for the user's own folder."""
    word = text.lower()
    if word in FALSE:
        return "off"
    if word in TRUE:
        return ""
    return word if word == "ro" else text


def _names(choices: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda text: all(part.strip() in ("", *choices) for part in text.split(","))


_SWITCH = "1 or 0"

OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("disable_jit", False, _any, _SWITCH, "run graphs with NumPy, op by op"),
        Option("dump", "", _names(STAGES), f"some of {','.join(STAGES)}", "stages to write"),
        Option("dump_dir", "", _any, "a folder", "where dumps go; standard error if empty"),
        Option("log", "", _names(("compile",)), "compile", "what to log on standard error"),
        Option(
            "threads",
            0,
            _thread_count,
            f"an integer from 0 to {MOST_THREADS}",
            "of parallel loops; 0: every core",
        ),
        Option(
            "cache",
            "",
            _any,
            "on, off, ro or a folder",
            "programs on disk; ro: read only",
            _cache_word,
        ),
        Option(
            "bisect",
            -1,
            lambda value: value >= -1,
            "an integer from -1",
            "run the first n passes only; -1: all",
        ),
        Option("verify", False, _any, _SWITCH, "verify the IR after every pass"),
        Option("fusion", True, _any, _SWITCH, "fuse nodes into kernels; 0: one kernel a node"),
        Option(
            "vector_bits",
            0,
            lambda value: value in (0, 128, 256, 512),
            "0, 128, 256 or 512",
            "width of vectors; 0: the machine's",
        ),
        Option(
            "pool",
            -1,
            lambda value: value >= -1,
            "an integer from -1",
            "MiB of memory kept for large results; -1: a sixteenth of the machine's",
        ),
        Option("tile", 0, _natural, "an integer from 0", "elements of a parallel chunk; 0: chosen"),
    )
}

in_force: Callable[[], Overrides] = overrides.get
"""The overrides of this context, one object for equal ones."""


_process: dict[str, Any] = {}
"""What was set for this process, which goes before the environment."""


def get(name: str) -> Any:
    """The value of an option: an override, else the process's, else the environment's, else its
    default.

    A variable that is empty counts as unset.
    """
    found = in_force()
    if name in found:
        return found[name]
    if name in _process:
        return _process[name]
    option = OPTIONS[name]
    text = os.environ.get(option.variable)
    return option.parsed(text) if text else option.default


def set_for_process(name: str, value: Any) -> None:
    """Set an option where no `options` block does; OptionError for a value that there is not."""
    _process[name] = OPTIONS[name].checked(value)


def chosen() -> tuple[tuple[str, Any], ...]:
    """What this context and this process set, sorted: programs made for other values differ."""
    return tuple(sorted({**_process, **in_force()}.items()))


def stamp() -> Hashable:
    """Equal in contexts and processes where `chosen` is, as long as what is in force lives."""
    return (id(in_force()), *_process.items())


def check_all() -> None:
    """OptionError where a variable has a value that there is not, before anything depends on it."""
    for name in OPTIONS:
        get(name)


def options(**values: Any) -> AbstractContextManager[None]:
    """Set options for the code inside; OptionError for a name or a value that there is not.

    The names are those of the variables: `with options(threads=1, fusion=False):`. What it returns
    can be entered again and again, also inside itself and in several threads at once.
    """
    checked = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise OptionError(
                f"there is no option {name!r}", hint=f"choose from {', '.join(OPTIONS)}"
            )
        checked[name] = OPTIONS[name].checked(value)
    return _Overriding(checked)


class Contexts:
    """How many `options` blocks are entered, in any thread."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @property
    def entered(self) -> int:
        """The number that native entries look at."""
        return entered.value

    def count(self, change: int) -> None:
        with self.lock:
            entered.value += change


contexts = Contexts()


_left: ContextVar[tuple[Overrides, ...]] = ContextVar("neurlang_left", default=())
"""What was in force outside of each `options` block of this context, the outermost first."""


class _Overriding(ContextDecorator):
    """Values of options, in force inside a `with` block or a function that is decorated with them.

    What was in force before is kept by the context and not here, so that one object may be entered
    twice at the same time.
    """

    def __init__(self, values: Overrides) -> None:
        self.values = values

    def __enter__(self) -> None:
        _left.set((*_left.get(), in_force()))
        overrides.set(shared_overrides(frozenset({**in_force(), **self.values}.items())))
        contexts.count(1)

    def __exit__(self, *error: object) -> None:
        contexts.count(-1)
        *outer, last = _left.get()
        overrides.set(last)
        _left.set(tuple(outer))
