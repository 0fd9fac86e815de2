"""How Python calls a compiled program without the native entry, and how programs call Python."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

_SIGNAL_FUNCTIONS = (
    "PyErr_CheckSignals",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyGILState_Ensure",
    "PyGILState_Release",
)


def python_function(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def signal_symbols() -> dict[str, int]:
    """The functions by which a running program asks Python for signals; none but in CPython."""
    if sys.implementation.name != "cpython":
        return {}
    return {name: python_function(name) for name in _SIGNAL_FUNCTIONS}


def call_program(run: int, plan: int, pointers: Sequence[int], listens: bool = False) -> int:
    """Run the program of a plan on data pointers, inputs first; 1 means out of memory.

    `run` is the address of `neurlang_run`, or of `neurlang_call`, which `listens`: what a signal's
    handler raises meanwhile is raised here. Both release the GIL. This is the way for layouts and
    builds that the native entry refuses.
    """
    return int(_runner(run, listens)(plan, (ctypes.c_void_p * len(pointers))(*pointers)))


@lru_cache(maxsize=4)
def _runner(address: int, listens: bool) -> Callable[..., Any]:
    # The second kind of function keeps the GIL, and ctypes looks for an exception after it.
    kind = ctypes.PYFUNCTYPE if listens else ctypes.CFUNCTYPE
    return kind(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(address)
