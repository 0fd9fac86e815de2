"""Sums of products over labelled axes: what every product of arrays is made of, and einsum."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from neurlang.errors import FormatError, ShapeError
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    asarray,
    broadcast_to,
    cast,
    reshape,
    result_dtype,
)
from neurlang.frontend.axes import as_integers, permute
from neurlang.frontend.rearrange import diagonal
from neurlang.frontend.reducing import op_for, reduce_over
from neurlang.ir.types import check_dtype

Label = Hashable
Labels = tuple[Label, ...]
Sizes = Mapping[Label, int]


def same_dtype(arrays: Sequence[Operand], dtype: Any = None) -> list[Array]:
    """The arrays in their common dtype, where Python scalars count as arrays, or in `dtype`."""
    found = [asarray(x) for x in arrays]
    strong = [cast(x, x.dtype) for x in found]
    target = result_dtype(*strong) if dtype is None else check_dtype(dtype)
    return [cast(x, target) for x in strong]


def arrange(x: Array, labels: Labels, order: Sequence[Label]) -> Array:
    """`x` with its labelled axes in another order."""
    return permute(x, [labels.index(label) for label in order])


def sum_labels(x: Array, labels: Labels, kept: Sequence[Label]) -> tuple[Array, Labels]:
    """`x` summed over the labels that are not kept, in its own dtype; bools by or."""
    axes = tuple(axis for axis, label in enumerate(labels) if label not in kept)
    rest = tuple(label for label in labels if label in kept)
    return (reduce_over(op_for("reduce_sum", x.dtype), x, axes) if axes else x), rest


def label_sizes(name: str, arrays: Sequence[Array], labels: Sequence[Labels]) -> dict[Label, int]:
    """The size of each label, where 1 fits any; ShapeError where two arrays differ."""
    sizes: dict[Label, int] = {}
    for x, its in zip(arrays, labels):
        for label, size in zip(its, x.shape):
            known = sizes.get(label, 1)
            if 1 not in (known, size) and known != size:
                types = " and ".join(str(each.node.type) for each in arrays)
                raise ShapeError(
                    f"{name} of {types}: an axis has sizes {known} and {size}",
                    hint="sizes of the same axis must agree",
                )
            sizes[label] = size if known == 1 else known
    return sizes


def without_repeated(x: Array, labels: Labels, sizes: Sizes) -> tuple[Array, Labels]:
    """`x` without axes of size 1 that other arrays have larger: there it is constant."""
    kept = [at for at, label in enumerate(labels) if x.shape[at] == sizes[label]]
    shape = tuple(x.shape[at] for at in kept)
    return reshape(x, shape), tuple(labels[at] for at in kept)


def contract(name: str, x: Array, xs: Labels, y: Array, ys: Labels, out: Labels) -> Array:
    """sum of x[xs] * y[ys] over the labels that are not in `out`; no label twice in any.

    Labels in both and in `out` are batch axes, in both and not in `out` contracted, in one only
    rows or columns of a matrix product. The result is 0 where a contracted size is 0.
    """
    sizes = label_sizes(name, (x, y), (xs, ys))
    x, xs = without_repeated(x, xs, sizes)
    y, ys = without_repeated(y, ys, sizes)
    x, xs = sum_labels(x, xs, (*ys, *out))
    y, ys = sum_labels(y, ys, (*xs, *out))
    contracted = tuple(label for label in xs if label in ys and label not in out)
    rows = tuple(label for label in out if label not in ys)
    columns = tuple(label for label in out if label not in xs)
    if not contracted or not (rows or columns):
        product = multiply_labelled(x, xs, y, ys, (*out, *contracted), sizes)
        return sum_labels(product, (*out, *contracted), out)[0]
    return _product(x, xs, y, ys, out, contracted, sizes)


def multiply_labelled(
    x: Array, xs: Labels, y: Array, ys: Labels, order: Labels, sizes: Sizes
) -> Array:
    """x[xs] * y[ys] elementwise, with axes in `order`; bools by and."""
    shape = tuple(sizes[label] for label in order)
    spread = []
    for each, labels in ((x, xs), (y, ys)):
        placed = arrange(each, labels, [label for label in order if label in labels])
        apart = tuple(sizes[label] if label in labels else 1 for label in order)
        spread.append(broadcast_to(reshape(placed, apart), shape))
    return apply(op_for("mul", x.dtype), *spread)


def _product(
    x: Array, xs: Labels, y: Array, ys: Labels, out: Labels, contracted: Labels, sizes: Sizes
) -> Array:
    """A `dot` whose result needs no transpose where `out` is batch, then one side, then the other.

    Where the sides are interleaved, leading labels become batch axes, along which the other array
    repeats. The array whose labels come first in `out` is the left one.
    """
    batch = [label for label in out if label in xs and label in ys]
    free = [label for label in out if label not in batch]
    while _alternations([label in xs for label in free]) > 1:
        batch.append(free.pop(0))
    batch.sort(key=out.index)
    if free and free[0] not in xs:
        x, xs, y, ys = y, ys, x, xs
    rows = [label for label in free if label in xs]
    columns = [label for label in free if label not in xs]
    left = _as_matrices(x, xs, batch, rows, contracted, sizes)
    right = _as_matrices(y, ys, batch, contracted, columns, sizes)
    order = (*batch, *rows, *columns)
    product = reshape(apply("dot", left, right), tuple(sizes[label] for label in order))
    return arrange(product, order, out)


def _alternations(sides: Sequence[bool]) -> int:
    return sum(before != after for before, after in pairwise(sides))


def _as_matrices(
    x: Array,
    labels: Labels,
    batch: Sequence[Label],
    first: Sequence[Label],
    second: Sequence[Label],
    sizes: Sizes,
) -> Array:
    """`x` as (batch..., first, second), several labels made one axis; repeated along the batch."""
    order = [label for label in (*batch, *first, *second) if label in labels]
    lengths = [math.prod(sizes[label] for label in group) for group in (first, second)]
    own = tuple(sizes[label] if label in labels else 1 for label in batch)
    matrices = reshape(arrange(x, labels, order), (*own, *lengths))
    return broadcast_to(matrices, (*(sizes[label] for label in batch), *lengths))


# --- einsum -------------------------------------------------------------------------------------


def einsum(subscripts: Any, /, *arrays: Any, dtype: Any = None, optimize: Any = False) -> Array:
    """Einstein's sum: `einsum("ij,jk->ik", x, y)` multiplies, and sums what the output leaves out.

    `subscripts` name the axes of each array by letters, `...` stands for axes that broadcast; a
    letter twice in one array takes its diagonal. Without `->`, the output has the letters that
    stand once, in alphabetical order. `einsum(x, [0, 1], y, [1, 2], [0, 2])` says the same. The
    dtype is the common one, or `dtype`; sums wrap in it, and are `or` for bools. Several arrays
    are multiplied in pairs, the pair with the smallest result first; `optimize` changes nothing.
    FormatError for bad subscripts, ShapeError for sizes that do not fit; both are ValueErrors.
    """
    text, operands = subscripts, list(arrays)
    if not isinstance(subscripts, str):
        text, operands = _from_lists((subscripts, *arrays))
    if not operands:
        raise FormatError("einsum of no arrays", hint="give one array for each term")
    factors = same_dtype(operands, dtype)
    labels, out = _read_subscripts(text, factors)
    terms = [_take_diagonals(x, its) for x, its in zip(factors, labels)]
    sizes = label_sizes(f"einsum {text!r}", [x for x, _ in terms], [its for _, its in terms])
    terms = [without_repeated(x, its, sizes) for x, its in terms]
    while len(terms) > 1:
        first, second = _cheapest_pair(terms, out, sizes)
        (x, xs), (y, ys) = terms[first], terms[second]
        rest = [term for at, term in enumerate(terms) if at not in (first, second)]
        order = _pair_output(xs, ys, _uses(terms, out)) if rest else out
        terms = [*rest, (contract("einsum", x, xs, y, ys, order), order)]
    ((x, its),) = terms
    x, its = sum_labels(x, its, out)
    return arrange(x, its, out)


def _from_lists(parts: Sequence[Any]) -> tuple[str, list[Any]]:
    """The form with lists of integers as subscripts: integer n is the n-th letter."""
    operands = list(parts[0 : len(parts) // 2 * 2 : 2])
    lists = [*parts[1::2], *(parts[-1:] if len(parts) % 2 else ())]
    terms = [_letters(subscripts) for subscripts in lists]
    if len(parts) % 2 == 0:
        return ",".join(terms), operands
    return f"{','.join(terms[:-1])}->{terms[-1]}", operands


def _letters(subscripts: Sequence[Any]) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = ""
    for item in subscripts:
        (position,) = (-1,) if item is Ellipsis else as_integers("einsum", "a subscript", item)
        if item is not Ellipsis and not 0 <= position < len(letters):
            raise FormatError(f"einsum: subscript {item} is not in 0..{len(letters) - 1}")
        text += "..." if item is Ellipsis else letters[position]
    return text


def _read_subscripts(text: str, arrays: Sequence[Array]) -> tuple[list[Labels], Labels]:
    """Labels for each array and for the output: letters, and for `...` integers up to -1."""
    inputs, arrow, output = text.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise FormatError(f"einsum {text!r} has {len(terms)} terms for {len(arrays)} arrays")
    labels = [_read_term(text, term, x) for term, x in zip(terms, arrays)]
    broadcast = max((sum(isinstance(each, int) for each in its) for its in labels), default=0)
    ellipsis: Labels = tuple(range(-broadcast, 0))
    letters = "".join(terms).replace(".", "")
    if not arrow:
        single = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        return labels, (*ellipsis, *single)
    before, dots, after = output.partition("...")
    out = (*before, *(ellipsis if dots else ()), *after)
    wrong = [label for label in (*before, *after) if label not in letters or out.count(label) > 1]
    if wrong:
        raise FormatError(
            f"einsum {text!r}: the output names {wrong[0]!r}, which is unknown or stands twice",
            hint="name letters of the inputs, each once",
        )
    if ellipsis and not dots:
        raise FormatError(f"einsum {text!r}: axes of ... are missing in the output")
    return labels, out


def _read_term(text: str, term: str, x: Array) -> Labels:
    before, dots, after = term.partition("...")
    named = len(before) + len(after)
    if not (before + after).isalpha() and named:
        raise FormatError(f"einsum {text!r}: {term!r} is not letters and one ...")
    if named > x.ndim or (named < x.ndim and not dots):
        raise ShapeError(
            f"einsum {text!r}: {term!r} does not name the axes of {x.node.type}",
            hint="one letter for each axis, ... for the rest",
        )
    return (*before, *range(named - x.ndim, 0), *after)


def _take_diagonals(x: Array, labels: Labels) -> tuple[Array, Labels]:
    """The diagonals of labels that stand twice; the axes come last."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ShapeError(
                    f"einsum: {label!r} names axes of sizes {x.shape[first]} and {x.shape[second]}",
                    hint="a diagonal needs equal sizes",
                )
            x = diagonal(x, 0, first, second)
            rest = (its for at, its in enumerate(labels) if at not in (first, second))
            labels = (*rest, label)
    return x, labels


def _uses(terms: Sequence[tuple[Array, Labels]], out: Labels) -> Counter[Label]:
    """How many terms, the output among them, have each label."""
    uses = Counter(out)
    for _, labels in terms:
        uses.update(labels)
    return uses


def _pair_output(xs: Labels, ys: Labels, uses: Counter[Label]) -> Labels:
    """The labels that a product of two must keep: batch axes, then rows, then columns."""
    batch = [label for label in xs if label in ys and uses[label] > 2]
    rows = [label for label in xs if label not in ys and uses[label] > 1]
    columns = [label for label in ys if label not in xs and uses[label] > 1]
    return (*batch, *rows, *columns)


def _cheapest_pair(
    terms: Sequence[tuple[Array, Labels]], out: Labels, sizes: Sizes
) -> tuple[int, int]:
    """The pair whose product takes the least room beyond that of its factors; then least work."""
    uses = _uses(terms, out)
    best: tuple[int, int] = (0, 1)
    least: tuple[int, int] | None = None
    for first in range(len(terms)):
        for second in range(first + 1, len(terms)):
            (x, xs), (y, ys) = terms[first], terms[second]
            order = _pair_output(xs, ys, uses)
            room = math.prod(sizes[label] for label in order) - x.size - y.size
            work = math.prod(sizes[label] for label in {*xs, *ys})
            if least is None or (room, work) < least:
                best, least = (first, second), (room, work)
    return best


__all__: list[str] = []  # `linear` lists einsum among the other products
