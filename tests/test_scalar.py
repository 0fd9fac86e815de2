"""Every map op in machine code against NumPy: all pairs of narrow integers, edges and specials."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.frontend.array import apply, asarray
from neurlang.ir.ops import MAPS, OPS
from neurlang.ir.ops import cast as reference_cast

EXACT_FLOAT = 4  # ops at most this costly, and those named below, must match bit for bit
EXACT = {"floor_div", "mod", "fmod", "nextafter", "copysign", "sign"}
KINDS = {
    "b": ["bool"],
    "i": ["int8", "int16", "int32", "int64"],
    "u": ["uint8", "uint16", "uint32", "uint64"],
    "f": ["float32", "float64"],
}


def edges(dtype: Any) -> Any:
    """Values where things go wrong, and a few random ones."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.array([False, True])
    rng = np.random.default_rng(3)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        special = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, 3.5, -7.3, np.nan, np.inf, -np.inf]
        special += [info.max, info.min, info.tiny, info.smallest_subnormal, 1e9, -3e9, 127.5]
        return np.concatenate([special, rng.normal(0, 5, 9)]).astype(dtype)
    info = np.iinfo(dtype)
    special = [0, 1, 2, 7, 63, 64, info.max, info.max - 1, info.min, info.min + 1]
    if dtype.kind == "i":
        special += [-1, -2, -7]
    return np.array([*special, *rng.integers(info.min, info.max, 6, dtype)], dtype)


def operands(dtype: str, arity: int) -> list[Any]:
    values = edges(dtype)
    if dtype in ("int8", "uint8") and arity == 2:
        values = np.arange(256).astype(dtype)
    pairs = np.array(list(itertools.product(values, repeat=min(arity, 2))), np.dtype(dtype))
    return [np.ascontiguousarray(pairs[:, k]) for k in range(min(arity, 2))]


CASES = [
    (op.name, dtype)
    for op in MAPS
    if op.name not in ("cast", "bitcast", "where")
    for kind in op.accepts
    for dtype in KINDS[kind]
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_op_matches_numpy(name: str, dtype: str) -> None:
    op = OPS[name]
    args = operands(dtype, op.arity)
    compiled = nl.jit(lambda *xs: apply(name, *xs), cache=False)(*args)
    assert op.numpy is not None
    with np.errstate(all="ignore"):
        expected = op.numpy(*args)
    assert compiled.dtype == expected.dtype
    exact = np.dtype(dtype).kind != "f" or op.cost <= EXACT_FLOAT or name in EXACT
    if exact:
        free = (
            (expected == 0) if name in ("max", "min") else np.zeros(expected.shape, bool)
        )  # which zero the extreme of +0 and -0 is, is open
        same = (compiled == expected) | ((compiled != compiled) & (expected != expected))
        assert same.all(), [a[~same][:3] for a in (*args, compiled, expected)]
        if expected.dtype.kind == "f":
            signs = np.signbit(compiled) == np.signbit(expected)
            signs |= free | np.isnan(expected)
            assert signs.all(), [a[~signs][:3] for a in (*args, compiled, expected)]
    else:
        scale = 4 * np.spacing(np.abs(expected))
        with np.errstate(all="ignore"):
            close = (np.abs(compiled - expected) <= scale) | (compiled == expected)
        close |= np.isnan(compiled) & np.isnan(expected)
        assert close.all(), [a[~close][:3] for a in (*args, compiled, expected)]


ALL = [dtype for dtypes in KINDS.values() for dtype in dtypes]


@pytest.mark.parametrize("source", ALL)
def test_cast_matches_numpy(source: str) -> None:
    x = edges(source)
    if np.dtype(source).kind == "f":
        more = [1e10, -1e10, 2.0**31, -(2.0**31), 2.0**63, 2.0**64, 1e19, 300.7, -5.7, 65536.5]
        x = np.concatenate(
            [x, np.array(more, source), np.array([2147483647.5, -2147483648.5], source)]
        )
    function = nl.jit(lambda v: tuple(v.astype(target) for target in ALL), cache=False)
    for target, result in zip(ALL, function(x)):
        with np.errstate(all="ignore"):
            expected = reference_cast(x, np.dtype(target))
            numpy = x.astype(target)
        assert result.dtype == expected.dtype
        assert np.array_equal(result, expected, equal_nan=True), (target, x, result, expected)
        if target != "uint32":  # NumPy is not consistent with itself there
            assert np.array_equal(expected, numpy, equal_nan=True), (target, x, expected, numpy)


def test_where_chooses_lane_by_lane() -> None:
    condition = np.arange(37) % 3 == 0
    x = np.arange(37.0)
    result = nl.jit(lambda c, a, b: nl.where(c, a, b), cache=False)(condition, x, -x)
    assert np.array_equal(result, np.where(condition, x, -x))


def test_bitcast_keeps_bits() -> None:
    x = edges("float32")
    result = nl.jit(lambda a: apply("bitcast", a, dtype=np.dtype("int32")), cache=False)(x)
    assert np.array_equal(result, x.view(np.int32))


def test_ops_of_lazy_arrays_are_the_same() -> None:
    x = edges("float64")
    assert np.array_equal(np.asarray(apply("sign", asarray(x))), np.sign(x), equal_nan=True)
