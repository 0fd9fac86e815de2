"""Python integers that meet arrays of narrower dtypes: NumPy 2 refuses those that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.errors import RangeError, Where
from neurlang.frontend.trace import Trace
from neurlang.ir.graph import Graph, Node, graph_from
from neurlang.ir.interpret import interpret
from neurlang.ir.types import INT64, DType


@dataclass(frozen=True)
class Narrowed:
    """A traced Python integer that becomes `dtype`: the leaf at the only one of `positions`, or
    what `graph` computes from those leaves."""

    positions: tuple[int, ...]
    graph: Graph | None
    dtype: DType
    where: Where | None

    def check(self, leaves: Sequence[Any]) -> None:
        """RangeError where the dtype does not hold the value that it has for these leaves."""
        value = self.value(leaves)
        info = np.iinfo(self.dtype)
        if not info.min <= value <= info.max:
            raise RangeError(
                f"Python integer {value} out of bounds for {self.dtype}",
                where=self.where,
                hint="convert the array with astype first, as NumPy 2 demands",
            )

    def value(self, leaves: Sequence[Any]) -> Any:
        """The integer, which is known when the function is called."""
        values = [leaves[position] for position in self.positions]
        if self.graph is None:
            return values[0]
        dtypes = [param.dtype for param in self.graph.params]
        return interpret(self.graph, *map(np.asarray, values, dtypes)).item()


def narrowed_integers(trace: Trace, params: Sequence[Node]) -> Iterator[Narrowed]:
    """What is to be checked at every call of a function that was traced with these parameters."""
    for node, dtypes in trace.narrowed.items():
        needed = [leaf for leaf in graph_from([node], (), "integer").nodes if leaf in params]
        positions = tuple(params.index(leaf) for leaf in needed)
        graph = None if node in params else graph_from([node], needed, "integer")
        for dtype, where in dtypes.items():
            if dtype != INT64:
                yield Narrowed(positions, graph, dtype, where)
