"""Arrays among ndarrays: operators, methods, and NumPy's own functions called on them."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from neurlang.errors import ArgumentError, DTypeError, MutationError, ShapeError
from neurlang.frontend import array as array_module
from neurlang.frontend import protocols
from neurlang.frontend.array import Array, set_executor
from neurlang.frontend.creation import asarray
from neurlang.frontend.trace import Trace, tracing
from neurlang.ir.graph import Graph, Node, graph_from
from neurlang.ir.interpret import interpret
from neurlang.ir.types import Type
from neurlang.jit import jit

X = np.array([[1.5, -2.0, 0.25], [4.0, 3.0, -7.0]])
INTEGERS = np.array([[5, 3, 12], [7, 1, 9]])


def run(graph: Graph, *inputs: Any) -> tuple[Any, ...]:
    result = interpret(graph, *inputs)
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    earlier = list(array_module._executor)
    set_executor(run)
    yield
    array_module._executor[:] = earlier


def same(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert isinstance(found, Array)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-14)


ARITHMETIC = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
)
BITWISE = (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift)


@pytest.mark.parametrize("apply", ARITHMETIC)
def test_arithmetic_operators(apply: Callable[[Any, Any], Any]) -> None:
    positive = np.abs(X)
    for other in (2, 2.5, np.float32(2), X[0] + 10, [1.0, 2.0, 3.0]):
        same(apply(asarray(positive), other), apply(positive, other))
        same(apply(other, asarray(positive)), apply(other, positive))
    same(apply(asarray(INTEGERS), INTEGERS), apply(INTEGERS, INTEGERS))
    same(apply(asarray(positive), asarray(positive[0])), apply(positive, positive[0]))


@pytest.mark.parametrize("apply", BITWISE)
def test_bitwise_operators(apply: Callable[[Any, Any], Any]) -> None:
    same(apply(asarray(INTEGERS), 3), apply(INTEGERS, 3))
    same(apply(3, asarray(INTEGERS)), apply(3, INTEGERS))
    same(apply(INTEGERS, asarray(INTEGERS[0])), apply(INTEGERS, INTEGERS[0]))


def test_unary_operators_and_builtins() -> None:
    for apply in (operator.neg, operator.pos, operator.abs, round):
        same(apply(asarray(X)), apply(X) if apply is not round else np.round(X))
    same(~asarray(INTEGERS), ~INTEGERS)
    same(round(asarray(X), 1), np.round(X, 1))
    for found, expected in zip(divmod(asarray(X), 2), divmod(X, 2), strict=True):
        same(found, expected)
    for found, expected in zip(divmod(7, asarray(INTEGERS)), divmod(7, INTEGERS), strict=True):
        same(found, expected)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32", "float64"])
def test_power_operator(dtype: str) -> None:
    x = np.array([[0, 1, 2, 7]]).astype(dtype)
    for exponent in (0, 1, 2, 3, 0.5, 2.0, np.int8(2), np.float32(2), np.arange(4)):
        try:
            expected = x**exponent
        except TypeError:
            continue
        if expected.dtype != np.float16:
            same(asarray(x) ** exponent, expected)


def test_matmul_operator() -> None:
    same(asarray(X) @ X.T, X @ X.T)
    same(X @ asarray(X.T), X @ X.T)


def test_in_place_operators_rebind() -> None:
    x = kept = asarray(X)
    x += 1
    x *= 2
    same(x, (X + 1) * 2)
    same(kept, X)
    with pytest.raises(ArgumentError, match="out="):
        np.array(X).__iadd__(kept)


def test_operators_refuse_strangers() -> None:
    for stranger in ("text", {}, object()):
        with pytest.raises(TypeError):
            asarray(X) + stranger
    for stranger in (None, "text", 1j):
        with pytest.raises(DTypeError, match="takes an array and"):
            operator.eq(asarray(X), stranger)  # Python would compare identities, and say False
    with pytest.raises(DTypeError, match="use `is not None`"):
        operator.ne(asarray(X), None)
    with pytest.raises(TypeError, match="unhashable"):
        hash(asarray(X))


def test_sequence_protocol() -> None:
    x = asarray(X)
    assert len(x) == 2
    for row, expected in zip(x, X, strict=True):
        same(row, expected)
    a, b = x
    same(a + b, X[0] + X[1])
    assert 4.0 in x and 9.0 not in x
    with pytest.raises(TypeError):
        iter(asarray(1.0))
    with pytest.raises(MutationError):
        x[0] = 1
    assert copy.copy(x) is copy.deepcopy(x) is x


METHODS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("sum", (), {}),
    ("sum", (0,), {"keepdims": True}),
    ("mean", (), {"axis": 1}),
    ("prod", (1,), {}),
    ("max", (), {}),
    ("min", (0,), {}),
    ("argmax", (), {}),
    ("argmin", (1,), {}),
    ("any", (), {}),
    ("all", (0,), {}),
    ("std", (), {"ddof": 1}),
    ("var", (0,), {}),
    ("cumsum", (1,), {}),
    ("cumprod", (), {}),
    ("clip", (-1, 2), {}),
    ("round", (1,), {}),
    ("astype", ("float32",), {}),
    ("reshape", (3, 2), {}),
    ("reshape", ((3, -1),), {}),
    ("reshape", (-1,), {}),
    ("ravel", (), {}),
    ("flatten", (), {}),
    ("transpose", (), {}),
    ("transpose", (1, 0), {}),
    ("transpose", ((1, 0),), {}),
    ("swapaxes", (0, 1), {}),
    ("squeeze", (), {}),
    ("repeat", (2,), {"axis": 1}),
    ("take", ([0, 2],), {"axis": 1}),
    ("dot", (X.T,), {}),
    ("argsort", (), {}),
    ("copy", (), {}),
    ("conj", (), {}),
    ("diagonal", (), {}),
]


@pytest.mark.parametrize("name, args, keywords", METHODS)
def test_methods(name: str, args: Any, keywords: Any) -> None:
    same(getattr(asarray(X), name)(*args, **keywords), getattr(X, name)(*args, **keywords))


def test_format() -> None:
    assert f"{asarray(X).sum():.3f}" == f"{X.sum():.3f}"
    assert f"{asarray(X)}" == str(X)


def test_properties() -> None:
    x = asarray(X)
    for name in ("T", "mT", "real", "imag"):
        same(getattr(x, name), getattr(X, name))
    same(x.flat, X.ravel())
    same(x.flat[4], X.flat[4])
    assert (x.ndim, x.size, x.itemsize, x.nbytes) == (X.ndim, X.size, X.itemsize, X.nbytes)


def test_what_an_ndarray_does_in_place_is_refused() -> None:
    changes: list[Callable[[Any], Any]] = [
        lambda x: x.sort(),
        lambda x: x.fill(0),
        lambda x: x.partition(1),
        lambda x: x.put(0, 1),
        lambda x: x.resize(3),
        lambda x: x.setflags(write=False),
        lambda x: operator.setitem(x, 0, 1),
        lambda x: operator.setitem(x.flat, 0, 1),
        lambda x: operator.delitem(x, 0),
        *(
            lambda x, name=name: setattr(x, name, 0)
            for name in "shape dtype flat real imag".split()
        ),
    ]
    for change in changes:
        with pytest.raises(MutationError, match="cannot be assigned into"):
            change(asarray(X))


NUMPY_CALLS: list[Callable[[Any], Any]] = [
    lambda x: np.exp(x),
    lambda x: np.add(x, 1),
    lambda x: np.add(X, x),
    lambda x: X * x,
    lambda x: X[0] - x,
    lambda x: np.float64(2) / x,
    lambda x: X < x,
    lambda x: np.add(x, 1, dtype="float32"),
    lambda x: np.add(x, 1, out=None, where=True, casting="same_kind", order="K", subok=True),
    lambda x: np.add.reduce(x),
    lambda x: np.add.reduce(x, axis=1, keepdims=True),
    lambda x: np.multiply.reduce(x, axis=None),
    lambda x: np.maximum.reduce(x, 1),
    lambda x: np.logical_and.reduce(x),
    lambda x: np.add.accumulate(x),
    lambda x: np.multiply.accumulate(x, 1),
    lambda x: np.maximum.accumulate(x, axis=1),
    lambda x: np.subtract.outer(x, X[0]),
    lambda x: np.matmul(X.T, x),
    lambda x: np.sum(x, axis=0),
    lambda x: np.mean(x),
    lambda x: np.amax(x, axis=1),
    lambda x: np.around(x, 1),
    lambda x: np.clip(x, 0, None),
    lambda x: np.where(x > 0, x, 0),
    lambda x: np.concatenate([x, X]),
    lambda x: np.concatenate([X, x], axis=1),
    lambda x: np.stack([x, x]),
    lambda x: np.vstack((x, X)),
    lambda x: np.reshape(x, (3, 2)),
    lambda x: np.transpose(x),
    lambda x: np.expand_dims(x, 0),
    lambda x: np.moveaxis(x, 0, 1),
    lambda x: np.broadcast_to(x, (2, 2, 3)),
    lambda x: np.pad(x, 1),
    lambda x: np.einsum("ij,kj->ik", x, X),
    lambda x: np.tensordot(x, X, 2),
    lambda x: np.dot(x, X.T),
    lambda x: np.outer(x, x),
    lambda x: np.sort(x),
    lambda x: np.argmax(x, axis=0),
    lambda x: np.zeros_like(x),
    lambda x: np.full_like(x, 2, dtype="int32", order="C", subok=False),
    lambda x: np.take(x, [1, 0], axis=1, out=None),
    lambda x: np.take_along_axis(x, np.argsort(X, axis=1), axis=1),
    lambda x: np.tril(x),
    lambda x: np.diag(x),
    lambda x: np.trace(x),
    lambda x: np.isclose(x, X + 1e-9),
    lambda x: np.allclose(x, X),
    lambda x: np.array_equal(x, X),
    lambda x: np.copy(x),
    lambda x: np.real(x),
    lambda x: np.nan_to_num(x),
    lambda x: np.isposinf(x),
    lambda x: np.sinc(x),
    lambda x: np.linalg.norm(x),
    lambda x: np.linalg.matmul(x, X.T),
    lambda x: np.isin(x, [1.5, 3]),
    lambda x: np.isin(element=x, test_elements=[1.5, 3], invert=True),
    lambda x: np.select([x > 1, x < 0], [x, -x], default=9),
    lambda x: np.interp(x, [-1, 0, 3], [1, 2, 3], left=0),
    lambda x: np.interp(1.5, np.arange(3), x[0]),
    lambda x: np.convolve(x[0], [1, 2], "same"),
    lambda x: np.correlate(a=x[0], v=[1, 2], mode="full"),
    lambda x: np.median(x, 0, None, True, True),
    lambda x: np.nanmedian(x, axis=1, overwrite_input=False),
    lambda x: np.percentile(x, 30, 1, method="linear", weights=None),
    lambda x: np.quantile(a=x, q=[0.1, 0.9], axis=1, keepdims=True),
    lambda x: np.gradient(x, 2.0, axis=1),
    lambda x: np.ediff1d(x, to_begin=1.0),
    lambda x: np.unwrap(x, 4, 0),
    lambda x: np.nanargmax(x, 1, None),
    lambda x: np.nancumsum(x, 1, None, None),
    lambda x: np.nancumprod(a=x),
    lambda x: np.partition(x, 2, 1),
    lambda x: np.argpartition(x, 2),
    lambda x: np.polyval([1, 2], x),
    lambda x: np.polyval(x[0], 2.0),
    lambda x: np.vander(x[0], N=2, increasing=True),
    lambda x: np.array_equiv(x, X[:1]),
    lambda x: np.compress([False, True], x, axis=0),
    lambda x: np.delete(x, 1, axis=1),
    lambda x: np.insert(x, 1, 5, axis=1),
    lambda x: np.insert(x, [0, 1], x[:, :1], 0),
    lambda x: np.diagflat(x, 1),
    lambda x: np.block([[x, x], [x, X]]),
    lambda x: np.resize(x, (4, 2)),
    lambda x: np.dsplit(np.reshape(x, (1, 2, 3)), 3)[1],
    lambda x: np.conj(x),
    lambda x: np.angle(x, deg=True),
    lambda x: np.real_if_close(x, tol=10),
    lambda x: np.isreal(x),
    lambda x: np.tril_indices_from(x)[0],
    lambda x: np.unravel_index(np.argmax(x), x.shape)[1],
]


@pytest.mark.parametrize("call", NUMPY_CALLS)
def test_numpy_functions_call_ours(call: Callable[[Any], Any]) -> None:
    same(call(asarray(X)), call(X))


def test_numpy_questions_about_shape_and_dtype() -> None:
    x = asarray(X)
    assert np.shape(x) == (2, 3) and np.ndim(x) == 2 and np.size(x) == 6 and np.size(x, 1) == 3
    assert np.result_type(x, np.float32(1)) == np.float64
    assert not np.iscomplexobj(x) and np.isrealobj(x)


def test_parts_of_python_numbers_stay_python_numbers() -> None:
    single = np.ones(2, np.float32)
    for part in (np.real, np.imag, lambda n: n.imag, lambda n: n.real):
        for number in (3, 2.5):
            found = jit(lambda x, n, part=part: x * part(n), static_argnames="part")(single, number)
            assert found.dtype == (single * part(number)).dtype
            np.testing.assert_array_equal(found, single * part(number))


def test_numpy_calls_work_on_traced_arrays() -> None:
    param = Node("param", (), {"name": "x"}, Type(X.dtype, X.shape))
    with tracing(Trace("test")) as trace:
        x = Array(param, trace)
        for call in NUMPY_CALLS:
            expected = np.asarray(call(X))
            found = call(x)
            assert found.traced_by is trace
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: np.add(x, 1, out=np.empty_like(X)), "add cannot write into out="),
        (lambda x: np.add(x, 1, where=X > 0), "add takes no where="),
        (lambda x: np.add.at(x, [0], 1), "numpy.add.at is not supported"),
        (lambda x: np.add.reduceat(x, [0]), "numpy.add.reduceat is not supported"),
        (lambda x: np.trim_zeros(x[0]), "numpy.trim_zeros is not supported"),
        (lambda x: np.put_along_axis(x, X, 1, 0), "numpy.put_along_axis is not supported"),
        (lambda x: np.packbits(x), "numpy.packbits is not supported"),
        (lambda x: np.fft.fft(x), "numpy.fft.fft is not supported"),
        (lambda x: np.where(x), "where of a condition alone has a shape"),
        (lambda x: np.linalg.inv(x), "numpy.linalg.inv is not supported"),
        (lambda x: np.exp(x, signature="d->d"), "exp: got an unexpected keyword"),
    ],
)
def test_what_is_not_supported_is_named(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call(asarray(X))


def test_weak_scalars_take_the_dtype_of_arrays_through_operators() -> None:
    rate, count = asarray(0.5), asarray(3)
    single = asarray(X.astype("float32"))
    for weak in (rate * 2, 1 - rate, -rate, rate**2, count / 2, count + rate, abs(rate)):
        assert weak.weak is float
        assert (single * weak).dtype == np.float32
    for weak in (count + 1, 2 * count, count // 2, -count):
        assert weak.weak is int
        assert (asarray(np.int8([1])) + weak).dtype == np.int8
    same(count > 2, True)
    same(rate == 1, False)
    assert (rate < 1).weak is None and (rate + np.float64(1)).weak is None


# --- random programs ----------------------------------------------------------------------------

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()
SHAPES = ((3, 4), (4,), (), (3, 1))
SCALARS = (0, 1, -1, 255, 300, 2**40, 0.5, -2.5, 1e300, True, np.float32(0.1), np.uint64(9))
WEAK = (1, 2, 3, 0.5, -2.5)
ONE: tuple[Callable[[Any], Any], ...] = (
    operator.neg,
    operator.abs,
    operator.invert,
    np.sqrt,
    np.square,
    np.floor,
    np.rint,
    np.sign,
    np.isnan,
    np.signbit,
    np.isfinite,
    np.logical_not,
    np.reciprocal,
    np.nan_to_num,
    np.degrees,
    lambda a: np.round(a, 1),
    lambda a: a.astype("float32"),
    lambda a: a**2,
    lambda a: a[..., ::-1],
    lambda a: np.zeros_like(a) + a,
)
TWO: tuple[Callable[[Any, Any], Any], ...] = (
    *(apply for apply in (*ARITHMETIC, *BITWISE) if apply is not operator.pow),
    np.fmax,
    np.logical_and,
    np.copysign,
    np.heaviside,
    np.hypot,
    np.nextafter,
    lambda a, b: np.where(a, a, b),
    lambda a, b: np.where(b > 0, a, b),
)


def random_values(random: np.random.Generator) -> Any:
    dtype = np.dtype(str(random.choice(DTYPES)))
    shape = SHAPES[random.integers(len(SHAPES))]
    if dtype.kind == "f":
        pool = np.array([0.0, 1, -1, 2.5, -3.7, np.inf, -np.inf, np.nan, 1e30, 1e-40], dtype)
    elif dtype.kind == "b":
        pool = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        pool = np.array([0, 1, 2, 3, 7, 50, limits.max, limits.min, limits.max - 1], dtype)
    return np.asarray(random.choice(pool, shape))


def random_step(random: np.random.Generator, count: int) -> Callable[[list[Any], Any], Any]:
    """One operation on earlier values; `weak` turns a Python number into a weak array."""
    place, other = (int(n) for n in random.integers(0, count, 2))
    if random.random() < 0.5:
        function = ONE[random.integers(len(ONE))]
        return lambda values, weak: function(values[place])
    binary = TWO[random.integers(len(TWO))]
    if random.random() < 0.6:
        return lambda values, weak: binary(values[place], values[other])
    if random.random() < 0.5:
        number = WEAK[random.integers(len(WEAK))]
        return lambda values, weak: binary(values[place], weak(number))
    scalar = SCALARS[random.integers(len(SCALARS))]
    if random.random() < 0.5:
        return lambda values, weak: binary(values[place], scalar)
    return lambda values, weak: binary(scalar, values[place])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed: int) -> None:
    """Dtype, shape and bits of every step, and what NumPy refuses, by traced arrays."""
    random = np.random.default_rng(seed)
    inputs = [random_values(random) for _ in range(3)]
    params = [Node("param", (), {"name": "x"}, Type(x.dtype, x.shape)) for x in inputs]
    expected = list(inputs)
    with tracing(Trace("test")) as trace:
        found = [Array(param, trace) for param in params]
        for _ in range(6):
            step = random_step(random, len(expected))
            try:
                result = np.asarray(step(expected, lambda number: number))
            except (TypeError, OverflowError, IndexError):
                result = None
            if result is None or result.dtype == np.float16:
                with pytest.raises((TypeError, IndexError)):
                    step(found, asarray)
                continue
            array = step(found, asarray)
            assert (array.dtype, array.shape) == (result.dtype, result.shape)
            expected.append(result)
            found.append(array)
    graph = graph_from([array.node for array in found], params, "test")
    for value, wanted in zip(run(graph, *inputs), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_every_public_function_is_listed_once() -> None:
    names = [name for module in protocols.MODULES for name in module.__all__]
    assert sorted(set(names)) == sorted(names)


def test_numpys_own_names_and_order() -> None:
    """What NumPy takes by another name or in a further place."""
    calls: list[Callable[[Any], Any]] = [
        lambda x: np.sum(a=x, axis=0),
        lambda x: np.sum(x, -1, None, None, True),
        lambda x: x.std(0, None, None, 1),
        lambda x: x.max(0, None, True),
        lambda x: x.argmax(out=None),
        lambda x: np.pad(array=x, pad_width=1),
        lambda x: np.dot(a=x, b=x.T),
        lambda x: np.stack(arrays=[x, x]),
        lambda x: np.take(a=x, indices=[0, 1], axis=1),
        lambda x: np.take(x, [0, 1], 1, None, "clip"),
        lambda x: np.sort(a=x),
        lambda x: np.where(x > 0, x, -x),
        lambda x: np.linalg.trace(np.stack([x[:2, :2], x[:2, :2] + 1, x[:2, :2]], axis=0)),
        lambda x: np.linalg.diagonal(np.stack([x, x + 1, x, x], axis=0)),
        lambda x: np.linalg.outer(x[0], x[1]),
        lambda x: x.trace(),
        lambda x: np.clip(x, 0, 1),
        lambda x: np.clip(x, a_min=0, a_max=1),
    ]
    for call in calls:
        np.testing.assert_array_equal(jit(call)(X), call(X))
    with pytest.raises(ShapeError, match="takes vectors"):
        jit(np.linalg.outer)(X, X)


def test_equal_static_dataclasses_of_other_types_are_other_programs() -> None:
    @dataclasses.dataclass(frozen=True)
    class Scale:
        by: object

    scaled = jit(lambda x, scale: x * scale.by, static_argnames="scale")
    assert scaled(np.arange(3), Scale(1)).dtype == np.int64
    assert scaled(np.arange(3), Scale(1.0)).dtype == np.float64
