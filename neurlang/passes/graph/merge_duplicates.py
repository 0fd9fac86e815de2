"""Equal nodes become one."""

from __future__ import annotations

from collections.abc import Hashable

from neurlang.ir.graph import Graph, Node, hashable_attrs, rebuild, with_args


def merge_duplicates(graph: Graph) -> Graph:
    """Compute what is computed twice once: same op, arguments, attributes and type.

    Constants are equal when their bits are, so that 0.0 and -0.0 stay apart. Needs nothing; leaves
    the later of two equal nodes dead.
    """
    seen: dict[Hashable, Node] = {}

    def first(node: Node, args: tuple[Node, ...]) -> Node:
        key = (node.op, tuple(map(id, args)), hashable_attrs(node), node.type)
        return seen.setdefault(key, with_args(node, args))

    return rebuild(graph, first)
