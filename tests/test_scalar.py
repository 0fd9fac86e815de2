"""Every map op in machine code against NumPy: all pairs of narrow integers, edges and specials."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.codegen.compile import Library, compile_object, link_object
from neurlang.codegen.mathlib import FUNCTIONS
from neurlang.codegen.scalar import constant_value, emit_op, identity, llvm_type, memory_type
from neurlang.codegen.writer import Module, Value, Writer, constant, vector_type
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
    if name == "pow" and np.dtype(dtype).kind == "i":
        args = [arg[args[1] >= 0] for arg in args]  # others are an error: tests/test_failures.py
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
        with np.errstate(all="ignore"):
            scale = 4 * np.spacing(np.abs(expected))
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


# The emitters on their own, at several lane counts: a kernel loads arrays, applies an op, stores.

LANES = (16, 4, 1)
BITS_OF = {dtype: 8 * np.dtype(dtype).itemsize for dtype in ALL}


@lru_cache(maxsize=256)
def kernel(
    op: str, lanes: int, types: tuple[str, ...], result: str, literal: Any = None
) -> Library:
    """`op` over arrays of `types`; the last operand is `literal` where there is one."""
    dtypes = [np.dtype(name) for name in types]
    pointers = [Value(f"%in{k}", "ptr") for k in range(len(dtypes))]
    module = Module()
    writer = Writer(module, f"void @kernel(i64 %count, {', '.join(map(str, pointers))}, ptr %out)")
    loop, done = writer.label("loop"), writer.label("done")
    writer.branch(loop)
    writer.start_block(loop)
    index = writer.phi("i64")
    args = []
    for pointer, dtype in zip(pointers, dtypes):
        element = memory_type(dtype)
        address = writer.offset(pointer, index[0], element)
        value = writer.load(address, vector_type(element, lanes))
        if dtype.kind == "b":
            value = writer.icmp("ne", value, constant(0, value.type))
        args.append(value)
    if literal:
        number = np.frombuffer(literal, dtypes[-1])[0]
        args.append(constant_value(number, dtypes[-1], lanes))
    value = emit_op(writer, op, args, dtypes[-1], np.dtype(result))
    assert value.type == vector_type(llvm_type(np.dtype(result)), lanes)
    element = memory_type(np.dtype(result))
    if result == "bool":
        value = writer.zext(value, element)
    writer.store(value, writer.offset(Value("%out", "ptr"), index[0], element))
    following = writer.add(index[0], constant(lanes, "i64"))
    writer.set_phi(index, [(constant(0, "i64"), "entry"), (following, writer.block)])
    writer.branch_if(writer.icmp("ult", following, Value("%count", "i64")), loop, done)
    writer.start_block(done)
    writer.ret()
    writer.finish()
    assert "frem" not in module.text()
    return link_object(compile_object(module.text()), ["kernel"])


def emitted(op: str, lanes: int, args: Sequence[Any], result: Any, literal: Any = None) -> Any:
    """What the machine code of `op` makes of arrays."""
    count = len(args[0])
    padding = -count % max(LANES)
    padded = [np.concatenate([a, np.ones(padding, a.dtype)]) for a in args]
    out = np.empty(count + padding, result)
    types = tuple(a.dtype.name for a in args)
    fixed = b"" if literal is None else literal.tobytes()  # not the number: 0.0 == -0.0
    library = kernel(op, lanes, types, out.dtype.name, fixed)
    pointers = [ctypes.c_void_p] * (len(args) + 1)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *pointers)(library["kernel"])
    call(len(out), *(a.ctypes.data for a in (*padded, out)))
    return out[:count]


def assert_same_bits(found: Any, expected: Any, any_zero: bool = False) -> None:
    """Equal values and signs, NaN in the same places; `any_zero` leaves a zero's sign open."""
    assert found.dtype == expected.dtype
    same = found == expected
    if expected.dtype.kind == "f":
        signs = np.signbit(found) == np.signbit(expected)
        same = same & (signs | (any_zero & (expected == 0)))
        same |= np.isnan(found) & np.isnan(expected)
    assert same.all(), (np.flatnonzero(~same)[:4], found[~same][:4], expected[~same][:4])


def any_bits(dtype: str, count: int, seed: int) -> Any:
    """Numbers of every magnitude: random bits."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    return rng.integers(0, 256, (count, np.dtype(dtype).itemsize), np.uint8).view(dtype).ravel()


@lru_cache(maxsize=64)
def many_operands(dtype: str, arity: int) -> tuple[Any, ...]:
    """Edges and specials in all pairs, random bits, and numbers of like size."""
    rng = np.random.default_rng(11)
    args = operands(dtype, arity)
    if BITS_OF[dtype] > 8:
        wild = [any_bits(dtype, 1500, seed) for seed in range(arity)]
        size = 100 if dtype in ("float32", "float64") else 2 ** (BITS_OF[dtype] // 2) - 1
        tame = [np.abs(rng.normal(0, size, 1500)).astype(dtype) for _ in range(arity)]
        # Multiples and their neighbours: where a rounded quotient is an integer.
        with np.errstate(all="ignore"):
            near = tame[-1] * rng.integers(0, 100, 1500).astype(dtype)
        tame[0][::2] = near[::2]
        if dtype in ("float32", "float64"):
            tame[0][::4] = np.nextafter(tame[0][::4], np.dtype(dtype).type(0))
            tame[0][1::4] *= -1
        args = [np.concatenate(parts) for parts in zip(args, wild, tame)]
    return tuple(args)


EMITTED = [(name, dtype) for name, dtype in CASES if name not in FUNCTIONS]


@pytest.mark.parametrize(("name", "dtype"), EMITTED)
def test_emitted_op_has_the_bits_of_numpy_at_every_lane_count(name: str, dtype: str) -> None:
    op = OPS[name]
    args = many_operands(dtype, op.arity)
    assert op.numpy is not None
    with np.errstate(all="ignore"):
        expected = op.numpy(*args)
    for lanes in LANES:
        found = emitted(name, lanes, args, expected.dtype)
        assert_same_bits(found, expected, any_zero=name in ("max", "min"))


LITERALS: dict[str, list[Any]] = {
    "f": [np.nan, np.inf, 0.0, -0.0, 3.0, -7.5, 1e-30],
    "i": [0, 1, -1, 3, -10, 8, 127, -128],
    "u": [0, 1, 3, 10, 8, 255],
}
WITH_LITERAL = ["floor_div", "mod", "fmod", "pow", "max", "min", "shift_left", "shift_right"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64"])
def test_a_literal_operand_changes_no_bit(dtype: str) -> None:
    x = many_operands(dtype, 1)[0][:700]
    for name in WITH_LITERAL:
        op = OPS[name]
        if np.dtype(dtype).kind not in op.accepts or (name, dtype[:5]) == ("pow", "float"):
            continue
        for number in LITERALS[np.dtype(dtype).kind]:
            literal = np.dtype(dtype).type(number)
            assert op.numpy is not None
            with np.errstate(all="ignore"):
                expected = op.numpy(x, np.full_like(x, literal))
            found = emitted(name, 16, [x], dtype, literal)
            assert_same_bits(found, expected, any_zero=name in ("max", "min"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fmod_is_exact_over_the_whole_range(dtype: str) -> None:
    info = np.finfo(dtype)
    least = info.smallest_subnormal
    ends = [info.max, np.nextafter(info.max, 0), info.tiny, 3 * least, least, 1.0, 3.0, 1 / 3]
    powers = np.ldexp(1.0, np.arange(info.minexp - info.nmant, info.maxexp, 7)).astype(dtype)
    values = np.concatenate([np.array(ends, dtype), powers, any_bits(dtype, 60, 5)])
    pairs = np.array(list(itertools.product(values, values)), dtype)
    args = [np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])]
    with np.errstate(all="ignore"):
        expected = np.fmod(*args)
    for lanes in LANES:
        assert_same_bits(emitted("fmod", lanes, args, dtype), expected)


def conversion_edges(source: str) -> Any:
    """Every power of two that bounds a dtype or a significand, and its neighbours."""
    dtype = np.dtype(source)
    parts = [many_operands(source, 1)[0]]
    if dtype.kind == "f":
        bounds = np.array([s * 2.0**k for s in (1, -1) for k in (7, 8, 15, 16, 31, 32, 63, 64)])
        bounds = np.concatenate([bounds, bounds - 0.5, bounds - 1, bounds + 0.5]).astype(dtype)
        parts += [bounds, np.nextafter(bounds, dtype.type(0)), np.nextafter(bounds, 2 * bounds)]
    elif BITS_OF[source] > 16:
        info = np.iinfo(dtype)
        near = (2**k + 2**j + d for k in (25, 54, 62) for j in (0, 1, 8, 37) for d in (-1, 0, 1))
        parts.append(np.array([n for n in near if n <= info.max], dtype))
    return np.concatenate(parts)


@pytest.mark.parametrize("source", ALL)
def test_emitted_casts_follow_the_table_at_every_lane_count(source: str) -> None:
    x = conversion_edges(source)
    for target, lanes in itertools.product(ALL, LANES):
        with np.errstate(all="ignore"):
            expected = reference_cast(x, np.dtype(target))
        assert_same_bits(emitted("cast", lanes, [x], target), expected)


@pytest.mark.parametrize("source", [dtype for dtype in ALL if dtype != "bool"])
def test_emitted_bitcasts_keep_bits(source: str) -> None:
    x = any_bits(source, 64, 2)
    for target in ALL:
        if target != "bool" and BITS_OF[target] == BITS_OF[source]:
            found = emitted("bitcast", 4, [x], target)
            assert found.tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", ALL)
def test_emitted_where_chooses_lane_by_lane(dtype: str) -> None:
    condition, x, y = any_bits("bool", 333, 1), any_bits(dtype, 333, 2), any_bits(dtype, 333, 3)
    for lanes in LANES:
        found = emitted("where", lanes, [condition, x, y], dtype)
        assert_same_bits(found, np.where(condition, x, y))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint64"])
def test_integer_fma_wraps(dtype: str) -> None:
    x, y, z = (any_bits(dtype, 333, seed) for seed in range(3))
    for lanes in LANES:
        assert_same_bits(emitted("fma", lanes, [x, y, z], dtype), x * y + z)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_fma_is_the_float_nearest_to_the_exact_sum(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(0, 1, (2, 96)).astype(dtype)
    z = (-x * y + rng.normal(0, 1e-8, 96)).astype(dtype)
    for lanes in LANES:
        found = emitted("fma", lanes, [x, y, z], dtype)
        for a, b, c, r in zip(x, y, z, found):
            exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
            error = abs(exact - Fraction(float(r)))
            for side in (-np.inf, np.inf):
                other = Fraction(float(np.nextafter(r, np.dtype(dtype).type(side))))
                assert error <= abs(exact - other)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "float32", "float64"])
def test_identities_change_no_value(dtype: str) -> None:
    x = edges(dtype)
    ordinary = x if np.dtype(dtype).kind != "f" else x[~np.isnan(x)]
    for name in ("add", "mul", "max", "min"):
        literal = identity(name, np.dtype(dtype))
        assert literal.dtype == dtype
        assert_same_bits(emitted(name, 4, [ordinary], dtype, literal), ordinary)
