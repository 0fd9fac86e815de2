"""This machine's roofs: multiply-adds in registers, and reading from each level of memory."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from neurlang.codegen.compile import Library, compile_object, link_object
from neurlang.codegen.machine import Machine, host_machine
from neurlang.codegen.writer import INTEGER_OF, Module, Value, Writer, constant, vector_type

ROUNDS = 7
SAMPLE_SECONDS = 4e-3  # what one measurement lasts: long against starting a thread
SAMPLE_BYTES = 256 << 20
LARGEST = 256 << 20

SCALARS = {"float32": "float", "float64": "double"}


@dataclass(frozen=True)
class Peaks:
    """The best of several measurements with a number of threads, per second and in all.

    `flops` are floating-point operations by dtype; `read` are bytes by memory level, where `sizes`
    are the bytes up to which data stays in a level.
    """

    threads: int
    flops: dict[str, float]
    read: dict[str, float]
    sizes: dict[str, int]

    def level(self, nbytes: int) -> str:
        """The nearest level that holds so many bytes; main memory holds everything."""
        for level, size in self.sizes.items():
            if nbytes <= size:
                return level
        return "memory"

    def least_seconds(self, flops: int, nbytes: int, dtype: str) -> float:
        """The roofline: no program does `flops` and reads and writes `nbytes` in less time."""
        return max(flops / self.flops[dtype], nbytes / self.read[self.level(nbytes)])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_peaks(threads: int) -> Peaks:
    """Measure with this many threads; takes about a second."""
    machine = host_machine()
    library = _library(machine)
    flops = {name: _flops(library, machine, name, threads) for name in SCALARS}
    # All threads together find their second caches; the third is shared.
    sizes = {"L2": machine.l2 * threads, "L3": max(machine.l3, machine.l2 * threads)}
    # In the middle of each level, and for memory beyond all of them as far as that is bearable.
    extents = {
        "L2": machine.l2 // 2 * threads,
        "L3": min(sizes["L3"] // 2, LARGEST),
        "memory": min(4 * sizes["L3"], LARGEST),
    }
    read = {level: _read(library, extent, threads) for level, extent in extents.items()}
    return Peaks(threads, flops, read, sizes)


# the kernels


@lru_cache(maxsize=1)
def _library(machine: Machine) -> Library:
    module = Module()
    for name, scalar in SCALARS.items():
        _write_multiply_adds(module, f"multiply_adds_{name}", scalar, machine)
    _write_read(module, machine)
    names = [*(f"multiply_adds_{name}" for name in SCALARS), "read"]
    return link_object(compile_object(module.text(), machine), names)


def _accumulators(machine: Machine) -> int:
    """Independent chains: enough to hide the latency, and registers are left for the factors."""
    return machine.vector_registers * 3 // 4


def _write_multiply_adds(module: Module, name: str, scalar: str, machine: Machine) -> None:
    """`name(count, sink)`: count times acc = acc * a + b in every accumulator."""
    writer = Writer(module, f"void @{name}(i64 %count, ptr %sink)")
    type = vector_type(scalar, machine.vector_bits // (32 if scalar == "float" else 64))
    # |a| < 1: the values converge, so that no NaN or subnormal number slows the loop down.
    a, b = constant(0.5, type), constant(1.0, type)

    def step(values: Sequence[Value], _: Value) -> list[Value]:
        if machine.has_fma:
            return [writer.fma(value, a, b) for value in values]
        return [writer.fadd(writer.fmul(value, a), b) for value in values]

    starts = [constant(number, type) for number in range(_accumulators(machine))]
    _write_loop(writer, starts, step)


def _write_read(module: Module, machine: Machine) -> None:
    """`read(count, sink, source, mask)`: adds up 8 vectors of block `turn & mask`, count times."""
    writer = Writer(module, "void @read(i64 %count, ptr %sink, ptr %source, i64 %mask)")
    type = vector_type(INTEGER_OF["float"], machine.lanes(4))
    size = machine.vector_bits // 8

    def step(values: Sequence[Value], turn: Value) -> list[Value]:
        start = writer.mul(writer.and_(turn, Value("%mask", "i64")), constant(8 * size, "i64"))
        block = writer.offset(Value("%source", "ptr"), start)
        return [
            writer.add(value, writer.load(writer.offset(block, size * k), type))
            for k, value in enumerate(values)
        ]

    _write_loop(writer, [constant(0, type)] * 8, step)


def _write_loop(
    writer: Writer, starts: Sequence[Value], step: Callable[[Sequence[Value], Value], list[Value]]
) -> None:
    """Repeat a step `%count` times, then store what the accumulators add up to."""
    entry, loop, after = writer.block, writer.label("loop"), writer.label("after")
    writer.branch(loop)
    writer.start_block(loop)
    turn = writer.phi("i64")
    phis = [writer.phi(start.type) for start in starts]
    values = step([value for value, _ in phis], turn[0])
    following = writer.add(turn[0], constant(1, "i64"))
    writer.branch_if(writer.icmp("ult", following, Value("%count", "i64")), loop, after)
    writer.set_phi(turn, [(constant(0, "i64"), entry), (following, loop)])
    for phi, start, value in zip(phis, starts, values):
        writer.set_phi(phi, [(start, entry), (value, loop)])
    writer.start_block(after)
    add = writer.fadd if starts[0].scalar in INTEGER_OF else writer.add
    total = values[0]
    for value in values[1:]:
        total = add(total, value)
    writer.store(total, Value("%sink", "ptr"))
    writer.ret()
    writer.finish()


# the measurements


def _flops(library: Library, machine: Machine, name: str, threads: int) -> float:
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(
        library[f"multiply_adds_{name}"]
    )
    each = 2 * _accumulators(machine) * machine.lanes(np.dtype(name).itemsize)
    sinks = np.zeros((threads, 512), np.uint8)
    count = 1000

    def work(worker: int) -> None:
        function(count, sinks[worker].ctypes.data)

    while True:
        seconds = _fastest(work, threads, 3)  # one alone may be a thread that started late
        if seconds >= SAMPLE_SECONDS:
            break
        count *= 4
    return count * each * threads / _fastest(work, threads, ROUNDS)


def _read(library: Library, extent: int, threads: int) -> float:
    """Bytes a second that all threads read from parts of their own."""
    kinds = (ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    function = ctypes.CFUNCTYPE(None, *kinds)(library["read"])
    block = 8 * host_machine().vector_bits // 8
    blocks = 1 << max(0, (extent // threads // block).bit_length() - 1)  # for the mask
    data = np.ones((threads, blocks * block), np.uint8)
    sinks = np.zeros((threads, 512), np.uint8)
    # Small extents are read over and over, so that a sample is long.
    count = max(blocks, SAMPLE_BYTES // threads // block)

    def work(worker: int) -> None:
        function(count, sinks[worker].ctypes.data, data[worker].ctypes.data, blocks - 1)

    return count * block * threads / _fastest(work, threads, ROUNDS)


def _fastest(work: Callable[[int], None], threads: int, rounds: int) -> float:
    """The least seconds that all workers together take."""
    best = float("inf")
    for _ in range(rounds):
        others = [threading.Thread(target=work, args=(worker,)) for worker in range(1, threads)]
        started = time.perf_counter()
        for other in others:
            other.start()
        work(0)
        for other in others:
            other.join()
        best = min(best, time.perf_counter() - started)
    return best
