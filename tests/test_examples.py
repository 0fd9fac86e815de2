"""The examples run from start to end, and the network of `make demo` learns to read."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.settings import STAGES

EXAMPLES = Path(nl.__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_CACHE", str(tmp_path / "programs"))


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_digits(capsys: pytest.CaptureFixture[str]) -> None:
    load("digits.py")["main"]()
    printed = capsys.readouterr().out
    for stage in STAGES:
        assert re.search(rf"^{stage}: \d+ lines$", printed, re.MULTILINE), stage
    assert "all three agree" in printed


def test_the_gradient_of_digits_is_that_of_its_loss() -> None:
    """Against differences of the loss: the step is written by hand."""
    digits = load("digits.py")
    random = np.random.default_rng(0)
    sizes = [(64, 16), (16,), (16, 10), (10,)]
    parameters = [random.normal(0, 0.3, size) for size in sizes]
    batch = random.random((8, 64)), random.integers(0, 10, 8).astype(np.int32)
    step = digits["train_step"]

    def loss(values: Any) -> float:
        return float(step(*values, *batch)[-1])

    moved = step(*parameters, *batch)[:-1]
    for position, before in enumerate(parameters):
        gradient = (before - moved[position]) / digits["RATE"]
        direction = random.normal(size=before.shape)
        ends = []
        for distance in (1e-4, -1e-4):
            values = list(parameters)
            values[position] = before + distance * direction
            ends.append(loss(values))
        slope = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4)


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"digits.py"}
