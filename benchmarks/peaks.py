"""How near compiled programs come to this machine's peaks, and to twice the speed on two threads.

    python benchmarks/peaks.py            # everything, about a minute
    python benchmarks/peaks.py --small    # the least that shows that it works

The peaks are measured again before each program, and the best counts: multiply-adds in registers,
and reading memory. Programs with one and with more threads are timed in turns, and the
least time counts. The first table has products as parts of the peak of multiply-adds, and programs
that memory bounds in bytes that any program must read and write; the second has the times with one
thread over those with more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from libraries import Namespace, loop
from workloads import WORKLOADS

import neurlang as nl
from neurlang.peaks import Peaks, measure_peaks

SETTLE = 0.002  # seconds after a turn in which threads go to sleep
BOUND_BY_PROCESSOR = (
    "matmul_1024",
    "conv2d_3x3",
    "attention",
    "mandelbrot",
    "pdist",
    "black_scholes_f32_1m",
    "softmax_1024",
)
Seconds = dict[int, float]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    products: tuple[int, ...]
    elements: int
    workloads: tuple[str, ...]
    rounds: int


FULL = Size((512, 1024, 2048), 16_000_000, BOUND_BY_PROCESSOR, 20)
SMALL = Size((32,), 4096, ("matmul_32",), 1)


def time_in_turns(
    function: Callable[..., Any], arrays: tuple[Any, ...], threads: list[int], rounds: int
) -> Seconds:
    """The least time of a call by number of threads."""
    versions = {count: nl.jit(function, threads=count) for count in threads}
    for version in versions.values():
        version(*arrays)
    least = dict.fromkeys(threads, float("inf"))
    for _ in range(rounds):
        for count, version in versions.items():
            time.sleep(SETTLE)
            version(*arrays)  # wakes the threads
            for _ in range(3):
                begun = time.perf_counter()
                version(*arrays)
                least[count] = min(least[count], time.perf_counter() - begun)
    return least


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells: str) -> None:
    row(*cells)
    print("|" + "---|" * len(cells))


def counted(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def raise_peaks(peaks: dict[int, Peaks]) -> None:
    """Measure them again, and keep the higher ones."""
    for threads, known in peaks.items():
        found = measure_peaks(threads)
        for dtype, rate in found.flops.items():
            known.flops[dtype] = max(rate, known.flops[dtype])
        for level, rate in found.read.items():
            known.read[level] = max(rate, known.read[level])


def product_seconds(size: Size, dtype: str, peaks: dict[int, Peaks]) -> list[Seconds]:
    """Times of square products."""
    found = []
    for n in size.products:
        raise_peaks(peaks)
        a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(dtype)
        found.append(time_in_turns(np.matmul, (a, b), list(peaks), size.rounds))
    return found


def memory_seconds(size: Size, peaks: dict[int, Peaks]) -> dict[str, tuple[int, Seconds]]:
    """Bytes that are read and written, and times, of programs that memory bounds."""
    a, b = np.random.default_rng(0).standard_normal((2, size.elements)).astype("float32")
    programs: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
        "`a * 2 + b`": (lambda a, b: a * 2 + b, (a, b), 3),
        "`np.exp(a)`": (lambda a: np.exp(a), (a,), 2),
        "`a.sum()`": (lambda a: a.sum(), (a,), 1),
    }
    found = {}
    for name, (function, inputs, arrays) in programs.items():
        raise_peaks(peaks)
        seconds = time_in_turns(function, inputs, list(peaks), size.rounds)
        found[name] = (arrays * a.nbytes, seconds)
    return found


def print_peaks(peaks: dict[int, Peaks], size: Size, products: dict[str, list[Seconds]]) -> None:
    threads = list(peaks)
    head("", *map(counted, threads))
    for dtype in products:
        rates = [f"{peaks[count].flops[dtype] / 1e9:.0f}" for count in threads]
        row(f"multiply-adds in registers, {dtype}, GFLOP/s", *rates)
    names = ", ".join(map(str, size.products))
    for dtype, seconds in products.items():
        cells = []
        for count in threads:
            work = [2 * n**3 / peaks[count].flops[dtype] for n in size.products]
            cells.append(", ".join(f"{w / s[count]:.2f}" for w, s in zip(work, seconds)))
        row(f"matmul {names} in {dtype}, part of that", *cells)
    row("reading memory, GB/s", *(f"{peaks[count].read['memory'] / 1e9:.0f}" for count in threads))


def print_memory(memory: dict[str, tuple[int, Seconds]], size: Size) -> None:
    """More rows of the table before."""
    for name, (nbytes, seconds) in memory.items():
        rates = [f"{nbytes / taken / 1e9:.0f}" for taken in seconds.values()]
        row(f"{name} of {size.elements:,} float32, read and written, GB/s", *rates)


def print_speeds(size: Size, threads: list[int], products: dict[str, list[Seconds]]) -> None:
    """One thread over more: the products that were measured, and some workloads."""
    print()
    head("program", *(f"{counted(count)} over 1" for count in threads[1:]))
    for dtype, found in products.items():
        for n, seconds in zip(size.products, found):
            print_speed(f"matmul {n}, {dtype}", seconds)
    space = Namespace(nl, loop=loop)
    for name in size.workloads:
        workload = WORKLOADS[name]
        seconds = time_in_turns(
            lambda *arrays, program=workload.program: program(space, *arrays),
            workload.make_arguments(),
            threads,
            size.rounds,
        )
        print_speed(name, seconds)


def print_speed(name: str, seconds: Seconds) -> None:
    one, *more = seconds.values()
    row(name, *(f"{one / taken:.2f}" for taken in more))


def main() -> None:
    parser = argparse.ArgumentParser(description="Parts of the peaks, and two threads over one.")
    parser.add_argument("--threads", type=int, default=2, help="how many, beside one")
    parser.add_argument("--small", action="store_true", help="the least that shows that it works")
    chosen = parser.parse_args()
    size = SMALL if chosen.small else FULL
    threads = [1, chosen.threads]
    peaks = {count: measure_peaks(count) for count in threads}
    products = {dtype: product_seconds(size, dtype, peaks) for dtype in ("float32", "float64")}
    memory = memory_seconds(size, peaks)
    print_peaks(peaks, size, products)
    print_memory(memory, size)
    print_speeds(size, threads, products)


if __name__ == "__main__":
    main()
