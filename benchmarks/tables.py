"""The tables of benchmarks/peers.py in Markdown, as docs/benchmarks.md shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

OURS = "neurlang"
# In the order of the columns, and as the tables call them.
NAMES = {
    "numpy": "NumPy",
    "jax": "jax",
    "torch": "torch",
    "torch_compile": "torch.compile",
    "numba": "numba",
}
# Of a workload by library: seconds of a call, of the first one, of the processor then, a problem.
Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """What was measured of a workload, by number of threads."""

    name: str
    figures: dict[int, Figures]

    def seconds(self, threads: int, what: str = "seconds") -> dict[str, float]:
        """One figure of the libraries that have it."""
        found = self.figures.get(threads, {})
        return {library: row[what] for library, row in found.items() if what in row}

    def best(self, threads: int) -> str | None:
        """The fastest peer."""
        peers = {name: time for name, time in self.seconds(threads).items() if name != OURS}
        return min(peers, key=lambda name: peers[name]) if peers else None

    def ratio(self, threads: int) -> float | None:
        """Our time over the best peer's."""
        return self.over(self.best(threads), threads)

    def over(self, peer: str | None, threads: int, what: str = "seconds") -> float | None:
        """Our figure over a peer's, where both have it."""
        seconds = self.seconds(threads, what)
        if peer not in seconds or OURS not in seconds:
            return None
        return seconds[OURS] / seconds[peer]


def mean(values: Iterable[float | None]) -> float | None:
    """The geometric mean of those that there are."""
    logarithms = [math.log(value) for value in values if value is not None]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def markdown(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (heads, *rows)]
    lines.insert(1, "|" + "---|" * len(heads))
    return "\n".join(lines)


def two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def present(rows: list[Row]) -> list[str]:
    """The peers that have a figure somewhere."""
    found = {name for row in rows for threads in row.figures for name in row.seconds(threads)}
    return [name for name in NAMES if name in found]


def thread_counts(rows: list[Row]) -> list[int]:
    """Most threads first."""
    return sorted({threads for row in rows for threads in row.figures}, reverse=True)


def means_table(rows: list[Row]) -> str:
    """Our time over each peer's, and over the best one's."""
    peers = present(rows)
    lines = []
    for threads in thread_counts(rows):
        ratios = [ratio for row in rows if (ratio := row.ratio(threads)) is not None]
        means = [mean(row.over(peer, threads) for row in rows) for peer in peers]
        won = sum(ratio < 1 for ratio in ratios)
        cells = map(two_digits, [*means, mean(ratios)])
        lines.append([str(threads), *cells, f"{won} of {len(ratios)}"])
    names = [NAMES[peer] for peer in peers]
    best = "the best of them on each workload"
    return markdown(["threads", *names, best, "fastest of all on"], lines)


def workloads_table(rows: list[Row]) -> str:
    """Milliseconds with most threads, the lost workloads first."""
    threads, *fewer = thread_counts(rows)
    peers = present(rows)
    lines = []
    for row in sorted(rows, key=lambda row: -(row.ratio(threads) or math.inf)):
        seconds = row.seconds(threads)
        times = [f"{seconds[n] * 1e3:.4g}" if n in seconds else "-" for n in (OURS, *peers)]
        ratios = [two_digits(row.ratio(count)) for count in fewer]
        best = NAMES.get(row.best(threads) or "", "-")
        lines.append([row.name, best, f"**{two_digits(row.ratio(threads))}**", *ratios, *times])
    columns = [f"with {count} thread" + "s" * (count > 1) for count in fewer]
    names = [OURS, *(NAMES[peer] for peer in peers)]
    return markdown(["workload", "best peer", "ratio", *columns, *names], lines)


def first_calls_table(rows: list[Row]) -> str:
    """Our first calls over those of the peers that compile: wall clock, and processor time."""
    compilers = [name for name in ("jax", "torch_compile", "numba") if name in present(rows)]
    if not compilers:
        return "No peer that compiles was measured."
    kinds = {"first": "wall clock", "processor": "processor time"}
    lines = []
    for threads in thread_counts(rows):
        for what, kind in kinds.items():
            means = [mean(row.over(peer, threads, what) for row in rows) for peer in compilers]
            lines.append([str(threads), kind, *map(two_digits, means)])
    return markdown(["threads", "first call", *(NAMES[peer] for peer in compilers)], lines)


def threads_table(rows: list[Row]) -> str:
    """How many times faster most threads are than fewest, geometric means."""
    most, least = thread_counts(rows)[0], thread_counts(rows)[-1]
    libraries = [OURS, *present(rows)]
    lines = []
    for name in libraries:
        both = [(row.seconds(least), row.seconds(most)) for row in rows]
        speeds = [one[name] / two[name] for one, two in both if name in one and name in two]
        lines.append([NAMES.get(name, name), two_digits(mean(speeds))])
    return markdown(["library", f"{most} threads over {least}"], lines)


def problems(rows: list[Row]) -> str:
    """What could not be measured, and why; a line each."""
    lines = [
        f"- {library} on {row.name}, threads {threads}: {figures['problem']}"
        for row in rows
        for threads, found in row.figures.items()
        for library, figures in found.items()
        if figures.get("problem")
    ]
    return "\n".join(lines)


def report(rows: list[Row]) -> str:
    """All tables; the lost workloads come first."""
    parts = [means_table(rows), workloads_table(rows), first_calls_table(rows)]
    if len(thread_counts(rows)) > 1:
        parts.append(threads_table(rows))
    parts.append(problems(rows))
    return "\n\n".join(part for part in parts if part)
