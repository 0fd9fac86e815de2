"""First calls, trace to result, in fresh processes: compiled there, and taken from the disk cache.

    python benchmarks/first_calls.py                  # all programs, two minutes
    python benchmarks/first_calls.py softmax matmul   # some of them
    python benchmarks/first_calls.py --runs 9         # least of so many processes

Each figure is the least of several processes, fewer where they take long. A process compiles a
small function first, which loads and links LLVM: the first row says what that takes. Memory is the
most that the process had at any time; in the first row, before it compiled anything.

A first call traces the function, makes the program or finds it in the cache and links it, and runs
it. Of those that find it, the three parts stand apart: they are measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import WORKLOADS

import neurlang as nl

ENOUGH = 15.0  # seconds of the runs of one program
Figures = dict[str, float]
PARTS = {"of which tracing": "tracing", "the cache": "finding", "the run": "running"}


def ones(*shape: int) -> Any:
    return np.ones(shape, "float32")


def fused(a: Any, b: Any) -> Any:
    return np.maximum(a * b + 1, 0) - b


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def attention(*arrays: Any) -> Any:
    return WORKLOADS["attention"].program(nl, *arrays)


def mixture(x: Any) -> Any:
    """20 times 10 operations: maps, reductions, a view and a product."""
    for step in range(20):
        centred = x - x.mean(axis=1, keepdims=True)
        wave = np.tanh(centred * (0.5 + 0.01 * step)) + x.T
        x = (wave @ x) * 0.01 + np.cos(wave)
    return x


def chain(length: int) -> Callable[..., Any]:
    """That many elementwise operations, each of the one before."""

    def steps(x: Any) -> Any:
        for step in range(length // 4):
            x = np.maximum(x * 1.01 + 0.5, -3.0) - (0.25 + step)
        return x

    return steps


PROGRAMS: dict[str, tuple[str, Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
    "elementwise": ("fused elementwise, 65,536", fused, lambda: (ones(1 << 16), ones(1 << 16))),
    "softmax": ("softmax, 256 x 256", softmax, lambda: (ones(256, 256),)),
    "matmul": ("matmul, 512", np.matmul, lambda: (ones(512, 512), ones(512, 512))),
    "attention": (
        "attention, 256 x 512, 8 heads",
        attention,
        WORKLOADS["attention"].make_arguments,
    ),
    "mixture": ("graph of 200 operations", mixture, lambda: (ones(64, 64),)),
}
for count in (1_250, 2_500, 5_000, 10_000, 100_000):
    PROGRAMS[f"chain_{count}"] = (
        f"chain of {count:,} operations",
        chain(count),
        lambda: (ones(64),),
    )


def most_memory() -> float:
    """MiB that this process had at most; Linux counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def timed(call: Callable[[], Any]) -> Figures:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": most_memory(),
    }


def measure_here(name: str) -> None:
    """What a fresh process does; it writes its figures as JSON."""
    before = most_memory()
    warm_up = nl.jit(lambda x: x * 3.25 - 1)
    loading = timed(lambda: warm_up(ones(7)))
    _, function, arguments = PROGRAMS[name]
    arrays = arguments()
    program = nl.jit(lambda *xs: function(*xs))
    found = timed(lambda: program(*arrays))
    print(json.dumps({"loading": loading, "program": found, "before": before}))


def measure_parts_here(name: str) -> None:
    """The same, part by part."""
    nl.jit(lambda x: x * 3.25 - 1)(ones(7))
    _, function, arguments = PROGRAMS[name]
    arrays = arguments()
    program = nl.jit(lambda *xs: function(*xs))
    tracing = timed(lambda: program.trace(*arrays))
    (made,) = program.programs.values()
    finding, running = timed(made.build), timed(lambda: program(*arrays))
    print(json.dumps({"tracing": tracing, "finding": finding, "running": running}))


def in_fresh_process(name: str, cache: str, how: str = "--one") -> dict[str, Any]:
    command = [sys.executable, __file__, how, name]
    environment = {**os.environ, "NEURLANG_CACHE": cache}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_fresh_processes(
    name: str, cache: str, runs: int, how: str = "--one"
) -> list[dict[str, Any]]:
    """Several of them, until they have taken long enough."""
    found: list[dict[str, Any]] = []
    end = time.perf_counter() + ENOUGH
    while not found or (len(found) < runs and time.perf_counter() < end):
        found.append(in_fresh_process(name, cache, how))
    return found


def milliseconds(runs: list[dict[str, Any]], what: str, of: str = "program") -> str:
    return f"{min(run[of][what] for run in runs) * 1e3:.1f}"


def mebibytes(runs: list[dict[str, Any]]) -> str:
    return f"{min(run['program']['memory'] for run in runs):.0f}"


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="First calls in fresh processes.")
    parser.add_argument("programs", nargs="*", default=list(PROGRAMS), help=", ".join(PROGRAMS))
    parser.add_argument("--runs", type=int, default=5, help="processes for each figure")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--parts", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        return measure_here(chosen.one)
    if chosen.parts:
        return measure_parts_here(chosen.parts)
    row("first call", "compiled, ms", "processor, ms", "from the disk, ms", *PARTS, "memory, MiB")
    print("|" + "---|" * (5 + len(PARTS)))
    for position, name in enumerate(chosen.programs):
        cold = in_fresh_processes(name, "off", chosen.runs)
        with tempfile.TemporaryDirectory() as folder:
            in_fresh_process(name, folder)
            warm = in_fresh_processes(name, folder, chosen.runs)
            parts = in_fresh_processes(name, folder, chosen.runs, "--parts")
        if position == 0:
            before = min(run["before"] for run in cold)
            cells = [milliseconds(cold, what, "loading") for what in ("wall", "processor")]
            cells.append(milliseconds(warm, "wall", "loading"))
            cells += [""] * len(PARTS)
            row("the first of a process, on 7 floats", *cells, f"{before:.0f} before")
        cells = [milliseconds(cold, what) for what in ("wall", "processor")]
        cells.append(milliseconds(warm, "wall"))
        cells += [milliseconds(parts, "wall", part) for part in PARTS.values()]
        row(PROGRAMS[name][0], *cells, mebibytes(cold))


if __name__ == "__main__":
    main()
