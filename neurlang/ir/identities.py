"""The neutral elements of reductions and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.ir.types import DType

REDUCTIONS = {
    "reduce_sum": "add",
    "reduce_prod": "mul",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_and": "and",
    "reduce_or": "or",
}


def identity(op: str, dtype: DType) -> Any:
    """The value that leaves every other as it is; -0.0 for float sums, so that -0.0 stays."""
    match op:
        case "add":
            return dtype.type(-0.0 if dtype.kind == "f" else 0)
        case "mul":
            return dtype.type(1)
        case "and":
            return dtype.type(True) if dtype.kind == "b" else dtype.type(-1)
        case "or":
            return dtype.type(0)
    low, high = (-np.inf, np.inf)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = info.min, info.max
    return dtype.type(low if op == "max" else high)
