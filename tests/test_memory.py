"""The pool of large results: reuse, alignment, limits, threads, forks, exits, memory that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen import pool
from neurlang.runtime import memory

pytestmark = pytest.mark.skipif(not memory.available(), reason="NumPy has no hook here")

LARGE = memory.POOLED // 4  # float32 elements of the smallest pooled result


@nl.jit(cache=False)
def doubled(x):
    return x * 2


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    doubled(np.ones(LARGE, np.float32))
    nl.memory.clear()
    yield
    nl.memory.clear()


def handler(array) -> str | None:
    return np._core.multiarray.get_handler_name(array)


def test_large_results_come_from_the_pool_small_ones_do_not() -> None:
    for count, name in ((LARGE, "neurlang"), (LARGE - 1, "default_allocator")):
        result = doubled(np.ones(count, np.float32))
        assert handler(result) == name
        assert result.flags.owndata
    assert handler(np.empty(LARGE)) == "default_allocator"  # others' arrays are theirs


def test_memory_is_used_again() -> None:
    x = np.arange(LARGE, dtype=np.float32)
    first = doubled(x)
    place = first.ctypes.data
    del first
    before = nl.memory.stats()["reuses"]
    second = doubled(x)
    assert second.ctypes.data == place
    assert nl.memory.stats()["reuses"] == before + 1
    third = doubled(x)  # the second is alive
    assert third.ctypes.data != place
    np.testing.assert_array_equal(second, third)


def test_a_block_that_is_much_too_large_is_not_taken() -> None:
    large = doubled(np.ones(16 * LARGE, np.float32))
    place = large.ctypes.data
    del large
    assert doubled(np.ones(LARGE, np.float32)).ctypes.data != place


@pytest.mark.parametrize("count", [LARGE, LARGE + 1, 3 * LARGE + 5, 40 * LARGE])
def test_data_begins_at_a_cache_line(count: int) -> None:
    x = np.ones(count + 1, np.float32)[1:]
    assert doubled(x).ctypes.data % memory.ALIGNMENT == 0
    assert doubled(x[::-1]).ctypes.data % memory.ALIGNMENT == 0  # not by the native entry
    (lazy,) = (np.asarray(nl.asarray(x) * 3),)
    assert lazy.ctypes.data % memory.ALIGNMENT == 0


@pytest.mark.parametrize("count", [LARGE, 3 * LARGE + 5, 40 * LARGE])
def test_no_store_is_taken_for_a_load_of_numpy_s(count: int) -> None:
    """NumPy's large arrays begin 16 bytes after a page; processors compare the lowest 12 bits."""
    apart = (doubled(np.ones(count, np.float32)).ctypes.data - 16) % 4096
    assert 1024 <= apart <= 3072


def test_several_results_and_structures() -> None:
    @nl.jit(cache=False)
    def function(x):
        return {"sum": x.sum(), "all": [x + 1, x.astype(np.float64)], "small": x[:3]}

    x = np.arange(LARGE, dtype=np.float32)
    for _ in range(3):
        found = function(x)
        assert [handler(a) for a in found["all"]] == ["neurlang"] * 2
        np.testing.assert_array_equal(found["all"][0], x + 1)
        np.testing.assert_array_equal(found["all"][1], x.astype(np.float64))


def test_the_pool_holds_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_POOL", "8")
    pool.memory()
    sizes = [LARGE * k for k in (1, 2, 4, 7, 3, 5, 16, 1, 1, 1)] * 8
    kept = [doubled(np.ones(size, np.float32)) for size in sizes]
    assert all((array == 2).all() for array in kept)
    kept.clear()
    stats = nl.memory.stats()
    assert stats["limit"] == 8 << 20
    assert 0 < stats["held"] <= 8 << 20
    assert pool.memory().state.count <= memory.MOST_BLOCKS


def test_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_POOL", "0")
    pool.memory()
    result = doubled(np.ones(LARGE, np.float32))
    del result
    assert nl.memory.stats()["held"] == 0


def test_arrays_can_be_resized_and_outlive_their_function() -> None:
    function = nl.jit(lambda x: x + 1, cache=False)
    x = np.arange(LARGE, dtype=np.float32)
    result = function(x)
    del function
    result.resize(5 * LARGE, refcheck=False)
    np.testing.assert_array_equal(result[:LARGE], x + 1)
    assert (result[LARGE:] == 0).all()
    result.resize(100, refcheck=False)
    np.testing.assert_array_equal(result, x[:100] + 1)
    assert handler(np.zeros_like(result)) == "default_allocator"


def test_threads_take_and_give_back() -> None:
    wrong = []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(60):
            x = np.full(int(generator.integers(LARGE, 4 * LARGE)), seed, np.float32)
            kept = [doubled(x) for _ in range(3)]
            wrong.extend(1 for array in kept if not (array == 2 * seed).all())

    doubled.cache_clear()
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_its_own_pool() -> None:
    x = np.ones(LARGE, np.float32)
    kept = doubled(x)
    child = os.fork()
    if not child:
        right = (doubled(x) == 2).all() and (kept == 2).all()
        nl.memory.clear()
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (kept == 2).all()


EXIT = """
import numpy as np, neurlang as nl
f = nl.jit(lambda x: x * 2, cache=False)
x = np.ones(1 << 20, np.float32)
alive = f(x)
class Late:
    def __del__(self, array=f(x)):
        assert array[0] == 2
late = Late()
f(x)
"""


def test_arrays_may_be_alive_at_exit() -> None:
    done = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


LITTLE = """
import resource, numpy as np, neurlang as nl
f = nl.jit(lambda x: x * 2, cache=False, threads=1)
small, large = np.ones(1 << 20, np.float32), np.ones(1 << 25, np.float32)
f(small), f(large)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
kept = [f(large)]  # 128 MiB that the pool holds
try:
    kept.append(f(large))
except MemoryError:
    print("no memory")
kept.clear()
kept = [f(small) for _ in range(20)]
print("again", all((array == 2).all() for array in kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_runs_out() -> None:
    """The pool gives up what it holds before a call fails, and the next calls work."""
    done = subprocess.run([sys.executable, "-c", LITTLE], capture_output=True, timeout=60)
    assert done.stdout == b"no memory\nagain True\n", done.stderr
