"""Kernels that are the same but for names and buffers: one is compiled, the others repeat it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.ir.steps import Repeat

GENERATOR = np.random.default_rng(0)


def steps(function: Callable[..., Any], *args: Any) -> list[str]:
    """`kernel`, or the name of the kernel that a step repeats."""
    program = nl.jit(function).lower(*args).made.program
    assert program is not None
    return [
        step.of if isinstance(step, Repeat) else type(step).__name__.lower()
        for step in program.steps
    ]


def layer(x: Any, w: Any) -> Any:
    return np.maximum(x @ w, 0)


def test_layers_of_one_shape() -> None:
    x, w = (GENERATOR.normal(size=shape).astype(np.float32) for shape in ((9, 16), (16, 16)))
    found = steps(lambda x, w: layer(layer(layer(x, w), w + 1), w), x, w)
    assert found == ["kernel", "kernel", "k0_dot"]
    with nl.options(verify=True, cache="off"):
        y = nl.jit(lambda x, v, w: layer(layer(layer(x, v), w), v))(x, w, w + 1)
    np.testing.assert_allclose(y, layer(layer(layer(x, w), w + 1), w), rtol=1e-4)


def test_steps_of_a_simulation() -> None:
    def smooth(x: Any) -> Any:
        inner = 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
        return np.pad(inner, 1)

    def simulate(x: Any) -> Any:
        for _ in range(6):
            x = smooth(x)
        return x

    x = GENERATOR.normal(size=(300, 20)).astype(np.float32)
    first, *others = steps(simulate, x)
    assert first == "kernel" and "k0_pad" in others, others
    with nl.options(verify=True, cache="off"):
        np.testing.assert_allclose(nl.jit(simulate)(x), simulate(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (x.sum(), y.max()),
        lambda x, y: (x.sum(), y[:-1].sum()),
        lambda x, y: (np.cumsum(x), np.cumsum(y[::-1])),
        lambda x, y: (np.cumsum(x.astype(int) // 2), np.cumsum(y.astype(int) // 3)),
        lambda x, y: (np.cumsum(x), np.cumprod(y)),
        lambda x, y: (np.cumsum(x), np.cumsum(y.astype(np.float64))),
    ],
)
def test_what_differs_is_not_shared(function: Callable[..., Any]) -> None:
    x, y = GENERATOR.normal(size=(2, 40)).astype(np.float32)
    assert set(steps(function, x, y)) == {"kernel"}
    with nl.options(verify=True, cache="off"):
        for found, wanted in zip(nl.jit(function)(x, y), function(x, y)):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_equal_work_on_other_buffers_is_shared() -> None:
    def sums(x: Any, y: Any) -> Any:
        a = np.cumsum(x)
        return a, np.cumsum(y), np.cumsum(a)

    x, y = GENERATOR.normal(size=(2, 40)).astype(np.float32)
    first, *others = steps(sums, x, y)
    assert [first, *others] == ["kernel", "k0_cumulative", "k0_cumulative"]
    with nl.options(verify=True, cache="off"):
        for found, wanted in zip(nl.jit(sums)(x, y), sums(x, y)):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_numbers_that_differ_are_read() -> None:
    def anneal(x: Any) -> Any:
        for step in range(5):
            x = np.cumsum(x * (0.5 + 0.01 * step) - 0.25) / (3.1 + step)
        return x

    x = GENERATOR.normal(size=40).astype(np.float32)
    first, second, *others, last = steps(anneal, x)
    assert (first, second, last) == ("kernel", "kernel", "kernel")  # the last divides alone
    assert others == ["k1_cumulative"] * 3
    text = nl.jit(anneal).lower(x).as_text("loops")
    assert "k1_cumulative_f32: f32[2]" in text and "k1_cumulative_f32[1]" in text
    with nl.options(verify=True, cache="off"):
        np.testing.assert_allclose(nl.jit(anneal)(x), anneal(x), rtol=1e-3, atol=1e-3)


def test_zeros_of_both_signs_are_two_numbers() -> None:
    def signs(x: Any, y: Any) -> Any:
        return np.cumsum(np.copysign(x, 0.0)), np.cumsum(np.copysign(y, -0.0))

    x, y = np.ones((2, 40), np.float32)
    assert steps(signs, x, y) == ["kernel", "k0_cumulative"]
    first, second = nl.jit(signs)(x, y)
    assert first[-1] == 40 and second[-1] == -40


def test_numbers_of_two_dtypes() -> None:
    def mixed(x: Any, y: Any) -> Any:
        return tuple(
            np.cumsum((a * np.float32(k)).astype(np.float64) / (k + 0.1))
            for k, a in enumerate((x, y), 2)
        )

    x, y = GENERATOR.normal(size=(2, 40)).astype(np.float32)
    assert steps(mixed, x, y) == ["kernel", "k0_cumulative"]
    with nl.options(verify=True, cache="off"):
        for found, wanted in zip(nl.jit(mixed)(x, y), mixed(x, y)):
            np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_too_many_numbers_are_not_read() -> None:
    def polynomial(x: Any, offset: float) -> Any:
        result = x
        for k in range(40):
            result = result * x + (k + offset)
        return np.cumsum(result)

    x, y = GENERATOR.uniform(-0.5, 0.5, size=(2, 40))
    assert steps(lambda x, y: (polynomial(x, 0.1), polynomial(y, 0.2)), x, y) == ["kernel"] * 2
    assert steps(lambda x, y: (polynomial(x, 0.1), polynomial(y, 0.1)), x, y)[1] != "kernel"


def test_numbers_survive_the_disk_cache(tmp_path: Any) -> None:
    def scaled(x: Any, y: Any) -> Any:
        return np.cumsum(x * 1.5), np.cumsum(y * 2.5)

    x, y = GENERATOR.normal(size=(2, 40)).astype(np.float32)
    with nl.options(cache=str(tmp_path)):
        for _ in range(2):
            for found, wanted in zip(nl.jit(scaled)(x, y), scaled(x, y)):
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
            executable.clear()


def test_a_buffer_that_is_read_twice_is_no_pair_of_buffers() -> None:
    def products(x: Any, y: Any) -> Any:
        return x @ x, x @ y

    x, y = GENERATOR.normal(size=(2, 8, 8)).astype(np.float32)
    assert steps(products, x, y) == ["kernel", "kernel"]


def test_the_report_names_the_kernel() -> None:
    x, y = GENERATOR.normal(size=(2, 40)).astype(np.float32)
    text = str(nl.jit(lambda x, y: (np.cumsum(x), np.cumsum(y))).explain(x, y))
    assert "runs the loops of k0_cumulative" in text
    loops = nl.jit(lambda x, y: (np.cumsum(x), np.cumsum(y))).lower(x, y).as_text("loops")
    assert "): the loops of k0_cumulative" in loops
