"""Elements chosen by conditions, by membership, and by places that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurlang.errors import DomainError, DTypeError, IndexingError, NeurlangError, ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    as_operand,
    asarray,
    broadcast_to,
    cast,
    common_shape,
    convert,
    full,
    reshape,
    result_dtype,
)
from neurlang.frontend.axes import move_axis, normalize_axis
from neurlang.frontend.elementwise import equal, logical_not
from neurlang.frontend.indexing import take
from neurlang.frontend.manipulation import join, ravel
from neurlang.frontend.ordering import SMALL_SEARCH, known_value, searchsorted
from neurlang.frontend.rearrange import select as elements_at
from neurlang.ir.types import BOOL, INT64


def isin(
    element: Operand,
    test_elements: Operand,
    /,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Array:
    """Whether each element stands among `test_elements` too: bools of the shape of `element`.

    With `invert` whether it does not. NaN stands nowhere. A few are compared with all of them,
    more are sorted and searched; `assume_unique` and `kind` change nothing.
    """
    x, tests = asarray(element), ravel(test_elements)
    if not tests.size:
        found = full(x.shape, False, BOOL)
    elif tests.size <= SMALL_SEARCH:
        each = equal(reshape(x, (*x.shape, 1)), tests)
        found = apply("reduce_or", each, axes=(x.ndim,))
    else:
        dtype = result_dtype(x, tests)
        ordered = apply("sort", cast(tests, dtype))
        place = searchsorted(ordered, cast(x, dtype))
        place = apply("min", place, full(place.shape, tests.size - 1, INT64))
        found = equal(apply("gather", ordered, place, axis=0), x)
    return logical_not(found) if invert else found


def select(
    condlist: Sequence[Operand], choicelist: Sequence[Operand], default: Operand = 0
) -> Array:
    """From the choice of the first condition that holds, elementwise; `default` where none does.

    Conditions are bools; all broadcast together. The dtype is the common one of choices and
    default. ShapeError where there are not as many choices as conditions, or none.
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ShapeError(
            f"select of {len(choicelist)} choices by {len(condlist)} conditions",
            hint="give as many of both, at least one",
        )
    conditions = [asarray(condition) for condition in condlist]
    for condition in conditions:
        if condition.dtype != BOOL:
            raise DTypeError(
                f"select by a condition {condition.node.type}",
                hint="compare it, or use astype(bool)",
            )
    choices = [as_operand(choice) for choice in (*choicelist, default)]
    dtype = result_dtype(*choices)
    shape = common_shape("select", [*conditions, *choices])
    *values, result = (convert(choice, dtype, shape) for choice in choices)
    for condition, value in zip(reversed(conditions), reversed(values)):
        result = apply("where", broadcast_to(condition, shape), value, result)
    return result


def compress(condition: Operand, a: Operand, axis: int | None = None) -> Array:
    """The slices of `a` along `axis` where a known vector of conditions holds.

    Of all elements in order without an axis. ConcreteValueError for a traced condition, which
    would decide the shape; IndexingError where it is longer than the axis and holds there.
    """
    chosen = known("the condition of compress", condition)
    if chosen.ndim != 1:
        raise ShapeError(f"compress by a condition of {chosen.ndim} axes", hint="give a vector")
    return take(a, np.flatnonzero(chosen), axis)


def delete(arr: Operand, obj: Any, axis: int | None = None) -> Array:
    """`arr` without the slices of `axis` at known places: an integer, several, a slice or a mask.

    Without an axis `arr` is flattened. IndexingError for places out of range, ConcreteValueError
    for traced ones.
    """
    array, place = _with_axis("delete", arr, axis)
    kept = _places("delete", np.delete, np.arange(array.shape[place]), obj)
    if len(kept) == array.shape[place]:
        return array
    return elements_at(array, place, kept)


def insert(arr: Operand, obj: Any, values: Operand, axis: int | None = None) -> Array:
    """`arr` with `values` inserted before known places of `axis`, in the dtype of `arr`.

    Places are an integer, several, a slice or a mask, counted before anything is inserted; values
    broadcast to the slices that are new. Without an axis `arr` is flattened. IndexingError for
    places out of range, ConcreteValueError for traced ones.
    """
    array, place = _with_axis("insert", arr, axis)
    where = _known_places("insert", obj)
    added = asarray(values, array.dtype)
    added = reshape(added, (*(1,) * (array.ndim - added.ndim), *added.shape))
    positions = np.arange(array.shape[place])
    slots = len(_places("insert", np.insert, positions, where, 0)) - len(positions)
    if not isinstance(where, slice) and np.ndim(where) == 0:
        added = move_axis(added, 0, place)
    if slots == 1:
        slots = added.shape[place]
    shape = (*array.shape[:place], slots, *array.shape[place + 1 :])
    added = broadcast_to(added, shape)
    order = _places("insert", np.insert, positions, where, len(positions) + np.arange(slots))
    return elements_at(join([array, added], place), place, order)


# --- what is known ------------------------------------------------------------------------------


def known(what: str, x: Any) -> Any:
    """The NumPy array of a value that decides a shape; ConcreteValueError where it is traced."""
    if not isinstance(x, Array):
        return np.asarray(x)
    value = known_value(x)
    return x.value(what) if value is None else value


def _known_places(name: str, places: Any) -> Any:
    return known(f"{name} at places", places) if isinstance(places, Array) else places


def _places(name: str, function: Any, positions: Any, places: Any, *values: Any) -> Any:
    """What NumPy's function makes of positions; its errors as ours."""
    try:
        return function(positions, _known_places(name, places), *values)
    except IndexError as error:
        raise IndexingError(f"{name}: {error}") from None
    except ValueError as error:
        if isinstance(error, NeurlangError):
            raise
        raise DomainError(f"{name}: {error}") from None


def _with_axis(name: str, x: Operand, axis: int | None) -> tuple[Array, int]:
    """The array and one axis, nonnegative; without one the flattened array."""
    if axis is None:
        return ravel(x), 0
    array = asarray(x)
    return array, normalize_axis(name, axis, array)


__all__ = ["compress", "delete", "insert", "isin", "select"]
