"""benchmarks/: the programs are what they say, and the scripts run at their smallest."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """What a script prints, with this Python and no peers but those that are installed here."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_peers(tmp_path: Path) -> None:
    """Results are verified against NumPy in float64, timed, written, and shown as tables."""
    file = tmp_path / "results.json"
    names = ["add16", "chain64", "matmul_32", "more_points"]
    short = ("--rounds", "1", "--seconds", "0.001", "--libraries", "neurlang", "numpy")
    printed = run("peers.py", *names, *short, "--json", str(file))
    workloads = json.loads(file.read_text())["workloads"]
    assert [workload["name"] for workload in workloads] == names
    for workload in workloads:
        assert set(workload["figures"]) == {"1", "2"}
        for figures in workload["figures"].values():
            assert set(figures) == {"neurlang", "numpy"}
            for figure in figures.values():
                assert figure["problem"] == ""
                assert min(figure["seconds"], figure["first"], figure["processor"]) >= 0
        assert f"| {workload['name']} | NumPy | **" in printed
    assert run("peers.py", "--show", str(file)).strip() in printed


@pytest.mark.parametrize(
    "command",
    [
        ("peaks.py", "--small"),
        ("figures.py", "--small"),
        ("first_calls.py", "elementwise", "--runs", "1"),
        ("mathlib.py", "tanh", "--dtypes", "f4", "--rounds", "1"),
    ],
    ids=lambda command: command[0],
)
def test_a_script_runs_at_its_smallest(command: tuple[str, ...]) -> None:
    """Its tables have as many cells in each row as in the heading."""
    for table in run(*command).strip().split("\n\n"):
        heading, *rows = [line.count("|") for line in table.splitlines()]
        assert heading > 2 and len(rows) > 1
        assert set(rows) == {heading}


def test_competitor() -> None:
    printed = run("competitor.py", "softmax", "--quiet", "--rounds", "1")
    assert printed.count("softmax") == 5


def test_documented_commands_exist() -> None:
    text = (BENCHMARKS.parent / "docs" / "benchmarks.md").read_text()
    named = set(re.findall(r"python benchmarks/(\w+\.py)", text))
    assert {"peers.py", "peaks.py", "figures.py", "first_calls.py"} <= named
    assert all((BENCHMARKS / name).exists() for name in named)


def test_a_peer_that_does_not_answer_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    peer = importlib.import_module("peers").Peer("numpy", 1, sys.executable, str(tmp_path))
    try:
        assert peer.ask("version", patience=0) == {"problem": "no answer in 0 s"}
        assert peer.ask("version") == {"version": np.__version__}
        assert "KeyError" in peer.ask("first", "no_such_workload", "")["problem"]
        assert peer.process is not None
        peer.process.kill()
        peer.process.wait()
        assert peer.ask("version") == {"version": np.__version__}
    finally:
        peer.stop()


def test_lost_workloads_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tables = runpy.run_path(str(BENCHMARKS / "tables.py"))
    rows = [
        tables["Row"](name, {2: figures(neurlang=ours, jax=8.0, numba=4.0), 1: figures(jax=8.0)})
        for name, ours in (("won", 1.0), ("lost", 8.0), ("even", 4.0))
    ]
    lines = tables["workloads_table"](rows).splitlines()
    assert lines[0] == "| workload | best peer | ratio | with 1 thread | neurlang | jax | numba |"
    assert lines[2] == "| lost | numba | **2.00** | - | 8000 | 8000 | 4000 |"
    assert [line.split(" ")[1] for line in lines[2:]] == ["lost", "even", "won"]
    means = tables["means_table"](rows).splitlines()
    # (1 * 8 * 4) ** (1 / 3) is 3.175, over 8 and over 4
    assert means[2] == "| 2 | 0.40 | 0.79 | 0.79 | 1 of 3 |"
    assert means[3] == "| 1 | - | - | - | 0 of 0 |"


def figures(**seconds: float) -> dict[str, dict[str, float]]:
    return {library: {"seconds": value} for library, value in seconds.items()}


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    difference = runpy.run_path(str(BENCHMARKS / "libraries.py"))["difference"]
    workload = runpy.run_path(str(BENCHMARKS / "workloads.py"))["WORKLOADS"]["add16"]
    right = [np.arange(16.0)]
    assert difference(right, right, workload) == ""
    assert "elements differ" in difference([right[0] + 0.1], right, workload)
    assert "elements differ" in difference([right[0] * np.nan], right, workload)
    assert "shapes" in difference([right[0][:3]], right, workload)
