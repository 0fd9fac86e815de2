"""Runs passes: verifies after each when asked, times them, keeps what each left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

Ir = TypeVar("Ir")


class PassRecord(NamedTuple):
    """What one pass did: its name, seconds, and how the IR printed before and after."""

    name: str
    seconds: float
    before: str
    after: str


@dataclass
class PassLog:
    """The records of one compilation. Texts are kept only where somebody wants to read them."""

    keep_texts: bool = False
    records: list[PassRecord] = field(default_factory=list)


class Budget:
    """How many optional passes may still run: NEURLANG_BISECT finds the guilty one by halving."""

    def __init__(self, limit: int, needed: frozenset[str]) -> None:
        self.left = limit if limit >= 0 else None
        self.needed = needed

    def allows(self, name: str) -> bool:
        if self.left is None or name in self.needed:
            return True
        self.left -= 1
        return self.left >= 0


def run_passes(
    value: Ir,
    passes: Sequence[Callable[[Ir], Ir]],
    names: Sequence[str],
    log: PassLog,
    budget: Budget,
    verify: Callable[[Ir, str], None] | None,
) -> Ir:
    """Apply passes in order, within the budget.

    A pass that stands there twice has nothing to do where those between changed nothing: what it
    left behind is what it would make of it.
    """
    left: dict[str, Ir] = {}
    for apply, name in zip(passes, names, strict=True):
        if not budget.allows(name):
            continue
        before = str(value) if log.keep_texts else ""
        started = time.perf_counter()
        if left.get(name) is not value:
            value = left[name] = apply(value)
        seconds = time.perf_counter() - started
        if verify is not None:
            verify(value, name)
        after = str(value) if log.keep_texts else ""
        log.records.append(PassRecord(name, seconds, before, after))
    return value
