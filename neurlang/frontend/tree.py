"""Nested arguments: lists, tuples, dicts, dataclasses and named tuples, taken apart and rebuilt.

A structure is the nesting without its leaves, written in preorder as one flat tuple of tokens, so
that comparing and hashing it needs no recursion. None is structure, not a leaf.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from neurlang.errors import ArgumentError

Values = tuple[Any, ...]

DEEPEST = 100
COMMON_LEAVES = frozenset((np.ndarray, bool, int, float))  # found without asking what they are

LEAF = "leaf"
NONE = "none"
SEQUENCE = "sequence"
MAPPING = "mapping"
FIELDS = "fields"


class Token(NamedTuple):
    """A leaf, a None, or a container with the keys of its children, which are indices for lists."""

    kind: str
    type: Any = None
    keys: tuple[Any, ...] = ()


_LEAF = Token(LEAF)
_NONE = Token(NONE)


class Structure:
    """The shape of a nested argument, hashable and comparable; `count` leaves are missing in it."""

    __slots__ = ("_hash", "count", "tokens")

    def __init__(self, tokens: tuple[Token, ...], count: int) -> None:
        self.tokens = tokens
        self.count = count
        self._hash = hash(tokens)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Structure) or self._hash != other._hash:
            return False
        return self.tokens == other.tokens

    def __repr__(self) -> str:
        return f"Structure({unflatten(self, [_Star()] * self.count)!r})"


class _Star:
    def __repr__(self) -> str:
        return "*"


_SINGLE = Structure((_LEAF,), 1)


@lru_cache(maxsize=4096)
def _sequence_token(kind: Hashable, size: int) -> Token:
    return Token(SEQUENCE, kind, tuple(range(size)))


@lru_cache(maxsize=4096)
def _mapping_token(kind: Hashable, keys: tuple[Any, ...]) -> Token:
    return Token(MAPPING, kind, keys)


@lru_cache(maxsize=4096)
def _fields_token(kind: Any) -> Token | None:
    """The token of a named tuple or dataclass; None for every other type, which is a leaf."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return Token(FIELDS, kind, tuple(kind._fields))
    if dataclasses.is_dataclass(kind):
        return Token(FIELDS, kind, tuple(field.name for field in dataclasses.fields(kind)))
    return None


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of `tree` from left to right, and the structure that they were taken from.

    Containers are lists, tuples, dicts (in their own order), ordered dicts, named tuples and
    dataclasses; all else is a leaf. ArgumentError where they are nested deeper than 100 levels.
    """
    if type(tree) in COMMON_LEAVES:
        return [tree], _SINGLE
    leaves: list[Any] = []
    tokens: list[Token] = []
    pending: list[Iterator[Any]] = [iter((tree,))]
    while pending:
        for item in pending[-1]:
            if type(item) in COMMON_LEAVES:
                leaves.append(item)
                tokens.append(_LEAF)
                continue
            token, children = _open(item)
            tokens.append(token)
            if token is _LEAF:
                leaves.append(item)
            elif children:
                pending.append(iter(children))
                break
        else:
            pending.pop()
        if len(pending) > DEEPEST + 1:
            raise ArgumentError(
                f"an argument is nested deeper than {DEEPEST} levels",
                hint="pass flatter containers; one that contains itself cannot be compiled",
            )
    return leaves, Structure(tuple(tokens), len(leaves))


def flatten_call(args: Values, kwargs: dict[str, Any]) -> tuple[Values, Structure]:
    """`flatten((args, kwargs))`, faster where every argument is a leaf."""
    values = (*args, *kwargs.values())
    if COMMON_LEAVES.issuperset(map(type, values)):
        return values, _flat_call(len(args), tuple(kwargs))
    leaves, structure = flatten((args, kwargs))
    return tuple(leaves), structure


@lru_cache(maxsize=4096)
def _flat_call(count: int, names: tuple[str, ...]) -> Structure:
    return flatten(((0,) * count, dict.fromkeys(names, 0)))[1]


def flatten_named(values: dict[str, Any]) -> tuple[Values, Structure]:
    """`flatten(values)`, faster where every value is a leaf."""
    if COMMON_LEAVES.issuperset(map(type, values.values())):
        return tuple(values.values()), _flat_names(tuple(values))
    leaves, structure = flatten(values)
    return tuple(leaves), structure


@lru_cache(maxsize=4096)
def _flat_names(names: tuple[str, ...]) -> Structure:
    return flatten(dict.fromkeys(names, 0))[1]


def _open(item: Any) -> tuple[Token, Collection[Any]]:
    """An item's token, and its children."""
    kind: Any = type(item)
    if kind is tuple or kind is list:
        return _sequence_token(kind, len(item)), item
    if kind is dict or kind is OrderedDict:
        return _mapping_token(kind, tuple(item)), item.values()
    if item is None:
        return _NONE, ()
    token = _fields_token(kind)
    if token is None:
        return _LEAF, ()
    return token, [getattr(item, name) for name in token.keys]


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The nested value of that structure with these leaves; ArgumentError where the count differs.

    Dataclasses are rebuilt field by field, without running `__init__`.
    """
    if len(leaves) != structure.count:
        raise ArgumentError(f"{structure!r} takes {structure.count} leaves, not {len(leaves)}")
    remaining = list(leaves)
    built: list[Any] = []
    for token in reversed(structure.tokens):
        if token.kind == LEAF:
            built.append(remaining.pop())
        elif token.kind == NONE:
            built.append(None)
        else:
            first = len(built) - len(token.keys)
            children = built[first:][::-1]
            built[first:] = [_close(token, children)]
    return built[0]


def _close(token: Token, children: list[Any]) -> Any:
    """The container of a token with these children."""
    if token.kind == SEQUENCE:
        return token.type(children)
    if token.kind == MAPPING:
        return token.type(zip(token.keys, children))
    if issubclass(token.type, tuple):
        return token.type._make(children)
    rebuilt = object.__new__(token.type)
    for name, child in zip(token.keys, children):
        object.__setattr__(rebuilt, name, child)
    return rebuilt


def path_names(structure: Structure, root: str) -> list[str]:
    """How Python reaches each leaf of a value called `root`: `params['w'][0]`, `state.step`."""
    names: list[str] = []
    pending = [root]
    for token in structure.tokens:
        path = pending.pop()
        if token.kind == LEAF:
            names.append(path)
        elif token.kind == FIELDS:
            pending.extend(f"{path}.{key}" for key in reversed(token.keys))
        else:
            pending.extend(f"{path}[{key!r}]" for key in reversed(token.keys))
    return names


__all__ = ["Structure", "flatten", "flatten_call", "flatten_named", "path_names", "unflatten"]
