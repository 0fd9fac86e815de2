"""Dtypes and constants of the namespace are NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.frontend import names


@pytest.mark.parametrize("name", names.__all__)
def test_the_same_object(name: str) -> None:
    ours, theirs = getattr(nl, name), getattr(np, name)
    assert ours is theirs or (name == "nan" and ours != ours)


def test_code_over_any_namespace() -> None:
    def circle(xp: Any, r: Any) -> Any:
        area = xp.where(r > 0, xp.pi * r * r, xp.nan)
        return (
            area[:, xp.newaxis].astype(xp.float64),
            (r < xp.inf).astype(xp.bool),
            xp.zeros(3, xp.int8),
        )

    r = np.linspace(-1, 1, 9, dtype=np.float32)
    for one, other in zip(nl.jit(lambda r: circle(nl, r))(r), circle(np, r)):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
