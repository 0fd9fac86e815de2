"""Elementwise work, reductions and movement as loops by hand for numba: parallel, fast mathematics.

Literals are made float32 first: with one of Python the arithmetic would be of float64. LOOPS are
the functions by the workloads' names, or what several names begin with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

fast = njit(fastmath=True)
parallel = njit(fastmath=True, parallel=True)
f4 = np.float32
ZERO, HALF, ONE, TWO = f4(0), f4(0.5), f4(1), f4(2)
ROOT_HALF = f4(math.sqrt(0.5))
ROOT_TWO_OVER_PI = f4(math.sqrt(2 / math.pi))


# elementwise


@njit
def add(a: Any, b: Any) -> Any:
    return a + b


@fast
def chain(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        v = x[i]
        y = f4(1.5) * v + f4(0.25)
        out[i] = -math.sqrt(max(y * y - v, f4(0.1))) / (v * v + ONE)
    return out


@parallel
def saxpy(x: Any, y: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = f4(2.5) * x[i] + y[i]
    return out


POWERS = tuple(f4(c) for c in (0.5, -0.25, 0.75, -1.5, 0.3, 1.1, -0.7, 0.9))


@parallel
def poly8(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        v = x[i]
        low = ((f4(0.125) * v + POWERS[0]) * v + POWERS[1]) * v + POWERS[2]
        high = ((low * v + POWERS[3]) * v + POWERS[4]) * v + POWERS[5]
        out[i] = (high * v + POWERS[6]) * v + POWERS[7]
    return out


@fast
def gelu(v: Any) -> Any:
    return HALF * v * (ONE + math.tanh(ROOT_TWO_OVER_PI * (v + f4(0.044715) * v * v * v)))


@parallel
def gelu_tanh(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = gelu(x[i])
    return out


@parallel
def gelu_erf(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = HALF * x[i] * (ONE + math.erf(x[i] * ROOT_HALF))
    return out


@parallel
def sigtanh(x: Any, y: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        out[i] = math.tanh(y[i]) / (ONE + math.exp(-x[i]))
    return out


def black_scholes(real: Any) -> Any:
    """The loop for one dtype, whose literals have it."""
    half, one, root_half = real(0.5), real(1), real(math.sqrt(0.5))
    rate, volatility, drift = real(0.03), real(0.25), real(0.03 + 0.5 * 0.25**2)

    @parallel
    def prices(price: Any, strike: Any, years: Any) -> Any:
        call, put = np.empty_like(price), np.empty_like(price)
        for i in prange(price.size):
            spread = volatility * math.sqrt(years[i])
            upper = (math.log(price[i] / strike[i]) + drift * years[i]) / spread
            likely = half + half * math.erf(upper * root_half)
            sure = half + half * math.erf((upper - spread) * root_half)
            discounted = strike[i] * math.exp(-rate * years[i])
            call[i] = price[i] * likely - discounted * sure
            put[i] = discounted * (one - sure) - price[i] * (one - likely)
        return call, put

    return prices


@parallel
def chain20(x: Any, y: Any, z: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.size):
        a = x[i] * y[i] + z[i]
        b = max(a, ZERO) - HALF * x[i]
        d = math.sqrt(abs(b) + ONE) * y[i] - a
        e = min(d, f4(4)) + b * z[i]
        f = e if e > ZERO else f4(0.1) * e
        out[i] = (f + x[i]) / (f * f + ONE) * f4(3) - y[i] * y[i]
    return out


@parallel
def int_cmp(a: Any, b: Any, c: Any) -> Any:
    out = np.empty_like(a)
    for i in prange(a.size):
        chosen = (a[i] > b[i] and b[i] < 100) or c[i] == 7
        t = a[i] + b[i] * 3 if chosen else c[i] - a[i]
        out[i] = t - 50 if t > 50 else -t
    return out


@parallel
def int8_scale(q: Any, scale: Any) -> Any:
    out = np.empty(q.size, scale.dtype)
    for i in prange(q.size):
        out[i] = (f4(q[i]) - f4(3)) * scale[0]
    return out


@parallel
def mandelbrot(real: Any, imaginary: Any) -> Any:
    out = np.empty_like(real)
    for i in prange(real.shape[0]):
        for j in range(real.shape[1]):
            x, y, count = ZERO, ZERO, ZERO
            for _ in range(50):
                if x * x + y * y > f4(4):
                    break
                x, y = x * x - y * y + real[i, j], TWO * x * y + imaginary[i, j]
                count += ONE
            out[i, j] = count
    return out


@parallel
def outer_exp(a: Any, b: Any) -> Any:
    out = np.empty((a.size, b.size), a.dtype)
    for i in prange(a.size):
        for j in range(b.size):
            out[i, j] = math.exp(-(a[i] + b[j]))
    return out


# reductions


@parallel
def sum_all(x: Any) -> Any:
    total = ZERO
    for i in prange(x.size):
        total += x[i]
    return total


@parallel
def sum_axis0(x: Any) -> Any:
    block = 512
    out = np.zeros(x.shape[1], x.dtype)
    for part in prange(x.shape[1] // block):
        start = part * block
        for i in range(x.shape[0]):
            for j in range(start, start + block):
                out[j] += x[i, j]
    return out


@fast
def row_sum(x: Any, i: int) -> Any:
    total = ZERO
    for j in range(x.shape[1]):
        total += x[i, j]
    return total


@fast
def squares_from(x: Any, i: int, middle: Any) -> Any:
    total = ZERO
    for j in range(x.shape[1]):
        total += (x[i, j] - middle) * (x[i, j] - middle)
    return total


@parallel
def sum_axis1(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        out[i] = row_sum(x, i)
    return out


@parallel
def mean_var(x: Any) -> Any:
    mean, variance = np.empty(x.shape[0], x.dtype), np.empty(x.shape[0], x.dtype)
    count = f4(x.shape[1])
    for i in prange(x.shape[0]):
        mean[i] = row_sum(x, i) / count
        variance[i] = squares_from(x, i, mean[i]) / count
    return mean, variance


@parallel
def argmax_rows(x: Any) -> Any:
    out = np.empty(x.shape[0], np.int64)
    for i in prange(x.shape[0]):
        best, place = x[i, 0], 0
        for j in range(1, x.shape[1]):
            if x[i, j] > best:
                best, place = x[i, j], j
        out[i] = place
    return out


@parallel
def softmax(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.shape[0]):
        most = x[i, 0]
        for j in range(x.shape[1]):
            most = max(most, x[i, j])
        total = ZERO
        for j in range(x.shape[1]):
            out[i, j] = math.exp(x[i, j] - most)
            total += out[i, j]
        factor = ONE / total
        for j in range(x.shape[1]):
            out[i, j] *= factor
    return out


@parallel
def layernorm(x: Any, scale: Any, shift: Any) -> Any:
    out = np.empty_like(x)
    count = f4(x.shape[1])
    for i in prange(x.shape[0]):
        mean = row_sum(x, i) / count
        factor = ONE / math.sqrt(squares_from(x, i, mean) / count + f4(1e-5))
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - mean) * factor * scale[j] + shift[j]
    return out


@parallel
def l2norm(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        out[i] = math.sqrt(squares_from(x, i, ZERO))
    return out


@parallel
def pdist(a: Any, b: Any) -> Any:
    out = np.empty((a.shape[0], b.shape[0]), a.dtype)
    for i in prange(a.shape[0]):
        for j in range(b.shape[0]):
            total = ZERO
            for k in range(a.shape[1]):
                total += (a[i, k] - b[j, k]) * (a[i, k] - b[j, k])
            out[i, j] = math.sqrt(total)
    return out


@fast
def cumsum_1d(x: Any) -> Any:
    out = np.empty_like(x)
    total = ZERO
    for i in range(x.size):
        total += x[i]
        out[i] = total
    return out


@parallel
def cumsum_rows(x: Any) -> Any:
    out = np.empty_like(x)
    for i in prange(x.shape[0]):
        total = ZERO
        for j in range(x.shape[1]):
            total += x[i, j]
            out[i, j] = total
    return out


# movement


@parallel
def transpose_add(a: Any, b: Any) -> Any:
    out = np.empty_like(b)
    tile = 32
    for top in prange(b.shape[0] // tile):
        for left in range(b.shape[1] // tile):
            for i in range(top * tile, (top + 1) * tile):
                for j in range(left * tile, (left + 1) * tile):
                    out[i, j] = a[j, i] + b[i, j]
    return out


@parallel
def concat_slices(a: Any, b: Any) -> Any:
    split, width = 256, a.shape[1] - 256
    out = np.empty((a.shape[0], a.shape[1] + b.shape[1]), a.dtype)
    for i in prange(a.shape[0]):
        out[i, :width] = a[i, split:]
        for j in range(b.shape[1]):
            out[i, width + j] = TWO * b[i, j]
        out[i, width + b.shape[1] :] = a[i, :split]
    return out


@parallel
def relax(x: Any, out: Any) -> None:
    for i in prange(1, x.shape[0] - 1):
        for j in range(1, x.shape[1] - 1):
            out[i, j] = f4(0.25) * (x[i - 1, j] + x[i + 1, j] + x[i, j - 1] + x[i, j + 1])


@njit
def jacobi1(x: Any) -> Any:
    out = np.zeros_like(x)
    relax(x, out)
    return out


@njit
def jacobi10(x: Any) -> Any:
    now, then = np.zeros_like(x), np.zeros_like(x)
    relax(x, now)
    for _ in range(9):
        relax(now, then)
        now, then = then, now
    return now


@parallel
def gather_rows(table: Any, rows: Any) -> Any:
    out = np.empty((rows.size, table.shape[1]), table.dtype)
    for i in prange(rows.size):
        for j in range(table.shape[1]):
            out[i, j] = table[rows[i], j]
    return out


@fast
def scatter_add(places: Any, weights: Any) -> Any:
    out = np.zeros(1024, weights.dtype)
    for i in range(places.size):
        out[places[i]] += weights[i]
    return out


@parallel
def life(cells: Any) -> Any:
    rows, columns = cells.shape
    out = np.empty_like(cells)
    for i in prange(rows):
        above, here, below = cells[(i - 1) % rows], cells[i], cells[(i + 1) % rows]
        for j in range(columns):
            left = j - 1 if j > 0 else columns - 1
            right = j + 1 if j < columns - 1 else 0
            around = above[left] + above[j] + above[right] + here[left] + here[right]
            around += below[left] + below[j] + below[right]
            out[i, j] = around == 3 or (around == 2 and here[j] == 1)
    return out


LOOPS = {
    "add16": add,
    "chain64": chain,
    "saxpy": saxpy,
    "poly8": poly8,
    "gelu_tanh": gelu_tanh,
    "gelu_erf": gelu_erf,
    "sigtanh": sigtanh,
    "black_scholes_f32": black_scholes(np.float32),
    "black_scholes_f64": black_scholes(np.float64),
    "chain20": chain20,
    "int_cmp": int_cmp,
    "int8_scale": int8_scale,
    "mandelbrot": mandelbrot,
    "outer_exp": outer_exp,
    "sum_all": sum_all,
    "sum_axis0": sum_axis0,
    "sum_axis1": sum_axis1,
    "mean_var": mean_var,
    "argmax_rows": argmax_rows,
    "softmax": softmax,
    "layernorm": layernorm,
    "l2norm": l2norm,
    "pdist": pdist,
    "cumsum_rows": cumsum_rows,
    "cumsum_1d": cumsum_1d,
    "transpose_add": transpose_add,
    "concat_slices": concat_slices,
    "jacobi1": jacobi1,
    "jacobi10": jacobi10,
    "gather_rows": gather_rows,
    "scatter_add": scatter_add,
    "life": life,
}
