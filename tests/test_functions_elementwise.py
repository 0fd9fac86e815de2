"""Elementwise functions against NumPy itself: values, dtypes, special values, errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from neurlang.errors import DomainError, DTypeError, ShapeError
from neurlang.frontend import array as array_module
from neurlang.frontend import closeness, protocols
from neurlang.frontend import elementwise as nl
from neurlang.frontend.array import Array, set_executor
from neurlang.frontend.creation import asarray
from neurlang.ir.graph import Graph
from neurlang.ir.interpret import interpret

FLOATS = ("float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *SIGNED, *UNSIGNED, *FLOATS)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, 7.25, math.inf, -math.inf, math.nan, 1e-30, 1e30]

ROUNDED = """
    arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt cos cosh exp exp2 expm1 hypot log
    log10 log1p log2 logaddexp logaddexp2 sin sinc sinh tan tanh power float_power
""".split()
UNARY = """
    absolute arccos arccosh arcsin arcsinh arctan arctanh bitwise_count cbrt ceil cos cosh degrees
    exp exp2 expm1 fabs fix floor invert isfinite isinf isnan isneginf isposinf log log10 log1p log2
    logical_not nan_to_num negative positive radians reciprocal rint round sign signbit sin sinc
    sinh spacing sqrt square tan tanh trunc
""".split()
BINARY = """
    add arctan2 bitwise_and bitwise_or bitwise_xor copysign divide equal float_power floor_divide
    fmax fmin fmod gcd greater greater_equal heaviside hypot lcm left_shift less less_equal
    logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum multiply nextafter
    not_equal power remainder right_shift subtract
""".split()


def run(graph: Graph) -> tuple[Any, ...]:
    result = interpret(graph)
    return result if isinstance(result, tuple) else (result,)


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    earlier = list(array_module._executor)
    set_executor(run)
    yield
    array_module._executor[:] = earlier


def samples(dtype: str) -> Any:
    if dtype == "bool":
        return np.array([False, True, True, False])
    if dtype in FLOATS:
        return np.array(SPECIAL, dtype)
    limits = np.iinfo(dtype)
    return np.array([0, 1, 2, 3, 7, 100, limits.max, limits.min, limits.max - 1], dtype)


def numpy_result(name: str, *operands: Any) -> Any:
    """NumPy's answer, or the kind of its refusal; float16 is a refusal of ours."""
    with np.errstate(all="ignore"):
        try:
            result = np.asarray(getattr(np, name)(*operands))
        except OverflowError:
            return TypeError
        except (TypeError, ValueError) as error:
            return type(error)
    return TypeError if result.dtype == np.float16 else result


def check(name: str, *operands: Any) -> None:
    expected = numpy_result(name, *operands)
    lifted = [asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
    if isinstance(expected, type):
        kind = TypeError if issubclass(expected, TypeError) else ValueError
        with pytest.raises(kind):
            getattr(nl, name)(*lifted)
        return
    found = getattr(nl, name)(*lifted)
    assert isinstance(found, Array)
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert found.shape == expected.shape
    actual = np.asarray(found)
    if name in ROUNDED and expected.dtype.kind == "f":
        tolerance = 8 * np.finfo(expected.dtype).eps
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=1e-45)
    else:
        np.testing.assert_array_equal(actual, expected)
        if expected.dtype.kind == "f":
            number = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(actual[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: str) -> None:
    check(name, samples(dtype))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    for left, right in itertools.product(DTYPES, DTYPES):
        x, y = samples(left)[:, None], samples(right)
        if name == "power" and np.result_type(x, y).kind == "i":
            y = y[y >= 0]  # others are an error: tests/test_failures.py
        if name in ("maximum", "minimum", "fmax", "fmin"):
            x, y = x[x != 0][:, None], y[y != 0]  # which zero of +0 and -0 is open
        check(name, x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_python_scalars_are_weak(name: str, dtype: str) -> None:
    for scalar in (True, 3, 2.5):
        if name in ("maximum", "minimum", "fmax", "fmin"):
            check(name, samples(dtype)[1:], scalar)
        else:
            check(name, samples(dtype), scalar)
            if name != "power":
                check(name, scalar, samples(dtype))


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater"])
@pytest.mark.parametrize("value", [-1, 300, 2**31, -(2**40), 2**63, 2**70, -(2**70)])
def test_comparison_with_integers_out_of_range(name: str, value: int) -> None:
    for dtype in (*SIGNED, *UNSIGNED):
        check(name, samples(dtype), value)
        check(name, value, samples(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5, 13, 64, 65, -1, 0.5, 2.0, -1.0, 1.5, True])
def test_power_of_constants(dtype: str, exponent: Any) -> None:
    check("power", samples(dtype), exponent)
    check("power", samples(dtype), np.array([exponent]))


def test_power_of_integers_refuses_negative_exponents() -> None:
    with pytest.raises(DomainError, match="negative integer powers"):
        nl.power(asarray(np.arange(3)), -2)
    np.testing.assert_array_equal(nl.power(asarray(np.arange(3)), -2.0), [math.inf, 1, 0.25])


def test_square_root_by_power_is_numpys() -> None:
    x = np.array([-0.0, -math.inf, 4.0, 2.0])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(asarray(x) ** 0.5, x**0.5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_ldexp(dtype: str) -> None:
    random = np.random.default_rng(1)
    kind = np.dtype(f"uint{np.dtype(dtype).itemsize * 8}")
    x = random.integers(0, np.iinfo(kind).max, 2000, dtype=kind).view(dtype)
    exponents = random.integers(-2200, 2200, 2000)
    near = random.integers(-160, 160, 2000)
    with np.errstate(all="ignore"):
        for count in (exponents, near, near.astype("int8"), exponents * 10**9):
            np.testing.assert_array_equal(nl.ldexp(x, count), np.ldexp(x, count))
    assert nl.ldexp(x, 2).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("decimals", [0, 1, 2, -1, -2])
def test_round(dtype: str, decimals: int) -> None:
    x = samples(dtype)
    if x.dtype.kind == "f":
        x = np.concatenate([x, np.linspace(-200, 200, 801, dtype=dtype)])
    else:
        x = x[:6]
    with np.errstate(all="ignore"):
        expected = np.round(x, decimals)
    found = nl.round(asarray(x), decimals)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "bounds", [(1, 3), (-1, 300), (None, 2), (1, None), (0.5, 2), (math.nan, 1), (3, 1)]
)
def test_clip(dtype: str, bounds: tuple[Any, Any]) -> None:
    x = samples(dtype)
    try:
        expected = np.clip(x, *bounds)
    except (TypeError, OverflowError):
        with pytest.raises(TypeError):
            nl.clip(asarray(x), *bounds)
        return
    found = nl.clip(asarray(x), *bounds)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(nl.clip(x, min=bounds[0], max=bounds[1]), expected)


def test_clip_by_arrays_broadcasts() -> None:
    x, low = np.arange(12.0).reshape(3, 4), np.array([[2.0], [5.0], [9.0]])
    np.testing.assert_array_equal(nl.clip(asarray(x), low, 10), np.clip(x, low, 10))


@pytest.mark.parametrize("left", DTYPES)
def test_where(left: str) -> None:
    for right in (*DTYPES, None):
        y: Any = 2.5 if right is None else samples(right)[:4]
        x = samples(left)[:4]
        expected = np.where(np.array([[1, 0, 2, 0]]), x, y)
        found = nl.where(np.array([[1, 0, 2, 0]]), asarray(x), y)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [-1, 300, 2**31, 2**40, 2.5])
def test_where_converts_python_integers_out_of_range(value: Any) -> None:
    for dtype in DTYPES:
        expected = np.where([True, False], np.ones(2, dtype), value)
        found = nl.where([True, False], asarray(np.ones(2, dtype)), value)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("source", DTYPES)
def test_astype(source: str) -> None:
    for target in DTYPES:
        x = samples(source)
        if x.dtype.kind == "f" and np.dtype(target).kind in "iu":
            x = np.array([0.0, 1.5, 100.75], source)
        with np.errstate(all="ignore"):
            expected = x.astype(target)
        found = nl.astype(asarray(x), target)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["modf", "frexp"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_floats(name: str, dtype: str) -> None:
    values = samples(dtype)
    if dtype in FLOATS:
        limits = np.finfo(dtype)
        more = [limits.max, limits.tiny, limits.tiny / 3, limits.smallest_subnormal, 0.99999, -7.5]
        random = np.random.default_rng(0).normal(0, 1, 500) * 10.0 ** np.linspace(-40, 36, 500)
        values = np.concatenate([values, np.array(more, dtype), random.astype(dtype)])
    if getattr(np, name)(values)[0].dtype == np.float16:
        with pytest.raises(DTypeError):
            getattr(nl, name)(asarray(values))
        return
    for part, wanted in zip(getattr(nl, name)(asarray(values)), getattr(np, name)(values)):
        found = np.asarray(part)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        if wanted.dtype.kind == "f":
            numbers = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(wanted)[numbers])


def test_divmod() -> None:
    for dtype in DTYPES:
        x, y = samples(dtype)[:, None], samples(dtype)
        with np.errstate(all="ignore"):
            expected = np.divmod(x, y)
        for part, wanted in zip(nl.divmod(asarray(x), y), expected):
            assert part.dtype == wanted.dtype
            np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("arguments", [{}, {"nan": 5}, {"posinf": 1.0, "neginf": -2.0}])
def test_nan_to_num(arguments: dict[str, Any]) -> None:
    x = np.array([[math.nan, math.inf], [-math.inf, 2.0]], "float32")
    np.testing.assert_array_equal(nl.nan_to_num(x, **arguments), np.nan_to_num(x, **arguments))


@pytest.mark.parametrize("equal_nan", [False, True])
def test_closeness(equal_nan: bool) -> None:
    x = np.array([1.0, 1e10, math.nan, math.inf, -math.inf, 1e-9, 0.0])
    y = np.array([1.00001, 1.00001e10, math.nan, math.inf, math.inf, 0.0, -0.0])
    for left, right in ((x, y), (y, x), (x, x), (np.int8([1, 2]), np.int8([1, 3]))):
        for keywords in ({}, {"rtol": 1e-3, "atol": 0.0}):
            expected = np.isclose(left, right, equal_nan=equal_nan, **keywords)
            found = closeness.isclose(left, right, equal_nan=equal_nan, **keywords)
            np.testing.assert_array_equal(found, expected)
            assert bool(closeness.allclose(left, right, equal_nan=equal_nan, **keywords)) == all(
                expected
            )
        same = np.array_equal(left, right, equal_nan=equal_nan)
        assert bool(closeness.array_equal(left, right, equal_nan=equal_nan)) == same
    assert not closeness.array_equal(x, x[1:])


def test_activations() -> None:
    x = np.linspace(-12, 12, 97)
    erf = np.array([math.erf(v) for v in x])
    normal = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    logistic = 1 / (1 + np.exp(-x))
    close = {"rtol": 1e-14, "atol": 0}
    np.testing.assert_allclose(nl.erf(x), erf, **close)
    np.testing.assert_allclose(nl.erfc(x), [math.erfc(v) for v in x], **close)
    np.testing.assert_allclose(nl.gelu(x), x * normal, rtol=1e-12)
    np.testing.assert_allclose(nl.gelu(x, approximate=True), x * normal, atol=1e-3)
    np.testing.assert_allclose(nl.sigmoid(x), logistic, **close)
    np.testing.assert_allclose(nl.silu(x), x * logistic, **close)
    np.testing.assert_allclose(nl.softplus(x), np.log1p(np.exp(x)), rtol=1e-13)
    np.testing.assert_array_equal(nl.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(nl.softplus([-2000.0, 2000.0]), [0, 2000])
    assert nl.gelu(np.float32([1])).dtype == nl.sigmoid(np.float32([1])).dtype == np.float32
    assert nl.relu(np.int8([-3])).dtype == np.int8


def test_dtype_argument_is_computed_in() -> None:
    x = np.array([2**24, 1], "int32")
    found = nl.add(x, 1, dtype="float32")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.add(x, 1, dtype="float32"))
    with pytest.raises(DTypeError):
        nl.add(np.ones(2), 1, dtype="int32")


def test_weak_results_come_from_operators_only() -> None:
    weak = asarray(2.0)
    ones = asarray(np.ones(2, "float32"))
    assert (ones * (weak * 3 + 1)).dtype == np.float32
    assert (ones * (-weak)).dtype == np.float32
    assert (ones + (asarray(3) / 2)).dtype == np.float32
    assert (ones * nl.sqrt(weak)).dtype == np.float64  # as NumPy: np.sqrt(2.0) is a np.float64


def test_functions_that_are_no_ufuncs_take_no_dtype() -> None:
    x = np.array([-1.5, 2.5, np.inf, -np.inf, np.nan], "float32")
    for name in ("fix", "isposinf", "isneginf"):
        found, expected = getattr(nl, name)(x), getattr(np, name)(x)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        assert getattr(nl, name)(3).dtype == getattr(np, name)(3).dtype
        for function in (getattr(nl, name), getattr(np, name)):
            with pytest.raises(TypeError):
                function(x, dtype="float64")


def test_numbers_take_the_dtype_of_what_they_are_close_to() -> None:
    x = np.float32([0.1, 0.1 + 1e-9, 0.2])
    for left, right in [(x, 0.1), (0.1, x), (x, np.float64(0.1)), (np.int8([0, 1]), 1)]:
        expected = np.isclose(left, right, rtol=0, atol=0)
        np.testing.assert_array_equal(closeness.isclose(left, right, 0, 0), expected)
        weak = (asarray(each) if type(each) in (int, float) else each for each in (left, right))
        np.testing.assert_array_equal(closeness.isclose(*weak, 0, 0), expected)


@pytest.mark.parametrize("name", nl.__all__)
def test_public_functions_have_names_and_docstrings(name: str) -> None:
    function = getattr(nl, name)
    assert function.__doc__ and function.__doc__.strip()
    assert function.__module__.startswith("neurlang.frontend")


def test_errors_name_the_function_and_the_types() -> None:
    with pytest.raises(ShapeError, match=r"add cannot broadcast f64\[2\] and f64\[3\]"):
        nl.add(np.ones(2), np.ones(3))
    with pytest.raises(DTypeError, match="subtract is not defined for bool and bool"):
        nl.subtract(np.array([True]), np.array([True]))
    with pytest.raises(DTypeError, match="sqrt of int8 is float16"):
        nl.sqrt(np.int8([1]))
    with pytest.raises(DTypeError, match="out of bounds for uint8"):
        nl.add(np.uint8([1]), 300)


def test_array_api_names() -> None:
    pairs = {"acos": "arccos", "pow": "power", "bitwise_invert": "invert", "mod": "remainder"}
    assert all(getattr(nl, short) is getattr(nl, name) for short, name in pairs.items())
    assert protocols.PUBLIC["bitwise_left_shift"] is nl.left_shift


@pytest.mark.parametrize("casting", ["no", "equiv", "safe", "same_kind", "unsafe", "other"])
def test_casting(casting: str) -> None:
    single, double, bytes_ = np.ones(2, "f4"), np.ones(2), np.array([1, 2], "i1")
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("add", (single, single), {}),
        ("add", (single, double), {}),
        ("add", (single, 1), {}),
        ("add", (bytes_, 1.5), {}),
        ("add", (double, 1), {"dtype": "f4"}),
        ("add", (double, 1), {"dtype": "i4"}),
        ("subtract", (bytes_, double), {"dtype": "i1"}),
        ("power", (bytes_, 2), {}),
        ("power", (bytes_, double), {}),
        ("sqrt", (np.arange(3),), {}),
        ("sqrt", (double,), {}),
        ("less", (single, double), {}),
        ("less", (single, 1), {}),
        ("isnan", (single,), {}),
    ]
    for name, operands, keywords in calls:
        if casting == "equiv" and type(operands[-1]) is int:
            continue  # NumPy refuses Python numbers by this rule alone, and not by the stricter one
        numpys = getattr(np, name)
        try:
            expected = numpys(*operands, casting=casting, **keywords)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            for function in (getattr(nl, name), numpys):
                with pytest.raises(kind):
                    function(asarray(operands[0]), *operands[1:], casting=casting, **keywords)
            continue
        for function in (getattr(nl, name), numpys):
            found = function(asarray(operands[0]), *operands[1:], casting=casting, **keywords)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
