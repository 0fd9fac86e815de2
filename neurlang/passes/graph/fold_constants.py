"""What depends on constants alone is computed now."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, is_splat, make_constant, rebuild, with_args
from neurlang.ir.interpret import evaluate_node
from neurlang.ir.ops import OPS, PURE_VIEWS
from neurlang.ir.types import Type

LARGEST = 64  # elements of a constant that is worth keeping in the graph
EXACT = {op.name for op in OPS.values() if op.kind == "map" and op.cost <= 4} | {"cast"}


def fold_constants(graph: Graph) -> Graph:
    """Evaluate map ops on splats, views of splats, and small work on small constants.

    Elementary functions are left to machine code, whose bits differ from NumPy's: folding must not
    change a result.
    """
    return rebuild(graph, lambda node, args: fold(with_args(node, args)))


def fold(node: Node) -> Node:
    """The constant that a node is, if it is one, else the node."""
    args = node.args
    if not args or any(arg.op != "const" for arg in args):
        return node
    if node.kind == "map" and node.op in EXACT and all(map(is_splat, args)):
        return make_constant(_scalar(node, args), node.type, node.where)
    if node.op in PURE_VIEWS and is_splat(args[0]):
        return make_constant(args[0].attrs["value"], node.type, node.where)
    small = node.type.size <= LARGEST and all(arg.type.size <= LARGEST for arg in args)
    if small and (node.op in EXACT or (node.kind == "view" and node.op != "dot")):
        values = [np.broadcast_to(arg.attrs["value"], arg.shape) for arg in args]
        with np.errstate(all="ignore"):
            value = np.ascontiguousarray(evaluate_node(node, values))
        return make_constant(value.reshape(node.shape), node.type, node.where)
    return node


def _scalar(node: Node, args: tuple[Node, ...]) -> Any:
    """The value that a map op has everywhere."""
    point = Node(node.op, (), node.attrs, Type(node.dtype, ()), node.where)
    with np.errstate(all="ignore"):
        return np.asarray(evaluate_node(point, [arg.attrs["value"] for arg in args]))
