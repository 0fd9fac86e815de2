"""Graph text that is no graph: the whole message, which names the line and what is wrong."""

from __future__ import annotations

import pytest

import neurlang as nl

TYPES = "write a dtype and a shape, like f32[64,128]"

HEADERS = [
    ("", "line 1: the text does not begin with `graph name(params):`", None),
    ("\n  \n", "line 1: the text does not begin with `graph name(params):`", None),
    ("f(x):", "line 1: 'f(x):': the text does not begin with `graph name(params):`", None),
    (
        "\ngraph f(%x: f32[-4]):\n    return %x",
        "line 2: 'graph f(%x: f32[-4]):': 'f32[-4]' is not a type",
        TYPES,
    ),
    (
        "graph f(%x: f32[2,]):\n    return %x",
        "line 1: 'graph f(%x: f32[2,]):': the type f32[2,] is written f32[2]",
        None,
    ),
    (
        "graph f(%x: f32[2], %x: i64[]):\n    return %x",
        "line 1: 'graph f(%x: f32[2], %x: i64[]):': %x is defined twice",
        None,
    ),
    (
        "graph f(%x: f32[2], y):\n    return %x",
        "line 1: 'graph f(%x: f32[2], y):': '%x: f32[2], y' is no parameter, like %x: f32[3]",
        None,
    ),
    ("graph f():\n\n", "line 2: the text ends without `return`", None),
    (
        "graph f(%x: f32[2]):\n    return %x\n    return %x",
        "line 3: 'return %x': a second `return`",
        None,
    ),
    (
        "graph f(%x: f32[2]):\n    return %x\n    %0: f32[2] = neg %x",
        "line 3: '%0: f32[2] = neg %x': it stands after `return`",
        None,
    ),
    ("graph f():\n    return %y", "line 2: 'return %y': %y is not defined above", None),
    ("graph f():\n    return y", "line 2: 'return y': 'y' is no list of names, like %x, %y", None),
    ("graph f():\n    returns", "line 2: 'returns': neither a node nor `return`", None),
]
NODES = [
    ("%0: i64[] = const 1.5", "1.5 is no value of i64[]", None),
    ("%0: i8[] = const 300", "300 is no value of i8[]", None),
    ("%0: u8[2] = const [1, -1]", "-1 is no value of u8[2]", None),
    ("%0: f32[] = const 1e39", "1e+39 is no value of f32[]", None),
    ("%0: bool[] = const 1", "1 is no value of bool[]", None),
    ("%0: f32[] = const True", "True is no value of f32[]", None),
    ("%0: f32[] = const", "'' is no value", None),
    ("%0: f32[] = const -", "'-' is no value", None),
    (
        "%0: f32[3] = const [1.0, 2.0]",
        "the constant has the shape [2], its type is f32[3]",
        None,
    ),
    (
        "%0: f32[2] = const [[1.0], 2.0]",
        "the rows of the constant have different lengths",
        None,
    ),
    ("%0: f64[-1] = neg %x", "'f64[-1]' is not a type", TYPES),
    ("%0: f33[3] = neg %x", "'f33[3]' is not a type", TYPES),
    ("%x: f32[3] = neg %x", "%x is defined twice", None),
    ("%0: f32[3] = nag %x", "there is no op 'nag'", None),
    ('%0: f32[3] = param name="z"', "parameters stand in the first line", None),
    ("%0: f32[3] = add %x, %y", "%y is not defined above", None),
    ("%0: f32[3] = add %x", "add takes 2 arguments, not 1", None),
    ("%0: f32[3] = add %x and %x", "'%x and %x' is no list of names, like %x, %y", None),
    ("%0: f64[3] = neg %x", "neg gives f32[3], the text says f64[3]", None),
    (
        "%0: bool[3] = not %x",
        "not takes bool or signed integers or unsigned integers, not f32[3]",
        "convert with astype",
    ),
    ("%0: f32[3] = neg %x axis=1", "neg takes no axis=", None),
    ("%0: f32[3] = concat %x axis=0 axis=0", "axis= is given twice", None),
    ("%0: f32[3] = concat axis=0", "the attributes do not fit concat of no arguments", None),
    ("%0: f32[2] = slice %x start=[0] size=[2]", "slice needs step=", None),
    ("%0: f32[2] = slice %x", "slice needs start=, size=, step=", None),
    (
        "%0: f32[2] = slice %x start=[0, 1] size=[2] step=[1]",
        "the attributes do not fit slice of f32[3]",
        None,
    ),
    ("%0: f32[] = reduce_sum %x axes=0", "axes=0 is not a list of integers", None),
    ("%0: f32[] = reduce_sum %x axes=[0.5]", "axes=[0.5] is not a list of integers", None),
    ("%0: f32[] = reduce_sum %x axes=[1]", "reduce_sum over axes (1,) of f32[3]", None),
    ("%0: i64[3] = iota axis=True", "axis=True is not an integer", None),
    ("%0: i64[3] = iota axis=1", "i64[3] has no axis 1", None),
    ("%0: f64[3] = cast %x dtype=f16", "'f16' is no value", None),
    ("%0: f64[3] = cast %x dtype=2", "dtype=2 is not a dtype", None),
    ("%0: f32[3] = cumulative %x op=sum", "'sum' is no value", None),
    ("%0: f32[3] = cumulative %x op=1", "op=1 is not a text in quotes", None),
    ('%0: f32[3] = cumulative %x op="and" axis=0', "cumulative has no op 'and'", None),
    ('%0: f32[3] = cumulative %x op="sum" axis=1', "cumulative along axis 1 of f32[3]", None),
    ("%0: f32[5] = pad %x low=[1] high=[1] value=True", "True is no value of f32[5]", None),
]


@pytest.mark.parametrize(("text", "what", "hint"), HEADERS)
def test_wrong_text(text: str, what: str, hint: str | None) -> None:
    with pytest.raises(nl.FormatError) as caught:
        nl.ir.parse(text)
    assert (caught.value.what, caught.value.hint) == (what, hint)


@pytest.mark.parametrize(("line", "problem", "hint"), NODES)
def test_wrong_nodes(line: str, problem: str, hint: str | None) -> None:
    with pytest.raises(nl.FormatError) as caught:
        nl.ir.parse(f"graph f(%x: f32[3]):\n    {line}  # model.py:3: y = x\n    return %x")
    assert caught.value.what == f"line 2: {line!r}: {problem}"
    assert caught.value.hint == hint
    assert len(str(caught.value).splitlines()) <= 4


@pytest.mark.parametrize(
    "body",
    [
        "    return ",
        "    %0: f32[0,2] = const []\n    return %0",
        "    %0: f32[3] = const -inf\n    return %0, %x",
        "    %0: f32[2] = const [nan, 1.e+30]\n    return %0",
        "    %0: u64[] = const 18446744073709551615\n    return %0",
        "    %0: bool[2] = const [True, False]\n    return %0",
        "    %0: f32[5] = pad %x low=[1] high=[1] value=-inf\n    return %0",
        '    %0: f32[3] = cumulative %x op="sum" axis=0\n    return %0',
        "    %0: i64[2,4] = iota axis=1\n    return %0",
        "    %0: f64[3] = cast %x dtype=f64\n    return %0",
    ],
)
def test_right_text_reads_back(body: str) -> None:
    text = f"graph f(%x: f32[3]):\n{body}"
    assert str(nl.ir.parse(text)) == text
