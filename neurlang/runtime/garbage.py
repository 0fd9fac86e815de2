"""Python's collector of cycles stands still while a program is made.

A compilation makes many objects that stay until its end, and no cycles: looking for some took a
third of the time of a long one.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pausing: set[int] = set()  # the threads for which it stands still
_resume = False  # whether the collector ran before the first of them


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside, in any thread; afterwards the collector is as it was."""
    global _resume
    thread = threading.get_ident()
    if thread in _pausing:
        yield
        return
    with _lock:
        if not _pausing:
            _resume = gc.isenabled()
            gc.disable()
        _pausing.add(thread)
    try:
        yield
    finally:
        with _lock:
            _leave({thread})


def _leave(threads: set[int]) -> None:
    if threads & _pausing:
        _pausing.difference_update(threads)
        if not _pausing and _resume:
            gc.enable()


def _forget_other_threads() -> None:
    """A child has none of its parent's threads but the one that it was made in."""
    global _lock
    _lock = threading.Lock()
    _leave(_pausing - {threading.get_ident()})


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
