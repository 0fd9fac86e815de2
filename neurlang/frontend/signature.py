"""What a call looks like to the compiler: dtypes, shapes and layouts of leaves, and structure."""

from __future__ import annotations

import dataclasses
import inspect
import operator
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from neurlang.errors import (
    ArgumentError,
    NeurlangError,
    RangeError,
    ShapeError,
    definition,
)
from neurlang.frontend.array import Array, apply, asarray, check_alive, check_class, lift
from neurlang.frontend.narrowing import Narrowed, narrowed_integers
from neurlang.frontend.raw_errors import named_lines
from neurlang.frontend.side_effects import watching
from neurlang.frontend.trace import Trace, tracing
from neurlang.frontend.tree import (
    Structure,
    flatten,
    flatten_call,
    flatten_named,
    path_names,
    unflatten,
)
from neurlang.ir.graph import Graph, Node
from neurlang.ir.types import FLOAT64, INT64, Type, check_dtype

SCALAR_DTYPES = {float: FLOAT64, int: INT64, bool: np.dtype(bool)}


class ShapeDtype:
    """Stands in for an array where only shape and dtype matter: `ShapeDtype((33, 65), "f4")`."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: int | Sequence[int], dtype: Any) -> None:
        sizes = (shape,) if isinstance(shape, int) else shape
        self.shape = tuple(operator.index(size) for size in sizes)
        self.dtype = check_dtype(dtype, "ShapeDtype")
        if any(size < 0 for size in self.shape):
            raise ShapeError(f"ShapeDtype has the shape {self.shape}", hint="sizes are 0 or more")

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

    def __str__(self) -> str:
        if self.scalar is not None:
            return self.scalar.__name__
        text = str(Type(self.dtype, self.shape))
        if self.order is None:
            return text
        return f"{text} with axes in the order {', '.join(map(str, self.order))}"

    def fits(self, other: LeafSpec) -> bool:
        """Whether a leaf of this spec can be given where the other is asked for: in any layout."""
        return replace(self, order=None) == replace(other, order=None)


Spelling = tuple[int, tuple[str, ...]]  # the number of positional arguments, the other's names


class Call(NamedTuple):
    """The arguments of a call: leaves that are traced, and the values that are static.

    The structure is one of (args, kwargs), or where a parameter is static, of {parameter: value};
    `spelling` says then how it was called.
    """

    leaves: tuple[Any, ...]
    structure: Structure
    static: tuple[tuple[str, Hashable], ...] = ()
    spelling: Spelling | None = None

    @property
    def by_parameter(self) -> bool:
        """Whether any parameter is static."""
        return self.spelling is not None

    def key(self) -> tuple[Any, ...]:
        """What programs are found by, together with the leaves' specs."""
        return (self.structure, *((name, static_key(value)) for name, value in self.static))


def static_key(value: Hashable) -> Hashable:
    """A key that tells 1 from 1.0 and True, and 0.0 from -0.0, which Python holds equal."""
    match value:
        case float():
            return (type(value), value.hex())
        case tuple():
            return (type(value), tuple(static_key(item) for item in value))
        case frozenset():
            return (type(value), frozenset(static_key(item) for item in value))
    if dataclasses.is_dataclass(value):
        fields = (field.name for field in dataclasses.fields(value) if field.compare)
        return (type(value), value, tuple(static_key(getattr(value, name)) for name in fields))
    return (type(value), value)


def leaf_spec(leaf: Any, path: str) -> LeafSpec:
    """What is compiled for; ArgumentError or DTypeError where the leaf cannot be an input."""
    if isinstance(leaf, np.ndarray | np.generic):
        if type(leaf) is not np.ndarray:
            check_class(leaf, f"argument {path}")
        dtype = check_dtype(leaf.dtype, f"argument {path}")
        return LeafSpec(dtype, leaf.shape, axis_order(leaf))
    if type(leaf) in SCALAR_DTYPES:
        if type(leaf) is int and not -(2**63) <= leaf < 2**63:
            raise RangeError(
                f"argument {path} is {leaf}, which does not fit 64 bits",
                hint="pass a float, or np.uint64(x) where it is below 2**64",
            )
        return LeafSpec(SCALAR_DTYPES[type(leaf)], (), None, type(leaf))
    if isinstance(leaf, Array):
        check_alive(leaf)
        return LeafSpec(leaf.dtype, leaf.shape, None, None if leaf.shape else leaf.weak)
    if isinstance(leaf, ShapeDtype):
        return LeafSpec(leaf.dtype, leaf.shape)
    raise ArgumentError(
        f"argument {path} is a {type(leaf).__name__}, which cannot be traced",
        hint=_untraceable_hint(leaf, path),
    )


def _untraceable_hint(leaf: Any, path: str) -> str:
    """What to do with a leaf that is neither an array nor a number."""
    if not isinstance(leaf, Hashable):
        return "pass an array or a number"  # without a hash it cannot be static either
    if path.isidentifier():
        return f"pass an array or a number, or make it static: jit(static_argnames={path!r})"
    return "pass it as an argument of its own, and make that static: jit(static_argnames=)"


def leaf_specs(call: Call, signature: inspect.Signature | None) -> tuple[LeafSpec, ...]:
    """The specs of a call's leaves; an error names the argument."""
    try:
        return tuple(leaf_spec(leaf, "") for leaf in call.leaves)
    except NeurlangError:
        paths = leaf_paths(call, signature)
    return tuple(leaf_spec(leaf, path) for leaf, path in zip(call.leaves, paths))


def axis_order(array: Any) -> tuple[int, ...] | None:
    """The order of axes in which an array is contiguous, where that is not the usual one."""
    if array.ndim < 2 or array.flags.c_contiguous or not array.size:
        return None
    order = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return order if array.transpose(order).flags.c_contiguous else None


def normalized(leaf: Any, spec: LeafSpec) -> Any:
    """The leaf as the program reads it: contiguous, aligned, in native byte order."""
    if isinstance(leaf, ShapeDtype):
        raise ArgumentError(
            f"a call was given {leaf}, which has no value",
            hint="call it with an array; trace, lower and compile take shapes and dtypes",
        )
    if isinstance(leaf, Array):
        leaf = leaf.value("an argument") if spec.scalar is None else leaf.item()
    if spec.scalar is not None:
        return leaf
    array = np.asarray(leaf)
    if spec.order is not None:
        array = array.transpose(spec.order)
    return np.require(array, spec.dtype, ("C", "A"))


Place = int | tuple[int, ...] | dict[str, int]  # one value of a call, or those of *args, **kwargs


@dataclass(frozen=True)
class Layout:
    """Where parameters find their values in (*positional, *keywords, *defaults) of a call."""

    static: tuple[tuple[str, Place], ...]
    traced: tuple[tuple[str, Place], ...]
    defaults: tuple[Any, ...]


class Binder:
    """Takes calls of one function apart: static arguments from traced ones, and these into leaves.

    Which parameter gets which argument depends only on the number of positional arguments and the
    names of the others, so it is found once for each.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static_names: frozenset[str],
        signature: inspect.Signature | None,
    ) -> None:
        self.function = function
        self.static_names = static_names
        self.signature = signature
        self.layouts: dict[Spelling, Layout] = {}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """The leaves of a call, their structure, and the static values."""
        if not self.static_names:
            return Call(*flatten_call(args, kwargs))
        spelling = (len(args), tuple(kwargs))
        layout = self.layouts.get(spelling)
        if layout is None:
            layout = self.layouts[spelling] = self._layout(*spelling)
        values = (*args, *kwargs.values(), *layout.defaults)
        static = tuple([(name, _fill(place, values)) for name, place in layout.static])
        for name, value in static:
            check_static(name, value)
        traced = {name: _fill(place, values) for name, place in layout.traced}
        return Call(*flatten_named(traced), static, spelling)

    def _layout(self, count: int, names: tuple[str, ...]) -> Layout:
        keywords = {name: count + number for number, name in enumerate(names)}
        bound = bound_arguments(self.function, tuple(range(count)), keywords, self.signature)
        places = dict(bound.arguments)
        parameters = bound.signature.parameters
        defaults: list[Any] = []
        for name in self.static_names - places.keys():
            if parameters[name].default is not inspect.Parameter.empty:
                places[name] = count + len(names) + len(defaults)
                defaults.append(parameters[name].default)
        found = [(name, places[name]) for name in parameters if name in places]
        return Layout(
            tuple(pair for pair in found if pair[0] in self.static_names),
            tuple(pair for pair in found if pair[0] not in self.static_names),
            tuple(defaults),
        )


def _fill(place: Place, values: Sequence[Any]) -> Any:
    """What a parameter gets of a call."""
    match place:
        case int():
            return values[place]
        case tuple():
            return tuple([values[number] for number in place])
        case dict():
            return {name: values[number] for name, number in place.items()}


def check_static(name: str, value: Any) -> None:
    """ArgumentError where a static argument has no hash."""
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            f"the static argument {name} is a {type(value).__name__}, which has no hash",
            hint="static arguments are part of the cache's key: pass a tuple or a number",
        ) from None


def bound_arguments(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    signature: inspect.Signature | None,
) -> inspect.BoundArguments:
    """The arguments by parameter; ArgumentError where the function does not take them."""
    signature = signature or inspect.signature(lambda *args, **kwargs: None)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(function, "__name__", "function")
        raise ArgumentError(f"{name}: {error}", hint=f"it is {name}{signature}") from None


def rebuild_arguments(
    call: Call, leaves: Sequence[Any], signature: inspect.Signature | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with other leaves in the places of the call's."""
    tree = unflatten(call.structure, leaves)
    if not call.by_parameter:
        args, kwargs = tree
        return args, kwargs
    assert signature is not None
    values = OrderedDict({**tree, **dict(call.static)})
    bound = inspect.BoundArguments(signature, values)
    return bound.args, bound.kwargs


def leaf_paths(call: Call, signature: inspect.Signature | None) -> list[str]:
    """How the function reaches each leaf: `x`, `params['w'][0]`, `args[1]`."""
    parameters = list(signature.parameters.values()) if signature is not None else []
    positional = [p.name for p in parameters if p.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD]
    rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    paths = []
    for path in path_names(call.structure, ""):
        if call.by_parameter:
            name, inside = _first_key(path)
        else:
            kind, path = _first_key(path)
            name, inside = _first_key(path)
            if kind == "0" and int(name) < len(positional):
                name = positional[int(name)]
            elif kind == "0":
                variable = rest[0] if rest else "args"
                name = f"{variable}[{int(name) - len(positional)}]"
        paths.append(name + inside)
    return paths


def _first_key(path: str) -> tuple[str, str]:
    """`['w'][0].x` as `w` and `[0].x`."""
    key, inside = path[1:].split("]", 1)
    return key.strip("'"), inside


def leaf_names(call: Call, signature: inspect.Signature | None) -> list[str]:
    """Names of the leaves as identifiers: `x`, `params_w_0`, `args_1`."""
    names: dict[str, None] = {}
    for path in leaf_paths(call, signature):
        name = "_".join(re.findall(r"[A-Za-z0-9_]+", path))
        if not name or name[0].isdigit():
            name = "x" + name
        while name in names:
            name += "_"
        names[name] = None
    return list(names)


def difference(
    old: Call,
    old_specs: Sequence[LeafSpec],
    new: Call,
    new_specs: Sequence[LeafSpec],
    signature: inspect.Signature | None,
) -> str:
    """Why one call's program does not do for another: `x changed from f32[64] to f32[65]`."""
    if old.structure != new.structure:
        return "the arguments have another structure"
    before = dict(old.static)
    for name, value in new.static:
        if name not in before or static_key(before[name]) != static_key(value):
            return f"the static argument {name} changed from {before.get(name)!r} to {value!r}"
    for path, was, now in zip(leaf_paths(new, signature), old_specs, new_specs):
        if was != now:
            return f"{path} changed from {was} to {now}"
    return "the options changed"


@dataclass(frozen=True)
class Traced:
    """A function's graph for one signature, and how its results are put together."""

    graph: Graph
    structure: Structure
    specs: tuple[LeafSpec, ...]
    narrowed: tuple[Narrowed, ...] = ()

    def check(self, leaves: Sequence[Any]) -> None:
        """RangeError where a Python integer does not fit a dtype that it meets, as in NumPy 2."""
        for narrowed in self.narrowed:
            narrowed.check(leaves)


def trace_function(
    function: Callable[..., Any],
    call: Call,
    specs: Sequence[LeafSpec],
    signature: inspect.Signature | None,
) -> Traced:
    """Run the function once on traced arrays; nothing is computed."""
    bound_arguments(function, *rebuild_arguments(call, specs, signature), signature)
    name = getattr(function, "__name__", "function")
    trace = Trace(name)
    names = leaf_names(call, signature)
    where = definition(function)
    params: list[Node] = []
    with tracing(trace), named_lines(), watching(function, dict(call.static)):
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
    graph = Graph(name, tuple(params), nodes, tuple(outputs))
    return Traced(graph, structure, tuple(specs), tuple(narrowed_integers(trace, params)))


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
