"""The Graph IR: an ordered list of immutable nodes, compared by identity.

    graph  ::=  name, params: node*, nodes: node* (each after its arguments), outputs: node*
    node   ::=  op, args: node*, attrs: {str: value}, type, where
    type   ::=  dtype "[" int,* "]"                     f32[64,128]

Parameters stand at the head of `nodes` as well. A constant is a splat (a 0-d value that fills the
shape) or an array. Nothing in a graph has side effects.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurlang.errors import Where
from neurlang.ir.infer import infer
from neurlang.ir.ops import OPS
from neurlang.ir.types import DType, Shape, Type

Attrs = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Node:
    """One operation on whole arrays."""

    op: str
    args: tuple[Node, ...]
    attrs: Attrs
    type: Type
    where: Where | None = None

    @property
    def kind(self) -> str:
        return OPS[self.op].kind

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"<{self.op} {self.type}>"


@dataclass(frozen=True, eq=False)
class Graph:
    """A program on whole arrays. `captured` holds the values of hidden trailing parameters."""

    name: str
    params: tuple[Node, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]
    captured: tuple[Any, ...] = field(default=())

    def __str__(self) -> str:
        from neurlang.ir.text import graph_text  # the printer needs Graph: text sits above it

        return graph_text(self)


def make_node(
    op: str, args: Sequence[Node] = (), where: Where | None = None, /, **attrs: Any
) -> Node:
    """A node whose type follows from its arguments; ShapeError or DTypeError where none does."""
    for key, value in attrs.items():
        if isinstance(value, tuple):
            attrs[key] = tuple(map(int, value))  # NumPy's integers print and divide differently
    type = infer(op, [arg.type for arg in args], attrs, where)
    return Node(op, tuple(args), attrs, type, where)


def make_constant(value: Any, type: Type | None = None, where: Where | None = None) -> Node:
    """A constant: an array, or with a larger `type` the splat of a 0-d value."""
    array = np.array(value, copy=None)
    array.flags.writeable = False
    found = type or Type(array.dtype, array.shape)
    return Node("const", (), {"value": array}, found, where)


def is_splat(node: Node) -> bool:
    """Whether the node is one constant value everywhere."""
    return node.op == "const" and node.attrs["value"].ndim == 0


def hashable_attrs(node: Node) -> Hashable:
    """The attributes, for comparison: numbers are equal when their bits are."""
    if not node.attrs:
        return ()
    return tuple([(name, _hashable(value)) for name, value in sorted(node.attrs.items())])


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return value.hex()  # 0.0 is not -0.0, and a NaN equals itself
    return value  # type: ignore[no-any-return]  # attributes are hashable, arrays apart


def users_of(graph: Graph) -> dict[Node, list[Node]]:
    """For each node the nodes that read it, one entry for each reading argument."""
    users: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        for arg in node.args:
            users[arg].append(node)
    return users


def rebuild(
    graph: Graph,
    transform: Callable[[Node, tuple[Node, ...]], Node],
    ops: Container[str] | None = None,
) -> Graph:
    """One forward walk: `transform(node, new arguments)` gives what stands for each node.

    Given `ops`, only those are transformed: a graph without them is returned as it is, like every
    graph in which nothing changed. Nodes that the transformation makes on the way, and those it
    returns, are listed in the order in which they are needed; dead ones are left for
    `eliminate_dead_nodes`.
    """
    if ops is not None and not any(node.op in ops for node in graph.nodes):
        return graph
    table: dict[Node, Node] = {}
    order: dict[Node, None] = {}
    changed = False
    for node in graph.nodes:
        args = tuple([table[arg] for arg in node.args])
        if node.op == "param":
            new = node
        elif ops is None or node.op in ops:
            new = transform(node, args)
        else:
            new = with_args(node, args)
        table[node] = new
        changed |= new is not node
        append_needed(new, order)
    if not changed:
        return graph
    outputs = tuple(table[node] for node in graph.outputs)
    return replace(graph, nodes=tuple(order), outputs=outputs)


def with_args(node: Node, args: tuple[Node, ...]) -> Node:
    """The same node over other arguments of the same types."""
    if args == node.args:  # nodes are compared by identity
        return node
    return Node(node.op, args, node.attrs, node.type, node.where)


def append_needed(root: Node, order: dict[Node, None]) -> None:
    """List `root` after everything it needs that is not yet listed, without recursion."""
    if root in order:
        return
    if all(arg in order for arg in root.args):
        order[root] = None
        return
    stack: list[tuple[Node, int]] = [(root, 0)]
    while stack:
        node, position = stack.pop()
        if node in order:
            continue
        if position == len(node.args):
            order[node] = None
            continue
        stack.append((node, position + 1))
        stack.append((node.args[position], 0))


def graph_from(outputs: Iterable[Node], params: Sequence[Node], name: str) -> Graph:
    """The graph of everything that the outputs need."""
    order: dict[Node, None] = dict.fromkeys(params)
    outputs = tuple(outputs)
    for node in outputs:
        append_needed(node, order)
    return Graph(name, tuple(params), tuple(order), outputs)
