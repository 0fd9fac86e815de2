"""group: which kernels there are where something costly is shown by a broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl


def kernels(function: Callable[..., Any], *shapes: tuple[int, ...]) -> int:
    arguments = [nl.ShapeDtype(shape, np.float32) for shape in shapes]
    return len(nl.jit(function).trace(*arguments).lower().made.program.steps)


def costly(v: Any) -> Any:
    return np.exp(np.sin(v))


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x, v, w: x + costly(v), 2),  # the same beside every row
        (lambda x, v, w: x + v * 2, 1),  # not worth storing
        (lambda x, v, w: x + costly(w)[:, None], 1),  # once a row, outside of the loop along it
        (lambda x, v, w: (x * costly(w)[:, None]).sum(axis=0), 2),  # for each block of columns
        (lambda x, v, w: (x * costly(v)).sum(axis=0), 1),  # columns are the outer loop there
        (lambda x, v, w: (x * costly(v)).sum(axis=1), 2),
        (lambda x, v, w: x * (v / np.sqrt(v * v + 1)), 2),  # less costly, 60,000 times
        (lambda x, v, w: x[:3] * (v / np.sqrt(v * v + 1)), 1),  # and 600 times
        (lambda x, v, w: (x * (v / np.sqrt(v * v + 1))).sum(axis=1), 2),
    ],
)
def test_what_a_broadcast_shows_is_computed_once(function: Callable[..., Any], count: int) -> None:
    shapes = (300, 200), (200,), (300,)
    assert kernels(function, *shapes) == count
    x, v, w = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in shapes)
    wanted = function(*(a.astype(np.float64) for a in (x, v, w)))
    found = nl.jit(function, cache=False)(x, v, w)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_product_that_a_million_elements_show_is_stored() -> None:
    def scaled(x: Any, g: Any, w: Any) -> Any:
        return ((x * g) * w).sum(axis=1)

    x, g = np.ones((2, 1024), np.float32)
    for rows, kernels in ((4096, 2), (64, 1)):
        w = np.ones((rows, 1024), np.float32)
        text = nl.jit(scaled).lower(x, g, w).as_text("loops")
        assert text.count("\nkernel") + text.startswith("kernel") == kernels, text
        np.testing.assert_array_equal(nl.jit(scaled)(x, g, w), scaled(x, g, w))
