"""When several sweeps over the same rows or columns are better done by one kernel."""

from __future__ import annotations

import math

from neurlang.ir.graph import Node
from neurlang.ir.types import Shape

SMALL_WORK = 1 << 15  # elements below which a kernel without outer axes may do everything
LEAST_ACROSS = 128  # columns side by side where more than their sums is stored
UNCACHED = 1 << 24  # bytes of an array that is not in the cache for the next kernel
CACHED_ROWS = 1024  # of the narrowest block of columns that a core's own cache holds
CACHE_BYTES, CACHE_SPAN = 1 << 20, 1 << 16  # what it holds; lines so far apart share a set of it


def rows_worth_it(outer: Shape, space: Shape) -> bool:
    """A row program runs one thread a row: it needs rows, or little work."""
    return math.prod(outer) >= 8 or math.prod(space) <= SMALL_WORK


def columns_worth_it(node: Node, sweeps: int) -> bool:
    """Whether what is stored after so many sweeps down columns is better stored column by column.

    They must lie side by side in whole vectors, and be enough for threads to share. One sweep alone
    is no reason to store rows in short pieces, unless no cache keeps the array for another kernel.
    """
    source = node.args[0]
    (axis,) = node.attrs["axes"]
    across = math.prod(source.shape[axis + 1 :])
    enough = across >= LEAST_ACROSS and math.prod(node.shape) >= 2 * LEAST_ACROSS
    return enough and (sweeps > 1 or source.type.size * source.dtype.itemsize >= UNCACHED)


def columns_stay(node: Node) -> bool:
    """Whether pieces of all rows stay in the cache from one sweep down columns to the next.

    They need not where a kernel for each sweep would read rows in longer pieces. Rows that lie a
    power of two apart share few sets of the cache.
    """
    source = node.args[0]
    (axis,) = node.attrs["axes"]
    stride = math.prod(source.shape[axis + 1 :]) * source.dtype.itemsize
    rows: int = source.shape[axis]
    return rows <= min(CACHED_ROWS, CACHE_BYTES // math.gcd(stride, CACHE_SPAN))
