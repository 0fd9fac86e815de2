"""Outputs that reshape what is computed: loops run along axes whose indices need no division."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl


def kronecker(a: Any, b: Any) -> Any:
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(a.shape[0] * 30, -1)


def depthwise(a: Any, b: Any) -> Any:
    """The sum is along pixels in one axis, the result along two."""
    image = a.reshape(4, 10, 40)
    return sum(
        image[:, k : k + 8, j : j + 38].reshape(4, 8 * 38) * b[k, j]
        for k in range(3)
        for j in range(3)
    ).reshape(4, 8, 38)


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "kronecker": kronecker,
    "depthwise": depthwise,
    "tiled": lambda a, b: np.tile(a, (2, 3)),
    "pairs": lambda a, b: np.stack([a * 2, a + 1], axis=2).reshape(40, 80),
    "flat": lambda a, b: (a * 2).reshape(-1),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_index_is_divided(name: str) -> None:
    a = np.random.default_rng(0).standard_normal((40, 40))
    b = np.random.default_rng(1).standard_normal((30, 30))
    function = PROGRAMS[name]
    text = nl.jit(function).lower(a, b).as_text("loops")
    assert "//" not in text
    np.testing.assert_allclose(nl.jit(function)(a, b), function(a, b), rtol=1e-12)
