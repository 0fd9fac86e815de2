"""Products against NumPy: exact where integers, shapes by NumPy's rules, and lean graphs."""

from __future__ import annotations

import numpy as np
import pytest
from against_numpy import NUMBERS, both, interpreter, same, sample, traced

from neurlang.errors import ArgumentError, FormatError, ShapeError
from neurlang.frontend import contraction, linear, rearrange
from neurlang.frontend.array import Array, asarray

assert interpreter

ROUNDED = 256


def check(name, *args, **keywords):
    numpys = getattr(np, name, None) or getattr(np.linalg, name)
    module = next(m for m in (linear, rearrange) if name in m.__all__)
    both(getattr(module, name), numpys, *args, rtol=ROUNDED, **keywords)


def operations(x: Array) -> list[str]:
    return [node.op for node in x.graph.nodes if node.op not in ("param", "const")]


MATMUL_SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((1, 2, 3), (6, 3, 4)),
    ((6, 2, 3), (1, 3, 4)),
    ((5, 1, 2, 3), (1, 6, 3, 4)),
    ((6, 2, 3), (3,)),
    ((3,), (6, 3, 4)),
    ((7, 6, 1, 3), (7, 1, 3, 1)),
    ((2, 0), (0, 3)),
    ((0, 2), (2, 3)),
    ((0,), (0,)),
    ((4, 0, 2), (2, 3)),
    ((1, 1), (1, 1)),
    ((), (3,)),
    ((2, 3), (4, 3)),
    ((2, 1), (3, 2)),
    ((5, 2, 3), (4, 3, 2)),
    ((3,), (1,)),
]


@pytest.mark.parametrize("shapes", MATMUL_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_matmul(dtype, shapes):
    check("matmul", sample(shapes[0], dtype, 1), sample(shapes[1], dtype, 2))


@pytest.mark.parametrize("name", ["dot", "inner", "outer", "vdot", "vecdot", "kron", "matvec"])
@pytest.mark.parametrize("dtype", ["bool", "int16", "float64"])
def test_products(name, dtype):
    shapes = [(), (3,), (2, 3), (3, 2), (4, 3), (2, 3, 3), (0, 3), (5, 1, 3), (1,)]
    for left in shapes:
        for right in shapes:
            check(name, sample(left, dtype, 1), sample(right, dtype, 2))


def test_dtypes_promote():
    x, y = sample((2, 3), "int8"), sample((3, 4), "float32")
    for name in ("matmul", "dot", "tensordot"):
        if name != "tensordot":
            check(name, x, y)
        check(
            name,
            x.astype("uint64"),
            y.astype("int64"),
            **({"axes": 1} if name == "tensordot" else {}),
        )
    check("dot", 2.0, y)
    check("outer", 2.0, y)
    check("kron", 2, y)
    check("vecmat", sample((5, 3), "int32"), sample((3, 4), "int32"))
    both(linear.vecdot, np.vecdot, sample((3, 5), "int32"), sample((3, 1), "int32"), axis=0)


@pytest.mark.parametrize(
    "axes",
    [
        0,
        1,
        2,
        3,
        ((2,), (0,)),
        ((0, 1), (1, 0)),
        ((-1, 0), (0, 1)),
        (2, 0),
        ((0,), (0, 1)),
        ((0, 0), (0, 1)),
    ],
    ids=str,
)
def test_tensordot(axes):
    check("tensordot", sample((3, 4, 5), "int32", 1), sample((5, 4, 3), "int32", 2), axes)
    check("tensordot", sample((4, 3, 2), "int32", 1), sample((3, 4, 2), "int32", 2), axes)


EINSUMS = [
    ("i->", [(3,)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ji", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iji->j", [(3, 2, 3)]),
    ("iii->i", [(3, 3, 3)]),
    ("ijij->ij", [(2, 3, 2, 3)]),
    ("ii->i", [(2, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("i,i", [(3,), (3,)]),
    ("i,j", [(3,), (2,)]),
    ("i,j->ji", [(3,), (2,)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ij,jk->ki", [(2, 3), (3, 4)]),
    ("ij,kj->ik", [(2, 3), (4, 3)]),
    ("ji,jk->ik", [(3, 2), (3, 4)]),
    ("ij,ij->i", [(2, 3), (2, 3)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,ji->", [(2, 3), (3, 2)]),
    ("ij,j->i", [(2, 3), (3,)]),
    ("ij,i->j", [(2, 3), (2,)]),
    ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
    ("bij,jk->bik", [(5, 2, 3), (3, 4)]),
    ("ij,bjk->bik", [(2, 3), (5, 3, 4)]),
    ("ij,bjk->ibk", [(2, 3), (5, 3, 4)]),
    ("bqhd,bkhd->bhqk", [(2, 3, 4, 5), (2, 6, 4, 5)]),
    ("bhqk,bkhd->bqhd", [(2, 4, 3, 6), (2, 6, 4, 5)]),
    ("abc,cbd->ad", [(2, 3, 4), (4, 3, 5)]),
    ("abc,bcd->da", [(2, 3, 4), (3, 4, 5)]),
    ("aib,bja->ij", [(2, 3, 4), (4, 5, 2)]),
    ("abcd,bd->acd", [(2, 3, 4, 5), (3, 5)]),
    ("...ij,...jk->...ik", [(7, 2, 3), (3, 4)]),
    ("...ij,...jk->...ik", [(7, 1, 2, 3), (6, 3, 4)]),
    ("i...,i...->...", [(3, 4), (3, 4)]),
    ("i...->...", [(2, 3)]),
    ("...i,i->...", [(2, 5, 3), (3,)]),
    ("...,...", [(2, 3), (3,)]),
    (",ij->ij", [(), (2, 3)]),
    (",", [(), ()]),
    ("i,i->i", [(1,), (3,)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ii,i->i", [(3, 3), (3,)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,jk,kl", [(2, 3), (3, 4), (4, 5)]),
    ("a,b,c->abc", [(2,), (3,), (4,)]),
    ("ijk,i,j,k->", [(2, 3, 4), (2,), (3,), (4,)]),
    ("ij,ij,ij->j", [(2, 3), (2, 3), (2, 3)]),
    ("ab,bc,cd,da->", [(2, 3), (3, 4), (4, 5), (5, 2)]),
    ("bA,aB", [(2, 3), (2, 3)]),
    ("i j , j k -> i k", [(2, 3), (3, 4)]),
    ("ij->k", [(2, 3)]),
    ("ij->ii", [(2, 3)]),
    ("ij", [(2, 3, 4)]),
    ("ij,", [(2, 3)]),
    ("ij,jk", [(2, 3), (4, 5)]),
    ("i.j", [(2, 3)]),
    ("...i->i", [(2, 3)]),
    ("ijk", [(2, 3)]),
    ("i$->i", [(2, 3)]),
]


@pytest.mark.parametrize("subscripts, shapes", EINSUMS, ids=str)
@pytest.mark.parametrize("dtype", ["bool", "int8", "float64"])
def test_einsum(subscripts, shapes, dtype):
    arrays = [sample(shape, dtype, seed) for seed, shape in enumerate(shapes)]
    check("einsum", subscripts, *arrays)


def test_einsum_of_random_subscripts():
    random = np.random.default_rng(0)
    for _ in range(400):
        sizes = dict(zip("abcdef", random.integers(1, 4, 6)))
        terms = []
        for _ in range(random.integers(1, 4)):
            terms.append("".join(random.choice(list("abcdef"), random.integers(0, 4))))
        letters = sorted(set("".join(terms)))
        out = "".join(random.permutation(letters)[: random.integers(0, len(letters) + 1)])
        subscripts = ",".join(terms) + ("->" + out if random.random() < 0.8 else "")
        arrays = [sample(tuple(sizes[letter] for letter in term), "int64", 1) for term in terms]
        check("einsum", subscripts, *arrays)


def test_einsum_with_lists():
    x, y = sample((2, 3), "int32"), sample((3, 4), "int32")
    check("einsum", x, [0, 1], y, [1, 2])
    check("einsum", x, [0, 1], y, [1, 2], [2, 0])
    check("einsum", x, [Ellipsis, 1], [Ellipsis])
    check("einsum", "ij,jk", x, y, optimize=True)
    check("einsum", "ij,jk", x, y, dtype="float64")
    with pytest.raises(FormatError, match="no arrays"):
        contraction.einsum("i->")


def test_graphs_are_lean():
    x = asarray(np.ones((2, 3)))
    y = asarray(np.ones((3, 4)))
    batch = asarray(np.ones((5, 2, 3)))
    assert operations(linear.matmul(x, y)) == ["dot"]
    assert operations(linear.dot(x, y)) == ["dot"]
    assert operations(linear.tensordot(x, y, 1)) == ["dot"]
    assert operations(contraction.einsum("ij,jk->ik", x, y)) == ["dot"]
    assert operations(contraction.einsum("ij,jk->ki", x, y)) == ["transpose", "transpose", "dot"]
    assert operations(linear.matmul(batch, y)) == ["reshape", "dot", "reshape"]
    assert operations(linear.matmul(batch, np.ones((5, 3, 4)))) == ["dot"]
    assert operations(contraction.einsum("ij,kj->ik", x, x)) == ["transpose", "dot"]
    queries = asarray(np.ones((2, 3, 4, 5)))
    scores = contraction.einsum("bqhd,bkhd->bhqk", queries, queries)
    assert operations(scores) == ["transpose", "transpose", "dot"]
    assert operations(contraction.einsum("ij,ij->i", x, x)) == ["mul", "reduce_sum"]


def test_several_arrays_are_multiplied_cheapest_first():
    x, y, z = (asarray(np.ones(shape)) for shape in ((50, 2), (2, 50), (50, 1)))
    result = contraction.einsum("ij,jk,kl->il", x, y, z)
    assert all(node.type.size <= 100 for node in result.graph.nodes)
    result = linear.multi_dot([x, y, z])
    assert all(node.type.size <= 100 for node in result.graph.nodes)


def test_multi_dot():
    parts = [sample(shape, "int64", 1) for shape in ((3, 4), (4, 2), (2, 5), (5, 1))]
    check("multi_dot", parts)
    check("multi_dot", parts[:2])
    check("multi_dot", parts[:3])
    check("multi_dot", [parts[0][0], *parts[1:]])
    check("multi_dot", [parts[0][0], *parts[1:3], parts[3][:, 0]])
    check("multi_dot", parts[:1])
    check("multi_dot", [parts[0], parts[2]])


@pytest.mark.parametrize("offset", [-4, -2, 0, 1, 9])
def test_diagonals(offset):
    for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 4), (0, 3), (2, 0, 3)]:
        x = sample(shape, "int8")
        check("diagonal", x, offset)
        check("trace", x, offset)
        check("diagonal", x, offset, -1, 0)
        check("trace", x, offset, axis1=1, axis2=0, dtype="float32")
    check("diagonal", np.ones(3), offset)
    check("diagonal", np.ones((3, 3)), offset, 1, 1)


@pytest.mark.parametrize("power", [0, 1, 2, 3, 5, 8])
def test_matrix_power(power):
    check("matrix_power", sample((3, 3), "int64"), power)
    check("matrix_power", sample((2, 3, 3), "int32"), power)
    check("matrix_power", sample((2, 3), "int32"), power)


def test_cross():
    x, y = sample((4, 3), "int32", 1), sample((4, 3), "int32", 2)
    check("cross", x, y)
    check("cross", x[0], y)
    check("cross", x.T, y.T, axis=0)
    check("cross", x.T, y, axisa=0, axisc=0)
    with pytest.raises(ShapeError, match="size 3"):
        linear.cross([1, 2], [3, 4])


@pytest.mark.parametrize("dtype", NUMBERS)
def test_norms(dtype):
    x = sample((2, 3, 4), dtype)
    for ord in (None, 1, 2, 3, 0.5, 0, -1, np.inf, -np.inf, "fro", "nonsense"):
        check("norm", x[0, 0], ord)
        check("norm", x, ord, axis=1)
        check("norm", x, ord, axis=-1, keepdims=True)
        if ord != 2 and ord != -1:
            check("norm", x[0], ord)
            check("norm", x, ord, axis=(2, 0))
            check("norm", x, ord, axis=(0, 1), keepdims=True)
    check("norm", x)
    for number in (np.float64(3), x):
        for axis in ((), 0, None):
            check("norm", number, axis=axis)
            check("norm", number, 2, axis=axis)
    check("norm", x, 1)
    check("norm", np.ones((0, 3)), 1)
    check("norm", np.ones(0), np.inf)
    check("vector_norm", x, axis=(0, 1))
    check("vector_norm", x, ord=1)
    check("matrix_norm", x)
    check("matrix_norm", x, ord=1, keepdims=True)


def test_traced_products():
    x, y = sample((2, 3), "float32", 1), sample((3, 4), "float32", 2)
    same(traced(linear.matmul, x, y), x @ y, ROUNDED)
    same(traced(lambda a: contraction.einsum("ij,jk->ki", a, y), x), (x @ y).T, ROUNDED)


def test_errors_name_the_types():
    with pytest.raises(ShapeError, match=r"matmul cannot multiply f64\[2,3\] by f64\[2,3\]"):
        linear.matmul(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(FormatError, match="unknown or stands twice"):
        contraction.einsum("i->j", np.ones(3))
    with pytest.raises(ShapeError, match=r"sizes 3 and 4"):
        contraction.einsum("i,i", np.ones(3), np.ones(4))
    with pytest.raises(ArgumentError, match="n must be an integer"):
        linear.matrix_power(np.ones((2, 2)), 0.5)
