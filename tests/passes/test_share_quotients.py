"""share_quotients: an index divided by a multiple of the lanes is one number for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl

GENERATOR = np.random.default_rng(0)


def product(x: Any, w: Any, scales: Any) -> Any:
    """A vector times weights that share a scale for each block of a row."""
    rows, blocks, size = w.shape
    return x @ (w.astype("float32") * scales[:, :, None]).reshape(rows, blocks * size).T


def case(blocks: int, size: int, rows: int = 6) -> tuple[Any, Any, Any]:
    w = GENERATOR.integers(-127, 127, (rows, blocks, size)).astype(np.int8)
    x = GENERATOR.normal(size=(1, blocks * size)).astype(np.float32)
    return x, w, GENERATOR.normal(size=(rows, blocks)).astype(np.float32)


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize(
    ("blocks", "size"), [(64, 32), (3, 32), (70, 16), (5, 64), (9, 48), (40, 8), (50, 10), (300, 4)]
)
def test_weights_in_blocks(bits: int, blocks: int, size: int) -> None:
    arrays = case(blocks, size)
    exact = product(*(array.astype(np.float64) for array in arrays))
    with nl.options(vector_bits=bits, verify=True, cache="off"):
        found = nl.jit(product)(*arrays)
    x, w, scales = arrays
    whole = (w.astype("float32") * scales[:, :, None]).reshape(len(w), -1)
    plain = nl.jit(lambda x, w: x @ w.T)(x, whole)  # divides nothing
    scale = np.abs(arrays[0]).max() * 127 * np.abs(arrays[2]).max() * blocks * size
    np.testing.assert_allclose(found, exact, rtol=0, atol=scale * 1e-7)
    np.testing.assert_array_equal(found, plain)


def test_where_it_shows() -> None:
    with nl.options(vector_bits=512):
        text = nl.jit(product).lower(*case(64, 32)).as_text("loops")
        assert "i64x" not in text and "f32x16" in text, text
        text = nl.jit(product).lower(*case(64, 12)).as_text("loops")
        assert "i64x" in text, text


def test_remainders() -> None:
    """A row that is repeated along a longer one is read as it lies."""

    def repeated(x: Any, y: Any) -> Any:
        return (np.broadcast_to(x, (20, 32)).reshape(640) * y).sum(axis=1)

    x, y = GENERATOR.normal(size=32), GENERATOR.normal(size=(5, 640))
    with nl.options(vector_bits=512, verify=True, cache="off"):
        found = nl.jit(repeated)(x, y)
        text = nl.jit(repeated).lower(x, y).as_text("loops")
    np.testing.assert_allclose(found, repeated(x, y), rtol=1e-12, atol=1e-12)
    assert "i64x" not in text, text


def test_values_of_remainders_stay_vectors() -> None:
    """The number of an element in its block, as a value."""

    def weighted(y: Any) -> Any:
        place = np.broadcast_to(nl.arange(32), (20, 32)).reshape(640)
        return (place * y).sum(axis=1)

    y = GENERATOR.integers(-1000, 1000, (5, 640))
    with nl.options(verify=True, cache="off"):
        np.testing.assert_array_equal(nl.jit(weighted)(y), (np.tile(np.arange(32), 20) * y).sum(1))
