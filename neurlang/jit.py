"""`@jit`: signature -> trace -> passes -> lower -> codegen -> cache -> call."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from neurlang import settings
from neurlang.errors import ArgumentError, OptionError
from neurlang.frontend.array import Array, set_executor
from neurlang.frontend.lazy import Program
from neurlang.frontend.signature import (
    Binder,
    Call,
    LeafSpec,
    difference,
    leaf_specs,
)
from neurlang.frontend.trace import current_trace
from neurlang.ir.graph import Graph
from neurlang.runtime.entry import EntryMiss
from neurlang.runtime.threads import MOST_THREADS
from neurlang.settings import STAGES, in_force
from neurlang.specialization import Specialization, Way, backend
from neurlang.stages import Compiled, Lowered, Traced

if TYPE_CHECKING:
    from neurlang.inspect import Explanation, Stages
    from neurlang.pipeline import Compilation

__all__ = [
    "STAGES",
    "CacheInfo",
    "Compiled",
    "JitFunction",
    "Lowered",
    "Traced",
    "jit",
]


MOST_RECENT = 4  # native entries that are tried before a call is taken apart


def _run_lazily(graph: Graph) -> tuple[Any, ...]:
    results: tuple[Any, ...] = backend().run_graph(graph)
    return results


def _prepare_lazily(graph: Graph) -> Program | None:
    program: Program | None = backend().prepare_graph(graph)
    return program


set_executor(_run_lazily, _prepare_lazily)


class CacheInfo(NamedTuple):
    """How often a function's programs were used and made."""

    hits: int
    misses: int
    programs: int


functions: weakref.WeakSet[JitFunction] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child, nobody is left who would release a lock that was held at the fork."""
    for function in list(functions):
        function.lock = threading.Lock()
        for program in function.programs.values():
            program.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class JitFunction:
    """A function that is compiled once for every signature it is called with."""

    # A call reads `__call__` of the class, which is this slot, and so runs what stands in it:
    # `_dispatch`, or the native entry of the latest program, with no Python in between.
    __slots__ = ("__call__", "__dict__", "__weakref__")

    __call__: Callable[..., Any]

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnames: str | Iterable[str] = (),
        static_argnums: int | Iterable[int] = (),
        threads: int | None = None,
        fast_math: bool = False,
        cache: bool = True,
    ) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        if not hasattr(self, "__name__"):
            self.__name__ = self.__qualname__ = type(function).__name__
        self.signature = _signature_of(function)
        self.static = _static_names(self.signature, static_argnames, static_argnums)
        self.binder = Binder(function, self.static, self.signature)
        _check_options(threads, fast_math, cache)
        self.threads = threads
        self.fast_math = fast_math
        self.use_disk = cache
        self.lock = threading.Lock()
        self.programs: dict[Any, Specialization] = {}
        self.latest: dict[Any, Specialization] = {}  # by structure and options, the last one run
        self.recent: tuple[Way, ...] = ()  # native entries, the last one that answered first
        self.__call__ = self._dispatch
        self.hits = 0  # of calls that no native entry answered: these count themselves
        functions.add(self)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundFunction(self, instance)

    def __repr__(self) -> str:
        return f"<jit {self.__qualname__}{self.signature or '(...)'}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # found by its name in its module, as functions are

    def _dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Find the program for the arguments, make it where there is none."""
        return self._answer(args, kwargs, None)

    def _answer(self, args: tuple[Any, ...], kwargs: dict[str, Any], missed: Way | None) -> Any:
        """The whole way, for a call that the entry of `missed` has handed on."""
        if current_trace() is None:
            try:
                return self._ask_recent(args, kwargs, missed)
            except EntryMiss:
                pass
        call = self.binder.bind(args, kwargs)
        if current_trace() is not None:
            return self.__wrapped__(*args, **kwargs)
        latest = self.latest.get((call.key(), id(in_force())))
        if latest is not None:
            try:
                return latest.run_again(call.leaves)
            except EntryMiss:
                pass  # other leaves; or a failure, which is looked into below
        return self._find_and_run(call)

    def _ask_recent(self, args: tuple[Any, ...], kwargs: dict[str, Any], missed: Way | None) -> Any:
        """What one of the last programs' entries answers, but for `missed`; EntryMiss for none."""
        for skipped in (missed, None):
            for way in self.recent:
                if way is skipped:
                    continue
                try:
                    results = way.attempt(*args, **kwargs)
                except EntryMiss:
                    continue
                self._try_first(way)
                return results
            if not self.recent or not _run_pending(args, kwargs):
                break
        raise EntryMiss

    def _find_and_run(self, call: Call) -> Any:
        """The program for the arguments, made where there is none; the next call tries it first."""
        program = self._program(call)
        if settings.get("disable_jit"):
            return program.interpret(call.leaves)
        built = program.build()
        if not built:  # counted in a statement without a call: no other thread runs in between
            self.hits += 1
        way = program.way(call)
        refused = bool(call.static) and way in self.recent  # for equal values, but other objects
        if way is not None and not refused:
            self._try_first(way)
        elif program.entry_of_leaves() is not None:  # which keeps the options, and so their number
            self.latest[call.key(), id(in_force())] = program
        return program.run(call.leaves)

    def _try_first(self, way: Way) -> None:
        """The next call tries this entry first."""
        others = [other for other in self.recent if other is not way]
        self.recent = (way, *others[: MOST_RECENT - 1])
        self.__call__ = way.entry

    def _program(self, call: Call) -> Specialization:
        """The program for a call, traced."""
        specs = leaf_specs(call, self.signature)
        key = (call.key(), specs, settings.chosen())
        with self.lock:
            found = self.programs.get(key)
            if found is not None:
                return found
            last = next(reversed(self.programs.values()), None)
            found = self.programs[key] = Specialization(self, call, specs)
        try:
            with found.lock:
                found.trace()
        except BaseException:
            with self.lock:
                self.programs.pop(key, None)
            raise
        if last is not None and "compile" in settings.get("log"):
            reason = difference(last.call, last.specs, call, specs, self.signature)
            print(f"neurlang: {self.__name__} recompiled because {reason}", file=sys.stderr)
        return found

    # stages

    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """The graph for arguments of these shapes and dtypes (arrays or `ShapeDtype`s)."""
        call = self.binder.bind(args, kwargs)
        program = self._program(call)
        traced = program.trace()

        def finish(stage: Traced) -> Lowered:
            made = backend().optimize(traced.graph, program.target, keep_texts=True)
            return Lowered(made, stage.out_info, _generate, lambda: self._compiled(program, made))

        return Traced(traced.graph, traced.structure, finish)

    def _compiled(self, program: Specialization, made: Compilation) -> Callable[..., Any]:
        program.build()
        _generate(made)

        def run(*args: Any, **kwargs: Any) -> Any:
            call = self.binder.bind(args, kwargs)
            specs = leaf_specs(call, self.signature)
            if call.key() != program.call.key() or not all(
                map(LeafSpec.fits, specs, program.specs)
            ):
                reason = difference(program.call, program.specs, call, specs, self.signature)
                raise ArgumentError(
                    f"{self.__name__} was compiled for other arguments: {reason}",
                    hint=f"call {self.__name__} itself, which compiles for what it is given",
                )
            return program.run(call.leaves)

        return run

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The scheduled loops for arguments of these shapes and dtypes."""
        return self.trace(*args, **kwargs).lower()

    def inspect(self, *args: Any, **kwargs: Any) -> Stages:
        """The five texts for these arguments, by stage; see `neurlang.inspect`."""
        # Deferred: the inspection stands above this module.
        from neurlang.inspect import inspect as inspect_function

        return inspect_function(self, *args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """What the compiler does for these arguments and why; prints as a report."""
        # Deferred: the inspection stands above this module.
        from neurlang.inspect import explain

        return explain(self, *args, **kwargs)

    def cache_info(self) -> CacheInfo:
        """Calls that found a program, programs that were made, and those that there are.

        The calls are approximate where Python has no GIL and threads call at once.
        """
        programs = list(self.programs.values())
        linked = [program.executable for program in programs if program.executable is not None]
        hits = self.hits + sum(executable.calls for executable in linked)
        return CacheInfo(hits, len(linked), len(programs))

    def forget_latest(self) -> None:
        """Choose among the programs anew: the next call may want another one than the last."""
        with self.lock:
            self.latest.clear()
            self.recent = ()
            self.__call__ = self._dispatch

    def cache_clear(self) -> None:
        """Forget this function's programs."""
        with self.lock:
            self.programs.clear()
            self.hits = 0
        self.forget_latest()


class BoundFunction:
    """A jitted function as a method: the instance is its first argument."""

    def __init__(self, function: JitFunction, instance: Any) -> None:
        self.function = function
        self.instance = instance
        self.__wrapped__ = MethodType(function.__wrapped__, instance)
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.instance, *args, **kwargs)

    def __repr__(self) -> str:
        signature = _signature_of(self.__wrapped__)
        return f"<jit {self.function.__qualname__}{signature or '(...)'}>"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.function, name)
        if name in ("trace", "lower", "inspect", "explain"):
            return functools.partial(value, self.instance)
        return value


def _run_pending(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Run the pending work of lazy arguments, whose values entries read; whether any is."""
    pending = [
        value
        for value in (*args, *kwargs.values())
        if type(value) is Array and value.known is None and value.traced_by is None
    ]
    for array in pending:
        array.value("an argument")
    return bool(pending)


def _generate(made: Compilation) -> None:
    if not made.llvm:
        backend().generate(made)


def _check_options(threads: Any, fast_math: Any, cache: Any) -> None:
    """OptionError for values that jit does not take."""
    if threads is not None and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
        raise OptionError(
            f"threads is {threads!r}", hint=f"give an integer from 1 to {MOST_THREADS}"
        )
    for name, value in (("fast_math", fast_math), ("cache", cache)):
        if type(value) is not bool:
            raise OptionError(f"{name} is {value!r}", hint="give True or False")


def _signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None  # a builtin without a signature takes positional arguments as they come


def _items(option: str, value: Any, words: str) -> list[Any]:
    """What an option lists; OptionError where it is no list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise OptionError(f"{option} is {value!r}", hint=f"give {words} of parameters")
    return list(value)


def _static_names(
    signature: inspect.Signature | None,
    names: str | Iterable[str],
    numbers: int | Iterable[int],
) -> frozenset[str]:
    chosen = {names} if isinstance(names, str) else set(_items("static_argnames", names, "names"))
    wanted = [numbers] if isinstance(numbers, int) else _items("static_argnums", numbers, "numbers")
    parameters = list(signature.parameters) if signature is not None else []
    for number in wanted:
        if type(number) is not int or not -len(parameters) <= number < len(parameters):
            raise OptionError(
                f"static_argnums names argument {number!r} of {len(parameters)}",
                hint="count the parameters from 0",
            )
        chosen.add(parameters[number])
    for name in chosen:
        if name not in parameters:
            raise OptionError(
                f"static_argnames names {name!r}, which is no parameter",
                hint=f"choose from {', '.join(parameters)}",
            )
    return frozenset(chosen)


@overload
def jit(
    function: Callable[..., Any],
    /,
    *,
    static_argnames: str | Iterable[str] = (),
    static_argnums: int | Iterable[int] = (),
    threads: int | None = None,
    fast_math: bool = False,
    cache: bool = True,
) -> JitFunction: ...
@overload
def jit(
    *,
    static_argnames: str | Iterable[str] = (),
    static_argnums: int | Iterable[int] = (),
    threads: int | None = None,
    fast_math: bool = False,
    cache: bool = True,
) -> Callable[[Callable[..., Any]], JitFunction]: ...
def jit(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Compile a NumPy function to machine code, once for every signature it is called with.

    The function is run once on traced arrays; what it does to them becomes a graph, which is
    optimised and compiled. Arguments and results are NumPy arrays of any shape and of dtype bool,
    int8..int64, uint8..uint64, float32 or float64, numbers, and lists, tuples, dicts, dataclasses
    and named tuples of them. Python numbers are traced too, weakly typed as in NumPy 2.

    static_argnames, static_argnums: parameters whose values are part of the signature instead.
    threads: threads of parallel loops, 1 to 1024; by default what `get_threads` says.
    fast_math: allow rewrites that change the last bits; `explain` lists them.
    cache: whether programs are kept on disk for the next process.

    Errors: ArgumentError and DTypeError for arguments that cannot be compiled; ShapeError and the
    other errors of `neurlang.errors` where the function itself is at fault, naming its line.
    """
    unknown = set(settings) - {
        "static_argnames",
        "static_argnums",
        "threads",
        "fast_math",
        "cache",
    }
    if unknown:
        raise OptionError(
            f"jit has no option {', '.join(sorted(unknown))}",
            hint="choose from static_argnames, static_argnums, threads, fast_math, cache",
        )
    if function is None:
        return lambda wrapped: JitFunction(wrapped, **settings)
    if not callable(function):
        raise OptionError(
            f"jit takes a function, and was given {function!r}",
            hint="write options by name: @jit(threads=2)",
        )
    return JitFunction(function, **settings)
