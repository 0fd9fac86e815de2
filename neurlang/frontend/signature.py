"""What a call looks like to the compiler: dtypes, shapes and layouts of leaves, and structure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.errors import ArgumentError, Where
from neurlang.frontend.array import Array, apply, asarray, check_alive, lift
from neurlang.frontend.side_effects import watching
from neurlang.frontend.trace import Trace, tracing
from neurlang.frontend.tree import Structure, flatten, path_names, unflatten
from neurlang.ir.graph import Graph, Node
from neurlang.ir.types import FLOAT64, INT64, Type, check_dtype

SCALAR_DTYPES = {float: FLOAT64, int: INT64, bool: np.dtype(bool)}


class ShapeDtype:
    """Stands in for an array where only shape and dtype matter: `ShapeDtype((33, 65), "f4")`."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype = check_dtype(dtype, "ShapeDtype")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShapeDtype):
            return NotImplemented
        return (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"ShapeDtype({self.shape}, {self.dtype})"


@dataclass(frozen=True, slots=True)
class LeafSpec:
    """One leaf of the arguments. `order` lists an array's axes from the slowest to the fastest;
    `scalar` is the Python type of a scalar, whose value is traced and weakly typed."""

    dtype: Any
    shape: tuple[int, ...]
    order: tuple[int, ...] | None = None
    scalar: type | None = None


@dataclass(frozen=True)
class Call:
    """The arguments of a call: leaves that are traced, and the values that are static."""

    leaves: tuple[Any, ...]
    structure: Structure
    static: tuple[tuple[str | int, Hashable], ...]

    def key(self) -> tuple[Any, ...]:
        return (self.structure, self.static)


def leaf_spec(leaf: Any, name: str) -> LeafSpec:
    """What is compiled for; ArgumentError or DTypeError where the leaf cannot be an input."""
    if type(leaf) is np.ndarray or isinstance(leaf, np.ndarray | np.generic):
        dtype = check_dtype(leaf.dtype, f"argument {name}")
        return LeafSpec(dtype, leaf.shape, axis_order(leaf))
    if type(leaf) in SCALAR_DTYPES:
        return LeafSpec(SCALAR_DTYPES[type(leaf)], (), None, type(leaf))
    if isinstance(leaf, ShapeDtype | Array):
        return LeafSpec(leaf.dtype, leaf.shape)
    raise ArgumentError(
        f"argument {name} is a {type(leaf).__name__}, which cannot be traced",
        hint="pass an array or a number, or name it in static_argnames",
    )


def axis_order(array: Any) -> tuple[int, ...] | None:
    """The order of axes in which an array is contiguous, where that is not the usual one."""
    if array.ndim < 2 or array.flags.c_contiguous or not array.size:
        return None
    order = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return order if array.transpose(order).flags.c_contiguous else None


def normalized(leaf: Any, spec: LeafSpec) -> Any:
    """The leaf as the program reads it: contiguous, aligned, in native byte order."""
    if spec.scalar is not None:
        return leaf
    if isinstance(leaf, Array):
        leaf = leaf.value("an argument")
    array = np.asarray(leaf)
    if spec.order is not None:
        array = array.transpose(spec.order)
    return np.require(array, spec.dtype, ("C", "A"))


def bind(
    function: Callable[..., Any],
    static_names: frozenset[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    signature: inspect.Signature | None,
) -> Call:
    """Separate static from traced arguments and take the latter apart."""
    if not static_names:
        leaves, structure = flatten((args, kwargs))
        return Call(tuple(leaves), structure, ())
    assert signature is not None
    bound = signature.bind(*args, **kwargs)
    static = []
    traced = {}
    for name, value in bound.arguments.items():
        if name not in static_names:
            traced[name] = value
            continue
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                f"the static argument {name} is a {type(value).__name__}, which has no hash",
                hint="static arguments are part of the cache's key: pass a tuple or a number",
            ) from None
        static.append((name, value))
    leaves, structure = flatten(traced)
    return Call(tuple(leaves), structure, tuple(static))


def rebuild_arguments(
    call: Call, leaves: Sequence[Any], signature: inspect.Signature | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with other leaves in the places of the call's."""
    tree = unflatten(call.structure, leaves)
    if not call.static:
        args, kwargs = tree if signature is None or isinstance(tree, tuple) else ((), tree)
        return tuple(args), dict(kwargs)
    assert signature is not None
    values = {**tree, **dict(call.static)}
    bound = inspect.BoundArguments(signature, values)  # type: ignore[arg-type]
    return bound.args, bound.kwargs


def leaf_names(call: Call, signature: inspect.Signature | None) -> list[str]:
    """Names of the leaves as identifiers: the parameter's name and the path inside it."""
    paths = path_names(call.structure, "")
    names = []
    parameters = list(signature.parameters) if signature is not None else []
    for path in paths:
        parts = re.findall(r"[A-Za-z0-9_]+", path)
        if not call.static and parts and parts[0] == "0" and len(parts) > 1:
            position = int(parts[1])
            if position < len(parameters):
                parts[1] = parameters[position]
            parts = parts[1:]
        elif not call.static and parts and parts[0] == "1":
            parts = parts[1:]
        name = "_".join(parts) or "x"
        if name[0].isdigit():
            name = "x" + name
        while name in names:
            name += "_"
        names.append(name)
    return names


@dataclass(frozen=True)
class Traced:
    """A function's graph for one signature, and how its results are put together."""

    graph: Graph
    structure: Structure
    specs: tuple[LeafSpec, ...]


def trace_function(
    function: Callable[..., Any],
    call: Call,
    specs: Sequence[LeafSpec],
    signature: inspect.Signature | None,
) -> Traced:
    """Run the function once on traced arrays; nothing is computed."""
    name = getattr(function, "__name__", "function")
    trace = Trace(name)
    names = leaf_names(call, signature)
    where = _definition(function)
    params: list[Node] = []
    with tracing(trace), watching(function):
        inputs = []
        for spec, leaf_name in zip(specs, names):
            shape = spec.shape
            if spec.order is not None:
                shape = tuple(spec.shape[axis] for axis in spec.order)
            node = Node("param", (), {"name": leaf_name}, Type(spec.dtype, shape), where)
            params.append(trace.record(node))
            weak = spec.scalar if spec.scalar in (int, float) else None
            array = Array(node, trace, weak)
            if spec.order is not None:
                inverse = tuple(int(axis) for axis in np.argsort(spec.order))
                array = apply("transpose", array, axes=inverse)
            inputs.append(array)
        args, kwargs = rebuild_arguments(call, inputs, signature)
        result = function(*args, **kwargs)
        leaves, structure = flatten(result)
        outputs = [_output(leaf, trace, name) for leaf in leaves]
    nodes = tuple(dict.fromkeys((*params, *trace.nodes)))
    return Traced(Graph(name, tuple(params), nodes, tuple(outputs)), structure, tuple(specs))


def _output(leaf: Any, trace: Trace, name: str) -> Node:
    if isinstance(leaf, Array):
        check_alive(leaf)
        return lift(leaf, trace)
    if isinstance(leaf, np.ndarray | np.generic) or type(leaf) in SCALAR_DTYPES:
        return asarray(leaf).node
    raise ArgumentError(
        f"{name} returns a {type(leaf).__name__}, which is neither an array nor a number",
        hint="return arrays, numbers, and lists, tuples or dicts of them",
    )


def _definition(function: Callable[..., Any]) -> Where | None:
    code = getattr(function, "__code__", None)
    return None if code is None else Where(code.co_filename, code.co_firstlineno)
