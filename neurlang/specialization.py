"""One signature of one jitted function: its graph, and its program once it is called."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
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

if TYPE_CHECKING:
    from neurlang.executable import Executable
    from neurlang.jit import JitFunction


@lru_cache(maxsize=1)
def backend() -> Any:
    """The modules behind tracing, loaded at the first compilation: LLVM is large."""
    return importlib.import_module("neurlang.executable")


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
        self.native = False  # whether the native entry takes and returns what the function does

    def trace(self) -> TracedCall:
        owner = self.owner
        if self.traced is None:
            with collector_paused():
                traced = trace_function(owner.__wrapped__, self.call, self.specs, owner.signature)
                graph = capture_constants(traced.graph, LARGEST)
            self.traced = replace(traced, graph=graph)
        return self.traced

    def entry_parts(self, objects: Nesting) -> dict[str, Any] | None:
        """What the native entry takes and returns; None where Python has to help."""
        assert self.traced is not None
        if self.call.by_parameter or any(n.graph is not None for n in self.traced.narrowed):
            return None
        called, result = objects.call(self.call.structure), objects.nest(self.traced.structure)
        if called is None or result is None:
            return None
        arguments, keywords = called
        bounds = tuple(map(_bound, self.traced.narrowed))
        return {"result": result, "arguments": arguments, "keywords": keywords, "bounds": bounds}

    def build(self) -> bool:
        """Compile, or take what the caches have; one thread does (True), the others wait."""
        if self.executable is not None:
            return False
        with self.lock:
            if self.executable is not None:
                return False
            traced = self.trace()
            objects = Nesting()
            parts = self.entry_parts(objects)
            self.native = parts is not None
            flat_result = {"result": flat("tuple", len(traced.graph.outputs))}
            entry = backend().entry_signature(self.specs, traced.graph, **(parts or flat_result))
            code = backend().compile_graph(traced.graph, self.target, self.owner.use_disk)
            threads = self.target.threads
            dispatcher = self.dispatch if self.native else None
            built = backend().Executable(
                code, traced.graph, entry, dispatcher, objects.objects, threads
            )
            self.executable = built
            return True

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Where the native entry hands on calls that it does not take.

        A method of the program: whoever is inside the entry holds it, so that the code stays linked
        when the function forgets the program meanwhile.
        """
        return self.owner._answer(args, kwargs, self)

    def run_again(self, leaves: Sequence[Any]) -> Any:
        """Call with leaves that may be of this signature; EntryMiss where they are not."""
        assert self.traced is not None and self.executable is not None
        assert self.executable.entry is not None
        results = self.executable.entry(*leaves)
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
