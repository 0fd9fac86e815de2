"""`nl.set_threads`: what goes before what, errors, and that functions follow it."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import settings
from neurlang.codegen import pool
from neurlang.codegen.machine import available_cores

X = np.linspace(-1, 1, 200_000).reshape(500, 400)


def row_sums(x: Any) -> Any:
    return np.exp(x).sum(axis=1)


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_process", {})
    monkeypatch.delenv("NEURLANG_THREADS", raising=False)


def threads_of(function: Any) -> int:
    """The number that a call's program was made for: its plan's."""
    text = function.lower(X).as_text("llvm")
    (line,) = (line for line in text.splitlines() if line.startswith("@numbers = "))
    return int(line.split("i64 ")[4].rstrip(", "))


def test_what_goes_before_what(monkeypatch: pytest.MonkeyPatch) -> None:
    function, chosen = nl.jit(row_sums, cache=False), nl.jit(row_sums, threads=7, cache=False)
    assert nl.get_threads() == threads_of(function) == available_cores()
    monkeypatch.setenv("NEURLANG_THREADS", "3")
    function.cache_clear()  # the environment is read when a function is compiled
    assert nl.get_threads() == threads_of(function) == 3
    nl.set_threads(4)
    assert nl.get_threads() == threads_of(function) == 4
    with nl.options(threads=5):
        assert nl.get_threads() == threads_of(function) == 5
        nl.set_threads(6)
        assert nl.get_threads() == threads_of(function) == 5
        assert threads_of(chosen) == 7
    assert nl.get_threads() == threads_of(function) == 6
    with nl.options(threads=0):
        assert nl.get_threads() == threads_of(function) == available_cores()
    nl.set_threads(0)
    assert nl.get_threads() == threads_of(function) == available_cores()


def test_every_thread_of_the_process_sees_it() -> None:
    found: list[int] = []
    nl.set_threads(3)
    thread = threading.Thread(target=lambda: found.append(nl.get_threads()))
    thread.start()
    thread.join()
    assert found == [3]


@pytest.mark.parametrize("wrong", [-1, 1025, 10**30, 2.0, "2", None, True])
def test_numbers_that_make_no_sense(wrong: Any) -> None:
    nl.set_threads(2)
    with pytest.raises(nl.OptionError, match="threads is"):
        nl.set_threads(wrong)
    assert nl.get_threads() == 2
    with pytest.raises(nl.OptionError, match="threads is"), nl.options(threads=wrong):
        pass
    if wrong is not None:
        with pytest.raises(nl.OptionError, match="threads is"):
            nl.jit(row_sums, threads=wrong)


def test_a_variable_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_THREADS", "5000")
    with pytest.raises(nl.OptionError, match="NEURLANG_THREADS is '5000'"):
        nl.get_threads()


def test_calls_follow_and_give_the_same_bits() -> None:
    function = nl.jit(row_sums, cache=False)
    found = []
    for threads in (1, 2, 5, 1):
        nl.set_threads(threads)
        found += [function(X).tobytes(), function(X).tobytes()]
    assert len(set(found)) == 1
    assert function.cache_info().misses == 3  # one program for each number


@pytest.mark.skipif(os.name != "posix", reason="this system has no POSIX threads")
def test_the_pool_has_the_threads_that_a_program_was_made_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the pool was made for fewer: `jit(threads=)` goes before all else."""
    before = pool.thread_count()
    try:
        pool.set_threads(1)
        monkeypatch.setenv("NEURLANG_THREADS", "1")
        nl.jit(row_sums, threads=3, cache=False)(X)
        assert pool.thread_count() == 3 and pool.pool().living_workers >= 2
        nl.jit(row_sums, threads=2, cache=False)(X)
        assert pool.thread_count() == 3  # those of the other function
    finally:
        pool.set_threads(before)
