"""What is known of views: two in a row are often one, and some are none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from neurlang.ir.graph import Node, make_constant
from neurlang.passes.rules import Make, make_plainly

ViewRule = Callable[[Node, Make], Node | None]


def _simpler_reshape(node: Node, make: Make) -> Node | None:
    """reshape(reshape(x)) is one reshape, and none where the shape is the source's."""
    (source,) = node.args
    if source.shape == node.shape:
        return source
    if source.op == "reshape":
        return make("reshape", source.args, {"shape": node.shape})
    return None


def _simpler_transpose(node: Node, make: Make) -> Node | None:
    """transpose(transpose(x, p), q) is transpose(x, p[q])."""
    (source,) = node.args
    axes = node.attrs["axes"]
    if axes == tuple(range(len(axes))):
        return source
    if source.op == "transpose":
        inner = source.attrs["axes"]
        return make("transpose", source.args, {"axes": tuple(inner[axis] for axis in axes)})
    return None


def _simpler_broadcast(node: Node, make: Make) -> Node | None:
    """broadcast(broadcast(x)) is one; leading axes of size 1 need no reshape before it."""
    (source,) = node.args
    if source.shape == node.shape:
        return source
    if source.op == "broadcast":
        return make("broadcast", source.args, {"shape": node.shape})
    if source.op == "reshape":
        origin = source.args[0]
        added = len(source.shape) - len(origin.shape)
        if added > 0 and source.shape == (*[1] * added, *origin.shape):
            return make("broadcast", [origin], {"shape": node.shape})
    return None


def _simpler_slice(node: Node, make: Make) -> Node | None:
    """A slice of everything is none; of a slice, a broadcast, a piece or an interior it is one."""
    (source,) = node.args
    start, size, step = node.attrs["start"], node.attrs["size"], node.attrs["step"]
    forward = all(s == 1 or n <= 1 for s, n in zip(step, size))
    if size == source.shape and forward:
        return source
    if not node.type.size:
        return None
    match source.op:
        case "slice":
            inner = source.attrs
            offsets = zip(inner["start"], start, inner["step"])
            starts = tuple(first + more * stride for first, more, stride in offsets)
            strides = tuple(outer * stride for outer, stride in zip(step, inner["step"]))
            attrs = {"start": starts, "size": size, "step": strides}
            return make("slice", source.args, attrs)
        case "broadcast":
            return _slice_of_broadcast(node, source, make)
        case "pad":
            shifted = tuple(s - low for s, low in zip(start, source.attrs["low"]))
            return _slice_inside(node, source.args[0], shifted, make)
        case "concat":
            return _slice_of_concat(node, source, make)
    return None


def _slice_of_broadcast(node: Node, source: Node, make: Make) -> Node:
    """slice(broadcast(x)) is broadcast(slice(x)): an axis of size 1 is repeated less often."""
    origin = source.args[0]
    rank = len(origin.shape)
    regions = zip(*(node.attrs[key][len(node.shape) - rank :] for key in ("start", "size", "step")))
    kept = [(0, 1, 1) if n == 1 else tuple(r) for n, r in zip(origin.shape, regions)]
    attrs = {key: tuple(r[k] for r in kept) for k, key in enumerate(("start", "size", "step"))}
    return make("broadcast", [make("slice", [origin], attrs)], {"shape": node.shape})


def _slice_inside(node: Node, origin: Node, start: tuple[int, ...], make: Make) -> Node | None:
    """The same slice with another start, of a part of what it was taken of; None if it leaves."""
    size, step = node.attrs["size"], node.attrs["step"]
    for first, count, stride, extent in zip(start, size, step, origin.shape):
        last = first + (count - 1) * stride
        if not (0 <= first < extent and 0 <= last < extent):
            return None
    return make("slice", [origin], {"start": start, "size": size, "step": step})


def _slice_of_concat(node: Node, source: Node, make: Make) -> Node | None:
    axis = source.attrs["axis"]
    start = node.attrs["start"]
    ends = accumulate(piece.shape[axis] for piece in source.args)
    for piece, end in zip(source.args, ends):
        if start[axis] < end:
            begin = end - piece.shape[axis]
            shifted = (*start[:axis], start[axis] - begin, *start[axis + 1 :])
            return _slice_inside(node, piece, shifted, make)
    return None


def _simpler_pad(node: Node, make: Make) -> Node | None:
    """A pad by nothing is none; of a pad with the same value it is one."""
    (source,) = node.args
    if source.shape == node.shape:
        return source
    if source.op == "pad" and _same_value(node, source):
        widths = {
            key: tuple(map(sum, zip(node.attrs[key], source.attrs[key]))) for key in ("low", "high")
        }
        return make("pad", source.args, {**widths, "value": node.attrs["value"]})
    return None


def _same_value(node: Node, other: Node) -> bool:
    first, second = (np.asarray(pad.attrs["value"], node.dtype) for pad in (node, other))
    return bool(first.tobytes() == second.tobytes())


def _simpler_concat(node: Node, make: Make) -> Node | None:
    """Empty pieces add nothing; a single piece is the whole."""
    axis = node.attrs["axis"]
    pieces = [arg for arg in node.args if arg.shape[axis]]
    if len(node.args) == 1 or not pieces:
        return node.args[0]
    if len(pieces) < len(node.args):
        return make("concat", pieces, {"axis": axis}) if len(pieces) > 1 else pieces[0]
    return None


def _simpler_reduce(node: Node, make: Make) -> Node | None:
    """A reduction over axes of size 1 is a reshape; of a sum of floats not: -0.0 sums to 0.0."""
    (source,) = node.args
    if any(source.shape[axis] != 1 for axis in node.attrs["axes"]):
        return None
    if node.op == "reduce_sum" and node.dtype.kind == "f":
        return None
    return make("reshape", [source], {"shape": node.shape})


def _simpler_arg_reduce(node: Node, make: Make) -> Node | None:
    """The only index there is."""
    if any(node.args[0].shape[axis] != 1 for axis in node.attrs["axes"]):
        return None
    zero: Any = np.zeros((), node.dtype)
    return make_constant(zero, node.type, node.where)


VIEW_RULES: dict[str, ViewRule] = {
    "reshape": _simpler_reshape,
    "transpose": _simpler_transpose,
    "broadcast": _simpler_broadcast,
    "slice": _simpler_slice,
    "pad": _simpler_pad,
    "concat": _simpler_concat,
    "reduce_sum": _simpler_reduce,
    "reduce_prod": _simpler_reduce,
    "reduce_max": _simpler_reduce,
    "reduce_min": _simpler_reduce,
    "reduce_and": _simpler_reduce,
    "reduce_or": _simpler_reduce,
    "argmax": _simpler_arg_reduce,
    "argmin": _simpler_arg_reduce,
}


def simplest_view(node: Node) -> Node:
    """The view with the views below it merged into it, or the source where nothing is left."""
    while node.op in VIEW_RULES:
        found = VIEW_RULES[node.op](node, make_plainly)
        if found is None:
            break
        node = found
    return node
