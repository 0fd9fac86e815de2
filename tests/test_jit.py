"""`@nl.jit` as users call it: arguments, results, layouts, methods, nesting, closures."""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import operator
import pickle
import pydoc
import threading
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.frontend.trace import current_trace

X = np.arange(6, dtype=np.float32).reshape(2, 3)
ROW = np.ones(3)
Pair = namedtuple("Pair", ["a", "b"])


@dataclasses.dataclass(frozen=True)
class Layer:
    weight: Any
    bias: Any = 0.5


def assert_same(found: Any, expected: Any) -> None:
    """Same nesting, same types of leaves, same dtypes, shapes and values."""
    if isinstance(expected, Layer):
        assert type(found) is Layer
        assert_same([found.weight, found.bias], [expected.weight, expected.bias])
    elif isinstance(expected, dict):
        assert type(found) is type(expected) and list(found) == list(expected)
        assert_same(list(found.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected):
            assert_same(one, other)
    elif expected is None:
        assert found is None
    else:
        assert type(found) is type(expected)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)


@nl.jit
def module_level(x: Any) -> Any:
    """Twice x."""
    return x * 2


# the decorator


def test_with_and_without_parentheses() -> None:
    def double(x: Any) -> Any:
        return x * 2

    for jitted in (
        nl.jit(double),
        nl.jit()(double),
        nl.jit(threads=1)(double),
        nl.jit(threads=2, fast_math=True, cache=False)(double),
        nl.jit(nl.jit(double)),
    ):
        assert_same(jitted(X), X * 2)


@pytest.mark.parametrize(
    "options", [{"static_argnames": "n"}, {"static_argnames": ("n",)}, {"static_argnums": 1}]
)
def test_static_arguments(options: dict[str, Any]) -> None:
    seen: list[Any] = []

    @nl.jit(**options)
    def function(x: Any, n: Any = (3, 2), *, m: Any = 1) -> Any:
        seen.append(n)
        return x.reshape(n) * m

    assert_same(function(X), X.reshape(3, 2) * 1)
    assert_same(function(X, (6,), m=2), X.reshape(6) * 2)
    assert_same(function(X, n=(6,), m=3), X.reshape(6) * 3)
    assert_same(function(n=(1, 6), x=X), X.reshape(1, 6) * 1)
    assert seen == [(3, 2), (6,), (1, 6)]
    negative = nl.jit(lambda x, n: x.reshape(n), static_argnums=(-1,))
    assert negative(X, (6,)).shape == (6,)


def test_it_looks_like_the_function() -> None:
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Twice x."
    assert module_level.__module__ == __name__
    assert repr(module_level) == "<jit module_level(x: 'Any') -> 'Any'>"
    text = pydoc.plain(pydoc.render_doc(module_level))
    assert "module_level(x: 'Any') -> 'Any'" in text and "Twice x." in text


def test_copies_and_pickles() -> None:
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert copy.copy(module_level) is module_level
    assert copy.deepcopy({"f": module_level})["f"] is module_level
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(nl.jit(lambda x: x))


def test_what_can_be_jitted() -> None:
    class Callable_:
        def __call__(self, x: Any) -> Any:
            return x + 1

    def add(x: Any, y: Any = 2) -> Any:
        return x + y

    assert_same(nl.jit(Callable_())(X), X + 1)
    assert_same(nl.jit(functools.partial(add, y=3))(X), X + 3)
    assert_same(functools.partial(nl.jit(add), X)(4), X + 4)
    assert_same(nl.jit(np.add)(X, X), X + X)
    assert_same(nl.jit(np.sqrt)(X), np.sqrt(X))
    assert_same(nl.jit(nl.maximum)(X, 2), np.maximum(X, 2))
    assert_same(nl.jit(Layer)(X, X), Layer(X, X))
    assert nl.jit(Callable_()).__name__ == "Callable_"


# arguments and results


@pytest.mark.parametrize(
    "tree",
    [
        {"w": X, "b": [X[0], (X, np.int8(3))]},
        Pair(X, {"deep": Pair([X], ())}),
        OrderedDict(z=X, a=np.float64(2)),
        Layer(X, [X, None]),
        [X, None, {}, []],
        (X,),
        [X, X],
        (X, X),
        X,
        None,
        (),
    ],
)
def test_nested_arguments_come_back(tree: Any) -> None:
    assert_same(nl.jit(lambda t: t)(tree), tree)
    assert_same(nl.jit(lambda *, t: t)(t=tree), tree)
    assert_same(nl.jit(lambda *t: t)(tree, tree), (tree, tree))


def test_keywords_defaults_and_variable_arguments() -> None:
    def function(x: Any, /, y: Any = ROW, *rest: Any, scale: Any = 2, **more: Any) -> Any:
        return {"sum": x + y + sum(rest), "more": {k: v * scale for k, v in more.items()}}

    jitted = nl.jit(function)
    static = nl.jit(function, static_argnames="scale")
    for args, kwargs in (
        ((X,), {}),
        ((X, X), {}),
        ((X,), {"y": X}),
        ((X, X, X, X), {"scale": 3, "b": X, "a": X[0]}),
        ((X,), {"a": X[0], "scale": 1}),
    ):
        expected = function(*args, **kwargs)
        assert_same(jitted(*args, **kwargs), expected)
        assert_same(jitted(*args, **kwargs), expected)
        assert_same(static(*args, **kwargs), expected)


@pytest.mark.parametrize("value", [2, -3, 2.5, True, np.float32(2), np.int8(3), np.uint64(7)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32", "float64"])
def test_scalars_promote_as_in_numpy(value: Any, dtype: str) -> None:
    x = np.arange(1, 5).astype(dtype)

    def function(x: Any, s: Any) -> Any:
        return x * s, s + s, nl.maximum(s, 1)

    try:
        expected = (x * value, np.asarray(value + value)[()], np.maximum(value, 1))
    except OverflowError:
        return  # NumPy looks at the value: -3 does not fit uint8; a traced value wraps
    found = nl.jit(function)(x, value)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[0].dtype == expected[0].dtype
    assert found[2].dtype == expected[2].dtype


def test_results_without_axes_are_numpys_scalars() -> None:
    assert_same(nl.jit(lambda x: x.sum())(X), X.sum())
    assert_same(nl.jit(lambda x: (x.max(), [x.argmax()]))(X), (X.max(), [X.argmax()]))
    assert_same(nl.jit(lambda x: x > 2)(3), np.bool_(True))
    assert_same(nl.jit(lambda x: x)(3), np.int64(3))
    assert_same(nl.jit(lambda x: x)(True), np.bool_(True))
    assert_same(nl.jit(lambda x: 7)(X), np.int64(7))
    assert_same(nl.jit(lambda: 1.5)(), np.float64(1.5))
    with nl.options(disable_jit=True):
        assert_same(nl.jit(lambda x: (x.sum(), x))(X), (X.sum(), X))


# memory


def layouts() -> dict[str, np.ndarray[Any, Any]]:
    base = np.arange(48, dtype=np.float32).reshape(6, 8)
    raw = np.zeros(4 * 12 + 1, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(3, 4)
    misaligned[:] = base[:3, :4]
    read_only = base.copy()
    read_only.flags.writeable = False
    return {
        "C": base,
        "F": np.asfortranarray(base),
        "permuted": np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
        "strided": base[::2, 1::3],
        "reversed": base[::-1, ::-1],
        "negative rows of F": np.asfortranarray(base)[::-1],
        "misaligned": misaligned,
        "swapped": base.astype(">f4"),
        "swapped integers": np.arange(5).astype(">i8"),
        "read only": read_only,
        "repeated": np.broadcast_to(base[0], (3, 8)),
        "overlapping": np.lib.stride_tricks.sliding_window_view(base[0], 3),
        "empty": np.zeros((0, 3)),
        "empty F": np.zeros((3, 0, 2), order="F"),
        "no axes": np.array(2.5),
        "one element": np.ones((1, 1)),
    }


@pytest.mark.parametrize("name", layouts())
def test_layouts(name: str) -> None:
    array = layouts()[name]
    before = array.tobytes()
    native = array.astype(array.dtype.newbyteorder("="))
    for function in (lambda x: x * 2 + 1, lambda x: x.sum(axis=0) if x.ndim else x, lambda x: x):
        jitted = nl.jit(function)
        for _ in range(2):
            found, expected = jitted(array), np.asarray(function(native))
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        with nl.options(disable_jit=True):
            np.testing.assert_array_equal(jitted(array), expected)
    assert array.tobytes() == before


def test_booleans_of_any_byte() -> None:
    strange = np.array([0, 1, 2, 255, 128, 0, 3, 254] * 9, np.uint8).view(bool)
    honest = strange.astype(np.uint8) != 0

    def function(b: Any) -> Any:
        return [
            b.sum(),
            ~b,
            b & True,
            b == honest,
            b.astype(np.int32),
            b ^ honest,
            nl.where(b, 1.5, -1.5),
            b * 3,
            b[::-1],
            nl.argmax(b),
        ]

    expected = [
        honest.sum(),
        ~honest,
        honest & True,
        honest == honest,
        honest.astype(np.int32),
        honest ^ honest,
        np.where(honest, 1.5, -1.5),
        honest * 3,
        honest[::-1],
        np.argmax(honest),
    ]
    for found, wanted in zip(nl.jit(function)(strange), expected):
        np.testing.assert_array_equal(found, wanted)


def test_results_share_no_memory() -> None:
    def function(x: Any) -> Any:
        y = x + 1
        return x, x, y, y, x.reshape(-1), y.T, x[:1]

    results = nl.jit(function)(X)
    for position, one in enumerate(results):
        assert not np.shares_memory(one, X)
        assert one.flags.writeable and one.flags.c_contiguous
        for other in results[position + 1 :]:
            assert not np.shares_memory(one, other)
    assert_same(results, tuple(np.ascontiguousarray(value) for value in function(X)))


def test_a_result_survives_the_next_call() -> None:
    function = nl.jit(lambda x: x * 2)
    first = function(X)
    function(X + 1)
    assert_same(first, X * 2)


def test_nothing_is_kept_alive() -> None:
    function = nl.jit(lambda t: (t["x"] * 2, t["x"]))
    arguments = {"x": np.ones(7)}
    kept = weakref.ref(arguments["x"])
    result = weakref.ref(function(arguments)[0])
    function(arguments)
    del arguments
    gc.collect()
    assert kept() is None and result() is None
    dropped = weakref.ref(function)
    del function
    gc.collect()
    assert dropped() is None


def test_inputs_are_not_written() -> None:
    @nl.jit
    def function(x: Any) -> Any:
        y = x + 1
        y *= 2
        return y

    mine = X.copy()
    assert_same(function(mine), (X + 1) * 2)
    assert_same(mine, X)


def test_subclasses_are_read_as_arrays() -> None:
    class Tagged(np.ndarray[Any, Any]):
        pass

    found = nl.jit(lambda x: x + 1)(X.view(Tagged))
    assert_same(found, X + 1)


# closures, nesting, recursion


def test_captured_arrays_are_constants() -> None:
    table = np.arange(3.0)
    large = np.ones((100, 3))
    function = nl.jit(lambda x: x + table + large[:2])
    expected = X + table + large[:2]
    assert_same(function(X), expected)
    table[:] = 100
    large[:] = 100
    assert_same(function(X), expected)


def test_a_constant_that_comes_back_is_a_copy() -> None:
    table = np.arange(3.0)
    function = nl.jit(lambda x: (x, table, np.float32(2), 3))
    first = function(X)
    first[1][:] = -1
    assert_same(function(X), (X, np.arange(3.0), np.float32(2), np.int64(3)))
    assert_same(table, np.arange(3.0))


def test_nested_jit_is_inlined() -> None:
    inner = nl.jit(lambda x, n: x * n, static_argnames="n")
    outer = nl.jit(lambda x: inner(x, 2) + inner(x + 1, n=3))
    assert_same(outer(X), X * 2 + (X + 1) * 3)
    assert inner.cache_info() == (0, 0, 0)
    assert "call" not in str(outer.trace(X).graph)


def test_recursion() -> None:
    @functools.partial(nl.jit, static_argnames="n")
    def power(x: Any, n: int) -> Any:
        return x if n == 1 else x * power(x, n - 1)

    assert_same(power(X, 4), X * (X * (X * X)))


def test_long_functions() -> None:
    def function(x: Any) -> Any:
        for number in range(300):
            x = x + number
        return x

    integers = np.arange(5)
    assert_same(nl.jit(function)(integers), function(integers))


def test_many_outputs_and_arguments() -> None:
    function = nl.jit(lambda *values: [value * 2 for value in values])
    values = [np.full(3, number) for number in range(60)]
    assert_same(function(*values), [value * 2 for value in values])


# methods


class Model:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    @functools.partial(nl.jit, static_argnames="self")
    def apply(self, x: Any) -> Any:
        """Scale x."""
        return x * self.scale

    @nl.jit
    def traced_self(self, x: Any) -> Any:
        return x * self.scale

    @staticmethod
    @nl.jit
    def double(x: Any) -> Any:
        return x * 2


@dataclasses.dataclass
class Affine:
    weight: Any
    bias: Any

    @nl.jit
    def __call__(self, x: Any) -> Any:
        return x * self.weight + self.bias

    @functools.partial(nl.jit, static_argnames="times")
    def repeat(self, x: Any, times: int) -> Any:
        for _ in range(times):
            x = x * self.weight
        return x


def test_methods() -> None:
    two, three = Model(2.0), Model(3.0)
    assert_same(two.apply(X), X * 2)
    assert_same(three.apply(X), X * 3)
    assert_same(Model.apply(two, X), X * 2)
    assert Model.apply.cache_info() == (1, 2, 2)
    assert_same(Model.double(X), X * 2)
    assert_same(two.double(X), X * 2)
    assert (two.apply.__name__, two.apply.__doc__) == ("apply", "Scale x.")
    assert two.apply.trace(X).out_info == nl.ShapeDtype((2, 3), "f4")
    assert_same(two.apply.lower(X).compile()(two, X), X * 2)
    with pytest.raises(nl.ArgumentError, match=r"static_argnames='self'"):
        two.traced_self(X)


def test_methods_of_dataclasses_trace_the_fields() -> None:
    layer = Affine(X[0], 0.5)
    assert_same(layer(X), X * X[0] + np.float32(0.5))
    layer.weight = X[1]
    assert_same(layer(X), X * X[1] + np.float32(0.5))
    assert_same(layer.repeat(X, 3), X * X[1] * X[1] * X[1])
    assert Affine.__call__.cache_info() == (1, 1, 1)


# when things go wrong


def test_an_exception_leaves_no_trace() -> None:
    @nl.jit
    def fails(x: Any) -> Any:
        nl.exp(x)
        raise ZeroDivisionError

    @nl.jit
    def recovers(x: Any) -> Any:
        try:
            return x.reshape(7)
        except nl.ShapeError:
            return x + 1

    with pytest.raises(ZeroDivisionError):
        fails(X)
    assert current_trace() is None
    assert_same(recovers(X), X + 1)


def test_an_interrupt_while_tracing() -> None:
    @nl.jit
    def interrupted(x: Any) -> Any:
        if stop:
            raise KeyboardInterrupt
        return x + 1

    stop = [True]
    with pytest.raises(KeyboardInterrupt):
        interrupted(X)
    stop.clear()
    assert current_trace() is None
    assert_same(interrupted(X), X + 1)


def test_threads_trace_at_the_same_time() -> None:
    def make(number: int) -> Callable[[Any], Any]:
        return nl.jit(lambda x: (x * number + 1).sum(axis=0))

    found: dict[int, Any] = {}

    def call(number: int) -> None:
        found[number] = make(number)(X)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(12):
        assert_same(found[number], (X * number + 1).sum(axis=0))


def test_disabled() -> None:
    function = nl.jit(lambda t: {"r": [t["x"] @ t["y"], t["x"].sum()]})
    tree = {"x": X, "y": np.asfortranarray(np.ones((3, 4), np.float32))}
    expected = {"r": [X @ tree["y"], X.sum()]}
    with nl.options(disable_jit=True):
        assert_same(function(tree), expected)
    assert_same(function(tree), expected)


def test_a_traced_integer_that_does_not_fit_raises_as_in_numpy() -> None:
    function = nl.jit(lambda x, s: x + s, cache=False)
    small = np.arange(3, dtype="uint8")
    assert np.array_equal(function(small, 3), small + 3)
    for number in (300, -1):
        with pytest.raises(OverflowError):
            small + number
        with pytest.raises(OverflowError, match=f"{number} out of bounds for uint8"):
            function(small, number)
    assert np.array_equal(function(small, 255), small + 255)
    assert np.array_equal(function(np.arange(3), 10**12), np.arange(3) + 10**12)


def test_what_is_computed_from_traced_integers_is_checked_as_well() -> None:
    functions: tuple[Callable[..., Any], ...] = (
        lambda x, s: x + s * 2,
        lambda x, s: x * -s,
        lambda x, s: (x + 1) - abs(s - 1) // 3,
    )
    x = np.arange(3, dtype="int8")
    for function in functions:
        compiled = nl.jit(function, cache=False)
        for number in (3, 60, 300, -400, 129, -20):
            try:
                expected = function(x, number)
            except OverflowError as error:
                with pytest.raises(nl.RangeError, match=str(error)):
                    compiled(x, number)
            else:
                assert_same(compiled(x, number), expected)
    with pytest.raises(OverflowError, match="300 out of bounds for int8"):
        nl.jit(lambda x: x + nl.asarray(300))(x)
    with pytest.raises(OverflowError, match="300 out of bounds for int8"):
        nl.asarray(x) + nl.asarray(300)


COMPARISONS = (
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "float32", "bool"])
def test_a_traced_integer_is_compared_with_all_its_bits(compare: Any, dtype: str) -> None:
    function = nl.jit(lambda x, s: (compare(x, s), compare(s, x)), cache=False)
    limits = np.iinfo(np.int8 if dtype in ("float32", "bool") else dtype)
    x = np.array([limits.min, 0, 1, 100, limits.max], dtype)
    for number in (0, 1, -1, 100, 255, 300, -1000, 2**31, -(2**40), 2**63 - 1, -(2**63)):
        assert_same(function(x, number), (compare(x, number), compare(number, x)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float32"])
def test_traced_integers_as_bounds_of_clip(dtype: str) -> None:
    function = nl.jit(lambda x, low, high: np.clip(x, low, high), cache=False)
    x = np.arange(6).astype(dtype)
    for low, high in ((2, 4), (-1000, 4), (2, 1000), (-1000, 1000), (0, 2**62), (-(2**40), 3)):
        assert_same(function(x, low, high), np.clip(x, low, high))
    narrow = np.arange(6, dtype="int8")
    for low, high in ((300, 400), (-300, -200)):
        with pytest.raises(OverflowError):
            np.clip(narrow, low, high)
        with pytest.raises(OverflowError):
            function(narrow, low, high)


def test_where_converts_a_traced_integer_as_numpy_does() -> None:
    function = nl.jit(lambda x, s: np.where(x > 0, x, s), cache=False)
    x = np.array([0, 1], "int8")
    for number in (5, 300, -5000):
        assert_same(function(x, number), np.where(x > 0, x, number))


def test_filling_with_an_integer_that_does_not_fit_raises_as_in_numpy() -> None:
    x = np.array([0, 1], "int8")
    functions = {
        "full_like": lambda x, s: np.full_like(x, s),
        "asarray": lambda x, s: x + nl.asarray(s, "int8"),
        "initial": lambda x, s: np.max(x, initial=s),
    }
    for name, function in functions.items():
        compiled = nl.jit(function, cache=False)
        assert np.array_equal(compiled(x, 5), function(x, 5)), name
        with pytest.raises(OverflowError, match="300 out of bounds for int8"):
            compiled(x, 300)
    for make in (
        lambda: nl.asarray(300, "int8"),
        lambda: nl.array([1, 300], "int8"),
        lambda: nl.full(3, [300], "int8"),
        lambda: nl.update(x, 0, 300),
        lambda: nl.pad(x, 1, constant_values=300),
    ):
        with pytest.raises(OverflowError, match="300 out of bounds for int8"):
            make()
    assert nl.asarray(2**63, "uint64").item() == 2**63
    assert nl.asarray(np.array([300])).astype("int8").item() == 44


def test_an_array_in_the_shape_of_another_order_is_not_taken_for_it() -> None:
    function = nl.jit(lambda x: x.sum(axis=0), cache=False)
    columns = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    rows = np.arange(12.0).reshape(4, 3)  # what the memory of `columns` looks like
    for _ in range(3):
        assert_same(function(columns), columns.sum(axis=0))
        assert_same(function(rows), rows.sum(axis=0))


# calls whose arguments are not plain leaves in order


def test_the_latest_program_is_tried_first_and_the_right_one_runs() -> None:
    function = nl.jit(lambda t, scale=2.0: {"r": t["x"] * scale, "s": [t["x"].sum()]}, cache=False)

    def expected(x: Any, scale: Any) -> Any:
        return {"r": x * scale, "s": [x.sum()]}

    wide = np.arange(24.0).reshape(4, 6)
    calls = [(X, 2.0), (X, 3.0), (wide, 2.0), (X, 2), (wide[:, ::2], 1.5), (X.T, 2.5), (wide, 0.5)]
    for _ in range(3):
        for x, scale in calls:
            assert_same(function({"x": x}, scale=scale), expected(x, scale))
    assert_same(function({"x": X}), expected(X, 2.0))
    with nl.options(fusion=False):
        assert_same(function({"x": X}, scale=3.0), expected(X, 3.0))
    with nl.options(disable_jit=True):
        assert_same(function({"x": X}, scale=3.0), expected(X, 3.0))
    made = function.cache_info()
    assert made.misses == made.programs - 1  # one is only interpreted
    function.cache_clear()
    assert_same(function({"x": X}, scale=3.0), expected(X, 3.0))
    assert_same(function({"x": X}, scale=3.0), expected(X, 3.0))
    assert function.cache_info() == (1, 1, 1)


def test_failures_and_checks_of_the_latest_program() -> None:
    def compute(t: Any) -> Any:
        return [t["x"] + t["k"], t["x"] ** t["n"]]

    function = nl.jit(compute, cache=False)
    x, n = np.arange(5, dtype="int8"), np.arange(5, dtype="int8")
    for _ in range(3):
        found = function({"x": x, "k": 3, "n": n})
        assert_same(found, [x + 3, x**n])
        with pytest.raises(nl.DomainError, match="negative integer powers"):
            function({"x": x, "k": 3, "n": n - 1})
        with pytest.raises(nl.RangeError, match="300 out of bounds for int8"):
            function({"x": x, "k": 300, "n": n})


def test_static_arguments_in_every_way_to_pass_them() -> None:
    def compute(x: Any, n: Any = 2, *rest: Any, mode: Any = "add", **more: Any) -> Any:
        total = x * n
        for value in (*rest, *more.values()):
            total = total + value if mode == "add" else total - value
        return total

    function = nl.jit(compute, static_argnames=("n", "mode"), cache=False)
    for _ in range(2):
        for args, kwargs in (
            ((X,), {}),
            ((X, 2), {}),
            ((X,), {"n": 3}),
            ((), {"n": 3, "x": X}),
            ((X, 3, ROW, 2.5), {}),
            ((X, 3, ROW), {"mode": "sub", "y": ROW, "z": 1}),
            ((X, 3, ROW), {"z": 1, "y": ROW, "mode": "sub"}),
        ):
            assert_same(function(*args, **kwargs), compute(*args, **kwargs))
    with pytest.raises(nl.ArgumentError, match="missing a required argument: 'x'"):
        function(n=3)
    shared = nl.jit(lambda x, n=2: x * n, static_argnums=1, cache=False)
    assert_same(shared(X), shared(X, 2))
    assert_same(shared(X, n=2), X * 2)
    assert shared.cache_info().programs == 1
    with pytest.raises(nl.ArgumentError, match="which has no hash"):
        shared(X, [2])


def test_numbers_that_functions_return_are_arrays() -> None:
    """NumPy's operators take Python numbers as they are, its functions as arrays."""
    single, byte = np.arange(5, dtype=np.float32), np.arange(5, dtype=np.int8)
    functions = [
        lambda a, s: np.reshape(s, (1,)) * a,
        lambda a, s: np.ravel(s) * a,
        lambda a, s: np.squeeze(s) * a,
        lambda a, s: np.transpose(s) + a,
        lambda a, s: np.atleast_1d(s) - a,
        lambda a, s: np.append(a, s),
        lambda a, s: np.hstack([a, s]),
        lambda a, s: np.isclose(a, s),
        lambda a, s: (s + 1) * a,
        lambda a, s: np.where(a > 2, a, s),
    ]
    for function in functions:
        assert_same(nl.jit(function)(single, 2.5), function(single, 2.5))
        assert_same(nl.jit(function)(byte, 3), function(byte, 3))
    append = lambda a: np.append(a, 300)  # noqa: E731  # as the user wrote it
    assert_same(nl.jit(append)(byte), append(byte))


def test_python_bools_are_computed_as_numpys() -> None:
    """As docs/semantics.md says: an argument that is a bool is an array of bool without axes."""
    double = nl.jit(lambda s: s + s)
    for flag in (True, False):
        assert_same(double(flag), np.bool_(flag) + np.bool_(flag))
        assert_same(
            nl.jit(lambda s: np.arange(3, dtype=np.int8) * s)(flag), np.int8([0, 1, 2]) * flag
        )
