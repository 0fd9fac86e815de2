"""The worker pool as machine code: workers that spin, then park, and claim indices one by one.

`neurlang_parallel(body, context, count, limit)` runs `body(context, index, worker)` once for every
index in 0..count and returns when all have run. The caller is worker 0; workers of the pool join
with the numbers 1..limit, each number given once a call. Whoever is free claims the next index, so
a thread that the system does not run delays a call only by an index that it has claimed.

A call is serial when it is small, when another one has the pool, and inside a body: there, too,
the pool is taken.
"""

from __future__ import annotations

from neurlang import settings
from neurlang.codegen.compile import Library, compile_object, link_object
from neurlang.codegen.machine import host_machine
from neurlang.codegen.pool_text import Parking, best_parking, pool_text
from neurlang.runtime.threads import Pool

# The library is kept for ever: workers live in its code, and llvmlite unloads nothing at exit.
_made: dict[str, tuple[Pool, Library]] = {}


def pool() -> Pool:
    """This process's pool, compiled at the first call."""
    if "pool" not in _made:
        made, library = compile_pool(best_parking())
        # Two threads may compile at once: one of the two wins, and nobody has used the other.
        # No lock, because a child forked while another thread held it would wait for ever.
        if _made.setdefault("pool", (made, library))[0] is made:
            made.survive_forks()
    return _made["pool"][0]


def parallel_address() -> int:
    """The address of `neurlang_parallel`, which compiled programs import. Valid for ever."""
    return pool().parallel_address


def start(threads: int | None = None) -> None:
    """Hire the workers now; `threads` as for `set_threads`."""
    if threads is not None:
        set_threads(threads)
    pool().start()


def set_threads(threads: int) -> None:
    """Let parallel loops have `threads` threads, their caller included; ValueError below 1."""
    pool().set_threads(threads)


def thread_count() -> int:
    """How many threads a parallel loop may have, its caller included."""
    return pool().threads


def compile_pool(parking: Parking) -> tuple[Pool, Library]:
    """A new pool, and its code, which must be kept for ever once the pool has been used."""
    names = ["neurlang_parallel"]
    if parking != "none":
        names += ["neurlang_start_workers", "neurlang_pool"]
    library = link_object(compile_object(pool_text(parking)), names)
    made = Pool([library[name] for name in names], parking)
    made.set_threads(settings.get("threads") or host_machine().cores)
    return made, library
