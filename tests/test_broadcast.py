"""`broadcast`: functions of one element, lifted over arrays, against the function in a loop."""

from __future__ import annotations

import numpy as np
import pytest
from against_numpy import interpreter, same, sample, traced
from expected_error import expected_error

import neurlang as nl
from neurlang import broadcast, where
from neurlang.errors import ConcreteValueError, ShapeError, SideEffectError

assert interpreter

ELEMENTWISE = {
    "sum": lambda a, b: a.sum() + b,
    "mean": lambda a, b: a.mean() * np.max(b),
    "std": lambda a, b: np.std(a) + b.prod(),
    "shapes": lambda a, b: np.reshape(a, (1, 1)).T[0].sum() - np.ravel(b)[0],
    "index": lambda a, b: a[()] + b[None][0],
    "stack": lambda a, b: np.stack([a, b * 2, -a]).max(),
    "order": lambda a, b: np.sort(np.stack([a, b, -b]))[1],
    "running": lambda a, b: np.cumsum(np.stack([a, b, a]))[-1],
    "repeat": lambda a, b: np.tile(a, (2, 3)).sum() + np.broadcast_to(b, (2, 2)).min(),
    "pad": lambda a, b: np.pad(np.stack([a, b]), 1).sum(),
    "windows": lambda a, b: np.lib.stride_tricks.sliding_window_view(np.stack([a, b, a]), 2).max(),
    "permuted": lambda a, b: np.stack([a, b, b, a]).reshape(2, 2).T.sum(axis=1)[0],
    "argmax": lambda a, b: np.argmax(np.stack([a, b])),
    "constant": lambda a, b: np.float32(3),
    "table": lambda a, b: nl.asarray(TABLE)[nl.astype(a, "int64")] + b + TABLE.sum(),
}
TABLE = np.arange(10.0)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_broadcast_functions_see_one_element(name):
    function = ELEMENTWISE[name]
    x, y = np.arange(4, dtype="float32")[:, None], sample((3,), "float64")
    expected = [[np.asarray(function(*map(nl.asarray, (a, b)))) for b in y] for a in x[:, 0]]
    if name not in ("table", "windows"):
        expected = [[function(np.asarray(a), np.asarray(b)) for b in y] for a in x[:, 0]]
    same(broadcast(function)(x, y), np.array(expected))
    same(traced(broadcast(function), x, y), np.array(expected))


def test_broadcast_inside_of_traces():
    x = sample((5,), "float32")
    same(traced(lambda v: broadcast(lambda a: a.sum() + v.max())(v), x), x + x.max())
    lifted = broadcast(broadcast(lambda a: a.sum() * 2))
    same(traced(lifted, x), x * 2)
    assert broadcast(lambda a: a.sum())(np.ones((0, 3))).shape == (0, 3)
    lazy = nl.asarray(x) * 2
    same(broadcast(lambda a: a + lazy.max())(x), x + (x * 2).max())


def test_broadcast_is_one_kernel():
    function = nl.jit(broadcast(lambda a, b: where(a.mean() > 0, a * b.sum(), np.reshape(a, 1)[0])))
    x = np.ones((3, 1), np.float32)
    assert function.lower(x, np.ones(5)).as_text().count("kernel ") == 1


def test_broadcast_checks_python_integers():
    x = np.arange(4, dtype=np.int8)
    shifted = nl.jit(broadcast(lambda a, n: a + (n + 1)))
    same(shifted(x, 3), x + 4)
    for function in (shifted, broadcast(lambda a, n: a + (n + 1))):
        with pytest.raises(OverflowError, match="128 out of bounds for int8"):
            function(x, 127)


def test_broadcast_refuses_what_is_not_elementwise():
    x = np.arange(5, dtype=np.float32)
    what = "a branch needs the value of bool[], which is only traced"
    hint = "use where(condition, a, b), or mark the argument static (static_argnames=)"

    def branch(a):
        return a if a > 0 else 0  # branch

    with expected_error(__file__, ConcreteValueError, what, "branch", hint):
        broadcast(branch)(x)
    with expected_error(__file__, ConcreteValueError, what, "branch", hint):
        traced(broadcast(branch), x)

    def product(a):
        row = np.reshape(a, (1, 1))
        return (row @ np.ones((1, 1))).sum()  # product

    what = "product takes dot of its elements, which broadcast cannot lift"
    hint = "a function that is broadcast must be elementwise: scalars in, scalars out"
    with expected_error(__file__, ShapeError, what, "product", hint):
        broadcast(product)(x)
    with pytest.raises(ShapeError, match=r"made f32\[2\] out of one element"):
        broadcast(lambda a: np.stack([a, a]))(x)
    with pytest.raises(SideEffectError, match="random numbers are drawn"):
        broadcast(lambda a: a + np.random.rand())(x)
