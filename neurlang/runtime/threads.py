"""The worker pool as Python sees it: its memory, the number of its threads, and forked children."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence

MOST_THREADS = 1024
MOST_RANGES = 64

_LINE = 64
_Word = ctypes.c_uint32
_Pointer = ctypes.c_void_p


class Range(ctypes.Structure):
    """A range of the running call's indices: where it ends, and what nobody has claimed of it.

    `ticket` holds the number of the call in its upper half and, in its lower half, how many indices
    are left. A claim is one compare-and-swap that takes 1 from it, so it fails for a thread that
    slept through the end of the call that it read about.
    """

    _fields_ = [
        ("ticket", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("_padding", ctypes.c_char * (_LINE - 16)),
    ]


class PoolState(ctypes.Structure):
    """The pool's memory, shared with its machine code; groups that different threads write lie on
    cache lines of their own.
    """

    _fields_ = [
        # the running call; `home` is the core that its caller runs on; `joined` has its number in
        # the upper half, so that a worker who comes late takes no place in the next one
        ("epoch", _Word),
        ("home", _Word),
        ("joined", ctypes.c_uint64),
        ("body", _Pointer),
        ("context", _Pointer),
        ("count", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("ranges", ctypes.c_uint64),
        ("_call_padding", ctypes.c_char * (_LINE - 56)),
        ("range", Range * MOST_RANGES),
        # indices that workers have finished; whether the caller sleeps until there are more
        ("finished", _Word),
        ("waiting", _Word),
        ("_finish_padding", ctypes.c_char * (_LINE - 8)),
        # parked workers; whether a call runs; living workers; whether the mutex and the condition
        # variable are initialised; calls that wake workers late, and how many those became at last
        ("sleepers", _Word),
        ("busy", _Word),
        ("workers", _Word),
        ("prepared", _Word),
        ("doubt", _Word),
        ("failures", _Word),
        ("_staff_padding", ctypes.c_char * (_LINE - 24)),
        # only where workers park on a condition variable
        ("mutex", ctypes.c_char * _LINE),
        ("condition", ctypes.c_char * _LINE),
        # what a fork keeps: how many threads a call may have, its caller included;
        # Python's main thread, and the time at which it looks for signals again
        ("wanted", _Word),
        ("_main_padding", ctypes.c_char * 4),
        ("main", ctypes.c_uint64),
        ("deadline", ctypes.c_int64),
        ("_setting_padding", ctypes.c_char * (_LINE - 24)),
    ]


class Pool:
    """The one pool of this process, made of the addresses of its entry points and its memory.

    `addresses` are those of `neurlang_parallel`, `neurlang_start_workers` and the PoolState. Only
    the first is given where machine code has no threads: then every parallel loop runs in the
    thread that called it. `parking` says on what idle workers sleep.
    """

    def __init__(self, addresses: Sequence[int], parking: str) -> None:
        self.parallel_address = addresses[0]
        self.parking = parking
        self._start_address = 0
        self._state: PoolState | None = None
        if len(addresses) == 3:
            self._start_address = addresses[1]
            self._state = PoolState.from_address(addresses[2])
            self._state.main = threading.main_thread().ident or 0

    @property
    def threads(self) -> int:
        """How many threads a parallel loop may have, its caller included."""
        return 1 if self._state is None else int(self._state.wanted)

    @property
    def living_workers(self) -> int:
        """Workers that exist now: none before the first parallel loop."""
        return 0 if self._state is None else int(self._state.workers)

    def set_threads(self, threads: int) -> None:
        """Let parallel loops have `threads` threads; ValueError unless it is 1..MOST_THREADS.

        Workers are hired, or leave, at the next parallel loop. Where the system has none to give,
        the number becomes what there is.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"the number of threads is 1..{MOST_THREADS}, not {threads}")
        if self._state is not None:
            self._state.wanted = threads

    def admit(self, threads: int) -> None:
        """Let parallel loops have `threads` threads if they cannot have as many yet."""
        if threads > self.threads:
            self.set_threads(threads)

    def start(self) -> None:
        """Hire the workers now instead of at the first parallel loop."""
        if self._start_address:
            ctypes.CFUNCTYPE(None)(self._start_address)()

    def survive_forks(self) -> None:
        """From now on a forked child finds the pool idle and hires workers of its own."""
        if self._state is not None and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_workers)

    def describe(self) -> str:
        """One line for people: what parallel loops run on."""
        if self._state is None:
            return "parallel loops run serially: this system has no POSIX threads"
        return (
            f"parallel loops have up to {self.threads} threads, {self.living_workers + 1} alive, "
            f"parked on a {self.parking}"
        )

    def _forget_workers(self) -> None:
        # No worker lives in the child, and a call that another thread made will not end here.
        if self._state is not None:
            ctypes.memset(ctypes.addressof(self._state), 0, PoolState.wanted.offset)
            self._state.main = threading.get_ident()  # the thread that forked is the child's only
