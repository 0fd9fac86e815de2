"""What all functions of a process share: `nl.cache` and `nl.memory`."""

from __future__ import annotations

from typing import Any

from neurlang.jit import functions
from neurlang.specialization import backend

__all__ = ["cache", "memory"]


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
