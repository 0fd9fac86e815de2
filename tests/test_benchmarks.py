"""benchmarks/: the programs are what they say, and the scripts run at their smallest."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_peers(tmp_path: Path) -> None:
    """Both libraries' results are verified against NumPy in float64, and a table is printed."""
    file = tmp_path / "results.json"
    names = ["add16", "chain64", "matmul_32"]
    command = [
        sys.executable,
        str(BENCHMARKS / "peers.py"),
        *names,
        "--rounds",
        "1",
        "--json",
        file,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows = json.loads(file.read_text())
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert set(row["seconds"]) >= {"neurlang", "numpy"}, row
        assert all(first["wrong"] == "" for first in row["first"].values()), row
        assert f"| {row['name']} |" in done.stdout
    assert "over numpy's" in done.stdout


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    difference = runpy.run_path(str(BENCHMARKS / "peers.py"))["difference"]
    workload = runpy.run_path(str(BENCHMARKS / "workloads.py"))["WORKLOADS"]["add16"]
    right = [np.arange(16.0)]
    assert difference(right, right, workload) == ""
    assert "elements differ" in difference([right[0] + 0.1], right, workload)
    assert "elements differ" in difference([right[0] * np.nan], right, workload)
    assert "shapes" in difference([right[0][:3]], right, workload)
