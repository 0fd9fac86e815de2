"""The figures of docs/benchmarks.md that need no peers: run it, and compare.

    python benchmarks/figures.py            # all of them, about a minute
    python benchmarks/figures.py calls      # one group: calls, first, chain, products

Times are the least of several runs, in one process unless said otherwise. "First call" is trace to
result of a function that was never compiled, in a process that has compiled another one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

import neurlang as nl
from neurlang.executable import clear


def ones(*shape: int) -> Any:
    return np.ones(shape, "float32")


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def fused(a: Any, b: Any) -> Any:
    return np.maximum(a * b + 1, 0) - b


FIRST: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "elementwise, 64 k": (fused, (ones(1 << 16), ones(1 << 16))),
    "softmax, 256 x 256": (softmax, (ones(256, 256),)),
    "matmul, 512": (np.matmul, (ones(512, 512), ones(512, 512))),
}


def best(call: Callable[[], Any], seconds: float = 0.3) -> float:
    """The least time of one call."""
    call()
    once = max(1e-8, min(timeit.repeat(call, number=1, repeat=3)))
    number = max(1, int(0.01 / once))
    repeats = max(3, int(seconds / (number * once)))
    return min(timeit.repeat(call, number=number, repeat=repeats)) / number


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


Point = namedtuple("Point", "x y")


def cases() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """Calls that do next to nothing: the function, its arguments."""
    a, small, square = ones(16), np.ones(16, "int8"), ones(4, 8)
    four = {name: ones(16) for name in "wbuv"}
    return {
        "`a + b`": (lambda a, b: a + b, (a, a), {}),
        "`a + b, c * d`": (lambda a, b, c, d: (a + b, c * d), (a, a, a, a), {}),
        "`a * s`, s a Python float": (lambda a, s: a * s, (a, 2.0), {}),
        "`a + n`, a int8, n a Python int": (lambda a, n: a + n, (small, 2), {}),
        "`a * s`, s a float32 scalar": (lambda a, s: a * s, (a, np.float32(2)), {}),
        "`a * s`, s by name": (lambda a, s: a * s, (a,), {"s": 2.0}),
        "`a.sum()`": (lambda a: a.sum(), (a,), {}),
        "a dict of 4 arrays": (lambda p: p["w"] + p["b"] * p["u"] - p["v"], (four,), {}),
        "the same, a dict of 4 as result": (lambda p: {k: p[k] * 2 for k in p}, (four,), {}),
        "a named tuple, and one as result": (lambda p: Point(p.y, p.x), (Point(a, a),), {}),
        "a transposed array": (lambda a: a * 2, (square.T,), {}),
        "an array with strides": (lambda a: a * 2, (square[:, ::2],), {}),
    }


def calls() -> None:
    """What a call costs besides its work; the lambda that makes it is taken off."""
    a = ones(16)
    empty = best(lambda: None)
    row("call on 16 floats", "ns")
    row("`numpy.add`", f"{(best(lambda: np.add(a, a)) - empty) * 1e9:.0f}")
    for name, (function, args, kwargs) in cases().items():
        jitted = nl.jit(function, cache=False)
        if kwargs:
            taken = best(lambda f=jitted, a=args[0], s=kwargs["s"]: f(a, s=s))
        else:
            taken = best(lambda f=jitted, args=args: f(*args))
        row(name, f"{(taken - empty) * 1e9:.0f}")


def first() -> None:
    """First calls: compiled now, and taken from the disk cache by a second process."""
    row("first call", "compiled, ms", "second process, ms")
    nl.jit(lambda x: x * 3.25 - 1, cache=False)(ones(7))
    for name, (function, args) in FIRST.items():
        cold = []
        for _ in range(7):
            clear()
            f = nl.jit(lambda *xs, g=function: g(*xs), cache=False)
            started = time.perf_counter()
            f(*args)
            cold.append(time.perf_counter() - started)
        row(name, f"{min(cold) * 1e3:.1f}", f"{second_process(name) * 1e3:.1f}")


def second_process(name: str) -> float:
    """Trace to result in a process that finds everything on disk; import excluded."""
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(5):
            command = [sys.executable, __file__, "--one", name]
            environment = {**os.environ, "NEURLANG_CACHE": folder}
            done = subprocess.run(command, env=environment, capture_output=True, check=True)
            times.append(float(done.stdout))
    return min(times[1:])


def one(name: str) -> None:
    """The first call of a process whose LLVM is loaded and linked once."""
    nl.jit(lambda x: x * 3.25 - 1)(ones(7))
    function, args = FIRST[name]
    f = nl.jit(function)
    started = time.perf_counter()
    f(*args)
    print(time.perf_counter() - started)


def chain() -> None:
    """Long chains of elementwise operations: the time must grow with the length, no faster."""
    row("operations in a chain", "trace to result, s")
    for length in (1250, 2500, 5000, 10000):

        def long(x: Any, length: int = length) -> Any:
            for step in range(length // 4):
                x = np.maximum(x * 1.01 + 0.5, -3.0) - (0.25 + step)
            return x

        clear()
        started = time.perf_counter()
        nl.jit(long, cache=False)(ones(64))
        row(str(length), f"{time.perf_counter() - started:.2f}")


def products() -> None:
    """Products of matrices against NumPy's BLAS, interleaved."""
    row("m, k, n", "neurlang, GFLOP/s", "NumPy, GFLOP/s")
    sizes = [(n, n, n) for n in (32, 64, 128, 256, 512, 1024, 2048)]
    for m, k, n in [*sizes, (8, 4096, 4096), (32, 512, 512), (256, 784, 512)]:
        a, b = np.random.rand(m, k).astype("f4"), np.random.rand(k, n).astype("f4")
        product = nl.jit(np.matmul, cache=False)
        ours = theirs = 1e9
        for _ in range(3):
            ours = min(ours, best(lambda: product(a, b), 0.1))  # noqa: B023  # called at once
            theirs = min(theirs, best(lambda: np.matmul(a, b), 0.1))  # noqa: B023
        work = 2e-9 * m * k * n
        row(f"{m}, {k}, {n}", f"{work / ours:.0f}", f"{work / theirs:.0f}")


GROUPS = {"calls": calls, "first": first, "chain": chain, "products": products}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
        return
    for name in sys.argv[1:] or GROUPS:
        GROUPS[name]()
        print()


if __name__ == "__main__":
    main()
