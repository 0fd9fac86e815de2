"""conv1d, conv2d, conv3d against loops in NumPy, exactly with integers; windows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.errors import DomainError, ShapeError

GENERATOR = np.random.default_rng(0)
FUNCTIONS = {1: nl.conv1d, 2: nl.conv2d, 3: nl.conv3d}


def whole(*shape: int) -> Any:
    return GENERATOR.integers(-9, 9, shape).astype(np.int32)


def slow(x: Any, w: Any, widths: Any, stride: Any, dilation: Any, groups: int) -> Any:
    """The definition: for each output pixel the sum over its window."""
    x = np.pad(x, ((0, 0), (0, 0), *widths))
    taps = w.shape[2:]
    spans = [(n - 1) * d + 1 for n, d in zip(taps, dilation)]
    sizes = [(n - span) // s + 1 for n, span, s in zip(x.shape[2:], spans, stride)]
    out = np.zeros((len(x), len(w), *sizes), np.result_type(x, w))
    per_group = len(w) // groups
    for o in range(len(w)):
        channels = slice(o // per_group * w.shape[1], (o // per_group + 1) * w.shape[1])
        for place in itertools.product(*map(range, sizes)):
            starts = [p * s for p, s in zip(place, stride)]
            window = tuple(slice(b, b + n, d) for b, n, d in zip(starts, spans, dilation))
            shown = x[(slice(None), channels, *window)]
            out[(slice(None), o, *place)] = (shown * w[o]).reshape(len(x), -1).sum(axis=1)
    return out


CASES = [
    # rank, channels, outputs, groups, sizes, taps, padding, stride, dilation
    (1, 3, 4, 1, (40,), (5,), ((0, 0),), (1,), (1,)),
    (1, 4, 6, 2, (33,), (4,), ((2, 3),), (2,), (2,)),
    (1, 2, 2, 2, (20,), (3,), ((1, 1),), (1,), (1,)),
    (2, 3, 4, 1, (12, 21), (3, 3), ((1, 1), (1, 1)), (1, 1), (1, 1)),
    (2, 4, 6, 2, (11, 17), (3, 2), ((2, 0), (1, 3)), (2, 1), (1, 2)),
    (2, 4, 4, 4, (9, 10), (3, 3), ((1, 1), (1, 1)), (1, 1), (2, 1)),
    (2, 3, 1, 1, (9, 10), (3, 3), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    (2, 1, 8, 1, (20, 30), (5, 5), ((2, 2), (2, 2)), (1, 1), (1, 1)),
    (2, 5, 7, 1, (9, 9), (9, 9), ((0, 0), (0, 0)), (1, 1), (1, 1)),
    (2, 5, 7, 1, (8, 40), (1, 1), ((0, 0), (0, 0)), (2, 3), (1, 1)),
    (2, 3, 4, 1, (7, 5), (3, 3), ((1, 1), (1, 1)), (1, 1), (1, 1)),
    (3, 2, 3, 1, (5, 6, 18), (2, 3, 3), ((0, 1), (1, 1), (0, 0)), (1, 2, 1), (1, 1, 2)),
    (3, 2, 2, 2, (4, 4, 9), (3, 1, 2), ((1, 1), (0, 0), (0, 0)), (1, 1, 1), (1, 1, 1)),
]


@pytest.mark.parametrize(
    "rank, channels, outputs, groups, sizes, taps, padding, stride, dilation", CASES
)
def test_convolutions(
    rank: int,
    channels: int,
    outputs: int,
    groups: int,
    sizes: Any,
    taps: Any,
    padding: Any,
    stride: Any,
    dilation: Any,
) -> None:
    x, w = whole(2, channels, *sizes), whole(outputs, channels // groups, *taps)
    options = {"padding": padding, "stride": stride, "dilation": dilation, "groups": groups}
    expected = slow(x, w, padding, stride, dilation, groups)

    def run(x: Any, w: Any) -> Any:
        return FUNCTIONS[rank](x, w, **options)

    for bits in (128, 512):
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            found = nl.jit(run)(x, w)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(nl.interpret(nl.jit(run).trace(x, w).graph, x, w), expected)


ROWS = [
    # Few pixels in a row, and many channels: these lie along vectors.
    # channels, outputs, groups, sizes, taps, stride, dilation
    (40, 48, 1, (7, 7), (3, 3), (1, 1), (1, 1)),
    (16, 70, 1, (6, 14), (3, 3), (1, 1), (1, 1)),
    (24, 33, 1, (9, 29), (3, 2), (2, 2), (1, 1)),
    (32, 64, 1, (10, 30), (3, 3), (1, 1), (2, 3)),
    (64, 64, 2, (6, 9), (3, 3), (1, 1), (1, 1)),
    (20, 160, 1, (5, 140), (2, 5), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("channels, outputs, groups, sizes, taps, stride, dilation", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_channels_along_vectors(
    channels: int,
    outputs: int,
    groups: int,
    sizes: Any,
    taps: Any,
    stride: Any,
    dilation: Any,
    dtype: Any,
) -> None:
    """Whole numbers, whose sums are exact; and for others the same bits by any schedule."""
    x, w = whole(2, channels, *sizes), whole(outputs, channels // groups, *taps)

    def run(x: Any, w: Any) -> Any:
        return nl.conv2d(x, w, padding=1, stride=stride, dilation=dilation, groups=groups)

    expected = slow(x, w, ((1, 1), (1, 1)), stride, dilation, groups)
    found = nl.jit(run)(x.astype(dtype), w.astype(dtype))
    np.testing.assert_array_equal(found, expected)
    x, w = (GENERATOR.standard_normal(a.shape).astype(dtype) for a in (x, w))
    results = set()
    for bits, threads in ((128, 1), (256, 1), (512, 1), (512, 2), (512, 3)):
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            results.add(nl.jit(run, threads=threads)(x, w).tobytes())
    assert len(results) == 1


def test_kernels_are_packed_once_for_all_images() -> None:
    x, w = nl.ShapeDtype((8, 64, 14, 14), "float32"), nl.ShapeDtype((64, 64, 3, 3), "float32")
    with nl.options(vector_bits=512):
        text = nl.jit(lambda x, w: nl.conv2d(x, w, padding=1)).lower(x, w).as_text("loops")
    kernel = text[text.index("kernel k1_dot") :]
    panel, loop, turned = (kernel.index(part) for part in ("panel: ", "for b0 in", "turned: "))
    assert panel < loop < turned


@pytest.mark.parametrize("stride", [1, (2, 1), 3])
@pytest.mark.parametrize("padding", [0, 1, (2, 0), ((0, 1), (2, 3))])
@pytest.mark.parametrize(
    "channels, outputs, groups", [(3, 4, 1), (4, 6, 2), (4, 4, 4), (2, 6, 2), (1, 2, 1)]
)
def test_conv2d(channels: int, outputs: int, groups: int, padding: Any, stride: Any) -> None:
    x = whole(2, channels, 6, 7)
    w = whole(outputs, channels // groups, 3, 2)
    steps = stride if isinstance(stride, tuple) else (stride, stride)
    widths = {0: ((0, 0),) * 2, 1: ((1, 1),) * 2, (2, 0): ((2, 2), (0, 0))}.get(padding, padding)
    expected = slow(x, w, widths, steps, (1, 1), groups)
    found = nl.conv2d(x, w, padding=padding, stride=stride, groups=groups)
    np.testing.assert_array_equal(found, expected)


def test_conv2d_same_and_valid() -> None:
    x, w = whole(1, 2, 7, 8), whole(3, 2, 4, 3)
    np.testing.assert_array_equal(nl.conv2d(x, w, padding="valid"), nl.conv2d(x, w))
    np.testing.assert_array_equal(
        nl.conv2d(x, w, padding="same"), slow(x, w, ((1, 2), (1, 1)), (1, 1), (1, 1), 1)
    )
    assert nl.conv2d(x, w, padding="same", stride=2).shape == (1, 3, 4, 4)
    one = w[:, :, :1, :1]
    np.testing.assert_array_equal(nl.conv2d(x, one), np.einsum("nchw,oc->nohw", x, one[:, :, 0, 0]))


@pytest.mark.parametrize("taps", [1, 3])
def test_what_follows_is_fused(taps: int) -> None:
    """Bias, residual and activation are computed where the product's sums are stored."""
    shapes = (2, 8, 20, 24), (16, 8, taps, taps), (16, 1, 1), (2, 16, 20, 24)
    x, w, bias, residual = (GENERATOR.standard_normal(shape) for shape in shapes)
    padding = taps // 2

    @nl.jit
    def layer(x: Any, w: Any, bias: Any, residual: Any) -> Any:
        return np.maximum(nl.conv2d(x, w, padding=padding) + bias, 0) + residual

    widths = ((padding, padding),) * 2
    expected = np.maximum(slow(x, w, widths, (1, 1), (1, 1), 1) + bias, 0) + residual
    np.testing.assert_allclose(layer(x, w, bias, residual), expected, rtol=0, atol=1e-12)
    kernels = layer.inspect(x, w, bias, residual)["loops"].count("kernel k")
    assert kernels == (1 if taps == 1 else 2)


def test_no_matrix_of_windows_is_made() -> None:
    x, w = nl.ShapeDtype((4, 16, 30, 30), "float32"), nl.ShapeDtype((16, 16, 3, 3), "float32")
    made = nl.jit(lambda x, w: nl.conv2d(x, w, padding=1)).trace(x, w).lower().made
    assert made.program is not None
    padded = 4 * 16 * 32 * 32 * 4
    assert made.program.temporary_bytes <= padded + 64


def test_errors() -> None:
    with pytest.raises(ShapeError, match="in 1 groups"):
        nl.conv2d(np.ones((1, 4, 5, 5)), np.ones((6, 2, 3, 3)))
    with pytest.raises(DomainError, match="padding"):
        nl.conv2d(np.ones((1, 4, 5, 5)), np.ones((6, 4, 3, 3)), padding="reflect")
    x, w = np.ones((1, 4, 9, 9)), np.ones((4, 4, 3, 3))
    with pytest.raises(ShapeError, match="conv3d of"):
        nl.conv3d(x, w)
    with pytest.raises(ShapeError, match="fit into the image"):
        nl.conv2d(x, w, dilation=5)
    with pytest.raises(DomainError, match="dilation"):
        nl.conv2d(x, w, dilation=0)
    with pytest.raises(DomainError, match="stride"):
        nl.conv2d(x, w, stride=(1, 2, 3))


@pytest.mark.parametrize("window, axis", [(3, 0), ((2, 3), None), ((2, 2), (0, 0)), (4, -1)])
def test_sliding_window_view(window: Any, axis: Any) -> None:
    x = GENERATOR.standard_normal((6, 5)).astype(np.float32)
    expected = np.lib.stride_tricks.sliding_window_view(x, window, axis)

    def means(x: Any) -> Any:
        return np.lib.stride_tricks.sliding_window_view(x, window, axis).max(axis=-1)

    np.testing.assert_array_equal(nl.sliding_window_view(x, window, axis), expected)
    np.testing.assert_array_equal(nl.jit(means)(x), means(x))


def test_a_moving_average_reads_its_windows_in_place() -> None:
    x = GENERATOR.standard_normal(1000)

    def average(x: Any) -> Any:
        return nl.sliding_window_view(np.exp(x), 8).mean(axis=-1)

    expected = np.lib.stride_tricks.sliding_window_view(np.exp(x), 8).mean(axis=-1)
    np.testing.assert_allclose(nl.jit(average)(x), expected, rtol=1e-13)
