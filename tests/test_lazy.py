"""Arrays outside of jit: shape and dtype at once, work when a value is asked for, and once."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from expected_error import expected_error

import neurlang as nl
from neurlang import executable
from neurlang.frontend import array as array_module

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that were run."""
    found: list[Any] = []
    run = array_module._run

    def counted(work: Any) -> Any:
        found.append(work.graph())
        return run(work)

    monkeypatch.setattr(array_module, "_run", counted)
    return found


def test_shape_and_dtype_are_known_before_anything_runs(runs: list[Any]) -> None:
    y = nl.exp(nl.asarray(X)) @ np.ones((3, 4), np.float32) + 1
    assert isinstance(y, nl.Array)
    assert (y.shape, y.dtype, y.ndim, y.size, y.nbytes) == ((2, 4), np.float32, 2, 8, 32)
    assert len(y) == 2 and y.T.shape == (4, 2)
    assert y.sum(axis=0).dtype == np.float32 and (y > 0).dtype == bool
    text = str(y.graph)
    assert text.startswith("graph lazy(%x0: f32[2,3]") and "exp %x0" in text and "dot" in text
    assert runs == []


@pytest.mark.parametrize(
    "ask",
    [
        np.asarray,
        np.array,
        str,
        repr,
        lambda y: y.execute(),
        lambda y: y.tolist(),
        lambda y: [float(v) for v in y[0]],
        lambda y: np.asarray(y, dtype=np.float64),
    ],
)
def test_work_runs_when_a_value_is_asked_for(ask: Any, runs: list[Any]) -> None:
    y = nl.asarray(X) * 2 + 1
    assert runs == []
    ask(y)
    assert len(runs) >= 1
    before = len(runs)
    np.testing.assert_array_equal(np.asarray(y), X * 2 + 1)
    if ask is not test_work_runs_when_a_value_is_asked_for and before == 1:
        assert len(runs) == 1 or "x0" not in str(y.graph)


def test_work_runs_once(runs: list[Any]) -> None:
    y = nl.asarray(X) * 2 + 1
    assert y.execute() is y
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(y), X * 2 + 1)
    assert len(runs) == 1
    z = y + y
    np.testing.assert_array_equal(z, (X * 2 + 1) * 2)
    assert len(runs) == 2
    assert "multiply" not in str(runs[1]) and "mul" not in str(runs[1])  # y is a leaf by now


def test_scalars() -> None:
    total = nl.sum(nl.asarray(X))
    assert (float(total), int(total), bool(total), total.item()) == (15.0, 15, True, 15.0)
    assert f"{total:.2f}" == "15.00"
    assert [10, 20, 30][nl.asarray(1)] == 20
    assert list(range(nl.asarray(3))) == [0, 1, 2]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(nl.asarray(X))
    branch = "yes" if nl.asarray(2.0) > 1 else "no"
    assert branch == "yes"


@pytest.mark.parametrize(
    "value", [True, 3, 2.5, [1, 2], [[1.0], [2.0]], np.float32(2), np.int8(3), np.bool_(True), X]
)
def test_asarray_is_numpys(value: Any) -> None:
    expected = np.asarray(value)
    found = nl.asarray(value)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_python_scalars_are_weak() -> None:
    assert (nl.asarray(X) * nl.asarray(2)).dtype == np.float32
    assert (nl.asarray(X) * nl.asarray(2.5)).dtype == np.float32
    assert (nl.asarray(np.arange(3, dtype=np.int8)) + 1).dtype == np.int8
    multiply = nl.jit(lambda x, y: x * y)
    assert multiply(X, nl.asarray(2.5)).dtype == np.float32
    assert multiply(X, 2.5).dtype == np.float32
    assert multiply.cache_info() == (1, 1, 1)


def test_values_are_captured_when_they_are_given() -> None:
    source = np.arange(4.0)
    y = nl.asarray(source) + 1
    source[:] = 100
    np.testing.assert_array_equal(y, np.arange(4.0) + 1)
    result = np.array(y)
    result[:] = -1
    np.testing.assert_array_equal(y, np.arange(4.0) + 1)


def test_what_numpy_gets_cannot_change_the_array() -> None:
    y = nl.asarray(np.arange(4.0)) + 1
    view = np.asarray(y)
    if view.flags.writeable:
        view[:] = -1
    np.testing.assert_array_equal(y + 0, np.arange(4.0) + 1)


def test_layouts() -> None:
    base = np.arange(24.0).reshape(4, 6)
    for array in (base.T, base[::-1, ::2], base.astype(">f8"), np.broadcast_to(base[0], (3, 6))):
        np.testing.assert_array_equal(nl.asarray(array) * 2, array * 2)


def test_lazy_arrays_go_into_jit_and_numpy_comes_out() -> None:
    y = nl.asarray(X) + 1
    result = nl.jit(lambda x: {"a": x * 2})({"b": y}["b"])
    assert type(result["a"]) is np.ndarray
    np.testing.assert_array_equal(result["a"], (X + 1) * 2)
    captured = nl.jit(lambda x: x + y)
    np.testing.assert_array_equal(captured(X), X + X + 1)


def test_equal_graphs_share_one_program() -> None:
    def work(value: Any) -> Any:
        return np.asarray(nl.asarray(value) * 3.140625 - 17)

    work(X)
    before = executable.counts["compilations"] + executable.counts["disk_hits"]
    for factor in range(5):
        np.testing.assert_array_equal(
            work(X * factor), (X * factor) * np.float32(3.140625) - np.float32(17)
        )
    assert executable.counts["compilations"] + executable.counts["disk_hits"] == before


def test_the_interpreter_runs_lazy_work_where_jit_is_disabled() -> None:
    with nl.options(disable_jit=True):
        np.testing.assert_array_equal(nl.asarray(X) * 2 + 1, X * 2 + 1)


def test_copies_and_pickles() -> None:
    y = nl.asarray(X) + 1
    for other in (copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        assert isinstance(other, nl.Array)
        np.testing.assert_array_equal(other, X + 1)


def test_long_chains_need_no_recursion() -> None:
    y = nl.asarray(np.zeros(3, np.int64))
    for _ in range(3000):
        y = y + 1
    with nl.options(disable_jit=True):
        np.testing.assert_array_equal(y, np.full(3, 3000))


def test_numpys_functions_stay_lazy(runs: list[Any]) -> None:
    y = np.exp(nl.asarray(X)).sum(axis=0) + np.ones(3, np.float32)
    assert isinstance(y, nl.Array) and isinstance(np.concatenate([y, y]), nl.Array)
    assert isinstance(X + nl.asarray(X), nl.Array)
    assert runs == []


def test_threads_ask_for_the_same_value() -> None:
    y = nl.asarray(X) * 5 + 2
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(np.asarray(y))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for value in found:
        np.testing.assert_array_equal(value, X * 5 + 2)


def test_errors_come_at_once() -> None:
    y = nl.asarray(X)
    with pytest.raises(nl.ShapeError):
        y + np.ones(4)
    with pytest.raises(nl.AxisError):
        y.sum(axis=2)
    with pytest.raises(nl.MutationError):
        y[0] = 1


def test_empty_and_zero_dimensional() -> None:
    empty = nl.asarray(np.zeros((0, 3))) + 1
    assert np.asarray(empty).shape == (0, 3)
    assert float(nl.sum(empty)) == 0.0
    assert np.asarray(nl.asarray(np.array(2.0)) + 1).shape == ()


@pytest.mark.parametrize("number", [3.0, 3, True])
def test_pickled_numbers_stay_as_weak_as_they_were(number: Any) -> None:
    lazy = nl.asarray(number)
    found = pickle.loads(pickle.dumps(lazy))
    assert (found.dtype, found.weak) == (lazy.dtype, lazy.weak)
    assert (np.float32(1) * found).dtype == np.float32
    assert pickle.loads(pickle.dumps(nl.asarray(np.float64(3)))).weak is None
    assert pickle.loads(pickle.dumps(lazy + lazy)).weak is (lazy + lazy).weak


def test_what_is_no_array_is_our_error() -> None:
    what = "a nested list is no array: its rows have different lengths"
    hint = "give all rows the same length"
    with expected_error(__file__, nl.ShapeError, what, "ragged", hint):
        nl.asarray([[1, 2], [3]])  # ragged
    with expected_error(__file__, nl.ShapeError, what, "ragged operand", hint):
        nl.add(X, [[1, 2], [3]])  # ragged operand
    with expected_error(__file__, nl.ShapeError, what, "ragged floats", hint):
        nl.asarray([[1, 2], [3]], dtype="float32")  # ragged floats
    what = "this list cannot be made an array: could not convert string to float: 'a'"
    hint = "use numbers, or nested lists of them"
    with expected_error(__file__, nl.DTypeError, what, "words", hint):
        nl.asarray([1, "a"], dtype="float32")  # words


def test_words_that_are_no_dtype_are_our_error() -> None:
    what = "'foo' is not a dtype"
    hint = "use bool, int8..int64, uint8..uint64, float32 or float64"
    with expected_error(__file__, nl.DTypeError, what, "astype", hint):
        nl.asarray(X).astype("foo")  # astype
    with expected_error(__file__, nl.DTypeError, what, "asarray", hint):
        nl.asarray(1, dtype="foo")  # asarray
    with expected_error(__file__, nl.DTypeError, what, "ShapeDtype", hint):
        nl.ShapeDtype((1,), "foo")  # ShapeDtype
    with expected_error(__file__, nl.DTypeError, what, "sum", hint):
        nl.jit(lambda x: np.sum(x, dtype="foo"))(X)  # sum
    with pytest.raises(nl.DTypeError, match="is not a dtype"):
        nl.zeros(3, dtype="(1")


def test_python_integers_that_an_operator_made_do_not_wrap() -> None:
    """NumPy refuses 150 * 2 + np.int8(1): the value of a lazy integer is known."""
    number: Any = nl.asarray(150)
    for wide in (number * 2, number + number, 2 * number - 1, -number, number**2):
        for narrow in (np.int8(1), nl.asarray(np.int8([1, 2]))):
            with expected_error(
                __file__,
                nl.RangeError,
                f"Python integer {int(wide)} out of bounds for int8",
                "a sum that is too narrow",
                "convert the array with astype first, as NumPy 2 demands",
            ):
                wide + narrow  # a sum that is too narrow
    found = number * 2 + nl.asarray(np.int16([1]))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, [301])
    assert nl.jit(lambda x: x + (nl.asarray(50) * 2))(np.int8([1])).dtype == np.int8
    with pytest.raises(OverflowError):
        nl.jit(lambda x: x + (nl.asarray(150) * 2))(np.int8([1]))


@pytest.mark.parametrize(
    "compute",
    [
        lambda n: n * 4,
        lambda n: 4 * n,
        lambda n: n + n,
        lambda n: -n - n - 1,
        lambda n: n**3,
        lambda n: 3**n,
        lambda n: n << 3,
        lambda n: 3 << n,
        lambda n: -n * 2 - 1,
        lambda n: -(-n * 2),
    ],
)
def test_lazy_python_integers_do_not_wrap_at_64_bits(compute: Any) -> None:
    with pytest.raises(nl.RangeError, match="does not fit 64 bits"):
        compute(nl.asarray(2**62))
    small = compute(nl.asarray(7) // 2)
    assert small.weak is int and int(small) == compute(3)
    assert [int(nl.asarray(n) ** 2**40) for n in (0, 1, -1)] == [0, 1, 1]
    with pytest.raises(nl.RangeError):
        nl.asarray(1) << 2**40
    with pytest.raises(nl.DomainError, match="negative integer powers"):
        nl.asarray(3) ** -1


def test_python_integers_of_a_trace_have_64_bits() -> None:
    assert nl.jit(lambda n: n * 4)(2**62) == 0
