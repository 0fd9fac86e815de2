"""Compiled, interpreted and plain NumPy side by side, measured in turns, against the roofs."""

from __future__ import annotations

import inspect
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

import numpy as np

import neurlang
from neurlang.arguments import CommandError, load_function, random_arguments
from neurlang.codegen.machine import host_machine
from neurlang.frontend.tree import flatten
from neurlang.inspect import node_flops, seconds_text
from neurlang.ir.graph import Graph
from neurlang.ir.interpret import interpret
from neurlang.jit import JitFunction
from neurlang.peaks import Peaks
from neurlang.programs import PROGRAMS

WAYS = ("compiled", "interpreted", "numpy")
SAMPLE_SECONDS = 1e-3  # short calls are repeated until a sample lasts about so long
MOST_REPEATS = 2000
SLOW_SECONDS = 2.0  # progress is reported where a program takes longer
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}  # of the largest value: sums run in another order


class WrongResult(Exception):
    """A program that is to be timed does not compute what NumPy does."""


@dataclass(frozen=True)
class Case:
    """A function to be timed with these arguments."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over several rounds. `spread` is the middle half's width / median."""

    least: float
    median: float
    spread: float
    rounds: int


@dataclass(frozen=True)
class Result:
    """What was measured of one program.

    `flops` count every node of the traced graph once and an elementary function as one operation;
    `nbytes` are those of the arguments and results: what any program must move.
    """

    name: str
    types: str
    dtype: str
    timings: dict[str, Timing]
    compile_seconds: float
    flops: int
    nbytes: int
    error: float

    def speed_up(self, over: str) -> float:
        """How many times faster than another way the compiled program is, by medians."""
        return self.timings[over].median / self.timings["compiled"].median

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.timings["compiled"].median

    @property
    def bytes_per_second(self) -> float:
        return self.nbytes / self.timings["compiled"].median

    def roof_fraction(self, peaks: Peaks) -> float:
        """The least time that the roofs allow over the time taken."""
        least = peaks.least_seconds(self.flops, self.nbytes, self.dtype)
        return least / self.timings["compiled"].median

    def as_dict(self, peaks: Peaks) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {
            "speed_up_over_numpy": self.speed_up("numpy"),
            "speed_up_over_interpreted": self.speed_up("interpreted"),
            "gflops_per_second": self.flops_per_second / 1e9,
            "gbytes_per_second": self.bytes_per_second / 1e9,
            "roof_fraction": self.roof_fraction(peaks),
            "level": peaks.level(self.nbytes),
        }


def check_arguments(name: str, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """CommandError where a function that the command line names takes other arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a builtin without a signature says itself what it misses
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise CommandError(
            f"{name}{signature}: {error}",
            "write one type for each argument, such as 'f32[64,128]'",
        ) from None


def choose_cases(words: Sequence[str]) -> list[Case]:
    """The programs that words name, all where there are none.

    A word with a colon is a function, and the words with brackets after it are its types.
    """
    if not words:
        return [Case(p.name, p.function, p.arguments()) for p in PROGRAMS.values()]
    cases = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if ":" in word:
            end = position
            while end < len(words) and "[" in words[end]:
                end += 1
            function = load_function(word)
            arguments = random_arguments(words[position:end])
            check_arguments(word, function, arguments)
            cases.append(Case(word, function, arguments))
            position = end
        elif word in PROGRAMS:
            program = PROGRAMS[word]
            cases.append(Case(word, program.function, program.arguments()))
        else:
            raise CommandError(
                f"there is no program {word!r}",
                f"choose from {', '.join(PROGRAMS)}, or write module:function and types",
            )
    return cases


# measuring


def measure(case: Case, rounds: int, threads: int | None) -> Result:
    """Compile, check against NumPy (WrongResult), and time the three ways in turns."""
    plain = getattr(case.function, "__wrapped__", case.function)
    compiled = JitFunction(plain, threads=threads, cache=False)
    graph = compiled.trace(*case.arguments).graph
    expected = plain(*case.arguments)
    started = time.perf_counter()
    found = compiled(*case.arguments)
    compile_seconds = time.perf_counter() - started
    error = largest_error(found, expected)
    dtype = widest_float(graph)
    if not error <= TOLERANCE[dtype]:
        raise WrongResult(f"{case.name}: compiled and NumPy differ by {error:.2g} of the largest")
    ways = {
        "compiled": lambda: compiled(*case.arguments),
        "interpreted": lambda: interpret(graph, *case.arguments),
        "numpy": lambda: plain(*case.arguments),
    }
    return Result(
        case.name,
        ", ".join(str(param.type) for param in graph.params),
        dtype,
        time_in_turns(ways, rounds),
        compile_seconds,
        sum(map(node_flops, graph.nodes)),
        sum(node.type.nbytes for node in (*graph.params, *graph.outputs)),
        error,
    )


def largest_error(found: Any, expected: Any) -> float:
    """The largest difference of two results, as a part of the largest value of each array."""
    pairs = zip(flatten(found)[0], flatten(expected)[0], strict=True)
    return max((_array_error(np.asarray(a), np.asarray(b)) for a, b in pairs), default=0.0)


def _array_error(found: Any, expected: Any) -> float:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    scale = np.max(np.abs(expected[finite]), initial=np.finfo(expected.dtype).tiny)
    return float(np.max(np.abs(found[finite] - expected[finite]), initial=0.0) / scale)


def widest_float(graph: Graph) -> str:
    """The float dtype whose roof a program is held against."""
    wide = any(node.dtype == np.float64 for node in graph.nodes if node.kind != "leaf")
    return "float64" if wide else "float32"


def time_in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Time functions so that whatever disturbs the machine disturbs all of them alike."""
    repeats = {}
    for name, way in ways.items():
        way()
        started = time.perf_counter()
        way()
        once = max(time.perf_counter() - started, 1e-9)
        repeats[name] = max(1, min(MOST_REPEATS, int(SAMPLE_SECONDS / once)))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            count = range(repeats[name])
            started = time.perf_counter()
            for _ in count:
                way()
            seconds[name].append((time.perf_counter() - started) / len(count))
    return {name: _timing(values) for name, values in seconds.items()}


def _timing(values: Sequence[float]) -> Timing:
    median = statistics.median(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [median] * 3
    return Timing(min(values), median, (quarters[2] - quarters[0]) / median, len(values))


def measure_all(
    cases: Iterable[Case], rounds: int, threads: int | None, progress: TextIO | None = None
) -> list[Result]:
    """Measure every case; say on `progress` what runs once that takes long."""
    results = []
    cases = list(cases)
    started = time.perf_counter()
    for number, case in enumerate(cases, 1):
        if progress is not None and time.perf_counter() - started > SLOW_SECONDS:
            print(f"[{number}/{len(cases)}] {case.name}", file=progress, flush=True)
        results.append(measure(case, rounds, threads))
    return results


# the report


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns side by side under the first row's headings; the first `left` are set left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def report(results: Sequence[Result], peaks: Peaks) -> str:
    """The results as a table, and the roofs that they are held against."""
    heading = ["program", "compiled", "min", "spread", "interpreted", "NumPy", "x interpreted"]
    rows = [[*heading, "x NumPy", "GFLOP/s", "GB/s", "of roof", "compilation"]]
    for result in results:
        compiled = result.timings["compiled"]
        rows.append(
            [
                result.name,
                seconds_text(compiled.median),
                seconds_text(compiled.least),
                f"{compiled.spread:.0%}",
                seconds_text(result.timings["interpreted"].median),
                seconds_text(result.timings["numpy"].median),
                f"{result.speed_up('interpreted'):.2f}",
                f"{result.speed_up('numpy'):.2f}",
                f"{result.flops_per_second / 1e9:.1f}",
                f"{result.bytes_per_second / 1e9:.1f}",
                f"{result.roof_fraction(peaks):.0%}",
                seconds_text(result.compile_seconds),
            ]
        )
    flops = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in peaks.flops.items())
    read = ", ".join(f"{level} {rate / 1e9:.0f} GB/s" for level, rate in peaks.read.items())
    rounds = results[0].timings["compiled"].rounds if results else 0
    return "\n".join(
        [
            table(rows),
            "",
            f"medians of {rounds} rounds in turns; spread: the middle half of the rounds",
            f"roofs measured with {_threads(peaks.threads)}: {flops}; reading {read}",
            "of roof: the least time that the roofs allow over the time taken; an elementary",
            "function counts as one FLOP, arguments and results count once as bytes",
        ]
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def as_json(results: Sequence[Result], peaks: Peaks) -> dict[str, Any]:
    """What was measured, where and with what, for a JSON file."""
    machine = host_machine()
    return {
        "neurlang": neurlang.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "cpu": machine.cpu,
        "vector_bits": machine.vector_bits,
        "cores": machine.cores,
        "peaks": peaks.as_dict(),
        "programs": [result.as_dict(peaks) for result in results],
    }
