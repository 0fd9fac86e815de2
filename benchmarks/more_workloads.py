"""Programs of other kinds: elements that data chooses, images, weights of few bits, moved axes.

They are registered beside those of workloads.py under names that begin with `more_`, and run where
they are asked for: `python benchmarks/peers.py 'more_*'`.
"""

from __future__ import annotations

from typing import Any

from workloads import between, integers, normal, workload

BLOCK = 32  # weights that share a scale


# elements that data chooses


def along_rows(xp: Any, x: Any, places: Any) -> Any:
    return xp.take_along_axis(x, places, 1)


def in_a_table(xp: Any, x: Any, rows: Any, columns: Any) -> Any:
    return x[rows, columns]


def rows_of(xp: Any, table: Any, places: Any) -> Any:
    return table[places]


def edge_lengths(xp: Any, points: Any, first: Any, second: Any) -> Any:
    d = points[first] - points[second]
    return xp.sqrt(xp.sum(d * d, axis=1))


def sparse_rows(xp: Any, x: Any, places: Any, weights: Any) -> Any:
    return xp.sum(x[places] * weights, axis=1)


def bilinear(xp: Any, image: Any, y: Any, x: Any) -> Any:
    top, left = xp.floor(y), xp.floor(x)
    v, u = (y - top)[..., None], (x - left)[..., None]
    i, j = xp.astype(top, "int32"), xp.astype(left, "int32")
    upper = image[i, j] * (1.0 - u) + image[i, j + 1] * u
    lower = image[i + 1, j] * (1.0 - u) + image[i + 1, j + 1] * u
    return upper * (1.0 - v) + lower * v


workload(
    "more_take_along", along_rows, normal(2000, 500), integers(0, 500, 2000, 100, dtype="int64")
)
PLACES = integers(0, 1000, 100_000, dtype="int64")
workload("more_pick_2d", in_a_table, normal(1000, 1000), PLACES, PLACES)
workload("more_points", rows_of, normal(10_000, 3), integers(0, 10_000, 50_000))
workload("more_palette", rows_of, normal(256, 3), integers(0, 256, 480, 640, dtype="uint8"))
EDGES = integers(0, 10_000, 30_000)
workload("more_edges", edge_lengths, normal(10_000, 3), EDGES, EDGES)
workload(
    "more_sparse_rows",
    sparse_rows,
    normal(1 << 16),
    integers(0, 1 << 16, 1 << 16, 8),
    normal(1 << 16, 8),
)
workload(
    "more_bilinear",
    bilinear,
    normal(480, 640, 3),
    between(0, 478.9, 480, 640),
    between(0, 638.9, 480, 640),
    tolerance=1e-3,
)


# images


def normalised(xp: Any, image: Any) -> Any:
    return (xp.astype(image, "float32") / 255.0 - 0.45) / 0.225


def planes(xp: Any, images: Any, mean: Any, deviation: Any) -> Any:
    scaled = (xp.astype(images, "float32") / 255.0 - mean) / deviation
    return xp.permute_dims(scaled, (0, 3, 1, 2))


def threshold(xp: Any, image: Any) -> Any:
    return xp.astype(xp.where(image > 128, 255, 0), "uint8")


workload("more_normalise", normalised, integers(0, 256, 540, 960, 3, dtype="uint8"))
workload(
    "more_planes",
    planes,
    integers(0, 256, 8, 224, 224, 3, dtype="uint8"),
    normal(3),
    between(0.1, 1, 3),
)
workload("more_threshold", threshold, integers(0, 256, 1080, 1920, dtype="uint8"))


# weights of few bits


def bytes_by_row(xp: Any, x: Any, gain: Any, weights: Any, scales: Any) -> Any:
    return ((x * gain) @ xp.astype(weights, "float32").T) * scales


def bytes_in_blocks(xp: Any, x: Any, weights: Any, scales: Any) -> Any:
    rows, blocks, size = weights.shape
    whole = xp.astype(weights, "float32") * scales[:, :, None]
    return x @ whole.reshape(rows, blocks * size).T


def halves_of_bytes(xp: Any, x: Any, weights: Any, scales: Any) -> Any:
    low, high = (xp.astype(part, "float32") - 8.0 for part in (weights & 15, weights >> 4))
    whole = xp.concatenate([low, high], axis=-1) * scales[:, :, None]
    return x @ whole.reshape(weights.shape[0], -1).T


BYTES = integers(-127, 128, 4096, 4096, dtype="int8")
workload("more_bytes", bytes_by_row, normal(1, 4096), normal(4096), BYTES, normal(4096))
workload(
    "more_blocks",
    bytes_in_blocks,
    normal(1, 64 * BLOCK),
    integers(-127, 128, 2048, 64, BLOCK, dtype="int8"),
    normal(2048, 64),
)
workload(
    "more_halves",
    halves_of_bytes,
    normal(1, 64 * BLOCK),
    integers(0, 256, 2048, 64, BLOCK // 2, dtype="uint8"),
    normal(2048, 64),
)


# axes that change places, broadcasts, short rows


def reversed_axes(xp: Any, x: Any, y: Any) -> Any:
    return y + xp.permute_dims(x, (2, 1, 0))


def scaled_rows(xp: Any, x: Any, scales: Any, y: Any) -> Any:
    return y + (x * scales[:, None]).T


def ratio_of_vectors(xp: Any, m: Any, a: Any, b: Any) -> Any:
    return m @ (a / b)


def small_matrices(xp: Any, m: Any, v: Any) -> Any:
    return xp.sum(m * v[:, None, :], axis=2)


workload("more_reversed", reversed_axes, normal(128, 128, 128), normal(128, 128, 128))
workload("more_scaled_rows", scaled_rows, normal(1000, 1000), normal(1000), normal(1000, 1000))
workload("more_ratio", ratio_of_vectors, normal(1024, 1024), normal(1024), between(1, 2, 1024))
workload("more_small_matrices", small_matrices, normal(100_000, 4, 4), normal(100_000, 4))
