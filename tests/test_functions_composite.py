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
