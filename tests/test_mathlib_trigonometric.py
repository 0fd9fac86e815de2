"""The trigonometric half of mathlib: ULP bounds, huge arguments, special values, equal bits."""

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
from neurlang.codegen.mathlib import pieces
from neurlang.codegen.mathlib import trigonometric_coefficients as coefficients
from neurlang.codegen.mathlib.inverse_trigonometric import ATAN_STEPS, ATAN_STRETCH
from neurlang.codegen.mathlib.trigonometric import TRIGONOMETRIC
from neurlang.codegen.writer import Module, Value, Writer, vector_type

Array = npt.NDArray[np.floating]
SCALAR = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
FULL_LANES = {np.dtype(np.float32): 16, np.dtype(np.float64): 8}
PADDING = 16
PLAIN = 0  # in place of a register's width: no instruction that only some machines have
NUMPY: dict[str, Callable[..., Array]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "hypot": np.hypot,
}
BINARY = ("atan2", "hypot")
UNARY = tuple(name for name in NUMPY if name not in BINARY)
PERIODIC = ("sin", "cos", "tan")
# The double nearest to a multiple of pi / 2, found by Kahan's program.
NEAREST_TO_MULTIPLE = 6381956970095103.0 * 2.0**797
SPECIAL = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 0.75, -0.25, 1e22, 1.5707963267948966),
    *(math.inf, -math.inf, math.nan, 1e30, -1e30, 1e-7, -1e-20, 1e-40, -1e-40, 5e-324, -5e-324),
    *(1.5e308, -1.5e308, 1e-310, 1e-308, 1e-160, 1e160, 1e200, -1e-200, 2.0**-574, 2.0**1023),
    *(3e38, -3e38, 1e-38, 1e-45, 2.0**-126, 2.0**21, 2.0**36),
]


@lru_cache(maxsize=256)
def compiled(name: str, dtype: np.dtype, lanes: int, bits: int = 512) -> Library:
    """The function as a loop over arrays."""
    scalar = SCALAR[dtype]
    inputs = [Value(f"%in{i}", "ptr") for i in range(2 if name in BINARY else 1)]
    machine = host_machine() if bits in (512, PLAIN) else host_machine().limited_to(bits)
    module = Module(frozenset() if bits == PLAIN else machine.present)
    writer = Writer(module, f"void @kernel(i64 %count, {', '.join(map(str, inputs))}, ptr %out)")
    loop, done = writer.label("loop"), writer.label("done")
    writer.branch(loop)
    writer.start_block(loop)
    phi = writer.phi("i64")
    type = vector_type(scalar, lanes)
    arguments = [writer.load(writer.offset(p, phi[0], scalar), type) for p in inputs]
    result = TRIGONOMETRIC[name](writer, *arguments)
    writer.store(result, writer.offset(Value("%out", "ptr"), phi[0], scalar))
    following = writer.add(phi[0], writer.constant(lanes, "i64"))
    writer.set_phi(phi, [(writer.constant(0, "i64"), "entry"), (following, writer.block)])
    writer.branch_if(writer.icmp("ult", following, Value("%count", "i64")), loop, done)
    writer.start_block(done)
    writer.ret()
    writer.finish()
    return link_object(compile_object(module.text(), machine), ["kernel"])


def evaluate(name: str, *arrays: Array, lanes: int = 0, bits: int = 512) -> Array:
    """The function of mathlib on arrays of one dtype."""
    dtype, size = arrays[0].dtype, arrays[0].size
    library = compiled(name, dtype, lanes or FULL_LANES[dtype], bits)
    padded = [np.append(a, np.ones(-size % PADDING, dtype)) for a in arrays]
    out = np.empty_like(padded[0])
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(arrays) + 1))(
        library["kernel"]
    )
    kernel(out.size, *(a.ctypes.data for a in padded), out.ctypes.data)
    return out[:size]


def bits_of(a: Array) -> Array:
    """The bits, every NaN made the same."""
    return np.where(np.isnan(a), np.nan, a).view(f"u{a.itemsize}")


def largest_ulp(got: Array, expected: Array) -> float:
    """The largest error in ULP against a wider result; everything not finite must agree."""
    rounded = expected.astype(got.dtype)
    finite = np.isfinite(rounded)
    assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)
    error = np.abs(got[finite] - expected[finite]) / np.spacing(np.abs(rounded[finite]))
    return float(error.max())


def mpmath_ulp(name: str, got: Array, *arrays: Array) -> float:
    """The largest error in ULP against mpmath."""
    mpmath = pytest.importorskip("mpmath")
    oracle, largest = getattr(mpmath, name), 0.0
    for result, *arguments in zip(got.tolist(), *(a.tolist() for a in arrays)):
        huge = any(abs(argument) > 1e15 for argument in arguments)
        with mpmath.workprec(1300 if huge else 200):
            expected = oracle(*map(mpmath.mpf, arguments))
            error = float(abs(result - expected) / np.spacing(abs(float(expected))))
        largest = max(largest, error)
    return largest


def point_samples(count: int) -> tuple[Array, Array]:
    """Coordinates of points in the plane: near the diagonals, tiny, huge, and all over."""
    random = np.random.default_rng(3)
    y = random.standard_normal(count)
    x = y * np.exp(random.uniform(-3, 3, count)) * random.choice([-1, 1], count)
    far = np.exp(random.uniform(-700, 700, count))
    beside = far * np.exp(random.uniform(-8, 8, count))
    tiny, diagonal = 2.0**-1060, random.uniform(0.5, 1, count)
    return (
        np.concatenate([y, y * tiny, far, random.uniform(0.5, 1, count)]),
        np.concatenate([x, x * tiny, -beside, diagonal]),
    )


def double_samples(name: str, count: int) -> Array:
    """Doubles all over the domain, and densely where a function changes its method."""
    random = np.random.default_rng(7)
    near_one = 1 - 10.0 ** random.uniform(-16, 0, count)
    small = 10.0 ** random.uniform(-300, 0, count)
    match name:
        case "asin" | "acos":
            parts = [random.uniform(-1, 1, count), random.uniform(0.45, 0.65, count), -near_one]
        case "atan":
            parts = [random.uniform(-10, 10, count), random.uniform(0.8, 1.2, 3 * count)]
            parts.append(1 / near_one)
        case _:
            huge = np.exp(random.uniform(20, 709, count))
            parts = [random.uniform(-3.2, 3.2, 2 * count), random.uniform(-1e6, 1e6, count), huge]
    return np.concatenate([*parts, small, -small])


def nearly_multiples() -> Array:
    """Doubles that are as near to multiples of pi / 2 as any, over all exponents.

    If |x| = m 2^e is nearly n pi / 2, then n / m is a convergent of the continued fraction of
    2^e / (pi / 2).
    """
    mpmath = pytest.importorskip("mpmath")
    found = [NEAREST_TO_MULTIPLE, *(float(n * np.pi / 2) for n in range(1, 200))]
    with mpmath.workprec(1300):
        for exponent in range(-10, 971, 7):
            rest = mpmath.ldexp(1, exponent) * 2 / mpmath.pi
            denominator, previous = 1, 0
            while True:
                rest = 1 / (rest - mpmath.floor(rest))
                term = int(mpmath.floor(rest))
                if term * denominator + previous >= 2**53:
                    break
                denominator, previous = term * denominator + previous, denominator
            found.append(math.ldexp(denominator, exponent))
    return np.array(found)


@pytest.mark.parametrize("name", UNARY)
@np.errstate(all="ignore")
def test_float_ulp(name: str) -> None:
    x = np.arange(0, 2**32, 20_011, dtype=np.uint64).astype(np.uint32).view(np.float32)
    assert largest_ulp(evaluate(name, x), NUMPY[name](x.astype(np.float64))) <= 1.0


@np.errstate(all="ignore")
def test_ends_of_cells() -> None:
    ends = np.arange(0, 17) / ATAN_STEPS
    ends = np.concatenate([ends, 1 / ends[1:]]).astype(np.float32).view(np.int32)
    x = np.abs((ends[:, None] + np.arange(-60, 61, dtype=np.int32)).ravel().view(np.float32))
    assert largest_ulp(evaluate("atan", x), np.arctan(x.astype(np.float64))) <= 1.0
    width = np.full_like(x, 0.7)
    for a, b in ((x, width), (width, x)):
        expected = np.arctan2(a.astype(np.float64), b.astype(np.float64))
        assert largest_ulp(evaluate("atan2", a, b), expected) <= 1.0


def test_ends_of_cells_of_doubles() -> None:
    mpmath = pytest.importorskip("mpmath")
    steps = np.outer(2.0 ** np.arange(-1, 3), 1 + np.arange(8) / 8).ravel()
    ends = ATAN_STRETCH * (steps - pieces.OFFSET)
    x = np.concatenate([ends * (1 + i * 2.0**-50) for i in range(-6, 7)])
    got = evaluate("atan", x)
    for argument, result in zip(x.tolist(), got.tolist()):
        expected = mpmath.atan(mpmath.mpf(argument))
        assert abs(result - expected) <= np.spacing(float(expected)), argument


@pytest.mark.parametrize("name", BINARY)
@np.errstate(all="ignore")
def test_float_pair_ulp(name: str) -> None:
    a, b = (column.astype(np.float32) for column in point_samples(20_000))
    wide = (a.astype(np.float64), b.astype(np.float64))
    assert largest_ulp(evaluate(name, a, b), NUMPY[name](*wide)) <= 1.0


@pytest.mark.parametrize("name", UNARY)
def test_double_ulp(name: str) -> None:
    x = double_samples(name, 150)
    assert mpmath_ulp(name, evaluate(name, x), x) <= 1.0


@pytest.mark.parametrize("name", BINARY)
def test_double_pair_ulp(name: str) -> None:
    a, b = point_samples(200)
    assert mpmath_ulp(name, evaluate(name, a, b), a, b) <= 1.0


@pytest.mark.parametrize("name", PERIODIC)
def test_near_multiples_of_a_quarter_turn(name: str) -> None:
    x = nearly_multiples()
    assert mpmath_ulp(name, evaluate(name, x), x) <= 1.0
    narrow = np.abs(x[x < 3e38]).astype(np.float32)
    expected = NUMPY[name](narrow.astype(np.float64))
    assert largest_ulp(evaluate(name, narrow), expected) <= 1.0


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", NUMPY)
@np.errstate(all="ignore")
def test_special_values(name: str, dtype: np.dtype) -> None:
    x = np.array(SPECIAL).astype(dtype)
    arguments: tuple[Array, ...] = (x,)
    if name in BINARY:
        pairs = np.array(list(itertools.product(x, x)))
        arguments = tuple(np.ascontiguousarray(column) for column in pairs.T)
    expected = NUMPY[name](*(a.astype(np.float64) for a in arguments)).astype(dtype)
    got = evaluate(name, *arguments)
    special = ~np.isfinite(expected) | (expected == 0)
    assert np.array_equal(bits_of(got[special]), bits_of(expected[special]))
    np.testing.assert_array_max_ulp(got[~special], expected[~special], 1, dtype)


@pytest.mark.parametrize("dtype", SCALAR)
def test_exact_points(dtype: np.dtype) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    tiny = np.array([0.0, smallest, 3 * smallest, np.finfo(dtype).tiny], dtype)
    tiny = np.concatenate([tiny, -tiny])
    for name in ("sin", "tan", "asin", "atan"):
        assert np.array_equal(bits_of(evaluate(name, tiny)), bits_of(tiny)), name
    assert np.array_equal(evaluate("cos", tiny), np.ones_like(tiny))
    assert bits_of(evaluate("acos", np.ones(1, dtype))) == 0
    legs = np.array([[3, 4, 5], [5, 12, 13], [8, 15, 17], [20, 21, 29]]).T
    for scale in (1.0, float(np.finfo(dtype).max) / 64, float(np.finfo(dtype).tiny)):
        a, b, c = (np.ldexp(leg.astype(dtype), int(math.log2(scale))) for leg in legs)
        assert np.array_equal(evaluate("hypot", a, b), c)


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", NUMPY)
def test_same_bits_at_every_width(name: str, dtype: np.dtype) -> None:
    random = np.random.default_rng(5)
    parts = [np.array(SPECIAL), random.standard_normal(600) * 3, random.uniform(-1, 1, 600)]
    # Huge arguments among small ones: the slow path must not change its neighbours.
    with np.errstate(over="ignore"):
        x = random.permutation(np.concatenate([*parts, np.exp(random.uniform(0, 80, 300))]))
        x = x.astype(dtype)
    arguments = (x, x[::-1].copy()) if name in BINARY else (x,)
    expected = bits_of(evaluate(name, *arguments, lanes=1))
    widths = ((2, 512), (4, 256), (8, 256), (8, 512), (16, 512), (1, 256), (4, 128), (16, PLAIN))
    for lanes, bits in widths:
        got = bits_of(evaluate(name, *arguments, lanes=lanes, bits=bits))
        assert np.array_equal(got, expected), (lanes, bits)


def test_one_slow_function_in_a_module() -> None:
    module = Module()
    writer = Writer(module, "<8 x double> @f(<8 x double> %x)")
    x = Value("%x", "<8 x double>")
    for name in PERIODIC:
        x = TRIGONOMETRIC[name](writer, x)
    writer.ret(x)
    writer.finish()
    assert sum(text.startswith("define internal") for text in module.functions) == 1
    assert link_object(compile_object(module.text()), ["f"])["f"]


def test_constants_are_reproducible() -> None:
    pytest.importorskip("mpmath")
    benchmarks = Path(__file__).parent.parent / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(benchmarks))
        script = runpy.run_path(str(benchmarks / "fit_trigonometric.py"))
    assert tuple(script["turn_words"]()) == coefficients.TURN_WORDS
    fitted, _ = script["fit"](script["tasks"]()["SIN_SHORT"])
    assert tuple(fitted) == coefficients.SIN_SHORT
    for name, rows in script["tangents"]().items():
        for part, row in zip(("NUMERATOR", "DENOMINATOR"), rows):
            assert tuple(row) == getattr(coefficients, f"{name}_{part}")
