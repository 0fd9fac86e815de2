"""Equal nodes become one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, rebuild, with_args


def merge_duplicates(graph: Graph) -> Graph:
    """Compute what is computed twice once: same op, arguments, attributes and type.

    Constants are equal when their bits are, so that 0.0 and -0.0 stay apart. Needs nothing; leaves
    the later of two equal nodes dead.
    """
    seen: dict[Hashable, Node] = {}

    def first(node: Node, args: tuple[Node, ...]) -> Node:
        attrs = tuple((key, _frozen(value)) for key, value in sorted(node.attrs.items()))
        key = (node.op, tuple(map(id, args)), attrs, node.type)
        return seen.setdefault(key, with_args(node, args))

    return rebuild(graph, first)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return (value, np.signbit(value).item())
    return value  # type: ignore[no-any-return]  # attributes are hashable, arrays apart
