"""write_out_windows: the same values and bits as reductions have, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import neurlang as nl
from neurlang.ir.graph import Graph
from neurlang.passes import GRAPH_PASSES
from neurlang.passes.graph.write_out_windows import write_out_windows

GENERATOR = np.random.default_rng(0)
Program = Callable[..., Any]

POOLS: dict[str, Program] = {
    "windows": lambda x: sliding_window_view(x, (3, 3), axis=(1, 2)).max(axis=(3, 4)),
    "strided windows": lambda x: sliding_window_view(x, (2, 5), (1, 2))[:, ::2, ::3].min((-1, -2)),
    "padded windows": lambda x: sliding_window_view(
        np.pad(x, ((0, 0), (1, 1), (2, 0)), constant_values=3), (3, 3), axis=(1, 2)
    ).max(axis=(3, 4)),
    "blocks": lambda x: x[:, :8, :36].reshape(3, 4, 2, 12, 3).max(axis=(2, 4)),
    "kept axes": lambda x: sliding_window_view(x, 4, axis=1).max(axis=-1, keepdims=True),
    "channels last": lambda x: sliding_window_view(x, (2, 3), axis=(0, 1)).max(axis=(-2, -1)),
    "of what is computed": lambda x: sliding_window_view(x * 2 + 1, 5, axis=2).max(axis=3),
    "with operators": lambda x: (sliding_window_view(x, 5, axis=2) - x[2, 8, :5]).max(axis=3),
}
SUMS: dict[str, Program] = {
    "moving sum": lambda x: sliding_window_view(x, 7, axis=2).sum(axis=-1),
    "product with weights": lambda x: np.einsum(
        "cijkl,kl->cij", sliding_window_view(x, (3, 3), axis=(1, 2)), x[0, :3, :3]
    ),
    "product with a vector": lambda x: np.tensordot(
        sliding_window_view(x, 5, axis=2), x[0, 0, :5], 1
    ),
    "blocks": lambda x: x[:, :8, :36].reshape(3, 4, 2, 12, 3).sum(axis=(2, 4)),
    "products": lambda x: sliding_window_view(x, (2, 2), axis=(1, 2)).prod(axis=(3, 4)),
    "any": lambda x: (sliding_window_view(x, (3, 3), axis=(1, 2)) > 5).any(axis=(3, 4)),
}


def reduces(graph: Graph) -> bool:
    return any(node.kind == "reduce" for node in graph.nodes)


def passed(program: Program, *arguments: Any) -> Graph:
    """The graph after the passes, up to the one that is tested."""
    graph = nl.jit(program).trace(*arguments).graph
    for apply in GRAPH_PASSES:
        graph = apply(graph)
        if apply is write_out_windows:
            return graph
    raise AssertionError("the pass does not run")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
@pytest.mark.parametrize("name", POOLS)
def test_extreme_values(name: str, dtype: Any) -> None:
    x = (GENERATOR.standard_normal((3, 9, 37)) * 50).astype(dtype)
    if np.dtype(dtype).kind == "f":
        x[1, 4, 7], x[2, 3, 3:9], x[0, 0, 0] = np.nan, np.inf, -0.0
    program = POOLS[name]
    assert not reduces(passed(program, x))
    expected = program(x)
    for bits in (128, 512):
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            found = nl.jit(program)(x)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_integers(name: str) -> None:
    x = GENERATOR.integers(-9, 9, (3, 9, 37)).astype(np.int64)
    program = SUMS[name]
    assert not reduces(passed(program, x))
    np.testing.assert_array_equal(nl.jit(program)(x), program(x))


def tree(values: list[Any]) -> Any:
    """A sum of at most 64 numbers: each is a running sum, and these are folded by halves."""
    lanes = [*values, *[None] * (64 - len(values))]
    while len(lanes) > 1:
        half = len(lanes) // 2
        pairs = zip(lanes[:half], lanes[half:])
        lanes = [a if b is None else a + b for a, b in pairs]
    return 0 + lanes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 3, 9, 30, 64])
def test_sums_of_floats_have_the_bits_of_their_tree(size: int, dtype: Any) -> None:
    x = GENERATOR.standard_normal(200).astype(dtype)
    x[100:] = -0.0

    def program(x: Any) -> Any:
        return sliding_window_view(x, size).sum(axis=-1)

    assert not reduces(passed(program, x))
    expected = tree([x[k : len(x) - size + 1 + k] for k in range(size)])
    assert expected.dtype == dtype
    found = nl.jit(program)(x)
    assert found.tobytes() == expected.tobytes()
    assert not np.signbit(found[-1])  # a sum of -0.0 is 0.0


def test_several_axes_are_summed_one_after_the_other() -> None:
    x = GENERATOR.standard_normal((6, 3, 20, 2)).astype(np.float32)
    inner = tree([x[..., k] for k in range(2)])
    expected = tree([inner[:, k] for k in range(3)])
    found = nl.jit(lambda x: x.sum(axis=(1, 3)))(x)
    assert found.tobytes() == expected.tobytes()


STAYS: dict[str, Program] = {
    "windows far apart": lambda x: sliding_window_view(x, (2, 2), (1, 2))[:, :, ::9].max((3, 4)),
    "large windows": lambda x: sliding_window_view(x, (9, 9), axis=(1, 2)).max(axis=(3, 4)),
    "few windows": lambda x: sliding_window_view(x, 33, axis=2).max(axis=-1),
    "rows": lambda x: x.max(axis=-1),
    "columns": lambda x: x.max(axis=1),
    "much is computed": lambda x: np.exp(sliding_window_view(x, 3, axis=2)).max(axis=-1),
    "indices": lambda x: sliding_window_view(x, 3, axis=2).argmax(axis=-1),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_a_reduction(name: str) -> None:
    x = GENERATOR.standard_normal((3, 12, 37))
    program = STAYS[name]
    assert reduces(passed(program, x))
    np.testing.assert_allclose(nl.jit(program)(x), program(x), rtol=1e-14)


def test_windows_lie_across_vectors() -> None:
    """What was a loop over a window is one vector loop over windows."""
    x = nl.ShapeDtype((4, 64, 64), "float32")
    with nl.options(vector_bits=256):
        text = nl.jit(POOLS["windows"]).lower(x).as_text("loops")
    assert "vector for k in" in text and "fold(" not in text and "//" not in text
