"""Shapes and dtypes of results, one rule per kind of op; the only place where they are checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neurlang.errors import AxisError, DTypeError, IndexingError, ShapeError, Where
from neurlang.ir.ops import CUMULATIVE, OPS, SCATTER_MODES, Op
from neurlang.ir.types import BOOL, INT64, Type

Rule = Callable[[Op, Sequence[Type], Mapping[str, Any]], Type]

KIND_WORDS = {"b": "bool", "i": "signed integers", "u": "unsigned integers", "f": "floats"}


def infer(
    op_name: str, types: Sequence[Type], attrs: Mapping[str, Any], where: Where | None = None
) -> Type:
    """The type of a node's result; ShapeError, DTypeError or AxisError where there is none."""
    op = OPS[op_name]
    if op.arity >= 0 and len(types) != op.arity:
        raise ShapeError(f"{op_name} takes {op.arity} arguments, not {len(types)}", where=where)
    for type in types[1:] if op_name == "where" else types:
        if type.dtype.kind not in op.accepts:
            words = " or ".join(KIND_WORDS[letter] for letter in op.accepts)
            raise DTypeError(
                f"{op_name} takes {words}, not {type}",
                where=where,
                hint="convert with astype",
            )
    rule = RULES.get(op_name) or RULES[op.kind]
    try:
        return rule(op, types, attrs)
    except (ShapeError, AxisError, DTypeError) as error:
        raise error.__class__(error.what, where=where, hint=error.hint) from None


def _map(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    first = types[-1]
    for type in types:
        if type.shape != first.shape:
            raise ShapeError(f"{op.name} takes equal shapes, not {', '.join(map(str, types))}")
    values = types[1:] if op.name == "where" else types
    if any(type.dtype != first.dtype for type in values):
        raise DTypeError(f"{op.name} takes equal dtypes, not {', '.join(map(str, types))}")
    if op.name == "where" and types[0].dtype != BOOL:
        raise DTypeError(f"where takes a bool condition, not {types[0]}")
    if op.name == "bitcast" and np.dtype(attrs["dtype"]).itemsize != first.dtype.itemsize:
        raise DTypeError(f"bitcast keeps the width: {first} is not {attrs['dtype']}")
    if op.result == "attr":
        return Type(np.dtype(attrs["dtype"]), first.shape)
    return Type(op.result_dtype(first.dtype), first.shape)


def _reduce(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    (source,) = types
    axes = attrs["axes"]
    if list(axes) != sorted(set(axes)) or any(not 0 <= a < source.ndim for a in axes):
        raise AxisError(f"{op.name} over axes {axes} of {source}")
    empty = any(source.shape[a] == 0 for a in axes)
    if empty and op.name in ("reduce_max", "reduce_min", "argmax", "argmin"):
        raise ShapeError(
            f"{op.name} of {source} over an axis of size 0 has no value",
            hint="give the reduction at least one element",
        )
    shape = tuple(size for axis, size in enumerate(source.shape) if axis not in axes)
    return Type(op.result_dtype(source.dtype), shape)


def _leaf(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    return Type(np.dtype(attrs["dtype"]), tuple(attrs["shape"]))


def _reshape(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    shape = tuple(attrs["shape"])
    if math.prod(shape) != types[0].size:
        raise ShapeError(
            f"cannot reshape {types[0]} into {list(shape)}",
            hint=f"the sizes must multiply to {types[0].size}",
        )
    return Type(types[0].dtype, shape)


def _transpose(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    axes = tuple(attrs["axes"])
    if sorted(axes) != list(range(types[0].ndim)):
        raise AxisError(f"transpose of {types[0]} by {list(axes)}")
    return Type(types[0].dtype, tuple(types[0].shape[a] for a in axes))


def _broadcast(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    shape = tuple(attrs["shape"])
    kept = shape[len(shape) - types[0].ndim :]
    fits = len(kept) == types[0].ndim and all(
        size in (1, wanted) for size, wanted in zip(types[0].shape, kept)
    )
    if not fits:
        raise ShapeError(
            f"cannot broadcast {types[0]} to {list(shape)}",
            hint="sizes must be equal or 1, counted from the last axis",
        )
    return Type(types[0].dtype, shape)


def _slice(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    (source,) = types
    for start, size, step, extent in zip(
        attrs["start"], attrs["size"], attrs["step"], source.shape, strict=True
    ):
        last = start + (size - 1) * step
        if size and not (0 <= start < extent and 0 <= last < extent):
            raise ShapeError(f"slice {start}:{last}:{step} leaves {source}")
    return Type(source.dtype, tuple(attrs["size"]))


def _window(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    (source,) = types
    shape = list(source.shape)
    parts = zip(attrs["axes"], attrs["size"], attrs["step"], attrs["dilation"], strict=True)
    for axis, size, step, dilation in parts:
        span = (size - 1) * dilation + 1
        if min(size, step, dilation) < 1 or not 0 <= axis < source.ndim:
            raise ShapeError(f"window of {source} along axis {axis}: {size} by {dilation}")
        if span > source.shape[axis]:
            raise ShapeError(
                f"a window over {span} elements is larger than axis {axis} of {source}",
                hint="pad the array, or take a smaller window",
            )
        shape[axis] = (source.shape[axis] - span) // step + 1
    if len(set(attrs["axes"])) != len(attrs["axes"]):
        raise AxisError(f"window of {source} along axes {attrs['axes']}: one stands twice")
    return Type(source.dtype, (*shape, *attrs["size"]))


def _pad(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    widths = zip(types[0].shape, attrs["low"], attrs["high"], strict=True)
    shape = tuple(size + low + high for size, low, high in widths)
    if any(low < 0 for low in (*attrs["low"], *attrs["high"])):
        raise ShapeError(f"pad of {types[0]} by a negative width", hint="slice instead")
    return Type(types[0].dtype, shape)


def _concat(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    axis = attrs["axis"]
    first = types[0]
    for type in types:
        same = type.shape[:axis] == first.shape[:axis]
        same = same and type.shape[axis + 1 :] == first.shape[axis + 1 :]
        if not same or type.dtype != first.dtype or type.ndim <= axis:
            raise ShapeError(
                f"concatenate of {', '.join(map(str, types))} along axis {axis}",
                hint="all sizes except along that axis must agree",
            )
    total = sum(type.shape[axis] for type in types)
    return Type(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _dot(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    left, right = types
    fits = left.ndim == right.ndim >= 2 and left.shape[:-2] == right.shape[:-2]
    if not fits or left.shape[-1] != right.shape[-2]:
        raise ShapeError(
            f"cannot multiply {left} by {right}",
            hint="the last size of the first must be the last but one of the second",
        )
    if left.dtype != right.dtype:
        raise DTypeError(f"dot takes equal dtypes, not {left} and {right}")
    return Type(left.dtype, (*left.shape[:-1], right.shape[-1]))


def _gather(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    if len(types) < 2:
        raise ShapeError("gather takes an array and indices of an axis, or of axes side by side")
    source, first, *more = types
    axis, after = attrs["axis"], attrs["axis"] + len(types) - 1
    for indices in (first, *more):
        if indices.dtype != INT64:
            raise DTypeError(f"gather takes int64 indices, not {indices}")
        if indices.shape != first.shape:
            raise ShapeError(f"gather takes indices of one shape, not {first} and {indices}")
    if not 0 <= axis < after <= source.ndim:
        axes = f"axis {axis}" if after == axis + 1 else f"axes {axis}..{after - 1}"
        raise AxisError(f"gather along {axes} of {source}")
    if 0 in source.shape[axis:after] and first.size:
        raise IndexingError(f"cannot take elements of {source} along an axis of size 0")
    return Type(source.dtype, (*source.shape[:axis], *first.shape, *source.shape[after:]))


def _scatter(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    base, indices, values = types
    if attrs["mode"] not in SCATTER_MODES:
        raise ShapeError(f"scatter has no mode {attrs['mode']!r}")
    if indices.dtype != INT64 or values.dtype != base.dtype:
        raise DTypeError(f"scatter of {values} at {indices} into {base}")
    if base.ndim == 0 or values.shape != indices.shape + base.shape[1:]:
        raise ShapeError(f"scatter of {values} at {indices} into {base}")
    return base


def _update(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    base, value = types
    region = {**attrs, "size": value.shape}
    _slice(op, [base], region)
    if value.dtype != base.dtype:
        raise DTypeError(f"update of {base} with {value}")
    return base


def _order(op: Op, types: Sequence[Type], attrs: Mapping[str, Any]) -> Type:
    (source,) = types
    if source.ndim == 0:
        raise AxisError(f"{op.name} of {source}: it has no axis")
    if op.name == "cumulative":
        if attrs["op"] not in CUMULATIVE:
            raise ShapeError(f"cumulative has no op {attrs['op']!r}")
        if not 0 <= attrs["axis"] < source.ndim:
            raise AxisError(f"cumulative along axis {attrs['axis']} of {source}")
    if op.name == "top_k":
        if not 0 <= attrs["count"] <= source.shape[-1]:
            raise ShapeError(f"top_k of {attrs['count']} of {source}")
        return Type(INT64, (*source.shape[:-1], attrs["count"]))
    return Type(INT64 if op.name == "argsort" else source.dtype, source.shape)


RULES: dict[str, Rule] = {
    "map": _map,
    "reduce": _reduce,
    "leaf": _leaf,
    "order": _order,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "slice": _slice,
    "window": _window,
    "pad": _pad,
    "concat": _concat,
    "dot": _dot,
    "gather": _gather,
    "scatter": _scatter,
    "update": _update,
}
