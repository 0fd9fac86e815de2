"""The graph's contract, checked after every pass when asked and always in tests."""

from __future__ import annotations

from neurlang.errors import InternalError
from neurlang.ir.graph import Graph, Node
from neurlang.ir.infer import infer
from neurlang.ir.ops import OPS


def verify(graph: Graph, after: str = "trace") -> None:
    """Check that a graph is well formed; InternalError names the pass and the node.

    Every op is in the table; every argument stands before its user; every type is what `infer`
    gives; parameters come first, once each; every output is listed; a constant's value has its
    node's dtype, and its shape or none.
    """
    seen: set[Node] = set()

    def fail(node: Node, what: str) -> None:
        raise InternalError(f"after {after}: {node!r} {what}\n{graph}")

    if graph.nodes[: len(graph.params)] != graph.params:
        raise InternalError(f"after {after}: parameters do not come first\n{graph}")
    for node in graph.nodes:
        if node.op not in OPS:
            fail(node, "has an unknown op")
        if node in seen:
            fail(node, "is listed twice")
        if any(arg not in seen for arg in node.args):
            fail(node, "stands before one of its arguments")
        seen.add(node)
        if node.op == "const":
            value = node.attrs["value"]
            if value.dtype != node.dtype or value.shape not in ((), node.shape):
                fail(node, f"holds a {value.dtype} of shape {value.shape}")
        elif node.op != "param":
            found = infer(node.op, [arg.type for arg in node.args], node.attrs)
            if found != node.type:
                fail(node, f"should have type {found}")
    for output in graph.outputs:
        if output not in seen:
            fail(output, "is an output and is not listed")
