"""Vector mathematics on one thread: nanoseconds per element, against NumPy and other peers.

    python benchmarks/mathlib.py                           # against NumPy, a few minutes
    python benchmarks/mathlib.py --peers OTHER/bin/python  # torch and jax, where OTHER has them
    python benchmarks/mathlib.py erf tanh --dtypes f4      # some functions, one precision

Every library runs in a process of its own, on one core; a round asks each of them in turn, so that
a change of the machine's speed meets all alike, and the least time of all rounds counts. Peers
write to an array that they are given, where they can. "Ratio" is our time over the best peer's, 0
where no peer has the function; the table begins with the worst.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

COUNT = 262_144
ONE_THREAD = {
    "NEURLANG_CACHE": "off",
    "NEURLANG_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}
# Intervals of the arguments; the second of a function is where its harder part is, or its rarer.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "exp": ((-10, 10), (-100, 88)),
    "exp2": ((-10, 10), (-150, 128)),
    "expm1": ((-5, 5), (-0.1, 0.1)),
    "log": ((0.01, 100), (0.5, 2)),
    "log2": ((0.01, 100), (0.5, 2)),
    "log10": ((0.01, 100), (0.5, 2)),
    "log1p": ((-0.9, 100), (-0.1, 0.1)),
    "sin": ((-6, 6), (-1e5, 1e5)),
    "cos": ((-6, 6), (-1e5, 1e5)),
    "tan": ((-6, 6), (-1e5, 1e5)),
    "arcsin": ((-1, 1),),
    "arccos": ((-1, 1),),
    "arctan": ((-5, 5), (-1e5, 1e5)),
    "arctan2": ((-5, 5),),
    "sinh": ((-5, 5), (-80, 80)),
    "cosh": ((-5, 5), (-80, 80)),
    "tanh": ((-4, 4), (-20, 20)),
    "arcsinh": ((-5, 5), (-1e5, 1e5)),
    "arccosh": ((1, 10), (1, 1e5)),
    "arctanh": ((-1, 1),),
    "erf": ((-4, 4), (-0.5, 0.5)),
    "erfc": ((-4, 4), (0, 9)),
    "cbrt": ((-100, 100),),
    "power": ((0.1, 10), (0.9, 1.1)),
    "hypot": ((-5, 5),),
    "sigmoid": ((-8, 8), (-80, 80)),
    "logaddexp": ((-8, 8),),
    "gelu": ((-4, 4),),
}
BINARY = {"arctan2", "power", "hypot", "logaddexp"}
Call = Callable[[], Any]


@dataclass
class Peer:
    """A library in a process of its own, that answers a line of JSON with one."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, *question: Any) -> float | None:
        """The least time of a few calls in seconds, or None for a function it has not."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer: float | None = json.loads(self.process.stdout.readline())
        return answer


def arguments(name: str, dtype: str, low: float, high: float) -> list[Any]:
    """The arrays of a function; a power's second argument has both signs."""
    random = np.random.default_rng(1)
    arrays = [random.uniform(low, high, COUNT)]
    if name in BINARY:
        arrays.append(random.uniform(-5, 5, COUNT))
    return [array.astype(dtype) for array in arrays]


# what each library calls


def call_neurlang(name: str, arrays: list[Any]) -> Call:
    import neurlang as nl

    public = getattr(nl, name)
    compiled = nl.jit(lambda *xs: public(*xs))
    return lambda: compiled(*arrays)


def call_numpy(name: str, arrays: list[Any]) -> Call | None:
    out = np.empty_like(arrays[0])
    if name == "sigmoid":
        one = out.dtype.type(1)

        def sigmoid() -> Any:
            np.exp(np.negative(arrays[0], out=out), out=out)
            return np.divide(one, np.add(out, one, out=out), out=out)

        return sigmoid
    function = getattr(np, name, None)
    return None if function is None else lambda: function(*arrays, out=out)


def call_torch(name: str, arrays: list[Any]) -> Call | None:
    import torch

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(array) for array in arrays]
    if name == "gelu":
        return lambda: torch.nn.functional.gelu(*tensors)
    function = getattr(torch, {"power": "pow"}.get(name, name), None)
    out = torch.empty_like(tensors[0])
    return None if function is None else lambda: function(*tensors, out=out)


def call_jax(name: str, arrays: list[Any]) -> Call:
    import jax

    owners = (jax.numpy, jax.scipy.special, jax.nn)
    function = next(getattr(owner, name) for owner in owners if hasattr(owner, name))
    options = {"approximate": False} if name == "gelu" else {}
    compiled = jax.jit(lambda *xs: function(*xs, **options))
    inputs = [jax.device_put(array) for array in arrays]
    return lambda: compiled(*inputs).block_until_ready()


CALLS: dict[str, Callable[[str, list[Any]], Call | None]] = {
    "neurlang": call_neurlang,
    "numpy": call_numpy,
    "torch": call_torch,
    "jax": call_jax,
}


def answer_questions(library: str) -> None:
    """What a peer's process does; a function is prepared when it is asked for first."""
    prepared: dict[str, Call | None] = {}
    for line in sys.stdin:
        name, dtype, low, high = json.loads(line)
        if line not in prepared:
            with np.errstate(all="ignore"):
                prepared[line] = CALLS[library](name, arguments(name, dtype, low, high))
            call = prepared[line]
            if call is not None:
                call()
        call = prepared[line]
        least = None if call is None else min(timeit.repeat(call, number=1, repeat=5))
        print(json.dumps(least), flush=True)


def start_peer(library: str, python: str, core: int) -> Peer:
    """A process that answers questions, bound to one core where the system can do that."""
    command = [python, __file__, "--answer", library]

    def bind() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})

    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD},
        preexec_fn=bind,  # no thread runs yet
    )
    return Peer(library, process)


def has_library(python: str, library: str) -> bool:
    """Whether an interpreter can import it."""
    if python == sys.executable:
        return importlib.util.find_spec(library) is not None
    command = [python, "-c", f"import {library}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def measure(peers: list[Peer], question: tuple[Any, ...], rounds: int) -> dict[str, float]:
    """Nanoseconds per element by library: the least of interleaved rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for peer in peers:
            seconds = peer.ask(*question)
            if seconds is not None:
                nanoseconds = seconds / COUNT * 1e9
                best[peer.name] = min(nanoseconds, best.get(peer.name, math.inf))
    return best


def print_table(rows: list[tuple[float, str, str, str, dict[str, float]]]) -> None:
    names = [name for name in CALLS if any(name in row[-1] for row in rows)]
    print("| " + " | ".join(["function", "dtype", "range", *names, "ratio"]) + " |")
    print("|---|---|---|" + "---:|" * (len(names) + 1))
    for ratio, function, dtype, interval, times in sorted(rows, key=lambda row: -row[0]):
        cells = [f"{times[name]:.3f}" if name in times else "" for name in names]
        print("| " + " | ".join([function, dtype, interval, *cells, f"{ratio:.2f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="vector mathematics against other libraries")
    parser.add_argument("functions", nargs="*", default=list(RANGES), metavar="function")
    parser.add_argument("--peers", default=sys.executable, help="a Python with torch or jax")
    parser.add_argument("--dtypes", nargs="*", default=["f4", "f8"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer_questions(options.answer)
        return
    peers = [start_peer(name, sys.executable, options.core) for name in ("neurlang", "numpy")]
    for library in ("torch", "jax"):
        if has_library(options.peers, library):
            peers.append(start_peer(library, options.peers, options.core))
    rows = []
    for name in options.functions:
        for dtype in options.dtypes:
            for low, high in RANGES[name]:
                times = measure(peers, (name, dtype, low, high), options.rounds)
                others = [times[peer] for peer in times if peer != "neurlang"]
                ratio = times["neurlang"] / min(others, default=math.inf)
                rows.append((ratio, name, dtype, f"{low:g}..{high:g}", times))
    print_table(rows)


if __name__ == "__main__":
    main()
