"""Convolutions in one, two and three dimensions: one product of kernels and windows.

A window view shows each pixel's neighbourhood; the product reads it in place, so no matrix of
windows is ever made in memory. A kernel that sees one channel only (depthwise) is a sum of shifted
images, one for each of its positions.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from neurlang.errors import DomainError, ShapeError
from neurlang.frontend.array import Array, Operand, apply, broadcast_to, origin, reshape
from neurlang.frontend.axes import as_integer, as_integers, permute
from neurlang.frontend.contraction import same_dtype
from neurlang.frontend.elementwise import multiply
from neurlang.frontend.rearrange import pad
from neurlang.frontend.reducing import op_for
from neurlang.ir.types import Shape


def conv1d(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation of signals (n, channels, length) with kernels, without flipping.

    Kernels are (out channels, channels / groups, length). Options as in `conv2d`.
    """
    return _convolution("conv1d", 1, x, w, padding, stride, dilation, groups)


def conv2d(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation of images (n, channels, height, width) with kernels, without flipping.

    Kernels are (out channels, channels / groups, height, width); the result is (n, out channels,
    height, width). `padding` with zeros is n, (rows, columns), ((top, bottom), (left, right)),
    "valid" for none, or "same" for ceil(size / stride) outputs. `stride` is n or (rows, columns);
    so is `dilation`, the distance of a kernel's elements in the image. Output channels of each
    group see only its channels. ShapeError where sizes do not fit.
    """
    return _convolution("conv2d", 2, x, w, padding, stride, dilation, groups)


def conv3d(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation of volumes (n, channels, depth, height, width) with kernels, unflipped.

    Kernels are (out channels, channels / groups, depth, height, width). Options as in `conv2d`.
    """
    return _convolution("conv3d", 3, x, w, padding, stride, dilation, groups)


def _convolution(
    name: str,
    rank: int,
    x: Operand,
    w: Operand,
    padding: Any,
    stride: Any,
    dilation: Any,
    groups: Any,
) -> Array:
    image, kernel = same_dtype((x, w))
    count = as_integer(name, "groups", groups)
    _check_channels(name, rank, image, kernel, count)
    steps = for_each_axis(name, "stride", stride, rank)
    apart = for_each_axis(name, "dilation", dilation, rank)
    spans = kernel_spans(kernel, apart)
    widths = _padding(name, padding, image.shape[2:], spans, steps)
    image = pad(image, ((0, 0), (0, 0), *widths))
    if not kernel.size or any(n < span for n, span in zip(image.shape[2:], spans)):
        raise ShapeError(
            f"{name} of {image.node.type}, padding included, with {kernel.node.type}",
            hint="the kernel must have elements and fit into the image",
        )
    return correlate(image, kernel, steps, apart, count)


def correlate(image: Array, kernel: Array, steps: Shape, apart: Shape, groups: int) -> Array:
    """The cross-correlation of an image that is padded already with a kernel that fits into it."""
    rank = len(steps)
    inputs, outputs = kernel.shape[1], kernel.shape[0] // groups
    grouped = reshape(image, (len(image), groups, inputs, *image.shape[2:]))
    windows = apply(
        "window",
        grouped,
        axes=tuple(range(3, 3 + rank)),
        size=kernel.shape[2:],
        step=steps,
        dilation=apart,
    )
    sizes = windows.shape[3 : 3 + rank]
    if outputs == 1:
        result = _shifted_sum(windows, kernel, sizes)
    else:
        result = _product(windows, kernel, sizes)
    return reshape(result, (len(image), kernel.shape[0], *sizes))


def _product(windows: Array, kernel: Array, sizes: Shape) -> Array:
    """(outputs, inputs x taps) by (inputs x taps, pixels), for each image and group."""
    images, groups, inputs = windows.shape[:3]
    rank = len(sizes)
    taps = range(3 + rank, 3 + 2 * rank)
    patches = permute(windows, [0, 1, 2, *taps, *range(3, 3 + rank)])
    depth = inputs * math.prod(kernel.shape[2:])
    right = reshape(patches, (images, groups, depth, math.prod(sizes)))
    left = reshape(kernel, (groups, kernel.shape[0] // groups, depth))
    return apply("dot", broadcast_to(left, (images, *left.shape)), right)


def _shifted_sum(windows: Array, kernel: Array, sizes: Shape) -> Array:
    """One output channel a group: for each position of the kernel, images times its weights."""
    images, groups, inputs = windows.shape[:3]
    total: Array | None = None
    for position in itertools.product(*(range(taps) for taps in kernel.shape[2:])):
        shown = _at(windows, 3 + len(sizes), position)
        weights = _at(kernel, 2, position)
        right = reshape(shown, (images, groups, inputs, math.prod(sizes)))
        left = reshape(weights, (groups, 1, inputs))
        if inputs == 1:
            term = multiply(left, right)
        else:
            term = apply("dot", broadcast_to(left, (images, *left.shape)), right)
        total = term if total is None else apply(op_for("add", term.dtype), total, term)
    assert total is not None
    return total


def _at(x: Array, axis: int, position: Shape) -> Array:
    """The elements at one position along the axes from `axis` on."""
    before = x.shape[:axis]
    start = (*(0 for _ in before), *position)
    size = (*before, *(1 for _ in position))
    return apply("slice", x, start=start, size=size, step=(1,) * x.ndim)


# --- options --------------------------------------------------------------------------------------


def _check_channels(name: str, rank: int, image: Array, kernel: Array, groups: int) -> None:
    fits = image.ndim == kernel.ndim == 2 + rank and groups > 0
    fits = fits and image.shape[1] == kernel.shape[1] * groups and not kernel.shape[0] % groups
    if not fits:
        axes = ("length", "height, width", "depth, height, width")[rank - 1]
        raise ShapeError(
            f"{name} of {image.node.type} with {kernel.node.type} in {groups} groups",
            origin=origin(kernel),
            hint=f"give (n, c, {axes}) and (o, c / groups, {axes}); groups divide c and o",
        )


def kernel_spans(kernel: Array, apart: Shape) -> Shape:
    """The extent that a kernel covers along each axis."""
    return tuple((taps - 1) * distance + 1 for taps, distance in zip(kernel.shape[2:], apart))


def for_each_axis(name: str, option: str, value: Any, rank: int, least: int = 1) -> Shape:
    """An option that is one integer, or one for each axis; DomainError for others."""
    numbers = as_integers(name, option, value)
    numbers = numbers * rank if len(numbers) == 1 else numbers
    if len(numbers) != rank or min(numbers) < least:
        kind = "positive integer" if least else "integer that is not negative"
        raise DomainError(
            f"{name} with {option} {value}",
            hint=f"give one {kind}, or {rank}" if rank > 1 else f"give one {kind}",
        )
    return tuple(numbers)


def _padding(name: str, padding: Any, extents: Any, spans: Any, steps: Any) -> list[Any]:
    """How many zeros stand before and after each axis."""
    if isinstance(padding, str) and padding == "same":
        totals = [
            max(0, (-(-extent // step) - 1) * step + span - extent)
            for extent, span, step in zip(extents, spans, steps)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    return given_padding(name, padding, len(steps))


def given_padding(name: str, padding: Any, rank: int) -> list[tuple[int, int]]:
    """Padding that no size decides: before and after each axis; DomainError for what is none."""
    sides = np.asarray(0 if isinstance(padding, str) and padding == "valid" else padding)
    known = sides.dtype.kind in "iu" and sides.shape in ((), (rank,), (rank, 2))
    if not known or (sides < 0).any():
        raise DomainError(
            f"{name} with padding {padding!r}",
            hint="give n, a number or a pair (before, after) for each axis, 'same' or 'valid'",
        )
    pairs = np.broadcast_to(sides[:, None] if sides.ndim == 1 else sides, (rank, 2))
    return [(int(low), int(high)) for low, high in pairs]


__all__ = ["conv1d", "conv2d", "conv3d"]
