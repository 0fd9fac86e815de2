"""Every NEURLANG_* environment variable, and the `options` context manager that overrides them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from neurlang.errors import OptionError


@dataclass(frozen=True)
class Option:
    """One option: its variable is NEURLANG_ and the name in capitals."""

    name: str
    kind: type
    default: Any
    meaning: str

    @property
    def variable(self) -> str:
        return "NEURLANG_" + self.name.upper()


OPTIONS = {
    option.name: option
    for option in (
        Option("disable_jit", bool, False, "run graphs op by op with NumPy instead of compiling"),
        Option("dump", str, "", "stages to write: trace,graph,loops,llvm,asm"),
        Option("dump_dir", str, "", "folder for dumps; standard error when empty"),
        Option("log", str, "", "what to log on standard error: compile"),
        Option("threads", int, 0, "threads of parallel loops; 0 takes every available core"),
        Option("cache", str, "", "off, ro (read only) or a folder for compiled programs"),
        Option("bisect", int, -1, "run only the first n passes: finds the one that is wrong"),
        Option("verify", bool, False, "verify the IR after every pass"),
        Option("fusion", bool, True, "fuse nodes into kernels; off gives one kernel a node"),
        Option("vector_bits", int, 0, "vector width: 128, 256 or 512; 0 takes the machine's"),
        Option("tile", int, 0, "elements of a parallel chunk; 0 lets the cost model choose"),
    )
}


@dataclass
class State:
    """Changes whenever `options` is entered or left: compiled entries hold for one generation."""

    generation: int = 0

    def overridden(self) -> bool:
        """Whether this context has overrides."""
        return bool(_overrides.get({}))


state = State()
_overrides: ContextVar[dict[str, Any]] = ContextVar("neurlang_options")


def _parse(option: Option, text: str) -> Any:
    if option.kind is str:
        return text
    if option.kind is bool and text.lower() in ("", "0", "false", "off", "no"):
        return False
    if option.kind is bool and text.lower() in ("1", "true", "on", "yes"):
        return True
    try:
        if option.kind is int:
            return int(text)
    except ValueError:
        pass
    raise OptionError(
        f"{option.variable} is {text!r}, which is not a {option.kind.__name__}",
        hint=f"unset {option.variable} or give it a {option.kind.__name__}",
    )


def get(name: str) -> Any:
    """The value of an option: an override, else the environment, else its default."""
    overrides = _overrides.get({})
    if name in overrides:
        return overrides[name]
    option = OPTIONS[name]
    text = os.environ.get(option.variable)
    return option.default if text is None else _parse(option, text)


@contextmanager
def options(**values: Any) -> Iterator[None]:
    """Set options for the code inside; OptionError for a name that does not exist."""
    for name in values:
        if name not in OPTIONS:
            raise OptionError(
                f"there is no option {name!r}", hint=f"choose one of {', '.join(OPTIONS)}"
            )
    token = _overrides.set({**_overrides.get({}), **values})
    state.generation += 1
    try:
        yield
    finally:
        _overrides.reset(token)
        state.generation += 1
