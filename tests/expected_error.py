"""What the tests of errors share: whole messages, with the user's line found by a mark in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neurlang.errors import NeurlangError


def marked(file: str, mark: str) -> str:
    """`file.py:7: source`, as errors show the file's only line that ends in `# mark`."""
    path = Path(file)
    lines = path.read_text().splitlines()
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for number, line in enumerate(lines, start=1)
        if line.endswith(f"# {mark}")
    ]
    assert len(found) == 1, f"{len(found)} lines are marked {mark}"
    return found[0]


@contextmanager
def expected_error(
    file: str, kind: type[NeurlangError], what: str, at: str, hint: str = "", origin: str = ""
) -> Iterator[None]:
    """The code inside raises exactly this error; `at` and `origin` are marks in the file."""
    expected = [what, f"  at {marked(file, at)}"]
    if origin:
        expected.append(f"  from {marked(file, origin)}")
    if hint:
        expected.append(f"  hint: {hint}")
    with pytest.raises(NeurlangError) as caught:
        yield
    assert type(caught.value) is kind
    assert str(caught.value) == "\n".join(expected)
