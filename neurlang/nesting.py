"""How nested arguments and results of a function look to the native entry of its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from enum import Enum
from types import BuiltinFunctionType
from typing import Any, Literal

import numpy as np

from neurlang.frontend.signature import Call, Layout
from neurlang.frontend.tree import FIELDS, LEAF, MAPPING, NONE, SEQUENCE, Structure, Token
from neurlang.runtime.entry import Nest, Nested

SEQUENCES: dict[type, Literal["tuple", "list"]] = {tuple: "tuple", list: "list"}


class Nesting:
    """Nests of structures, and the objects that they name by number: keys and classes."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.numbers: dict[tuple[type, Any], int] = {}

    def number(self, value: Any) -> int:
        """The number of an object: equal keys have one."""
        key = (type(value), value)
        if key not in self.numbers:
            self.numbers[key] = len(self.objects)
            self.objects.append(value)
        return self.numbers[key]

    def nest(self, structure: Structure) -> Nested | None:
        """What a structure is made of; None where it has what only Python takes apart or builds:
        dataclasses, ordered dicts, keys that are no strings."""
        if not all(map(_is_plain, structure.tokens)):
            return None
        return self._next(iter(structure.tokens))

    def hold(self, value: Any) -> int:
        """A number of its own for an object."""
        self.objects.append(value)
        return len(self.objects) - 1

    def call(
        self, call: Call, layout: Layout | None
    ) -> tuple[Sequence[Nested], Sequence[int]] | None:
        """The positional and keyword arguments of a call, and the numbers of the keywords.

        `layout` is that of its spelling, which calls have where parameters are static.
        """
        nest = self.nest(call.structure)
        if nest is None:
            return None
        assert isinstance(nest, Nest)
        if layout is not None:
            return self._by_parameter(call, layout, nest)
        positional, named = nest.items
        assert isinstance(positional, Nest) and isinstance(named, Nest)
        return (*positional.items, *named.items), named.names

    def _by_parameter(
        self, call: Call, layout: Layout, nest: Nest
    ) -> tuple[Sequence[Nested], Sequence[int]] | None:
        """The same for a structure of {parameter: value}; None where leaves are in another order
        than arguments, and for static values that an entry cannot compare."""
        assert call.spelling is not None
        count, names = call.spelling
        found: dict[int, Nested] = {}
        for (_, place), given in zip(layout.traced, nest.items):
            if isinstance(place, int):
                found[place] = given
            else:  # of *args, or **kwargs
                assert isinstance(given, Nest)
                places = place.values() if isinstance(place, dict) else place
                found |= zip(places, given.items)
        if list(found) != sorted(found):
            return None
        for (_, place), (_, value) in zip(layout.static, call.static):
            if not isinstance(place, int) or not _never_changes(value):
                return None
            if place < count + len(names):  # else it is a default
                found[place] = self._static(value)
        arguments = [found[place] for place in range(count + len(names))]
        return arguments, tuple(map(self.number, names))

    def _static(self, value: Any) -> Nest:
        """A static argument; a tuple is one of its items, whichever tuple it is."""
        if type(value) is tuple:
            return Nest("tuple", tuple(map(self._static, value)))
        return Nest("static", (), (self.hold(value),))

    def _next(self, tokens: Iterator[Token]) -> Nested:
        token = next(tokens)
        if token.kind in (LEAF, NONE):
            return "leaf" if token.kind == LEAF else "none"
        items = tuple([self._next(tokens) for _ in token.keys])
        if token.kind == SEQUENCE:
            return Nest(SEQUENCES[token.type], items)
        if token.kind == MAPPING:
            return Nest("dict", items, tuple(map(self.number, token.keys)))
        return Nest("named", items, (self.number(token.type),))


def _is_plain(token: Token) -> bool:
    if token.kind == MAPPING:
        return token.type is dict and all(type(key) is str for key in token.keys)
    return token.kind != FIELDS or issubclass(token.type, tuple)


_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes),
    *(np.dtype, np.generic, Enum, BuiltinFunctionType),
)


def _never_changes(value: Any) -> bool:
    """Whether an object is the same key of a program as long as it lives."""
    if type(value) in (tuple, frozenset):
        return all(map(_never_changes, value))
    if dataclasses.is_dataclass(type(value)):  # fields are part of the key
        parameters = type(value).__dataclass_params__
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return parameters.frozen and all(map(_never_changes, fields))
    hash_of: Any = type(value).__hash__
    return hash_of is object.__hash__ or isinstance(value, _CONSTANTS)
