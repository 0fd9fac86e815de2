"""Threads, processes, memory and very long programs (promises T16 to T20)."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.codegen.compile import compile_object
from neurlang.ir.graph import Graph, Node, make_node
from neurlang.ir.loops import Kernel, walk
from neurlang.ir.types import Type
from neurlang.pipeline import current_target, optimize

LARGE = np.linspace(-1, 1, 400_000).reshape(1000, 400)


def work(x: Any) -> Any:
    return nl.sum(nl.exp(x) * x, axis=1), x.T @ x[:, :3], nl.tanh(x) / 2


def digest(results: Any) -> list[bytes]:
    return [np.asarray(result).tobytes() for result in results]


compiled_work = nl.jit(work, cache=False)


def child(queue: Any) -> None:
    queue.put([digest(compiled_work(LARGE)) for _ in range(2)])


def run_children(method: str, count: int) -> list[Any]:
    context = multiprocessing.get_context(method)
    queues = [context.Queue() for _ in range(count)]
    children = [context.Process(target=child, args=(queue,)) for queue in queues]
    for process in children:
        process.start()
    results = [queue.get(timeout=60) for queue in queues]
    for process in children:
        process.join(60)
        assert process.exitcode == 0
    return results


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_compute_the_same(method: str) -> None:
    """Also where the parent has used its threads: a forked child has to hire its own."""
    with nl.options(threads=2, cache="off"):
        expected = digest(compiled_work(LARGE))
        for found in run_children(method, 3):
            assert found == [expected, expected]
        assert digest(compiled_work(LARGE)) == expected


def test_a_child_forked_while_threads_compute() -> None:
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            compiled_work(LARGE)

    expected = digest(compiled_work(LARGE))
    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for found in run_children("fork", 3):
            assert found == [expected, expected]
    finally:
        stop.set()
        busy.join()


def test_cold_signatures_are_compiled_once_by_many_threads() -> None:
    signatures = 30
    arrays = [np.arange(size + 1.0) for size in range(signatures)]
    traced = []

    def function(x: Any) -> Any:
        traced.append(x.shape)
        return nl.sum(x * 2 + len(x.shape)) + x

    function_ = nl.jit(function, cache=False)
    failures: list[str] = []
    barrier = threading.Barrier(8)

    def call(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(signatures)
        barrier.wait()
        for k in order:
            expected = np.sum(arrays[k] * 2 + 1) + arrays[k]
            if not np.allclose(function_(arrays[k]), expected, rtol=1e-14):
                failures.append(f"size {k + 1}")

    before = executable.counts["compilations"]
    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(traced) == [array.shape for array in arrays]
    assert executable.counts["compilations"] - before == signatures


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_dropped_programs_free_their_memory() -> None:
    """Resident growth of at most 4 KiB a program; no thread and no file is left behind."""

    def cycle(number: int) -> None:
        x = np.ones(100 + number % 7)
        with nl.options(cache="off"):
            assert nl.jit(lambda a: a * number + nl.sum(a))(x).shape == x.shape
        executable.clear()

    cycles = 256
    for number in range(512):  # the first ones fill caches and arenas
        cycle(number)
    gc.collect()
    memory, files = resident_bytes(), len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    for number in range(cycles):
        cycle(1000 + number)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    assert len(os.listdir("/proc/self/task")) == threads
    assert resident_bytes() - memory <= cycles * 4096


def run_script(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NEURLANG_CACHE": "off"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORGOTTEN = """
    import gc, threading, time
    import numpy as np
    import neurlang as nl
    x = np.random.default_rng(0).random(4_000_000)
    f = nl.jit(lambda x: np.sin(np.exp(np.tan(x) * 3) + np.cos(x)).sum(), threads=1)
    expected = f(x)
    for _ in range(5):
        f(x)
        found = []
        thread = threading.Thread(target=lambda: found.append(f(x)))
        thread.start()
        time.sleep(0.005)
        f.cache_clear()
        gc.collect()
        nl.jit(lambda a: a + 1)(x[:5])
        thread.join()
        assert found == [expected]
    print("done")
"""


def test_a_program_that_runs_outlives_its_place_in_the_cache() -> None:
    assert run_script(FORGOTTEN) == "done\n"


LONG_CHAIN = """
    import sys
    import numpy as np
    import neurlang as nl
    def chain(x):
        for k in range({count}):
            x = {step}
        return x
    x = np.arange(8.0)
    nl.jit(lambda y: y + 1)(x)
    sys.setrecursionlimit(300)
    found = nl.jit(chain)(x)
    for k in range({count}):
        x = {step}
    assert np.array_equal(found, x), (found, x)
    print("done")
"""


@pytest.mark.parametrize(
    "step", ["x * 0.5 + 1", "np.flip(x)[::-1] - 0.5", "np.concatenate([x[1:], x[:1]]) * 0.5"]
)
def test_long_chains_need_no_recursion(step: str) -> None:
    count = 10_000 if "+ 1" in step else 300
    assert "done" in run_script(LONG_CHAIN.format(count=count, step=step))


def chain_of(count: int, step: Callable[[Node], Node]) -> Graph:
    param = Node("param", (), {"name": "x"}, Type(np.dtype("float32"), (64, 33)))
    nodes = [param]
    for _ in range(count):
        last = step(nodes[-1])
        nodes += [arg for arg in last.args if arg is not nodes[-1]] + [last]
    return Graph("chain", (param,), tuple(nodes), (nodes[-1],))


def statements_of(graph: Graph) -> int:
    program = optimize(graph, current_target()).program
    assert program is not None
    return sum(
        sum(1 for _ in walk(step.body)) for step in program.steps if isinstance(step, Kernel)
    )


STEPS: dict[str, Callable[[Node], Node]] = {
    "sqrt": lambda node: make_node("sqrt", [node]),
    "square": lambda node: make_node("mul", [node, node]),
    "transpose": lambda node: make_node("transpose", [make_node("neg", [node])], axes=(1, 0)),
}


@pytest.mark.parametrize("name", list(STEPS))
def test_loops_grow_no_faster_than_the_graph(name: str) -> None:
    """Four times the nodes: four times the statements (eight where threads share), not sixteen."""
    small, large = (statements_of(chain_of(count, STEPS[name])) for count in (500, 2000))
    assert large <= 10 * small


FORK_WHILE_COMPILING = """
import os, threading, time
import numpy as np
import neurlang as nl

def chain(x):
    for _ in range(500):
        x = np.maximum(x * 1.01 + 0.5, -3.0)
    return x

x = np.ones(64, "float32")
nl.jit(lambda x: x + 1, cache=False)(x)
function = nl.jit(chain, cache=False)
thread = threading.Thread(target=function, args=(x,))
thread.start()
time.sleep(0.05)
child = os.fork()
if child == 0:
    function(x)
    os._exit(7)
deadline = time.monotonic() + 60
ended, status = 0, 0
while not ended and time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    time.sleep(0.02)
thread.join()
if not ended:
    os.kill(child, 9)
print("done" if ended and os.waitstatus_to_exitcode(status) == 7 else "hangs")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_what_its_parent_compiles() -> None:
    assert "done" in run_script(FORK_WHILE_COMPILING)


def test_an_exception_in_a_library_step_is_the_callers() -> None:
    """A signal handler may raise while NumPy sorts; that exception comes out, and calls go on."""

    class Stopped(Exception):
        pass

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    sort = nl.jit(np.sort)
    x = np.random.default_rng(0).standard_normal(3_000_000)
    expected = np.sort(x)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for delay in (0.02, 0.05, 0.1):
            np.testing.assert_array_equal(sort(x), expected)
            with pytest.raises(Stopped):
                signal.setitimer(signal.ITIMER_REAL, delay)
                sort(x)
                time.sleep(1)  # where the sort was faster
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    np.testing.assert_array_equal(sort(x), expected)


class Interrupted(Exception):
    """What the handler of a signal raises."""


def pairs(x: Any) -> Any:
    """10^11 terms: only an exception ends it in the time of a test."""
    first = np.abs(x[:, None] - x).sum(axis=1)
    return first / first.max(), np.cumsum(first)


WAYS_TO_CALL: dict[str, Callable[[Any], Any]] = {
    "entry": lambda x: nl.jit(pairs),
    "structure": lambda x: lambda x: nl.jit(lambda p: {"y": pairs(p["x"])})({"x": x}),
    "other layout": lambda x: lambda x: nl.jit(pairs)(np.stack([x, x], 1)[:, 0]),
    "lazy": lambda x: lambda x: np.asarray(pairs(nl.asarray(x))[0]),
}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals of POSIX")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("way", list(WAYS_TO_CALL))
def test_a_signal_stops_a_kernel(way: str, threads: int) -> None:
    def stop(number: int, frame: Any) -> None:
        raise Interrupted

    x = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    with nl.options(threads=threads):
        call = WAYS_TO_CALL[way](x)
        before = signal.signal(signal.SIGALRM, stop)
        count = sys.getrefcount(x)
        try:
            for delay in (0.3, 0.31):  # the first one compiles as well
                with pytest.raises(Interrupted):
                    signal.setitimer(signal.ITIMER_REAL, delay)
                    call(x)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert call(x[:5]) is not None
        gc.collect()
        assert sys.getrefcount(x) == count


def test_what_llvm_rejects_is_an_error_and_nothing_else() -> None:
    """The module is closed before the context that owns it, whichever step fails."""
    body = "br label %a\na:\n  %x = add i32 %y, 1\n  %y = add i32 1, 1\n  ret void"
    late = f"define void @f() {{\n  {body}\n}}"  # used before it is made: found by verification
    for text in ("nonsense", "define i32 @f() {\n  ret i64 0\n}", late):
        with pytest.raises(RuntimeError):
            compile_object(text)
    assert compile_object("define void @f() {\n  ret void\n}")
