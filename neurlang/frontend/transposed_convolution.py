"""Transposed convolutions in one, two and three dimensions, without a product by inserted zeros.

Output elements whose places are equal modulo the stride see the same elements of the kernel. Each
such phase is a plain cross-correlation of the image with a part of the kernel; phases that see the
same windows of the image are one product, and all of them are interleaved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.errors import ShapeError
from neurlang.frontend.array import Array, Operand, apply, full, origin, reshape
from neurlang.frontend.axes import as_integer, permute
from neurlang.frontend.contraction import same_dtype
from neurlang.frontend.convolution import correlate, for_each_axis, given_padding, kernel_spans
from neurlang.frontend.indexing import getitem
from neurlang.frontend.manipulation import join
from neurlang.frontend.rearrange import flip, pad, select
from neurlang.ir.types import Shape


def conv1d_transpose(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> Array:
    """The adjoint of `conv1d`: each element of a signal (n, channels, length) scales a kernel.

    Kernels are (channels, out channels / groups, length). Options as in `conv2d_transpose`.
    """
    return _transposed(
        "conv1d_transpose", 1, x, w, padding, stride, dilation, groups, output_padding
    )


def conv2d_transpose(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> Array:
    """The adjoint of `conv2d`: each pixel of (n, channels, height, width) scales a kernel.

    Kernels are (channels, out channels / groups, height, width), unflipped: those of the
    convolution whose adjoint this is, with channels and out channels exchanged. The result,
    (n, out channels, height, width), is the sum of w[c, o] * x[n, c, i, j], put with its corner at
    (i, j) * stride and its elements `dilation` apart; of that `padding` is cut off and
    `output_padding` rows and columns are added at the end, where kernels may reach as well. So a
    size is (size - 1) * stride + (kernel - 1) * dilation + 1 - padding + output_padding, with
    the padding of both sides.

    This is the convention of PyTorch's conv_transpose2d and of ONNX's ConvTranspose, and that of
    JAX's conv_transpose with transpose_kernel=True. `padding` is n, (rows, columns),
    ((top, bottom), (left, right)), "valid" for none, or "same" for size * stride outputs; the
    other options are n or (rows, columns). ShapeError where sizes do not fit.
    """
    return _transposed(
        "conv2d_transpose", 2, x, w, padding, stride, dilation, groups, output_padding
    )


def conv3d_transpose(
    x: Operand,
    w: Operand,
    /,
    *,
    padding: Any = 0,
    stride: Any = 1,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> Array:
    """The adjoint of `conv3d`: each element of (n, channels, depth, height, width) scales a kernel.

    Kernels are (channels, out channels / groups, depth, height, width). Options as in
    `conv2d_transpose`.
    """
    return _transposed(
        "conv3d_transpose", 3, x, w, padding, stride, dilation, groups, output_padding
    )


@dataclass(frozen=True)
class _Phases:
    """Phases along one axis that see the same windows of the image.

    Phase number p starts at element first + p of the kernel, has `taps` elements, and lies at the
    places `residues[p]` modulo the stride. Its last element meets image element block + shift at
    the block's place, the ones before it those that follow.
    """

    first: int
    taps: int
    shift: int
    residues: tuple[int, ...]


def _transposed(
    name: str,
    rank: int,
    x: Operand,
    w: Operand,
    padding: Any,
    stride: Any,
    dilation: Any,
    groups: Any,
    output_padding: Any,
) -> Array:
    image, kernel = same_dtype((x, w))
    count = as_integer(name, "groups", groups)
    _check_channels(name, rank, image, kernel, count)
    steps = for_each_axis(name, "stride", stride, rank)
    apart = for_each_axis(name, "dilation", dilation, rank)
    more = for_each_axis(name, "output_padding", output_padding, rank, least=0)
    spans = kernel_spans(kernel, apart)
    cuts = _cuts(name, padding, spans, steps)
    sizes = tuple(
        (n - 1) * step + span - low - high + extra
        for n, step, span, (low, high), extra in zip(image.shape[2:], steps, spans, cuts, more)
    )
    if not kernel.size or not math.prod(image.shape[1:]) or min(sizes) < 1:
        raise ShapeError(
            f"{name} of {image.node.type} with {kernel.node.type}, padding cut off",
            hint="image and kernel must have elements, and more than the padding must be left",
        )
    # Blocks of `stride` places each, from the one that holds the first place of the result on.
    starts = tuple(low % step for (low, _), step in zip(cuts, steps))
    blocks = tuple(-(-(s + size) // step) for s, size, step in zip(starts, sizes, steps))
    skipped = tuple(low // step for (low, _), step in zip(cuts, steps))
    product = _Product(image, kernel, count, steps, apart, blocks, skipped)
    whole = product.interleaved()
    places = (slice(start, start + size) for start, size in zip(starts, sizes))
    return getitem(whole, (slice(None), slice(None), *places))


@dataclass(frozen=True)
class _Product:
    """All phases of `blocks` strides, the first ones `skipped`."""

    image: Array
    kernel: Array
    groups: int
    steps: Shape
    apart: Shape
    blocks: Shape
    skipped: Shape

    def interleaved(self) -> Array:
        """(n, out channels, blocks * stride): phase r of block b stands at b * stride + r."""
        rank = len(self.steps)
        taps = self.kernel.shape[2:]
        axes = [_phases(*options) for options in zip(taps, self.steps, self.apart)]
        phases = self._joined(axes, ())
        for axis, found in enumerate(axes):
            order = [r for part in found for r in part.residues]
            if order != sorted(order):
                phases = select(phases, 2 + axis, np.argsort(order))
        pairs = itertools.chain(*((3 + rank + axis, 2 + axis) for axis in range(rank)))
        phases = permute(phases, [0, 1, 2 + rank, *pairs])
        sizes = (step * blocks for step, blocks in zip(self.steps, self.blocks))
        return reshape(phases, (len(self.image), self.groups * self.kernel.shape[1], *sizes))

    def _joined(self, axes: Sequence[Sequence[_Phases]], chosen: tuple[_Phases, ...]) -> Array:
        """(n, groups, phases of each axis, outputs, blocks), joined axis after axis."""
        if len(chosen) == len(axes):
            return self._correlated(chosen)
        parts = [self._joined(axes, (*chosen, found)) for found in axes[len(chosen)]]
        return parts[0] if len(parts) == 1 else join(parts, 2 + len(chosen))

    def _correlated(self, chosen: tuple[_Phases, ...]) -> Array:
        """One product for phases that see the same windows."""
        phases = tuple(len(found.residues) for found in chosen)
        outputs = self.kernel.shape[1]
        shape = (len(self.image), self.groups, *phases, outputs, *self.blocks)
        if not all(found.taps for found in chosen):
            return full(shape, 0, self.image.dtype)
        near = tuple(
            distance // math.gcd(step, distance) for step, distance in zip(self.steps, self.apart)
        )
        widths = []
        for axis, (found, distance) in enumerate(zip(chosen, near)):
            first = self.skipped[axis] + found.shift - (found.taps - 1) * distance
            last = self.skipped[axis] + found.shift + self.blocks[axis]
            widths.append((-first, last - self.image.shape[2 + axis]))
        image = _extended(self.image, widths)
        ones = (1,) * len(chosen)
        result = correlate(image, self._kernels(chosen), ones, near, self.groups)
        return reshape(result, shape)

    def _kernels(self, chosen: tuple[_Phases, ...]) -> Array:
        """The kernel of each phase, flipped: (groups x phases x outputs, inputs, taps)."""
        rank = len(chosen)
        inputs, outputs = self.kernel.shape[0] // self.groups, self.kernel.shape[1]
        taps = tuple(found.taps for found in chosen)
        strided = apply(
            "window",
            reshape(self.kernel, (self.groups, inputs, outputs, *self.kernel.shape[2:])),
            axes=tuple(range(3, 3 + rank)),
            size=taps,
            step=(1,) * rank,
            dilation=tuple(
                step // math.gcd(step, distance) for step, distance in zip(self.steps, self.apart)
            ),
        )
        firsts = (slice(found.first, found.first + len(found.residues)) for found in chosen)
        phases = getitem(strided, (slice(None), slice(None), slice(None), *firsts))
        phases = flip(phases, tuple(range(3 + rank, 3 + 2 * rank)))
        places, elements = range(3, 3 + rank), range(3 + rank, 3 + 2 * rank)
        ordered = permute(phases, [0, *places, 2, 1, *elements])
        return reshape(ordered, (math.prod(ordered.shape[: 2 + rank]), inputs, *taps))


def _phases(taps: int, step: int, distance: int) -> list[_Phases]:
    """All residues modulo the stride, those together that see the same windows.

    Element k of the kernel reaches residue k * distance mod step, (k * distance) // step blocks
    on; so do the elements that follow by step / gcd(step, distance).
    """
    period = step // math.gcd(step, distance)
    found: list[_Phases] = []

    def windows(first: int) -> tuple[int, int]:
        return -(-(taps - first) // period), -(first * distance // step)

    starts = range(min(period, taps))
    for (count, shift), members in itertools.groupby(starts, windows):
        firsts = tuple(members)
        residues = tuple(first * distance % step for first in firsts)
        found.append(_Phases(firsts[0], count, shift, residues))
    reached = {residue for part in found for residue in part.residues}
    rest = tuple(residue for residue in range(step) if residue not in reached)
    return [*found, _Phases(0, 0, 0, rest)] if rest else found


def _extended(x: Array, widths: Sequence[tuple[int, int]]) -> Array:
    """Zeros before and after the axes from the third on; where a width is negative, a cut."""
    places = []
    zeros = []
    for size, (low, high) in zip(x.shape[2:], widths):
        start, stop = min(max(0, -low), size), max(min(size, size + high), 0)
        stop = max(start, stop)
        total = size + low + high
        before = min(max(low, 0), total)
        places.append(slice(start, stop))
        zeros.append((before, total - before - (stop - start)))
    return pad(getitem(x, (slice(None), slice(None), *places)), ((0, 0), (0, 0), *zeros))


# --- options --------------------------------------------------------------------------------------


def _check_channels(name: str, rank: int, image: Array, kernel: Array, groups: int) -> None:
    fits = image.ndim == kernel.ndim == 2 + rank and groups > 0
    fits = fits and image.shape[1] == kernel.shape[0] and not kernel.shape[0] % groups
    if not fits:
        axes = ("length", "height, width", "depth, height, width")[rank - 1]
        raise ShapeError(
            f"{name} of {image.node.type} with {kernel.node.type} in {groups} groups",
            origin=origin(kernel),
            hint=f"give (n, c, {axes}) and (c, o / groups, {axes}); groups divide c",
        )


def _cuts(name: str, padding: Any, spans: Shape, steps: Shape) -> list[tuple[int, int]]:
    """How much is cut off before and after each axis; fewer than none are added after it."""
    if isinstance(padding, str) and padding == "same":
        totals = [span - step for span, step in zip(spans, steps)]
        return [(max(0, total) // 2, total - max(0, total) // 2) for total in totals]
    return given_padding(name, padding, len(steps))


__all__ = ["conv1d_transpose", "conv2d_transpose", "conv3d_transpose"]
