"""Notices what would run once, while tracing, and silently become a constant."""

from __future__ import annotations

import dis
import functools
import inspect
import os
import random
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from neurlang.errors import PACKAGE, SideEffectError, Where, is_user_file, user_frame
from neurlang.frontend.trace import current_trace

GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
PLAIN = (np.ndarray, np.generic, np.ufunc, int, float, str, type(None))
WITHOUT_GENERATORS = ("math", "numpy", __name__.split(".")[0])
BUILT_IN = (type, np.ufunc, BuiltinFunctionType, WrapperDescriptorType, MethodWrapperType)
_GLOBAL: tuple[Any, ...] = (random._inst, np.random.mtrand._rand)
_IMPORTING = ("importlib", "linecache.py", "tokenize.py", "codecs.py")
_hooked: list[bool] = []


# files and entropy


def _asked_by_traced_code() -> bool:
    """Whether a traced function called our caller, and not Python that imports, or neurlang."""
    if current_trace() is None:
        return False
    user = user_frame()
    frame: FrameType | None = sys._getframe(2)
    while frame is not user and frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE) or any(name in file for name in _IMPORTING):
            return False
        frame = frame.f_back
    return True


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Opening a file inside a trace is an error."""
    if event == "open" and _asked_by_traced_code():
        raise SideEffectError(
            f"{args[0]!r} is opened while the function is traced",
            hint="read files outside and pass their contents as arguments",
        )


def _watch_entropy() -> None:
    """Where randomness enters Python: it is refused to traced functions.

    NumPy and `random` ask for entropy where a generator is given no seed; `secrets`, `uuid4` and
    SystemRandom draw all they give from `urandom`. What reads them inside a trace would get the
    same at every call.
    """
    seeding = "a random generator without a seed is made while the function is traced"
    drawing = "random bytes of the system are drawn while the function is traced"
    owners: tuple[Any, ...] = (np.random.bit_generator, random.Random, os, random)
    numpys, generator, system, standard = owners
    numpys.randbits = _refusing(numpys.randbits, seeding)
    generator.seed = _refusing(generator.seed, seeding, lambda self, a=None, version=2: a is None)
    system.urandom = _refusing(system.urandom, drawing)
    standard._urandom = system.urandom


def _refusing(
    function: Callable[..., Any], what: str, concerns: Callable[..., bool] = lambda *args: True
) -> Callable[..., Any]:
    """`function`, which is refused to traced code for arguments that it concerns."""

    @functools.wraps(function)
    def refusing(*args: Any, **keywords: Any) -> Any:
        if _asked_by_traced_code() and concerns(*args, **keywords):
            raise SideEffectError(
                what, hint="draw random numbers outside and pass them as arguments"
            )
        return function(*args, **keywords)

    return refusing


# random numbers


@contextmanager
def watching(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Iterator[None]:
    """Raise SideEffectError when the function draws random numbers or opens a file.

    `arguments` are the static ones, by name: a generator may hang on one of them.
    """
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_audit)
        _watch_entropy()
    lines: dict[int, Where] = {}
    generators = []
    for generator, where in (*_reachable(function, arguments), *_held(function, arguments)):
        if id(generator) not in lines:
            lines[id(generator)] = where
            generators.append(generator)
    before = [_state(generator) for generator in generators]
    yield
    for generator, state in zip(generators, before):
        if _state(generator) != state:
            name = getattr(function, "__name__", "the function")
            raise SideEffectError(
                f"random numbers are drawn while {name} is traced: every call would get the same",
                where=lines[id(generator)],
                hint="draw random numbers outside and pass them as arguments",
            )


def _reachable(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[tuple[Any, Where]]:
    """Generators that the function, or user functions that it names, reach by name; and where.

    Comparing the states of others would blame this function for what another thread draws.
    """
    pending: list[tuple[Any, Mapping[str, Any]]] = [(function, arguments)]
    seen: set[tuple[CodeType, int]] = set()
    while pending:
        called, local = pending.pop()
        plain, instance = _unwrapped(called)
        if plain is None or (plain.__code__, id(instance)) in seen:
            continue
        code = plain.__code__
        seen.add((code, id(instance)))
        if instance is not None and code.co_argcount:
            local = {code.co_varnames[0]: instance}
        variables = {**plain.__globals__, **_closure(plain), **local}
        if _draws_nothing(code, variables):
            continue  # most functions: to disassemble one takes a tenth of a trace
        for names, line in _chains(code):
            value = _resolve(names, variables)
            if isinstance(value, MethodType | BuiltinMethodType):
                owner = value.__self__
            else:
                owner = value
            where = Where(code.co_filename, line)
            if isinstance(owner, GENERATORS):
                yield owner, where
            elif value is None and any("random" in name for name in names):
                yield from ((generator, where) for generator in _GLOBAL)  # a local import
            elif callable(value):
                pending.append((value, {}))


def _held(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[tuple[Any, Where]]:
    """The global generators, and those in defaults, closures, arguments and containers there.

    They may be drawn from under any name. With other threads alive it could be them who draw.
    """
    if threading.active_count() > 1:
        return
    plain, _ = _unwrapped(function)
    if plain is None:
        return
    where = Where(plain.__code__.co_filename, plain.__code__.co_firstlineno)
    named = (plain.__globals__.get(name) for name in plain.__code__.co_names)
    values = [*arguments.values(), *_closure(plain).values(), *named]
    values += plain.__defaults__ or ()
    values += (plain.__kwdefaults__ or {}).values()
    if isinstance(function, functools.partial):
        values += [*function.args, *function.keywords.values()]
    for value in (*_GLOBAL, *values):
        yield from ((found, where) for found in _contents(value) if isinstance(found, GENERATORS))


def _contents(value: Any) -> Iterable[Any]:
    """What a plain container holds, or the value itself; partial functions hold arguments."""
    if isinstance(value, functools.partial):
        return (*value.args, *value.keywords.values())
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else (value,)


def _unwrapped(called: Any) -> tuple[FunctionType | None, Any]:
    """The user's function below methods, partial and jitted functions; and its instance."""
    instance = None
    for _ in range(100):
        if isinstance(called, FunctionType):
            return (called if is_user_file(called.__code__.co_filename) else None), instance
        if isinstance(called, MethodType):
            instance, called = called.__self__, called.__func__
        elif isinstance(called, functools.partial):
            called = called.func
        elif "__wrapped__" in getattr(called, "__dict__", ()):
            called = called.__dict__["__wrapped__"]
        elif isinstance(called, BUILT_IN):
            break
        else:
            instance, called = called, inspect.getattr_static(type(called), "__call__", None)
    return None, None


def _closure(function: FunctionType) -> dict[str, Any]:
    names = function.__code__.co_freevars
    found = {}
    for name, cell in zip(names, function.__closure__ or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # the variable is not bound yet
    return found


@functools.lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    """Everything that the code names, or functions inside of it; variables of theirs as well."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset((*code.co_names, *code.co_freevars, *code.co_varnames)).union(*inner)


def _draws_nothing(code: CodeType, variables: Mapping[str, Any]) -> bool:
    """Whether all that the code names are numbers, arrays, ufuncs and modules without generators;
    NumPy's stand in one that has `random` in its name."""
    names = _names(code)
    if any("random" in name for name in names):
        return False
    values = [variables[name] for name in names if name in variables]
    return all(
        isinstance(value, PLAIN) or _is_module(value, WITHOUT_GENERATORS) for value in values
    )


def _is_module(value: Any, names: Container[str]) -> bool:
    return isinstance(value, ModuleType) and value.__name__ in names


@functools.lru_cache(maxsize=4096)
def _chains(code: CodeType) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Every `name.attribute.attribute` that the code reads, and its line."""
    found = []
    chain: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_FAST", "LOAD_NAME")):
            chain = (name[-1] if isinstance(name, tuple) else name,)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain = (*chain, name)
        else:
            chain = ()
            continue
        positions = instruction.positions
        line = positions.lineno if positions is not None else None
        found.append((chain, line or code.co_firstlineno))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.extend(_chains(constant))
    return tuple(found)


def _resolve(names: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    """What a chain of names stands for, found without running any code; None where unknown."""
    value = variables.get(names[0])
    for name in names[1:]:
        owner, value = value, inspect.getattr_static(value, name, None)
        if inspect.isfunction(value) and not isinstance(owner, ModuleType | type):
            value = MethodType(value, owner)
    return value


def _state(generator: Any) -> Any:
    if isinstance(generator, random.SystemRandom):
        return None  # it has none
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return _comparable(generator.get_state(legacy=False))
    return _comparable(generator.bit_generator.state)


def _comparable(state: Any) -> Any:
    if isinstance(state, Mapping):
        return [(name, _comparable(value)) for name, value in state.items()]
    return state.tobytes() if isinstance(state, np.ndarray) else state
