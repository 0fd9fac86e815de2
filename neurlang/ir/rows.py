"""Stores of a vector loop that fill rows of few elements: together they are whole vectors."""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.ir.loops import Buffer, Statement, Store, Var, loads_in

LONGEST_ROW = 12  # elements, so far apart that a vector of all of them beats a gather


def row_stride(store: Store, var: Var) -> int:
    """The length of the rows that a store goes along, one for each value of `var`; else 0."""
    stride = store.buffer.flat(store.index).coefficient(var)
    return stride if 2 <= stride <= LONGEST_ROW else 0


def filled_rows(body: Sequence[Statement], var: Var) -> list[list[int]]:
    """The places of stores that fill rows, from the first to the last element of a row.

    What they store to is not loaded in the body, so that all can wait for the last of them.
    """
    groups: dict[tuple[Buffer, object], list[tuple[int, int]]] = {}
    stores = {place: s for place, s in enumerate(body) if isinstance(s, Store)}
    for place, store in stores.items():
        if row_stride(store, var) and not store.nontemporal:
            flat = store.buffer.flat(store.index)
            groups.setdefault((store.buffer, flat.terms), []).append((flat.constant, place))
    if not groups:
        return []
    loaded = {load.buffer for load in loads_in(body)}
    filled = []
    for (buffer, _), found in groups.items():
        found.sort()
        first, place = found[0]
        whole = range(first, first + row_stride(stores[place], var))
        if [constant for constant, _ in found] == [*whole] and buffer not in loaded:
            filled.append([place for _, place in found])
    return filled
