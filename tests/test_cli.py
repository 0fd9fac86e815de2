"""The command line, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import neurlang
from neurlang import bench, doctor
from neurlang.__main__ import main
from neurlang.ir.ops import OPS
from neurlang.programs import PROGRAMS, NamedProgram


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "no_such_module:f"], "cannot import"),
        (["explain", "neurlang.programs"], "names no function"),
        (["explain", "neurlang.programs:nothing"], "has no 'nothing'"),
        (["explain", "neurlang.programs:softmax", "f3[4]"], "is not a type"),
        (
            ["explain", "neurlang.programs:softmax"],
            "missing a required argument: 'x'\n"
            "  hint: write one type for each argument, such as 'f32[64,128]'",
        ),
        (["explain", "neurlang.programs:softmax", "f32[4]", "f32[4]"], "too many positional"),
        (["bench", "neurlang.programs:softmax"], "write one type for each argument"),
        (
            ["bench", "softmax", "--plot", "out.png"],
            "the plot is drawn as SVG, and out.png has another ending\n"
            "  hint: give it a name that ends in .svg",
        ),
        (["bench", "nothing"], "there is no program"),
        (["bench", "softmax", "--json", "no/such/folder/x.json"], "there is no folder"),
    ],
)
def test_wrong_requests_end_with_2_and_no_traceback(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_a_module_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_model.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["explain", "broken_model:f"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nothing"], ["bench", "--rounds", "0"]])
def test_argparse_refuses(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"neurlang {neurlang.__version__}\n"


def test_explain_and_its_stages(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "neurlang.programs:softmax", "f32[64,128]"]
    assert main(words) == 0
    assert "== steps ==" in capsys.readouterr().out
    assert main([*words, "--stage", "loops"]) == 0
    assert "kernel " in capsys.readouterr().out


def test_ops_lists_every_primitive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert {line.split()[1] for line in lines} == set(OPS)


def test_cache_is_shown_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "programs"
    monkeypatch.setenv("NEURLANG_CACHE", str(folder))
    neurlang.jit(lambda x: x * 3 + 5)(np.ones(7))
    assert main(["cache", "--path"]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    held = len(list(folder.glob("*.entry")))
    assert main(["cache"]) == 0
    assert f"programs  {held}" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert f"deleted {held} programs" in capsys.readouterr().out
    assert held and not list(folder.glob("*.entry"))


def test_the_cache_says_that_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("off", "OFF"):
        monkeypatch.setenv("NEURLANG_CACHE", text)
        assert main(["cache"]) == 0
        assert capsys.readouterr().out == (
            "the cache is off: NEURLANG_CACHE is off, so no program is read or kept\n"
        )
        assert main(["cache", "--clear"]) == 2
        assert "the cache is off, so nothing is deleted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_doctor_finds_all_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert np.__version__ in text and "all is well" in text
    assert all(name in text for name in PROGRAMS)


def wrong_program() -> NamedProgram:
    """One that does something else when it is compiled."""

    def depends_on_type(x: np.ndarray) -> object:
        return x + (1.0 if isinstance(x, np.ndarray) else 2.0)

    return NamedProgram("wrong", depends_on_type, lambda random, n: (random.random(n),), 9, 9)


def test_doctor_fails_when_a_program_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PROGRAMS", {"wrong": wrong_program()})
    assert main(["doctor"]) == 1
    assert "differs from NumPy" in capsys.readouterr().out


def test_bench_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, plot = tmp_path / "out.json", tmp_path / "out.svg"
    words = ["bench", "neurlang.programs:softmax", "f32[16,32]", "digits_forward"]
    options = ["--rounds", "3", "--threads", "1", "--json", str(table), "--plot", str(plot)]
    assert main([*words, *options]) == 0
    assert "x NumPy" in capsys.readouterr().out
    written = json.loads(table.read_text())
    first, second = written["programs"]
    assert first["types"] == "f32[16,32]" and second["name"] == "digits_forward"
    assert first["nbytes"] == 2 * 16 * 32 * 4 and first["flops"] == 5 * 16 * 32
    assert set(first["timings"]) == set(bench.WAYS)
    assert all(rate > 0 for rate in written["peaks"]["flops"].values())
    root = ElementTree.parse(plot).getroot()
    assert len([e for e in root if e.tag.endswith("circle")]) == 2


def test_bench_fails_when_a_result_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PROGRAMS", {"wrong": wrong_program()})
    assert main(["bench", "wrong"]) == 1
    errors = capsys.readouterr().err
    assert "wrong: compiled and NumPy differ by" in errors and "Traceback" not in errors


def test_largest_error_sees_every_kind_of_difference() -> None:
    x = np.array([1.0, np.nan, -4.0])
    assert bench.largest_error(x, x.copy()) == 0
    assert bench.largest_error(np.array([1.0, np.nan, -3.0]), x) == 0.25
    assert bench.largest_error(np.array([np.nan, 1.0, -4.0]), x) == float("inf")
    assert bench.largest_error(x.astype(np.float32), x) == float("inf")
    assert bench.largest_error((np.arange(3),), (np.arange(3) + 1,)) == float("inf")
