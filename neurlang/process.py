"""What all functions of a process share: `nl.cache`, `nl.memory` and the number of threads."""

from __future__ import annotations

from typing import Any

from neurlang import settings
from neurlang.codegen.machine import available_cores
from neurlang.jit import functions
from neurlang.specialization import backend

__all__ = ["cache", "get_threads", "memory", "set_threads"]


class _CacheControl:
    """`nl.cache`: what is kept in memory and on disk."""

    def clear(self) -> None:
        """Forget every program in memory and delete those on disk."""
        for function in list(functions):
            function.cache_clear()
        backend().clear()
        backend().disk_cache().clear()

    def stats(self) -> dict[str, Any]:
        """Counts of this process, and what the disk cache holds."""
        return {**backend().counts, "disk": backend().disk_cache().stats()}


cache = _CacheControl()


class _MemoryControl:
    """`nl.memory`: the pool that keeps the memory of large results for the next ones."""

    def clear(self) -> None:
        """Return what the pool holds to the system; arrays that are in use stay."""
        found = backend().memory()
        if found is not None:
            found.give_back()

    def stats(self) -> dict[str, int]:
        """Bytes that the pool holds and may hold, and how often it gave a result its memory."""
        found = backend().memory()
        if found is None:
            return {"held": 0, "limit": 0, "reuses": 0}
        return {name: int(getattr(found.state, name)) for name in ("held", "limit", "reuses")}


memory = _MemoryControl()


def set_threads(threads: int) -> None:
    """Let parallel loops have so many threads, their caller included, in the whole process.

    threads: 1 to 1024, or 0 for every core that the process may use. It goes before
    NEURLANG_THREADS; `options(threads=)` and `jit(threads=)` go before it. Functions that run
    already are not affected; the next call of any other compiles for that number. Results have the
    same bits for every number.

    Errors: OptionError for anything else.
    """
    settings.set_for_process("threads", threads)
    for function in list(functions):
        function.forget_latest()


def get_threads() -> int:
    """How many threads the parallel loops of a function without `jit(threads=)` have here.

    Those of the innermost `options(threads=)`, else what `set_threads` was given, else
    NEURLANG_THREADS; where none is set or it is 0, the cores that affinity and the control group's
    quota leave to the process.
    """
    return int(settings.get("threads")) or available_cores()
