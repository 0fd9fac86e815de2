"""The worker pool: every index once, numbers of workers, callers at once, forks, exit."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from plans import plan_of

from neurlang.codegen import pool as native
from neurlang.codegen.compile import compile_object, link_object
from neurlang.codegen.pool_text import MOST_DOUBT
from neurlang.runtime.call import call_program

# count: adds 1 to context[index].
# occupy: context is {taken flags[64], clashes}; counts a clash if its worker's flag is taken.
# meet: waits, not for ever, until two bodies run; context is {arrived, met}.
# nest: context is a table of rows of 8; runs `count` over row `index`.
# multiply: meets, then stores context[0] * context[1] in context[2 + worker].
# doze: as `count`, and stays for a millisecond; index 0 sends SIGALRM. `doze_program` runs it 200
# times, serially or not.
# note: stores {worker, turn} in row `index` after {arrived, met, turns, unused}, and meets.
# nothing: costs nothing; `repeat` runs it many times, to measure a call.
BODIES = """
declare i32 @neurlang_parallel(ptr, ptr, i64, i64)
declare i32 @sched_yield()

define void @count(ptr %context, i64 %index, i64 %worker) {
  %cell = getelementptr i32, ptr %context, i64 %index
  %old = atomicrmw add ptr %cell, i32 1 monotonic
  ret void
}

define void @occupy(ptr %context, i64 %index, i64 %worker) {
entry:
  %flag = getelementptr i32, ptr %context, i64 %worker
  %clashes = getelementptr i32, ptr %context, i64 64
  %taken = atomicrmw xchg ptr %flag, i32 1 seq_cst
  %clashed = atomicrmw add ptr %clashes, i32 %taken seq_cst
  br label %stay
stay:
  %turn = phi i32 [ 0, %entry ], [ %next, %stay ]
  %next = add i32 %turn, 1
  %look = load volatile i32, ptr %flag
  %more = icmp ult i32 %next, 300
  br i1 %more, label %stay, label %go
go:
  store atomic i32 0, ptr %flag seq_cst, align 4
  ret void
}

define void @meet(ptr %context, i64 %index, i64 %worker) {
entry:
  %met = getelementptr i32, ptr %context, i64 1
  %arrived = atomicrmw add ptr %context, i32 1 seq_cst
  br label %look
look:
  %turn = phi i32 [ 0, %entry ], [ %next, %wait ]
  %present = load atomic i32, ptr %context seq_cst, align 4
  %both = icmp ugt i32 %present, 1
  br i1 %both, label %success, label %wait
wait:
  %yielded = call i32 @sched_yield()
  %next = add i32 %turn, 1
  %patient = icmp ult i32 %next, 10000000
  br i1 %patient, label %look, label %done
success:
  %count = atomicrmw add ptr %met, i32 1 seq_cst
  br label %done
done:
  ret void
}

define void @nest(ptr %context, i64 %index, i64 %worker) {
  %row = getelementptr [8 x i32], ptr %context, i64 %index
  call i32 @neurlang_parallel(ptr @count, ptr %row, i64 8, i64 4)
  ret void
}

define void @multiply(ptr %context, i64 %index, i64 %worker) {
entry:
  %second = getelementptr float, ptr %context, i64 1
  %product_of_worker = getelementptr float, ptr %context, i64 %worker
  %product = getelementptr float, ptr %product_of_worker, i64 2
  %meeting = getelementptr float, ptr %context, i64 4
  call void @meet(ptr %meeting, i64 %index, i64 %worker)
  %x = load float, ptr %context
  %y = load float, ptr %second
  %z = fmul float %x, %y
  store float %z, ptr %product
  ret void
}

declare i32 @getpid()
declare i32 @kill(i32, i32)
declare i32 @usleep(i32)

define void @doze(ptr %context, i64 %index, i64 %worker) {
entry:
  call void @count(ptr %context, i64 %index, i64 %worker)
  %first = icmp eq i64 %index, 0
  br i1 %first, label %signal, label %stay
signal:
  %process = call i32 @getpid()
  call i32 @kill(i32 %process, i32 SIGALRM)
  br label %stay
stay:
  call i32 @usleep(i32 1000)
  ret void
}

define i32 @doze_program(ptr %arguments) {
  %second = getelementptr ptr, ptr %arguments, i64 1
  %context = load ptr, ptr %arguments
  %number = load ptr, ptr %second
  %limit = load i64, ptr %number
  %stopped = call i32 @neurlang_parallel(ptr @doze, ptr %context, i64 200, i64 %limit)
  ret i32 %stopped
}

define void @note(ptr %context, i64 %index, i64 %worker) {
  %turns = getelementptr i32, ptr %context, i64 2
  %turn = atomicrmw add ptr %turns, i32 1 seq_cst
  %notes = getelementptr i32, ptr %context, i64 4
  %cell = getelementptr [2 x i32], ptr %notes, i64 %index
  %number = trunc i64 %worker to i32
  store i32 %number, ptr %cell
  %second = getelementptr i32, ptr %cell, i64 1
  store i32 %turn, ptr %second
  call void @meet(ptr %context, i64 %index, i64 %worker)
  ret void
}

define void @nothing(ptr %context, i64 %index, i64 %worker) {
  ret void
}

define void @repeat(ptr %times, i64 %limit) {
entry:
  %most = load i64, ptr %times
  br label %call
call:
  %turn = phi i64 [ 0, %entry ], [ %next, %call ]
  call i32 @neurlang_parallel(ptr @nothing, ptr null, i64 2, i64 %limit)
  %next = add i64 %turn, 1
  %more = icmp ult i64 %next, %most
  br i1 %more, label %call, label %done
done:
  ret void
}
"""

BODIES = BODIES.replace("SIGALRM", str(int(getattr(signal, "SIGALRM", 0))))
KEPT = []  # code that workers live in
PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
PARALLEL = PROTOTYPE(native.address("neurlang_parallel"))
NAMES = ["count", "plan", "occupy", "meet", "multiply", "nest", "note", "repeat"]
LIBRARY = link_object(
    compile_object(BODIES + plan_of("doze_program", 2)),
    NAMES,
    {"neurlang_parallel": native.address("neurlang_parallel")},
)

threaded = pytest.mark.skipif(os.name != "posix", reason="this system has no POSIX threads")


def run(body: str, context: np.ndarray, count: int, limit: int) -> None:
    PARALLEL(LIBRARY[body], context.ctypes.data, count, limit)


def counts_are_right(count: int, limit: int, rounds: int = 1) -> bool:
    cells = np.zeros(count + 1, np.int32)
    for _ in range(rounds):
        run("count", cells, count, limit)
    return bool((cells[:count] == rounds).all() and cells[count] == 0)


def workers_meet() -> bool:
    """Whether two bodies of one call ran at the same time."""
    context = np.zeros(2, np.int32)
    run("meet", context, 2, 2)
    return bool(context[1] == 2)


def in_child(check: Callable[[], bool]) -> bool:
    """What `check` says in a forked child; False if the child hangs or crashes."""
    child = os.fork()
    if child == 0:
        answer = 1
        try:
            answer = 0 if check() else 1
        finally:
            os._exit(answer)
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@pytest.fixture(autouse=True)
def keep_thread_count():
    before = native.thread_count()
    yield
    native.set_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("limit", [-1, 0, 1, 2, 5, 100])
def test_every_index_runs_once(threads, limit):
    native.set_threads(threads)
    assert all(counts_are_right(count, limit) for count in (0, 1, 2, 3, 7, 64, 1000))


@threaded
@pytest.mark.parametrize("hired", [2, 3, 6])
def test_threads_have_ranges_of_their_own(hired):
    """The caller begins with the first index, a worker with the middle one, whatever number of
    workers there was before; each takes its own range in order before it takes from the other's.
    """
    for _ in range(20):
        native.set_threads(hired)
        assert counts_are_right(64, hired)
        native.set_threads(2)
        context = np.zeros(4 + 2 * 6, np.int32)
        run("note", context, 6, 2)  # so few that the call does not wait with waking workers
        workers, turns = context[4:].reshape(6, 2).T
        orders = [np.flatnonzero(workers == worker) for worker in (0, 1)]
        orders = [order[np.argsort(turns[order])].tolist() for order in orders]
        assert sorted(orders[0] + orders[1]) == list(range(6))
        for order, own in zip(orders, (range(3), range(3, 6))):
            first = [index for index in order if index in own]
            assert order[: len(first)] == first == sorted(first)
            assert order[:1] == [own[0]]


def test_a_negative_count_runs_nothing():
    cells = np.zeros(4, np.int32)
    run("count", cells, -3, 4)
    assert not cells.any()


def test_many_short_calls():
    native.set_threads(4)
    assert counts_are_right(5, 4, rounds=20_000)


@pytest.mark.parametrize("limit", [2, 3, 6])
def test_worker_numbers_are_unique_and_below_the_limit(limit):
    native.set_threads(6)
    context = np.zeros(65, np.int32)
    for _ in range(200):
        run("occupy", context, 40, limit)
    assert not context.any()


@threaded
def test_bodies_run_at_the_same_time():
    native.set_threads(2)
    assert all(workers_meet() for _ in range(100))


@threaded
def test_parked_workers_wake():
    native.set_threads(2)
    for _ in range(5):
        time.sleep(0.01)
        assert workers_meet()


def test_calls_inside_bodies():
    native.set_threads(3)
    table = np.zeros((50, 8), np.int32)
    for _ in range(100):
        run("nest", table, 50, 3)
    assert (table == 100).all()


def test_eight_callers_at_once():
    native.set_threads(3)
    answers = []

    def call() -> None:
        answers.append(counts_are_right(100, 3, rounds=2000))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert answers == [True] * 8


@threaded
def test_workers_are_hired_and_leave():
    native.set_threads(5)
    native.start()
    assert native.pool().living_workers == 4
    native.set_threads(2)
    for _ in range(1000):
        assert counts_are_right(8, 8)
        if native.pool().living_workers == 1:
            break
        time.sleep(0.001)
    assert native.pool().living_workers == 1
    native.start(4)
    assert (native.thread_count(), native.pool().living_workers) == (4, 3)
    assert "up to 4 threads" in native.pool().describe()


@pytest.mark.parametrize("threads", [0, -1, 10**6])
def test_thread_counts_that_make_no_sense(threads):
    with pytest.raises(ValueError, match="number of threads"):
        native.set_threads(threads)


@threaded
def test_a_call_does_not_wait_for_workers_that_never_run():
    def call_without_workers() -> bool:
        native.pool()._state.workers = native.thread_count() - 1
        return counts_are_right(100, 4, rounds=100)

    native.set_threads(4)
    assert counts_are_right(100, 4)
    assert in_child(call_without_workers)


@threaded
def test_workers_that_come_too_late_are_woken_less_often():
    """A call that waits for nobody is not slowed down by waking them; who helps is trusted again.
    The child's only worker sleeps for ever: it is one that the system never runs."""

    def call_without_workers() -> bool:
        state = native.pool()._state
        state.workers = state.sleepers = 1
        found = []
        for _ in range(3 * MOST_DOUBT):
            if not counts_are_right(100, 2):
                return False
            found.append((state.failures, state.doubt))
        in_doubt = sum(doubt < failures for failures, doubt in found)
        failures = [failures for failures, _ in found]
        # a call that the system interrupts for long wakes in spite of doubt, and fails again
        return (
            failures == sorted(failures)
            and set(failures) <= {2**n - 1 for n in range(1, 7)}
            and failures[0] == 1
            and failures[-1] == MOST_DOUBT
            and in_doubt > MOST_DOUBT
        )

    native.set_threads(2)
    assert in_child(call_without_workers)
    state = native.pool()._state
    state.failures = state.doubt = MOST_DOUBT
    assert any(workers_meet() for _ in range(100))  # two indices are too few to wait with
    assert (state.failures, state.doubt) == (0, 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's affinity")
def test_workers_keep_to_the_cores_of_the_process():
    """One that was woken on its caller's core leaves it; then it may use all cores again."""

    def all_may_use(cores: set[int]) -> bool:
        for _ in range(1000):  # one may be on its way just now
            tasks = [int(task) for task in os.listdir("/proc/self/task")]
            if all(os.sched_getaffinity(task) == cores for task in tasks):
                return True
            time.sleep(0.001)
        return False

    def right() -> bool:
        return counts_are_right(100, 3, rounds=3000) and all_may_use(mine)

    def right_on_one_core() -> bool:
        os.sched_setaffinity(0, {min(mine)})
        return counts_are_right(100, 3, rounds=3000) and all_may_use({min(mine)})

    native.set_threads(3)
    mine = os.sched_getaffinity(0)
    assert in_child(right)
    assert in_child(right_on_one_core)


@threaded
@pytest.mark.parametrize("limit", [1, 2])
def test_a_signal_stops_a_call(limit):
    """If its handler raises; the exception comes out, and later calls are whole again."""

    class Stopped(Exception):
        pass

    def stop(number, frame):
        raise Stopped

    def doze() -> int:
        pointers = [cells.ctypes.data, limits.ctypes.data]
        return call_program(native.call_address(), LIBRARY["plan"], pointers, True)

    native.set_threads(2)
    cells, limits = np.zeros(200, np.int32), np.array([limit])
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Stopped):
            doze()
        ran = int(cells.sum())
        assert 0 < ran < 200 and cells.max() == 1
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        cells[:] = 0
        assert doze() == 0 and (cells == 1).all()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert counts_are_right(100, limit, 10)


@threaded
def test_other_threads_than_the_main_one_handle_no_signals():
    def call() -> None:
        limits = np.array([2])
        pointers = [cells.ctypes.data, limits.ctypes.data]
        answers.append(call_program(native.call_address(), LIBRARY["plan"], pointers, True))

    native.set_threads(2)
    cells, answers = np.zeros(200, np.int32), []
    calls = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: calls.append(number))
    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert answers == [0] and (cells == 1).all() and calls == [signal.SIGALRM]


@threaded
def test_a_forked_child_has_its_own_workers():
    native.set_threads(3)
    assert workers_meet()
    assert in_child(workers_meet)
    assert in_child(lambda: in_child(workers_meet))
    assert workers_meet()


@threaded
def test_forks_while_another_thread_calls():
    native.set_threads(3)
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            counts_are_right(50, 3, rounds=10)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        assert all(in_child(lambda: counts_are_right(50, 3, 100)) for _ in range(20))
        assert in_child(workers_meet)
    finally:
        stop.set()
        caller.join()


FLUSH = """
declare void @llvm.x86.sse.ldmxcsr(ptr)

define void @flush_subnormals() {
  %mode = alloca i32
  store i32 40896, ptr %mode
  call void @llvm.x86.sse.ldmxcsr(ptr %mode)
  ret void
}
"""


@threaded
@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the x86 control register")
def test_workers_do_not_inherit_the_floating_point_mode():
    library = link_object(compile_object(FLUSH), ["flush_subnormals"])
    numbers = np.array([2.0**-100, 2.0**-40, 0, 0, 0, 0], np.float32)
    subnormal = np.array([2.0**-140], np.float32)

    def multiply() -> bool:
        ctypes.CFUNCTYPE(None)(library["flush_subnormals"])()
        run("multiply", numbers, 2, 2)
        # The caller's mode is the caller's; the worker was made by it and yet is exact.
        return numbers[2].tobytes() == bytes(4) and numbers[3].tobytes() == subnormal.tobytes()

    native.set_threads(2)
    assert in_child(multiply)


@threaded
def test_a_system_that_gives_no_more_threads():
    resource = pytest.importorskip("resource")

    def call_with_little_memory() -> bool:
        native.set_threads(200)
        resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
        return counts_are_right(100, 200, 10) and native.thread_count() < 200

    assert in_child(call_with_little_memory)


@threaded
def test_workers_that_park_on_a_condition_variable():
    pool, _, code = native.compile_pools("condition")
    KEPT.append(code)
    pool.survive_forks()
    pool.set_threads(3)
    parallel = PROTOTYPE(pool.parallel_address)

    def right(rounds: int) -> bool:
        cells = np.zeros(64, np.int32)
        for _ in range(rounds):
            parallel(LIBRARY["count"], cells.ctypes.data, 64, 3)
        return bool((cells == rounds).all())

    def meet() -> bool:
        context = np.zeros(2, np.int32)
        parallel(LIBRARY["meet"], context.ctypes.data, 2, 2)
        return bool(context[1] == 2)

    assert right(20_000)
    for _ in range(20):
        time.sleep(0.003)
        assert meet()
    assert in_child(meet) and in_child(lambda: right(1000))
    assert "condition" in pool.describe()


def test_a_pool_without_threads():
    pool, _, _ = native.compile_pools("none")
    pool.set_threads(4)
    pool.start()
    cells = np.zeros(10, np.int32)
    PROTOTYPE(pool.parallel_address)(LIBRARY["count"], cells.ctypes.data, 10, 4)
    assert (cells == 1).all()
    assert pool.threads == 1 and "serially" in pool.describe()


EXIT = """
import ctypes, sys, threading, time
import numpy
from neurlang.codegen import pool
from neurlang.codegen.compile import compile_object, link_object

library = link_object(compile_object('''{bodies}'''), ["count"],
                      {{"neurlang_parallel": pool.address("neurlang_parallel")}})
parallel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                            ctypes.c_int64)(pool.address("neurlang_parallel"))
cells = numpy.zeros(1000, numpy.int32)
pool.set_threads(3)

def call(rounds=10**9):
    for _ in range(rounds):
        parallel(library["count"], cells.ctypes.data, 1000, 3)

call(10)
{ending}
"""


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit(7)",
        "time.sleep(0.05); sys.exit(7)",
        "threading.Thread(target=call, daemon=True).start(); time.sleep(0.02); sys.exit(7)",
    ],
    ids=["spinning", "parked", "working"],
)
def test_exit_is_clean(ending):
    script = EXIT.format(bodies=BODIES, ending=ending)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_cost_of_a_call_is_shown():
    repeat = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(LIBRARY["repeat"])
    times = ctypes.c_int64(20_000)
    for limit, kind in ((1, "serial"), (2, "parallel")):
        begin = time.perf_counter_ns()
        repeat(ctypes.addressof(times), limit)
        print(f"{kind} call: {(time.perf_counter_ns() - begin) / times.value:.0f} ns")
