"""Whole programs against other array libraries: time of a call, and of the first one.

    python benchmarks/peers.py                           # against NumPy
    python benchmarks/peers.py --peers OTHER/bin/python  # jax, torch, numba, where OTHER has them
    python benchmarks/peers.py 'matmul*' softmax_64 --threads 1 --json results.json
    python benchmarks/peers.py 'more_*'                  # programs of other kinds
    python benchmarks/peers.py --show results.json       # the tables of an earlier run

Every library runs in a process of its own, one for each number of threads, on arrays of its own. A
program is compiled in one after the other, and its result is compared with NumPy's in float64; what
differs is not timed. Then each round asks all of them in turn, so that a change of the machine's
speed meets all alike, and the least time of all rounds counts. "Ratio" is our time over the best
peer's; the table begins with the worst. With --peers, NumPy runs there too: its error function is
SciPy's. A process with one thread is bound to one core.

On a machine that does other work, pools of threads that wait for each other lose much: --real-time,
which needs a privilege, gives the process that is timed precedence over all others.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from libraries import MODULES, OPEN, reference
from tables import OURS, Figures, Row, report
from workloads import WORKLOADS, Workload

SETTLE = 0.005  # seconds after a turn in which a library's threads go to sleep
# Libraries' own settings: what the caller's shell says of them must not slow a peer down.
SETTINGS = ("JAX_", "MKL_", "NEURLANG_", "NPY_", "NUMBA_", "OMP_", "OPENBLAS_", "TORCH", "XLA_")
THREAD_VARIABLES = (
    "NEURLANG_THREADS",
    "NPROC",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


@dataclass
class Peer:
    """A library in a process of its own, that answers a line of JSON with one."""

    library: str
    threads: int
    python: str
    scratch: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """The process; one that has died is replaced."""
        if self.process is not None and self.process.poll() is None:
            return self.process
        inherited = {name: x for name, x in os.environ.items() if not name.startswith(SETTINGS)}
        environment = {
            **inherited,
            **dict.fromkeys(THREAD_VARIABLES, str(self.threads)),
            "NEURLANG_CACHE": "off",
            "JAX_PLATFORMS": "cpu",
            "PEERS_SCRATCH": self.scratch,
        }
        script = Path(__file__).with_name("libraries.py")
        self.process = subprocess.Popen(
            [self.python, str(script), self.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # warnings; errors come as answers
            bufsize=0,
            env=environment,
            preexec_fn=self.bind,  # no thread runs yet
        )
        return self.process

    def bind(self) -> None:
        if self.threads == 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    def ask(self, *question: Any, patience: float = 60) -> dict[str, Any]:
        """The answer; a problem where the process dies, or takes longer than so many seconds."""
        process = self.start()
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(question).encode() + b"\n")
        ready, _, _ = select.select([process.stdout], [], [], patience)
        line = process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.stop()
        return {"problem": "the process died" if ready else f"no answer in {patience:g} s"}

    @contextmanager
    def real_time(self, wanted: bool) -> Iterator[None]:
        """Let no other process take a core from its threads meanwhile."""
        if not wanted:
            yield
            return
        self.schedule(os.SCHED_RR, 1)
        try:
            yield
        finally:
            self.schedule(os.SCHED_OTHER, 0)

    def schedule(self, policy: int, priority: int) -> None:
        """Set the priority of every thread that there is."""
        process = self.start()
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread, or all, has ended
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                os.sched_setscheduler(int(thread), policy, os.sched_param(priority))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def find_peers(chosen: argparse.Namespace, scratch: str) -> tuple[list[Peer], dict[str, str]]:
    """The libraries that can be imported, once for each number of threads; their versions."""
    peers, versions = [], {}
    for library in OPEN:
        if library not in chosen.libraries:
            continue
        python = sys.executable if library == OURS else chosen.peers
        command = [python, "-c", f"import {MODULES.get(library, library)}"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            print(f"{library} is not installed for {python}", file=sys.stderr)
            continue
        made = [Peer(library, threads, python, scratch) for threads in chosen.threads]
        versions[library] = made[0].ask("version")["version"]
        peers += made
    return peers, versions


def measure(workload: Workload, peers: list[Peer], chosen: argparse.Namespace) -> Row:
    """Compile, verify, and time in turns."""
    figures: dict[int, Figures] = {threads: {} for threads in chosen.threads}
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, *reference(workload))
        file.flush()
        for peer in peers:
            question = ("first", workload.name, file.name)
            with peer.real_time(chosen.real_time):
                answer = peer.ask(*question, patience=chosen.patience)
            figures[peer.threads][peer.library] = answer
    for _ in range(chosen.rounds):
        for peer in peers:
            found = figures[peer.threads][peer.library]
            if found["problem"]:
                continue
            time.sleep(SETTLE)
            with peer.real_time(chosen.real_time):
                answer = peer.ask("time", chosen.seconds)
            found["seconds"] = min(
                answer.get("seconds", float("inf")), found.get("seconds", float("inf"))
            )
            found["problem"] = answer.get("problem", "")
    return Row(workload.name, figures)


def save(file: Path, rows: list[Row], versions: dict[str, str]) -> None:
    lines = [{"name": row.name, "figures": row.figures} for row in rows]
    file.write_text(json.dumps({"versions": versions, "workloads": lines}, indent=1) + "\n")


def load(file: Path) -> list[Row]:
    lines = json.loads(file.read_text())["workloads"]
    return [Row(x["name"], {int(n): found for n, found in x["figures"].items()}) for x in lines]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whole programs against other array libraries.")
    usual = [name for name in WORKLOADS if not name.startswith("more_")]
    parser.add_argument("workloads", nargs="*", default=usual, help="names, or patterns of names")
    parser.add_argument(
        "--peers", metavar="PYTHON", default=sys.executable, help="where jax, torch, numba are"
    )
    parser.add_argument("--libraries", nargs="*", default=list(OPEN), choices=list(OPEN))
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.025, help="of a library's turn")
    parser.add_argument("--patience", type=float, default=120, help="seconds for a first call")
    parser.add_argument(
        "--real-time", action="store_true", help="raise who is timed over other processes (root)"
    )
    parser.add_argument("--json", type=Path, help="write every figure there, after each workload")
    parser.add_argument("--show", type=Path, help="only print the tables of such a file")
    return parser.parse_args()


def main() -> None:
    chosen = parse()
    if chosen.show:
        print(report(load(chosen.show)))
        return
    wanted = [
        workload
        for name, workload in WORKLOADS.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in chosen.workloads)
    ]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        peers, versions = find_peers(chosen, scratch)
        try:
            for workload in wanted:
                rows.append(measure(workload, peers, chosen))
                ratios = {threads: rows[-1].ratio(threads) for threads in chosen.threads}
                print(workload.name, ratios, file=sys.stderr, flush=True)
                if chosen.json:
                    save(chosen.json, rows, versions)
        finally:
            for peer in peers:
                peer.stop()
    print(", ".join(f"{library} {version}" for library, version in versions.items()), end="\n\n")
    print(report(rows))


if __name__ == "__main__":
    main()
