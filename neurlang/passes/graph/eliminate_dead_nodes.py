"""Nodes that nothing needs are dropped."""

from __future__ import annotations

from dataclasses import replace

from neurlang.ir.graph import Graph


def eliminate_dead_nodes(graph: Graph) -> Graph:
    """Drop every node that no output depends on. Parameters stay: they are the signature."""
    live = {*graph.outputs, *graph.params}
    for node in reversed(graph.nodes):
        if node in live:
            live.update(node.args)
    return replace(graph, nodes=tuple(node for node in graph.nodes if node in live))
