"""Random graphs: NumPy, the loop interpreter and machine code agree (promises T1 and T2)."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fuzzing import Case, random_case
from fuzzing_run import (
    compiled,
    complaint,
    interpreted_loops,
    jitted,
    layouts_of,
    report,
    same_bits,
    script,
    shrink,
)

import neurlang as nl

GRAPHS = int(os.environ.get("NEURLANG_SOAK", "6000"))
CHUNKS = 40
VARIANTS: list[dict[str, Any]] = [
    {"fusion": False},
    {"vector_bits": 128},
    {"vector_bits": 256},
    {"vector_bits": 512},
    {"threads": 1},
    {"threads": 5},
    {"tile": 96},
]
LARGE_VARIANTS: list[dict[str, Any]] = [
    {"fusion": False},
    {"threads": 2, "tile": 96},
    {"threads": 5, "tile": 1000},
    {"threads": 2, "vector_bits": 128},
]


def with_layouts(seed: int, case: Case) -> tuple[Any, ...]:
    """The case through `nl.jit`, its inputs laid out as the seed says."""
    return jitted(case, layouts_of(seed, case)[: len(case.inputs)])


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_machine_code_gives_what_numpy_gives(chunk: int) -> None:
    for seed in range(chunk, GRAPHS, CHUNKS):
        case = random_case(seed)
        with nl.options(verify=True, cache="off"):
            wrong = report(case, compiled)
        assert not wrong, f"seed {seed}: {wrong}"


@pytest.mark.parametrize("chunk", range(CHUNKS // 4))
def test_arrays_of_any_layout_give_what_numpy_gives(chunk: int) -> None:
    for seed in range(chunk, GRAPHS // 8, CHUNKS // 4):
        case = random_case(1_000_000 + seed)
        with nl.options(verify=True, cache="off"):
            wrong = report(case, lambda found, seed=seed: with_layouts(seed, found))
        assert not wrong, f"seed {1_000_000 + seed}: {wrong}"


@pytest.mark.parametrize("chunk", range(CHUNKS // 4))
def test_scheduled_loops_give_what_numpy_gives(chunk: int) -> None:
    for seed in range(chunk, GRAPHS // 6, CHUNKS // 4):
        case = random_case(2_000_000 + seed)
        if sum(node.type.size for node in case.graph.nodes) > 10_000:
            continue  # the loop interpreter takes a microsecond for what takes a nanosecond
        with nl.options(verify=True, cache="off"):
            wrong = report(case, interpreted_loops)
        assert not wrong, f"seed {2_000_000 + seed}: {wrong}"


def differs(case: Case, first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two sets of options give other bits."""
    results = []
    for variant in (first, second):
        with nl.options(verify=True, cache="off", **variant):
            results.append(compiled(case))
    return not same_bits(*results)


def assert_same_bits(seed: int, case: Case, variants: list[dict[str, Any]]) -> None:
    """Every variant gives the bits that the defaults give."""
    with nl.options(verify=True, cache="off", threads=1):
        plain = compiled(case)
    for variant in variants:
        with nl.options(verify=True, cache="off", **variant):
            found = compiled(case)
        if same_bits(plain, found):
            continue
        small = shrink(case, lambda smaller, chosen=variant: differs(smaller, {}, chosen))
        pytest.fail(script(small, f"seed {seed}: other bits under {variant}"))


@pytest.mark.parametrize("chunk", range(CHUNKS // 4))
def test_options_do_not_change_bits(chunk: int) -> None:
    for seed in range(chunk, GRAPHS // 12, CHUNKS // 4):
        assert_same_bits(seed, random_case(3_000_000 + seed), VARIANTS)


@pytest.mark.parametrize("chunk", range(CHUNKS // 4))
def test_threads_do_not_change_bits(chunk: int) -> None:
    for seed in range(chunk, GRAPHS // 50, CHUNKS // 4):
        assert_same_bits(seed, random_case(4_000_000 + seed, large=True), LARGE_VARIANTS)


def test_the_fuzzer_finds_and_shrinks_what_is_wrong() -> None:
    case = next(
        found for found in map(random_case, range(100)) if found.graph.outputs[0].dtype.kind == "f"
    )

    def broken(found: Case) -> tuple[Any, ...]:
        outputs = list(compiled(found))
        if outputs[0].dtype.kind == "f" and outputs[0].size:
            outputs[0] = outputs[0] * outputs[0].dtype.type(3) + outputs[0].dtype.type(1)
        return tuple(outputs)

    with nl.options(cache="off"):
        assert not complaint(case, compiled)
        text = report(case, broken)
    assert "parse(" in text
    assert text.count(" = ") < 12
