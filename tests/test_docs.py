"""Every example in README and docs runs and prints what the page shows; links lead somewhere.

The `python` blocks of a page are one program, `example.py`, run in order. A `text` block right
after one is what it prints; spaces at line ends do not count. A block whose info string names a
file (`text from neurlang/ir/ops.py`) is a quotation and stands in that file. Other blocks, `sh`
among them, do not run; the commands in them exist.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import neurlang as nl
from neurlang.__main__ import main
from neurlang.codegen import scalar
from neurlang.ir import ops
from neurlang.passes import GRAPH_PASSES

ROOT = Path(nl.__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
IDS = [path.name if path.parent == ROOT else f"docs/{path.name}" for path in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)

FENCE = "```"
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:python -m neurlang|^neurlang) (\w+)", re.MULTILINE)
TARGET = re.compile(r"\bmake ([a-z]+)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: its info string, its text, its first line, and whether it follows another."""

    info: str
    text: str
    line: int
    follows: bool


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    info: str | None = None
    body: list[str] = []
    start = 0
    follows = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if info is None and line.startswith(FENCE):
            info, body, start = line[len(FENCE) :].strip(), [], number + 1
        elif info is not None and line == FENCE:
            yield Block(info, "\n".join(body) + "\n", start, follows)
            info, follows = None, True
        elif info is not None:
            body.append(line)
        elif line.strip():
            follows = False
    assert info is None, f"{page.name}:{start - 1}: a block does not end"


class Program:
    """The examples of a page, as one file `example.py` that grows block by block."""

    def __init__(self) -> None:
        self.text = ""
        self.namespace: dict[str, Any] = {"__name__": "example"}

    def run(self, block: str) -> str:
        """What the next block prints; its lines are numbered after those before it."""
        above = self.text.count("\n")
        self.text += block
        lines = self.text.splitlines(keepends=True)
        linecache.cache["example.py"] = (len(self.text), None, lines, "example.py")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile("\n" * above + block, "example.py", "exec"), self.namespace)
        return output.getvalue()


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a page changes is undone: rows that it adds to tables, passes, options, programs."""
    monkeypatch.setattr("neurlang.settings._process", {})
    monkeypatch.setenv("NEURLANG_CACHE", str(tmp_path / "programs"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("neurlang.pipeline.GRAPH_PASSES", GRAPH_PASSES)
    tables: list[dict[str, Any]] = [ops.OPS, scalar.FLOAT, scalar.INTEGER]
    before = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, before):
        table.clear()
        table.update(rows)


@every_page
def test_examples_run_and_print_what_the_page_shows(page: Path, as_installed: None) -> None:
    program = Program()
    printed = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks_of(page):
            if block.info == "text" and block.follows:
                shown, found = stripped(block.text), stripped(printed)
                assert shown == found, f"{page.name}:{block.line}: the example prints\n{printed}"
            printed = program.run(block.text) if block.info == "python" else ""


@every_page
def test_quotations_stand_in_their_files(page: Path) -> None:
    for block in blocks_of(page):
        if " from " in block.info:
            file = block.info.partition(" from ")[2]
            source = (ROOT / file).read_text()
            for part in block.text.split("...\n"):
                assert part.strip("\n") in source, f"{page.name}:{block.line}: not in {file}"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if not link.startswith(("https://", "#")):
            path = page.parent / link.partition("#")[0]
            assert path.exists(), f"{page.name} links to {link}"


@every_page
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [block.text for block in blocks_of(page) if block.info == "sh"]
    makefile = (ROOT / "Makefile").read_text()
    for command in sorted({name for text in texts for name in COMMAND.findall(text)}):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, f"{page.name}: neurlang {command}"
    for target in sorted({name for text in texts for name in TARGET.findall(text)}):
        assert f"\n{target}:" in makefile, f"{page.name}: make {target}"
    capsys.readouterr()


def test_the_index_lists_every_page() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert {page.name for page in DOCS} - {"README.md"} <= linked
