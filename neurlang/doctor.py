"""What neurlang finds on this machine, and whether a dozen compiled programs are right on it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass

import llvmlite
import llvmlite.binding
import numpy as np

import neurlang
from neurlang.bench import TOLERANCE, largest_error, widest_float
from neurlang.codegen.machine import Machine, host_machine
from neurlang.codegen.pool import disk_cache, memory, pool
from neurlang.jit import JitFunction
from neurlang.programs import PROGRAMS, NamedProgram
from neurlang.runtime.objects import native_entry_available

# Families of features that decide which code is made; the processor lists hundreds.
NOTABLE = tuple(
    "avx2 fma f16c avx512f avx512vl avx512bw avx512dq avx512vnni avx512bf16 amx-tile "
    "neon dotprod bf16 sve sve2".split()
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str

    def __str__(self) -> str:
        return f"{self.what:<16}{self.found}"


@dataclass(frozen=True)
class Check:
    """One program of the self-test: the empty problem where compiled and NumPy agree."""

    program: str
    problem: str

    def __str__(self) -> str:
        return f"{self.program:<20}{self.problem or 'right'}"


def examine() -> Iterator[Finding]:
    """Versions, processor, threads, cache."""
    yield Finding("neurlang", neurlang.__version__)
    yield Finding("Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("NumPy", np.__version__)
    yield Finding("llvmlite", llvmlite.__version__)
    yield Finding("LLVM", ".".join(map(str, llvmlite.binding.llvm_version_info)))
    machine = host_machine()
    yield Finding("target", machine.triple)
    yield Finding("CPU", f"{machine.cpu} (LLVM's name), {len(machine.present)} features")
    yield Finding("features", " ".join(n for n in NOTABLE if n in machine.present) or "none named")
    yield Finding("vectors", f"{machine.vector_bits} bits, {machine.vector_registers} registers")
    yield Finding("caches", _caches(machine))
    yield Finding("cores", f"{machine.cores} available to this process")
    yield Finding("threads", pool().describe())
    results = memory()
    yield Finding("results", "from NumPy's allocator" if results is None else results.describe())
    yield Finding("native entry", "available" if native_entry_available() else _NO_ENTRY)
    yield Finding("disk cache", _disk_cache())


_NO_ENTRY = "not available on this Python: calls go through ctypes"


def _caches(machine: Machine) -> str:
    sizes = {"L1": machine.l1, "L2": machine.l2, "L3": machine.l3}
    return ", ".join(f"{name} {size >> 10:,} KiB" for name, size in sizes.items())


def _disk_cache() -> str:
    cache = disk_cache()
    stats = cache.stats()
    held = f"{stats.entries:,} programs, {stats.bytes:,} bytes"
    return f"{cache.mode}, {cache.directory}: {held}"


def self_test() -> Iterator[Check]:
    """Compile every named program for small arguments, past the caches, and compare with NumPy."""
    for program in PROGRAMS.values():
        yield Check(program.name, _problem(program))


def _problem(program: NamedProgram) -> str:
    arguments = program.arguments(small=True)
    try:
        compiled = JitFunction(program.function, cache=False)
        dtype = widest_float(compiled.trace(*arguments).graph)
        error = largest_error(compiled(*arguments), program.function(*arguments))
    except Exception as problem:  # whatever goes wrong is what the doctor is asked for
        return f"fails with {type(problem).__name__}: {problem}"
    if error <= TOLERANCE[dtype]:
        return ""
    return f"differs from NumPy by {error:.2g} of the largest value"
