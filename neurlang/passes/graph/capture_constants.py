"""Array constants become hidden parameters: their bytes never enter a program's text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neurlang.ir.graph import Graph, Node, is_splat, rebuild, with_args


def capture_constants(graph: Graph, above: int = 0) -> Graph:
    """Make every constant that is not a splat a trailing parameter with a captured value.

    `above` leaves arrays of no more elements alone: rules and folding still see those.
    """
    captured: dict[Node, Node] = {}

    def capture(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op != "const" or is_splat(node) or node.attrs["value"].size <= above:
            return with_args(node, args)
        name = f"captured{len(graph.captured) + len(captured)}"
        captured[node] = Node("param", (), {"name": name}, node.type, node.where)
        return captured[node]

    new = rebuild(graph, capture)
    if not captured:
        return graph
    values = [np.ascontiguousarray(node.attrs["value"]) for node in captured]
    params = (*graph.params, *captured.values())
    rest = tuple(node for node in new.nodes if node.op != "param")
    return replace(new, params=params, nodes=(*params, *rest), captured=(*graph.captured, *values))
