"""How an elementwise function is called: the dtypes that NumPy computes it in, then the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from neurlang.errors import DomainError, DTypeError
from neurlang.frontend.array import Array, Operand, apply, as_operand, common_shape, convert, full
from neurlang.ir.types import BOOL, FLOAT32, SHORT, DType, check_dtype

Kind = DType | type
Compute = Callable[..., Array]
Function = TypeVar("Function", bound=Callable[..., Any])
FLOAT16 = np.dtype("float16")
SAME_KIND = "same_kind"  # NumPy's rule for casts where none is given
CASTING = ("no", "equiv", "safe", SAME_KIND, "unsafe")


class Unary(Protocol):
    """A public function of one array."""

    def __call__(self, x: Operand, /, *, dtype: Any = None, casting: str = SAME_KIND) -> Array: ...


class Binary(Protocol):
    """A public function of two arrays."""

    def __call__(
        self, x1: Operand, x2: Operand, /, *, dtype: Any = None, casting: str = SAME_KIND
    ) -> Array: ...


class Comparison(Protocol):
    """A public function that compares two arrays."""

    def __call__(self, x1: Operand, x2: Operand, /, *, casting: str = SAME_KIND) -> Array: ...


def kind_of(operand: Operand) -> Kind:
    """What promotion sees of an operand: its dtype, or `int` or `float` where it is weak."""
    if isinstance(operand, Array):
        return operand.node.type.dtype if operand.weak is None else operand.weak
    return BOOL if isinstance(operand, bool) else type(operand)


@lru_cache(maxsize=8192)
def loop_dtypes(
    name: str,
    numpy: np.ufunc,
    kinds: tuple[Kind, ...],
    dtype: DType | None = None,
    casting: str = SAME_KIND,
) -> tuple[DType, ...]:
    """The dtypes of NumPy 2's inner loop, operands first; DTypeError where it has none for us.

    NumPy itself is asked, so that promotion is right by construction. float16 loops are run in
    float32 where the result is a bool, which is exact, and refused elsewhere.
    """
    if all(isinstance(kind, type) for kind in kinds):
        kinds = tuple(np.dtype(kind) for kind in kinds)  # no array decides: int64 and float64
    signature = (*(None,) * numpy.nin, *(dtype,) * numpy.nout)
    words = " and ".join(
        str(kind) if isinstance(kind, np.dtype) else kind.__name__ for kind in kinds
    )
    types = (*kinds, *(None,) * numpy.nout)
    try:
        # only the loosest rule is asked for: NumPy 2.4 crashes where it refuses by the others
        if casting == "unsafe":
            found = numpy.resolve_dtypes(types, signature=signature, casting="unsafe")
        else:
            found = numpy.resolve_dtypes(types, signature=signature)
    except TypeError:
        found = ()
    if not found or not _casts(kinds, found, casting):
        target = "" if dtype is None else f" as {dtype}"
        rule = "" if casting == SAME_KIND else f" with casting={casting!r}"
        raise DTypeError(
            f"{name} is not defined for {words}{target}{rule}", hint="convert with astype"
        )
    if all(result == BOOL for result in found[numpy.nin :]):
        found = tuple(FLOAT32 if each == FLOAT16 else each for each in found)
    if any(each not in SHORT for each in found):
        raise DTypeError(
            f"{name} of {words} is {found[-1]} in NumPy, which neurlang does not support",
            hint="convert with astype('float32') first",
        )
    return tuple(found)


def _casts(kinds: Sequence[Kind], found: Sequence[DType], casting: Any) -> bool:
    """Whether the rule lets operands become what the loop takes; Python numbers always may."""
    return casting == SAME_KIND or all(
        np.can_cast(kind, loop, casting)
        for kind, loop in zip(kinds, found)
        if isinstance(kind, np.dtype)
    )


def prepare(
    name: str,
    numpy: np.ufunc,
    operands: Sequence[Operand],
    dtype: Any = None,
    casting: str = SAME_KIND,
) -> list[Array]:
    """The operands brought to one shape, each in the dtype of NumPy's loop."""
    if casting not in CASTING:
        raise DomainError(
            f"{name} has no casting {casting!r}", hint=f"choose from {', '.join(CASTING)}"
        )
    lifted = [as_operand(operand) for operand in operands]
    wanted = None if dtype is None else check_dtype(dtype)
    loop = loop_dtypes(
        name, numpy, tuple([kind_of(operand) for operand in lifted]), wanted, casting
    )
    shape = common_shape(name, lifted)
    return [convert(operand, found, shape) for operand, found in zip(lifted, loop)]


def primitive(op: str) -> Compute:
    """The computation that is one primitive op."""

    def compute(*operands: Array) -> Array:
        return apply(op, *operands)

    return compute


def like(x: Array, value: Any) -> Array:
    """`value` in the shape and dtype of `x`."""
    return full(x.shape, value, x.dtype)


def unary(name: str, numpy: np.ufunc, compute: Compute, meaning: str) -> Unary:
    """The public function of one array that computes `compute` in the dtype of `numpy`."""

    def function(x: Operand, /, *, dtype: Any = None, casting: str = SAME_KIND) -> Array:
        return compute(*prepare(name, numpy, (x,), dtype, casting))

    return document(function, name, numpy, meaning)


def binary(name: str, numpy: np.ufunc, compute: Compute, meaning: str) -> Binary:
    """The public function of two arrays that computes `compute` in the dtypes of `numpy`."""

    def function(
        x1: Operand, x2: Operand, /, *, dtype: Any = None, casting: str = SAME_KIND
    ) -> Array:
        return compute(*prepare(name, numpy, (x1, x2), dtype, casting))

    return document(function, name, numpy, meaning)


def document(function: Function, name: str, numpy: np.ufunc, meaning: str) -> Function:
    """The function under its public name, with a docstring made of what it means."""
    texts = {
        "__name__": name,
        "__qualname__": name,
        "__module__": "neurlang.frontend.elementwise",
        "__doc__": DOCSTRINGS[numpy.nin].format(
            meaning=meaning[0].upper() + meaning[1:], numpy=numpy.__name__
        ),
    }
    for attribute, text in texts.items():
        setattr(function, attribute, text)
    return function


DOCSTRINGS = {
    1: """{meaning}, elementwise.

    `x` is an array or a scalar of any shape; the result has that shape and the dtype that
    `numpy.{numpy}` gives. A `dtype`, where it may be given, is the one that is computed in;
    `casting` is NumPy's rule for how operands get there. DTypeError where NumPy has no such dtype,
    or has float16.
    """,
    2: """{meaning}, elementwise.

    `x1` and `x2` are arrays or scalars that broadcast together; the result has their common shape
    and the dtype that `numpy.{numpy}` gives. A `dtype`, where it may be given, is the one that is
    computed in; `casting` is NumPy's rule for how operands get there. ShapeError where they do not
    broadcast, DTypeError where NumPy has no such dtype, or has float16.
    """,
}
