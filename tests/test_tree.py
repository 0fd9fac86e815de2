"""Nested arguments: every container survives a round trip, and structures compare by shape."""

from __future__ import annotations

import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from neurlang.errors import ArgumentError
from neurlang.frontend.tree import flatten, flatten_call, flatten_named, path_names, unflatten

Point = namedtuple("Point", ["x", "y"])


@dataclass(frozen=True)
class Layer:
    weight: Any
    bias: Any = None


@dataclass(slots=True)
class Model:
    layers: list[Layer]
    step: int = field(default=0, init=False)


TREES = [
    1.5,
    None,
    (),
    [],
    {},
    [1, [2, (3, None)], {"b": 4, "a": [5]}],
    Point(1, (2, 3)),
    OrderedDict(b=1, a=2),
    Layer(1, None),
    Model([Layer(1, 2), Layer(3)]),
    ((1,), {"x": 2}),
    {1: "one", (2, 3): [None, None]},
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_round_trip(tree):
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert again == tree and type(again) is type(tree)
    assert flatten(again)[1] == structure and hash(flatten(again)[1]) == hash(structure)
    assert structure.count == len(leaves)


def test_leaves_come_from_left_to_right():
    assert flatten([1, {"b": 2, "a": (3, None)}, Layer(4, 5)])[0] == [1, 2, 3, 4, 5]


def test_dicts_keep_their_order():
    tree = {"b": 1, "a": 2}
    leaves, structure = flatten(tree)
    assert list(unflatten(structure, leaves)) == ["b", "a"]


@pytest.mark.parametrize(
    "left, right",
    [
        ([1], (1,)),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        ([None], [1]),
        (Point(1, 2), (1, 2)),
        ([], 1),
    ],
    ids=repr,
)
def test_different_structures_differ(left, right):
    assert flatten(left)[1] != flatten(right)[1]


def test_leaves_do_not_matter_to_the_structure():
    assert flatten([1, {"a": 2.0}])[1] == flatten([np.ones(3), {"a": "text"}])[1]
    assert flatten([1])[1] != "another thing"


def test_arrays_and_strings_are_leaves():
    x = np.ones((2, 2))
    leaves, _ = flatten([x, "text", {1, 2}, range(3), Layer])
    assert leaves[0] is x and leaves[1:] == ["text", {1, 2}, range(3), Layer]


def test_path_names():
    tree = {"w": [1, 2], 3: Layer(4, Point(5, 6))}
    names = path_names(flatten(tree)[1], "params")
    assert names == [
        "params['w'][0]",
        "params['w'][1]",
        "params[3].weight",
        "params[3].bias.x",
        "params[3].bias.y",
    ]
    assert path_names(flatten(1)[1], "x") == ["x"]


def nested(levels: int) -> Any:
    tree: Any = 1
    for _ in range(levels):
        tree = [tree]
    return tree


def test_depth_has_a_limit_of_ours_not_of_python():
    limit = sys.getrecursionlimit()
    tree = nested(100)
    leaves, structure = flatten(tree)
    assert leaves == [1] and flatten(unflatten(structure, [2]))[0] == [2]
    assert sys.getrecursionlimit() == limit
    with pytest.raises(ArgumentError, match="deeper than 100"):
        flatten(nested(101))


def test_a_container_that_contains_itself():
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(ArgumentError, match="deeper"):
        flatten(tree)


def test_wide_containers():
    leaves, structure = flatten(list(range(100_000)))
    assert unflatten(structure, leaves) == list(range(100_000))


def test_wrong_number_of_leaves():
    with pytest.raises(ArgumentError, match="takes 2 leaves, not 1"):
        unflatten(flatten([1, 2])[1], [1])


def test_repr_shows_the_nesting():
    assert repr(flatten([1, {"a": 2}])[1]) == "Structure([*, {'a': *}])"


@pytest.mark.parametrize("value", [1.5, np.ones(2), None, [1, 2], {"a": 1}, Point(1, 2), "text"])
def test_calls_and_names_are_flattened_as_any_tree(value: Any) -> None:
    kwargs = {"scale": value, "k": 2}
    for args in ((), (value,), (1, value)):
        leaves, structure = flatten((args, kwargs))
        found, same = flatten_call(args, kwargs)
        assert list(map(id, found)) == list(map(id, leaves)) and same == structure
    leaves, structure = flatten(kwargs)
    found, same = flatten_named(kwargs)
    assert list(map(id, found)) == list(map(id, leaves)) and same == structure
