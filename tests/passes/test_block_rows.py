"""Products that follow each other by rows run in blocks; the oracle is NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import pipeline
from neurlang.executable import Executable
from neurlang.ir.loops import For, Kernel, walk
from neurlang.passes.loops import choose, choose_products

GENERATOR = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def attention(q: Any, k: Any, v: Any) -> Any:
    return softmax((q @ np.swapaxes(k, -1, -2)) * 0.25) @ v


def causal(q: Any, k: Any, v: Any) -> Any:
    n = q.shape[-2]
    scores = (q @ np.swapaxes(k, -1, -2)) * 0.25
    return softmax(np.where(np.arange(n)[:, None] >= np.arange(n), scores, -1e9)) @ v


def biased(q: Any, k: Any, v: Any, bias: Any) -> Any:
    return softmax(q @ np.swapaxes(k, -1, -2) + bias) @ v + q


def with_scores(q: Any, k: Any, v: Any) -> Any:
    scores = q @ np.swapaxes(k, -1, -2)
    return softmax(scores) @ v, scores


def two_layers(x: Any, a: Any, b: Any) -> Any:
    x = x + attention(x @ a, x @ a, x @ b)
    return x + attention(x @ a, x @ a, x @ b)


def by_heads(x: Any, w: Any) -> Any:
    """Heads are views of columns, as in most models."""
    n, d = x.shape
    q, k, v = ((x @ w[i]).reshape(n, 4, d // 4).transpose(1, 0, 2) for i in range(3))
    return attention(q, k, v).transpose(1, 0, 2).reshape(n, d)


def norms(a: Any, b: Any, c: Any) -> Any:
    """Not attention: rows are scaled between the products."""
    h = np.tanh(a @ b)
    return (h / np.sqrt(np.sum(h * h, axis=-1, keepdims=True) + 1)) @ c


def heads(batch: tuple[int, ...], rows: int, keys: int, width: int) -> tuple[Any, ...]:
    return floats(*batch, rows, width), floats(*batch, keys, width), floats(*batch, keys, width)


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a batch": (attention, heads((3,), 64, 64, 16)),
    "two batch axes": (attention, heads((2, 2), 40, 64, 16)),
    "no batch": (attention, heads((), 96, 64, 16)),
    "a batch of one": (attention, heads((1,), 96, 64, 16)),
    "rows that are left": (attention, heads((2,), 53, 64, 16)),
    "other keys than queries": (attention, heads((2,), 64, 37, 8)),
    "causal": (causal, heads((2,), 64, 64, 16)),
    "a bias, and more after it": (biased, (*heads((2,), 64, 64, 16), floats(64, 64))),
    "scores are wanted, too": (with_scores, heads((2,), 64, 64, 16)),
    "two layers": (two_layers, (floats(2, 64, 16), floats(16, 16), floats(16, 16))),
    "heads are views": (by_heads, (floats(72, 64), floats(3, 64, 64))),
    "norms": (norms, (floats(256, 16), floats(16, 40), floats(40, 8))),
}


def compiled(
    function: Callable[..., Any], arguments: tuple[Any, ...], **machine: int
) -> tuple[Any, pipeline.Compilation]:
    """The result for a machine of small caches, every pass verified, and what was compiled."""
    graph = nl.jit(function).trace(*arguments).graph
    target = pipeline.current_target()
    target = replace(target, machine=replace(target.machine, l2=4096, **machine))
    made = pipeline.optimize(graph, target)
    code = pipeline.generate(made)
    results = Executable(code, graph, threads=target.threads).run(*arguments)
    return results if isinstance(results, tuple) else (results,), made


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def joined(made: pipeline.Compilation) -> list[Kernel]:
    """The kernels that are made of several."""
    assert made.program is not None
    kernels = [step for step in made.program.steps if isinstance(step, Kernel)]
    return [
        kernel
        for kernel in kernels
        if any(isinstance(s, For) and s.var.name == "block" for s in kernel_loops(kernel))
    ]


def kernel_loops(kernel: Kernel) -> list[For]:
    return [s for s in walk(kernel.body) if isinstance(s, For) and s.kind != "vector"]


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_VERIFY", "1")
    monkeypatch.setattr(choose, "PARALLEL_WORK", 1000)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vector_bits", [128, 512])
def test_blocks_change_no_bit(name: str, vector_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    function, arguments = CASES[name]
    results, made = compiled(function, arguments, vector_bits=vector_bits, l3=1 << 20)
    assert joined(made), made.program
    wide = [a.astype(np.float64) for a in arguments]
    for found, expected in zip(results, as_tuple(function(*wide)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())
    monkeypatch.setattr(choose_products, "rows_together", lambda *_: 0)
    whole, made = compiled(function, arguments, vector_bits=vector_bits, l3=1 << 20)
    assert not joined(made)
    for found, expected in zip(results, whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_between_is_never_whole() -> None:
    q, k, v = heads((2,), 256, 256, 16)
    _, made = compiled(attention, (q, k, v), l3=1 << 20)
    assert made.program is not None
    assert made.program.temporary_bytes == 0
    (kernel,) = made.program.steps
    assert {buffer.name for buffer in kernel.inputs} == {"q", "k", "v"}
    results, made = compiled(with_scores, (q, k, v), l3=1 << 20)
    assert [buffer.shape for buffer in joined(made)[0].outputs] == [(2, 256, 256), (2, 256, 16)]
    np.testing.assert_allclose(results[1], q @ np.swapaxes(k, -1, -2), rtol=1e-4, atol=1e-5)


def test_equal_layers_are_compiled_once() -> None:
    _, made = compiled(*CASES["two layers"], l3=1 << 20)
    assert made.program is not None and len(joined(made)) == 1
    assert len([step for step in made.program.steps if "loops of" in str(step)]) >= 2


def test_small_ones_stay_apart() -> None:
    """Where all fits in the cache, and where a block would read too much anew."""
    arguments = heads((2,), 16, 8, 8)
    assert not joined(compiled(attention, arguments)[1])

    def layers(x: Any, a: Any, b: Any) -> Any:
        return np.tanh(x @ a) @ b

    assert not joined(compiled(layers, (floats(64, 512), floats(512, 64), floats(64, 512)))[1])


def test_a_row_that_others_need_ends_a_chain() -> None:
    def across(a: Any, b: Any, c: Any) -> Any:
        h = a @ b
        return (h - h.mean(axis=0)) @ c

    arguments = (floats(256, 16), floats(16, 40), floats(40, 8))
    results, made = compiled(across, arguments, l3=1 << 20)
    assert not joined(made)
    wide = [a.astype(np.float64) for a in arguments]
    np.testing.assert_allclose(results[0], across(*wide), rtol=1e-4, atol=1e-4)


def test_a_product_of_one_row() -> None:
    """It has no rows to make blocks of."""
    a, b = GENERATOR.random((1, 63)) > 0.5, GENERATOR.random((63, 63)) > 0.5
    with nl.options(verify=True, cache="off"):
        np.testing.assert_array_equal(nl.jit(lambda a, b: a @ b)(a, b), a @ b)
        np.testing.assert_array_equal(nl.jit(lambda a, b: (a @ b).astype("u1"))(a, b), a @ b)
