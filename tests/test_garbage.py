"""The collector stands still while programs are made, and goes on afterwards as it was."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

import neurlang as nl
from neurlang.runtime.garbage import collector_paused


def test_it_goes_on_after_the_last_pause() -> None:
    assert gc.isenabled()
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_ends_a_pause() -> None:
    with pytest.raises(ZeroDivisionError), collector_paused():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_a_function_is_traced_without_it() -> None:
    seen = []

    def function(x: np.ndarray) -> np.ndarray:
        seen.append(gc.isenabled())
        return x + 1

    nl.jit(function)(np.ones(3))
    assert seen == [False] and gc.isenabled()


@contextmanager
def paused_elsewhere() -> Iterator[None]:
    """Another thread is inside a pause, until the end."""
    inside, leave = threading.Event(), threading.Event()

    def pause() -> None:
        with collector_paused():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=pause)
    other.start()
    assert inside.wait(10)
    yield
    leave.set()
    other.join()


def test_pauses_of_several_threads_overlap() -> None:
    with ExitStack() as elsewhere:
        with collector_paused():
            elsewhere.enter_context(paused_elsewhere())
        assert not gc.isenabled()  # the other one is not done
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_no_pause_of_a_thread_that_it_lacks() -> None:
    with paused_elsewhere():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
    assert os.waitpid(child, 0)[1] == 0
