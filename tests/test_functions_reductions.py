"""Reductions against NumPy: dtypes, axes, empty arrays, masks, and what NumPy gets less right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from against_numpy import DTYPES, SHAPES, both, interpreter, same, sample, traced

import neurlang as nl
from neurlang.errors import ArgumentError, AxisError, NeurlangError, ShapeError
from neurlang.frontend import linear
from neurlang.frontend.array import asarray

assert interpreter

ALL = ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all", "count_nonzero", "ptp"]
FIND = ["argmax", "argmin"]
NAN = ["nansum", "nanprod", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd"]
ROUNDED = {"mean", "var", "std", "sum", "prod", "nansum", "nanmean", "nanprod", "nanvar", "nanstd"}
AXES = [None, 0, -1, 1, (0,), (0, 1), (-1, 0), (), 5, (0, 0), 1.5]


def tolerance(name: str) -> float:
    return 64 if name in ROUNDED else 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL + FIND)
def test_dtypes_and_shapes(name, dtype):
    for shape in SHAPES:
        for axis in (None, -1, 0) if shape else (None,):
            x = sample(shape, dtype)
            if (name == "ptp" and dtype == "bool") or (name == "var" and axis == 9):
                continue
            both(getattr(nl, name), getattr(np, name), x, axis=axis, rtol=tolerance(name))
            both(
                getattr(nl, name),
                getattr(np, name),
                x,
                axis=axis,
                keepdims=True,
                rtol=tolerance(name),
            )


@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("name", ALL + NAN)
def test_axes(name, axis):
    both(
        getattr(nl, name),
        getattr(np, name),
        sample((2, 3, 4), "float64"),
        axis=axis,
        rtol=tolerance(name),
    )


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 0)])
@pytest.mark.parametrize("name", ALL + FIND + NAN)
def test_empty(name, shape):
    for axis in (None, *range(len(shape))):
        both(getattr(nl, name), getattr(np, name), sample(shape, "float32"), axis=axis)


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64"])
@pytest.mark.parametrize("name", NAN)
def test_without_nan(name, dtype):
    x = sample((4, 5, 3), dtype)
    if dtype.startswith("float"):
        x[x > 4] = np.nan
        x[1, :, 2] = np.nan
        x[0, 0, 0] = -np.inf if name.endswith(("max", "min")) else 1
    for axis in (None, 0, 1, (0, 2)):
        both(getattr(nl, name), getattr(np, name), x, axis=axis, rtol=tolerance(name))
        both(
            getattr(nl, name), getattr(np, name), x, axis=axis, keepdims=True, rtol=tolerance(name)
        )


def test_nan_wins_and_infinities_count():
    x = np.array([[1.0, np.nan, np.inf], [-np.inf, 2, 3]])
    for name in [*FIND, "max", "min", "any", "all", "mean", "var", "sum", "ptp"]:
        for axis in (None, 0, 1):
            both(getattr(nl, name), getattr(np, name), x, axis=axis, rtol=tolerance(name))


@pytest.mark.parametrize("name", ["sum", "prod", "mean"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "float32", "float64"])
def test_dtype_argument(name, dtype):
    for source in ("int16", "float32", "bool"):
        x = np.abs(sample((3, 4), source, scale=3)) if source != "bool" else sample((3, 4), source)
        both(getattr(nl, name), getattr(np, name), x, axis=1, dtype=dtype, rtol=64)


def test_integers_wrap():
    x = np.full(5, 2**62, np.int64)
    both(nl.sum, np.sum, x)
    both(nl.prod, np.prod, x)
    both(nl.ptp, np.ptp, np.array([-100, 100], np.int8))


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_initial_and_where(name):
    x = sample((3, 4), "int32")
    mask = sample((3, 4), "bool")
    for axis in (None, 0, 1):
        both(getattr(nl, name), getattr(np, name), x, axis=axis, initial=3)
        both(getattr(nl, name), getattr(np, name), x, axis=axis, initial=-2, where=mask)
        both(getattr(nl, name), getattr(np, name), x, axis=axis, initial=-2, where=mask[0])
    both(getattr(nl, name), getattr(np, name), x[:0], axis=0, initial=7)
    both(getattr(nl, name), getattr(np, name), x[:0], initial=7, keepdims=True)


@pytest.mark.parametrize("name", ["mean", "var", "std", "any", "all"])
def test_where(name):
    x = sample((5, 4), "float32")
    mask = np.array([[True, False, False, True]] * 4 + [[True, False, True, True]])
    x[0, 1] = np.inf
    for axis in (None, 0, 1):
        both(getattr(nl, name), getattr(np, name), x, axis=axis, where=mask, rtol=tolerance(name))


@pytest.mark.parametrize("ddof", [0, 1, 0.5, 3, 9])
def test_degrees_of_freedom(ddof):
    x = sample((3, 4), "float64")
    for axis in (None, 0, 1):
        both(nl.var, np.var, x, axis=axis, ddof=ddof, rtol=64)
        both(nl.std, np.std, x, axis=axis, correction=ddof, rtol=64)
        both(nl.nanvar, np.nanvar, x, axis=axis, ddof=ddof, rtol=64)


@pytest.mark.parametrize("value", [0.1, 1e30, -3.7e-20, 16777217.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variance_of_equal_values_is_exactly_zero(value, dtype):
    x = np.full((3, 1001), value, dtype)
    mask = np.add.outer(np.arange(3), np.arange(1001)) % 3 != 0
    for axis in (None, 0, 1):
        assert not np.asarray(nl.var(x, axis)).any()
        assert not np.asarray(nl.std(x, axis)).any()
        assert not np.asarray(nl.var(x, axis, where=mask)).any()


def test_variance_far_from_zero():
    x = 1e6 + np.random.default_rng(0).normal(size=1000)
    exact = math.fsum((v - math.fsum(x) / 1000) ** 2 for v in x) / 1000
    assert abs(float(nl.var(x)) - exact) < 1e-9 * exact


def test_average():
    x = sample((3, 4), "int32")
    weights = np.abs(sample((3, 4), "float32", 1)) + 1
    both(nl.average, np.average, x)
    both(nl.average, np.average, x, axis=1, keepdims=True)
    for axis in (None, 0, 1, (0, 1)):
        both(nl.average, np.average, x, axis=axis, weights=weights, returned=True, rtol=16)
        both(nl.average, np.average, weights, axis=axis, weights=weights, rtol=16)
    both(nl.average, np.average, x, axis=1, weights=[1, 2, 3, 4], rtol=16)
    both(
        nl.average,
        np.average,
        sample((2, 3, 4), "f4"),
        axis=(2, 0),
        weights=np.ones((4, 2)),
        rtol=16,
    )
    both(nl.average, np.average, x, axis=1, returned=True)
    with pytest.raises(ShapeError, match="weights"):
        nl.average(x, axis=1, weights=[1, 2])


def test_traced_values_reduce_as_known_ones():
    x = sample((3, 4), "float32")
    same(traced(lambda a: nl.var(a, 0), x), np.var(x, 0), 64)
    same(traced(lambda a: nl.argmax(a), x), np.argmax(x))


def test_python_scalars():
    for name in ("sum", "prod", "max", "min", "mean", "any"):
        both(getattr(nl, name), getattr(np, name), 3)
        both(getattr(nl, name), getattr(np, name), [1.5, 2])
    assert nl.sum(3).weak is None


def test_errors_name_axis_shape_and_line():
    x = asarray(np.ones((3, 4)))
    with pytest.raises(AxisError, match=r"sum: axis 2 is out of range for f64\[3,4\]") as caught:
        nl.sum(x, axis=2)
    assert "test_functions_reductions.py" in str(caught.value)
    with pytest.raises(AxisError, match="twice"):
        nl.sum(x, axis=(0, -2))
    with pytest.raises(ArgumentError, match="one axis"):
        nl.argmax(x, axis=(0, 1))
    with pytest.raises(ArgumentError, match="initial"):
        nl.max(x, where=False)
    with pytest.raises(NeurlangError, match="size 0"):
        nl.max(np.ones((0, 3)), axis=0)


@pytest.mark.parametrize("axis", [None, 0, -1, (), 1])
@pytest.mark.parametrize("value", [np.float32(2.5), np.int8(3)], ids=str)
def test_axes_of_a_scalar(value, axis):
    """A sum takes axis 0 of a scalar, a mean does not."""
    names = "sum prod max min any all mean var std average nansum nanmean nanvar nanstd ptp"
    for name in names.split():
        both(getattr(nl, name), getattr(np, name), value, axis=axis)
    both(linear.vector_norm, np.linalg.vector_norm, value, axis=axis)
