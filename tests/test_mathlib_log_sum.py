"""logaddexp and logaddexp2: ULP bounds where they cancel and elsewhere, special values."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from test_mathlib_exponential import PLAIN, SCALAR, SPECIAL, Array, bits_of, evaluate

import neurlang as nl
from neurlang.codegen.mathlib.words import LN2_PARTS

NAMES = {"logaddexp": math.e, "logaddexp2": 2.0}


def exact_sum(mpmath: Any, name: str, x: float, y: float) -> Any:
    """log_b(b^x + b^y) in mpmath's precision."""
    base = mpmath.e if name == "logaddexp" else mpmath.mpf(2)
    x, y = sorted((mpmath.mpf(x), mpmath.mpf(y)))
    return mpmath.log(base**x + base**y) / mpmath.log(base)


def arguments(name: str, dtype: np.dtype, count: int) -> tuple[Array, Array]:
    """Pairs all over, pairs with one 0 or tiny argument, and pairs whose result is nearly 0."""
    random = np.random.default_rng(4)
    unit = math.log(NAMES[name])
    limit = np.finfo(dtype).minexp * math.log(2) / unit
    below = -np.exp2(random.uniform(limit * unit / math.log(2), -0.8, count)) / unit
    partner = np.log(-np.expm1(below * unit)) / unit
    off = partner * (1 + random.choice([-1, 1], count) * np.exp2(random.uniform(-50, -1, count)))
    far = random.uniform(limit - 20, 0, count)
    tiny = np.exp2(random.uniform(limit * unit / math.log(2), 0, count))
    spread = random.uniform(-9, 9, count) * np.exp2(random.uniform(-3, 20, count))
    x = np.concatenate([random.uniform(-9, 9, count), below, below, tiny, 0 * far, spread])
    near = spread + random.uniform(-2, 2, count)
    y = np.concatenate([random.uniform(-9, 9, count), partner, off, far, far, near])
    return x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", NAMES)
def test_ulp(name: str, dtype: np.dtype) -> None:
    mpmath = pytest.importorskip("mpmath")
    x, y = arguments(name, dtype, 60)
    got = evaluate(name, x, y)
    # The nearest to a tiny result is found among pairs that agree to so many bits.
    with mpmath.workprec(1400):
        for a, b, result in zip(x.tolist(), y.tolist(), got.tolist()):
            expected = exact_sum(mpmath, name, a, b)
            spacing = float(np.spacing(dtype.type(abs(expected))))
            assert abs(result - expected) <= spacing, (a, b)


def barely_cancelled(name: str, count: int) -> tuple[Array, Array]:
    """Pairs whose result just does not count as nearly 0: beside its terms, or by its size."""
    random = np.random.default_rng(5)
    base = math.log(NAMES[name])
    small = -random.uniform(5, 50, count)
    term = np.log1p(np.exp(small * base)) / base
    large = -term * (1 + random.choice([-1, 1], count) * random.uniform(0.12, 0.15, count))
    share = random.uniform(0.2, 0.8, count)
    result = random.choice([-1, 1], count) * random.uniform(0.007, 0.013, count) / base
    x, y = (np.log(part * np.exp(result * base)) / base for part in (share, 1 - share))
    return np.concatenate([large, x]), np.concatenate([small, y])


@pytest.mark.parametrize("name", NAMES)
def test_ulp_of_doubles_that_barely_cancel(name: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    x, y = barely_cancelled(name, 300)
    with mpmath.workprec(300):
        for a, b, result in zip(x.tolist(), y.tolist(), evaluate(name, x, y).tolist()):
            expected = exact_sum(mpmath, name, a, b)
            assert abs(result - expected) <= float(np.spacing(abs(float(expected)))), (a, b)


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", NAMES)
@np.errstate(all="ignore")
def test_special_values(name: str, dtype: np.dtype) -> None:
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL))).astype(dtype)
    x, y = (np.ascontiguousarray(column) for column in pairs.T)
    expected = getattr(np, name)(x.astype(np.float64), y.astype(np.float64)).astype(dtype)
    got = evaluate(name, x, y)
    special = ~np.isfinite(expected) | (expected == 0)
    assert np.array_equal(bits_of(got[special]), bits_of(expected[special]))
    np.testing.assert_allclose(got[~special], expected[~special], rtol=1e-6)


@pytest.mark.parametrize("dtype", SCALAR)
@pytest.mark.parametrize("name", NAMES)
def test_bits_of_results_near_zero(name: str, dtype: np.dtype) -> None:
    x, y = arguments(name, dtype, 40)
    expected = bits_of(evaluate(name, x, y))
    for lanes, bits in ((1, 512), (2, 128), (8, 256), (16, 512), (4, PLAIN)):
        assert np.array_equal(bits_of(evaluate(name, x, y, lanes=lanes, bits=bits)), expected)
    assert np.array_equal(bits_of(evaluate(name, y, x)), expected)
    compiled = nl.jit(getattr(nl, name))
    for start in (0, 1, 7):
        part = slice(start, start + 77)
        assert np.array_equal(bits_of(compiled(x[part], y[part])), expected[part])


def test_softplus_is_a_log_of_a_sum() -> None:
    x = np.linspace(-100, 100, 301, dtype=np.float32)
    wide = x.astype(np.float64)
    expected = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    got = nl.jit(nl.softplus)(x)
    assert (np.abs(got - expected) <= np.spacing(expected.astype(np.float32))).all()


def test_silu_is_a_product_with_sigmoid() -> None:
    x = np.linspace(-87, 100, 401, dtype=np.float32)  # below, sigmoid is subnormal
    wide = x.astype(np.float64)
    expected = wide / (1 + np.exp(-wide))
    got = nl.jit(nl.silu)(x)
    assert (np.abs(got - expected) <= 2 * np.spacing(np.abs(expected).astype(np.float32))).all()


def test_parts_of_log_two() -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(300):
        assert abs(sum(map(mpmath.mpf, LN2_PARTS)) - mpmath.log(2)) < mpmath.mpf(2) ** -168
    for part in LN2_PARTS:
        assert math.ldexp(math.frexp(part)[0], 42) % 1 == 0
