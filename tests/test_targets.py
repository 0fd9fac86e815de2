"""Machine code for lesser CPUs: fewer features on this one, and another architecture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen.compile import compile_assembly
from neurlang.codegen.machine import Machine
from neurlang.executable import Executable
from neurlang.pipeline import current_target, generate, optimize

RNG = np.random.default_rng(5)
X = RNG.standard_normal((37, 70)).astype("float32")
W = RNG.standard_normal((70, 45)).astype("float32")


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


PROGRAMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "elementwise": (lambda x: np.tanh(x) * 2 + np.sqrt(np.abs(x)), (X,)),
    "softmax": (softmax, (X,)),
    "column sums": (lambda x: x.sum(axis=0), (X,)),
    "dense": (lambda x, w: np.maximum(x @ w, 0), (X, W)),
    "integers": (lambda x: (x.astype("int32") // 3) % 5, (X * 100,)),
    "stencil": (lambda x: np.roll(x, 1, axis=1) - x[::-1], (X,)),
}


def run(function: Any, inputs: tuple[Any, ...], machine: Machine) -> Any:
    graph = nl.jit(function).trace(*inputs).graph
    made = optimize(graph, replace(current_target(), machine=machine))
    return Executable(generate(made), graph).run(*inputs)


@pytest.mark.parametrize("bits", [128, 256])
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_a_cpu_with_narrower_vectors_gives_the_same_bits(name: str, bits: int) -> None:
    host = current_target().machine
    if host.vector_bits < bits:
        pytest.skip("this CPU is narrower itself")
    function, inputs = PROGRAMS[name]
    found = run(function, inputs, host.limited_to(bits))
    assert np.array_equal(found, run(function, inputs, host))
    with np.errstate(all="ignore"):
        assert np.allclose(found, function(*inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_aarch64_code_is_made_of_neon(name: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = Machine("aarch64-unknown-linux-gnu", "cortex-a72", ("+neon",))
    function, inputs = PROGRAMS[name]
    graph = nl.jit(function).trace(*inputs).graph
    made = optimize(graph, replace(current_target(), machine=machine))
    generate(made)
    assembly = compile_assembly(made.llvm, machine)
    vector = ".4s" in assembly or ".2d" in assembly
    assert vector and "zmm" not in assembly
