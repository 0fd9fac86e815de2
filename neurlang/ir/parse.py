"""Graph text back to a graph: `parse(str(graph))` prints as the same text."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np

from neurlang.errors import FormatError, NeurlangError, Where
from neurlang.ir.graph import Graph, Node, make_node
from neurlang.ir.ops import OPS
from neurlang.ir.types import NAMES, Type, parse_type

_HEADER = re.compile(r"graph ([^\s(]+)\((.*)\):")
_NODE = re.compile(r"(%\w+): (\w+\[[\d,]*\]) = (\w+)(.*)")
_ATTR = re.compile(r"(\w+)=(\[[^\]]*\]|\"[^\"]*\"|\S+)")
_ARGUMENT = re.compile(r"%\w+")
_PLACE = re.compile(r"(.*?):(\d+)(?:: (.*))?")
_SPECIAL = re.compile(r"\b(nan|inf)\b")


def _literal(text: str) -> Any:
    """A number, a string or a list of them."""
    if text in NAMES:
        return np.dtype(NAMES[text])
    tree = ast.parse(_SPECIAL.sub(r'float("\1")', text), mode="eval").body
    return _evaluate(tree)


def _evaluate(tree: ast.expr) -> Any:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.List(elts=items):
            return tuple(_evaluate(item) for item in items)
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=value)]):
            return float(str(value))
    raise ValueError(ast.dump(tree))


def _constant(text: str, type: Type, where: Where | None) -> Node:
    value = np.array(_literal(text.strip()), type.dtype)
    if value.ndim and value.shape != type.shape:
        value = value.reshape(type.shape)
    value.flags.writeable = False
    return Node("const", (), {"value": value}, type, where)


def _node(match: re.Match[str], table: dict[str, Node], where: Where | None) -> Node:
    type = parse_type(match[2])
    op, rest = match[3], match[4]
    if op not in OPS:
        raise ValueError(f"there is no op {op!r}")
    if op == "const":
        return _constant(rest, type, where)
    attrs = {key: _literal(value) for key, value in _ATTR.findall(rest)}
    args = [table[name] for name in _ARGUMENT.findall(_ATTR.sub("", rest))]
    if op == "iota":
        attrs = {"dtype": type.dtype, "shape": type.shape, **attrs}
    if op == "broadcast":
        attrs["shape"] = type.shape
    node = make_node(op, args, where, **attrs)
    if node.type != type:
        raise ValueError(f"{op} gives {node.type}, the text says {type}")
    return node


def parse(text: str) -> Graph:
    """Read graph text; FormatError names the line that is not one."""
    lines = text.strip().splitlines()
    header = _HEADER.fullmatch(lines[0].split("  # ")[0].rstrip()) if lines else None
    if header is None:
        raise FormatError("the text does not begin with `graph name(params):`")
    table: dict[str, Node] = {}
    for name, type in re.findall(r"%(\w+): (\w+\[[\d,]*\])", header[2]):
        table["%" + name] = Node("param", (), {"name": name}, parse_type(type))
    params = tuple(table.values())
    outputs: tuple[Node, ...] = ()
    where: Where | None = None
    for number, line in enumerate(lines[1:], start=2):
        code, _, comment = line.partition("  # ")
        stripped = code.strip()
        place = _PLACE.fullmatch(comment)
        if place is not None:
            where = Where(place[1], int(place[2]), place[3] or "")
        try:
            match = _NODE.fullmatch(stripped)
            if match is not None:
                table[match[1]] = _node(match, table, where)
            elif stripped.startswith("return"):
                outputs = tuple(table[name] for name in _ARGUMENT.findall(stripped))
            elif stripped:
                raise ValueError("neither a node nor `return`")
        except (ValueError, KeyError, SyntaxError, NeurlangError, TypeError) as error:
            raise FormatError(f"line {number}: {stripped!r}: {error}") from error
    return Graph(header[1], params, tuple(table.values()), outputs)
