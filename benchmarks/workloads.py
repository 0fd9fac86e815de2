"""Programs to compare array libraries by: one text for NumPy, neurlang, jax.numpy and torch.

A program takes a namespace of NumPy's names first, then arrays. The namespace also has `erf`,
`conv2d`, `loop(count, body, state)`, and `bincount(places, weights, size)` in the weights' dtype.
`make_arguments` of a workload makes the arrays, for every library equal ones. `loose` is the part
of a result's elements that may differ, where rounding turns decisions; `double` says that the
arrays are of float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arguments = Callable[[np.random.Generator], tuple[Any, ...]]
SEED = 1
MILLION = 1_000_000
SQRT_HALF = math.sqrt(0.5)


@dataclass(frozen=True)
class Workload:
    """A program, its arguments, and how far a result may be from NumPy's in float64: `tolerance`
    times the element's size plus the root mean square of all."""

    name: str
    program: Callable[..., Any]
    arguments: Arguments
    tolerance: float = 1e-4
    loose: float = 0.0
    double: bool = False

    def make_arguments(self) -> tuple[Any, ...]:
        """The arrays, equal ones at each call."""
        return self.arguments(np.random.default_rng(SEED))


WORKLOADS: dict[str, Workload] = {}


def workload(name: str, program: Callable[..., Any], *arrays: Any, **others: Any) -> None:
    """Register a program; its arrays are functions of a generator."""

    def arguments(random: np.random.Generator) -> tuple[Any, ...]:
        return tuple(make(random) for make in arrays)

    WORKLOADS[name] = Workload(name, program, arguments, **others)


def normal(*shape: int, scale: float = 1, dtype: str = "float32") -> Any:
    return lambda random: (random.standard_normal(shape) * scale).astype(dtype)


def between(low: float, high: float, *shape: int, dtype: str = "float32") -> Any:
    return lambda random: random.uniform(low, high, shape).astype(dtype)


def integers(low: int, high: int, *shape: int, dtype: str = "int32") -> Any:
    return lambda random: random.integers(low, high, shape, dtype=dtype)


# calls that are nearly nothing but calls


def add(xp: Any, a: Any, b: Any) -> Any:
    return a + b


def short_chain(xp: Any, x: Any) -> Any:
    y = 1.5 * x + 0.25
    root = xp.sqrt(xp.maximum(y * y - x, 0.1))
    return -(root / (x * x + 1.0))


workload("add16", add, normal(16), normal(16))
workload("chain64", short_chain, normal(64))


# elementwise


def axpy(xp: Any, x: Any, y: Any) -> Any:
    return 2.5 * x + y


def polynomial(xp: Any, x: Any) -> Any:
    value = 0.125 * x + 0.5
    for coefficient in (-0.25, 0.75, -1.5, 0.3, 1.1, -0.7, 0.9):
        value = value * x + coefficient
    return value


def gelu_by_tanh(xp: Any, x: Any) -> Any:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (xp.tanh(inner) + 1.0)


def gelu_by_erf(xp: Any, x: Any) -> Any:
    return 0.5 * x * (xp.erf(x * SQRT_HALF) + 1.0)


def gate(xp: Any, x: Any, y: Any) -> Any:
    return xp.tanh(y) / (xp.exp(-x) + 1.0)


def black_scholes(xp: Any, price: Any, strike: Any, years: Any) -> Any:
    rate, volatility = 0.03, 0.25
    spread = volatility * xp.sqrt(years)
    drift = (rate + 0.5 * volatility * volatility) * years
    upper = (xp.log(price / strike) + drift) / spread
    likely, sure = (0.5 * xp.erf(d * SQRT_HALF) + 0.5 for d in (upper, upper - spread))
    discounted = strike * xp.exp(-rate * years)
    call = price * likely - discounted * sure
    put = discounted * (1.0 - sure) - price * (1.0 - likely)
    return call, put


def long_chain(xp: Any, x: Any, y: Any, z: Any) -> Any:
    a = x * y + z
    b = xp.maximum(a, 0.0) - 0.5 * x
    d = xp.sqrt(xp.abs(b) + 1.0) * y - a
    e = xp.minimum(d, 4.0) + b * z
    f = xp.where(e > 0.0, e, 0.1 * e)
    return (f + x) / (f * f + 1.0) * 3.0 - y * y


def integer_choices(xp: Any, a: Any, b: Any, c: Any) -> Any:
    chosen = xp.logical_or(xp.logical_and(a > b, b < 100), c == 7)
    t = xp.where(chosen, a + b * 3, c - a)
    return xp.where(t > 50, t - 50, -t)


def dequantize(xp: Any, q: Any, scale: Any) -> Any:
    return (xp.astype(q, "float32") - 3.0) * scale


def mandelbrot(xp: Any, real: Any, imaginary: Any) -> Any:
    def step(state: Any) -> Any:
        x, y, count = state
        inside = x * x + y * y <= 4.0
        following = x * x - y * y + real
        y = xp.where(inside, 2.0 * x * y + imaginary, y)
        return xp.where(inside, following, x), y, count + xp.where(inside, 1.0, 0.0)

    return xp.loop(50, step, (real * 0.0, real * 0.0, real * 0.0))[2]


def plane(first: bool) -> Any:
    def make(random: np.random.Generator) -> Any:
        x = np.linspace(-2.0, 0.6, 500, dtype=np.float32)
        y = np.linspace(-1.3, 1.3, 500, dtype=np.float32)
        grids = np.meshgrid(x, y)
        return np.ascontiguousarray(grids[0 if first else 1])

    return make


def outer_exp(xp: Any, a: Any, b: Any) -> Any:
    return xp.exp(-(a[:, None] + b[None, :]))


for suffix, size in (("1m", MILLION), ("16m", 16 * MILLION)):
    workload(f"saxpy_{suffix}", axpy, normal(size), normal(size))
    workload(f"poly8_{suffix}", polynomial, between(-1, 1, size))
    workload(f"gelu_tanh_{suffix}", gelu_by_tanh, normal(size))
    workload(f"gelu_erf_{suffix}", gelu_by_erf, normal(size))
    workload(f"sigtanh_{suffix}", gate, normal(size), normal(size))
    workload(
        f"black_scholes_f32_{suffix}",
        black_scholes,
        *(between(low, high, size) for low, high in ((10, 50), (10, 50), (0.1, 2))),
    )
    workload(f"chain20_{suffix}", long_chain, normal(size), normal(size), normal(size))
    workload(f"int_cmp_{suffix}", integer_choices, *[integers(-150, 150, size)] * 3)
    workload(
        f"int8_scale_{suffix}",
        dequantize,
        integers(-128, 127, size, dtype="int8"),
        between(0.037, 0.037, 1),
    )
workload(
    "black_scholes_f64_1m",
    black_scholes,
    *(between(*ends, MILLION, dtype="float64") for ends in ((10, 50), (10, 50), (0.1, 2))),
    tolerance=1e-9,
    double=True,
)
workload("mandelbrot", mandelbrot, plane(True), plane(False), loose=0.01)
workload("outer_exp", outer_exp, between(0, 2, 4096), between(0, 2, 4096))


# reductions


def mean_and_variance(xp: Any, x: Any) -> Any:
    mean = xp.mean(x, axis=1)
    rest = x - mean[:, None]
    return mean, xp.mean(rest * rest, axis=1)


def softmax(xp: Any, x: Any, axis: int = 1) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def layer_norm(xp: Any, x: Any, scale: Any, shift: Any) -> Any:
    rest = x - xp.mean(x, axis=1, keepdims=True)
    variance = xp.mean(rest * rest, axis=1, keepdims=True)
    return rest / xp.sqrt(variance + 1e-5) * scale + shift


def distances(xp: Any, a: Any, b: Any) -> Any:
    rest = a[:, None, :] - b[None, :, :]
    return xp.sqrt(xp.sum(rest * rest, axis=2))


ROWS = normal(4096, 1024)
workload("sum_all_1m", lambda xp, x: xp.sum(x), between(0, 1, MILLION))
workload("sum_all_16m", lambda xp, x: xp.sum(x), between(0, 1, 16 * MILLION))
workload("sum_axis0", lambda xp, x: xp.sum(x, axis=0), between(0, 1, 4096, 4096))
workload("sum_axis1", lambda xp, x: xp.sum(x, axis=1), between(0, 1, 4096, 4096))
workload("mean_var", mean_and_variance, ROWS)
workload("argmax_rows", lambda xp, x: xp.argmax(x, axis=1), ROWS)
workload("softmax_64", softmax, normal(65_536, 64))
workload("softmax_1024", softmax, ROWS)
workload("softmax_50k", softmax, normal(64, 50_000))
workload("layernorm", layer_norm, ROWS, normal(1024), normal(1024))
workload("l2norm", lambda xp, x: xp.sqrt(xp.sum(x * x, axis=1)), ROWS)
workload("pdist", distances, normal(1000, 64), normal(1000, 64))
workload("cumsum_rows", lambda xp, x: xp.cumsum(x, axis=1), between(0, 1, 4096, 1024))
workload(
    "cumsum_1d", lambda xp, x: xp.cumsum(x, axis=0), between(-1, 1, 4 * MILLION), tolerance=1e-2
)


# movement


def relax(xp: Any, x: Any, times: int = 1) -> Any:
    for _ in range(times):
        around = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
        x = xp.pad(0.25 * around, ((1, 1), (1, 1)))
    return x


def rearranged(xp: Any, a: Any, b: Any) -> Any:
    return xp.concatenate([a[:, 256:], b * 2.0, a[:, :256]], axis=1)


def life(xp: Any, cells: Any) -> Any:
    columns = xp.roll(cells, 1, 0) + cells + xp.roll(cells, -1, 0)
    around = xp.roll(columns, 1, 1) + columns + xp.roll(columns, -1, 1) - cells
    alive = xp.logical_or(around == 3, xp.logical_and(around == 2, cells == 1))
    return xp.astype(alive, "int8")


GRID = normal(1024, 1024)
workload("transpose_add", lambda xp, a, b: a.T + b, normal(2048, 2048), normal(2048, 2048))
workload("concat_slices", rearranged, normal(2048, 1024), normal(2048, 512))
workload("jacobi1", relax, GRID)
workload("jacobi10", lambda xp, x: relax(xp, x, 10), GRID)
workload(
    "gather_rows",
    lambda xp, table, rows: xp.take(table, rows, axis=0),
    normal(50_000, 256),
    integers(0, 50_000, 8192),
)
workload(
    "scatter_add",
    lambda xp, places, weights: xp.bincount(places, weights, 1024),
    integers(0, 1024, MILLION),
    between(0, 1, MILLION),
    tolerance=1e-3,
)
workload("life_1024", life, integers(0, 2, 1024, 1024, dtype="int8"))


# rows of few elements, and arrays in other shapes


def batch_norm(xp: Any, x: Any) -> Any:
    total, squares = xp.sum(x, axis=(0, 2, 3)), xp.sum(x * x, axis=(0, 2, 3))
    count = x.shape[0] * x.shape[2] * x.shape[3]
    mean = total / count
    scale = 1.0 / xp.sqrt(squares / count - mean * mean + 1e-5)
    return (x - mean[None, :, None, None]) * scale[None, :, None, None]


def kronecker(xp: Any, a: Any, b: Any) -> Any:
    (m, n), (k, j) = a.shape, b.shape
    return xp.reshape(a[:, None, :, None] * b[None, :, None, :], (m * k, n * j))


def rotate_pairs(xp: Any, x: Any, cosine: Any, sine: Any) -> Any:
    a, b = x[:, 0::2], x[:, 1::2]
    pairs = xp.stack([a * cosine - b * sine, a * sine + b * cosine], 2)
    return xp.reshape(pairs, x.shape)


def similarity(xp: Any, a: Any, b: Any) -> Any:
    rows = (x / xp.sqrt(xp.sum(x * x, axis=1))[:, None] for x in (a, b))
    first, second = rows
    return first @ second.T


def block_maxima(xp: Any, x: Any) -> Any:
    blocks = xp.reshape(x, (*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2))
    return xp.max(xp.max(blocks, axis=5), axis=3)


def standardized(xp: Any, x: Any) -> Any:
    centred = x - xp.mean(x, axis=0, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=0, keepdims=True) + 1e-5)


def within_extremes(xp: Any, x: Any) -> Any:
    least = xp.min(x, axis=0, keepdims=True)
    return (x - least) / (xp.max(x, axis=0, keepdims=True) - least)


workload("norm_of_3", lambda xp, x: xp.sqrt(xp.sum(x * x, axis=1)), normal(300_000, 3))
workload("softmax_of_8", softmax, normal(50_000, 8))
workload("maxima_2x2", block_maxima, normal(16, 32, 64, 64))
workload("batch_norm", batch_norm, normal(16, 32, 32, 32))
workload("argmax_columns", lambda xp, x: xp.argmax(x, axis=0), normal(1000, 1000))
workload("columns_softmax", lambda xp, x: softmax(xp, x, 0), normal(1000, 1000))
workload("standardized", standardized, normal(1000, 1000))
workload("within_extremes", within_extremes, normal(1000, 1000))
workload("planes_pixels", lambda xp, x: xp.permute_dims(x, (1, 2, 0)) * 2.0, normal(3, 512, 512))
workload("every_other", lambda xp, x: x[::2, ::2] + x[1::2, 1::2], normal(2000, 2000))
workload("rotary", rotate_pairs, normal(2048, 64), *[normal(2048, 32)] * 2)
workload("kronecker", kronecker, normal(40, 40), normal(30, 30))
workload("similarity", similarity, normal(500, 128), normal(600, 128))
workload("cubes", lambda xp, x: x**3 + 0.5 * x, normal(MILLION))


# products


def product(xp: Any, a: Any, b: Any) -> Any:
    return a @ b


def layer(xp: Any, x: Any, w: Any, b: Any) -> Any:
    return gelu_by_tanh(xp, x @ w + b)


def perceptron(xp: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
    for w, b in ((w1, b1), (w2, b2)):
        x = xp.maximum(x @ w + b, 0.0)
    return x @ w3 + b3


def weights(*sizes: int, scale: float = 0.04) -> list[Any]:
    """A matrix and a vector for each layer."""
    pairs = itertools.pairwise(sizes)
    return [make for m, n in pairs for make in (normal(m, n, scale=scale), normal(n))]


for size in (32, 64, 128, 256, 512, 1024, 2048):
    workload(f"matmul_{size}", product, normal(size, size), normal(size, size))
for size in (512, 1024):
    wide = normal(size, size, dtype="float64")
    workload(f"matmul_f64_{size}", product, wide, wide, tolerance=1e-10, double=True)
workload("gemv_4096", product, normal(4096, 4096), normal(4096))
workload("bmm_64", product, normal(64, 64, 64), normal(64, 64, 64))
workload("skinny_8x4096", product, normal(8, 4096), normal(4096, 4096))
workload(
    "tensordot3",
    lambda xp, a, b: xp.tensordot(a, b, axes=((1, 2), (0, 2))),
    normal(64, 32, 64),
    normal(32, 96, 64),
)
workload("mlp_layer", layer, normal(128, 1024), *weights(1024, 4096, scale=0.03))
for batch in (1, 32, 256):
    workload(f"mlp3_b{batch}", perceptron, normal(batch, 784), *weights(784, 512, 512, 10))
workload(
    "conv2d_3x3",
    lambda xp, x, w: xp.conv2d(x, w, padding=1, groups=1),
    normal(8, 64, 56, 56),
    normal(64, 64, 3, 3, scale=0.05),
)
workload(
    "conv2d_dw",
    lambda xp, x, w: xp.conv2d(x, w, padding=1, groups=64),
    normal(8, 64, 56, 56),
    normal(64, 1, 3, 3),
)


# models

LENGTH, WIDTH, HEADS = 256, 512, 8


def attend(xp: Any, x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    split = (LENGTH, HEADS, WIDTH // HEADS)
    q, k, v = (xp.permute_dims(xp.reshape(x @ w, split), (1, 0, 2)) for w in (wq, wk, wv))
    scores = (q @ xp.permute_dims(k, (0, 2, 1))) * 0.125
    place = xp.arange(LENGTH)
    seen = xp.where(place[:, None] >= place[None, :], scores, -1e9)
    mixed = softmax(xp, seen, axis=2) @ v
    return xp.reshape(xp.permute_dims(mixed, (1, 0, 2)), (LENGTH, WIDTH)) @ wo


def transformer(xp: Any, x: Any, *parameters: Any) -> Any:
    wq, wk, wv, wo, scale1, shift1, scale2, shift2, w1, b1, w2, b2 = parameters
    x = x + attend(xp, layer_norm(xp, x, scale1, shift1), wq, wk, wv, wo)
    return x + layer(xp, layer_norm(xp, x, scale2, shift2), w1, b1) @ w2 + b2


def bodies(xp: Any, x: Any, y: Any, z: Any, u: Any, v: Any, w: Any, mass: Any) -> Any:
    between_them = [position[None, :] - position[:, None] for position in (x, y, z)]
    squared = sum(d * d for d in between_them) + 0.01
    pull = mass[None, :] / (squared * xp.sqrt(squared))
    speeds = [s + 0.01 * xp.sum(pull * d, axis=1) for s, d in zip((u, v, w), between_them)]
    return (*(p + 0.01 * s for p, s in zip((x, y, z), speeds)), *speeds)


def regression_step(xp: Any, w: Any, x: Any, y: Any) -> Any:
    error = 1.0 / (xp.exp(-(x @ w)) + 1.0) - y
    return w - 0.1 * (x.T @ error / 20_000.0 + 0.001 * w)


SQUARES = [normal(WIDTH, WIDTH, scale=0.04)] * 4
workload("attention", attend, normal(LENGTH, WIDTH), *SQUARES)
workload(
    "transformer",
    transformer,
    normal(LENGTH, WIDTH),
    *SQUARES,
    *[normal(WIDTH)] * 4,
    normal(WIDTH, 4 * WIDTH, scale=0.04),
    normal(4 * WIDTH),
    normal(4 * WIDTH, WIDTH, scale=0.02),
    normal(WIDTH),
)
workload(
    "nbody",
    bodies,
    *[normal(1000, dtype="float64")] * 6,
    between(0.1, 1, 1000, dtype="float64"),
    tolerance=1e-9,
    double=True,
)
workload(
    "logreg",
    regression_step,
    normal(256, scale=0.05),
    normal(20_000, 256),
    lambda random: (random.random(20_000) > 0.5).astype(np.float32),
)
