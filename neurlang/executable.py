"""Linked programs: how arrays go in, how results come out, how failures become errors."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from neurlang import settings
from neurlang.codegen.compile import Library, link_object
from neurlang.codegen.emit import FIRST_FAILURE, OUT_OF_MEMORY, RAISED
from neurlang.codegen.entry import ENTRY, RELEASE, RUN
from neurlang.codegen.pool import address, call_address, disk_cache, memory, pool
from neurlang.codegen.program import EXPORTS
from neurlang.codegen.sort_text import ARGSORT_ROWS, SORT_ROWS
from neurlang.frontend.array import Array
from neurlang.frontend.lazy import KEPT, Program, forget
from neurlang.frontend.signature import LeafSpec
from neurlang.ir.graph import Graph, make_constant
from neurlang.ir.interpret import interpret
from neurlang.ir.types import INT64, Type, parse_type
from neurlang.pipeline import (
    Code,
    Target,
    cache_key,
    current_target,
    dump,
    generate,
    identity,
    load_code,
    optimize,
    store_code,
)
from neurlang.runtime import sorting
from neurlang.runtime.call import call_program
from neurlang.runtime.entry import (
    EntryMiss,
    EntrySignature,
    Kind,
    Nested,
    Overrides,
    flat,
)
from neurlang.runtime.entry_table import calls_of, entry_table, make_entry
from neurlang.runtime.memory import empty
from neurlang.runtime.objects import native_entry_available, slot_offset
from neurlang.settings import in_force

SCALAR_KINDS: dict[type, Kind] = {float: "float", int: "int", bool: "bool"}
RELEASE_WORK = 1 << 16  # bytes of arguments and results from which a call gives up the GIL


class Executable:
    """A program in memory, callable with normalised leaves; safe for any thread."""

    def __init__(
        self,
        code: Code,
        graph: Graph,
        threads: int = 1,
        exports: Sequence[str] = EXPORTS,
    ) -> None:
        pool().admit(threads)
        self.failures = code.failures
        self.types = [node.type for node in graph.outputs]
        self.memory = memory()
        symbols = {name: address(name) for name in ("neurlang_parallel", SORT_ROWS, ARGSORT_ROWS)}
        symbols["neurlang_library"] = _library_address()
        self.library: Library = link_object(code.object, exports, symbols)
        self.captured = [np.ascontiguousarray(a) for a in (*graph.captured, *code.captured)]
        cells = (ctypes.c_void_p * max(1, len(self.captured))).from_address(
            self.library["captured"]
        )
        for position, array in enumerate(self.captured):
            cells[position] = array.ctypes.data
        self.plan = self.library["plan"]
        self.tables: list[Any] = []  # of the entries
        self.named: list[Any] = []  # what the tables refer to
        weakref.finalize(self, _release, self.library)

    def entry(
        self,
        signature: EntrySignature,
        dispatcher: Callable[..., Any] | None = None,
        objects: Sequence[Any] = (),
        under: Overrides | None = None,
    ) -> Callable[..., Any]:
        """A native entry, under some options or those of this context; EntryMiss without a
        dispatcher."""
        handler = 0 if self.memory is None else id(self.memory.handler)
        told = dispatcher or self.refuse
        under = in_force() if under is None else under
        self.named.append((objects, under))
        table = entry_table(signature, self.plan, told, objects, handler, _carrier(), under)
        self.tables.append(table)
        return make_entry(address(ENTRY), table, told)

    def refuse(self, *args: Any, **kwargs: Any) -> Any:
        """What an entry without a dispatcher says; the method keeps the program linked."""
        raise EntryMiss

    @property
    def calls(self) -> int:
        """How many calls the entries have answered."""
        return sum(map(calls_of, self.tables))

    def run(self, *leaves: Any) -> Any:
        """Call without the native entry: one array, or a tuple of them."""
        _raise_kept()
        inputs = [_as_memory(leaf) for leaf in leaves]
        outputs = [empty(type.shape, type.dtype, self.memory) for type in self.types]
        pointers = [array.ctypes.data for array in (*inputs, *outputs)]
        caller = call_address()
        status = call_program(caller or address(RUN), self.plan, pointers, caller is not None)
        if status:
            self.fail(status)
        results = tuple(array if array.ndim else array[()] for array in outputs)
        return results[0] if len(results) == 1 else results

    def fail(self, status: int) -> None:
        """Raise what a program's status says."""
        if status == RAISED:
            _raise_kept()
        if status == OUT_OF_MEMORY:
            raise MemoryError("a compiled program could not allocate memory")
        raise self.failures[status - FIRST_FAILURE].error()


@lru_cache(maxsize=1)
def _carrier() -> tuple[int, int]:
    """The class of lazy arrays, and where they hold the value that a native entry is to read."""
    probe = Array(make_constant(0.0))
    probe.known = np.zeros(1)
    return id(Array), slot_offset(probe, probe.known)


def _release(library: Library) -> None:
    """Free the workspace, before the library goes."""
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address(RELEASE))(library["workspace"])


def _as_memory(leaf: Any) -> Any:
    if type(leaf) is float:
        return np.array(leaf, np.float64)
    if type(leaf) is bool:
        return np.array(leaf, np.bool_)
    if type(leaf) is int:
        return np.array(leaf, np.int64)
    return leaf


# steps that NumPy does

_SORTERS = {"argsort": sorting.argsort, "top_k": sorting.top_k}


# What a library step raised in a thread. An exception cannot pass through machine code: the program
# returns RAISED, and whoever called it raises what is kept here.
_kept = threading.local()


def _raise_kept() -> None:
    error = getattr(_kept, "error", None)
    if error is not None:
        _kept.error = None
        raise error


def _run_library(text: bytes, pointers: Any) -> int:
    """One library step: the text is that of `codegen.program.library_text`, the pointers input then
    output.

    Returns 0, or what the program is to return where memory ran out or a signal interrupted.
    """
    try:
        compute, source, result = _library_step(text)
        compute(_view(pointers[0], source), _view(pointers[1], result))
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException as error:
        _kept.error = error
        return RAISED
    return 0


@lru_cache(maxsize=4096)
def _library_step(text: bytes) -> tuple[Callable[[Any, Any], None], Type, Type]:
    """What a library step calls, and the types of its input and output."""
    op, dtype, shape, count = text.decode().split(" ")
    source: Type = parse_type(f"{dtype}[{shape}]")
    result = Type(INT64, (*source.shape[:-1], int(count)))
    return _SORTERS[op], source, result


def _view(address: int, type: Type) -> Any:
    memory: Any = (ctypes.c_char * type.nbytes).from_address(address)
    return np.ndarray(type.shape, type.dtype, memory)


_library_callback: list[Any] = []


def _library_address() -> int:
    if not _library_callback:
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))
        _library_callback.append(kind(_run_library))
    address = ctypes.cast(_library_callback[0], ctypes.c_void_p).value
    assert address is not None
    return address


# making executables

_shared: OrderedDict[Any, Executable] = OrderedDict()
_codes: OrderedDict[str, Code] = OrderedDict()
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child is not to wait for a thread that it does not have
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
counts = {"compilations": 0, "memory_hits": 0, "disk_hits": 0}


def has_entry(graph: Graph) -> bool:
    """Whether this Python can have native entries for the graph's programs."""
    return native_entry_available() and bool(graph.outputs)


def entry_signature(
    specs: Sequence[LeafSpec],
    graph: Graph,
    result: Nested,
    arguments: tuple[Nested, ...] | None = None,
    keywords: tuple[int, ...] = (),
    bounds: tuple[tuple[int, int, int], ...] = (),
) -> EntrySignature:
    """The native entry for these leaves."""
    inputs = []
    for spec in specs:
        kind: Kind = "array" if spec.scalar is None else SCALAR_KINDS[spec.scalar]
        inputs.append((str(spec.dtype), spec.shape, kind))
    orders = [(place, spec.order) for place, spec in enumerate(specs) if spec.order is not None]
    outputs = tuple((str(node.dtype), node.shape) for node in graph.outputs)
    traffic = sum(node.type.nbytes for node in (*graph.params, *graph.outputs))
    return EntrySignature(
        tuple(inputs),
        outputs,
        result,
        traffic >= RELEASE_WORK,
        arguments,
        keywords,
        bounds,
        tuple(orders),
    )


def compile_graph(graph: Graph, target: Target, use_disk: bool = True) -> Code:
    """The code of a graph: from memory, from the disk cache, or made now."""
    key = cache_key(graph, target)
    with _lock:
        if key in _codes and not settings.get("dump"):
            _codes.move_to_end(key)
            counts["memory_hits"] += 1
            return _codes[key]
    started = time.perf_counter()
    cache = disk_cache() if use_disk else None
    code = load_code(cache, key) if cache is not None and not settings.get("dump") else None
    origin = "disk"
    if code is None:
        made = optimize(graph, target)
        code = generate(made)
        origin = "compiled"
        dump(made)
        if cache is not None:
            store_code(cache, key, code)
    with _lock:
        counts["compilations" if origin == "compiled" else "disk_hits"] += 1
        _codes[key] = code
        while len(_codes) > KEPT:
            _codes.popitem(last=False)
    log_compilation(graph, origin, time.perf_counter() - started)
    return code


def log_compilation(graph: Graph, origin: str, seconds: float) -> None:
    """One line under NEURLANG_LOG=compile."""
    if "compile" in settings.get("log"):
        types = ", ".join(f"{param.attrs['name']}: {param.type}" for param in graph.params)
        milliseconds = f"{seconds * 1e3:.1f} ms"
        print(f"neurlang: {graph.name}({types}) {origin} in {milliseconds}", file=sys.stderr)


def clear() -> None:
    """Forget programs in memory."""
    with _lock:
        _shared.clear()
        _codes.clear()
    forget()


def run_graph(graph: Graph) -> tuple[Any, ...]:
    """Run the pending work of lazy arrays on captured leaves; equal graphs share one program."""
    values = graph.captured
    graph = replace(graph, captured=())
    if settings.get("disable_jit"):
        results = interpret(graph, *values)
        return results if isinstance(results, tuple) else (results,)
    results = _shared_program(graph).run(*(np.require(value, None, ("C", "A")) for value in values))
    return results if isinstance(results, tuple) else (results,)


def prepare_graph(graph: Graph) -> Program | None:
    """The native entry for values of the graph's parameters, which are contiguous; None where there
    is none. EntryMiss for failures, which `run_graph` looks into."""
    if settings.get("disable_jit") or not has_entry(graph):
        return None
    specs = [LeafSpec(param.dtype, param.shape) for param in graph.params]
    signature = entry_signature(specs, graph, flat("tuple", len(graph.outputs)))
    return _shared_program(graph).entry(signature)


def _shared_program(graph: Graph) -> Executable:
    """The program of a graph of lazy arrays."""
    target = current_target()
    # what is to be dumped must be compiled for it, once
    options = tuple(map(settings.get, ("bisect", "dump", "dump_dir")))
    key = (identity(graph), target, options)
    with _lock:
        found = _shared.get(key)
        if found is None:
            code = compile_graph(graph, target)
            found = _shared[key] = Executable(code, graph, target.threads)
            while len(_shared) > KEPT:
                _shared.popitem(last=False)
    return found
