"""Elementary functions written as straight-line LLVM IR, by name: `FUNCTIONS["exp"](writer, x)`.

Each takes floats or doubles, scalar or vector of any number of lanes, and gives the same bits at
every lane count and on every instruction set.
"""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.error_function import ERROR_FUNCTION
from neurlang.codegen.mathlib.exponential import EXPONENTIAL
from neurlang.codegen.mathlib.inverse_hyperbolic import INVERSE_HYPERBOLIC
from neurlang.codegen.mathlib.log_sum import LOG_SUM
from neurlang.codegen.mathlib.logarithm import LOGARITHM
from neurlang.codegen.mathlib.logistic import LOGISTIC
from neurlang.codegen.mathlib.power import POWER
from neurlang.codegen.mathlib.trigonometric import TRIGONOMETRIC
from neurlang.codegen.writer import Value

FUNCTIONS: dict[str, Callable[..., Value]] = {
    **EXPONENTIAL,
    **LOGARITHM,
    **INVERSE_HYPERBOLIC,
    **LOGISTIC,
    **LOG_SUM,
    **POWER,
    **ERROR_FUNCTION,
    **TRIGONOMETRIC,
}
