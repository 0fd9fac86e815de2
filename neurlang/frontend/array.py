"""`Array`: the one array type. Traced, lazy or a result, it holds a node and perhaps a value.

Everything that users call is composed from four functions here: `asarray` lifts values, `promote`
brings operands to one shape and dtype by NumPy's rules, `apply` makes a node, `broadcast_to`
repeats. Operators, methods and NumPy's protocols are added in `protocols`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neurlang.errors import (
    ArgumentError,
    ConcreteValueError,
    DTypeError,
    LeakedTracerError,
    NeurlangError,
    RangeError,
    ShapeError,
    Where,
    user_line,
)
from neurlang.frontend.lazy import (
    Prepare,
    Work,
    keep_result,
    known_value,
    pending_work,
    recall,
    remember,
)
from neurlang.frontend.trace import Trace, current_trace
from neurlang.ir.graph import Graph, Node, is_splat, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.types import INT64, DType, Shape, Type, check_dtype
from neurlang.runtime.entry import EntryMiss

PYTHON_SCALARS = (bool, int, float)
Operand = Any  # an Array, a NumPy array or scalar, a Python scalar, or nested lists of them

_executor: list[Any] = []


def set_executor(
    run: Callable[[Graph], tuple[Any, ...]],
    prepare: Prepare | None = None,
) -> None:
    """Tell lazy arrays how a graph is run; the pipeline sits above this module.

    `run` gives a graph's results for its captured values. `prepare` gives what does equal work with
    other values from then on, or None.
    """
    _executor[:] = [run, prepare]


class Array:
    """An n-dimensional array: shape and dtype are known at once, the value when it is asked for.

    Inside a jitted function it stands for a value of the trace; outside, it is lazy: its work runs
    when it is turned into a NumPy array, printed, converted or executed, and runs once.
    """

    # `known` is the value that native calls read; None where it is not known, or a Python number.
    __slots__ = ("__weakref__", "known", "node", "traced_by", "weak")
    __hash__ = None  # type: ignore[assignment]  # equality is elementwise, as in NumPy

    def __init__(self, node: Node, trace: Trace | None = None, weak: type | None = None) -> None:
        self.node = node
        self.traced_by = trace
        if trace is not None:
            trace.arrays.append(weakref.ref(self))
        self.weak = weak
        self.known: Any = None

    @property
    def shape(self) -> Shape:
        return self.node.type.shape

    @property
    def dtype(self) -> DType:
        return self.node.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.node.type.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.node.type.nbytes

    @property
    def graph(self) -> Graph:
        """What this array depends on, as a graph whose leaves are its parameters."""
        return pending_work([self.node]).graph()

    def execute(self) -> Array:
        """Run the pending work, once; returns this array."""
        execute([self])
        return self

    def value(self, wanted: str) -> Any:
        """The NumPy array; ConcreteValueError, naming what was wanted, inside a trace."""
        if self.known is not None:
            return self.known
        if self.traced_by is not None:
            check_alive(self)
            raise ConcreteValueError(
                f"{wanted} needs the value of {self.node.type}, which is only traced",
                origin=self.node.where,
                hint=CONCRETE_HINTS.get(wanted, "compute it with array functions, or outside jit"),
            )
        return execute([self])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.value("np.asarray"), dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.value("a branch"))

    def __float__(self) -> float:
        return float(self.value("float()"))

    def __int__(self) -> int:
        return int(self.value("int()"))

    def __complex__(self) -> complex:
        return complex(self.value("complex()"))

    def __index__(self) -> int:
        value = self.value("an index or a range")
        return int(value.__index__())

    def item(self) -> Any:
        """The only element as a Python scalar."""
        return self.value("item()").item()

    def tolist(self) -> Any:
        """The elements as nested lists."""
        return self.value("tolist()").tolist()

    def __reduce__(self) -> Any:
        return _unpickled, (self.value("pickling"), self.weak)

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError(f"{self.node.type} has no length", hint="it has no axis")
        return self.shape[0]

    def __repr__(self) -> str:
        if self.traced_by is not None:
            return f"Array(traced {self.node.type})"
        text = np.array2string(self.value("repr()"), separator=", ", prefix="Array(")
        return f"Array({text}, {self.node.type})"

    def __str__(self) -> str:
        return repr(self) if self.traced_by is not None else str(self.value("str()"))


def _unpickled(value: Any, weak: type | None) -> Array:
    """An array that was pickled; a Python number stays weakly typed."""
    found = asarray(value)
    return found if weak is None else Array(found.node, found.traced_by, weak)


CONCRETE_HINTS = {
    "a branch": "use where(condition, a, b), or mark the argument static (static_argnames=)",
    "float()": "use astype('float64'), or mark the argument static (static_argnames=)",
    "int()": "use astype('int64'), or mark the argument static (static_argnames=)",
    "an index or a range": "mark the argument static (static_argnames=)",
    "np.asarray": "use nl.take(table, i), nl.full, x.astype or nl.stack, which take traced arrays",
}


def check_alive(array: Array) -> None:
    """LeakedTracerError where the array's trace has ended."""
    if array.traced_by is not None and not array.traced_by.active:
        raise LeakedTracerError(
            f"a traced array {array.node.type} outlived the trace of {array.traced_by.name}",
            origin=array.node.where,
            hint="return it from the function instead of storing it elsewhere",
        )


def execute(arrays: Sequence[Array]) -> list[Any]:
    """The values of lazy arrays; all pending work among them runs as one program."""
    for array in arrays:
        check_alive(array)
    values = {array.node: known_value(array.node) for array in arrays}
    pending = [node for node, value in values.items() if value is None]
    if pending:
        values |= zip(pending, map(keep_result, pending, _run(pending_work(pending))))
    for array in arrays:
        if array.known is None and (array.weak is None or array.shape):
            array.known = values[array.node]
    return [values[array.node] for array in arrays]


def _run(work: Work) -> Sequence[Any]:
    """The results of pending work, as one program."""
    run, prepare = _executor
    values = tuple(work.leaves.values())
    program = None if prepare is None else recall(work)
    if program is not None:
        try:
            return program(*values)
        except EntryMiss:
            pass  # a failure, which is looked into below
    graph = work.graph()
    results: Sequence[Any] = run(replace(graph, captured=values))
    if prepare is not None and program is None:
        remember(work, graph, prepare)
    return results


def lift(array: Array, trace: Trace | None) -> Node:
    """The array's node in the current trace; an outside array becomes a constant of it."""
    check_alive(array)
    if array.traced_by is not None and trace is None:
        raise LeakedTracerError(
            f"a traced array {array.node.type} of {array.traced_by.name} is used in another thread",
            origin=array.node.where,
            hint="use it in the thread that traces the function",
        )
    if array.traced_by is not None or trace is None:
        return array.node
    if array.node.op == "const":
        return trace.capture(array, array.node)
    return trace.capture(array, make_constant(execute([array])[0].copy(), where=user_line()))


def apply(op: str, /, *operands: Array, weak: type | None = None, **attrs: Any) -> Array:
    """A new array: one primitive op over arrays whose shapes and dtypes already fit it."""
    return apply_at(user_line(), op, operands, attrs, weak)


def apply_at(
    where: Where | None,
    op: str,
    operands: Sequence[Array],
    attrs: Mapping[str, Any],
    weak: type | None = None,
) -> Array:
    """`apply` for an operation that another line of the user's stands behind."""
    trace = current_trace()
    node = make_node(op, [lift(operand, trace) for operand in operands], where, **attrs)
    if trace is not None:
        trace.record(node)
    return Array(node, trace, weak)


def constant(value: Any, type: Type | None = None, weak: type | None = None) -> Array:
    """A constant array; with `type`, a 0-d value that fills a shape."""
    trace = current_trace()
    node = make_constant(value, type, user_line())
    if trace is not None:
        trace.record(node)
    array = Array(node, trace, weak)
    if trace is None and weak is None and type is None:
        array.known = node.attrs["value"]
    return array


def full(shape: Shape, value: Any, dtype: DType) -> Array:
    """A splat: `value` everywhere."""
    return constant(np.array(value, dtype), Type(dtype, shape))


def asarray(x: Operand, dtype: Any = None) -> Array:
    """`x` as an Array: a NumPy array or scalar, a Python scalar, an Array, or nested lists.

    The value is copied: later changes of `x` do not show. It has a dtype of its own, as what
    `np.asarray` makes; functions that let Python scalars take the dtype of other operands lift
    with `as_operand`. DTypeError for dtypes that neurlang does not support. RangeError where
    `dtype` does not hold a Python integer. ShapeError for ragged lists.
    """
    if dtype is not None:
        return _as_dtype(x, check_dtype(dtype))
    if isinstance(x, Array):
        return x if x.weak is None else Array(x.node, x.traced_by)
    if type(x) in PYTHON_SCALARS:
        return constant(python_scalar(x))
    if isinstance(x, list | tuple) and _contains_array(x):
        return _stack_nested(x)
    check_class(x, "this value")
    return _capture(_numpy_array(x))


def as_weak_array(x: Operand) -> Array:
    """`x` as an Array that stays weakly typed where `x` is a Python number or stands for one."""
    if isinstance(x, Array):
        return x
    found = asarray(x)
    return Array(found.node, found.traced_by, type(x)) if type(x) in (int, float) else found


def _as_dtype(x: Operand, dtype: DType) -> Array:
    """`x` as an Array of a dtype, which must hold the Python integers in it."""
    if type(x) is int or (isinstance(x, list | tuple) and not _contains_array(x)):
        return _capture(python_numbers(x, dtype))
    found = as_weak_array(x)
    return convert(found, dtype, found.shape)


def python_numbers(x: Any, dtype: DType) -> Any:
    """Python numbers as a NumPy array; RangeError where `dtype` does not hold an integer."""
    try:
        return _numpy_array(x, dtype)
    except OverflowError as error:
        raise RangeError(
            f"{error}", hint="convert the array with astype first, as NumPy 2 demands"
        ) from None


def _numpy_array(x: Any, dtype: DType | None = None) -> Any:
    """A NumPy array of any value; ShapeError or DTypeError where there is none."""
    try:
        return np.asarray(x) if dtype is None else np.array(x, dtype)
    except (TypeError, ValueError) as error:
        if isinstance(error, NeurlangError):
            raise
        cause = error
    if "inhomogeneous" in str(cause):
        raise ShapeError(
            "a nested list is no array: its rows have different lengths",
            hint="give all rows the same length",
        ) from None
    raise DTypeError(
        f"this {type(x).__name__} cannot be made an array: {cause}",
        hint="use numbers, or nested lists of them",
    ) from None


def python_scalar(x: bool | int | float) -> Any:
    """A Python scalar as the NumPy scalar of its default dtype."""
    try:
        return np.asarray(x)[()] if not isinstance(x, int) or isinstance(x, bool) else np.int64(x)
    except OverflowError:
        raise RangeError(
            f"the Python integer {x} does not fit 64 bits", hint="use a float or a smaller integer"
        ) from None


def check_class(value: Any, what: str) -> None:
    """ArgumentError for subclasses of ndarray whose operations differ from an array's."""
    if isinstance(value, np.ma.MaskedArray | np.matrix):
        raise ArgumentError(
            f"{what} is a {type(value).__name__}, which is not computed like an array",
            hint="pass its array: np.asarray(x), or x.data and x.mask",
        )


def _capture(value: Any) -> Array:
    dtype = check_dtype(value.dtype, "this array")
    trace = current_trace()
    if trace is not None and value.ndim:
        node = make_constant(np.array(value, dtype, order="C"), where=user_line())
        return Array(trace.capture(value, node), trace)
    return constant(np.array(value, dtype, order="C"))


def _contains_array(items: Sequence[Any]) -> bool:
    return any(
        isinstance(item, Array) or (isinstance(item, list | tuple) and _contains_array(item))
        for item in items
    )


def _stack_nested(items: Sequence[Any]) -> Array:
    """Nested lists that hold arrays: stacked along new leading axes."""
    parts = promote("array", [asarray(item) for item in items])
    rows = [reshape(part, (1, *part.shape)) for part in parts]
    return apply("concat", *rows, axis=0)


def reshape(x: Array, shape: Shape) -> Array:
    """Reshape to exactly `shape`; nothing is recorded where it is that already."""
    return x if x.shape == shape else apply("reshape", x, shape=shape)


def cast(x: Array, dtype: DType) -> Array:
    """Convert to `dtype`; nothing is recorded where it is that already."""
    if x.dtype == dtype:
        return x if x.weak is None else Array(x.node, x.traced_by)
    return apply("cast", x, dtype=dtype)


def broadcast_to(x: Array, shape: Shape) -> Array:
    """Repeat to exactly `shape` by NumPy's rule; nothing is recorded where it fits already."""
    return x if x.shape == shape else apply("broadcast", x, shape=shape)


def weak_value(x: Any) -> Any:
    """What NumPy's promotion should see: a dtype, or for weakly typed operands a Python scalar."""
    if isinstance(x, Array):
        return x.dtype if x.weak is None else x.weak(0)
    if type(x) in PYTHON_SCALARS:
        return x if isinstance(x, bool) else type(x)(0)
    return check_dtype(_numpy_array(x).dtype)


def result_dtype(*operands: Operand) -> DType:
    """NumPy 2's promotion: Python scalars take the dtype of the arrays they meet."""
    values = [weak_value(operand) for operand in operands]
    if all(isinstance(value, bool) for value in values):
        return np.dtype(bool)
    return np.dtype(np.result_type(*values))


def result_weak(*operands: Operand) -> type | None:
    """The Python type of a result whose operands are all weakly typed."""
    kinds = []
    for operand in operands:
        weak = operand.weak if isinstance(operand, Array) else None
        if type(operand) in (int, float):
            weak = type(operand)
        kinds.append(weak)
    if None in kinds or not kinds:
        return None
    return float if float in kinds else int


def common_shape(name: str, operands: Sequence[Operand]) -> Shape:
    """The shape that operands broadcast to; ShapeError names them all."""
    shapes = {operand.shape for operand in operands if isinstance(operand, Array)}
    if len(shapes) <= 1:
        return shapes.pop() if shapes else ()
    sizes = []
    for axis in range(-max(map(len, shapes)), 0):
        found = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(found) > 1:
            types = [str(o.node.type) for o in operands if isinstance(o, Array)]
            raise ShapeError(
                f"{name} cannot broadcast {' and '.join(types)}",
                hint="sizes must be equal or 1, counted from the last axis",
            )
        sizes.append(found.pop() if found else 1)
    return tuple(sizes)


def as_operand(x: Operand) -> Operand:
    """Python scalars and weak arrays stay, so that promotion sees them; all else is an Array."""
    return x if isinstance(x, Array) or type(x) in PYTHON_SCALARS else asarray(x)


def promote(name: str, operands: Sequence[Operand], dtype: DType | None = None) -> list[Array]:
    """Operands of a map op, brought to one shape and to `dtype` (else their common one)."""
    lifted = [as_operand(operand) for operand in operands]
    shape = common_shape(name, lifted)
    target = dtype or result_dtype(*lifted)
    return [convert(operand, target, shape) for operand in lifted]


def convert(operand: Operand, dtype: DType, shape: Shape) -> Array:
    """One operand in the dtype and shape that a map op wants."""
    if isinstance(operand, Array):
        if operand.weak is int and dtype.kind in "iu":
            _check_fits(operand, dtype)
        return broadcast_to(cast(operand, dtype), shape)
    return constant(python_numbers(operand, dtype), Type(dtype, shape))


def _check_fits(integer: Array, dtype: DType) -> None:
    """RangeError for a Python integer that `dtype` does not hold: now, or when it is known."""
    if is_splat(integer.node):
        python_numbers(integer.node.attrs["value"].item(), dtype)
    elif integer.traced_by is not None:
        integer.traced_by.narrowed.setdefault(integer.node, {})[dtype] = user_line()
    elif dtype != INT64:
        python_numbers(known_integer(integer), dtype)


def known_integer(integer: Array) -> int:
    """The value of a lazy Python integer, without a program for so little."""
    work = pending_work([integer.node])
    return int(interpret(work.graph(), *work.leaves.values()))


def origin(x: Array) -> Where | None:
    """The user's line that made the array."""
    return x.node.where
