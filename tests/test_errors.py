"""Bad input: the whole message of every error, and that the next call works."""

from __future__ import annotations

import functools
import inspect
import operator
import os
import pickle
import random
import secrets
import threading
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expected_error import expected_error

import neurlang as nl
from neurlang import errors, settings
from neurlang.frontend import protocols
from neurlang.frontend.trace import current_trace

error = functools.partial(expected_error, __file__)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
TABLE = np.arange(10.0)
SUPPORTED = "use bool, int8..int64, uint8..uint64, float32 or float64"
DRAW_OUTSIDE = "draw random numbers outside and pass them as arguments"
READ_OUTSIDE = "read files outside and pass their contents as arguments"

generator = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No test leaves a trace half done, or uses programs of other runs."""
    monkeypatch.setenv("NEURLANG_CACHE", "off")
    yield
    assert current_trace() is None


def build(x: Any, y: Any) -> Any:
    return x + y  # the sum


add = nl.jit(build)


# shapes, dtypes, axes, indices


def test_shapes_that_do_not_broadcast() -> None:
    with error(
        nl.ShapeError,
        "add cannot broadcast f32[2,3] and f32[4]",
        "the sum",
        "sizes must be equal or 1, counted from the last axis",
    ):
        add(X, np.ones(4, np.float32))
    np.testing.assert_array_equal(add(X, 1), X + 1)


def test_a_line_is_named_through_calls_and_lambdas() -> None:
    def outer(x: Any) -> Any:
        apply: Callable[[Any], Any] = lambda value: build(value, np.ones(5))  # noqa: E731
        return next(map(apply, [x]))

    with error(
        nl.ShapeError,
        "add cannot broadcast f32[2,3] and f64[5]",
        "the sum",
        "sizes must be equal or 1, counted from the last axis",
    ):
        nl.jit(lambda x: nl.jit(outer)(x))(X)


def test_a_line_in_a_lambda() -> None:
    function = nl.jit(
        lambda x: (
            x + 1 + np.ones(7)  # in a lambda
        )
    )
    with pytest.raises(nl.ShapeError) as caught:
        function(X)
    assert caught.value.where is not None
    assert caught.value.where.file == __file__


def test_a_line_of_the_standard_library_is_not_the_users() -> None:
    def fold(x: Any) -> Any:
        return functools.reduce(build, [x, np.ones(4)])

    with error(
        nl.ShapeError,
        "add cannot broadcast f32[2,3] and f64[4]",
        "the sum",
        "sizes must be equal or 1, counted from the last axis",
    ):
        nl.jit(fold)(X)


@pytest.mark.parametrize(
    "value",
    [
        np.array([None]),
        np.array(["a"]),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "complex64"),
        np.zeros(2, "float16"),
        np.complex128(1),
        *([np.zeros(2, np.longdouble)] if np.dtype(np.longdouble).itemsize > 8 else []),
    ],
    ids=lambda value: str(value.dtype),
)
def test_dtypes_that_are_not_supported(value: Any) -> None:
    what = f"has dtype {value.dtype}, which neurlang does not support"
    with error(nl.DTypeError, f"argument y {what}", "dtype of an argument", SUPPORTED):
        add(X, value)  # dtype of an argument
    with error(nl.DTypeError, f"argument y['w'][0] {what}", "nested dtype", SUPPORTED):
        nl.jit(lambda x, y: x)(X, y={"w": [value]})  # nested dtype
    with error(nl.DTypeError, f"this array {what}", "dtype outside", SUPPORTED):
        nl.asarray(value)  # dtype outside


def test_a_dtype_to_convert_to() -> None:
    what = "astype has dtype complex64, which neurlang does not support"
    with error(nl.DTypeError, what, "conversion", SUPPORTED):
        nl.jit(lambda x: x.astype("complex64"))(X)  # conversion


def test_a_dtype_of_shape_and_dtype() -> None:
    what = "ShapeDtype has dtype object, which neurlang does not support"
    with error(nl.DTypeError, what, "shape and dtype", SUPPORTED):
        nl.ShapeDtype((3,), object)  # shape and dtype
    with error(nl.ShapeError, "ShapeDtype has the shape (-3,)", "size", "sizes are 0 or more"):
        nl.ShapeDtype((-3,), "f4")  # size


@pytest.mark.parametrize(
    ("value", "name"), [("text", "str"), (1j, "complex"), (b"b", "bytes"), (object(), "object")]
)
def test_arguments_that_cannot_be_traced(value: Any, name: str) -> None:
    with error(
        nl.ArgumentError,
        f"argument y is a {name}, which cannot be traced",
        "untraceable",
        "pass an array or a number, or make it static: jit(static_argnames='y')",
    ):
        nl.jit(lambda x, y: x)(X, value)  # untraceable
    with error(
        nl.ArgumentError,
        f"argument y['mode'][1] is a {name}, which cannot be traced",
        "untraceable in a container",
        "pass it as an argument of its own, and make that static: jit(static_argnames=)",
    ):
        nl.jit(lambda x, y: x)(X, {"mode": [X, value]})  # untraceable in a container


def test_arguments_that_can_be_neither_traced_nor_static() -> None:
    hint = "pass an array or a number"
    what = "argument y is a set, which cannot be traced"
    with error(nl.ArgumentError, what, "set", hint):
        nl.jit(lambda x, y: x)(X, {1})  # set
    what = "argument y[0] is a set, which cannot be traced"
    with error(nl.ArgumentError, what, "set in a list", hint):
        nl.jit(lambda x, y: x)(X, [{1}])  # set in a list


def test_subclasses_that_compute_otherwise() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(X)
    hint = "pass its array: np.asarray(x), or x.data and x.mask"
    what = "is a matrix, which is not computed like an array"
    with error(nl.ArgumentError, f"argument y {what}", "matrix", hint):
        add(X, matrix)  # matrix
    what = "is a MaskedArray, which is not computed like an array"
    with error(nl.ArgumentError, f"argument y {what}", "masked", hint):
        add(X, np.ma.array([1.0, 2.0, 3.0]))  # masked


def test_integers_beyond_64_bits() -> None:
    with error(
        nl.RangeError,
        f"argument y is {2**64}, which does not fit 64 bits",
        "large",
        "pass a float, or np.uint64(x) where it is below 2**64",
    ):
        add(X, 2**64)  # large
    what = "Python integer 300 out of bounds for int8"
    hint = "convert the array with astype first, as NumPy 2 demands"
    with error(nl.RangeError, what, "narrow", hint):
        nl.jit(lambda x: x + 300)(np.ones(2, np.int8))  # narrow
    assert issubclass(nl.RangeError, OverflowError)  # which NumPy raises


def test_every_error_is_a_public_name() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert getattr(nl, name) is kind


def test_axes_and_static_indices_out_of_range() -> None:
    with error(
        nl.AxisError, "sum: axis 2 is out of range for f32[2,3]", "axis", "axes lie in -2..1"
    ):
        nl.jit(lambda x: x.sum(axis=2))(X)  # axis
    with error(
        nl.IndexingError,
        "index 7 is out of range for axis 0 with size 2",
        "index",
        "indices must lie in -2..1",
    ):
        nl.jit(lambda x: x[7])(X)  # index


def test_an_index_out_of_range_is_found_while_running() -> None:
    def pick(x: Any, i: Any) -> Any:
        return nl.take(x, i) * 2  # pick

    picked = nl.jit(pick)
    for _ in range(2):
        np.testing.assert_array_equal(picked(X, np.array([1, -1])), X.reshape(-1)[[1, -1]] * 2)
        with error(
            nl.IndexingError,
            "an index is out of range for an axis of size 6",
            "pick",
            "indices must lie in -6..5",
        ):
            picked(X, np.array([1, 6]))


# values that are only traced


@pytest.mark.parametrize(
    ("use", "wanted", "type", "hint"),
    [
        (bool, "a branch", "f64[]", "use where(condition, a, b), or mark the argument static"),
        (float, "float()", "f64[]", "use astype('float64'), or mark the argument static"),
        (int, "int()", "f64[]", "use astype('int64'), or mark the argument static"),
    ],
)
def test_python_asks_for_a_value(use: Any, wanted: str, type: str, hint: str) -> None:
    def convert(x: Any) -> Any:  # where x is made
        return use(x)  # where x is used

    with error(
        nl.ConcreteValueError,
        f"{wanted} needs the value of {type}, which is only traced",
        "where x is used",
        f"{hint} (static_argnames=)",
        origin="where x is made",
    ):
        nl.jit(convert)(1.0)


def test_a_branch_names_what_made_the_condition() -> None:
    @nl.jit
    def decide(x: Any) -> Any:
        positive = x > 0  # condition
        if positive:  # branch
            return x
        return -x

    with error(
        nl.ConcreteValueError,
        "a branch needs the value of bool[], which is only traced",
        "branch",
        "use where(condition, a, b), or mark the argument static (static_argnames=)",
        origin="condition",
    ):
        decide(1.0)


def test_range_and_asarray() -> None:
    @nl.jit
    def count(x: Any, n: Any) -> Any:  # count
        return [x * i for i in range(n)]  # range

    with error(
        nl.ConcreteValueError,
        "an index or a range needs the value of i64[], which is only traced",
        "range",
        "mark the argument static (static_argnames=)",
        origin="count",
    ):
        count(X, 3)

    for convert in (np.asarray, np.array):
        with error(
            nl.ConcreteValueError,
            "np.asarray needs the value of f32[2,3], which is only traced",
            "asarray",
            "use nl.take(table, i), nl.full, x.astype or nl.stack, which take traced arrays",
        ):
            nl.jit(lambda x, convert=convert: convert(x), static_argnames="convert")(X)  # asarray


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda i: TABLE[i], lambda i: nl.take(TABLE, i)),
        (lambda i: np.full(3, i), lambda i: nl.full(3, i)),
        (lambda i: np.float32(i), lambda i: i.astype("float32")),
        (lambda i: np.array([i, 1.0]), lambda i: nl.stack([i, 1.0])),
    ],
)
def test_functions_of_numpy_that_need_values(wrong: Any, right: Any) -> None:
    with pytest.raises(nl.ConcreteValueError) as caught:
        nl.jit(wrong)(2)
    assert caught.value.what == "np.asarray needs the value of i64[], which is only traced"
    hint = "use nl.take(table, i), nl.full, x.astype or nl.stack, which take traced arrays"
    assert caught.value.hint == hint
    np.testing.assert_array_equal(nl.jit(right)(2), wrong(2))


def test_a_list_times_a_traced_number() -> None:
    """Python repeats the list: it is no array."""
    hint = "make the integer static (static_argnames=), or the list an array (np.asarray)"
    what = "times i64[] has a length that depends on a traced value"

    def list_times(n: Any) -> Any:  # n of a list
        return [1, 2] * n  # list times n

    def times_tuple(n: Any) -> Any:  # n of a tuple
        return n * (1, 2)  # n times tuple

    def text_times(n: Any) -> Any:  # n of a text
        return "ab" * n  # text times n

    kind = nl.ConcreteValueError
    with error(kind, f"a list {what}", "list times n", hint, origin="n of a list"):
        nl.jit(list_times)(3)
    with error(kind, f"a tuple {what}", "n times tuple", hint, origin="n of a tuple"):
        nl.jit(times_tuple)(3)
    with error(kind, f"a str {what}", "text times n", hint, origin="n of a text"):
        nl.jit(text_times)(3)
    with error(kind, f"a list {what}", "a list times a sum", hint):
        nl.jit(lambda x: [1, 2] * x.sum())(np.arange(3))  # a list times a sum
    hint = "use numbers, and arrays (np.asarray) in place of lists"
    what = "mul takes a list and f64[], a Python float"
    with error(nl.DTypeError, what, "list times n", hint, origin="n of a list"):
        nl.jit(list_times)(2.5)
    for x in (np.array([3, 4]), np.array([[3]]), np.array([2.5])):
        np.testing.assert_array_equal(nl.jit(list_times)(x), list_times(x))
    static = nl.jit(lambda x, n: x + [1, 2] * n, static_argnames="n")
    np.testing.assert_array_equal(static(np.zeros(6), 3), [1, 2] * 3)


leaked: list[Any] = []


@nl.jit
def leak(x: Any) -> Any:
    leaked[:] = [x * 2]  # leak
    return x


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + 1,  # leaked
        float,
        np.asarray,
        nl.exp,
        lambda x: x.execute(),
        lambda x: add(X, x),
        lambda x: nl.jit(lambda y: y + x)(X),
        lambda x: nl.jit(lambda y: x)(X),
        lambda x: nl.jit(lambda y: nl.where(x > 0, y, x))(X),
    ],
)
def test_a_traced_array_outlives_its_trace(use: Callable[[Any], Any]) -> None:
    leak(X)
    leak.cache_clear()
    with pytest.raises(nl.LeakedTracerError) as caught:
        use(leaked[0])
    assert caught.value.what == "a traced array f32[2,3] outlived the trace of leak"
    assert caught.value.hint == "return it from the function instead of storing it elsewhere"
    assert caught.value.where is not None and caught.value.where.file == __file__
    assert caught.value.origin is not None
    assert caught.value.origin.source == "leaked[:] = [x * 2]  # leak"


def test_the_whole_message_of_a_leak() -> None:
    leak(X)
    with error(
        nl.LeakedTracerError,
        "a traced array f32[2,3] outlived the trace of leak",
        "use of a leak",
        "return it from the function instead of storing it elsewhere",
        origin="leak",
    ):
        nl.sum(leaked[0])  # use of a leak


def test_a_traced_array_in_another_thread() -> None:
    found: list[BaseException] = []

    def use(x: Any) -> None:
        try:
            x + 1
        except nl.LeakedTracerError as caught:
            found.append(caught)

    @nl.jit
    def start(x: Any) -> Any:
        thread = threading.Thread(target=use, args=(x,))
        thread.start()
        thread.join()
        return x

    start(X)
    assert "is used in another thread" in str(found[0])


def test_assignment_into_an_argument() -> None:
    @nl.jit
    def write(x: Any) -> Any:  # the argument
        x[0] = 1  # the assignment
        return x

    with error(
        nl.MutationError,
        "f32[2,3] is a value and cannot be assigned into",
        "the assignment",
        "use update(x, key, value), where() or concatenate, and keep what they return",
        origin="the argument",
    ):
        write(X)


def test_assignment_into_an_array_of_numpy() -> None:
    @nl.jit
    def accumulate(x: Any) -> Any:
        total = np.zeros((2, 3), np.float32)
        total += x  # augmented
        return total

    what = "cannot write into out=: arrays here are values"
    hint = "write q = q + x instead of q += x"
    with error(nl.ArgumentError, f"add {what}", "augmented", hint):
        accumulate(X)
    lazy = nl.asarray(X)
    total = np.ones((2, 3))
    hint = "write q = q ** x instead of q **= x"
    with error(nl.ArgumentError, f"power {what}", "augmented by a lazy array", hint):
        total **= lazy  # augmented by a lazy array
    with error(nl.ArgumentError, f"add {what}", "out", "use the result that it returns"):
        np.add(lazy, 1, out=total)  # out


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            lambda x: x.resize(3),
            "use reshape(x, shape) or pad(x, width), and keep what they return",
        ),
        (lambda x: x.setflags(write=True), "leave it out: nothing writes into an array here"),
        (lambda x: x.sort(axis=0), "use sort(x), which returns a sorted array"),
        (lambda x: setattr(x, "shape", 6), "use reshape(x, shape), and keep what it returns"),
        (lambda x: setattr(x, "dtype", "i4"), "use astype(dtype), and keep what it returns"),
        (lambda x: operator.delitem(x, 0), "use slices and concatenate, and keep what they return"),
    ],
)
def test_what_changes_an_ndarray_in_place(change: Callable[[Any], Any], hint: str) -> None:
    @nl.jit
    def write(x: Any) -> Any:
        y = x * 2  # what is changed
        change(y)
        return y

    with pytest.raises(nl.MutationError, match="cannot be assigned into"):
        change(nl.asarray(X))
    with pytest.raises(nl.MutationError) as caught:
        write(X)
    assert caught.value.what == "f32[2,3] is a value and cannot be assigned into"
    assert caught.value.hint == hint
    assert caught.value.origin is not None
    assert caught.value.origin.source == "y = x * 2  # what is changed"


def test_a_condition_alone_and_functions_of_linalg() -> None:
    what = "where of a condition alone has a shape that depends on values"
    hint = "give it two arrays to choose from: where(condition, a, b)"
    with error(nl.ArgumentError, what, "where of one", hint):
        nl.jit(lambda x: x[np.where(x > 1)])(X)  # where of one
    what = "numpy.linalg.inv is not supported on arrays of neurlang"
    hint = "compose it from supported functions, or apply it to np.asarray(x) outside jit"
    with error(nl.ArgumentError, what, "inverse", hint):
        nl.jit(lambda x: np.linalg.inv(x))(X)  # inverse


# errors of Python and NumPy in a trace


def test_calls_that_python_and_numpy_refuse() -> None:
    def check(function: Any, kind: Any, what: str, mark: str, hint: str = "") -> None:
        with error(kind, what, mark, hint):
            nl.jit(function)(X)

    sine = f"it is sin{inspect.signature(nl.sin)}"
    unknown = "sin() got an unexpected keyword argument 'foo'"
    check(lambda x: np.sin(x, foo=1), nl.ArgumentError, unknown, "keyword", sine)  # keyword
    check(lambda x: nl.sin(x, foo=1), nl.ArgumentError, unknown, "ours", sine)  # ours
    addition = f"it is add{inspect.signature(nl.add)}"
    what = "add() takes from 2 to 3 positional arguments but 1 was given"
    check(lambda x: np.add(x), nl.ArgumentError, what, "one of two", addition)  # one of two
    what = "add() missing 1 required positional argument: 'x2'"
    check(lambda x: nl.add(x), nl.ArgumentError, what, "one of our two", addition)  # one of our two
    what = "need at least one array to concatenate"
    check(lambda x: np.concatenate([]), nl.DomainError, what, "of nothing")  # of nothing
    what = "concatenate of no arrays"
    hint = "give at least one"
    check(lambda x: nl.concatenate([]), nl.ShapeError, what, "our none", hint)  # our none
    what = "axis 3 is out of bounds for array of dimension 1"
    check(lambda x: TABLE.sum(3) + x, nl.AxisError, what, "axis of a table")  # axis of a table
    what = "index 99 is out of bounds for axis 0 with size 10"
    check(lambda x: TABLE[99] + x, nl.IndexingError, what, "row of a table")  # row of a table
    what = "sum: got an unexpected keyword argument 'foo'"
    reduction = f"it is sum{inspect.signature(nl.sum)}"
    check(lambda x: x.sum(foo=1), nl.ArgumentError, what, "of a method", reduction)  # of a method
    with error(nl.ArgumentError, what, "of a lazy method", reduction):
        nl.asarray(X).sum(foo=1)  # of a lazy method


def test_slices_that_are_none() -> None:
    with error(nl.DomainError, "slice step cannot be zero", "step", "use a step of 1, -1, or more"):
        nl.jit(lambda x: x[::0])(X)  # step
    what = "slice(0.5, None, None) has bounds that are not integers"
    with error(nl.ArgumentError, what, "bound", "use integers or None"):
        nl.jit(lambda x: x[0.5:])(X)  # bound


def test_what_the_function_itself_raises_is_left_alone() -> None:
    class MyError(ValueError):
        pass

    def fail(kind: Any) -> Any:
        def function(x: Any) -> Any:
            raise kind("mine")

        return nl.jit(function)

    for kind in (ValueError, TypeError, IndexError, MyError, KeyError):
        with pytest.raises(kind, match=r"^'?mine'?$") as caught:
            fail(kind)(X)
        assert type(caught.value) is kind
    with pytest.raises(KeyError):
        nl.jit(lambda x: x + {}["missing"])(X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", sorted(protocols.PUBLIC))
def test_every_bad_call_names_the_users_line(name: str) -> None:
    """Whatever is wrong with the arguments of a function, the error is ours."""
    calls: list[Callable[[Any, Any], Any]] = [
        lambda f, x: f(),
        lambda f, x: f(x, foo=1),
        lambda f, x: f(*[x] * 12),
        lambda f, x: f("text"),
        lambda f, x: f(x, "text"),
        lambda f, x: f(x, object()),
        lambda f, x: f(x, axis="text"),
        lambda f, x: f(x, axis=1.5),
        lambda f, x: f(x, axis=x),
        lambda f, x: f(x, axis=9),
        lambda f, x: f(x, dtype="text"),
        lambda f, x: f([]),
        lambda f, x: f(x, []),
    ]
    for function in (protocols.PUBLIC[name], getattr(np, name, None)):
        for call in calls:
            if function is None:
                continue
            try:
                nl.jit(functools.partial(call, function)).trace(X)
            except nl.NeurlangError as caught:
                assert f"\n  at {Path(__file__).name}:" in str(caught)
            except AttributeError:
                assert function is not protocols.PUBLIC[name]  # NumPy looks into the argument


# side effects


class Holder:
    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def draw(self) -> Any:
        return self.generator.normal(size=3)  # draw of a method


holder = Holder()


class Caller:
    __name__ = "caller"

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __call__(self, x: Any) -> Any:
        return x + self.generator.normal(size=3)  # call of an object


def imports_inside(x: Any) -> Any:
    import random as chance

    return x + chance.random()  # local import


def test_random_numbers() -> None:
    def check(function: Callable[[Any], Any], mark: str) -> None:
        name = function.__name__
        what = f"random numbers are drawn while {name} is traced: every call would get the same"
        with error(nl.SideEffectError, what, mark, DRAW_OUTSIDE):
            nl.jit(function)(X)

    closure = np.random.RandomState(0)
    check(lambda x: x + np.random.rand(3), "global")  # global
    check(lambda x: x + generator.normal(size=3), "generator")  # generator
    check(lambda x: x + closure.normal(size=3), "closure")  # closure
    check(lambda x: x + random.gauss(0, 1), "standard library")  # standard library
    check(lambda x: x + holder.generator.normal(size=3), "attribute")  # attribute
    check(lambda x: x + holder.draw(), "draw of a method")
    check(Caller(), "call of an object")
    check(imports_inside, "local import")
    check(helped, "draw of a helper")
    check(nl.jit(helped), "draw of a helper")
    check(in_a_default, "in a default")
    check(lambda x: x + sources["one"].random(3), "in a container")  # in a container
    check(under_another_name, "under another name")


sources = {"one": generator}


def in_a_default(x: Any, source: Any = generator) -> Any:  # in a default
    return x + source.random(3)


def under_another_name(x: Any) -> Any:  # under another name
    numbers = np.random
    return x + numbers.rand(3)


def helped(x: Any) -> Any:
    def inner() -> Any:
        return helper(x)

    return x + inner()


def helper(x: Any) -> Any:
    count = len(x.shape)
    return generator.normal(size=count + 1)  # draw of a helper


def test_random_numbers_of_a_static_argument() -> None:
    @functools.partial(nl.jit, static_argnames="source")
    def noisy(x: Any, source: Any) -> Any:
        return x + source.normal(size=3)  # static generator

    what = "random numbers are drawn while noisy is traced: every call would get the same"
    with error(nl.SideEffectError, what, "static generator", DRAW_OUTSIDE):
        noisy(X, np.random.default_rng(1))


def test_a_generator_without_a_seed() -> None:
    what = "a random generator without a seed is made while the function is traced"
    with error(nl.SideEffectError, what, "unseeded", DRAW_OUTSIDE):
        nl.jit(lambda x: x + np.random.default_rng().normal(size=3))(X)  # unseeded
    with error(nl.SideEffectError, what, "unseeded of Python", DRAW_OUTSIDE):
        nl.jit(lambda x: x + random.Random().random())(X)  # unseeded of Python
    assert np.random.default_rng().normal(size=3).shape == (3,)
    assert 0 <= random.Random().random() < 1


def test_random_bytes_of_the_system() -> None:
    def check(function: Callable[[Any], Any], mark: str) -> None:
        what = "random bytes of the system are drawn while the function is traced"
        with error(nl.SideEffectError, what, mark, DRAW_OUTSIDE):
            nl.jit(function)(X)

    check(lambda x: x + os.urandom(1)[0], "urandom")  # urandom
    check(lambda x: x + secrets.randbelow(9), "secrets")  # secrets
    check(lambda x: x + uuid.uuid4().int % 9, "uuid4")  # uuid4
    check(lambda x: x + random.SystemRandom().random(), "system")  # system
    assert len(os.urandom(3)) == len(secrets.token_bytes(3)) == 3


def test_a_generator_with_a_seed_is_the_same_at_every_call() -> None:
    def function(x: Any) -> Any:
        return x + np.random.default_rng(7).normal(size=3) + random.Random(7).random()

    np.testing.assert_array_equal(nl.jit(function)(X), function(X))


def test_what_another_thread_draws_is_not_held_against_a_function() -> None:
    def draw() -> None:
        np.random.rand()
        random.random()
        generator.normal()

    @nl.jit
    def waits(x: Any) -> Any:
        thread = threading.Thread(target=draw)
        thread.start()
        thread.join()
        return x + 1

    with pytest.raises(nl.SideEffectError):  # it starts the thread: `draw` is in its reach
        waits(X)
    elsewhere = {"draw": draw}
    started, drawn = threading.Event(), threading.Event()

    def other() -> None:
        started.wait(30)
        elsewhere["draw"]()
        drawn.set()

    thread = threading.Thread(target=other)
    thread.start()

    @nl.jit
    def innocent(x: Any) -> Any:
        started.set()
        drawn.wait(30)
        return x + 1

    np.testing.assert_array_equal(innocent(X), X + 1)
    thread.join()


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "values.npy")
    np.save(path, X)

    def check(function: Callable[[Any], Any], mark: str) -> None:
        what = f"{path!r} is opened while the function is traced"
        with error(nl.SideEffectError, what, mark, READ_OUTSIDE):
            nl.jit(function)(X)

    check(lambda x: x + len(open(path, "rb").read()), "open")  # open
    check(lambda x: x + np.load(path), "load")  # load
    check(lambda x: x + len(Path(path).read_bytes()), "path")  # path


def test_lazy_work_may_be_compiled_inside_a_trace() -> None:
    pending = nl.asarray(X) * 3.25 + 0.125
    result = nl.jit(lambda x: x + pending)(X)
    np.testing.assert_array_equal(result, X + (X * np.float32(3.25) + np.float32(0.125)))


# calls and results


def test_the_number_of_arguments() -> None:
    hint = "it is build(x: 'Any', y: 'Any') -> 'Any'"
    what = "build: missing a required argument: 'y'"
    with error(nl.ArgumentError, what, "too few", hint):
        add(X)  # too few
    what = "build: too many positional arguments"
    with error(nl.ArgumentError, what, "too many", hint):
        add(X, X, X)  # too many
    what = "build: got an unexpected keyword argument 'z'"
    with error(nl.ArgumentError, what, "unknown", hint):
        add(X, X, z=1)  # unknown
    static = nl.jit(build, static_argnames="y")
    what = "build: missing a required argument: 'y'"
    with error(nl.ArgumentError, what, "static", hint):
        static(X)  # static


def test_nesting() -> None:
    deep: Any = [1.0]
    for _ in range(200):
        deep = [deep]
    with error(
        nl.ArgumentError,
        "an argument is nested deeper than 100 levels",
        "deep",
        "pass flatter containers; one that contains itself cannot be compiled",
    ):
        add(X, deep)  # deep


def test_results_that_are_no_arrays() -> None:
    hint = "return arrays, numbers, and lists, tuples or dicts of them"

    @nl.jit
    def speak(x: Any) -> Any:
        return [x, "text"]

    what = "speak returns a str, which is neither an array nor a number"
    with error(nl.ArgumentError, what, "text", hint):
        speak(X)  # text

    @nl.jit
    def generate(x: Any) -> Any:
        yield x

    what = "generate returns a generator, which is neither an array nor a number"
    with error(nl.ArgumentError, what, "generate", hint):
        generate(X)  # generate


def test_static_arguments_need_a_hash() -> None:
    shaped = nl.jit(lambda x, shape: x.reshape(shape), static_argnames="shape")
    with error(
        nl.ArgumentError,
        "the static argument shape is a list, which has no hash",
        "hash",
        "static arguments are part of the cache's key: pass a tuple or a number",
    ):
        shaped(X, [3, 2])  # hash
    assert shaped(X, (3, 2)).shape == (3, 2)


def test_shapes_and_dtypes_have_no_value() -> None:
    with error(
        nl.ArgumentError,
        "a call was given ShapeDtype((2, 3), float32), which has no value",
        "no value",
        "call it with an array; trace, lower and compile take shapes and dtypes",
    ):
        add(nl.ShapeDtype((2, 3), "f4"), 1.0)  # no value


# options


def test_options_of_jit() -> None:
    hint = "choose from static_argnames, static_argnums, threads, fast_math, cache"
    with error(nl.OptionError, "jit has no option foo", "jit option", hint):
        nl.jit(foo=1)  # type: ignore[call-overload]  # jit option
    with error(nl.OptionError, "threads is 0", "jit threads", "give an integer from 1 to 1024"):
        nl.jit(threads=0)(build)  # jit threads
    with error(nl.OptionError, "cache is 'off'", "jit cache", "give True or False"):
        nl.jit(cache="off")(build)  # type: ignore[call-overload]  # jit cache
    what = "jit takes a function, and was given 3"
    with error(nl.OptionError, what, "no function", "write options by name: @jit(threads=2)"):
        nl.jit(3)  # type: ignore[call-overload]  # no function
    what = "static_argnames names 'z', which is no parameter"
    with error(nl.OptionError, what, "static name", "choose from x, y"):
        nl.jit(build, static_argnames="z")  # static name
    what = "static_argnums names argument 2 of 2"
    with error(nl.OptionError, what, "static number", "count the parameters from 0"):
        nl.jit(static_argnums=2)(build)  # static number
    what = "static_argnums is 1.5"
    with error(nl.OptionError, what, "no static numbers", "give numbers of parameters"):
        nl.jit(build, static_argnums=1.5)  # type: ignore[call-overload]  # no static numbers
    what = "static_argnames is None"
    with error(nl.OptionError, what, "no static names", "give names of parameters"):
        nl.jit(build, static_argnames=None)  # type: ignore[call-overload]  # no static names


def test_options() -> None:
    with error(
        nl.OptionError,
        "there is no option 'foo'",
        "no option",
        "choose from disable_jit, dump, dump_dir, log, threads, cache, bisect, verify, fusion, "
        "vector_bits, pool, tile",
    ):
        nl.options(foo=1)  # no option
    what = "the option threads is 'abc'"
    with error(nl.OptionError, what, "no number", "give it an integer from 0 to 1024"):
        nl.options(threads="abc")  # no number
    what = "the option fusion is 1"
    with error(nl.OptionError, what, "no switch", "give it True or False"):
        nl.options(fusion=1)  # no switch
    what = "the option bisect is -2"
    with error(nl.OptionError, what, "no count", "give it an integer from -1"):
        nl.options(bisect=-2)  # no count


def test_options_are_entered_again_and_inside_themselves() -> None:
    chosen = nl.options(threads=3)
    for _ in range(2):
        with chosen:
            assert settings.get("threads") == 3
            with nl.options(threads=5), chosen:
                assert settings.get("threads") == 3
            assert settings.get("threads") == 3
            with chosen, nl.options(tile=7):
                assert (settings.get("threads"), settings.get("tile")) == (3, 7)
            assert (settings.get("threads"), settings.get("tile")) == (3, 0)
        assert settings.get("threads") == 0 and not settings.in_force()
    assert settings.contexts.entered == 0

    @chosen
    def decorated(deeper: int) -> int:
        return decorated(deeper - 1) if deeper else settings.get("threads")

    assert decorated(2) == 3 and settings.get("threads") == 0


def test_options_are_entered_by_several_threads_at_once() -> None:
    chosen = nl.options(threads=3)
    entered = threading.Barrier(2, timeout=30)
    left = threading.Barrier(2, timeout=30)
    found: list[Any] = []

    def use(first: bool) -> None:
        with chosen:
            entered.wait()
            if first:
                left.wait()
            found.append(settings.get("threads"))
        if not first:
            left.wait()
        found.append(settings.get("threads"))

    threads = [threading.Thread(target=use, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 3, 3] and settings.contexts.entered == 0


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in settings.OPTIONS.values():
        monkeypatch.setenv(option.variable, "")
        assert settings.get(option.name) == option.default


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("OFF", "off"),
        ("no", "off"),
        ("0", "off"),
        ("RO", "ro"),
        ("On", ""),
        ("1", ""),
        ("./ON", "./ON"),
        ("Programs", "Programs"),
    ],
)
def test_the_words_of_the_cache(text: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURLANG_CACHE", text)
    assert settings.get("cache") == value
    monkeypatch.delenv("NEURLANG_CACHE")
    with nl.options(cache=text):
        assert settings.get("cache") == value


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("THREADS", "abc", "an integer from 0 to 1024"),
        ("THREADS", "-1", "an integer from 0 to 1024"),
        ("TILE", "1.5", "an integer from 0"),
        ("BISECT", "-5", "an integer from -1"),
        ("FUSION", "maybe", "1 or 0"),
        ("VECTOR_BITS", "77", "0, 128, 256 or 512"),
        ("DUMP", "graph,nope", "some of trace,graph,loops,llvm,asm"),
        ("LOG", "everything", "compile"),
    ],
)
def test_variables(name: str, value: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = nl.jit(lambda x, y: x + y)
    monkeypatch.setenv(f"NEURLANG_{name}", value)
    with error(
        nl.OptionError,
        f"NEURLANG_{name} is {value!r}",
        "variable",
        f"set it to {wanted}, or unset it",
    ):
        function(X, 0.5)  # variable
    monkeypatch.delenv(f"NEURLANG_{name}")
    np.testing.assert_array_equal(function(X, 0.5), X + 0.5)


# memory, other errors, other processes


@pytest.mark.parametrize("shape", [(2**48,), (2**24, 2**24)])
def test_out_of_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(MemoryError):
        nl.jit(lambda x: nl.zeros(shape) + x)(1.0)
    with pytest.raises(MemoryError):
        np.asarray(nl.zeros(shape) + 1)
    np.testing.assert_array_equal(add(X, 1), X + 1)


def test_errors_of_the_function_itself() -> None:
    fail = [True]

    @nl.jit
    def function(x: Any) -> Any:
        y = x + 1
        if fail:
            raise KeyError("mine")
        return y

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            function(X)
    assert function.cache_info() == (0, 0, 0)
    fail.clear()
    np.testing.assert_array_equal(function(X), X + 1)


def test_endless_recursion() -> None:
    @nl.jit
    def endless(x: Any) -> Any:
        return endless(x + 1)

    with pytest.raises(RecursionError):
        endless(X)
    np.testing.assert_array_equal(add(X, 1), X + 1)


def test_errors_travel_between_processes() -> None:
    with pytest.raises(nl.ShapeError) as caught:
        add(X, np.ones(4))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is nl.ShapeError
    assert str(again) == str(caught.value)
    assert (again.where, again.hint) == (caught.value.where, caught.value.hint)


# x += y


def test_augmented_assignment_where_nobody_else_looks() -> None:
    """A new array under the old name, with the dtype that NumPy keeps."""

    def function(x: Any, y: Any, count: Any) -> Any:
        total = np.zeros_like(x)
        for _ in range(3):
            total += x * count
        kept = {"one": x * 1}
        kept["one"] += y
        total *= total
        mean = x.mean()
        copy = mean
        mean += 1
        count += 1
        return total, kept["one"], mean, copy, x * count

    y = np.ones(3)  # float64: NumPy writes it into float32
    found, expected = nl.jit(function)(X, y, 2), function(X.copy(), y, 2)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_augmented_assignment_that_others_would_see() -> None:
    def argument(x: Any) -> Any:  # what is written
        x += 1  # written by the caller too
        return x

    def alias(x: Any) -> Any:
        y = x * 2  # made first
        z = y
        z -= 1  # two names
        return y

    def view(x: Any) -> Any:
        y = x * 2
        row = y[0]  # made as a row
        row *= 3  # a view
        return y

    def helper(x: Any) -> None:
        x **= 2  # the caller's name

    def called(x: Any) -> Any:
        y = x * 2  # made for a helper
        helper(y)
        return y

    with error(
        nl.MutationError,
        "+= would change f32[2,3] in place: NumPy would write into x",
        "written by the caller too",
        "write x = x + y, which makes a new array",
        origin="what is written",
    ):
        nl.jit(argument)(X)
    held = "would change f32[2,3] in place: another name or container holds it"
    hint = "write x = x - y, which makes a new array"
    with error(nl.MutationError, f"-= {held}", "two names", hint, origin="made first"):
        nl.jit(alias)(X)
    with error(
        nl.MutationError,
        "*= would change f32[3] in place: a view of it, or what it is a view of, is alive",
        "a view",
        "write x = x * y, which makes a new array",
        origin="made as a row",
    ):
        nl.jit(view)(X)
    with error(
        nl.MutationError,
        f"**= {held}",
        "the caller's name",
        "write x = x ** y, which makes a new array",
        origin="made for a helper",
    ):
        nl.jit(called)(X)


def test_augmented_assignment_that_does_not_fit() -> None:
    def floats(x: Any) -> Any:
        counts = (x > 0).astype(int)
        counts += 1.5  # into integers
        return counts

    def shapes(x: Any) -> Any:
        row = x[0] + 1
        row += x  # into a row
        return row

    with error(
        nl.DTypeError,
        "+= makes f64[2,3], which i64[2,3] does not hold",
        "into integers",
        "write x = x + y",
    ):
        nl.jit(floats)(X)
    with error(
        nl.ShapeError,
        "+= makes f32[2,3] of f32[3], which has another shape",
        "into a row",
        "write x = x + y",
    ):
        nl.jit(shapes)(X)
