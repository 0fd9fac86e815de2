"""Arrays made from sizes, ranges and values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurlang.errors import AxisError, ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    as_weak_array,
    broadcast_to,
    cast,
    promote,
    reshape,
    result_dtype,
)
from neurlang.frontend.array import asarray as strong_array
from neurlang.frontend.array import full as splat
from neurlang.frontend.axes import as_integer, as_integers
from neurlang.frontend.elementwise import add, divide, equal, multiply, power, subtract, where
from neurlang.frontend.indexing import getitem, update
from neurlang.ir.types import BOOL, FLOAT64, INT64, DType, Shape, check_dtype

LARGEST_LITERAL = 64  # elements of a range that are written as a constant, not computed


def as_shape(shape: Any) -> Shape:
    """A shape given as one size or as a sequence; ShapeError for negative sizes."""
    found = as_integers("a shape", "a size", shape)
    if any(size < 0 for size in found):
        raise ShapeError(f"shape {list(found)} has a negative size")
    return found


# --- one value ----------------------------------------------------------------------------------


def full(shape: Any, fill_value: Operand, dtype: Any = None) -> Array:
    """An array of `shape` with `fill_value` everywhere; the value may be traced, and broadcasts.

    The dtype is that of the value unless `dtype` is given. ShapeError for negative sizes.
    """
    sizes = as_shape(shape)
    if isinstance(fill_value, Array | list | tuple | np.ndarray):
        value = strong_array(fill_value)
        return broadcast_to(strong_array(fill_value, dtype or value.dtype), sizes)
    found = np.asarray(fill_value).dtype if dtype is None else dtype
    return splat(sizes, fill_value, check_dtype(found))


def zeros(shape: Any, dtype: Any = float) -> Array:
    """An array of `shape` filled with 0, float64 unless `dtype` is given."""
    return full(shape, 0, dtype or float)


def ones(shape: Any, dtype: Any = float) -> Array:
    """An array of `shape` filled with 1, float64 unless `dtype` is given."""
    return full(shape, 1, dtype or float)


def empty(shape: Any, dtype: Any = float) -> Array:
    """An array of `shape` whose values mean nothing (they are 0)."""
    return zeros(shape, dtype)


def full_like(x: Operand, fill_value: Operand, dtype: Any = None, shape: Any = None) -> Array:
    """`fill_value` in the shape and dtype of `x`, unless others are given."""
    like = strong_array(x)
    return full(like.shape if shape is None else shape, fill_value, dtype or like.dtype)


def zeros_like(x: Operand, dtype: Any = None, shape: Any = None) -> Array:
    """Zeros in the shape and dtype of `x`, unless others are given."""
    return full_like(x, 0, dtype, shape)


def ones_like(x: Operand, dtype: Any = None, shape: Any = None) -> Array:
    """Ones in the shape and dtype of `x`, unless others are given."""
    return full_like(x, 1, dtype, shape)


def empty_like(x: Operand, dtype: Any = None, shape: Any = None) -> Array:
    """Values that mean nothing in the shape and dtype of `x`, unless others are given."""
    return zeros_like(x, dtype, shape)


def asarray(x: Operand, dtype: Any = None) -> Array:
    """`x` as an Array: a NumPy array or scalar, a Python scalar, an Array, or nested lists.

    The value is copied: later changes of `x` do not show. DTypeError for dtypes that neurlang
    does not support. Python scalars stay weakly typed unless `dtype` is given. RangeError where
    `dtype` does not hold a Python integer. ShapeError for ragged lists.
    """
    return as_weak_array(x) if dtype is None else strong_array(x, dtype)


def array(x: Operand, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0) -> Array:
    """`x` as an array of at least `ndmin` axes; lists may hold traced arrays.

    Arrays are values, so `copy` changes nothing. DTypeError for dtypes that are not supported.
    """
    found = strong_array(x, dtype)
    return reshape(found, (*(1,) * (ndmin - found.ndim), *found.shape))


# --- ranges -------------------------------------------------------------------------------------


def _iota(shape: Shape, axis: int, dtype: DType = INT64) -> Array:
    return apply("iota", shape=shape, axis=axis, dtype=dtype)


def _same_bits(left: Any, right: Any) -> bool:
    return bool(left.dtype == right.dtype and left.tobytes() == right.tobytes())


def _known(number: Any) -> Any:
    return number.value("an index or a range") if isinstance(number, Array) else number


def arange(
    start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, *, like: None = None
) -> Array:
    """start, start + step, ... below `stop`, bit for bit NumPy's; one argument is the stop.

    The arguments are numbers known when the function is traced, for they decide the shape.
    """
    if stop is None:
        start, stop = 0, start
    first, limit, difference = (_known(each) for each in (start, stop, 1 if step is None else step))
    if all(type(each) is int for each in (first, limit, difference)) and difference:
        found = check_dtype(dtype or INT64)
        count = len(range(first, limit, difference))
        if found.kind in "iu" and count > LARGEST_LITERAL:
            start_of_range = np.array([first, first + difference], found)
            return _steps(_iota((count,), 0, found), start_of_range)
    values = np.arange(first, limit, difference, dtype=dtype)
    found = check_dtype(values.dtype)
    if values.size <= LARGEST_LITERAL or found == BOOL:
        return strong_array(values)
    with np.errstate(all="ignore"):
        index = np.arange(values.size).astype(found)
        computed = values[0] + index * (values[1] - values[0])
    if not _same_bits(computed, values):
        return strong_array(values)
    return _steps(_iota(values.shape, 0, found), values)


def _steps(index: Array, values: Any) -> Array:
    """first + index * difference of two neighbours, without what changes no bit; integers wrap."""
    first = values[0]
    with np.errstate(over="ignore"):
        difference = values[1] - first
    if difference != 1:
        index = apply("mul", index, splat(index.shape, difference, index.dtype))
    if first == 0 and index.dtype.kind != "f":
        return index
    return apply("add", splat(index.shape, first, index.dtype), index)


def linspace(
    start: Operand,
    stop: Operand,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` numbers from `start` to `stop` at equal distances; `stop` left out without `endpoint`.

    Known numbers give NumPy's bits; `start` and `stop` may be traced arrays as well, and then
    broadcast. With `retstep`, also the distance. ShapeError for a negative `num`.
    """
    num = operator.index(num)
    if num < 0:
        raise ShapeError(f"linspace of {num} numbers", hint="give a count that is not negative")
    if isinstance(start, Array) or isinstance(stop, Array):
        return _traced_linspace(start, stop, num, endpoint, retstep, dtype, axis)
    values, step = np.linspace(start, stop, num, endpoint, retstep=True, dtype=dtype, axis=axis)
    result = _linspace_steps(values, start, stop, step, endpoint)
    return (result, step) if retstep else result


def _linspace_steps(values: Any, start: Any, stop: Any, step: Any, endpoint: bool) -> Array:
    """index * step + start with the last replaced, where that has NumPy's bits; else a constant."""
    if values.size <= LARGEST_LITERAL or values.ndim != 1 or values.dtype != FLOAT64:
        return strong_array(values)
    computed = np.arange(values.size, dtype=FLOAT64) * step + start
    if endpoint:
        computed[-1] = stop
    if not _same_bits(computed, values):
        return strong_array(values)
    index = _iota(values.shape, 0, FLOAT64)
    line = apply("mul", index, splat(values.shape, step, FLOAT64))
    line = apply("add", line, splat(values.shape, start, FLOAT64))
    if not endpoint:
        return line
    last = apply("equal", index, splat(values.shape, values.size - 1, FLOAT64))
    return apply("where", last, splat(values.shape, stop, FLOAT64), line)


def _traced_linspace(
    start: Operand, stop: Operand, num: int, endpoint: bool, retstep: bool, dtype: Any, axis: int
) -> Any:
    """index * step + start along a new axis, in the dtype of both ends with a float."""
    found = check_dtype(np.result_type(result_dtype(start, stop), 0.0))
    first, last = promote("linspace", (start, stop), found)
    between = max(num - 1, 1) if endpoint else max(num, 1)
    step = divide(subtract(last, first), between)
    shape = (num, *first.shape)
    index = _iota(shape, 0, found)
    line = add(multiply(index, step), first)
    if endpoint and num > 1:
        line = where(equal(index, num - 1), last, line)
    axis = axis % line.ndim
    order = (*range(1, axis + 1), 0, *range(axis + 1, line.ndim))
    if axis:
        line = apply("transpose", line, axes=order)
    result = cast(line, check_dtype(dtype or found))
    return (result, step) if retstep else result


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Array:
    """base**start to base**stop in `num` equal ratios; of known numbers bit for bit NumPy's.

    `start` and `stop` may be traced. `dtype` and `axis` as for `linspace`.
    """
    if isinstance(start, Array) or isinstance(stop, Array):
        line = power(base, linspace(start, stop, num, endpoint, axis=axis))
        return cast(line, check_dtype(dtype or line.dtype))
    return strong_array(np.logspace(start, stop, num, endpoint, base, dtype, axis))


def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Array:
    """`start` to `stop` in `num` equal ratios, bit for bit NumPy's, from known numbers."""
    return strong_array(np.geomspace(_known(start), _known(stop), num, endpoint, dtype, axis))


# --- diagonals and triangles --------------------------------------------------------------------


def _column_against_row(op: str, shape: Shape, offset: int) -> Array:
    """Whether `op` holds between column and row + offset: bools of a matrix's shape."""
    row = apply("add", _iota(shape, 0), splat(shape, offset, INT64))
    return apply(op, _iota(shape, 1), row)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Array:
    """Ones on the diagonal `k` columns right of the main one, else zeros: shape (N, M or N)."""
    sizes = as_shape((N, N if M is None else M))
    above = as_integer("eye", "k", k)
    return cast(_column_against_row("equal", sizes, above), check_dtype(dtype or float))


def identity(n: int, dtype: Any = None) -> Array:
    """The identity matrix of shape (n, n), float64 unless `dtype` is given."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Array:
    """Ones on and below the diagonal `k`, else zeros: shape (N, M or N)."""
    sizes = as_shape((N, N if M is None else M))
    above = as_integer("tri", "k", k)
    return cast(_column_against_row("less_equal", sizes, above), check_dtype(dtype or float))


def tril(m: Operand, k: int = 0) -> Array:
    """`m` with zeros above the diagonal `k` of its last two axes; same shape and dtype."""
    x = _matrices("tril", m)
    kept = _column_against_row("less_equal", x.shape[-2:], as_integer("tril", "k", k))
    return where(kept, x, splat((), 0, x.dtype))


def triu(m: Operand, k: int = 0) -> Array:
    """`m` with zeros below the diagonal `k` of its last two axes; same shape and dtype."""
    x = _matrices("triu", m)
    below = _column_against_row("less_equal", x.shape[-2:], as_integer("triu", "k", k) - 1)
    return where(below, splat((), 0, x.dtype), x)


def _matrices(name: str, m: Operand) -> Array:
    """`m`, a row of it repeated to a square as NumPy does."""
    x = strong_array(m)
    if x.ndim == 0:
        raise AxisError(f"{name} takes an array with an axis, not {x.node.type}")
    return broadcast_to(x, (x.shape[0], x.shape[0])) if x.ndim == 1 else x


def diag(v: Operand, k: int = 0) -> Array:
    """The diagonal `k` of a matrix, or the matrix that has the vector `v` on its diagonal `k`.

    ShapeError for other numbers of axes.
    """
    x = strong_array(v)
    k = as_integer("diag", "k", k)
    if x.ndim == 2:
        rows, columns = x.shape
        first_row, first_column = max(0, -k), max(0, k)
        count = max(0, min(rows - first_row, columns - first_column))
        flat = reshape(x, (x.size,))
        start = first_row * columns + first_column
        stop = start + (count - 1) * (columns + 1) + 1 if count else start
        return getitem(flat, slice(start, stop, columns + 1))
    if x.ndim != 1:
        raise ShapeError(f"diag takes one or two axes, not {x.node.type}")
    size = x.size + abs(k)
    start = max(0, k) + max(0, -k) * size
    flat = splat((size * size,), 0, x.dtype)
    stop = start + x.size * (size + 1)
    return reshape(update(flat, slice(start, stop, size + 1), x), (size, size))


def diagflat(v: Operand, k: int = 0) -> Array:
    """The matrix that has the elements of `v`, in order, on its diagonal `k`."""
    x = strong_array(v)
    return diag(reshape(x, (x.size,)), k)


# --- grids --------------------------------------------------------------------------------------


def meshgrid(*xi: Operand, indexing: str = "xy", sparse: bool = False, copy: bool = True) -> Any:
    """Coordinate arrays of a grid: one for each vector, in a tuple.

    With "xy" the first two axes are swapped, with "ij" not. With `sparse` they are not repeated.
    """
    if indexing not in ("xy", "ij"):
        raise ShapeError(f"meshgrid has no indexing {indexing!r}", hint="use 'xy' or 'ij'")
    vectors = [strong_array(x) for x in xi]
    axes = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        axes[:2] = [1, 0]
    shape = [0] * len(vectors)
    for axis, vector in zip(axes, vectors):
        shape[axis] = vector.size
    grids = []
    for axis, vector in zip(axes, vectors):
        line = [1] * len(vectors)
        line[axis] = vector.size
        row = reshape(vector, tuple(line))
        grids.append(row if sparse else broadcast_to(row, tuple(shape)))
    return tuple(grids)


def indices(dimensions: Sequence[int], dtype: Any = int, sparse: bool = False) -> Any:
    """The index along each axis of a grid: shape (axes, *dimensions), or a tuple with `sparse`."""
    shape = as_shape(dimensions)
    found = check_dtype(dtype)
    if sparse:
        axes = range(len(shape))
        lines = [tuple(shape[axis] if axis == each else 1 for each in axes) for axis in axes]
        return tuple(cast(_iota(line, axis), found) for axis, line in zip(axes, lines))
    if not shape:
        return splat((0,), 0, found)
    rows = [cast(_iota((1, *shape), axis + 1), found) for axis in range(len(shape))]
    return apply("concat", *rows, axis=0)


def fromfunction(
    function: Callable[..., Any], shape: Sequence[int], *, dtype: Any = float, **kwargs: Any
) -> Any:
    """`function` called with the index arrays of each axis of `shape`; what it returns."""
    sizes = as_shape(shape)
    found = check_dtype(dtype)
    rows = [cast(_iota(sizes, axis), found) for axis in range(len(sizes))]
    return function(*rows, **kwargs)


__all__ = """
    arange array asarray diag diagflat empty empty_like eye fromfunction full full_like geomspace
    identity indices linspace logspace meshgrid ones ones_like tri tril triu zeros zeros_like
""".split()
