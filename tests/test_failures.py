"""Errors that depend on values: raised where NumPy raises, by machine code and interpreters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import Case
from fuzzing_run import interpreted_loops

import neurlang as nl
from neurlang import executable
from neurlang.ir.failures import FAILURE_KINDS, may_be_negative
from neurlang.ir.graph import Node, graph_from, make_constant, make_node
from neurlang.ir.interpret import interpret
from neurlang.ir.types import Type

MESSAGE = "negative integer powers"
SIGNED = ["int8", "int16", "int32", "int64"]


def power(x: Any, n: Any) -> Any:
    return x**n


def operands(size: int, dtype: Any = "int64") -> tuple[Any, Any]:
    random = np.random.default_rng(size)
    return random.integers(-9, 9, size).astype(dtype), random.integers(0, 9, size).astype(dtype)


def raises(function: Callable[..., Any], *args: Any) -> None:
    """Twice: the first call compiles, the second goes straight to machine code."""
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="egative integer powers"):
        function(*args)
    compiled = nl.jit(function, cache=False)
    for _ in range(2):
        with pytest.raises(nl.DomainError, match=MESSAGE) as caught:
            compiled(*args)
        assert caught.value.where is not None
        assert caught.value.where.file == __file__
    with nl.options(disable_jit=True), pytest.raises(nl.DomainError, match=MESSAGE):
        nl.jit(function)(*args)


def agrees(function: Callable[..., Any], *args: Any) -> None:
    found = nl.jit(function, cache=False)(*args)
    expected = function(*args)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", SIGNED)
@pytest.mark.parametrize("size", [1, 3, 16, 64, 67])
def test_a_negative_exponent_is_an_error_wherever_it_stands(dtype: str, size: int) -> None:
    x, n = operands(size, dtype)
    agrees(power, x, n)
    compiled = nl.jit(power, cache=False)
    for place in range(size):
        wrong = n.copy()
        wrong[place] = -1 - place % 3
        with pytest.raises(nl.DomainError, match=MESSAGE):
            compiled(x, wrong)
    np.testing.assert_array_equal(compiled(x, n), x**n)


def test_bases_of_which_the_inverse_is_an_integer_are_errors_as_well() -> None:
    for base in (1, -1, 0, 5):
        raises(power, np.full(5, base), np.full(5, -2))


def test_mixed_dtypes() -> None:
    x, n = operands(37)
    wrong = n.copy()
    wrong[20] = -1
    for base in (x.astype("int8"), x.astype("uint8"), x > 0):
        agrees(power, base, n)
        raises(power, base, wrong)
    agrees(power, x, n.astype("uint8"))
    agrees(power, x.astype("uint8"), n.astype("uint8"))
    agrees(power, x > 0, n > 3)
    agrees(power, x.astype("float32"), wrong)
    agrees(power, x.astype("uint64"), wrong)  # float64, as in NumPy


def test_scalars() -> None:
    compiled = nl.jit(power, cache=False)
    assert compiled(3, 4) == 81
    assert compiled(np.int32(-3), np.int32(3)) == -27
    for wrong in (-1, np.int64(-1)):
        with pytest.raises(ValueError, match=MESSAGE):
            compiled(np.arange(4), wrong)


def test_constant_bases() -> None:
    def powers_of_two(n: Any) -> Any:
        return 2**n

    def powers_of_many(n: Any) -> Any:
        return np.arange(20) ** n

    _, n = operands(20)
    agrees(powers_of_two, n)
    agrees(powers_of_many, n)
    raises(powers_of_two, n - 5)
    raises(powers_of_many, n - 5)


SELECTIONS: dict[str, Callable[..., Any]] = {
    "where": lambda x, n: np.where(n < 0, 0, x**n),
    "pad": lambda x, n: np.pad(x**n, (3, 40), constant_values=7),
    "concat": lambda x, n: np.concatenate([x, x**n, n]),
    "concat twice": lambda x, n: np.concatenate([x**n, n ** n.clip(0), x**n]),
    "sum": lambda x, n: (x**n).sum(),
    "columns": lambda x, n: (x**n).reshape(10, 5).sum(axis=0),
    "rows": lambda x, n: (x**n).reshape(2, 25) - (x**n).reshape(2, 25).max(1, keepdims=True),
    "argmax": lambda x, n: (x**n).argmax(),
    "cumsum": lambda x, n: (x**n).cumsum(),
    "sort": lambda x, n: np.sort(x**n),
    "dot": lambda x, n: np.ones((3, 10), int) @ (x**n).reshape(10, 5),
    "dot's left": lambda x, n: (x**n).reshape(10, 5) @ np.ones((5, 33), int),
    "after a dot": lambda x, n: (x.reshape(5, 10) @ n.reshape(10, 5)) ** n[10:35].reshape(5, 5),
    "to a dot": lambda x, n: x[:10] ** (np.eye(10, dtype=int) @ n[25:35]),
    "outer": lambda x, n: x[:, None] ** n,
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_what_numpy_computes_is_checked_whatever_becomes_of_it(name: str) -> None:
    x, n = operands(50)
    agrees(SELECTIONS[name], x, n)
    n[30] = -4
    raises(SELECTIONS[name], x, n)


def test_parallel_loops() -> None:
    x, n = operands(1 << 17, "int32")
    compiled = nl.jit(power, cache=False)
    np.testing.assert_array_equal(compiled(x, n), x**n)
    n[-1] = -1
    with pytest.raises(nl.DomainError, match=MESSAGE):
        compiled(x, n)


def test_lazy_arrays() -> None:
    x, n = operands(20)
    base, exponent = nl.asarray(x), nl.asarray(n) - 5
    with pytest.raises(nl.DomainError, match=MESSAGE):
        np.asarray(base**exponent)
    np.testing.assert_array_equal(base ** (exponent + 5), x**n)


def test_elements_that_no_result_needs_are_not_checked() -> None:
    x, n = operands(20)
    n[15] = -1
    np.testing.assert_array_equal(nl.jit(lambda x, n: (x**n)[:10])(x, n), x[:10] ** n[:10])
    np.testing.assert_array_equal(nl.jit(lambda x, n: (x**n, x)[1])(x, n), x)


def test_exponents_that_cannot_be_negative_are_not_checked() -> None:
    def loops(function: Callable[..., Any], *args: Any) -> str:
        return nl.inspect(nl.jit(function), *args)["loops"]

    x, n = operands(20)
    assert "check" in loops(power, x, n)
    assert "check" not in loops(power, x, n.astype("uint8"))
    assert "check" not in loops(lambda x: x ** np.arange(20), x)
    assert "check" not in loops(lambda x: x ** nl.arange(100)[:20], x)
    assert "check" not in loops(lambda x: x**99, x)
    agrees(lambda x: x ** np.arange(60, 80), x.astype("int8"))
    agrees(lambda x: x**99, x)
    assert "check" not in loops(power, x.astype("float64"), n)


def node(op: str, *args: Node, **attrs: Any) -> Node:
    return make_node(op, list(args), **attrs)


def test_may_be_negative() -> None:
    parameters = {
        dtype: Node("param", (), {"name": "x"}, Type(np.dtype(dtype), (4,)))
        for dtype in ("bool", "uint8", "uint64", "int8", "int64", "float64")
    }
    constant = make_constant(np.array([0, 3], "int8"))
    for positive in (
        constant,
        parameters["uint64"],
        parameters["bool"],
        node("cast", parameters["bool"], dtype=np.dtype("int8")),
        node("cast", parameters["uint8"], dtype=np.dtype("int16")),
        node("cast", constant, dtype=np.dtype("int64")),
        node("broadcast", constant, shape=(5, 2)),
        make_constant(np.zeros(0, "int8")),
    ):
        assert not may_be_negative(positive)
    for unknown in (
        parameters["int8"],
        make_constant(np.array([0, -3])),
        node("cast", parameters["uint8"], dtype=np.dtype("int8")),
        node("cast", parameters["uint64"], dtype=np.dtype("int64")),
        node("cast", parameters["float64"], dtype=np.dtype("int64")),
        node("cast", parameters["int64"], dtype=np.dtype("int8")),
        node("reshape", parameters["int64"], shape=(2, 2)),
    ):
        assert may_be_negative(unknown)


@pytest.mark.parametrize("known", [False, True])
def test_interpreters_and_folding_agree(known: bool) -> None:
    arrays = (np.arange(1, 8), np.array([0, 1, 2, 3, 4, 5, -2]))
    nodes = [Node("param", (), {"name": "x"}, Type(a.dtype, a.shape)) for a in arrays]
    params, inputs = nodes, arrays
    if known:
        nodes, params, inputs = [make_constant(array) for array in arrays], [], ()
    graph = graph_from([node("pow", *nodes)], params, "powers")
    with pytest.raises(nl.DomainError, match=MESSAGE):
        interpret(graph, *inputs)
    with pytest.raises(AssertionError):  # the code of the Check is not 0
        interpreted_loops(Case(graph, inputs))


def test_the_disk_cache_keeps_the_kind_of_a_failure(tmp_path: Path) -> None:
    @nl.jit
    def either(x: Any, n: Any, i: Any) -> Any:
        return (x**n)[i]

    x, n = operands(20)
    with nl.options(cache=str(tmp_path / "programs")):
        for _ in range(2):
            np.testing.assert_array_equal(either(x, n, np.array([3])), (x**n)[[3]])
            with pytest.raises(nl.DomainError, match=MESSAGE):
                either(x, n - 9, np.array([3]))
            with pytest.raises(nl.IndexingError, match="out of range"):
                either(x, n, np.array([20]))
            either.cache_clear()
            executable.clear()
            before = executable.counts["compilations"]
        assert executable.counts["compilations"] == before
    assert set(FAILURE_KINDS) == {"IndexingError", "DomainError"}
