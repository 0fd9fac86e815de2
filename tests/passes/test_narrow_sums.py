"""Sums of narrow integers are made in no wider a dtype than they need, and are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl

EXTREMES = {
    "bool": (False, True),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int32": (-(2**31), 2**31 - 1),
}
# rows that fill 16 bits to the last, and those that are one too long
SHAPES = ((2, 255), (2, 257), (3, 32_767), (2, 65_535), (2, 65_536), (70_000, 2), (5, 3, 7))


@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_extremes(shape: tuple[int, ...], dtype: str) -> None:
    """All elements as low or as high as they can be, along each axis and all of them."""
    functions: list[Callable[[Any], Any]] = [lambda x: x.sum(), lambda x: x[..., ::-1].sum(axis=-1)]
    functions += [lambda x, k=k: x.sum(axis=k) for k in range(len(shape))]
    for function in functions:
        compiled = nl.jit(function, cache=False)
        for value in EXTREMES[dtype]:
            x = np.full(shape, value, dtype)
            found, wanted = compiled(x), function(x)
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == wanted.dtype


def test_long_counts() -> None:
    x = np.random.default_rng(2).standard_normal(1_000_003).astype(np.float32)
    assert nl.jit(lambda x: (x > 0.5).sum(), cache=False)(x) == (x > 0.5).sum()
    assert nl.jit(np.count_nonzero, cache=False)(x > 0.5) == np.count_nonzero(x > 0.5)
    both = nl.jit(lambda x: (x.sum(), (x > 0).sum()), cache=False)(x.reshape(-1, 1))
    assert both[1] == (x > 0).sum()


def dtype_of_sum(dtype: str, *shape: int, axis: int = -1) -> str:
    """The dtype in which a sum along an axis is made."""
    lowered = nl.jit(lambda x: x.sum(axis=axis)).lower(nl.ShapeDtype(shape, dtype))
    line = next(x for x in lowered.as_text("loops").splitlines() if "acc1:" in x)
    return line.split(":")[1].split("=")[0].strip()


def test_how_wide() -> None:
    assert dtype_of_sum("bool", 9, 65_535) == "u16"
    assert dtype_of_sum("bool", 9, 65_536) == "u32"
    assert dtype_of_sum("int8", 9, 255) == "i16"
    assert dtype_of_sum("int8", 9, 256) == "i32"
    assert dtype_of_sum("uint8", 9, 257) == "u16"
    assert dtype_of_sum("int16", 9, 65_535) == "i32"
    assert dtype_of_sum("int16", 9, 65_537) == "i64"
    assert dtype_of_sum("int32", 9, 10) == "i64"
