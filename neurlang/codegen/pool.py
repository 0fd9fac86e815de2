"""What every program shares, as machine code: the ways in, the worker pool, the pool of results.

Workers spin, then park, and claim indices one by one.

`neurlang_parallel(body, context, count, limit)` runs `body(context, index, worker)` once for every
index in 0..count and returns when all have run. The caller is worker 0; workers of the pool join
with numbers below the limit, each given once a call. A thread begins with the same range of the
indices in all calls, and its caches hold what it left there; once that is used up it claims those
of others, so a thread that the system does not run delays a call only by an index that it has
claimed.

A call is serial when it is small, when another one has the pool, and inside a body: there, too,
the pool is taken.

Between two indices, Python's main thread looks for signals, 40 times a second. Where the handler of
one raises an exception, Ctrl-C's say, no further index is run, and the call returns 1 instead of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from neurlang import settings
from neurlang.codegen.compile import Library, compile_object, compiler_versions, link_object
from neurlang.codegen.entry import ENTRY, RELEASE, RUN, entry_text, run_text
from neurlang.codegen.machine import host_machine
from neurlang.codegen.memory_text import EXPORTS, memory_text
from neurlang.codegen.parking_text import Parking, best_parking
from neurlang.codegen.pool_text import pool_text
from neurlang.codegen.sort_text import ARGSORT_ROWS, SORT_ROWS, sort_text
from neurlang.codegen.steps_text import steps_text
from neurlang.runtime.cache import DiskCache, content_key, open_cache
from neurlang.runtime.call import signal_symbols
from neurlang.runtime.entry_table import entry_symbols
from neurlang.runtime.memory import Memory, available, physical_memory
from neurlang.runtime.objects import native_entry_available
from neurlang.runtime.sorting import sort_symbols
from neurlang.runtime.threads import Pool

POOL_SHARE = 16  # of the machine's memory one part in so many


class Shared(NamedTuple):
    """The code and pools of a process. The library is kept for ever: workers live in its code, and
    arrays that die at exit call it; llvmlite unloads nothing there."""

    workers: Pool
    memory: Memory | None
    library: Library


_made: dict[str, Shared] = {}


def _shared() -> Shared:
    """This process's pools, compiled at the first call."""
    if "pools" not in _made:
        made = compile_pools(best_parking())
        # Two threads may compile at once: one of the two wins, and nobody has used the other.
        # No lock, because a child forked while another thread held it would wait for ever.
        if _made.setdefault("pools", made) is made:
            made.workers.survive_forks()
    return _made["pools"]


def pool() -> Pool:
    """The worker pool."""
    return _shared().workers


def memory() -> Memory | None:
    """The pool of large results, as large as NEURLANG_POOL says now; None where there is none."""
    found = _shared().memory
    if found is not None:
        found.state.limit = pool_limit()
    return found


def pool_limit() -> int:
    """Bytes that the pool of large results may hold."""
    chosen = settings.get("pool")
    return physical_memory() // POOL_SHARE if chosen < 0 else chosen << 20


_caches: dict[str, DiskCache] = {}


def disk_cache() -> DiskCache:
    """The cache that NEURLANG_CACHE asks for now."""
    setting = settings.get("cache")
    if setting not in _caches:
        _caches[setting] = open_cache(setting or None)
    return _caches[setting]


def address(name: str) -> int:
    """The address of one of the shared functions; valid for ever."""
    return _shared().library[name]


def call_address() -> int | None:
    """The address of `neurlang_call`, by which Python runs programs that listen to signals."""
    return _shared().library.addresses.get("neurlang_call")


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


def compile_pools(parking: Parking) -> Shared:
    """New pools, and their code, which must be kept for ever once they have been used."""
    signals = signal_symbols()
    names = ["neurlang_parallel"]
    if parking != "none":
        names += ["neurlang_start_workers", "neurlang_pool"]
    entries, large = [RUN, RELEASE, SORT_ROWS, ARGSORT_ROWS], EXPORTS if available() else ()
    if signals and parking != "none":
        entries.append("neurlang_call")
    texts = [pool_text(parking, bool(signals)), run_text(host_machine())]
    texts += [steps_text(), sort_text()]
    symbols = signals | sort_symbols()
    if large:
        texts.append(memory_text())
    if native_entry_available():
        entries.append(ENTRY)
        texts.append(entry_text())
        symbols = symbols | entry_symbols()
    library = link_object(_object(_joined(texts)), [*names, *entries, *large], symbols)
    workers = Pool([library[name] for name in names], parking)
    workers.set_threads(settings.get("threads") or host_machine().cores)
    memory = Memory({name: library[name] for name in large}, pool_limit()) if large else None
    return Shared(workers, memory, library)


def _joined(texts: Sequence[str]) -> str:
    """One module; what several of the texts declare is declared once."""
    lines = (line for text in texts for line in text.splitlines())
    seen: set[str] = set()
    kept = []
    for line in lines:
        if line not in seen:
            kept.append(line)
        if line.startswith("declare "):
            seen.add(line)
    return "\n".join(kept)


def _object(text: str) -> bytes:
    """The object of a text for this machine: from the disk cache, or made now."""
    machine, cache = host_machine(), disk_cache()
    target = (machine.triple, machine.cpu, machine.feature_text)
    key = content_key("shared", *compiler_versions(), *target, text)
    found = cache.load(key)
    if found is None:
        found = {"object": compile_object(text)}
        cache.store(key, found)
    return found["object"]
