"""quotients: divisions of what narrow integers make, as products with the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl

DIVISORS = (255, 3, 7, -10, 0.22, 1e-3, 127.5, 1e30, 3e-39, 1.0000001, 65535, 0.1)


def loops(function: Any, *arguments: Any) -> str:
    return nl.jit(function).lower(*arguments).as_text("loops")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("result", ["float32", "float64"])
def test_every_value_has_the_bits_of_its_quotient(dtype: str, result: str) -> None:
    info = np.iinfo(dtype)
    x = np.arange(info.min, info.max + 1).astype(dtype)
    for divisor in DIVISORS:

        def scaled(x: Any, divisor: float = divisor) -> Any:
            whole = x.astype(result)
            return whole / divisor, (whole / divisor - 0.45) / 0.225, (whole - 128) / divisor

        with nl.options(verify=True, cache="off"), np.errstate(all="ignore"):
            for one, other in zip(nl.jit(scaled)(x), scaled(x)):
                assert one.tobytes() == other.tobytes(), divisor


def test_where_it_shows() -> None:
    pixels = np.zeros((30, 40), "uint8")
    text = loops(lambda x: (x.astype("float32") / 255 - 0.5) / 0.25, pixels)
    assert "fma(" in text and "/" not in text
    text = loops(lambda x: np.sqrt(x.astype("float32") / 255) / 3, pixels)
    assert text.count(" / ") == 1  # of the root, which is not followed


def test_other_quotients_stay() -> None:
    x, wide, pixels = np.ones(50, "float32"), np.ones(50, "int32"), np.zeros(50, "uint8")
    assert " / " in loops(lambda x: x / 255, x)
    assert " / " in loops(lambda x: x.astype("float32") / 255, wide)
    assert " / " in loops(lambda x, y: x.astype("float32") / y, pixels, x)
    assert " / " in loops(lambda x, y: (x.astype("float32") + y) / 255, pixels, x)
    assert " / " in loops(lambda x, y: (x.astype("float32") + y) / 255, pixels, pixels[::-1])
