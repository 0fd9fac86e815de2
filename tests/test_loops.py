"""The Loop IR: kernels written by hand, run with NumPy, printed, and broken rule by rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from neurlang.errors import InternalError
from neurlang.ir.loops import (
    ZERO,
    Affine,
    Alloc,
    Apply,
    Buffer,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
    Var,
    affine,
)
from neurlang.ir.loops_interpret import fused_multiply_add, interpret_kernel
from neurlang.ir.loops_verify import verify_kernel
from neurlang.ir.types import BOOL, FLOAT32, FLOAT64, INT32, INT64, DType

LANES = 16
GENERATOR = np.random.default_rng(0)


def loop(
    kind: str, var: Var, stop: int, body: list[Statement], step: int = 1, start: int = 0
) -> For:
    return For(var, start, stop, step, kind, tuple(body))


def number(value: Any, dtype: DType = FLOAT32) -> Literal:
    return Literal(dtype.type(value), dtype)


def binary(op: str, left: Expression, right: Expression, dtype: DType | None = None) -> Apply:
    return Apply(op, (left, right), dtype or left.dtype)


def floats(*shape: int) -> Any:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def run(kernel: Kernel, *inputs: Any) -> tuple[list[Any], int]:
    """The outputs and the code of a kernel that is well formed."""
    verify_kernel(kernel)
    memory = dict(zip(kernel.inputs, inputs))
    outputs = [np.zeros(buffer.shape, buffer.dtype) for buffer in kernel.outputs]
    code = interpret_kernel(kernel, {**memory, **dict(zip(kernel.outputs, outputs))})
    return outputs, code


# kernels


def relu_kernel(rows: int = 3, columns: int = 37, step: int = LANES) -> Kernel:
    x = Buffer("x", FLOAT32, (rows, columns))
    y = Buffer("y", FLOAT32, (columns,))
    out = Buffer("out", FLOAT32, (rows, columns))
    i, j = Var("i", 0, rows - 1), Var("j", 0, columns - 1)
    at = (affine(i), affine(j))
    total = Register("t", FLOAT32, step)
    body: list[Statement] = [
        Let(total, binary("add", Load(x, at), binary("mul", Load(y, at[1:]), number(2)))),
        Store(out, at, binary("max", Ref(total), number(0))),
    ]
    inner = loop("vector", j, columns, body, step)
    return Kernel("relu", (x, y), (out,), (loop("parallel", i, rows, [inner]),))


def sum_kernel(size: int = 100, accumulators: int = 2, op: str = "add") -> Kernel:
    """Several vector accumulators, a masked tail, then a tree."""
    x = Buffer("x", FLOAT32, (size,))
    out = Buffer("out", FLOAT32, ())
    partial = Register("partial", FLOAT32, LANES, (accumulators,))
    block = LANES * accumulators
    whole = size - size % block
    i, u = Var("i", 0, size - 1), Var("u", 0, accumulators - 1)
    j, tail = Var("j", 0, LANES - 1), Var("tail", 0, size - 1)
    at = affine(i) + affine(u) * LANES + affine(j)
    inner = loop("vector", j, LANES, [Update(partial, op, Load(x, (at,)), (affine(u),))], LANES)
    rest = Update(partial, op, Load(x, (affine(tail),)), (ZERO,))
    total = Register("total", FLOAT32, LANES)
    start = -np.inf if op == "max" else -0.0
    return Kernel(
        "total",
        (x,),
        (out,),
        (
            Let(partial, number(start)),
            loop("serial", i, whole, [loop("unroll", u, accumulators, [inner])], block),
            loop("vector", tail, size, [rest], LANES, whole),
            Let(total, Ref(partial, (ZERO,))),
            Update(total, op, Ref(partial, (Affine(1),))),
            Store(out, (), Fold(op, Ref(total))),
        ),
        ("two accumulators: one would wait for each sum",),
    )


def tile_kernel(rows: int, depth: int, columns: int, dtype: DType = FLOAT32) -> Kernel:
    """One register tile of a matrix product, its last vector masked."""
    x = Buffer("x", dtype, (rows, depth))
    w = Buffer("w", dtype, (depth, columns))
    out = Buffer("out", dtype, (rows, columns))
    vectors = columns // 8
    c = Register("c", dtype, 8, (rows, vectors))
    k, r, v = Var("k", 0, depth - 1), Var("r", 0, rows - 1), Var("v", 0, vectors - 1)
    j = Var("j", 0, 7)
    element = (affine(r), affine(v))
    column = affine(v) * 8 + affine(j)
    product = Apply(
        "fma",
        (Load(x, (affine(r), affine(k))), Load(w, (affine(k), column)), Ref(c, element)),
        dtype,
    )

    def each(statement: Statement) -> Statement:
        inner = loop("vector", j, 8, [statement], 8)
        return loop("unroll", r, rows, [loop("unroll", v, vectors, [inner])])

    return Kernel(
        "tile",
        (x, w),
        (out,),
        (
            Let(c, number(0, dtype)),
            loop("serial", k, depth, [each(Update(c, "set", product, element))]),
            each(Store(out, (affine(r), column), Ref(c, element))),
        ),
    )


def gather_kernel(size: int, table_size: int, clamped: bool = True) -> Kernel:
    """out[i] = table[where[i]], checked, then kept within bounds."""
    table = Buffer("table", FLOAT32, (table_size,))
    where = Buffer("where", INT32, (size,))
    out = Buffer("out", FLOAT32, (size,))
    i = Var("i", 0, size - 1)
    wanted = Register("wanted", INT64, 8)
    k = Register("k", INT64, 8, low=0, high=table_size - 1)
    last = number(table_size - 1, INT64)
    inside = binary(
        "and",
        binary("less_equal", number(0, INT64), Ref(wanted), BOOL),
        binary("less_equal", Ref(wanted), last, BOOL),
    )
    nearest = binary("min", binary("max", Ref(wanted), number(0, INT64)), last)
    body: list[Statement] = [
        Let(wanted, Apply("cast", (Load(where, (affine(i),)),), INT64)),
        Check(inside, 7),
        Let(k, nearest if clamped else Ref(wanted)),
        Store(out, (affine(i),), Load(table, (affine(k),))),
    ]
    return Kernel("gather", (table, where), (out,), (loop("vector", i, size, body, 8),))


def two_pass_kernel(rows: int, columns: int, init: bool = True) -> Kernel:
    """exp(x) through scratch, and the sums of its columns in a loop inside the vector loop."""
    x = Buffer("x", FLOAT64, (rows, columns))
    out = Buffer("out", FLOAT64, (columns,))
    row = Buffer("row", FLOAT64, (rows, columns))
    i, j = Var("i", 0, rows - 1), Var("j", 0, columns - 1)
    at = (affine(i), affine(j))
    fill = Store(row, at, Apply("exp", (Load(x, at),), FLOAT64))
    total = Register("total", FLOAT64)
    column: list[Statement] = [
        Let(total, number(0, FLOAT64)),
        loop("serial", i, rows, [Update(total, "add", Load(row, at))]),
        Store(out, at[1:], Ref(total)),
    ]
    first = loop("serial", i, rows if init else 1, [loop("vector", j, columns, [fill], 4)])
    body = (Alloc(row), first, loop("vector", j, columns, column, 4))
    return Kernel("columns", (x,), (out,), body)


# values


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 37, 64])
@pytest.mark.parametrize("step", [1, 3, 16])
def test_elementwise_with_masked_tail(columns: int, step: int) -> None:
    x, y = floats(3, columns), floats(columns)
    (out,), code = run(relu_kernel(3, columns, step), x, y)
    assert code == 0
    np.testing.assert_array_equal(out, np.maximum(x + y * np.float32(2), np.float32(0)))


@pytest.mark.parametrize("size", [32, 33, 63, 100])
def test_sum_is_the_tree_that_the_kernel_spells(size: int) -> None:
    x = floats(size)
    (out,), _ = run(sum_kernel(size), x)
    lanes = np.full((2, LANES), np.float32(-0.0))
    whole = size - size % 32
    for start in range(0, whole, 32):
        lanes += x[start : start + 32].reshape(2, LANES)
    for place in range(whole, size):
        lanes[0, (place - whole) % LANES] += x[place]
    tree = list(lanes[0] + lanes[1])
    while len(tree) > 1:
        half = len(tree) // 2
        tree = [left + right for left, right in zip(tree[:half], tree[half:])]
    assert out == tree[0]
    assert out == pytest.approx(np.sum(x, dtype=np.float64), abs=1e-4)


def test_masked_lanes_keep_their_value() -> None:
    x = np.full(35, -3, np.float32)
    (out,), _ = run(sum_kernel(35, op="max"), x)
    assert out == -3


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_register_tile(dtype: DType) -> None:
    x = GENERATOR.standard_normal((3, 20)).astype(dtype)
    w = GENERATOR.standard_normal((20, 16)).astype(dtype)
    (out,), _ = run(tile_kernel(3, 20, 16, dtype), x, w)
    np.testing.assert_allclose(out, x.astype(float) @ w, rtol=0, atol=40 * np.finfo(dtype).eps)


def test_gather_and_check() -> None:
    table = floats(11)
    where = GENERATOR.integers(0, 11, 21).astype(np.int32)
    kernel = gather_kernel(21, 11)
    (out,), code = run(kernel, table, where)
    assert code == 0
    np.testing.assert_array_equal(out, table[where])
    where[[5, 20]] = 11, -1
    (out,), code = run(kernel, table, where)
    assert code == 7
    np.testing.assert_array_equal(out, table[np.clip(where, 0, 10)])


def test_first_failing_check_is_returned() -> None:
    x = Buffer("x", FLOAT32, (5,))
    i = Var("i", 0, 4)
    body: list[Statement] = [
        Check(binary("less", Load(x, (affine(i),)), number(3), BOOL), 1),
        Check(binary("less", Load(x, (affine(i),)), number(2), BOOL), 2),
    ]
    values = np.arange(5, dtype=np.float32)
    assert run(Kernel("checks", (x,), (), (loop("serial", i, 5, body),)), values)[1] == 2
    assert run(Kernel("checks", (x,), (), (loop("vector", i, 5, body, 8),)), values)[1] == 1
    assert run(Kernel("checks", (x,), (), (loop("vector", i, 2, body, 8),)), values)[1] == 0


@pytest.mark.parametrize("columns", [4, 7])
def test_scratch_and_a_loop_inside_a_vector_loop(columns: int) -> None:
    x = GENERATOR.standard_normal((5, columns))
    (out,), _ = run(two_pass_kernel(5, columns), x)
    expected = np.zeros(columns)
    for row in np.exp(x):
        expected += row
    np.testing.assert_array_equal(out, expected)


def test_scratch_is_garbage_before_it_is_written() -> None:
    (out,), _ = run(two_pass_kernel(5, 7, init=False), np.zeros((5, 7)))
    assert np.isnan(out).all()


def test_elements_of_register_arrays_can_be_made_one_by_one() -> None:
    x, out = Buffer("x", FLOAT32, (3, 5)), Buffer("out", FLOAT32, (3, 5))
    c = Register("c", FLOAT32, 8, (3,))
    r, j = Var("r", 0, 2), Var("j", 0, 4)
    at, element = (affine(r), affine(j)), (affine(r),)
    make = loop("vector", j, 5, [Let(c, Load(x, at), element)], 8)
    use = loop("vector", j, 5, [Store(out, at, Ref(c, element))], 8)
    body = (loop("unroll", r, 3, [make]), loop("unroll", r, 3, [use]))
    values = floats(3, 5)
    (found,), _ = run(Kernel("tiles", (x,), (out,), body), values)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("op", "dtype", "result", "value"),
    [
        ("cast", FLOAT64, INT32, 1e300),
        ("cast", FLOAT32, BOOL, 0.5),
        ("bitcast", FLOAT32, INT32, -0.0),
        ("erf", FLOAT64, FLOAT64, 0.25),
        ("neg", INT32, INT32, -(2**31)),
        ("not", BOOL, BOOL, True),
    ],
)
def test_an_op_is_the_same_on_scalars_and_lanes(
    op: str, dtype: DType, result: DType, value: Any
) -> None:
    x, out = Buffer("x", dtype, (5,)), Buffer("out", result, (5,))
    i = Var("i", 0, 4)
    store = Store(out, (affine(i),), Apply(op, (Load(x, (affine(i),)),), result))
    given = np.array([value, 0, 1, 1, value], dtype)
    (scalars,), _ = run(Kernel("op", (x,), (out,), (loop("serial", i, 5, [store]),)), given)
    (lanes,), _ = run(Kernel("op", (x,), (out,), (loop("vector", i, 5, [store], 4),)), given)
    np.testing.assert_array_equal(scalars, lanes)
    assert scalars[0] == scalars[4]


def _rounded(exact: Fraction, dtype: DType) -> Any:
    """The nearest float, ties to even, by comparing with the neighbours of a first guess."""
    guess = dtype.type(exact.numerator / exact.denominator)
    around = [np.nextafter(guess, dtype.type(end)) for end in (-np.inf, np.inf)]
    near = [value for value in (guess, *around) if np.isfinite(value)]
    unsigned = np.uint32 if dtype == FLOAT32 else np.uint64
    return min(near, key=lambda v: (abs(Fraction(float(v)) - exact), v.view(unsigned) & 1))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("scale", [0, -70, -1000])
def test_fma_rounds_once(dtype: DType, scale: int) -> None:
    scale = max(scale, -70) if dtype == FLOAT32 else scale
    x, y = (GENERATOR.standard_normal(400).astype(dtype) for _ in range(2))
    x = np.ldexp(x, scale).astype(dtype)
    z = -(x * y) * np.ldexp(dtype.type(1), GENERATOR.integers(-60, 60, 400)).astype(dtype)
    z[::3] = -(x * y)[::3]
    found = fused_multiply_add(x, y, z)
    exact = [
        Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)) for a, b, c in zip(x, y, z)
    ]
    np.testing.assert_array_equal(found, [_rounded(value, dtype) for value in exact])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_fma_of_special_values(dtype: DType) -> None:
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]
    x, y, z = np.array(list(itertools.product(special, repeat=3)), dtype).T
    with np.errstate(all="ignore"):
        found, expected = fused_multiply_add(x, y, z), x * y + z  # exact where nothing is rounded
        largest = np.array([np.finfo(dtype).max], dtype)
        assert fused_multiply_add(largest, largest, -largest) == np.inf
        assert fused_multiply_add(largest, largest, np.array([-np.inf], dtype)) == -np.inf
        assert fused_multiply_add(largest, dtype.type(2), -largest) == largest
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found)[found == 0], np.signbit(expected)[found == 0])


@pytest.mark.parametrize("step", [1, 4])
def test_one_index_counts_from_the_start(step: int) -> None:
    x, out = Buffer("x", FLOAT32, (3, 5)), Buffer("out", FLOAT32, (5, 3))
    i = Var("i", 0, 14)
    store = Store(out, (affine(i) * -1 + 14,), Load(x, (affine(i),)))
    values = floats(3, 5)
    kernel = Kernel("flat", (x,), (out,), (loop("vector", i, 15, [store], step),))
    (found,), _ = run(kernel, values)
    np.testing.assert_array_equal(found, values.reshape(-1)[::-1].reshape(5, 3))


# text


def test_text_of_vector_loops() -> None:
    assert str(relu_kernel()) == (
        "kernel relu(x: f32[3,37], y: f32[37]) -> (out: f32[3,37]):\n"
        "    parallel for i in 0..3:\n"
        "        vector for j in 0..37 step 16:\n"
        "            t: f32x16 = x[i, j] + (y[j] * 2.0)\n"
        "            out[i, j] = max(t, 0.0)"
    )


def test_text_of_accumulators() -> None:
    assert str(sum_kernel()) == (
        "kernel total(x: f32[100]) -> (out: f32[]):\n"
        "    # two accumulators: one would wait for each sum\n"
        "    partial: f32x16[2] = -0.0\n"
        "    for i in 0..96 step 32:\n"
        "        unroll for u in 0..2:\n"
        "            vector for j in 0..16 step 16:\n"
        "                partial[u] += x[i + 16*u + j]\n"
        "    vector for tail in 96..100 step 16:\n"
        "        partial[0] += x[tail]\n"
        "    total: f32x16 = partial[0]\n"
        "    total += partial[1]\n"
        "    out[] = fold(add, total)"
    )


# what the interpreter refuses


@pytest.mark.parametrize("kind", ["serial", "vector"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_active_index_out_of_range(kind: str, shift: int) -> None:
    x, out = Buffer("x", FLOAT32, (8,)), Buffer("out", FLOAT32, (8,))
    i = Var("i", 0, 7)
    step = 4 if kind == "vector" else 1
    load = Load(x, (affine(i) + shift,))
    kernel = Kernel(
        "shift", (x,), (out,), (loop(kind, i, 8, [Store(out, (affine(i),), load)], step),)
    )
    with pytest.raises(InternalError, match=r"kernel shift: x: f32\[8\] has no element"):
        interpret_kernel(kernel, {x: floats(8), out: floats(8)})


def test_register_out_of_its_bounds() -> None:
    kernel = gather_kernel(4, 5, clamped=False)
    arrays = floats(5), np.full(4, 9, np.int32), floats(4)
    with pytest.raises(InternalError, match="index register k"):
        interpret_kernel(kernel, dict(zip((*kernel.inputs, *kernel.outputs), arrays)))


def test_register_read_before_it_is_made() -> None:
    out = Buffer("out", FLOAT32, ())
    c = Register("c", FLOAT32, shape=(2,))
    body = (Let(c, number(0), (ZERO,)), Store(out, (), Ref(c, (Affine(1),))))
    with pytest.raises(InternalError, match=r"uses c\[1\] before"):
        interpret_kernel(Kernel("early", (), (out,), body), {out: np.zeros((), np.float32)})


def test_memory_of_another_shape() -> None:
    kernel = relu_kernel()
    with pytest.raises(InternalError, match="is given"):
        interpret_kernel(kernel, {buffer: floats(2, 2) for buffer in kernel.inputs})


# what the verifier refuses: a kernel body for each rule

X = Buffer("x", FLOAT32, (8,))
OUT = Buffer("out", FLOAT32, (8,))
SCRATCH = Buffer("scratch", FLOAT32, (8,))
KEYS = Buffer("keys", INT64, (8,))
TABLE = Buffer("table", FLOAT32, (2, 3))
J, K = Var("j", 0, 7), Var("k", 0, 7)
T = Register("t", FLOAT32)
WIDE = Register("wide", FLOAT32, 8)
ODD = Register("odd", FLOAT32, 6)
ARRAY = Register("array", FLOAT32, shape=(4,))
AT_K = (affine(K),)
ONE = number(1)
CARELESS = Register("careless", INT64, low=0, high=8)
REAL = Register("real", FLOAT32, high=3)


def copy(kind: str = "serial", step: int = 1) -> For:
    return loop(kind, K, 8, [Store(OUT, AT_K, Load(X, AT_K))], step)


def use(value: Expression) -> Store:
    return Store(OUT, (ZERO,), value)


RULES: dict[str, tuple[str, list[Statement]]] = {
    "register used before it is made": ("not made before", [use(Ref(T)), Let(T, ONE)]),
    "register used after its loop": (
        "not made before",
        [loop("serial", K, 8, [Let(T, ONE)]), use(Ref(T))],
    ),
    "register updated before it is made": ("not made before", [Update(T, "add", ONE)]),
    "register made twice": ("second time", [Let(T, ONE), Let(T, ONE)]),
    "buffer not in scope": ("not in scope", [use(Load(SCRATCH, (ZERO,)))]),
    "scratch used after its loop": (
        "not in scope",
        [loop("serial", K, 8, [Alloc(SCRATCH)]), use(Load(SCRATCH, (ZERO,)))],
    ),
    "scratch allocated twice": ("second time", [Alloc(SCRATCH), Alloc(SCRATCH)]),
    "variable used outside of its loop": ("outside of its loop", [use(Load(X, AT_K))]),
    "variable of a loop around": ("loop around", [loop("serial", K, 8, [copy()])]),
    "element index of a serial variable": (
        "not constant",
        [Let(ARRAY, ONE), loop("serial", K, 4, [Update(ARRAY, "add", ONE, AT_K)])],
    ),
    "element index out of range": (
        "not below 4",
        [Let(ARRAY, ONE), loop("unroll", K, 5, [Update(ARRAY, "add", ONE, AT_K)])],
    ),
    "element without an index": ("has the index", [Let(ARRAY, ONE), use(Ref(ARRAY))]),
    "index of a single register": ("has the index", [Let(T, ONE), use(Ref(T, (ZERO,)))]),
    "index of another rank": ("has the index", [use(Load(X, (ZERO, ZERO)))]),
    "flat index out of range": ("not below 6", [Alloc(TABLE), use(Load(TABLE, (Affine(6),)))]),
    "load out of range": ("1..8", [loop("serial", K, 8, [use(Load(X, (affine(K) + 1,)))])]),
    "load below zero": ("-1..6", [loop("serial", K, 8, [use(Load(X, (affine(K) + -1,)))])]),
    "store out of range": ("8..8", [Store(OUT, (Affine(8),), ONE)]),
    "register index out of range": (
        "0..8",
        [Let(CARELESS, number(0, INT64)), use(Load(X, (affine(CARELESS),)))],
    ),
    "index register that is not an integer": (
        "cannot be an index",
        [Let(REAL, ONE), use(Load(X, (affine(REAL),)))],
    ),
    "variable beyond its declared range": ("takes 0..8", [loop("serial", K, 9, [])]),
    "store to an input": ("neither an output", [Store(X, (ZERO,), ONE)]),
    "dtype of a store": ("f64 goes to out", [use(number(1, FLOAT64))]),
    "dtype of a register": ("i64 goes to t", [Let(T, number(1, INT64))]),
    "dtype of an update": ("f64 goes to t", [Let(T, ONE), Update(T, "add", number(1, FLOAT64))]),
    "dtype of a condition": ("f32 goes to a check", [Check(ONE, 1)]),
    "dtype of a literal": ("literal", [use(Literal(1.0, FLOAT32))]),
    "dtype of an index": (
        "index is of dtype",
        [use(Apply("cast", (Index(ZERO, INT32),), FLOAT32))],
    ),
    "dtypes of arguments": ("gives f32 from", [use(binary("add", ONE, number(1, FLOAT64)))]),
    "dtype that an op does not take": (
        "gives bool from",
        [Check(binary("add", number(1, BOOL), number(1, BOOL)), 1)],
    ),
    "dtype of a result": ("gives f32 from", [use(binary("less", ONE, ONE, FLOAT32))]),
    "dtypes of fma": ("gives f32 from", [use(Apply("fma", (ONE, ONE), FLOAT32))]),
    "dtype of where's condition": ("gives f32", [use(Apply("where", (ONE, ONE, ONE), FLOAT32))]),
    "width of a bitcast": ("gives f32", [use(Apply("bitcast", (number(1, FLOAT64),), FLOAT32))]),
    "unknown op": ("no op", [use(Apply("frobnicate", (ONE,), FLOAT32))]),
    "op that is not a map": ("no op", [use(Apply("reduce_sum", (ONE,), FLOAT32))]),
    "update by an op of one argument": ("combine", [Let(T, ONE), Update(T, "neg", ONE)]),
    "update by a comparison": ("combine", [Let(T, ONE), Update(T, "less", ONE)]),
    "update by an op of other dtypes": ("not take", [Let(T, ONE), Update(T, "and", ONE)]),
    "parallel loop inside another loop": (
        "top of the kernel",
        [loop("serial", J, 8, [copy("parallel")])],
    ),
    "parallel stores to the same elements": (
        "the same elements",
        [loop("parallel", K, 8, [use(ONE)])],
    ),
    "parallel update of a register outside": (
        "made outside",
        [Let(T, ONE), loop("parallel", K, 8, [Update(T, "add", ONE)])],
    ),
    "vector loop in a vector loop": (
        "stands in another",
        [loop("vector", J, 8, [copy("vector", 8)], 8)],
    ),
    "unknown kind": ("unknown kind", [copy("diagonal")]),
    "step of zero": ("below 1", [copy(step=0)]),
    "scratch in a vector loop": ("vector loop", [loop("vector", K, 8, [Alloc(SCRATCH)], 8)]),
    "update of a single lane in a vector loop": (
        "updated in a vector loop of 8 lanes",
        [Let(T, ONE), loop("vector", K, 8, [Update(T, "add", Load(X, AT_K))], 8)],
    ),
    "update of other lanes in a vector loop": (
        "updated in a vector loop of 4 lanes",
        [Let(WIDE, ONE), loop("vector", K, 8, [Update(WIDE, "add", ONE)], 4)],
    ),
    "register of other lanes in a vector loop": (
        "made in a loop of 4 lanes",
        [loop("vector", K, 8, [Let(WIDE, ONE)], 4)],
    ),
    "lanes combined with other lanes": (
        "4 and 8 lanes",
        [
            Let(WIDE, ONE),
            loop("vector", K, 8, [use(binary("add", Load(X, AT_K), Ref(WIDE)))], 4),
        ],
    ),
    "lanes in a single register": ("8 lanes go to", [Let(WIDE, ONE), Let(T, Ref(WIDE))]),
    "lanes updating a single register": (
        "8 lanes go to",
        [Let(WIDE, ONE), Let(T, ONE), Update(T, "add", Ref(WIDE))],
    ),
    "lanes in one element": ("one element", [Let(WIDE, ONE), use(Ref(WIDE))]),
    "lanes in a condition": (
        "condition has lanes",
        [Let(WIDE, ONE), Check(binary("less", Ref(WIDE), ONE, BOOL), 1)],
    ),
    "fold of an odd number of lanes": ("power of two", [Let(ODD, ONE), use(Fold("add", Ref(ODD)))]),
    "fold by a comparison": ("combine", [Let(WIDE, ONE), use(Fold("less", Ref(WIDE)))]),
}


@pytest.mark.parametrize("rule", RULES)
def test_verifier_refuses(rule: str) -> None:
    message, body = RULES[rule]
    kernel = Kernel("broken", (X,), (OUT,), tuple(body))
    with pytest.raises(InternalError, match="after fuse: kernel broken") as found:
        verify_kernel(kernel, after="fuse")
    assert message in str(found.value).split("\n")[0]


@pytest.mark.parametrize(
    "make",
    [copy, lambda: copy("parallel"), lambda: copy("vector", 3), lambda: copy("unroll")],
)
def test_verifier_accepts(make: Callable[[], For]) -> None:
    verify_kernel(Kernel("copy", (X,), (OUT,), (make(),)))


def test_verifier_skips_bounds_where_nothing_runs() -> None:
    verify_kernel(
        Kernel("empty", (X,), (OUT,), (loop("serial", K, 0, [use(Load(X, (Affine(9),)))]),))
    )


def test_transpose() -> None:
    """A square of registers, by NumPy's transpose."""
    x = Buffer("x", FLOAT32, (8, 8))
    out = Buffer("out", FLOAT32, (8, 8))
    square = Register("square", FLOAT32, 8, (8,))
    row, lane, other, last = (Var(name, 0, 7) for name in "rlom")
    at, place = (affine(row), affine(lane)), (affine(other), affine(last))
    load = loop("vector", lane, 8, [Let(square, Load(x, at), (affine(row),))], 8)
    store = loop("vector", last, 8, [Store(out, place, Ref(square, (affine(other),)))], 8)
    body = (
        loop("unroll", row, 8, [load]),
        Transpose(square),
        loop("unroll", other, 8, [store]),
    )
    values = floats(8, 8)
    (found,), _ = run(Kernel("transposed", (x,), (out,), body), values)
    np.testing.assert_array_equal(found, values.T)


def test_only_squares_are_transposed() -> None:
    oblong = Register("oblong", FLOAT32, 8, (4,))
    body = (Let(oblong, number(0.0), (ZERO,)), Transpose(oblong))
    with pytest.raises(InternalError, match="no square"):
        verify_kernel(Kernel("wrong", (), (), body))


def test_rotate() -> None:
    """Sums that take turns at one place: element k of x belongs to sum k modulo 3."""
    x, out = Buffer("x", FLOAT32, (8, 4)), Buffer("out", FLOAT32, (3, 4))
    sums = Register("sums", FLOAT32, 4, (3,))
    first, row, lane, which, last = (Var(n, 0, m) for n, m in zip("frlwm", (2, 7, 3, 2, 3)))
    add = Update(sums, "add", Load(x, (affine(row), affine(lane))), (ZERO,))
    store = Store(out, (affine(which), affine(last)), Ref(sums, (affine(which),)))
    body = (
        loop("unroll", first, 3, [Let(sums, number(0.0), (affine(first),))]),
        loop("serial", row, 8, [loop("vector", lane, 4, [add], 4), Rotate(sums, 1)]),
        Rotate(sums, 1),
        loop("unroll", which, 3, [loop("vector", last, 4, [store], 4)]),
    )
    values = floats(8, 4)
    (found,), _ = run(Kernel("turns", (x,), (out,), body), values)
    expected = [values[0] + values[3] + values[6], values[1] + values[4] + values[7]]
    np.testing.assert_array_equal(found, [*expected, values[2] + values[5]])


@pytest.mark.parametrize("by", [0, 4])
def test_only_arrays_rotate_and_not_all_the_way(by: int) -> None:
    array = Register("array", FLOAT32, 8, (4,))
    with pytest.raises(InternalError, match=f"cannot rotate by {by}"):
        verify_kernel(
            Kernel("wrong", (), (), (Let(array, number(0.0), (ZERO,)), Rotate(array, by)))
        )
