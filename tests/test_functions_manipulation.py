"""Movement of elements against NumPy: every element in its place, for all shapes and dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from against_numpy import DTYPES, SHAPES, both, interpreter, same, sample, traced

import neurlang as nl
from neurlang.errors import ArgumentError, AxisError, DomainError, ShapeError
from neurlang.frontend import creation, manipulation, rearrange
from neurlang.frontend.array import Array, asarray

assert interpreter

EMPTY = [(0,), (0, 3), (2, 0, 4)]


def check(name, *args, **keywords):
    module = manipulation if name in manipulation.__all__ else rearrange
    numpys = getattr(np, name, None) or getattr(np.lib.stride_tricks, name)
    both(getattr(module, name), numpys, *args, **keywords)


@pytest.mark.parametrize("shape", SHAPES + EMPTY, ids=str)
def test_functions_without_arguments(shape):
    x = sample(shape, "int16")
    for name in "ravel squeeze transpose matrix_transpose flip fliplr flipud".split():
        check(name, x)
    for name in "atleast_1d atleast_2d atleast_3d rot90 unstack".split():
        check(name, x)
    check("ravel", x, order="F")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept(dtype):
    x = sample((3, 4), dtype)
    for name in "ravel transpose flip rot90 squeeze".split():
        check(name, x)
    check("roll", x, 2)
    check("pad", x, 1, constant_values=1)
    check("concatenate", [x, x])
    check("tile", x, 2)
    if dtype != "bool":
        check("diff", x)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "shape",
    [24, (24,), (-1,), (6, 4), (4, -1), (2, 3, 4), (2, -1, 2, 3), (5, 5), (-1, -1), (7, -1)],
)
def test_reshape(shape, order):
    check("reshape", sample((2, 3, 4), "int32"), shape, order=order)


def test_reshape_of_nothing():
    check("reshape", np.ones((0, 3)), (3, 0))
    check("reshape", np.ones((0, 3)), (-1,))
    check("reshape", np.ones((0, 3)), (-1, 3))
    check("reshape", np.ones((0, 3)), (0, -1))
    check("reshape", 5, (1, 1))
    check("reshape", np.ones(1), ())
    same(manipulation.flatten(np.ones((2, 2))), np.ones(4))


@pytest.mark.parametrize("axes", [(2, 0, 1), (-1, 0, 1), (0, 1, 2), (0, 1), (0, 0, 1), (3, 0, 1)])
def test_transpose(axes):
    x = sample((2, 3, 4), "float32")
    check("transpose", x, axes)
    check("permute_dims", x, axes)


def test_moving_axes():
    x = sample((2, 3, 4, 5), "int8")
    for source, destination in [
        (0, -1),
        (2, 0),
        ((0, 1), (-1, -2)),
        ((0, 1), (2, 2)),
        (0, (1, 2)),
        (4, 0),
    ]:
        check("moveaxis", x, source, destination)
    for first, second in [(0, 1), (-1, 0), (2, 2), (0, 4)]:
        check("swapaxes", x, first, second)
    for axis in range(-4, 5):
        for start in range(-5, 7):
            check("rollaxis", x, axis, start)


@pytest.mark.parametrize("axis", [0, 1, -1, 2, -3, (0, 1), (0, -1), (2, 0), (0, 0), 3, (0, 4)])
def test_expand_dims_and_squeeze(axis):
    check("expand_dims", sample((2, 3), "int32"), axis)
    check("squeeze", np.ones((1, 2, 1)), axis)


def test_broadcasting():
    x = sample((3, 1), "float32")
    for shape in [(3, 4), (2, 3, 1), (2, 3, 5), (3,), (4, 1), (0,)]:
        check("broadcast_to", x, shape)
    check("broadcast_to", 3, 4)
    check("broadcast_arrays", x, np.arange(4), 2)
    check("broadcast_arrays", x, np.ones((2, 2)))
    assert manipulation.broadcast_shapes((2, 1), 3, (1,)) == (2, 3)
    with pytest.raises(ShapeError, match="do not broadcast"):
        manipulation.broadcast_shapes((2,), (3,))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), ()], ids=str)
@pytest.mark.parametrize("name", "concatenate stack vstack hstack dstack column_stack".split())
def test_joining(name, shape):
    parts = [sample(shape, "int8", 1), sample(shape, "float32", 2), sample(shape, "int16", 3)]
    check(name, parts)
    check(name, parts[:1])
    check(name, [])
    if name in ("concatenate", "stack"):
        for axis in (0, -1, 1, 2, 5):
            check(name, parts, axis=axis)
        check(name, parts, axis=0, dtype="float64")


def test_joining_different_shapes():
    x, y = np.ones((2, 3)), np.ones((2, 2))
    check("concatenate", [x, y], 1)
    check("concatenate", [x, y], 0)
    check("concatenate", [x, y], axis=None)
    check("concatenate", [x, np.ones(3)])
    check("stack", [x, y])
    check("hstack", [x, y])
    check("column_stack", [np.arange(2), x])
    check("concatenate", [np.array([2**63], np.uint64), np.array([-1])])
    check("append", x, [[1, 2, 3]], axis=0)
    check("append", x, 5)
    same(manipulation.concat((x, y), axis=1), np.concatenate((x, y), axis=1))
    same(manipulation.concatenate(asarray(np.ones((2, 3, 4)))), np.ones((6, 4)))


@pytest.mark.parametrize(
    "cuts", [1, 2, 3, 4, 7, -1, [2], [1, 3], [3, 1], [-1], [0, 99], np.array([2, 4])]
)
def test_splitting(cuts):
    x = sample((6, 4), "int32")
    for axis in (0, 1):
        check("split", x, cuts, axis)
        check("array_split", x, cuts, axis)
    check("hsplit", x, cuts)
    check("vsplit", x, cuts)
    check("hsplit", x[0], cuts)
    check("vsplit", x[0], cuts)


def test_flip_and_rotate():
    x = sample((3, 4, 1), "float32")
    for axis in (None, 0, -1, (0, 1), (0, 0), 3):
        check("flip", x, axis)
    for k in range(-3, 6):
        check("rot90", x, k)
        check("rot90", x, k, (2, 0))
    check("rot90", x, 1, (1, 1))


def test_roll():
    x = sample((4, 5), "int32")
    for shift, axis in [
        (1, None),
        (-7, None),
        (0, 0),
        (2, 1),
        (-9, 1),
        ((1, 2), (0, 1)),
        (3, (0, 1)),
    ]:
        check("roll", x, shift, axis)
    check("roll", x, (1, 2), 0)
    check("roll", x, (1, 2, 3), (0, 1))
    check("roll", x[:0], 3, 0)
    check("roll", x[:0], 3)
    check("roll", x, 1, 2)


def test_tile_and_repeat():
    x = sample((2, 3), "int32")
    for reps in [2, (2,), (2, 3), (2, 1, 3), (0, 2), 1, ()]:
        check("tile", x, reps)
    check("tile", 3, (2, 2))
    check("tile", x[:0], (2, 3))
    for repeats, axis in [
        (2, None),
        (3, 0),
        (0, 1),
        ([1, 2], 0),
        ([0, 3, 1], 1),
        ([2], 1),
        ([1, 2], 1),
    ]:
        check("repeat", x, repeats, axis=axis)
    check("repeat", x, -1, axis=0)
    check("repeat", 5, 3)
    check("repeat", x, [4, 4], axis=-2)


@pytest.mark.parametrize(
    "width", [0, 1, (2, 1), ((1, 2), (0, 3)), ((5, 9), (7, 0)), ((3,), (1,)), -1]
)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap", "unheard of"])
def test_pad(mode, width):
    check("pad", sample((3, 4), "float32"), width, mode=mode)
    check("pad", sample((1, 2), "int16"), width, mode=mode)


def test_pad_with_constants():
    x = sample((2, 3), "int16")
    check("pad", x, 2, constant_values=7)
    check("pad", x, ((1, 2), (3, 0)), constant_values=((1, 2), (3, 4)))
    check("pad", x, 1, constant_values=(8, 9))
    check("pad", x, ((1, 2, 3),))
    check("pad", np.ones((0, 2)), 1)
    check("pad", np.ones((0, 2)), 1, mode="edge")
    check("pad", np.ones((0, 2)), ((0, 0), (1, 1)), mode="edge")
    check("pad", x, 1.5)


def test_diff():
    x = sample((4, 5), "int32")
    check("diff", x, 1, 2)
    for n in (0, 1, 2, 5, 6, -1):
        for axis in (0, -1):
            check("diff", x, n, axis)
    check("diff", x > 0)
    check("diff", x.astype(np.uint8))
    check("diff", x, prepend=0, append=x[:, :2])
    check("diff", 5)


def test_sliding_windows():
    x = sample((4, 5), "int32")
    for window, axis in [((2, 3), None), (2, 0), (3, -1), ((2, 2), (0, 0)), (9, 0), ((1, 1), 0)]:
        check("sliding_window_view", x, window, axis)
    check("sliding_window_view", x[0], 5)


def nodes_of(x: Array) -> list[str]:
    return [node.op for node in x.graph.nodes if node.op not in ("param", "const")]


def test_nothing_needless_is_recorded():
    x = asarray(np.ones((2, 3)))
    for result in [
        manipulation.reshape(x, (2, 3)),
        manipulation.transpose(x, (0, 1)),
        manipulation.moveaxis(x, 0, 0),
        manipulation.broadcast_to(x, (2, 3)),
        manipulation.concatenate([x]),
        rearrange.roll(x, 3, 1),
        rearrange.pad(x, 0),
        manipulation.split(x, 1)[0],
    ]:
        assert nodes_of(result) == []
    assert nodes_of(rearrange.pad(x, 2, mode="wrap")).count("gather") == 0


def test_traced_arrays_move_as_known_ones():
    x = sample((3, 4), "float32")
    same(traced(lambda a: rearrange.pad(a, 2, mode="reflect"), x), np.pad(x, 2, mode="reflect"))
    same(traced(lambda a: manipulation.stack([a, a], 1), x), np.stack([x, x], 1))


def test_errors_name_what_happened():
    x = asarray(np.ones((3, 4)))
    with pytest.raises(ShapeError, match=r"cannot reshape f64\[3,4\] into \[5, -1\]") as caught:
        manipulation.reshape(x, (5, -1))
    assert "test_functions_manipulation.py" in str(caught.value)
    with pytest.raises(AxisError, match="swapaxes: axis 2"):
        manipulation.swapaxes(x, 0, 2)
    with pytest.raises(DomainError, match="order"):
        manipulation.reshape(x, (12,), order="Z")
    with pytest.raises(DomainError, match="mode"):
        rearrange.pad(x, 1, mode="median")
    with pytest.raises(ArgumentError, match="a size must be an integer"):
        manipulation.reshape(x, (2.5, 3))


def test_python_numbers_are_joined_as_arrays():
    bytes_, singles = sample((4,), "int8"), sample((4,), "float32")
    check("append", bytes_, 300)
    check("append", singles, 2.5)
    check("append", 2.5, singles)
    check("append", bytes_, [300, 1])
    check("hstack", [singles, 2.5])
    check("hstack", [3, bytes_])
    check("stack", [np.float32(1), 2.5])
    check("stack", [2, np.int8(1)])
    check("vstack", [np.ones((1, 1), np.float32), 2.5])
    check("dstack", [np.float32(1), 2.5])
    check("column_stack", [np.ones(1, np.float32), 2.5])
    check("diff", bytes_, prepend=300)
    check("diff", singles, append=2.5)
    both(creation.array, np.array, [np.float32(1), 2.5])
    both(lambda x: creation.array([x[0], 2.5]), lambda x: np.array([x[0], 2.5]), singles)


VIEWS_OF_SCALARS = {
    "reshape": lambda lib, s: lib.reshape(s, (1,)),
    "reshape to itself": lambda lib, s: lib.reshape(s, ()),
    "ravel": lambda lib, s: lib.ravel(s),
    "squeeze": lambda lib, s: lib.squeeze(s),
    "squeeze an axis": lambda lib, s: lib.squeeze(s, axis=0),
    "transpose": lambda lib, s: lib.transpose(s),
    "permute_dims": lambda lib, s: lib.permute_dims(s),
    "expand_dims": lambda lib, s: lib.expand_dims(s, 0),
    "flip": lambda lib, s: lib.flip(s),
    "atleast_1d": lambda lib, s: lib.atleast_1d(s),
    "atleast_2d": lambda lib, s: lib.atleast_2d(s),
    "broadcast_to": lambda lib, s: lib.broadcast_to(s, (3,)),
    "broadcast_to itself": lambda lib, s: lib.broadcast_to(s, ()),
    "broadcast_arrays": lambda lib, s: lib.broadcast_arrays(s, s)[0],
    "meshgrid": lambda lib, s: lib.meshgrid(s, s)[0],
    "moveaxis": lambda lib, s: lib.moveaxis(s, (), ()),
    "tile": lambda lib, s: lib.tile(s, 3),
    "repeat": lambda lib, s: lib.repeat(s, 3),
    "roll": lambda lib, s: lib.roll(s, 1),
    "pad": lambda lib, s: lib.pad(s, 0),
    "array": lambda lib, s: lib.array(s) if lib is nl else np.array(s),
    "round": lambda lib, s: lib.round(s),
    "clip": lambda lib, s: lib.clip(s, 0, 9),
    "where": lambda lib, s: lib.where(True, s, s),
    "sum": lambda lib, s: lib.sum(s),
    "full": lambda lib, s: lib.full(3, s) if lib is nl else np.full(3, s),
    "nan_to_num": lambda lib, s: lib.nan_to_num(s),
}


@pytest.mark.parametrize("number", [2.5, 3])
@pytest.mark.parametrize("name", VIEWS_OF_SCALARS)
def test_what_functions_make_of_python_numbers_is_an_array(name, number):
    """Only operators keep a number weak: what a function returns has its own dtype, as NumPy's."""
    view = VIEWS_OF_SCALARS[name]
    vector = np.arange(3, dtype="float32")
    expected = view(np, number) * vector
    same(view(nl, number) * vector, expected)
    same(view(nl, nl.asarray(number)) * vector, expected)
    same(nl.jit(lambda s, x: view(nl, s) * x)(number, vector), expected)


@pytest.mark.parametrize("order", ["C", "F", "A", "K", "f", None, "Z"])
def test_orders_of_elements(order):
    x = sample((3, 4), "int16")
    for name in ("ravel", "flatten"):
        numpys = np.ravel if name == "ravel" else np.ndarray.flatten
        for each in (x, x[0], x[:, 1], x[::-1]):
            both(getattr(manipulation, name), numpys, each, order=order or "C")
    both(manipulation.reshape, np.reshape, x, (2, 6), order=order)
    computed = asarray(x) * 2 + np.arange(4)
    for letter in "AK":
        same(manipulation.ravel(computed, letter), (x * 2 + np.arange(4)).ravel(letter))


@pytest.mark.parametrize("turn", [np.transpose, lambda x: x.T + 1, lambda x: x[:, [1, 0]]])
def test_orders_that_ask_for_a_layout_which_is_not_known(turn):
    x = sample((3, 4), "int16")
    for order in "AK":
        with pytest.raises(ArgumentError, match="depends on how NumPy lays"):
            manipulation.ravel(turn(asarray(x)), order)


@pytest.mark.parametrize("axis", [True, False, np.True_, (True,), (0, True)])
def test_a_bool_is_no_axis(axis):
    x = np.ones((2, 3))
    both(nl.sum, np.sum, x, axis=axis)
    both(nl.argmax, np.argmax, x, axis=axis)
    both(nl.cumsum, np.cumsum, x, axis=axis)
    both(nl.squeeze, np.squeeze, np.ones((1, 1)), axis=axis)
    both(nl.zeros, np.zeros, (axis, 2) if isinstance(axis, bool) else axis)
