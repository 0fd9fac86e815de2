"""What NumPy asks of arrays that may be complex or laid out in any order: here neither is so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neurlang.frontend.array import Array, Operand, as_weak_array, asarray, reshape
from neurlang.frontend.axes import normalize_axes
from neurlang.frontend.creation import zeros_like
from neurlang.frontend.dispatch import unary
from neurlang.frontend.elementwise import arctan2, equal, multiply, not_equal
from neurlang.ir.types import Shape

# --- parts --------------------------------------------------------------------------------------

conjugate = conj = unary(
    "conjugate", np.conjugate, lambda x: x, "the complex conjugate, which is the number itself"
)


def real(val: Operand, /) -> Array:
    """The real part, which is `val` itself; a Python number stays one."""
    return as_weak_array(val)


def imag(val: Operand, /) -> Array:
    """The imaginary part of real numbers: zeros of the same shape and dtype."""
    x = as_weak_array(val)
    zero = zeros_like(x)
    return Array(zero.node, zero.traced_by, x.weak)


def angle(z: Operand, /, deg: bool = False) -> Array:
    """The angle to the positive axis: 0, or pi below 0, in radians or degrees; a float dtype."""
    radians = arctan2(0, asarray(z))
    return multiply(radians, 180 / math.pi) if deg else radians


def real_if_close(a: Operand, /, tol: float = 100) -> Array:
    """`a` itself, which is real."""
    return asarray(a)


def isreal(x: Operand, /) -> Array:
    """Whether elements have no imaginary part: True of the same shape, NaN included."""
    return equal(zeros_like(x), 0)


def iscomplex(x: Operand, /) -> Array:
    """Whether elements have an imaginary part: False of the same shape."""
    return not_equal(zeros_like(x), 0)


def isrealobj(x: Any, /) -> bool:
    """Whether the dtype is real, as that of every array here."""
    return isinstance(x, Array) or np.isrealobj(x)


def iscomplexobj(x: Any, /) -> bool:
    """Whether the dtype is complex, as that of no array here."""
    return not isrealobj(x)


# --- shape and layout ---------------------------------------------------------------------------


def ndim(a: Operand, /) -> int:
    """How many axes there are."""
    return asarray(a).ndim


def shape(a: Operand, /) -> Shape:
    """The sizes of the axes."""
    return asarray(a).shape


def size(a: Operand, /, axis: int | Sequence[int] | None = None) -> int:
    """How many elements there are, in all or along an axis or several."""
    array = asarray(a)
    if axis is None:
        return array.size
    return math.prod(array.shape[at] for at in normalize_axes("size", axis, array))


def copy(a: Operand, /) -> Array:
    """`a` as an array, which is a value that nothing changes; `order` and `subok` mean nothing."""
    return asarray(a)


def asanyarray(a: Operand, /, dtype: Any = None) -> Array:
    """`a` as an array; `order` means nothing here."""
    return asarray(a, dtype)


def ascontiguousarray(a: Operand, /, dtype: Any = None) -> Array:
    """`a` as an array with at least one axis."""
    array = asarray(a, dtype)
    return reshape(array, array.shape or (1,))


asfortranarray = ascontiguousarray


__all__ = """
    angle asanyarray ascontiguousarray asfortranarray conj conjugate copy imag iscomplex
    iscomplexobj isreal isrealobj ndim real real_if_close shape size
""".split()
