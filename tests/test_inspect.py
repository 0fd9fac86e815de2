"""Inspection: the five texts, and what `explain` says of passes, steps, memory and time."""

from __future__ import annotations

import numpy as np
import pytest

import neurlang as nl
from neurlang.programs import PROGRAMS, gelu_layer, softmax

ROWS = nl.ShapeDtype((640, 100), "f4")


def test_inspect_gives_the_five_texts_in_order() -> None:
    stages = nl.inspect(softmax, ROWS)
    assert list(stages) == ["trace", "graph", "loops", "llvm", "asm"]
    assert stages["trace"].startswith("graph softmax(%x: f32[640,100])")
    assert "kernel " in stages["loops"] and "define" in stages["llvm"]
    assert all(f"== {stage} ==\n{text}" in str(stages) for stage, text in stages.items())
    assert list(nl.jit(softmax).inspect(ROWS)) == list(stages)


def test_explain_says_why_nodes_share_a_kernel() -> None:
    (step,) = nl.explain(softmax, ROWS).steps
    assert len(step.reasons) == 3
    assert step.reasons[0].endswith("starts a kernel")
    assert all("joins: reads" in reason for reason in step.reasons[1:])
    assert step.bytes == 2 * 640 * 100 * 4
    # max, subtraction, exp, sum and division of every element
    assert step.flops == 5 * 640 * 100


def test_explain_says_why_nodes_do_not_share_a_kernel() -> None:
    x, w = nl.ShapeDtype((32, 16), "f4"), nl.ShapeDtype((16, 48), "f4")
    first, second = nl.explain(lambda x, w: (x @ w).sum(axis=0), x, w).steps
    assert first.flops == 2 * 32 * 16 * 48 and second.flops == 32 * 48
    assert "apart from dot" in second.reasons[0]
    with nl.options(fusion=False):
        reasons = [r for step in nl.explain(softmax, ROWS).steps for r in step.reasons]
    assert len(reasons) > 3 and all("fusion is off" in reason for reason in reasons)


def test_explain_shows_a_diff_of_each_pass_that_changed_something() -> None:
    text = str(nl.explain(lambda x: (np.exp(x), np.exp(x)), ROWS))
    assert "--- before merge_duplicates" in text and "+++ after merge_duplicates" in text
    for heading in ("passes", "steps", "computed more than once", "memory", "time"):
        assert f"== {heading} ==" in text


def test_explain_follows_the_function_s_own_options() -> None:
    function = nl.jit(fast_math=True)(softmax)
    report = function.explain(ROWS)
    assert report.fast_math and "fast_math is on" in str(report)
    assert "fast_math is off" in str(nl.explain(softmax, ROWS))
    assert function.cache_info().programs == 0


def test_every_program_is_explained() -> None:
    for program in PROGRAMS.values():
        report = nl.explain(program.function, *program.arguments(small=True))
        assert report.steps and all(step.reasons for step in report.steps), program.name


def test_stage_seconds_are_all_there() -> None:
    x, w, b = (nl.ShapeDtype(s, "f4") for s in ((8, 4), (4, 8), (8,)))
    seconds = nl.explain(gelu_layer, x, w, b).seconds
    assert {"trace", "graph passes", "fusion", "lower", "loop passes", "llvm"} <= set(seconds)


def test_only_functions_are_inspected() -> None:
    for ask in (nl.inspect, nl.explain):
        for value in (3, np.ones(2)):
            with pytest.raises(nl.ArgumentError) as caught:
                ask(value, ROWS)  # type: ignore[arg-type]  # no function
            what = f"{ask.__name__} takes a function, not {type(value).__name__}"
            assert caught.value.what == what
            assert caught.value.hint == f"write {ask.__name__}(function, *arguments)"


def test_methods_are_shown_as_functions_are() -> None:
    class Scale:
        @nl.jit
        def apply(self, x, factor=2):  # type: ignore[no-untyped-def]  # its signature is printed
            return x * factor

    name = "test_methods_are_shown_as_functions_are.<locals>.Scale.apply"
    assert repr(Scale.apply) == f"<jit {name}(self, x, factor=2)>"
    assert repr(Scale().apply) == f"<jit {name}(x, factor=2)>"
