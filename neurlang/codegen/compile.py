"""LLVM IR text to machine code in this process: parse, emit an object, link it, find its symbols.

No LLVM IR pass runs: the loop passes have made every decision, and the code generator alone gives
the same run time as the standard pipelines at a fraction of their cost (docs/benchmarks.md). Of
what the code generator begins with, loop strength reduction is left out, too: `addresses.py` has
done its work, and it took a fifth of LLVM's time.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from neurlang.codegen.machine import Machine, host_machine

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child must not inherit LLVM in the middle of a compilation, nor a lock that nobody holds.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
_libraries = itertools.count()
_state: dict[str, Any] = {}

# Of the code generator. Level 2 schedules instructions once more after registers are assigned: that
# takes a twentieth of the time, and the code is no faster.
LEVEL = 1

# A linker keeps about 9 KiB of names for a library that is gone, until it goes itself: it does so
# with the last of its libraries, once another one has taken its place.
LIBRARIES_PER_LINKER = 64


@dataclass(frozen=True)
class Library:
    """Linked code. Its addresses are valid as long as this object is referenced."""

    addresses: dict[str, int]
    tracker: Any

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]


def compiler_versions() -> tuple[str, str]:
    """Of what makes objects of texts: llvmlite and LLVM."""
    return llvmlite.__version__, str(llvm.llvm_version_info)


def _initialise() -> None:
    if "ready" not in _state:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        _state["ready"] = True


def _target_machine(machine: Machine) -> Any:
    key = f"{machine.triple} {machine.cpu} {machine.feature_text}"
    if key not in _state:
        target = llvm.Target.from_triple(machine.triple)
        _state[key] = target.create_target_machine(
            cpu=machine.cpu,
            features=machine.feature_text,
            opt=LEVEL,
            reloc="pic",
            codemodel="small",
            jit=True,
        )
    return _state[key]


@contextmanager
def _parsed(text: str, machine: Machine) -> Iterator[tuple[Any, Any]]:
    """A module and its target machine, in a context of their own: it keeps every constant."""
    _initialise()
    target_machine = _target_machine(machine)
    with (
        closing(llvm.create_context()) as context,
        closing(llvm.parse_assembly(text, context)) as module,  # closed first: the context owns it
    ):
        module.triple = machine.triple
        module.data_layout = str(target_machine.target_data)
        module.verify()
        yield module, target_machine


@contextmanager
def _without_strength_reduction() -> Iterator[None]:
    """LLVM has this switch for the whole process only: others who use it find it as it was."""
    llvm.set_option("neurlang", "-disable-lsr=true")
    try:
        yield
    finally:
        llvm.set_option("neurlang", "-disable-lsr=false")


def compile_object(text: str, machine: Machine | None = None) -> bytes:
    """The relocatable object for a module's text; raises RuntimeError where LLVM rejects it."""
    with _lock, _parsed(text, machine or host_machine()) as (module, target_machine):
        with _without_strength_reduction():
            return bytes(target_machine.emit_object(module))


def compile_assembly(text: str, machine: Machine | None = None) -> str:
    """The assembly text for a module's text."""
    with _lock, _parsed(text, machine or host_machine()) as (module, target_machine):
        with _without_strength_reduction():
            return str(target_machine.emit_assembly(module))


def link_object(
    data: bytes, exports: Iterable[str], symbols: Mapping[str, int] | None = None
) -> Library:
    """Link an object into the process; `symbols` gives addresses for names it imports."""
    exports = list(exports)
    with _lock:
        _initialise()
        number = next(_libraries)
        if number % LIBRARIES_PER_LINKER == 0:
            _state["jit"] = llvm.create_lljit_compiler(
                _target_machine(host_machine()), use_jit_link=True
            )
        builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
        for name, address in (symbols or {}).items():
            builder.import_symbol(name, address)
        for name in exports:
            builder.export_symbol(name)
        tracker = builder.link(_state["jit"], f"neurlang{number}")
        return Library({name: tracker[name] for name in exports}, tracker)
