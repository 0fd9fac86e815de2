"""Products and models by hand for numba: BLAS for the products, loops for the rest.

LOOPS are the functions by the workloads' names, or what several names begin with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange
from numba_loops import ONE, ZERO, f4, fast, gelu, layernorm, parallel
from workloads import HEADS


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
