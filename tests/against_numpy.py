"""What tests of public functions share: lazy arrays run by the interpreter, compared exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from neurlang.errors import ConcreteValueError, IndexingError
from neurlang.frontend import array as array_module
from neurlang.frontend.array import Array, set_executor
from neurlang.frontend.trace import Trace, tracing
from neurlang.ir.graph import Graph, Node, graph_from
from neurlang.ir.interpret import interpret
from neurlang.ir.types import Type

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "float32"]
DTYPES += ["float64"]
NUMBERS = ["int8", "int64", "uint8", "float32", "float64"]
SHAPES: list[tuple[int, ...]] = [(), (1,), (7,), (3, 5), (2, 3, 4), (2, 1, 3, 2)]


def run(graph: Graph) -> tuple[Any, ...]:
    """The executor of these tests."""
    result = interpret(graph)
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    earlier = list(array_module._executor)
    set_executor(run)
    yield
    array_module._executor[:] = earlier


def traced(function: Callable[..., Any], *values: Any) -> Any:
    """The value of `function` of parameters: no value is known while it is traced."""
    params = []
    for position, value in enumerate(values):
        value = np.asarray(value)
        params.append(Node("param", (), {"name": f"x{position}"}, Type(value.dtype, value.shape)))
    with tracing(Trace("test")) as trace:
        output = function(*[Array(param, trace) for param in params])
    return interpret(graph_from([output.node], params, "test"), *values)


def sample(shape: tuple[int, ...], dtype: Any, seed: int = 0, scale: int = 5) -> Any:
    """Small values of either sign, some of them equal."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(random.random(shape) < 0.5)
    if dtype.kind == "f":
        return np.asarray(np.round(random.normal(0, scale, shape), 2), dtype)
    low = 0 if dtype.kind == "u" else -scale
    return np.asarray(random.integers(low, 2 * scale, shape), dtype)


def same(actual: Any, expected: Any, rtol: float = 0) -> None:
    """Equal dtypes, shapes and values; with `rtol`, floats equal within so many epsilons."""
    if isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for left, right in zip(actual, expected):
            same(left, right, rtol)
        return
    expected = np.asarray(expected)
    assert isinstance(actual, Array | np.ndarray), type(actual)
    assert actual.dtype == expected.dtype, (actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if rtol and expected.dtype.kind == "f":
        epsilon = np.finfo(expected.dtype).eps
        np.testing.assert_allclose(actual, expected, rtol * epsilon, 10 * rtol * epsilon)
    else:
        np.testing.assert_array_equal(np.asarray(actual), expected)


def same_when_traced(
    ours: Callable[..., Any], expected: Any, args: Any, keywords: Any, rtol: float
) -> None:
    """The same result where the first argument is only traced, unless a size depends on it."""
    try:
        found = traced(lambda x: ours(x, *args[1:], **keywords), args[0])
    except (ConcreteValueError, IndexingError):
        return
    same(found, expected, rtol)


def both(
    ours: Callable[..., Any],
    numpys: Callable[..., Any],
    *args: Any,
    rtol: float = 0,
    **keywords: Any,
) -> None:
    """Ours gives what NumPy gives, or both refuse."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = numpys(*args, **keywords)
        except (ValueError, TypeError, IndexError) as error:
            with pytest.raises((ValueError, TypeError, IndexError)) as caught:
                ours(*args, **keywords)
            kinds = [kind for kind in (ValueError, TypeError) if isinstance(error, kind)]
            assert isinstance(caught.value, tuple(kinds) or IndexError), caught.value
            return
        actual = ours(*args, **keywords)
        same(actual, expected, rtol)
        if isinstance(actual, Array) and isinstance(args[0], np.ndarray):
            same_when_traced(ours, expected, args, keywords, rtol)
