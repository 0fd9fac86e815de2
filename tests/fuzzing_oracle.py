"""What a graph may give: NumPy's values node by node, with bounds where bits are not promised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from fuzzing import ELEMENTARY, is_loose, is_smooth

from neurlang.ir.graph import Graph, Node
from neurlang.ir.interpret import RULES, evaluate_node
from neurlang.ir.types import Type

Bound = Any  # None where every bit is promised, else the largest absolute difference per element
FLOAT64 = np.dtype("float64")


def wide(dtype: Any) -> Any:
    """A dtype of more precision."""
    return np.float64 if dtype == np.float32 else np.longdouble


def differences(actual: Any, expected: Any, bound: Bound) -> Any:
    """Where two arrays of one shape and dtype differ by more than the bound."""
    if bound is None:
        if actual.dtype.kind != "f":
            return actual != expected
        bits = np.dtype(f"u{actual.dtype.itemsize}")
        equal = np.ascontiguousarray(actual).view(bits) == np.ascontiguousarray(expected).view(bits)
        return ~(equal | (np.isnan(actual) & np.isnan(expected)))
    with np.errstate(all="ignore"):
        close = np.abs(np.subtract(actual, expected, dtype=np.longdouble)) <= bound
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    return ~(same | close | np.isinf(bound))


def check(graph: Graph, inputs: Sequence[Any], outputs: Sequence[Any]) -> str:
    """What is wrong with the outputs; an empty text where nothing is.

    A node that is an output continues with the value that it had: so errors do not pile up, and
    the bits of what follows are known.
    """
    found = dict(zip(graph.outputs, outputs))
    values: dict[Node, Any] = dict(zip(graph.params, inputs))
    bounds: dict[Node, Bound] = dict.fromkeys(graph.params)
    for node in graph.nodes:
        if node.op != "param":
            args = [values[arg] for arg in node.args]
            with np.errstate(all="ignore"):
                values[node], bounds[node] = evaluate(node, args, [bounds[a] for a in node.args])
        if node not in found:
            continue
        actual = np.asarray(found[node])
        if actual.dtype != node.dtype or actual.shape != node.shape:
            return f"{node!r} is {actual.dtype}{actual.shape}"
        wrong = differences(actual, values[node], bounds[node])
        if wrong.any():
            return describe(node, wrong, actual, values[node], bounds[node])
        values[node], bounds[node] = actual, None
    return ""


def describe(node: Node, wrong: Any, actual: Any, expected: Any, bound: Bound) -> str:
    place = tuple(int(k[0]) for k in np.nonzero(np.atleast_1d(wrong)))
    place = place if wrong.ndim else ()
    allowed = "" if bound is None else f" (within {np.broadcast_to(bound, wrong.shape)[place]})"
    return (
        f"{node!r}: {int(wrong.sum())} of {wrong.size} elements are wrong; at {list(place)}: "
        f"{actual[place]!r} instead of {expected[place]!r}{allowed}"
    )


def evaluate(node: Node, args: list[Any], bounds: list[Bound]) -> tuple[Any, Bound]:
    """A node's value and how far from it a result may be."""
    if node.dtype.kind == "f" and (node.op in ELEMENTARY or node.op == "pow"):
        value, own = elementary(node, args)
    elif node.dtype.kind == "f" and node.op in ACCURATE:
        value, own = ACCURATE[node.op](node, *args)
    else:
        value = evaluate_node(node, args)
        own = np.zeros(()) if is_loose(node) else None
    if all(bound is None for bound in bounds):
        return value, own
    if not is_smooth(node):
        return value, np.full(node.shape, np.inf)  # the bits it depends on are not known
    passed = spread(node, value, args, bounds)
    total = passed if own is None else passed + own
    total = np.where(np.isnan(total), np.inf, total)
    limit = np.finfo(node.dtype).max
    finite = [np.isfinite(arg).all() for arg in args if arg.dtype.kind == "f"]
    near = ~np.isnan(value) & (np.abs(value.astype(np.longdouble)) + total > limit)
    overflowing = near & (total > 0) if all(finite) else near & (total > 0) & ~np.isinf(value)
    return value, np.where(overflowing, np.inf, total)


def spread(node: Node, value: Any, args: list[Any], bounds: list[Bound]) -> Any:
    """The bound of a result from the bounds of the arguments, to first order and rounded up."""
    errors = [
        np.zeros(a.shape) if b is None else np.broadcast_to(b, a.shape)
        for a, b in zip(args, bounds)
    ]
    info = np.finfo(node.dtype)
    rounding = 2 * info.eps * np.abs(value.astype(np.float64)) + float(info.smallest_subnormal)
    match node.op:
        case "add" | "sub":
            total = errors[0] + errors[1]
        case "mul":
            left, right = (np.abs(arg.astype(np.float64)) for arg in args)
            total = left * errors[1] + right * errors[0] + errors[0] * errors[1]
            total = np.where((errors[0] == 0) & (errors[1] == 0), 0.0, total)
        case "max" | "min":
            return np.maximum(errors[0], errors[1])
        case "neg":
            return errors[0]
        case "reduce_sum":
            total = errors[0].sum(axis=node.attrs["axes"])
        case "reduce_max" | "reduce_min":
            return errors[0].max(axis=node.attrs["axes"])
        case "cast":
            total = errors[0]
        case "gather":
            return errors[0][(*[slice(None)] * node.attrs["axis"], *args[1:])]
        case _:
            attrs: Mapping[str, Any] = {**node.attrs, "value": 0.0}
            moved = Node(node.op, node.args, attrs, Type(FLOAT64, node.shape))
            return np.asarray(RULES[node.op](moved, errors)).reshape(node.shape)
    return np.where(total == 0, 0.0, total * 1.0001 + rounding)


def elementary(node: Node, args: list[Any]) -> tuple[Any, Any]:
    """Within 4 ULP of NumPy, gelu within 20; float32 is computed in float64."""
    if node.dtype == np.float32:
        args = [arg.astype(np.float64) for arg in args]
        moved = Node(node.op, (), node.attrs, Type(FLOAT64, node.shape))
        value = evaluate_node(moved, args).astype(np.float32)
    else:
        value = evaluate_node(node, args)
    finite = np.where(np.isfinite(value), value, 0)
    allowed = 20.0 if node.op == "gelu" else 4.0
    return value, allowed * np.abs(np.spacing(np.abs(finite))).astype(np.float64)


def accurate_sum(node: Node, source: Any) -> tuple[Any, Any]:
    """Within (2 + log2 n) eps sum |x| (promise P4)."""
    axes = node.attrs["axes"]
    exact = source.astype(wide(node.dtype))
    count = int(np.prod([source.shape[axis] for axis in axes]))
    size = np.abs(np.where(np.isfinite(exact), exact, 0)).sum(axis=axes)
    info = np.finfo(node.dtype)
    value = exact.sum(axis=axes).astype(node.dtype)
    bound = (2 + np.log2(max(count, 1))) * info.eps * size
    return value, np.where(size > info.max, np.inf, bound).astype(np.float64)


def accurate_product(node: Node, source: Any) -> tuple[Any, Any]:
    """Within n eps of the product, where no partial product can overflow or be subnormal."""
    axes = node.attrs["axes"]
    exact = source.astype(np.longdouble)
    count = int(np.prod([source.shape[axis] for axis in axes]))
    info = np.finfo(node.dtype)
    finite = np.where(np.isfinite(exact) & (exact != 0), np.abs(exact), 1)
    high = np.maximum(finite, 1).prod(axis=axes)
    low = np.minimum(finite, 1).prod(axis=axes)
    value = exact.prod(axis=axes).astype(node.dtype)
    bound = np.where(np.isfinite(value), count * info.eps * np.abs(value), 0.0)
    return value, np.where((high > info.max) | (low < info.tiny), np.inf, bound).astype(np.float64)


def accurate_dot(node: Node, left: Any, right: Any) -> tuple[Any, Any]:
    """Within (k + 2) eps sum |a b|: each product is added once, in some order."""
    a, b = left.astype(wide(node.dtype)), right.astype(wide(node.dtype))
    depth = left.shape[-1]
    info = np.finfo(node.dtype)
    sizes = [np.abs(np.where(np.isfinite(x), x, 0)) for x in (a, b)]
    size = np.matmul(*sizes)
    value = np.matmul(a, b).astype(node.dtype)
    bound = (depth + 2) * (info.eps * size + info.smallest_subnormal)
    return value, np.where(size > info.max, np.inf, bound).astype(np.float64)


ACCURATE: dict[str, Callable[..., tuple[Any, Any]]] = {
    "reduce_sum": accurate_sum,
    "reduce_prod": accurate_product,
    "dot": accurate_dot,
}
