"""What makes an Array feel like an ndarray: operators, methods, and NumPy's protocols."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from neurlang.errors import (
    ArgumentError,
    NeurlangError,
    ShapeError,
)
from neurlang.frontend import (
    augmented,
    broadcasting,
    closeness,
    composite,
    contraction,
    convolution,
    creation,
    differences,
    elementwise,
    indexing,
    linear,
    manipulation,
    mutations,
    operators,
    ordering,
    places,
    reals,
    rearrange,
    reductions,
    selection,
    signals,
    statistics,
    without_nan,
)
from neurlang.frontend.array import (
    Array,
    Operand,
    asarray,
    reshape,
    result_dtype,
)
from neurlang.frontend.indexing import getitem
from neurlang.frontend.numpy_names import in_our_words

MODULES: Sequence[ModuleType] = (
    elementwise,
    closeness,
    contraction,
    indexing,
    creation,
    reductions,
    manipulation,
    broadcasting,
    rearrange,
    linear,
    ordering,
    composite,
    convolution,
    statistics,
    without_nan,
    reals,
    selection,
    places,
    signals,
    differences,
)
PUBLIC: Mapping[str, Callable[..., Any]] = {
    name: getattr(module, name) for module in MODULES for name in module.__all__
}

AUGMENTED = {  # ufuncs of `q += x` and the like, and their symbols
    "power": augmented.SYMBOLS["pow"],
    **{
        operators.BINARY_OPERATORS[name]: augmented.SYMBOLS[name]
        for name in operators.BINARY_OPERATORS.keys() - {"divmod"}
    },
}


# --- methods ------------------------------------------------------------------------------------


def _flat(self: Array) -> Any:
    """The elements in order, along one axis."""
    return PUBLIC["ravel"](self)


def _iterate(self: Array) -> Iterator[Array]:
    if not self.shape:
        raise ArgumentError(f"cannot iterate over {self.node.type}: it has no axis")
    return (getitem(self, position) for position in range(self.shape[0]))


SAME_METHODS = """
    all any argmax argmin argpartition argsort astype clip cumprod cumsum diagonal dot flatten max
    mean min prod ravel repeat round searchsorted squeeze std sum swapaxes take trace var
""".split()


def _reshape_method(self: Array, *shape: Any, **keywords: Any) -> Any:
    """The same elements under another shape, given as a tuple or as separate sizes."""
    return PUBLIC["reshape"](self, shape[0] if len(shape) == 1 else shape, **keywords)


def _transpose_method(self: Array, *axes: Any) -> Any:
    """Axes in another order, given as a tuple or separately; reversed where none are given."""
    if len(axes) == 1 and not isinstance(axes[0], int):
        return PUBLIC["transpose"](self, axes[0])
    return PUBLIC["transpose"](self, axes or None)


def _copy(self: Array, order: str = "C") -> Array:
    """The array itself: it is a value, which nothing changes."""
    return self


def _compress(self: Array, condition: Operand, axis: int | None = None) -> Any:
    """The slices along `axis` where a known vector of conditions holds."""
    return PUBLIC["compress"](condition, self, axis)


def _format(self: Array, specification: str) -> str:
    """`f"{loss:.3f}"`: with a specification the only element is formatted, else the array."""
    return format(self.item(), specification) if specification else str(self)


def _namespace(self: Array, api_version: str | None = None) -> ModuleType:
    """The module whose functions take this array, as the Array API standard asks for."""
    return sys.modules[__name__.partition(".")[0]]


METHODS: Mapping[str, Any] = {
    "reshape": _reshape_method,
    "transpose": _transpose_method,
    "compress": _compress,
    "copy": _copy,
    "conj": _copy,
    "conjugate": _copy,
    "__copy__": _copy,
    "__deepcopy__": lambda self, memo: self,
    "__getitem__": getitem,
    "__iter__": _iterate,
    "__contains__": lambda self, value: bool(PUBLIC["any"](PUBLIC["equal"](self, value))),
    "__round__": lambda self, digits=0: elementwise.round(self, digits or 0),
    "__format__": _format,
    "__array_namespace__": _namespace,
    "T": property(lambda self: PUBLIC["transpose"](self)),
    "mT": property(lambda self: PUBLIC["matrix_transpose"](self)),
    "flat": property(_flat),
    "real": property(reals.real),
    "imag": property(reals.imag),
}


# --- NumPy's protocols --------------------------------------------------------------------------

REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
ACCUMULATIONS = {
    "add": "cumsum",
    "multiply": "cumprod",
    "maximum": "cummax",
    "minimum": "cummin",
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **PUBLIC,
    "result_type": result_dtype,
}
# they speak of memory and subclasses, unless a function says more
MEANINGLESS = ("order", "subok", "overwrite_input")
DEFAULTS: Mapping[str, Any] = {
    "out": None,
    "where": True,
    "casting": "same_kind",
    "like": None,
    "weights": None,
}
REFUSALS = {
    "out": ("cannot write into out=: arrays here are values", "use the result that it returns"),
    "where": ("takes no where=", "select with where() instead"),
}


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _supported_keywords(
    name: str, function: Callable[..., Any], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """The keywords without those that change nothing; ArgumentError for others not supported."""
    kept = {key: value for key, value in keywords.items() if value is not np._NoValue}
    for key in [key for key in kept if key not in _signature(function).parameters]:
        value = kept[key]
        if key in MEANINGLESS or (key in DEFAULTS and _is_default(value, DEFAULTS[key])):
            del kept[key]
        elif key in REFUSALS:
            what, hint = REFUSALS[key]
            raise ArgumentError(f"{name} {what}", hint=hint)
    return kept


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, str) and value == default)


def call_public(name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Our function of that name; ArgumentError where it, or a keyword of the call, is missing."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise ArgumentError(
            f"numpy.{name} is not supported on arrays of neurlang",
            hint="compose it from supported functions, or apply it to np.asarray(x) outside jit",
        )
    return _called(name, function, args, keywords)


def _called(
    name: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]
) -> Any:
    """The result of a function; ArgumentError where it does not take such arguments."""
    supported = _supported_keywords(name, function, keywords)
    try:
        return function(*args, **supported)
    except NeurlangError:
        raise
    except TypeError:
        _check_call(name, function, args, supported)
        raise


def _check_call(
    name: str, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]
) -> None:
    signature = _signature(function)
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        raise ArgumentError(f"{name}: {error}", hint=f"it is {name}{signature}") from None


def array_ufunc(self: Array, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    """NumPy's hook for `np.exp(x)`, `array + x`, `np.add.reduce(x)` and `np.add.outer(x, y)`."""
    name = ufunc.__name__
    match method:
        case "__call__":
            _check_written(name, inputs, keywords)
            return call_public(name, inputs, keywords)
        case "reduce" if name in REDUCTIONS:
            return call_public(REDUCTIONS[name], *_with_axis(inputs, keywords))
        case "accumulate" if name in ACCUMULATIONS:
            return call_public(ACCUMULATIONS[name], *_with_axis(inputs, keywords))
        case "outer":
            left, right = asarray(inputs[0]), asarray(inputs[1])
            column = reshape(left, (*left.shape, *(1,) * right.ndim))
            return call_public(name, (column, right), keywords)
    raise ArgumentError(
        f"numpy.{name}.{method} is not supported on arrays of neurlang",
        hint="use the array functions, like sum, cumsum or scatter_add",
    )


def _check_written(name: str, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """ArgumentError for `q += x` of an ndarray q, which NumPy would write into."""
    symbol = AUGMENTED.get(name)
    (written, *_) = keywords.get("out") or (None,)
    if symbol is None or written is None or written is not inputs[0]:
        return
    what, _ = REFUSALS["out"]
    raise ArgumentError(f"{name} {what}", hint=f"write q = q {symbol} x instead of q {symbol}= x")


def _with_axis(
    inputs: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The arguments of `ufunc.reduce`, whose axis is 0 where none is given."""
    return inputs[:1], {"axis": inputs[1] if len(inputs) > 1 else 0, **keywords}


def array_function(
    self: Array,
    function: Callable[..., Any],
    types: Sequence[type],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Any:
    """NumPy's hook for `np.sum(x)`, `np.concatenate([x, y])`, ...: ours of the same name."""
    name = function.__name__
    module = function.__module__.removeprefix("numpy").lstrip(".")
    if module not in ("", "linalg", "lib.stride_tricks") or name not in FUNCTIONS:
        name = f"{module}.{name}".lstrip(".")
    elif name in PUBLIC:
        args, keywords = in_our_words(PUBLIC[name], function, args, keywords)
    if module == "linalg":
        args, keywords = _of_last_axes(name, args, keywords)
    if name == "where" and len(args) + len(keywords) == 1:
        raise ArgumentError(
            "where of a condition alone has a shape that depends on values",
            hint="give it two arrays to choose from: where(condition, a, b)",
        )
    return call_public(name, args, keywords)


def _of_last_axes(
    name: str, args: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Where numpy.linalg differs from numpy: matrices lie on the last axes, outer is of vectors."""
    if name in ("trace", "diagonal"):
        return args, {"axis1": -2, "axis2": -1, **keywords}
    if name == "outer" and any(asarray(arg).ndim != 1 for arg in args):
        types = " and ".join(str(asarray(arg).node.type) for arg in args)
        raise ShapeError(f"linalg.outer takes vectors, not {types}", hint="use numpy.outer")
    return args, keywords


def _method(name: str) -> Callable[..., Any]:
    """A function as a method, which takes its arguments in the order of NumPy's."""
    ours = PUBLIC[name]
    theirs = getattr(np, name, None)

    @functools.wraps(ours)
    def method(self: Array, *args: Any, **keywords: Any) -> Any:
        args = (self, *args)
        if theirs is not None:
            args, keywords = in_our_words(ours, theirs, args, keywords)
        return _called(name, ours, args, keywords)

    return method


# --- attaching ----------------------------------------------------------------------------------


PROTOCOLS: Mapping[str, Any] = {
    "__array_ufunc__": array_ufunc,
    "__array_function__": array_function,
    "__array_priority__": 1000.0,
}


def _attach_all() -> None:
    operators.attach()
    for name in SAME_METHODS:
        setattr(Array, name, _method(name))
    for name, method in (*METHODS.items(), *PROTOCOLS.items()):
        setattr(Array, name, method)
    mutations.attach()


_attach_all()
