"""One signature of one jitted function: its graph, and its program once it is called."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from neurlang import settings
from neurlang.frontend.signature import Call, LeafSpec, normalized, trace_function
from neurlang.frontend.signature import Traced as TracedCall
from neurlang.frontend.tree import Structure, flatten, unflatten
from neurlang.ir.interpret import interpret
from neurlang.passes.graph.capture_constants import capture_constants
from neurlang.passes.graph.fold_constants import LARGEST

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
        self.entry: Callable[..., Any] | None = None  # where it may be called without unpacking
        self.natural = False  # whether the native entry returns what the function does

    def trace(self) -> TracedCall:
        owner = self.owner
        if self.traced is None:
            traced = trace_function(owner.__wrapped__, self.call, self.specs, owner.signature)
            self.traced = replace(traced, graph=capture_constants(traced.graph, LARGEST))
        return self.traced

    def result_kind(self) -> str:
        """What the native entry returns: one array, or all of them as a tuple or list."""
        assert self.traced is not None
        structure = self.traced.structure
        if structure == _LEAF:
            return "single"
        count = len(self.traced.graph.outputs)
        if count and structure == _flat_structure(list, count):
            return "list"
        return "tuple"

    def positional(self) -> bool:
        """Whether a call's arguments are the leaves themselves, in order."""
        count = len(self.specs)
        return not self.call.static and self.call.structure == _argument_structure(count)

    def build(self) -> bool:
        """Compile, or take what the caches have; one thread does (True), the others wait."""
        if self.executable is not None:
            return False
        with self.lock:
            if self.executable is not None:
                return False
            traced = self.trace()
            kind = self.result_kind()
            entry = backend().entry_signature(self.specs, traced.graph, kind)
            code = backend().compile_graph(traced.graph, self.target, self.owner.use_disk)
            count = len(traced.graph.outputs)
            self.natural = kind != "tuple" or traced.structure == _flat_structure(tuple, count)
            flat = self.positional() and self.natural and not traced.narrowed
            dispatcher = self.dispatch if flat else None
            threads = self.target.threads
            built = backend().Executable(code, traced.graph, entry, threads, dispatcher)
            self.entry = built.entry if flat else None
            self.executable = built
            return True

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Where the native entry hands on calls that it does not take.

        A method of the program: whoever is inside the entry holds it, so that the code stays linked
        when the function forgets the program meanwhile.
        """
        return self.owner._dispatch(*args, **kwargs)

    def run_again(self, leaves: Sequence[Any]) -> Any:
        """Call with leaves that may be of this signature; EntryMiss where they are not."""
        assert self.traced is not None and self.executable is not None
        assert self.executable.entry is not None
        results = self.executable.entry(*leaves)
        self.traced.check(leaves)  # now that they are known to be of this signature
        return results if self.natural else unflatten(self.traced.structure, results)

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


def _structure_of(tree: Any) -> Structure:
    return flatten(tree)[1]


_LEAF = _structure_of(0)


@lru_cache(maxsize=256)
def _flat_structure(kind: type, count: int) -> Structure:
    return _structure_of(kind([0] * count))


@lru_cache(maxsize=256)
def _argument_structure(count: int) -> Structure:
    return _structure_of(((0,) * count, {}))
