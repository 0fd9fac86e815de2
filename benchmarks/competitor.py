"""Two threads against one, while another process is busy on one of the cores.

    python benchmarks/competitor.py                # every workload and size, about a minute
    python benchmarks/competitor.py --quiet        # without the competitor
    python benchmarks/competitor.py softmax --rounds 40

A process that only counts is pinned to the last core that this one may use; this one may use them
all. A round calls the function with one thread for a while, then with two: the calls follow each
other as in a loop of a program. "Speed" is the time of a call with one thread over that with two,
of all rounds together and of the worst one; 0.9 is the least that is wanted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import neurlang as nl

BLOCK = 0.1  # seconds of calls with one number of threads
SIZES = (50e-6, 200e-6, 1e-3, 5e-3, 50e-3)  # seconds of a call with one thread, about
SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"

Function = Callable[..., Any]


def elementwise(x: Any) -> Any:
    """Independent elements: flat loops in chunks."""
    return np.sin(np.exp(x)) * x


def softmax(x: Any) -> Any:
    """Row programs: rows in grains."""
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def matmul(x: Any) -> Any:
    """Products: blocks that are packed by all threads, then shared."""
    return x @ x


WORKLOADS: dict[str, tuple[Function, Callable[[float], tuple[int, int]]]] = {
    "elementwise": (elementwise, lambda seconds: (int(seconds * 4e8) // 256, 256)),
    "softmax": (softmax, lambda seconds: (int(seconds * 1.2e9) // 512, 512)),
    "matmul": (matmul, lambda seconds: (int((seconds * 8e10) ** (1 / 3)),) * 2),
}


@contextmanager
def competitor(wanted: bool) -> Iterator[None]:
    """A process that never sleeps, pinned to the last of our cores."""
    if not wanted:
        yield
        return
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", SPIN, str(core)])
    time.sleep(0.3)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def call_for(function: Function, argument: Any, seconds: float) -> float:
    """Seconds of a call, when calls are made for so long."""
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        function(argument)
        calls += 1
    return (time.perf_counter() - begin) / calls


def compare(function: Function, shape: tuple[int, int], rounds: int) -> np.ndarray[Any, Any]:
    """Seconds of calls, an array of (rounds, 2): with one thread, with two."""
    argument = np.random.default_rng(0).standard_normal(shape, np.float32)
    versions = [nl.jit(function, threads=threads) for threads in (1, 2)]
    for version in versions:
        call_for(version, argument, BLOCK)
    length = max(BLOCK, 4 * call_for(versions[0], argument, BLOCK))
    return np.array([[call_for(v, argument, length) for v in versions] for _ in range(rounds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quiet", action="store_true", help="without the competitor")
    chosen = parser.parse_args()
    print(f"{'':14} {'1 thread':>10} {'2 threads':>10}   speed   worst")
    with competitor(not chosen.quiet):
        for name in chosen.workloads or WORKLOADS:
            function, shape = WORKLOADS[name]
            for seconds in SIZES:
                times = compare(function, shape(seconds), chosen.rounds)
                one, two = times.sum(axis=0) / len(times)
                worst = (times[:, 0] / times[:, 1]).min()
                print(
                    f"{name:14} {one * 1e6:7.0f} us {two * 1e6:7.0f} us   {one / two:5.2f}"
                    f"   {worst:5.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
