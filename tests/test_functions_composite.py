"""Softmax, norms, convolution and lifted scalar functions against formulas in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from against_numpy import both, interpreter, same, sample, traced

from neurlang.errors import ArgumentError, DomainError, ShapeError
from neurlang.frontend import composite as nl
from neurlang.frontend import protocols
from neurlang.frontend.array import asarray
from neurlang.frontend.broadcasting import broadcast
from neurlang.frontend.elementwise import where

assert interpreter
assert protocols.PUBLIC  # attaches operators


def exact_softmax(x, axis):
    powers = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
def test_softmax(axis, dtype):
    x = sample((4, 7), dtype)
    result = np.float32 if dtype == "float32" else np.float64
    expected = exact_softmax(x, axis)
    same(nl.softmax(x, axis=axis), expected.astype(result), 32)
    same(nl.log_softmax(x, axis=axis), np.log(expected).astype(result), 32)
    total = np.log(np.exp(x.astype(np.float64)).sum(axis=axis))
    same(nl.logsumexp(x, axis), total.astype(result), 32)
    assert nl.logsumexp(x, axis, keepdims=True).ndim == 2


def test_softmax_of_large_and_infinite_values():
    x = np.array([[1000.0, 1000, -1000], [-np.inf, 0, 0]])
    same(nl.softmax(x), np.array([[0.5, 0.5, 0], [0, 0.5, 0.5]]))
    same(nl.logsumexp(x, 1), np.array([1000 + math.log(2), math.log(2)]), 2)
    same(nl.logsumexp(np.array([-np.inf, -np.inf])), np.float64(-np.inf))
    same(nl.logsumexp(np.array([np.inf, 1])), np.float64(np.inf))
    same(nl.logsumexp(np.ones(0)), np.float64(-np.inf))
    assert np.isnan(np.asarray(nl.logsumexp(np.array([np.nan, 1]))))
    same(nl.softmax(np.ones((3, 0))), np.ones((3, 0)))
    same(nl.logsumexp(np.ones((2, 0)), 1), np.full(2, -np.inf))


@pytest.mark.parametrize("axis", [-1, 0, (1, 2)])
def test_normalisation(axis):
    x = sample((2, 3, 8), "float64")
    weight, bias = sample((8,), "float64", 1), sample((8,), "float64", 2)
    center = x - x.mean(axis=axis, keepdims=True)
    scale = np.sqrt((center**2).mean(axis=axis, keepdims=True) + 1e-5)
    same(nl.layer_norm(x, weight, bias, axis=axis), center / scale * weight + bias, 64)
    same(nl.layer_norm(x, axis=axis), center / scale, 64)
    root = np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-6)
    same(nl.rms_norm(x, weight, axis=axis), x / root * weight, 64)
    assert nl.rms_norm(x.astype(np.float32)).dtype == np.float32
    with pytest.raises(ShapeError, match="layer_norm"):
        nl.layer_norm(x, np.ones((4, 1, 1, 8)))


def test_trapezoid():
    y, x = sample((3, 5), "float32", 1), np.cumsum(np.ones(5, np.float32))
    both(nl.trapezoid, np.trapezoid, y, rtol=16)
    both(nl.trapezoid, np.trapezoid, y, dx=0.5, axis=0, rtol=16)
    both(nl.trapezoid, np.trapezoid, y, x, rtol=16)
    both(nl.trapezoid, np.trapezoid, y, x[:3], axis=0, rtol=16)
    both(nl.trapezoid, np.trapezoid, y, np.cumsum(np.ones((3, 5)), 1), rtol=16)
    both(nl.trapezoid, np.trapezoid, [1, 2, 3], rtol=16)
    both(nl.trapezoid, np.trapezoid, np.ones((0, 3)), axis=0)


def test_one_hot():
    x = np.array([[0, 2], [-1, 3]])
    expected = (x[..., None] == np.arange(3)).astype(np.float64)
    same(nl.one_hot(x, 3), expected)
    same(nl.one_hot(x, 3, axis=0, dtype="int8"), np.moveaxis(expected, -1, 0).astype(np.int8))
    same(nl.one_hot(1, 3), np.array([0.0, 1, 0]))
    with pytest.raises(DomainError, match="classes"):
        nl.one_hot(np.ones(2), 3)


def slow_conv2d(x, w, widths, stride, groups):
    x = np.pad(x, ((0, 0), (0, 0), *widths))
    rows = (x.shape[2] - w.shape[2]) // stride[0] + 1
    columns = (x.shape[3] - w.shape[3]) // stride[1] + 1
    out = np.zeros((x.shape[0], w.shape[0], rows, columns), x.dtype)
    per_group = w.shape[0] // groups
    for o in range(w.shape[0]):
        first = o // per_group * w.shape[1]
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride[0], j * stride[1]
                window = x[:, first : first + w.shape[1], top:, left:]
                window = window[:, :, : w.shape[2], : w.shape[3]]
                out[:, o, i, j] = (window * w[o]).sum(axis=(1, 2, 3), dtype=x.dtype)
    return out


@pytest.mark.parametrize("stride", [1, (2, 1), 3])
@pytest.mark.parametrize("padding", [0, 1, (2, 0), ((0, 1), (2, 3))])
@pytest.mark.parametrize(
    "channels, outputs, groups", [(3, 4, 1), (4, 6, 2), (4, 4, 4), (2, 6, 2), (1, 2, 1)]
)
def test_conv2d(channels, outputs, groups, padding, stride):
    x = sample((2, channels, 6, 7), "int32", 1)
    w = sample((outputs, channels // groups, 3, 2), "int32", 2)
    steps = stride if isinstance(stride, tuple) else (stride, stride)
    widths = {0: ((0, 0),) * 2, 1: ((1, 1),) * 2, (2, 0): ((2, 2), (0, 0))}.get(padding, padding)
    expected = slow_conv2d(x, w, widths, steps, groups)
    same(nl.conv2d(x, w, padding=padding, stride=stride, groups=groups), expected)


def test_conv2d_same_and_valid():
    x, w = sample((1, 2, 7, 8), "int32", 1), sample((3, 2, 4, 3), "int32", 2)
    same(nl.conv2d(x, w, padding="valid"), nl.conv2d(x, w))
    same(nl.conv2d(x, w, padding="same"), slow_conv2d(x, w, ((1, 2), (1, 1)), (1, 1), 1))
    assert nl.conv2d(x, w, padding="same", stride=2).shape == (1, 3, 4, 4)
    one = w[:, :, :1, :1]
    same(nl.conv2d(x, one), np.einsum("nchw,oc->nohw", x, one[:, :, 0, 0]))


def test_conv2d_errors():
    x, w = np.ones((1, 4, 5, 5)), np.ones((6, 2, 3, 3))
    with pytest.raises(ShapeError, match="in 1 groups"):
        nl.conv2d(x, w)
    with pytest.raises(ShapeError, match="fit into the image"):
        nl.conv2d(x, np.ones((2, 4, 6, 1)))
    with pytest.raises(DomainError, match="padding"):
        nl.conv2d(x, w, groups=2, padding="reflect")
    with pytest.raises(DomainError, match="stride"):
        nl.conv2d(x, w, groups=2, stride=0)


def test_broadcast_lifts_a_scalar_function():
    @broadcast
    def poly(a, b, c):
        """A polynomial."""
        return where(a > 0, a * b + c, 0.5)

    x, y = sample((3, 1), "float32", 1), sample((4,), "float32", 2)
    same(poly(x, y, 2.0), np.where(x > 0, x * y + 2, np.float32(0.5)), 4)
    assert poly.__name__ == "poly" and poly.__doc__ == "A polynomial."
    same(traced(lambda a: poly(a, y, 1), x), np.where(x > 0, x * y + 1, np.float32(0.5)), 4)


def test_broadcast_results():
    pair = broadcast(lambda a, b, scale=1: (a + b, scale))
    total, constant = pair(np.ones((2, 1)), np.ones(3), scale=7)
    same(total, np.full((2, 3), 2.0))
    same(constant, np.full((2, 3), 7))
    with pytest.raises(ShapeError, match="must be elementwise"):
        broadcast(lambda a: asarray(np.ones(5)))(np.ones(3))
    with pytest.raises(ShapeError, match="cannot broadcast"):
        pair(np.ones(2), np.ones(3))
    with pytest.raises(ArgumentError, match="takes a function"):
        broadcast(3)
