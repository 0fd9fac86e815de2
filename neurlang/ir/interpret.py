"""A graph run op by op with NumPy: the oracle, and what compiled code is benchmarked against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from neurlang.errors import ArgumentError, ShapeError
from neurlang.ir.failures import index_failure, power_failure
from neurlang.ir.graph import Graph, Node
from neurlang.ir.ops import CUMULATIVE, OPS, cast

Evaluate = Callable[[Node, Sequence[Any]], Any]

_ACCUMULATE: Mapping[str, Any] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _iota(node: Node, args: Sequence[Any]) -> Any:
    axis = node.attrs["axis"]
    index = np.arange(node.shape[axis]).astype(node.dtype)
    shape = [1] * len(node.shape)
    shape[axis] = -1
    return np.broadcast_to(index.reshape(shape), node.shape)


def _slice(node: Node, args: Sequence[Any]) -> Any:
    region = region_of(node.attrs["start"], node.attrs["size"], node.attrs["step"])
    return args[0][region]


def region_of(
    starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
) -> tuple[slice, ...]:
    """The slices that reach `sizes` elements from `starts` by `steps`, either sign."""
    slices = []
    for start, size, step in zip(starts, sizes, steps):
        stop = start + size * step
        slices.append(slice(start, None if stop < 0 else stop, step) if size else slice(0, 0))
    return tuple(slices)


def _pad(node: Node, args: Sequence[Any]) -> Any:
    result = np.full(node.shape, node.attrs["value"], node.dtype)
    result[region_of(node.attrs["low"], args[0].shape, [1] * args[0].ndim)] = args[0]
    return result


def _check_indices(indices: Any, size: int, node: Node) -> Any:
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise index_failure(node, size).error()
    return np.where(indices < 0, indices + size, indices)


def _gather(node: Node, args: Sequence[Any]) -> Any:
    source, *indices = args
    axis = node.attrs["axis"]
    sizes = source.shape[axis : axis + len(indices)]
    places = [_check_indices(index, size, node) for index, size in zip(indices, sizes)]
    if len(places) == 1:
        return np.take(source, places[0], axis=axis)
    return source[(*[slice(None)] * axis, *places)]


def _scatter(node: Node, args: Sequence[Any]) -> Any:
    base, indices, values = args
    result = base.copy()
    indices = _check_indices(indices, len(base), node)
    if node.attrs["mode"] == "set":
        for position in np.ndindex(indices.shape):
            result[indices[position]] = values[position]
    else:
        _ACCUMULATE[node.attrs["mode"]].at(result, indices, values)
    return result


def _update(node: Node, args: Sequence[Any]) -> Any:
    result = args[0].copy()
    result[region_of(node.attrs["start"], args[1].shape, node.attrs["step"])] = args[1]
    return result


def _power(node: Node, args: Sequence[Any]) -> Any:
    if node.dtype.kind == "i" and (args[1] < 0).any():
        raise power_failure(node).error()
    function = OPS["pow"].numpy
    assert function is not None
    return function(*args)


def _cumulative(node: Node, args: Sequence[Any]) -> Any:
    accumulate = _ACCUMULATE[CUMULATIVE[node.attrs["op"]]].accumulate
    return accumulate(args[0], axis=node.attrs["axis"], dtype=node.dtype)


def _reduce(node: Node, args: Sequence[Any]) -> Any:
    axes = node.attrs["axes"]
    function = OPS[node.op].numpy
    assert function is not None
    if not node.op.startswith("arg"):
        if node.op.endswith(("and", "or")):
            return function(args[0], axis=axes)
        return function(args[0], axis=axes, dtype=node.dtype)
    kept = [axis for axis in range(args[0].ndim) if axis not in axes]
    count = math.prod(args[0].shape[axis] for axis in axes)
    flat = np.transpose(args[0], (*kept, *axes)).reshape(*node.shape, count)
    return np.asarray(function(flat, axis=-1), np.int64)


def _window(node: Node, args: Sequence[Any]) -> Any:
    source = args[0]
    parts = [node.attrs[name] for name in ("axes", "size", "step", "dilation")]
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(parts[1], parts[3])]
    views = np.lib.stride_tricks.sliding_window_view(source, spans, parts[0])
    chosen = [slice(None)] * views.ndim
    for position, (axis, _, step, dilation) in enumerate(zip(*parts)):
        chosen[axis] = slice(None, None, step)
        chosen[source.ndim + position] = slice(None, None, dilation)
    return views[tuple(chosen)]


def _top_k(node: Node, args: Sequence[Any]) -> Any:
    """Descending and stable: the reverse of what sorts the reversed rows."""
    (x,) = args
    order = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return order[..., : node.attrs["count"]]


RULES: dict[str, Evaluate] = {
    "const": lambda node, args: np.broadcast_to(node.attrs["value"], node.shape),
    "iota": _iota,
    "cast": lambda node, args: cast(args[0], node.dtype),
    "pow": _power,
    "bitcast": lambda node, args: np.ascontiguousarray(args[0]).view(node.dtype),
    "reshape": lambda node, args: np.reshape(args[0], node.shape),
    "transpose": lambda node, args: np.transpose(args[0], node.attrs["axes"]),
    "broadcast": lambda node, args: np.broadcast_to(args[0], node.shape),
    "slice": _slice,
    "window": _window,
    "pad": _pad,
    "concat": lambda node, args: np.concatenate(args, axis=node.attrs["axis"]),
    "dot": lambda node, args: np.matmul(*args),
    "gather": _gather,
    "scatter": _scatter,
    "update": _update,
    "sort": lambda node, args: np.sort(args[0], axis=-1, kind="stable"),
    "argsort": lambda node, args: np.argsort(args[0], axis=-1, kind="stable"),
    "top_k": _top_k,
    "cumulative": _cumulative,
}


def evaluate_node(node: Node, args: Sequence[Any]) -> Any:
    """The value of one node for given argument values."""
    rule = RULES.get(node.op)
    if rule is None and node.kind == "reduce":
        rule = _reduce
    if rule is not None:
        value = rule(node, args)
    else:
        function = OPS[node.op].numpy
        assert function is not None
        value = function(*args)
    value = np.asarray(value, node.dtype)
    return value.reshape(node.shape) if value.shape != node.shape else value


class HasGraph(Protocol):
    """What a graph was traced for, like `Traced`."""

    @property
    def graph(self) -> Graph: ...


def interpret(graph: Graph | HasGraph, *args: Any) -> Any:
    """Run a graph, or that of a traced function, op by op with NumPy.

    `args` are arrays of the parameters' shapes and dtypes, captured ones left out. Returns one
    array, or a tuple where the graph has several outputs. ShapeError where they do not fit.
    """
    graph = graph if isinstance(graph, Graph) else getattr(graph, "graph", graph)
    if not isinstance(graph, Graph):
        raise ArgumentError(
            f"interpret takes a graph, not {type(graph).__name__}",
            hint="trace a function first: interpret(jit(function).trace(x), x)",
        )
    values: dict[Node, Any] = {}
    supplied = (*args, *graph.captured)
    if len(supplied) != len(graph.params):
        raise ShapeError(f"graph {graph.name} takes {len(graph.params)} arrays, not {len(args)}")
    for param, given in zip(graph.params, supplied):
        array = np.asarray(given)
        if array.shape != param.shape or array.dtype != param.dtype:
            raise ShapeError(
                f"{param.attrs['name']} is {array.dtype}{array.shape}, the graph takes {param.type}"
            )
        values[param] = array
    remaining: dict[Node, int] = {}
    for node in graph.nodes:
        for arg in node.args:
            remaining[arg] = remaining.get(arg, 0) + 1
    keep = {*graph.outputs}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op == "param":
                continue
            values[node] = evaluate_node(node, [values[arg] for arg in node.args])
            for arg in node.args:
                remaining[arg] -= 1
                if not remaining[arg] and arg not in keep:
                    values.pop(arg, None)
    results = tuple(np.array(values[node]) for node in graph.outputs)
    return results[0] if len(results) == 1 else results
