"""Transposed convolutions against loops that scatter, exactly with integers; adjointness."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.errors import DomainError, ShapeError

GENERATOR = np.random.default_rng(0)
PLAIN = {1: nl.conv1d, 2: nl.conv2d, 3: nl.conv3d}
TRANSPOSED = {1: nl.conv1d_transpose, 2: nl.conv2d_transpose, 3: nl.conv3d_transpose}


def whole(*shape: int) -> Any:
    return GENERATOR.integers(-9, 9, shape).astype(np.int32)


def slow(x: Any, w: Any, cut: Any, stride: Any, dilation: Any, groups: int, more: Any) -> Any:
    """The definition: every element of the image adds its multiple of the kernel."""
    spans = [(n - 1) * d + 1 for n, d in zip(w.shape[2:], dilation)]
    sizes = [(n - 1) * s + span for n, s, span in zip(x.shape[2:], stride, spans)]
    per_group, outputs = len(w) // groups, w.shape[1]
    out = np.zeros((len(x), outputs * groups, *(n + e for n, e in zip(sizes, more))), w.dtype)
    for c in range(len(w)):
        channels = slice(c // per_group * outputs, (c // per_group + 1) * outputs)
        for place in itertools.product(*map(range, x.shape[2:])):
            starts = [p * s for p, s in zip(place, stride)]
            window = tuple(slice(b, b + n, d) for b, n, d in zip(starts, spans, dilation))
            for n in range(len(x)):
                out[(n, channels, *window)] += x[(n, c, *place)] * w[c]
    kept = (slice(low, n - high) for (low, high), n in zip(cut, out.shape[2:]))
    return out[(slice(None), slice(None), *kept)]


CASES = [
    # rank, channels, outputs, groups, sizes, taps, padding, stride, dilation, output padding
    (1, 3, 4, 1, (20,), (5,), ((0, 0),), (1,), (1,), (0,)),
    (1, 4, 6, 2, (13,), (4,), ((2, 3),), (2,), (2,), (1,)),
    (1, 2, 2, 2, (20,), (3,), ((1, 1),), (3,), (1,), (2,)),
    (1, 3, 2, 1, (9,), (2,), ((0, 0),), (5,), (1,), (4,)),
    (1, 3, 2, 1, (9,), (5,), ((3, 2),), (4,), (6,), (0,)),
    (1, 2, 3, 1, (7,), (7,), ((1, 0),), (5,), (3,), (3,)),
    (1, 2, 3, 1, (2,), (9,), ((7, 1),), (1,), (1,), (0,)),
    (1, 2, 3, 1, (2,), (3,), ((0, 0),), (2,), (1,), (11,)),
    (2, 3, 4, 1, (6, 11), (3, 3), ((1, 1), (1, 1)), (2, 2), (1, 1), (1, 1)),
    (2, 3, 4, 1, (5, 7), (4, 4), ((1, 1), (1, 1)), (2, 2), (1, 1), (0, 0)),
    (2, 3, 4, 1, (5, 7), (2, 2), ((0, 0), (0, 0)), (2, 2), (1, 1), (0, 0)),
    (2, 4, 6, 2, (6, 8), (3, 2), ((2, 0), (1, 0)), (2, 1), (1, 2), (0, 1)),
    (2, 4, 4, 4, (9, 10), (3, 3), ((1, 1), (1, 1)), (2, 2), (1, 1), (1, 0)),
    (2, 3, 1, 1, (4, 5), (5, 4), ((0, 0), (3, 0)), (3, 2), (1, 1), (0, 0)),
    (2, 1, 8, 1, (1, 1), (5, 5), ((2, 2), (0, 0)), (2, 3), (1, 1), (0, 0)),
    (2, 4, 2, 1, (4, 6), (3, 3), ((1, 0), (0, 1)), (1, 1), (2, 1), (0, 0)),
    (3, 2, 3, 1, (3, 4, 6), (2, 3, 4), ((0, 1), (1, 1), (1, 1)), (1, 2, 2), (1, 1, 1), (0, 0, 1)),
    (3, 2, 2, 2, (3, 2, 5), (3, 1, 2), ((1, 1), (0, 0), (0, 0)), (2, 2, 2), (1, 1, 3), (1, 0, 0)),
]


@pytest.mark.parametrize(
    "rank, channels, outputs, groups, sizes, taps, padding, stride, dilation, more", CASES
)
def test_transposed_convolutions(
    rank: int,
    channels: int,
    outputs: int,
    groups: int,
    sizes: Any,
    taps: Any,
    padding: Any,
    stride: Any,
    dilation: Any,
    more: Any,
) -> None:
    x, w = whole(2, channels, *sizes), whole(channels, outputs // groups, *taps)
    options = {"padding": padding, "stride": stride, "dilation": dilation, "groups": groups}
    expected = slow(x, w, padding, stride, dilation, groups, more)

    def run(x: Any, w: Any) -> Any:
        return TRANSPOSED[rank](x, w, output_padding=more, **options)

    for bits in (128, 512):
        with nl.options(vector_bits=bits, verify=True, cache="off"):
            found = nl.jit(run)(x, w)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(nl.interpret(nl.jit(run).trace(x, w).graph, x, w), expected)
    plain = PLAIN[rank](expected, w, **options)
    if plain.shape == x.shape:  # <A v, x> = <v, A' x>
        v = whole(*expected.shape)
        assert (PLAIN[rank](v, w, **options) * x).sum() == (v * expected).sum()


def test_values_in_floating_point() -> None:
    x, w = (GENERATOR.standard_normal(s) for s in ((2, 8, 9, 10), (8, 6, 3, 3)))
    options = {"padding": 1, "stride": 2, "output_padding": 1}
    expected = slow(x, w, ((1, 1), (1, 1)), (2, 2), (1, 1), 1, (1, 1))
    np.testing.assert_allclose(nl.conv2d_transpose(x, w, **options), expected, atol=1e-13)
    single = nl.conv2d_transpose(x.astype(np.float32), w.astype(np.float32), **options)
    np.testing.assert_allclose(single, expected, rtol=0, atol=3e-5)
    assert single.dtype == np.float32


@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("taps", [(1, 2), (3, 4), (5, 2)])
def test_same_is_the_adjoint_of_same(taps: Any, stride: Any) -> None:
    steps = stride if isinstance(stride, tuple) else (stride, stride)
    x, w = whole(1, 3, 4, 5), whole(3, 2, *taps)
    found = np.asarray(nl.conv2d_transpose(x, w, padding="same", stride=stride))
    assert found.shape == (1, 2, 4 * steps[0], 5 * steps[1])
    v = whole(*found.shape)
    plain = nl.conv2d(v, w, padding="same", stride=stride)
    assert plain.shape == x.shape
    assert (np.asarray(plain) * x).sum() == (v * found).sum()
    np.testing.assert_array_equal(
        nl.conv2d_transpose(x, w, padding="valid", stride=stride),
        nl.conv2d_transpose(x, w, stride=stride),
    )


def test_phases_that_see_the_same_windows_are_one_product() -> None:
    x, w = nl.ShapeDtype((1, 8, 16, 16), "float32"), nl.ShapeDtype((8, 8, 4, 4), "float32")

    def run(x: Any, w: Any) -> Any:
        return nl.conv2d_transpose(x, w, padding=1, stride=2)

    graph = nl.jit(run).trace(x, w).graph
    products = [node for node in graph.nodes if node.op == "dot"]
    assert [node.type.shape for node in products] == [(1, 1, 32, 17 * 17)]
    assert products[0].args[0].shape[-1] == 8 * 2 * 2


def test_errors() -> None:
    x, w = np.ones((1, 4, 5, 5)), np.ones((4, 6, 3, 3))
    with pytest.raises(ShapeError, match=r"conv2d_transpose of .* in 1 groups"):
        nl.conv2d_transpose(x, np.ones((6, 4, 3, 3)))
    with pytest.raises(ShapeError, match="in 3 groups"):
        nl.conv2d_transpose(x, w, groups=3)
    with pytest.raises(ShapeError, match="conv3d_transpose of"):
        nl.conv3d_transpose(x, w)
    with pytest.raises(ShapeError, match="padding cut off"):
        nl.conv2d_transpose(x, w, padding=4)
    with pytest.raises(ShapeError, match="must have elements"):
        nl.conv2d_transpose(x, np.ones((4, 6, 0, 3)))
    with pytest.raises(DomainError, match="padding"):
        nl.conv2d_transpose(x, w, padding="reflect")
    with pytest.raises(DomainError, match="stride"):
        nl.conv2d_transpose(x, w, stride=0)
    with pytest.raises(DomainError, match="output_padding"):
        nl.conv2d_transpose(x, w, output_padding=-1)


def test_phases_are_interleaved_by_whole_vectors() -> None:
    """Two phases of 8 elements each are 16 that follow each other, not 8 pairs."""
    x, w = nl.ShapeDtype((2, 8, 8, 8), "float32"), nl.ShapeDtype((8, 4, 2, 2), "float32")
    with nl.options(vector_bits=256):
        text = nl.jit(lambda x, w: nl.conv2d_transpose(x, w, stride=2)).lower(x, w).as_text("loops")
    last = text[text.rindex("kernel k") :]
    assert "vector for n in 0..8" in last and "0..2 step" not in last
