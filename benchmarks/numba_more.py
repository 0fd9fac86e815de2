"""The programs of more_workloads.py as loops by hand for numba: parallel, fast mathematics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

fast = njit(fastmath=True)
parallel = njit(fastmath=True, parallel=True)
f4 = np.float32
ZERO, ONE, EIGHT = f4(0), f4(1), f4(8)


@parallel
def take_along(x: Any, places: Any) -> Any:
    out = np.empty(places.shape, x.dtype)
    for i in prange(places.shape[0]):
        for j in range(places.shape[1]):
            out[i, j] = x[i, places[i, j]]
    return out


@parallel
def pick_2d(x: Any, rows: Any, columns: Any) -> Any:
    out = np.empty(rows.shape, x.dtype)
    for i in prange(rows.size):
        out[i] = x[rows[i], columns[i]]
    return out


@parallel
def points(table: Any, places: Any) -> Any:
    out = np.empty((places.size, table.shape[1]), table.dtype)
    for i in prange(places.size):
        for c in range(table.shape[1]):
            out[i, c] = table[places[i], c]
    return out


@parallel
def palette(table: Any, places: Any) -> Any:
    out = np.empty((*places.shape, 3), table.dtype)
    for i in prange(places.shape[0]):
        for j in range(places.shape[1]):
            for c in range(3):
                out[i, j, c] = table[places[i, j], c]
    return out


@parallel
def edges(points: Any, first: Any, second: Any) -> Any:
    out = np.empty(first.size, points.dtype)
    for i in prange(first.size):
        total = ZERO
        for c in range(3):
            d = points[first[i], c] - points[second[i], c]
            total += d * d
        out[i] = math.sqrt(total)
    return out


@parallel
def sparse_rows(x: Any, places: Any, weights: Any) -> Any:
    out = np.empty(places.shape[0], x.dtype)
    for i in prange(places.shape[0]):
        total = ZERO
        for j in range(places.shape[1]):
            total += x[places[i, j]] * weights[i, j]
        out[i] = total
    return out


@parallel
def bilinear(image: Any, y: Any, x: Any) -> Any:
    out = np.empty((*y.shape, 3), image.dtype)
    for i in prange(y.shape[0]):
        for j in range(y.shape[1]):
            top, left = math.floor(y[i, j]), math.floor(x[i, j])
            v, u = y[i, j] - f4(top), x[i, j] - f4(left)
            for c in range(3):
                upper = image[top, left, c] * (ONE - u) + image[top, left + 1, c] * u
                lower = image[top + 1, left, c] * (ONE - u) + image[top + 1, left + 1, c] * u
                out[i, j, c] = upper * (ONE - v) + lower * v
    return out


@parallel
def normalise(image: Any) -> Any:
    flat = image.reshape(-1)
    out = np.empty(flat.size, f4)
    for i in prange(flat.size):
        out[i] = (f4(flat[i]) / f4(255) - f4(0.45)) / f4(0.225)
    return out.reshape(image.shape)


@parallel
def planes(images: Any, mean: Any, deviation: Any) -> Any:
    count, height, width, _ = images.shape
    out = np.empty((count, 3, height, width), f4)
    for row in prange(count * height):
        n, i = row // height, row % height
        for j in range(width):
            for c in range(3):
                out[n, c, i, j] = (f4(images[n, i, j, c]) / f4(255) - mean[c]) / deviation[c]
    return out


@parallel
def threshold(image: Any) -> Any:
    flat = image.reshape(-1)
    out = np.empty(flat.size, np.uint8)
    for i in prange(flat.size):
        out[i] = 255 if flat[i] > 128 else 0
    return out.reshape(image.shape)


@parallel
def bytes_by_row(x: Any, gain: Any, weights: Any, scales: Any) -> Any:
    out = np.empty((1, weights.shape[0]), f4)
    scaled = x[0] * gain
    for i in prange(weights.shape[0]):
        total = ZERO
        for k in range(weights.shape[1]):
            total += scaled[k] * f4(weights[i, k])
        out[0, i] = total * scales[i]
    return out


@parallel
def blocks(x: Any, weights: Any, scales: Any) -> Any:
    out = np.empty((1, weights.shape[0]), f4)
    for i in prange(weights.shape[0]):
        total = ZERO
        for b in range(weights.shape[1]):
            part = ZERO
            for k in range(32):
                part += x[0, 32 * b + k] * f4(weights[i, b, k])
            total += part * scales[i, b]
        out[0, i] = total
    return out


@parallel
def halves(x: Any, weights: Any, scales: Any) -> Any:
    out = np.empty((1, weights.shape[0]), f4)
    for i in prange(weights.shape[0]):
        total = ZERO
        for b in range(weights.shape[1]):
            part = ZERO
            for k in range(16):
                byte = weights[i, b, k]
                part += x[0, 32 * b + k] * (f4(byte & 15) - EIGHT)
                part += x[0, 32 * b + 16 + k] * (f4(byte >> 4) - EIGHT)
            total += part * scales[i, b]
        out[0, i] = total
    return out


@parallel
def reversed_axes(x: Any, y: Any) -> Any:
    a, b, c = x.shape
    out = np.empty_like(y)
    for k in prange(c):
        for j in range(b):
            for i in range(a):
                out[k, j, i] = y[k, j, i] + x[i, j, k]
    return out


@parallel
def scaled_rows(x: Any, scales: Any, y: Any) -> Any:
    out = np.empty_like(y)
    for j in prange(x.shape[1]):
        for i in range(x.shape[0]):
            out[j, i] = y[j, i] + x[i, j] * scales[i]
    return out


@parallel
def ratio(m: Any, a: Any, b: Any) -> Any:
    out = np.empty(m.shape[0], m.dtype)
    vector = a / b
    for i in prange(m.shape[0]):
        total = ZERO
        for k in range(m.shape[1]):
            total += m[i, k] * vector[k]
        out[i] = total
    return out


@parallel
def small_matrices(m: Any, v: Any) -> Any:
    out = np.empty(v.shape, v.dtype)
    for n in prange(m.shape[0]):
        for i in range(4):
            total = ZERO
            for j in range(4):
                total += m[n, i, j] * v[n, j]
            out[n, i] = total
    return out


LOOPS = {
    "more_take_along": take_along,
    "more_pick_2d": pick_2d,
    "more_points": points,
    "more_palette": palette,
    "more_edges": edges,
    "more_sparse_rows": sparse_rows,
    "more_bilinear": bilinear,
    "more_normalise": normalise,
    "more_planes": planes,
    "more_threshold": threshold,
    "more_bytes": bytes_by_row,
    "more_blocks": blocks,
    "more_halves": halves,
    "more_reversed": reversed_axes,
    "more_scaled_rows": scaled_rows,
    "more_ratio": ratio,
    "more_small_matrices": small_matrices,
}
