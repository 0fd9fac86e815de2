"""The exponential half of mathlib: ULP bounds, special values, exact points, equal bits."""

from __future__ import annotations

import ctypes
import itertools
import math
import runpy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from neurlang.codegen.compile import Library, compile_object, link_object
from neurlang.codegen.machine import host_machine
from neurlang.codegen.mathlib import FUNCTIONS, coefficients, pieces, tables
from neurlang.codegen.mathlib.error_function import ERF_ONE, ERFC_ZERO
from neurlang.codegen.mathlib.exponential import TANH_ONE, TANH_SPAN
from neurlang.codegen.mathlib.lanes import look_up
from neurlang.codegen.writer import Module, Value, Writer, vector_type

Array = npt.NDArray[np.floating]
SCALAR = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
FULL_LANES = {np.dtype(np.float32): 16, np.dtype(np.float64): 8}
PADDING = 16
PLAIN = 0  # in place of a register's width: no instruction that only some machines have
SPECIAL = [
    *(0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 8.0, -27.0, 1024.0, 1000.0),
    *(math.inf, -math.inf, math.nan, 1e30, -1e30, 1e-30, -1e-30, 1e-40, -1e-40, 5e-324, -5e-324),
    *(1.5e308, -1.5e308, 1e-310, 1e22, 88.8, -104.5, 128.0, -149.0, -150.0, 709.8, -746.0, 1025.0),
]
UNARY: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "cbrt": np.cbrt,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
}


BINARY = ("pow", "logaddexp", "logaddexp2")
BY_CELLS = (
    *("log", "log2", "log10", "log1p", "asinh", "acosh", "atanh"),
    *("tanh", "erf", "erfc", "cbrt"),
)


@lru_cache(maxsize=256)
def compiled(name: str, dtype: np.dtype, lanes: int, bits: int = 512) -> tuple[Library, int]:
    """The function as a loop over arrays, and its number of arguments."""
    scalar = SCALAR[dtype]
    arity = 2 if name in BINARY else 1
    inputs = [Value(f"%in{i}", "ptr") for i in range(arity)]
    machine = host_machine() if bits in (512, PLAIN) else host_machine().limited_to(bits)
    module = Module(frozenset() if bits == PLAIN else machine.present)
    writer = Writer(module, f"void @kernel(i64 %count, {', '.join(map(str, inputs))}, ptr %out)")
    loop, done = writer.label("loop"), writer.label("done")
    writer.branch(loop)
    writer.start_block(loop)
    phi = writer.phi("i64")
    type = vector_type(scalar, lanes)
    arguments = [writer.load(writer.offset(p, phi[0], scalar), type) for p in inputs]
    result = FUNCTIONS[name](writer, *arguments)
    writer.store(result, writer.offset(Value("%out", "ptr"), phi[0], scalar))
    following = writer.add(phi[0], writer.constant(lanes, "i64"))
    writer.set_phi(phi, [(writer.constant(0, "i64"), "entry"), (following, writer.block)])
    writer.branch_if(writer.icmp("ult", following, Value("%count", "i64")), loop, done)
    writer.start_block(done)
    writer.ret()
    writer.finish()
    return link_object(compile_object(module.text(), machine), ["kernel"]), arity


def evaluate(name: str, *arrays: Array, lanes: int = 0, bits: int = 512) -> Array:
    """The function of mathlib on arrays of one dtype."""
    dtype, size = arrays[0].dtype, arrays[0].size
    library, arity = compiled(name, dtype, lanes or FULL_LANES[dtype], bits)
    padded = [np.append(a, np.ones(-size % PADDING, dtype)) for a in arrays]
    out = np.empty_like(padded[0])
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (arity + 1))
    kernel = prototype(library["kernel"])
    kernel(out.size, *(a.ctypes.data for a in padded), out.ctypes.data)
    return out[:size]


def bits_of(a: Array) -> Array:
    """The bits, every NaN made the same."""
    return np.where(np.isnan(a), np.nan, a).view(f"u{a.itemsize}")


def float_samples(stride: int) -> Array:
    """Every `stride`-th float32, of both signs, infinities and NaN included."""
    return np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)


def double_samples(name: str, count: int) -> Array:
    """Doubles all over the domain, and densely where a function changes its method."""
    random = np.random.default_rng(7)
    small = random.uniform(-1, 1, count) * 10.0 ** random.uniform(-20, 0, count)
    wide = np.exp(random.uniform(-744, 709, count))
    middle = random.uniform(-30, 30, count)
    parts: tuple[Array, ...]
    match name:
        case "log" | "log2" | "log10":
            parts = (wide, 1 + small / 2, random.uniform(0.4, 3, count))
        case "log1p":
            parts = (wide, small, random.uniform(-1, 3, count))
        case "acosh":
            parts = (1 + wide, 1 + abs(small), random.uniform(1, 4, count))
        case "atanh":
            parts = (small, 1 - abs(small) / 2, random.uniform(-1, 1, count))
        case "asinh" | "cbrt":
            parts = (wide, -wide, small, middle)
        case _:
            parts = (random.uniform(-745, 710, count), small, middle / 30, middle / 5, middle)
    return np.concatenate(parts)


@pytest.mark.parametrize("name", UNARY)
@np.errstate(all="ignore")
def test_float_ulp(name: str) -> None:
    x = float_samples(100_003 if name.startswith("erf") else 20_011)
    expected = UNARY[name](x.astype(np.float64))
    rounded = expected.astype(np.float32)
    got = evaluate(name, x)
    finite = np.isfinite(rounded)
    error = np.abs(got[finite] - expected[finite]) / np.spacing(np.abs(rounded[finite]))
    assert error.max() <= 1.0
    assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)


def cell_ends(name: str) -> Array:
    """Floats next to the ends of the cells of a function's tables, and a few in between."""
    ends: Array
    match name:
        case "tanh" | "erf" | "erfc":
            spans = {"tanh": TANH_ONE, "erf": ERF_ONE["float"], "erfc": ERFC_ZERO["float"]}
            span = spans[name]
            steps = np.outer(2.0 ** np.arange(-1, 3), 1 + np.arange(16) / 16).ravel()
            ends = (steps - pieces.OFFSET) / pieces.STRETCH * span
        case "log1p":
            ends = np.concatenate([np.arange(32) / 32, -np.arange(32) / 64])
        case "acosh" | "asinh" | "atanh":
            s = 1 + np.arange(33) / 32
            ends = {"acosh": np.cosh, "asinh": np.sinh, "atanh": np.tanh}[name](np.log(s))
        case _:
            ends = np.outer(2.0 ** np.arange(-4, 5), 1 + np.arange(32) / 32).ravel()
    near = ends.astype(np.float32).view(np.int32)[:, None] + np.arange(-40, 41, dtype=np.int32)
    return np.abs(near.ravel().view(np.float32)) if name != "log1p" else near.ravel().view("f4")


@pytest.mark.parametrize("name", BY_CELLS)
@np.errstate(all="ignore")
def test_ends_of_cells(name: str) -> None:
    x = cell_ends(name)
    expected = UNARY[name](x.astype(np.float64))
    rounded = expected.astype(np.float32)
    got = evaluate(name, x)
    finite = np.isfinite(rounded)
    error = np.abs(got[finite] - expected[finite]) / np.spacing(np.abs(rounded[finite]))
    assert error.max() <= 1.0
    assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)
    for bits in (256, PLAIN):
        assert np.array_equal(bits_of(evaluate(name, x, lanes=8, bits=bits)), bits_of(got))


def test_ends_of_cells_of_doubles() -> None:
    mpmath = pytest.importorskip("mpmath")
    steps = np.outer(2.0 ** np.arange(-1, 3), 1 + np.arange(8) / 8).ravel()
    ends = (steps - pieces.OFFSET) / pieces.STRETCH * TANH_SPAN
    near = 1 + np.arange(-6, 7) * 2.0**-50
    x = np.outer(ends, near).ravel()
    base = np.outer(1 + np.arange(1, 33) / 32, near).ravel()
    power = 1000 / np.log2(base)
    with mpmath.workprec(200):
        for argument, result in zip(x.tolist(), evaluate("tanh", x).tolist()):
            expected = mpmath.tanh(mpmath.mpf(argument))
            assert abs(result - expected) <= np.spacing(float(expected)), argument
        for b, p, result in zip(*(a.tolist() for a in (base, power, evaluate("pow", base, power)))):
            expected = mpmath.mpf(b) ** mpmath.mpf(p)
            assert abs(result - expected) <= np.spacing(float(expected)), (b, p)


@pytest.mark.parametrize("dtype", SCALAR)
@np.errstate(all="ignore")
def test_powers_out_of_bounds(dtype: np.dtype) -> None:
    x = np.array([*(1.5, 0.5, -1.5, -0.5), *(np.finfo(dtype).max, np.finfo(dtype).tiny)]).repeat(4)
    y = np.tile([1e4, 1e30, -1e4, -1e30], 6)
    x, y = x.astype(dtype), y.astype(dtype)
    assert np.array_equal(evaluate("pow", x, y), np.power(x, y))


@pytest.mark.parametrize("dtype", SCALAR)
@np.errstate(all="ignore")
def test_rare_arguments_leave_their_neighbours_alone(dtype: np.dtype) -> None:
    random = np.random.default_rng(6)
    x, y = random.uniform(0.1, 9, (2, 64)).astype(dtype)
    expected = evaluate("pow", x, y)
    for place, number in itertools.product((0, 5, 63), (0.0, -2.0, math.inf, math.nan)):
        for changed in (0, 1):
            arguments = [x.copy(), y.copy()]
            arguments[changed][place] = math.inf if changed else number
            got = evaluate("pow", *arguments)
            others = np.arange(x.size) != place
            assert np.array_equal(got[others], expected[others])


@pytest.mark.parametrize("name", UNARY)
def test_double_ulp(name: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    oracle = {
        "exp2": lambda x: mpmath.mpf(2) ** x,
        "log2": lambda x: mpmath.log(x, 2),
        "cbrt": lambda x: mpmath.sign(x) * mpmath.root(abs(x), 3),
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    }.get(name) or getattr(mpmath, name)
    x = double_samples(name, 150)
    got = evaluate(name, x)
    with mpmath.workprec(200):
        for argument, result in zip(x.tolist(), got.tolist()):
            expected = oracle(mpmath.mpf(argument))
            rounded = float(expected)
            if math.isfinite(rounded):
                assert abs(result - expected) <= np.spacing(abs(rounded)), argument
            else:
                assert result == rounded, argument


@pytest.mark.parametrize("name", ["expm1", "sinh", "cosh"])
def test_doubles_where_another_multiple_of_log2_is_taken_off(name: str) -> None:
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than double here")
    random = np.random.default_rng(8)
    edges = math.log(3 / 2) + math.log(2) * np.arange(-4, 30)
    x = edges[:, np.newaxis] + random.uniform(-3e-4, 3e-4, (edges.size, 4000))
    x[:, :1000] = edges[:, np.newaxis] * (1 + random.uniform(-3e-9, 3e-9, (edges.size, 1000)))
    x = x.ravel()
    expected = UNARY[name](x.astype(np.longdouble))
    error = np.abs(evaluate(name, x) - expected)
    assert (error <= np.spacing(np.abs(expected.astype(np.float64)))).all()


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", UNARY)
@np.errstate(all="ignore")
def test_special_values(name: str, dtype: np.dtype) -> None:
    x = np.array(SPECIAL).astype(dtype)
    wide = x if dtype == np.float64 else x.astype(np.float64)
    expected = UNARY[name](wide).astype(dtype)
    got = evaluate(name, x)
    special = ~np.isfinite(expected) | (expected == 0)
    assert np.array_equal(bits_of(got[special]), bits_of(expected[special]))
    np.testing.assert_array_max_ulp(got[~special], expected[~special], 2, dtype)


@pytest.mark.parametrize("dtype", SCALAR)
@np.errstate(all="ignore")
def test_special_powers(dtype: np.dtype) -> None:
    numbers = [*SPECIAL, 1 / 3, 2.0**24 + 1, 2.0**53 - 1, 1 + 1e-7, 1 - 1e-7, -7.0, -1074.0]
    pairs = np.array(list(itertools.product(numbers, numbers))).astype(dtype)
    x, y = (np.ascontiguousarray(column) for column in pairs.T)
    expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(dtype)
    got = evaluate("pow", x, y)
    special = ~np.isfinite(expected) | (expected == 0)
    assert np.array_equal(bits_of(got[special]), bits_of(expected[special]))
    np.testing.assert_array_max_ulp(got[~special], expected[~special], 1, dtype)


def power_arguments(count: int) -> tuple[Array, Array]:
    """Bases all over and near 1, with exponents for results all over."""
    random = np.random.default_rng(3)
    near = 1 + random.uniform(-1, 1, count) * 10.0 ** random.uniform(-6, -1, count)
    x = np.concatenate([np.exp(random.uniform(-87, 87, count)), near])
    return x, random.uniform(-740, 709, x.size) / np.log(x)


@np.errstate(all="ignore")
def test_float_pow_ulp() -> None:
    x, y = power_arguments(50_000)
    x, y = x.astype(np.float32), (y / 8).astype(np.float32)
    expected = np.power(x.astype(np.float64), y.astype(np.float64))
    rounded = expected.astype(np.float32)
    got = evaluate("pow", x, y)
    finite = np.isfinite(rounded)
    error = np.abs(got[finite] - expected[finite]) / np.spacing(rounded[finite])
    assert error.max() <= 1.0
    assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)


def test_double_pow_ulp() -> None:
    mpmath = pytest.importorskip("mpmath")
    x, y = power_arguments(400)
    got = evaluate("pow", x, y)
    with mpmath.workprec(200):
        for base, exponent, result in zip(x.tolist(), y.tolist(), got.tolist()):
            expected = mpmath.mpf(base) ** mpmath.mpf(exponent)
            assert abs(result - expected) <= np.spacing(float(expected)), (base, exponent)


@pytest.mark.parametrize("dtype", SCALAR)
def test_exact_points(dtype: np.dtype) -> None:
    limits = np.finfo(dtype)
    n = np.arange(limits.minexp - limits.nmant, limits.maxexp).astype(dtype)
    powers = np.ldexp(dtype.type(1), n.astype(np.int32))
    assert np.array_equal(evaluate("exp2", n), powers)
    assert np.array_equal(evaluate("log2", powers), n)
    cubed = np.arange(-200, 201).astype(dtype)
    assert np.array_equal(evaluate("cbrt", cubed**3), cubed)
    k = np.arange(0, 11).astype(dtype)
    tens = np.array([10.0**i for i in range(11)]).astype(dtype)
    assert np.array_equal(evaluate("log10", tens), k)
    assert np.array_equal(evaluate("pow", np.full_like(k, 10), k), tens)
    one, zero = np.ones(1, dtype), np.zeros(1, dtype)
    for name in ("exp", "cosh", "erfc", "exp2"):
        assert evaluate(name, zero) == 1, name
    for name in ("log", "log2", "log10", "acosh"):
        assert bits_of(evaluate(name, one)) == 0, name
    assert evaluate("log1p", -one) == -np.inf


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", [*UNARY, "gelu", *BINARY])
def test_same_bits_at_every_width(name: str, dtype: np.dtype) -> None:
    random = np.random.default_rng(5)
    x = np.concatenate([np.array(SPECIAL), random.standard_normal(600) * 3, random.random(600)])
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    arguments = (x, x[::-1].copy()) if name in BINARY else (x,)
    expected = bits_of(evaluate(name, *arguments))
    widths = ((1, 512), (2, 512), (4, 256), (8, 256), (16, 512), (1, 256), (4, 128), (16, PLAIN))
    for lanes, bits in widths:
        got = bits_of(evaluate(name, *arguments, lanes=lanes, bits=bits))
        assert np.array_equal(got, expected), (lanes, bits)


@pytest.mark.parametrize("dtype", SCALAR)
def test_gelu(dtype: np.dtype) -> None:
    mpmath = pytest.importorskip("mpmath")
    near, far = np.linspace(-2, 8, 301), np.linspace(-13, -2, 301)
    for x, bound in ((near, 2.5), (far, 5), (far * 2.5, 5)):
        if dtype == np.float32 and x.min() < -14:
            continue  # all zero
        got = evaluate("gelu", x.astype(dtype))
        for argument, result in zip(x.astype(dtype).tolist(), got.tolist()):
            expected = argument * mpmath.ncdf(argument)
            spacing = float(np.spacing(dtype.type(abs(expected))))
            assert abs(result - expected) <= bound * spacing, argument
    special = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30], dtype)
    expected = np.array([0.0, -0.0, math.inf, -0.0, math.nan, 1e30, -0.0], dtype)
    assert np.array_equal(bits_of(evaluate("gelu", special)), bits_of(expected))


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("size", [8, 16, 32])
def test_look_up(dtype: np.dtype, size: int) -> None:
    scalar, integer = SCALAR[dtype], f"i{8 * dtype.itemsize}"
    table = np.random.default_rng(2).standard_normal(size).astype(dtype)
    index = np.arange(-size, 64 - size).astype(f"i{dtype.itemsize}") * 7
    for lanes, bits in itertools.product((1, 2, 4, 8, 16, 32), (512, 256, 128, PLAIN)):
        machine = host_machine() if bits in (512, PLAIN) else host_machine().limited_to(bits)
        module = Module(frozenset() if bits == PLAIN else machine.present)
        writer = Writer(module, "void @kernel(ptr %index, ptr %out)")
        for start in range(0, index.size, lanes):
            place = writer.offset(Value("%index", "ptr"), start, integer)
            found = writer.load(place, vector_type(integer, lanes))
            number = look_up(writer, table.tolist(), found, scalar)
            writer.store(number, writer.offset(Value("%out", "ptr"), start, scalar))
        writer.ret()
        writer.finish()
        library = link_object(compile_object(module.text(), machine), ["kernel"])
        out = np.empty(index.size, dtype)
        kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library["kernel"])
        kernel(index.ctypes.data, out.ctypes.data)
        assert np.array_equal(out, table[index % size]), (lanes, bits)


def test_tables_are_reproducible() -> None:
    pytest.importorskip("mpmath")
    benchmarks = Path(__file__).parent.parent / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(benchmarks))
        script = runpy.run_path(str(benchmarks / "fit_tables.py"))
    for name in ("LOG10_CELLS", "CBRT_TAIL", "LONG_ROOTS", "EXP_CELL_TAIL"):
        expected = np.array(script["TABLES"][name]())
        written = np.array(getattr(tables, name))
        dtype = np.float64 if name.startswith("LONG") else np.float32
        assert np.array_equal(written.astype(dtype), expected.astype(dtype)), name


def test_coefficients_are_reproducible() -> None:
    pytest.importorskip("mpmath")
    root = Path(__file__).parent.parent
    script = runpy.run_path(str(root / "benchmarks" / "fit_coefficients.py"))
    for name, scalar in (("EXP_TAIL", "float"), ("COSH_TAIL", "double")):
        fitted, _ = script["fit"](script["tasks"]()[name][scalar])
        assert tuple(fitted) == getattr(coefficients, name)[scalar]
