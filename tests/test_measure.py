"""explain(...).measure(): what each step takes, against hand calculations; no time is asserted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.__main__ import main
from neurlang.peaks import Peaks

PEAKS = Peaks(1, {"float32": 2e9, "float64": 1e9}, {"L2": 4e9, "memory": 1e9}, {"L2": 1 << 20})
LINE = re.compile(
    r"\S+ +[\d.e+]+ (s|ms|us|ns): [\d.]+ GB/s, [\d.]+ GFLOP/s, \d+% of the peak of [\w -]+"
)


def layer(x: Any, w: Any) -> Any:
    h = x @ w
    return h - h.max(axis=-1, keepdims=True)


def test_steps_of_a_layer() -> None:
    x, w = np.ones((64, 32), np.float32), np.ones((32, 128), np.float32)
    plain = nl.explain(layer, x, w)
    report = plain.measure(PEAKS)
    product, rows = report.steps
    assert product.flops == 2 * 64 * 32 * 128
    assert product.bytes == 4 * (64 * 32 + 32 * 128 + 64 * 128)
    # 0.262 ms of multiply-adds against 0.014 ms of reading; then the other way round
    least = product.flops / 2e9
    assert product.roof_fraction == pytest.approx(least / product.seconds)
    assert "multiply-adds" in product.speed
    assert rows.roof_fraction == pytest.approx(
        max(rows.flops / 2e9, rows.bytes / 4e9) / rows.seconds
    )
    assert report.times is not None
    assert report.times.whole >= max(report.times.steps) > 0 and report.times.calls >= 1
    *lines, last = report.measured
    assert len(lines) == 2 and all(map(LINE.fullmatch, lines)), lines
    assert last.startswith("program") and "2 steps" in last
    assert "== measured ==" in str(report) and "== measured ==" not in str(plain)
    assert not list(plain.measured) and plain.steps[0].speed == "not measured"


def test_the_arguments_are_those_that_were_explained() -> None:
    """An index out of range is the program's error, here as in a call."""
    table = np.arange(5.0)
    nl.explain(lambda t, i: t[i], table, np.array([1, 4])).measure(PEAKS)
    with pytest.raises(IndexError):
        nl.explain(lambda t, i: t[i], table, np.array([1, 5])).measure(PEAKS)


def test_arrays_are_made_for_types() -> None:
    types = {"x": nl.ShapeDtype((3, 4), "float64"), "n": nl.ShapeDtype((), "int32")}
    report = nl.explain(lambda tree, scale: tree["x"] * tree["n"] + scale, types, 2.0)
    assert report.measure(PEAKS).steps[0].seconds > 0


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "neurlang:exp", "f32[100]", "--measure"]) == 0
    assert "== measured ==" in capsys.readouterr().out
    assert main(["bench", "softmax", "--rounds", "1", "--kernels"]) == 0
    assert LINE.search(capsys.readouterr().out)
