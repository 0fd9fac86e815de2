"""The workloads as loops by hand for numba: parallel, with fast mathematics, BLAS for products.

Literals are made float32 first: with one of Python the arithmetic would be of float64. LOOPS are
the functions by the workloads' names, or what several names begin with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange
from workloads import HEADS

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
def row_sum(row: Any) -> Any:
    total = ZERO
    for value in row:
        total += value
    return total


@fast
def squares_from(row: Any, middle: Any) -> Any:
    total = ZERO
    for value in row:
        total += (value - middle) * (value - middle)
    return total


@parallel
def sum_axis1(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        out[i] = row_sum(x[i])
    return out


@parallel
def mean_var(x: Any) -> Any:
    mean, variance = np.empty(x.shape[0], x.dtype), np.empty(x.shape[0], x.dtype)
    count = f4(x.shape[1])
    for i in prange(x.shape[0]):
        mean[i] = row_sum(x[i]) / count
        variance[i] = squares_from(x[i], mean[i]) / count
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
        mean = row_sum(x[i]) / count
        factor = ONE / math.sqrt(squares_from(x[i], mean) / count + f4(1e-5))
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - mean) * factor * scale[j] + shift[j]
    return out


@parallel
def l2norm(x: Any) -> Any:
    out = np.empty(x.shape[0], x.dtype)
    for i in prange(x.shape[0]):
        out[i] = math.sqrt(squares_from(x[i], ZERO))
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


# products and models


@njit
def product(a: Any, b: Any) -> Any:
    return np.dot(a, b)


@parallel
def products(a: Any, b: Any) -> Any:
    out = np.empty((a.shape[0], a.shape[1], b.shape[2]), a.dtype)
    for i in prange(a.shape[0]):
        np.dot(a[i], b[i], out[i])
    return out


@njit
def tensordot(a: Any, b: Any) -> Any:
    inner = a.shape[1] * a.shape[2]
    turned = np.ascontiguousarray(b.transpose(0, 2, 1)).reshape(inner, b.shape[1])
    return np.dot(a.reshape(a.shape[0], inner), turned)


@parallel
def add_gelu(x: Any, b: Any) -> None:
    for i in prange(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = gelu(x[i, j] + b[j])


@fast
def add_relu(x: Any, b: Any) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] = max(x[i, j] + b[j], ZERO)


@njit
def mlp_layer(x: Any, w: Any, b: Any) -> Any:
    out = np.dot(x, w)
    add_gelu(out, b)
    return out


@njit
def mlp3(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
    first = np.dot(x, w1)
    add_relu(first, b1)
    second = np.dot(first, w2)
    add_relu(second, b2)
    return np.dot(second, w3) + b3


@fast
def fill_shifted(image: Any, i: int, j: int, out: Any) -> None:
    """out[h, v] = image[h + i - 1, v + j - 1], and 0 outside."""
    height, width = image.shape
    for h in range(max(0, 1 - i), min(height, height + 1 - i)):
        for v in range(max(0, 1 - j), min(width, width + 1 - j)):
            out[h, v] = image[h + i - 1, v + j - 1]


@parallel
def conv2d(x: Any, w: Any) -> Any:
    images, channels, height, width = x.shape
    filters = w.reshape(w.shape[0], channels * 9)
    out = np.empty((images, w.shape[0], height * width), x.dtype)
    for n in prange(images):
        columns = np.zeros((channels * 9, height, width), x.dtype)
        for k in range(channels * 9):
            fill_shifted(x[n, k // 9], k % 9 // 3, k % 3, columns[k])
        np.dot(filters, columns.reshape(channels * 9, height * width), out[n])
    return out.reshape(images, w.shape[0], height, width)


@parallel
def conv2d_dw(x: Any, w: Any) -> Any:
    images, channels, height, width = x.shape
    out = np.zeros_like(x)
    for place in prange(images * channels):
        n, c = place // channels, place % channels
        image, plane = x[n, c], out[n, c]
        for i in range(3):
            for j in range(3):
                factor = w[c, 0, i, j]
                for h in range(max(0, 1 - i), min(height, height + 1 - i)):
                    for v in range(max(0, 1 - j), min(width, width + 1 - j)):
                        plane[h, v] += factor * image[h + i - 1, v + j - 1]
    return out


@parallel
def attend_heads(q: Any, k: Any, v: Any) -> Any:
    length, width = q.shape[0], q.shape[1] // HEADS
    out = np.empty_like(q)
    for head in prange(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = np.dot(np.ascontiguousarray(q[:, part]), np.ascontiguousarray(k[:, part]).T)
        for i in range(length):
            most = f4(-np.inf)
            for j in range(i + 1):
                scores[i, j] *= f4(0.125)
                most = max(most, scores[i, j])
            total = ZERO
            for j in range(i + 1):
                scores[i, j] = math.exp(scores[i, j] - most)
                total += scores[i, j]
            factor = ONE / total
            for j in range(length):
                scores[i, j] = scores[i, j] * factor if j <= i else ZERO
        out[:, part] = np.dot(scores, np.ascontiguousarray(v[:, part]))
    return out


@njit
def attention(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
    return np.dot(attend_heads(np.dot(x, wq), np.dot(x, wk), np.dot(x, wv)), wo)


@njit
def transformer(
    x: Any,
    wq: Any,
    wk: Any,
    wv: Any,
    wo: Any,
    scale1: Any,
    shift1: Any,
    scale2: Any,
    shift2: Any,
    w1: Any,
    b1: Any,
    w2: Any,
    b2: Any,
) -> Any:
    x = x + attention(layernorm(x, scale1, shift1), wq, wk, wv, wo)
    return x + np.dot(mlp_layer(layernorm(x, scale2, shift2), w1, b1), w2) + b2


@parallel
def nbody(x: Any, y: Any, z: Any, u: Any, v: Any, w: Any, mass: Any) -> Any:
    out = np.empty((6, x.size))
    for i in prange(x.size):
        pull_x, pull_y, pull_z = 0.0, 0.0, 0.0
        for j in range(x.size):
            dx, dy, dz = x[j] - x[i], y[j] - y[i], z[j] - z[i]
            squared = dx * dx + dy * dy + dz * dz + 0.01
            pull = mass[j] / (squared * math.sqrt(squared))
            pull_x += pull * dx
            pull_y += pull * dy
            pull_z += pull * dz
        out[3, i], out[4, i] = u[i] + 0.01 * pull_x, v[i] + 0.01 * pull_y
        out[5, i] = w[i] + 0.01 * pull_z
        out[0, i], out[1, i] = x[i] + 0.01 * out[3, i], y[i] + 0.01 * out[4, i]
        out[2, i] = z[i] + 0.01 * out[5, i]
    return out[0], out[1], out[2], out[3], out[4], out[5]


@fast
def logreg(w: Any, x: Any, y: Any) -> Any:
    error = np.dot(x, w)
    for i in range(error.size):
        error[i] = (ONE / (ONE + math.exp(-error[i])) - y[i]) / f4(y.size)
    out = np.dot(error, x)
    for j in range(w.size):
        out[j] = w[j] - f4(0.1) * (out[j] + f4(0.001) * w[j])
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
    "matmul": product,
    "gemv": product,
    "bmm": products,
    "skinny": product,
    "tensordot3": tensordot,
    "mlp_layer": mlp_layer,
    "mlp3": mlp3,
    "conv2d": conv2d,
    "conv2d_dw": conv2d_dw,
    "attention": attention,
    "transformer": transformer,
    "nbody": nbody,
    "logreg": logreg,
}
