"""Whole programs against other array libraries: time of a call, and of the first one.

    python benchmarks/peers.py                           # against NumPy
    python benchmarks/peers.py --peers OTHER/bin/python  # jax and torch, where OTHER has them
    python benchmarks/peers.py 'matmul*' softmax_64 --threads 1 --json results.json

Every library runs in a process of its own, on arrays of its own. A program is compiled in one after
the other, and its result is compared with NumPy's in float64; what differs is not timed. Then each
round asks all of them in turn, so that a change of the machine's speed meets all alike, and the
least time of all rounds counts. "Ratio" is our time over the best peer's. The table begins with the
worst.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from workloads import WORKLOADS, Workload

LIBRARIES = ("neurlang", "numpy", "jax", "torch", "torch_compile")
SEED = 1
SLICE = 0.025  # seconds that a library is timed for in a round
PATIENCE = 120  # seconds for a first call

Call = Callable[[], Any]
# A namespace, what compiles a function, and what makes a library's array.
Opened = tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]


# what each library calls; the namespaces add what has another name there


class Namespace:
    """A module, and functions in place of some of its own."""

    def __init__(self, module: Any, **functions: Any) -> None:
        self.module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def _numpy_erf(x: Any) -> Any:
    return np.array([math.erf(value) for value in x.ravel().tolist()], x.dtype).reshape(x.shape)


def _numpy_conv2d(x: Any, w: Any, padding: int, groups: int) -> Any:
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), w.shape[2:], axis=(2, 3))
    if groups == 1:
        return np.moveaxis(np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))), 3, 1)
    return np.einsum("nchwij,cij->nchw", windows, w[:, 0])


def with_numpy(workload: Workload) -> Opened:
    return Namespace(np, erf=_numpy_erf, conv2d=_numpy_conv2d), lambda f: f, lambda array: array


def with_neurlang(workload: Workload) -> Opened:
    import neurlang as nl

    return nl, nl.jit, lambda array: array


def with_jax(workload: Workload) -> Opened:
    import jax

    def conv2d(x: Any, w: Any, padding: int, groups: int) -> Any:
        edges = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(x, w, (1, 1), edges, feature_group_count=groups)

    def bincount(places: Any, weights: Any, size: int) -> Any:
        return jax.numpy.zeros(size, weights.dtype).at[places].add(weights)

    space = Namespace(jax.numpy, erf=jax.scipy.special.erf, conv2d=conv2d, bincount=bincount)

    def compiled(function: Any) -> Any:
        made = jax.jit(function)
        return lambda *arrays: jax.block_until_ready(made(*arrays))

    return space, compiled, jax.device_put


def with_torch(workload: Workload) -> Opened:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    space = Namespace(
        torch,
        astype=lambda x, dtype: x.to(getattr(torch, dtype)),
        bincount=lambda places, weights, size: torch.zeros(size).index_add(0, places, weights),
        conv2d=torch.nn.functional.conv2d,
        max=torch.amax,
        maximum=lambda x, y: torch.clamp(x, min=y),
        minimum=lambda x, y: torch.clamp(x, max=y),
        pad=lambda x, edges: torch.nn.functional.pad(x, [n for pair in edges[::-1] for n in pair]),
        permute_dims=torch.permute,
        take=lambda x, places, axis: torch.index_select(x, axis, places),
        tensordot=lambda a, b, axes: torch.tensordot(a, b, dims=axes),
    )
    return space, torch.no_grad(), torch.from_numpy


def with_torch_compile(
    workload: Workload,
) -> Opened:
    import torch

    space, _, array = with_torch(workload)

    def compiled(function: Any) -> Any:
        return torch.no_grad()(torch.compile(function, dynamic=False))

    return space, compiled, array


OPENERS = {
    "neurlang": with_neurlang,
    "numpy": with_numpy,
    "jax": with_jax,
    "torch": with_torch,
    "torch_compile": with_torch_compile,
}


def prepare(library: str, workload: Workload) -> Call:
    """A call of a workload in a library, on arrays of its own, nothing compiled yet."""
    space, compiled, array = OPENERS[library](workload)
    arrays = [array(a) for a in workload.arguments(np.random.default_rng(SEED))]
    program = compiled(lambda *arguments: workload.program(space, *arguments))
    return lambda: program(*arrays)


def flat(result: Any) -> list[Any]:
    """The arrays of a result, as NumPy's."""
    parts = result if isinstance(result, tuple | list) else (result,)
    return [np.asarray(part) for part in parts]


def reference(workload: Workload) -> list[Any]:
    """The result in float64, by NumPy."""
    arrays = workload.arguments(np.random.default_rng(SEED))
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    space, _, _ = with_numpy(workload)
    with np.errstate(all="ignore"):
        return flat(workload.program(space, *wide))


def difference(found: list[Any], wanted: list[Any], workload: Workload) -> str:
    """What is wrong with a result; nothing where it is right."""
    if [a.shape for a in found] != [a.shape for a in wanted]:
        return f"shapes {[a.shape for a in found]}"
    for one, other in zip(found, wanted):
        size = np.sqrt(np.mean(np.square(other, dtype=np.float64)))
        bound = workload.tolerance * (np.abs(other) + size)
        far = np.mean(~(np.abs(one - other) <= bound))
        if far > workload.loose:
            return f"{far:.1%} of the elements differ"
    return ""


def answer_questions(library: str) -> None:
    """What a library's process does: ("first", workload, file of the reference) or ("time", it)."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    calls: dict[str, Call] = {}
    for line in sys.stdin:
        what, name, *more = json.loads(line)
        try:
            if what == "first":
                calls[name] = prepare(library, WORKLOADS[name])
                begun, worked = time.perf_counter(), time.process_time()
                result = calls[name]()
                seconds, busy = time.perf_counter() - begun, time.process_time() - worked
                with np.load(more[0]) as saved:
                    wanted = [saved[key] for key in saved]
                wrong = difference(flat(result), wanted, WORKLOADS[name])
                reply: Any = {"first": seconds, "cpu": busy, "wrong": wrong}
            else:
                reply = least_time(calls[name])
        except Exception as error:  # a peer that cannot do it is left out, and says why
            reply = {"wrong": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(reply), file=replies, flush=True)


def least_time(call: Call) -> float:
    """Of a slice of calls, the shortest; short calls in batches."""
    call()
    begun = time.perf_counter()
    call()
    batch = max(1, min(200, int(SLICE / 40 / max(time.perf_counter() - begun, 1e-7))))
    least, end = math.inf, time.perf_counter() + SLICE
    while time.perf_counter() < end or least == math.inf:
        begun = time.perf_counter()
        for _ in range(batch):
            call()
        least = min(least, (time.perf_counter() - begun) / batch)
    return least


# the process that asks


@dataclass
class Peer:
    """A library in a process of its own, that answers a line of JSON with one."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, *question: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            line = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.kill()
            return {"wrong": "no answer"}
        return json.loads(line)


@dataclass
class Row:
    """What was measured of a workload, by library."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    first: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def best(self) -> str | None:
        """The fastest peer."""
        peers = {name: time for name, time in self.seconds.items() if name != "neurlang"}
        return min(peers, key=lambda name: peers[name]) if peers else None

    @property
    def ratio(self) -> float | None:
        """Our time over the best peer's."""
        if self.best is None or "neurlang" not in self.seconds:
            return None
        return self.seconds["neurlang"] / self.seconds[self.best]


def start(library: str, python: str, threads: int) -> Peer:
    counts = ("NEURLANG_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "NEURLANG_CACHE": "off",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
    }

    def bind() -> None:
        if threads == 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    process = subprocess.Popen(
        [python, __file__, "--answer", library],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=bind,  # no thread runs yet
    )
    return Peer(library, process)


def interpreters(other: str | None) -> dict[str, str]:
    """Where each library is: here, or in the other interpreter."""
    found = dict.fromkeys(("neurlang", "numpy"), sys.executable)
    for name in LIBRARIES[2:]:
        module = name.partition("_")[0]
        if other is None:
            if importlib.util.find_spec(module) is not None:
                found[name] = sys.executable
        elif not subprocess.run([other, "-c", f"import {module}"], capture_output=True).returncode:
            found[name] = other
    return found


def measure(workload: Workload, peers: list[Peer], rounds: int) -> Row:
    row = Row(workload.name)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, *reference(workload))
        file.flush()
        for peer in peers:
            row.first[peer.name] = peer.ask("first", workload.name, file.name)
    right = [peer for peer in peers if not row.first[peer.name]["wrong"]]
    for _ in range(rounds):
        for peer in right:
            found = peer.ask("time", workload.name)
            if isinstance(found, float):
                row.seconds[peer.name] = min(found, row.seconds.get(peer.name, math.inf))
    return row


def mean(values: Iterable[float]) -> str:
    """The geometric mean."""
    logarithms = [math.log(value) for value in values]
    return f"{math.exp(sum(logarithms) / len(logarithms)):.2f}" if logarithms else "-"


def report(rows: list[Row], names: list[str]) -> str:
    """A table in Markdown, the lost workloads first, and the means."""
    rows = sorted(rows, key=lambda row: -(row.ratio or 0))
    heads = ["workload", "best peer", "ratio", *(f"{name}, ms" for name in names)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        ratio = "-" if row.ratio is None else f"**{row.ratio:.2f}**"
        times = [f"{row.seconds[n] * 1e3:.4g}" if n in row.seconds else "-" for n in names]
        lines.append(f"| {' | '.join([row.name, row.best or '-', ratio, *times])} |")
    ratios = [row.ratio for row in rows if row.ratio is not None]
    won = sum(ratio < 1 for ratio in ratios)
    lines.append(
        f"\nOur time over the best peer's: {mean(ratios)}; fastest on {won} of {len(ratios)}"
    )
    for name in names[1:]:
        both = [row.seconds for row in rows if {"neurlang", name} <= set(row.seconds)]
        firsts = [row.first for row in rows if {"neurlang", name} <= set(row.seconds)]
        lines.append(
            f"over {name}'s: {mean(s['neurlang'] / s[name] for s in both)}; first calls: "
            f"{mean(f['neurlang']['first'] / f[name]['first'] for f in firsts)}"
        )
    for row in rows:
        for name, first in row.first.items():
            if first["wrong"]:
                lines.append(f"{name} on {row.name}: {first['wrong']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole programs against other array libraries.")
    parser.add_argument("workloads", nargs="*", default=["*"], help="names, or patterns of names")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has jax and torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.answer:
        answer_questions(chosen.answer)
        return
    wanted = [
        workload
        for name, workload in WORKLOADS.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in chosen.workloads)
    ]
    found = interpreters(chosen.peers)
    peers = [start(name, python, chosen.threads) for name, python in found.items()]
    rows = []
    for workload in wanted:
        rows.append(measure(workload, peers, chosen.rounds))
        ratio = rows[-1].ratio
        print(f"{workload.name:<24}{'-' if ratio is None else f'{ratio:.2f}'}", file=sys.stderr)
    for peer in peers:
        peer.process.kill()
    print(report(rows, [peer.name for peer in peers]))
    if chosen.json:
        chosen.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
