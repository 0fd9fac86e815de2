"""Calls in NumPy's words: its names for parameters, and its order of what we take by name only."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def in_our_words(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of NumPy's function `theirs` as our function of that name takes them.

    What ours must be given stands first in both, under other names. Everything else goes by its
    name, for the order may differ; None stands for what was not given.
    """
    names = _their_names(theirs)
    places = _our_places(ours)
    if places is None or len(args) > len(names):
        return tuple(args), dict(keywords)
    positional = list(args[:places])
    named = dict(keywords)
    for name, value in zip(names[places:], args[places:]):
        if value is not None:
            named.setdefault(name, value)
    while len(positional) < min(places, len(names)) and names[len(positional)] in named:
        positional.append(named.pop(names[len(positional)]))
    return tuple(positional), named


@functools.cache
def _their_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what it takes by place; none where there is no telling."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return ()
    return tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)


@functools.cache
def _our_places(function: Callable[..., Any]) -> int | None:
    """How many arguments ours must be given, which stand first; None where there is no limit."""
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    needed = (p.kind in _POSITIONAL and p.default is inspect.Parameter.empty for p in parameters)
    return sum(itertools.takewhile(bool, needed))


__all__ = ["in_our_words"]
