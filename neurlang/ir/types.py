"""Types of values: a dtype and a shape, written `f32[64,128]`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from neurlang.errors import DTypeError, FormatError

DType = np.dtype[Any]
Shape = tuple[int, ...]

NAMES = {
    "bool": "bool",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "f32": "float32",
    "f64": "float64",
}
SHORT = {np.dtype(long): short for short, long in NAMES.items()}

BOOL = np.dtype("bool")
INT32 = np.dtype("int32")
INT64 = np.dtype("int64")
FLOAT32 = np.dtype("float32")
FLOAT64 = np.dtype("float64")


def check_dtype(dtype: Any, what: str = "this value") -> DType:
    """The NumPy dtype in native byte order; DTypeError where neurlang has no such dtype."""
    hint = "use bool, int8..int64, uint8..uint64, float32 or float64"
    try:
        found: DType = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError):  # what NumPy raises for words that it cannot read
        raise DTypeError(f"{dtype!r} is not a dtype", hint=hint) from None
    if found not in SHORT:
        raise DTypeError(
            f"{what} has dtype {np.dtype(dtype)}, which neurlang does not support", hint=hint
        )
    return found


@dataclass(frozen=True, slots=True)
class Type:
    """What is known of an array before anything runs."""

    dtype: DType
    shape: Shape

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{SHORT[self.dtype]}[{','.join(map(str, self.shape))}]"


_PATTERN = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@lru_cache(maxsize=1024)
def parse_type(text: str) -> Type:
    """Read what `str(type)` writes: `f32[64,128]`, or a scalar `i64[]`."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None or match[1] not in NAMES:
        raise FormatError(
            f"{text!r} is not a type", hint="write a dtype and a shape, like f32[64,128]"
        )
    shape = tuple(int(size) for size in match[2].split(",") if size)
    return Type(np.dtype(NAMES[match[1]]), shape)
