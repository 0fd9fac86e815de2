"""Products of vectors, matrices and tensors, under NumPy's names; all are sums of products.

Operands are brought to their common dtype, where Python scalars count as arrays. Integers wrap;
a product of bools is `or` of `and`s. Sizes that do not fit give a ShapeError, a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurlang.errors import DomainError, ShapeError
from neurlang.frontend.array import Array, Operand, apply, asarray, cast, constant, full, reshape
from neurlang.frontend.array import broadcast_to as repeat_to
from neurlang.frontend.axes import (
    as_integer,
    averaged_axes,
    move_axis,
    normalize_axes,
    normalize_axis,
    slice_axis,
)
from neurlang.frontend.contraction import Labels, contract, same_dtype
from neurlang.frontend.contraction import einsum as einsum
from neurlang.frontend.elementwise import multiply, subtract
from neurlang.frontend.manipulation import join
from neurlang.frontend.rearrange import diagonal
from neurlang.frontend.reducing import mean_dtype
from neurlang.frontend.reductions import count_nonzero
from neurlang.frontend.reductions import max as max_over
from neurlang.frontend.reductions import min as min_over
from neurlang.frontend.reductions import sum as sum_over
from neurlang.ir.types import Shape

# --- matrix products ----------------------------------------------------------------------------


def _batch_labels(x: Array, core: int) -> Labels:
    """Labels of the axes before the last `core`, counted so that they broadcast."""
    return tuple(range(core - x.ndim, 0))


def _with_axes(name: str, arrays: Sequence[Array], least: Sequence[int]) -> None:
    for x, count in zip(arrays, least):
        if x.ndim < count:
            types = " and ".join(str(each.node.type) for each in arrays)
            raise ShapeError(f"{name} of {types}", hint=f"it takes at least {count} axes")


def _broadcast_product(
    name: str, x1: Operand, x2: Operand, left: str, right: str, out: str
) -> Array:
    """A product over the axis "k", of the last axes that letters name; others broadcast."""
    x, y = same_dtype((x1, x2))
    _with_axes(name, (x, y), (len(left), len(right)))
    if x.shape[-1] != y.shape[right.index("k") - len(right)]:
        raise _mismatch(name, x, y)
    xs, ys = _batch_labels(x, len(left)), _batch_labels(y, len(right))
    batch = xs if len(xs) > len(ys) else ys
    return contract(name, x, (*xs, *left), y, (*ys, *right), (*batch, *out))


def matmul(x1: Operand, x2: Operand, /) -> Array:
    """The matrix product (..., m, k) by (..., k, n): (..., m, n); leading axes broadcast.

    A vector is a row on the left and a column on the right, and its axis disappears. ShapeError
    for scalars and sizes that do not fit.
    """
    x, y = same_dtype((x1, x2))
    _with_axes("matmul", (x, y), (1, 1))
    left, right = ("mk" if x.ndim > 1 else "k"), ("kn" if y.ndim > 1 else "k")
    out = left.replace("k", "") + right.replace("k", "")
    return _broadcast_product("matmul", x, y, left, right, out)


def _mismatch(name: str, x: Array, y: Array) -> ShapeError:
    return ShapeError(
        f"{name} cannot multiply {x.node.type} by {y.node.type}",
        hint="the last size of the first must be the last but one of the second, or its only one",
    )


def matvec(x1: Operand, x2: Operand, /) -> Array:
    """Matrices (..., m, k) by vectors (..., k): (..., m); leading axes broadcast."""
    return _broadcast_product("matvec", x1, x2, "mk", "k", "m")


def vecmat(x1: Operand, x2: Operand, /) -> Array:
    """Vectors (..., k) by matrices (..., k, n): (..., n); leading axes broadcast."""
    return _broadcast_product("vecmat", x1, x2, "k", "kn", "n")


def vecdot(x1: Operand, x2: Operand, /, axis: int = -1) -> Array:
    """Sums of products along one axis of both; the other axes broadcast."""
    x, y = asarray(x1), asarray(x2)
    _with_axes("vecdot", (x, y), (1, 1))
    x, y = (move_axis(each, normalize_axis("vecdot", axis, each), each.ndim - 1) for each in (x, y))
    return _broadcast_product("vecdot", x, y, "k", "k", "")


def dot(x1: Operand, x2: Operand, /) -> Array:
    """The sum of products over the last axis of `x1` and the last but one of `x2`.

    A vector has one axis, scalars multiply. The result has the other axes of `x1`, then of `x2`.
    """
    x, y = same_dtype((x1, x2))
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    summed = max(-2, -y.ndim) + y.ndim
    if x.shape[-1] != y.shape[summed]:
        raise _mismatch("dot", x, y)
    return _tensordot("dot", x, (x.ndim - 1,), y, (summed,))


def _tensordot(
    name: str, x: Array, axes_x: Sequence[int], y: Array, axes_y: Sequence[int]
) -> Array:
    """The sum of products over pairs of axes; labels are axes of x, then axes of y."""
    xs: Labels = tuple(range(x.ndim))
    pairs = dict(zip(axes_y, axes_x))
    ys: Labels = tuple(pairs.get(axis, x.ndim + axis) for axis in range(y.ndim))
    rows = tuple(axis for axis in xs if axis not in axes_x)
    columns = tuple(label for axis, label in enumerate(ys) if axis not in pairs)
    return contract(name, x, xs, y, ys, (*rows, *columns))


def tensordot(x1: Operand, x2: Operand, /, axes: Any = 2) -> Array:
    """The sum of products over pairs of axes, the other axes of `x1` first in the result.

    `axes` is n for the last n axes of `x1` with the first n of `x2`, or two lists of axes.
    """
    x, y = same_dtype((x1, x2))
    if np.ndim(axes) == 0 and not isinstance(axes, tuple | list):
        count = as_integer("tensordot", "axes", axes)
        if not 0 <= count <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot of {x.node.type} and {y.node.type} over {count} axes")
        first, second = tuple(range(x.ndim - count, x.ndim)), tuple(range(count))
    else:
        first = normalize_axes("tensordot", axes[0], x)
        second = normalize_axes("tensordot", axes[1], y)
    if [x.shape[axis] for axis in first] != [y.shape[axis] for axis in second]:
        raise ShapeError(
            f"tensordot of {x.node.type} over {list(first)} and {y.node.type} over {list(second)}",
            hint="sizes of the axes must agree in pairs",
        )
    return _tensordot("tensordot", x, first, y, second)


def inner(x1: Operand, x2: Operand, /) -> Array:
    """The sum of products over the last axes; scalars multiply."""
    x, y = same_dtype((x1, x2))
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    return tensordot(x, y, ((-1,), (-1,)))


def outer(x1: Operand, x2: Operand, /) -> Array:
    """All products of elements of the flattened arrays: (m, n)."""
    x, y = same_dtype((x1, x2))
    return multiply(reshape(x, (x.size, 1)), reshape(y, (1, y.size)))


def vdot(x1: Operand, x2: Operand, /) -> Array:
    """The sum of products of the flattened arrays, which have as many elements."""
    x, y = same_dtype((x1, x2))
    if x.size != y.size:
        raise ShapeError(f"vdot of {x.node.type} and {y.node.type}", hint="sizes must agree")
    return dot(reshape(x, (x.size,)), reshape(y, (y.size,)))


def multi_dot(arrays: Sequence[Operand], /) -> Array:
    """The matrix product of several arrays, bracketed for the least work.

    All are matrices, except that the first and the last may be vectors. Source: Cormen, Leiserson,
    Rivest, Stein, "Introduction to Algorithms", 2009, section 15.2.
    """
    matrices = same_dtype(arrays)
    wrong = [x for x in matrices[1:-1] if x.ndim != 2]
    wrong += [x for x in matrices[:1] + matrices[-1:] if x.ndim not in (1, 2)]
    if len(matrices) < 2 or wrong:
        types = ", ".join(str(x.node.type) for x in matrices)
        raise ShapeError(f"multi_dot of {types}", hint="give two matrices or more")
    first, last = matrices[0].ndim == 1, matrices[-1].ndim == 1
    if first:
        matrices[0] = reshape(matrices[0], (1, matrices[0].size))
    if last:
        matrices[-1] = reshape(matrices[-1], (matrices[-1].size, 1))
    result = _multiply_chain(matrices)
    kept = (() if first else result.shape[:1]) + (() if last else result.shape[1:])
    return reshape(result, kept)


def _multiply_chain(matrices: Sequence[Array]) -> Array:
    """cost(i, j) = least over k of cost(i, k) + cost(k, j) + rows(i) columns(k) columns(j)."""
    count = len(matrices)
    sizes = [matrices[0].shape[0], *(x.shape[1] for x in matrices)]
    cost = {(at, at + 1): 0 for at in range(count)}
    product = {(at, at + 1): x for at, x in enumerate(matrices)}
    cuts: dict[tuple[int, int], int] = {}
    for length in range(2, count + 1):
        for start in range(count - length + 1):
            stop = start + length
            costs = {
                cut: cost[start, cut] + cost[cut, stop] + sizes[start] * sizes[cut] * sizes[stop]
                for cut in range(start + 1, stop)
            }
            cuts[start, stop] = min(costs, key=lambda cut: costs[cut])
            cost[start, stop] = costs[cuts[start, stop]]
    pending = [(0, count)]
    while pending:
        start, stop = pending[-1]
        cut = cuts[start, stop]
        missing = [part for part in ((start, cut), (cut, stop)) if part not in product]
        if missing:
            pending.extend(missing)
            continue
        product[start, stop] = matmul(product[start, cut], product[cut, stop])
        pending.pop()
    return product[0, count]


def matrix_power(x: Operand, /, n: int) -> Array:
    """Square matrices (..., m, m) to the power of a known `n` >= 0, by repeated squaring."""
    array = asarray(x)
    exponent = as_integer("matrix_power", "n", n)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ShapeError(f"matrix_power of {array.node.type}", hint="it takes square matrices")
    if exponent < 0:
        raise DomainError("matrix_power to a negative power", hint="invert the matrix first")
    if exponent == 0:
        identity = constant(np.eye(array.shape[-1], dtype=array.dtype))
        return repeat_to(identity, array.shape)
    result: Array | None = None
    square = cast(array, array.dtype)
    while exponent:
        if exponent & 1:
            result = square if result is None else matmul(result, square)
        exponent >>= 1
        if exponent:
            square = matmul(square, square)
    assert result is not None
    return result


# --- other products -----------------------------------------------------------------------------


def kron(x1: Operand, x2: Operand, /) -> Array:
    """Kronecker's product: every element of `x1` times all of `x2`, as blocks."""
    x, y = same_dtype((x1, x2))
    ndim = max(x.ndim, y.ndim)
    left: Shape = (1,) * (ndim - x.ndim) + x.shape
    right: Shape = (1,) * (ndim - y.ndim) + y.shape
    blocks = reshape(x, tuple(size for each in left for size in (each, 1)))
    inside = reshape(y, tuple(size for each in right for size in (1, each)))
    return reshape(multiply(blocks, inside), tuple(a * b for a, b in zip(left, right)))


def cross(
    x1: Operand,
    x2: Operand,
    /,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Array:
    """The cross product of vectors of size 3 along an axis of each; the other axes broadcast."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = same_dtype((x1, x2))
    x = move_axis(x, normalize_axis("cross", axisa, x), x.ndim - 1)
    y = move_axis(y, normalize_axis("cross", axisb, y), y.ndim - 1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ShapeError(f"cross of {x.node.type} and {y.node.type}", hint="vectors have size 3")
    forward = multiply(_turn(x, 1), _turn(y, 2))
    product = subtract(forward, multiply(_turn(x, 2), _turn(y, 1)))
    return move_axis(product, product.ndim - 1, normalize_axis("cross", axisc, product))


def _turn(x: Array, by: int) -> Array:
    """The elements i + by of the last axis, modulo its size."""
    last = x.ndim - 1
    return join([slice_axis(x, last, by, 3 - by), slice_axis(x, last, 0, by)], last)


def trace(
    x: Operand, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Array:
    """The sum of a diagonal of two axes; dtypes as for `sum`."""
    return sum_over(diagonal(x, offset, axis1, axis2), -1, dtype)


# --- norms --------------------------------------------------------------------------------------


def norm(x: Operand, /, ord: Any = None, axis: Any = None, *, keepdims: bool = False) -> Array:
    """The norm of vectors along one axis, of matrices along two, or of all elements.

    Vectors: `ord` 2 or None the length, 1 the sum of magnitudes, inf and -inf the largest and
    smallest, 0 the count of nonzeros, else (sum |x|^ord)^(1/ord). Matrices: "fro" or None the root
    of the sum of squares, 1 and -1 the largest and smallest column sum of magnitudes, inf and -inf
    of rows. Without an axis and `ord` all elements are one vector. Integers count as float64.
    DomainError, a ValueError, for other `ord`, ShapeError for more than two axes.
    """
    array = asarray(x)
    array = cast(array, mean_dtype(array))
    axes = tuple(range(array.ndim)) if axis is None else normalize_axes("norm", axis, array)
    if ord is None and (axes or axis is None):
        return _length(array, axes, keepdims)
    match len(axes):
        case 1:
            return _vector_norm(array, ord, axes, keepdims)
        case 2:
            return _matrix_norm(array, ord, axes, keepdims)
    raise ShapeError(
        f"norm of {array.node.type} along {list(axes)}", hint="give one axis for vectors, or two"
    )


def vector_norm(x: Operand, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norm of vectors along `axis` (all of them make one vector), by the `ord` of `norm`."""
    array = asarray(x)
    array = cast(array, mean_dtype(array))
    return _vector_norm(array, ord, averaged_axes("vector_norm", axis, array), keepdims)


def matrix_norm(x: Operand, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of matrices in the last two axes, by the `ord` of `norm`."""
    return norm(x, ord, (-2, -1), keepdims=keepdims)


def _length(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return apply("sqrt", sum_over(apply("mul", x, x), axes, keepdims=keepdims))


def _vector_norm(x: Array, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    if isinstance(ord, str) or not isinstance(ord, int | float | np.number):
        raise DomainError(f"norm has no order {ord!r} for vectors", hint="use a number")
    if ord == 0:
        return cast(count_nonzero(x, axes, keepdims=keepdims), x.dtype)
    if ord == 2:
        return _length(x, axes, keepdims)
    magnitude = apply("abs", x)
    if ord == math.inf:
        return max_over(magnitude, axes, keepdims=keepdims, initial=0)
    if ord == -math.inf:
        return min_over(magnitude, axes, keepdims=keepdims)
    if ord == 1:
        return sum_over(magnitude, axes, keepdims=keepdims)
    powers = apply("pow", magnitude, full(x.shape, ord, x.dtype))
    total = sum_over(powers, axes, keepdims=keepdims)
    return apply("pow", total, full(total.shape, 1 / ord, x.dtype))


def _matrix_norm(x: Array, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Sums of magnitudes over one of two axes, then the extreme over the other."""
    row, column = axes
    if ord == "fro":
        return _length(x, axes, keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise DomainError(
            f"norm has no order {ord!r} for matrices", hint="use 'fro', 1, -1, inf or -inf"
        )
    summed, other = (row, column) if abs(ord) == 1 else (column, row)
    sums = sum_over(apply("abs", x), summed, keepdims=True)
    if ord > 0:
        result = max_over(sums, other, keepdims=True, initial=0)
    else:
        result = min_over(sums, other, keepdims=True)
    if keepdims:
        return result
    return reshape(result, tuple(size for at, size in enumerate(x.shape) if at not in axes))


__all__ = """
    cross dot einsum inner kron matmul matrix_norm matrix_power matvec multi_dot norm outer
    tensordot trace vdot vecdot vecmat vector_norm
""".split()
