"""One signature of one jitted function: its graph, and its program once it is called."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from neurlang import settings
from neurlang.frontend.narrowing import Narrowed
from neurlang.frontend.signature import Call, LeafSpec, normalized, trace_function
from neurlang.frontend.signature import Traced as TracedCall
from neurlang.frontend.tree import unflatten
from neurlang.ir.interpret import interpret
from neurlang.nesting import Nesting
from neurlang.passes.graph.capture_constants import capture_constants
from neurlang.passes.graph.fold_constants import LARGEST
from neurlang.runtime.entry import flat
from neurlang.runtime.garbage import collector_paused
from neurlang.settings import in_force

if TYPE_CHECKING:
    from neurlang.executable import Executable
    from neurlang.jit import JitFunction


@lru_cache(maxsize=1)
def backend() -> Any:
    """The modules behind tracing, loaded at the first compilation: LLVM is large."""
    return importlib.import_module("neurlang.executable")


class Way:
    """A native entry of a program: what its calls look like, and the options they are under."""

    def __init__(
        self, program: Specialization, parts: dict[str, Any], objects: Sequence[Any]
    ) -> None:
        assert program.executable is not None and program.traced is not None
        self.program = program
        signature = backend().entry_signature(program.specs, program.traced.graph, **parts)
        self._make = partial(program.executable.entry, signature, objects=objects, under=in_force())
        self.entry = self._make(self.dispatch)

    @cached_property
    def attempt(self) -> Callable[..., Any]:
        """The same as `entry`, but it raises EntryMiss for what it does not take. Made when calls
        of several signatures take turns."""
        return self._make()

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Where the native entry hands on calls that it does not take.

        A method that holds the program: whoever is inside the entry holds it, so that the code
        stays linked when the function forgets the program meanwhile.
        """
        return self.program.owner._answer(args, kwargs, self)


class Specialization:
    """One signature of one function: its graph, and its program once it is called."""

    def __init__(self, owner: JitFunction, call: Call, specs: tuple[LeafSpec, ...]) -> None:
        self.owner = owner
        self.call = call._replace(leaves=())  # a program keeps no argument alive
        self.specs = specs
        self.lock = threading.Lock()
        settings.check_all()
        self.target = backend().current_target(owner.threads, owner.fast_math)
        self.traced: TracedCall | None = None
        self.executable: Executable | None = None
        self.ways: dict[tuple[Any, ...], Way | None] = {}
        self.entries_of_leaves: dict[int, Callable[..., Any]] = {}

    def trace(self) -> TracedCall:
        owner = self.owner
        if self.traced is None:
            with collector_paused():
                traced = trace_function(owner.__wrapped__, self.call, self.specs, owner.signature)
                graph = capture_constants(traced.graph, LARGEST)
            self.traced = replace(traced, graph=graph)
        return self.traced

    def build(self) -> bool:
        """Compile, or take what the caches have; one thread does (True), the others wait."""
        if self.executable is not None:
            return False
        with self.lock:
            if self.executable is not None:
                return False
            graph, threads = self.trace().graph, self.target.threads
            code = backend().compile_graph(graph, self.target, self.owner.use_disk)
            self.executable = backend().Executable(code, graph, threads)
            return True

    # native calls; none of them change what a call returns

    @property
    def native(self) -> bool:
        """Whether a native entry takes and returns what the function does."""
        return any(way is not None for way in self.ways.values())

    def way(self, call: Call) -> Way | None:
        """The native entry for calls that are spelled as this one; None where Python has to help.

        It is for the options that are in force.
        """
        key = (call.spelling, id(in_force()))
        if key not in self.ways:
            objects = Nesting()
            parts = self._entry_parts(call, objects)
            self.ways[key] = None if parts is None else Way(self, parts, objects.objects)
        return self.ways[key]

    def _entry_parts(self, call: Call, objects: Nesting) -> dict[str, Any] | None:
        """What the native entry takes and returns; None where Python has to help."""
        traced = self.trace()
        if not backend().has_entry(traced.graph):
            return None
        if any(narrowed.graph is not None for narrowed in traced.narrowed):
            return None
        layout = None if call.spelling is None else self.owner.binder.layouts[call.spelling]
        called, result = objects.call(call, layout), objects.nest(traced.structure)
        if called is None or result is None:
            return None
        arguments, keywords = called
        bounds = tuple(map(_bound, traced.narrowed))
        return {"result": result, "arguments": arguments, "keywords": keywords, "bounds": bounds}

    def entry_of_leaves(self) -> Callable[..., Any] | None:
        """The native entry that takes leaves and returns a tuple of outputs; EntryMiss for others.

        It is for the options that are in force.
        """
        traced = self.trace()
        assert self.executable is not None
        if not backend().has_entry(traced.graph):
            return None
        key = id(in_force())
        if key not in self.entries_of_leaves:
            result = flat("tuple", len(traced.graph.outputs))
            signature = backend().entry_signature(self.specs, traced.graph, result)
            self.entries_of_leaves[key] = self.executable.entry(signature)
        return self.entries_of_leaves[key]

    def run_again(self, leaves: Sequence[Any]) -> Any:
        """Call with leaves that may be of this signature; EntryMiss where they are not."""
        assert self.traced is not None
        results = self.entries_of_leaves[id(in_force())](*leaves)
        self.traced.check(leaves)  # now that they are known to be of this signature
        return unflatten(self.traced.structure, results)

    def run(self, leaves: Sequence[Any]) -> Any:
        """Call with leaves of this signature."""
        self.build()
        assert self.traced is not None and self.executable is not None
        self.traced.check(leaves)
        values = [normalized(leaf, spec) for leaf, spec in zip(leaves, self.specs)]
        results = self.executable.run(*values)
        if len(self.traced.graph.outputs) == 1:
            results = (results,)
        return unflatten(self.traced.structure, results)

    def interpret(self, leaves: Sequence[Any]) -> Any:
        """The same with NumPy, op by op."""
        traced = self.trace()
        traced.check(leaves)
        values = [
            np.asarray(normalized(leaf, spec), spec.dtype) for leaf, spec in zip(leaves, self.specs)
        ]
        results = interpret(traced.graph, *values)
        results = results if isinstance(results, tuple) else (results,)
        results = tuple(value if value.ndim else value[()] for value in results)
        return unflatten(traced.structure, results)


def _bound(narrowed: Narrowed) -> tuple[int, int, int]:
    """The input, and what it may be: the entry reads integers of 64 bits."""
    info = np.iinfo(narrowed.dtype)
    return narrowed.positions[0], int(info.min), min(int(info.max), 2**63 - 1)
