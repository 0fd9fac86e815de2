"""Scalar functions lifted over arrays: traced on one element, then replayed on all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurlang.errors import ArgumentError, ShapeError, definition
from neurlang.frontend.array import (
    Array,
    apply,
    apply_at,
    as_operand,
    asarray,
    broadcast_to,
    check_alive,
    common_shape,
    constant,
)
from neurlang.frontend.side_effects import watching
from neurlang.frontend.trace import Trace, current_trace, tracing
from neurlang.ir.graph import Node, is_splat
from neurlang.ir.types import Shape, Type


def broadcast(function: Callable[..., Any], /) -> Callable[..., Any]:
    """`function` of scalars as a function of arrays, applied to every set of elements at once.

    Positional arguments broadcast together; the function sees one element of each, an array
    without axes. Python numbers and keywords are passed on as they are. Inside, an element may
    take other shapes, but the result, or each one of a tuple, must be a scalar again; it has the
    common shape. ShapeError where arguments do not broadcast, a result is no scalar, or an
    operation on elements (a product of matrices, say) cannot be lifted. A branch on an element is
    a ConcreteValueError: use `where`.
    """
    if not callable(function):
        raise ArgumentError(f"broadcast takes a function, not {function!r}")
    name = getattr(function, "__name__", "a function")

    @functools.wraps(function)
    def elementwise(*args: Any, **keywords: Any) -> Any:
        operands = [as_operand(arg) for arg in args]
        shape = common_shape(name, operands)
        where = definition(function)
        trace = Trace(name)
        given: list[Any] = []
        elements: dict[Node, Array] = {}
        for position, operand in enumerate(operands):
            if not _has_elements(operand):
                given.append(operand)
                continue
            type = Type(operand.dtype, ())
            node = Node("param", (), {"name": f"x{position}"}, type, where)
            elements[node] = broadcast_to(operand, shape)
            given.append(Array(node, trace))
        results, several = _traced(function, given, keywords, trace)
        lifted = _Lifted(name, shape, trace, elements)
        lifted.replay([part.node for part in results])
        found = tuple(lifted.result(part) for part in results)
        return found if several else found[0]

    return elementwise


def _has_elements(operand: Any) -> bool:
    """Whether an operand is an array; Python numbers, traced ones too, are one for all elements."""
    return isinstance(operand, Array) and operand.weak is None


def _traced(
    function: Callable[..., Any], given: Sequence[Any], keywords: Mapping[str, Any], trace: Trace
) -> tuple[list[Array], bool]:
    """What the function makes of one element of each array, and whether that is a tuple."""
    outermost = current_trace() is None
    with tracing(trace):
        if outermost:
            with watching(function, keywords):
                result = function(*given, **keywords)
        else:
            result = function(*given, **keywords)  # whoever traces around it is watching already
        several = isinstance(result, tuple)
        parts = [asarray(part) for part in (result if several else (result,))]
        for part in parts:
            check_alive(part)
    return parts, several


class _Lifted:
    """The nodes that were traced on one element, applied to all: each value gets leading axes.

    `values` holds arrays of `shape` + the traced node's shape for nodes that are in `varying`, and
    of the node's own shape for those that no element takes part in.
    """

    def __init__(self, name: str, shape: Shape, trace: Trace, elements: Mapping[Node, Array]):
        self.name = name
        self.shape = shape
        self.trace = trace
        self.values: dict[Node, Array] = dict(elements)
        self.varying = set(elements)
        for owner, node in trace.captured.values():
            self.values[node] = asarray(owner)

    def replay(self, results: Sequence[Node]) -> None:
        """Record the operations that the results need, and what is checked of Python integers."""
        needed = {*results, *self.trace.narrowed}
        for node in reversed(self.trace.nodes):
            if node in needed:
                needed.update(node.args)
        for node in self.trace.nodes:
            if node in needed and node not in self.values:
                self.values[node] = self._applied(node)
        outer = current_trace()
        if outer is not None:
            for node, dtypes in self.trace.narrowed.items():
                outer.narrowed.setdefault(self._value(node).node, {}).update(dtypes)

    def result(self, part: Array) -> Array:
        """A result for all elements; ShapeError where it is no scalar of each."""
        if part.shape:
            raise ShapeError(
                f"{self.name} made {part.node.type} out of one element",
                origin=part.node.where,
                hint="a function that is broadcast must be elementwise: scalars in, scalars out",
            )
        return self._spread(part.node)

    def _value(self, node: Node) -> Array:
        """The array of a node; one that the trace around this one holds stands for itself."""
        return self.values[node] if node in self.values else Array(node, current_trace())

    def _spread(self, node: Node) -> Array:
        """The value of a node with the leading axes, also where it is the same for all elements."""
        value = self._value(node)
        if node in self.varying:
            return value
        if is_splat(value.node):
            type = Type(value.dtype, (*self.shape, *node.shape))
            return constant(value.node.attrs["value"], type)
        return broadcast_to(value, (*self.shape, *node.shape))

    def _applied(self, node: Node) -> Array:
        """The operation of a node on all elements; ShapeError where it cannot be lifted."""
        if node.op == "const":
            return constant(node.attrs["value"], node.type)
        if not any(arg in self.varying for arg in node.args):
            return apply_at(
                node.where, node.op, [self._value(arg) for arg in node.args], node.attrs
            )
        self.varying.add(node)
        if node.op == "gather":
            return self._gathered(node)
        if node.op == "broadcast":
            return self._repeated(node)
        attrs = _lifted_attrs(node, self.shape)
        if attrs is None:
            raise self._not_elementwise(node)
        return apply_at(node.where, node.op, [self._spread(arg) for arg in node.args], attrs)

    def _gathered(self, node: Node) -> Array:
        """Elements of a table that is the same for all, at indices of their own."""
        table, *indices = node.args
        if table in self.varying or node.attrs["axis"]:
            raise self._not_elementwise(node)
        operands = [self._value(table), *map(self._spread, indices)]
        return apply_at(node.where, "gather", operands, node.attrs)

    def _repeated(self, node: Node) -> Array:
        """New axes of one element stand behind the leading ones."""
        source = node.args[0]
        missing = len(node.shape) - len(source.shape)
        apart = (*self.shape, *(1,) * missing, *source.shape)
        value = apply("reshape", self._spread(source), shape=apart)
        return broadcast_to(value, (*self.shape, *node.shape))

    def _not_elementwise(self, node: Node) -> ShapeError:
        return ShapeError(
            f"{self.name} takes {node.op} of its elements, which broadcast cannot lift",
            where=node.where,
            hint="a function that is broadcast must be elementwise: scalars in, scalars out",
        )


def _lifted_attrs(node: Node, shape: Shape) -> dict[str, Any] | None:
    """A node's attributes for arguments with leading axes of `shape`; None where there are none."""
    attrs = dict(node.attrs)
    count = len(shape)
    nothing = (0,) * count
    match node.op:
        case "reshape":
            attrs["shape"] = (*shape, *attrs["shape"])
        case "transpose":
            attrs["axes"] = (*range(count), *(count + axis for axis in attrs["axes"]))
        case "slice":
            attrs["start"] = (*nothing, *attrs["start"])
            attrs["size"] = (*shape, *attrs["size"])
            attrs["step"] = (*(1,) * count, *attrs["step"])
        case "pad":
            attrs["low"] = (*nothing, *attrs["low"])
            attrs["high"] = (*nothing, *attrs["high"])
        case "concat" | "cumulative":
            attrs["axis"] += count
        case _ if node.kind == "reduce" or node.op == "window":
            attrs["axes"] = tuple(count + axis for axis in attrs["axes"])
        case _ if node.kind not in ("map", "order"):
            return None
    return attrs


__all__ = ["broadcast"]
