"""The Graph IR as text: one line a node, read back by `parse`."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node
from neurlang.ir.types import SHORT


def number_text(value: Any) -> str:
    """A scalar so that it reads back to the same bits (NaN's payload apart)."""
    scalar = value.item() if hasattr(value, "item") else value
    if isinstance(value, np.floating) and np.isfinite(value):
        return np.format_float_scientific(value) if abs(scalar) >= 1e16 else str(value)
    return str(scalar)


def _list_text(value: Any) -> str:
    if value.ndim == 0:
        return number_text(value[()])
    return "[" + ", ".join(_list_text(item) for item in value) + "]"


def value_text(value: Any) -> str:
    """An attribute's value."""
    match value:
        case np.ndarray():
            return _list_text(value)
        case np.dtype():
            return SHORT[value]
        case tuple():
            return "[" + ", ".join(value_text(item) for item in value) + "]"
        case str():
            return f'"{value}"'
        case _:
            return number_text(value)


def node_names(graph: Graph) -> dict[Node, str]:
    """Parameters keep their names; other nodes are numbered in order."""
    names: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op == "param":
            names[node] = "%" + node.attrs["name"]
        else:
            names[node] = f"%{len(names) - len(graph.params)}"
    return names


def node_text(node: Node, names: dict[Node, str]) -> str:
    """`%3: f32[64] = slice %x start=[0] size=[64] step=[1]`."""
    hidden = ("dtype", "shape") if node.op == "iota" else ()
    parts = [node.op, *[", ".join(names[arg] for arg in node.args)]]
    for key, value in node.attrs.items():
        if key in hidden or (node.op == "broadcast" and key == "shape"):
            continue
        parts.append(value_text(value) if node.op == "const" else f"{key}={value_text(value)}")
    return f"{names[node]}: {node.type} = {' '.join(part for part in parts if part)}"


def graph_text(graph: Graph, sources: bool = True) -> str:
    """The whole graph; `sources` adds the user's line where it changes."""
    names = node_names(graph)
    params = ", ".join(f"{names[node]}: {node.type}" for node in graph.params)
    lines = [f"graph {graph.name}({params}):"]
    last = None
    for node in graph.nodes:
        if node.op == "param":
            continue
        text = "    " + node_text(node, names)
        if sources and node.where is not None and node.where != last:
            text = f"{text:<60}  # {node.where.described}"
            last = node.where
        lines.append(text)
    lines.append("    return " + ", ".join(names[node] for node in graph.outputs))
    return "\n".join(lines)
