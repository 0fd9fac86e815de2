"""What each step of a program takes, measured in the program itself."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurlang.codegen.program import EXPORTS, STAMPS
from neurlang.executable import Executable
from neurlang.pipeline import Compilation, generate

WARM_UP = 3  # calls before the first that counts: workers wake up, memory is there
LEAST_SECONDS, MOST_CALLS = 0.2, 1000


@dataclass(frozen=True)
class StepTimes:
    """Seconds of each step, and of all of them: the least of `calls` calls each."""

    steps: tuple[float, ...]
    whole: float
    calls: int


def time_steps(made: Compilation, inputs: Sequence[Any]) -> StepTimes:
    """Run a program on its inputs, again and again, with the clock read between its steps.

    The program is compiled a second time for it. A reading costs some 25 ns, which are part of the
    step before it. The inputs and what one step leaves for the next one lie in the caches as in any
    call that follows another. Errors: those of the program.
    """
    assert made.program is not None
    copy = replace(made, seconds={})
    code = generate(copy, stamped=True)
    executable = Executable(
        code, made.traced, threads=made.target.threads, exports=(*EXPORTS, STAMPS)
    )
    count = len(made.program.steps) + 1
    stamps = (ctypes.c_int64 * count).from_address(executable.library[STAMPS])
    rows: list[Any] = []
    spent = 0
    for _ in range(WARM_UP):
        executable.run(*inputs)
    while len(rows) < MOST_CALLS and spent < LEAST_SECONDS * 1e9:
        executable.run(*inputs)
        rows.append(np.diff(np.array(stamps)))
        spent += int(rows[-1].sum())
    times = np.array(rows)
    return StepTimes(
        tuple((times.min(axis=0) * 1e-9).tolist()), float(times.sum(axis=1).min() * 1e-9), len(rows)
    )
