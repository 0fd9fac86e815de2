"""From a traced graph to machine code: every stage in order, on one page."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import neurlang
from neurlang import settings
from neurlang.codegen.compile import compile_assembly, compile_object, compiler_versions
from neurlang.codegen.machine import Machine, available_cores, host_machine
from neurlang.codegen.program import emit_program
from neurlang.errors import InternalError, NeurlangError, OptionError, Where
from neurlang.ir.failures import FAILURE_KINDS, Failure, can_fail
from neurlang.ir.graph import Graph
from neurlang.ir.loops import Buffer, Kernel
from neurlang.ir.loops_verify import verify_kernel
from neurlang.ir.steps import Step
from neurlang.ir.text import graph_text
from neurlang.ir.verify import verify as verify_graph
from neurlang.lower.program import Program, lower, own_outputs
from neurlang.lower.share import share_kernels
from neurlang.passes import GRAPH_PASSES, LOOP_PASSES, NEEDED
from neurlang.passes.graph.capture_constants import capture_constants
from neurlang.passes.graph.group import Plan, group
from neurlang.passes.graph.simplify import simplify
from neurlang.passes.loops.block_rows import block_rows
from neurlang.passes.loops.contract import contract
from neurlang.passes.loops.join_blocks import join_blocks
from neurlang.passes.run import Budget, PassLog, run_passes
from neurlang.runtime.cache import DiskCache, content_key, sources_stamp
from neurlang.runtime.garbage import collector_paused
from neurlang.runtime.memory import available

STAGES = ("trace", "graph", "loops", "llvm", "asm")
SECTIONS_VERSION = "6"  # of what store_code writes: entries of another version are not found


@dataclass(frozen=True)
class Target:
    """What machine code is made for: the machine and what options say of it."""

    machine: Machine
    threads: int
    fusion: bool = True
    tile: int = 0
    fast_math: bool = False
    pooled: bool = False  # whether large results are aligned to cache lines

    def texts(self) -> list[str]:
        """What a cached object depends on besides its graph."""
        return [
            self.machine.triple,
            f"{self.machine.cpu} {self.machine.feature_text}",
            f"{self.machine.l1} {self.machine.l2} {self.machine.l3} {self.pooled}",
            f"{self.machine.vector_bits} {self.threads} {self.fusion} {self.tile} {self.fast_math}",
            f"{settings.get('bisect')}",
            *(apply.__name__ for apply in (*GRAPH_PASSES, *LOOP_PASSES)),
        ]


def current_target(threads: int | None = None, fast_math: bool = False) -> Target:
    """The host and the options that are in force now."""
    machine = host_machine()
    machine = replace(machine, vector_bits=settings.get("vector_bits") or machine.vector_bits)
    chosen = threads or settings.get("threads") or available_cores()
    fusion, tile = settings.get("fusion"), settings.get("tile")
    return Target(machine, chosen, fusion, tile, fast_math, available())


@dataclass
class Compilation:
    """Everything that one compilation made, stage by stage, for those who want to look."""

    traced: Graph
    target: Target
    graph: Graph | None = None
    plan: Plan | None = None
    program: Program | None = None
    llvm: str = ""
    log: PassLog = field(default_factory=PassLog)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_text(self, stage: str) -> str:
        """One of the five texts."""
        match stage:
            case "trace":
                return str(self.traced)
            case "graph":
                return str(self.graph)
            case "loops":
                return str(self.program)
            case "llvm":
                return self.llvm
            case "asm":
                return compile_assembly(self.llvm, self.target.machine)
        raise ValueError(f"there is no stage {stage!r}; choose one of {', '.join(STAGES)}")


@dataclass(frozen=True)
class Code:
    """A compiled program before it is linked: what the disk cache stores."""

    object: bytes
    failures: tuple[Failure, ...]
    captured: tuple[Any, ...]


class Timer:
    """Seconds of each stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.last = time.perf_counter()

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self.last
        self.last = now


@collector_paused()
def optimize(traced: Graph, target: Target, keep_texts: bool = False) -> Compilation:
    """Graph passes, fusion, lowering and loop passes."""
    made = Compilation(traced, target, log=PassLog(keep_texts))
    timer = Timer(made.seconds)
    checking = settings.get("verify")
    budget = Budget(settings.get("bisect"), NEEDED)
    if checking:
        verify_graph(traced)
    passes: list[Callable[[Graph], Graph]] = [
        partial(simplify, fast_math=target.fast_math) if apply is simplify else apply
        for apply in GRAPH_PASSES
    ]
    names = [apply.__name__ for apply in GRAPH_PASSES]
    graph = run_passes(traced, passes, names, made.log, budget, verify_graph if checking else None)
    made.graph = capture_constants(own_outputs(graph))
    timer.done("graph passes")
    made.plan = group(made.graph, target.fusion)
    timer.done("fusion")
    program = lower(made.graph, made.plan)
    if checking:
        for step in program.steps:
            if isinstance(step, Kernel):
                verify_kernel(step)
    timer.done("lower")
    made.program = schedule(program, target, made.log, budget, checking)
    timer.done("loop passes")
    return made


def schedule(
    program: Program, target: Target, log: PassLog, budget: Budget, checking: bool
) -> Program:
    """Apply the loop passes."""
    chosen = [apply for apply in LOOP_PASSES if target.fast_math or apply is not contract]
    passes = [_on_program(apply, target) for apply in chosen]
    names = [apply.__name__ for apply in chosen]
    return run_passes(program, passes, names, log, budget, _verify_program if checking else None)


def _on_program(apply: Callable[..., Any], target: Target) -> Callable[[Program], Program]:
    """A loop pass for a whole program, with what it has to know of the target."""
    told = told_of_target(apply, target)
    if apply in (block_rows, join_blocks):
        return partial(_all_steps, told)
    return partial(_each_kernel, told)


def told_of_target(apply: Callable[..., Any], target: Target) -> Callable[..., Any]:
    """A loop pass that is given those properties of the target which its parameters name."""
    known = {
        "machine": target.machine,
        "threads": target.threads,
        "aligned": target.pooled,
        "tile": target.tile,
    }
    wanted = {name: value for name, value in known.items() if name in _parameters(apply)}
    return partial(apply, **wanted) if wanted else apply


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _each_kernel(apply: Callable[[Kernel], Kernel], program: Program) -> Program:
    steps = tuple(apply(step) if isinstance(step, Kernel) else step for step in program.steps)
    return replace(program, steps=steps)


def _all_steps(
    apply: Callable[[Sequence[Step], set[Buffer]], list[Step]], program: Program
) -> Program:
    """A pass over the whole program; of kernels that are alike then, one is compiled."""
    steps = apply(program.steps, program.results)
    if apply is join_blocks and steps == list(program.steps):
        return program  # none were joined: what is alike has been found before
    return share_kernels(program.with_steps(steps))


def _verify_program(program: Program, after: str) -> None:
    for step in program.steps:
        if isinstance(step, Kernel):
            verify_kernel(step, after)


@collector_paused()
def generate(made: Compilation, stamped: bool = False) -> Code:
    """LLVM text and machine code for an optimised program; `stamped` as for `emit_program`."""
    timer = Timer(made.seconds)
    program = made.program
    assert program is not None and made.graph is not None
    module = emit_program(program, made.target.threads, made.target.machine, stamped)
    made.llvm = module.text()
    timer.done("emit")
    try:
        data = compile_object(made.llvm, made.target.machine)
    except RuntimeError as error:
        raise InternalError(f"LLVM rejects the module of {program.name}: {error}") from error
    timer.done("llvm")
    count = len(made.traced.captured)
    return Code(data, program.failures, (*made.graph.captured[count:], *program.numbers))


# the disk cache


def cache_key(traced: Graph, target: Target) -> str:
    """What a program depends on: its graph, the target, and the versions of everything."""
    versions = [
        SECTIONS_VERSION,
        neurlang.__version__,
        sources_stamp(),
        *compiler_versions(),
        np.__version__,
        sys.implementation.cache_tag or "",
    ]
    return content_key(*versions, *target.texts(), *identity(traced))


def identity(traced: Graph) -> tuple[str, str]:
    """What tells a graph from others: a program that can fail names the lines where it does, other
    programs are shared."""
    places = [str((n.where.file, n.where.line)) for n in traced.nodes if n.where and can_fail(n)]
    return graph_text(traced, sources=False), "\n".join(places)


def load_code(cache: DiskCache, key: str) -> Code | None:
    """A program from the disk cache; None where there is none."""
    sections = cache.load(key)
    if sections is None:
        return None
    meta = json.loads(sections["meta"])
    failures = tuple(
        Failure(
            item["message"],
            Where(*item["where"]) if item["where"] else None,
            item["hint"],
            FAILURE_KINDS[item["kind"]],
        )
        for item in meta["failures"]
    )
    captured = []
    offset = 0
    for dtype, shape in meta["captured"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = sections["captured"][offset : offset + size]
        captured.append(np.frombuffer(data, dtype).reshape(shape))
        offset += size
    return Code(sections["object"], failures, tuple(captured))


def store_code(cache: DiskCache, key: str, code: Code) -> None:
    """Keep a program for the next process."""
    failures = [
        {
            "message": f.message,
            "where": [f.where.file, f.where.line] if f.where else None,
            "hint": f.hint,
            "kind": f.kind.__name__,
        }
        for f in code.failures
    ]
    captured = [[a.dtype.str, list(a.shape)] for a in code.captured]
    meta = json.dumps({"failures": failures, "captured": captured})
    data = b"".join(a.tobytes() for a in code.captured)
    cache.store(key, {"object": code.object, "meta": meta.encode(), "captured": data})


# dumps


def dump(made: Compilation) -> None:
    """Write the stages that NEURLANG_DUMP names, to standard error or a folder.

    OptionError where nothing can be written to that folder.
    """
    wanted = [stage.strip() for stage in settings.get("dump").split(",") if stage.strip()]
    for stage in wanted:
        if stage not in STAGES:
            raise NeurlangError(
                f"NEURLANG_DUMP names {stage!r}, which is no stage",
                hint=f"choose from {','.join(STAGES)}",
            )
        text = made.as_text(stage)
        folder = settings.get("dump_dir")
        if not folder:
            print(f"# {made.traced.name}: {stage}\n{text}\n", file=sys.stderr)
            continue
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            _numbered(Path(folder), made.traced.name, stage).write_text(text + "\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OptionError(
                f"dumps cannot be written to {folder!r}: {reason}",
                hint="set NEURLANG_DUMP_DIR to a folder of yours, or unset it",
            ) from error


def _numbered(folder: Path, name: str, stage: str) -> Path:
    """A file name that is not taken: one function has a program for each signature."""
    safe = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)
    for number in range(1, 1_000_000):
        path = folder / f"{safe}.{number}.{stage}"
        if not path.exists():
            return path
    raise NeurlangError(f"the folder {folder} is full of dumps", hint="empty it")
