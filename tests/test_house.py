"""The house rules that a machine can check: layers, docstrings, options, nothing left undone."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neurlang
from neurlang.settings import OPTIONS

PACKAGE = Path(neurlang.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]

# Imports go downwards or stay on their level; the longest name that matches a module counts.
LEVELS = {
    "errors": 0,
    "settings": 0,
    "runtime": 0,
    "codegen.machine": 0,
    "ir": 1,
    "passes.run": 2,
    "passes.rules": 2,
    "frontend": 3,
    "passes.graph": 3,
    "autodiff": 4,
    "passes.loops": 5,
    "lower": 5,
    "codegen": 6,
    "passes": 6,  # the two lists of passes
    "pipeline": 7,
    "executable": 7,
    "stages": 7,
    "nesting": 7,
    "specialization": 7,
    "jit": 7,
    "__main__": 9,
    "": 9,  # the public names
}
WING = 8  # a module at the top that the table does not name stands on the public face
# What levels alone would allow and the architecture does not.
FORBIDDEN = (
    ("codegen", "frontend"),
    ("codegen", "passes"),
    ("lower", "frontend"),
    ("passes", "frontend"),
    ("runtime", "settings"),
    ("frontend", "passes"),
)


def module_name(path: Path) -> str:
    """`codegen.emit` for a file of the package; a package's own file has the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path) for path in FILES}
PACKAGES = {"autodiff", "codegen", "frontend", "ir", "lower", "passes", "runtime"}


def level(module: str) -> int:
    parts = module.split(".") if module else []
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in LEVELS:
            return LEVELS[name]
    if not parts:
        return LEVELS[""]
    assert parts[0] not in PACKAGES, f"neurlang.{module} has no level: write it into the table"
    return WING


def deferred(tree: ast.Module) -> set[ast.AST]:
    """Imports that do not run with the module: for types only, or commented lazy ones."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.update(ast.walk(node))
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The modules of neurlang that a file imports when it is imported, and the line."""
    tree = ast.parse(path.read_text())
    skipped = deferred(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "neurlang":
                yield imported_module(name), getattr(node, "lineno", 0)


def imported_module(name: str) -> str:
    """The module of `neurlang.ir.graph.Node`: the longest part that is one."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def stands_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_downwards(path: Path) -> None:
    module = module_name(path)
    for target, line in imports(path):
        if target == "" and module:  # the package itself, for its version: no name of a layer
            continue
        place = f"{path.relative_to(ROOT)}:{line} imports neurlang.{target}"
        assert level(target) <= level(module), place
        if stands_in(target, "codegen.machine"):
            continue  # data, which any level may read
        for upper, lower in FORBIDDEN:
            assert not (stands_in(module, upper) and stands_in(target, lower)), place


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_lazy_imports_are_commented(path: Path) -> None:
    source = path.read_text()
    lines = source.splitlines()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                near = lines[node.lineno - 2] + lines[node.lineno - 1]
                assert "#" in near, f"{path.relative_to(ROOT)}:{node.lineno} says no reason"


def test_importing_loads_no_llvm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import neurlang, sys; print('llvmlite' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "False", done.stderr


def documented(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of the latter."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_modules_and_public_names_have_docstrings(path: Path) -> None:
    source = path.read_text()
    if not source.strip():
        return
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
    for node in documented(tree):
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if "overload" not in decorators:
            place = f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
            assert ast.get_docstring(node), f"{place} has no docstring"


def test_what_users_call_has_docstrings() -> None:
    for name in dir(neurlang):
        value = getattr(neurlang, name)
        if not name.startswith("_") and callable(value):
            assert inspect.getdoc(value), f"neurlang.{name} has no docstring"


def test_options_are_documented() -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    rows = re.findall(r"^\| `(NEURLANG_\w+)` \|", text, re.MULTILINE)
    assert rows == [option.variable for option in OPTIONS.values()]


def test_variables_are_read_in_one_place() -> None:
    allowed = {"settings.py"}
    for path in FILES:
        if "environ" in path.read_text() and path.name not in allowed:
            names = re.findall(r"NEURLANG_\w+", path.read_text())
            assert not set(names) - {option.variable for option in OPTIONS.values()}, path


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_is_left_undone(path: Path) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert not any(re.search(rf"\b{mark}\b", line) for mark in marks), f"{path}:{number}"


def test_every_module_can_be_imported() -> None:
    for module in sorted(MODULES - {"__main__"}):
        importlib.import_module(f"neurlang.{module}" if module else "neurlang")
