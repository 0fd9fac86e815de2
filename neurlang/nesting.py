"""How nested arguments and results of a function look to the native entry of its program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

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

    def call(self, structure: Structure) -> tuple[Sequence[Nested], Sequence[int]] | None:
        """The positional and keyword arguments of a structure of (args, kwargs): all of them, and
        the numbers of the keywords."""
        nest = self.nest(structure)
        if nest is None:
            return None
        assert isinstance(nest, Nest)
        positional, named = nest.items
        assert isinstance(positional, Nest) and isinstance(named, Nest)
        return (*positional.items, *named.items), named.names

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
