"""Graph text back to a graph: `parse(str(graph))` prints as the same text."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from neurlang.errors import FormatError, NeurlangError, Where
from neurlang.ir.graph import Graph, Node, make_node
from neurlang.ir.ops import OPS
from neurlang.ir.types import NAMES, DType, Type, parse_type

_HEADER = re.compile(r"graph ([^\s(]+)\((.*)\):")
_PARAMETER = re.compile(r"(%\w+): (\w+\[[^\]]*\])")
_NODE = re.compile(r"(%\w+): (\w+\[[^\]]*\]) = (\w+)(?: (.*))?")
_ATTR = re.compile(r"(\w+)=(\[[^\]]*\]|\"[^\"]*\"|\S+)")
_ARGUMENTS = re.compile(r"%\w+(?:,\s*%\w+)*")
_RETURN = re.compile(r"return(?:\s+(.*))?")
_PLACE = re.compile(r"(.*?):(\d+)(?:: (.*))?")
_SPECIAL = re.compile(r"\b(nan|inf)\b")

# What is written after the arguments of an op; those that are not named here take nothing.
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "iota": ("axis",),
    "cast": ("dtype",),
    "bitcast": ("dtype",),
    "reshape": ("shape",),
    "transpose": ("axes",),
    "slice": ("start", "size", "step"),
    "window": ("axes", "size", "step", "dilation"),
    "pad": ("low", "high", "value"),
    "concat": ("axis",),
    "gather": ("axis",),
    "scatter": ("mode",),
    "update": ("start", "step"),
    "cumulative": ("op", "axis"),
    **{op.name: ("axes",) for op in OPS.values() if op.kind == "reduce"},
}
_KINDS: Mapping[str, tuple[type, str]] = {  # of the attributes that are no lists of integers
    "axis": (int, "an integer"),
    "dtype": (np.dtype, "a dtype"),
    "mode": (str, "a text in quotes"),
    "op": (str, "a text in quotes"),
    "value": (object, "a number"),
}
_WRITTEN: Mapping[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (int, float),
}


# values


def _literal(text: str) -> Any:
    """A number, a string, a dtype, or a tuple for a list of them; ValueError for other text."""
    if text in NAMES:
        return np.dtype(NAMES[text])
    try:
        return _evaluate(ast.parse(_SPECIAL.sub(r'float("\1")', text), mode="eval").body)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is no value") from None


def _evaluate(tree: ast.expr) -> Any:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.List(elts=items):
            return tuple(_evaluate(item) for item in items)
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=value)]):
            return float(str(value))
    raise ValueError(ast.dump(tree))


def _fits(value: Any, dtype: DType) -> bool:
    """Whether a dtype holds a value as it is written: no fraction is lost, nothing overflows."""
    if type(value) not in _WRITTEN[dtype.kind]:
        return False
    try:
        with np.errstate(over="ignore"):
            converted = np.array(value, dtype)
    except OverflowError:
        return False
    return dtype.kind != "f" or bool(np.isfinite(converted)) or not math.isfinite(value)


def _numbers(value: Any) -> Iterator[Any]:
    """The numbers of nested lists, from left to right."""
    if not isinstance(value, tuple):
        yield value
        return
    for item in value:
        yield from _numbers(item)


def _constant(text: str, type: Type, where: Where | None) -> Node:
    written = _literal(text)
    for number in _numbers(written):
        if not _fits(number, type.dtype):
            raise ValueError(f"{number!r} is no value of {type}")
    try:
        value = np.array(written, type.dtype)
    except ValueError:
        raise ValueError("the rows of the constant have different lengths") from None
    if value.ndim and value.shape != type.shape:
        if value.size or type.size:
            raise ValueError(f"the constant has the shape {list(value.shape)}, its type is {type}")
        value = value.reshape(type.shape)  # [] is how every shape without elements is written
    value.flags.writeable = False
    return Node("const", (), {"value": value}, type, where)


# lines


def _type(text: str) -> Type:
    type = parse_type(text)
    if str(type) != text:
        raise ValueError(f"the type {text} is written {type}")
    return type


def _attributes(op: str, text: str) -> dict[str, Any]:
    """The attributes of an op: each that it takes, once, and of the right kind."""
    wanted = _ATTRIBUTES.get(op, ())
    found: dict[str, Any] = {}
    for key, written in _ATTR.findall(text):
        if key not in wanted:
            raise ValueError(f"{op} takes no {key}=")
        if key in found:
            raise ValueError(f"{key}= is given twice")
        value = _literal(written)
        kind, words = _KINDS.get(key, (tuple, "a list of integers"))
        if not isinstance(value, kind) or not _is_plain(value, kind):
            raise ValueError(f"{key}={written} is not {words}")
        found[key] = value
    missing = [f"{key}=" for key in wanted if key not in found]
    if missing:
        raise ValueError(f"{op} needs {', '.join(missing)}")
    return found


def _is_plain(value: Any, kind: type) -> bool:
    """Whether an integer is no bool, which Python takes for one, and a list has only integers."""
    items = value if kind is tuple else (value,)
    return kind not in (int, tuple) or all(type(item) is int for item in items)


def _make(op: str, args: Sequence[Node], where: Where | None, attrs: dict[str, Any]) -> Node:
    """The node; ValueError where the lists in its attributes are not as long as they should be."""
    try:
        return make_node(op, args, where, **attrs)
    except NeurlangError:
        raise
    except (ValueError, TypeError, IndexError):
        types = ", ".join(str(arg.type) for arg in args) or "no arguments"
        raise ValueError(f"the attributes do not fit {op} of {types}") from None


class _Reader:
    """What has been read so far, line by line."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.table: dict[str, Node] = {}
        self.params: tuple[Node, ...] = ()
        self.outputs: tuple[Node, ...] | None = None
        self.where: Where | None = None

    def read(self, code: str, comment: str) -> None:
        """One line that is not empty; ValueError or a NeurlangError says what is wrong with it."""
        if self.name is None:
            self._read_header(code)
            return
        place = _PLACE.fullmatch(comment)
        if place is not None:
            self.where = Where(place[1], int(place[2]), place[3] or "")
        returned = _RETURN.fullmatch(code)
        if self.outputs is not None:
            raise ValueError("a second `return`" if returned else "it stands after `return`")
        if returned is not None:
            self.outputs = tuple(self._named(returned[1] or ""))
            return
        match = _NODE.fullmatch(code)
        if match is None:
            raise ValueError("neither a node nor `return`")
        self._define(match[1], self._node(_type(match[2]), match[3], match[4] or ""))

    def _read_header(self, code: str) -> None:
        header = _HEADER.fullmatch(code)
        if header is None:
            raise ValueError("the text does not begin with `graph name(params):`")
        for part in re.split(r",\s*(?=%)", header[2]) if header[2] else ():
            match = _PARAMETER.fullmatch(part)
            if match is None:
                raise ValueError(f"{part!r} is no parameter, like %x: f32[3]")
            node = Node("param", (), {"name": match[1].removeprefix("%")}, _type(match[2]))
            self._define(match[1], node)
        self.name = header[1]
        self.params = tuple(self.table.values())

    def _define(self, name: str, node: Node) -> None:
        if name in self.table:
            raise ValueError(f"{name} is defined twice")
        self.table[name] = node

    def _named(self, text: str) -> Iterator[Node]:
        """The nodes of `%x, %y`."""
        text = text.strip()
        if text and _ARGUMENTS.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no list of names, like %x, %y")
        for name in re.findall(r"%\w+", text):
            if name not in self.table:
                raise ValueError(f"{name} is not defined above")
            yield self.table[name]

    def _node(self, type: Type, op: str, rest: str) -> Node:
        if op not in OPS:
            raise ValueError(f"there is no op {op!r}")
        if op == "param":
            raise ValueError("parameters stand in the first line")
        if op == "const":
            return _constant(rest.strip(), type, self.where)
        attrs = _attributes(op, rest)
        args = tuple(self._named(_ATTR.sub("", rest)))
        if op == "iota":
            if not 0 <= attrs["axis"] < type.ndim:
                raise ValueError(f"{type} has no axis {attrs['axis']}")
            attrs = {"dtype": type.dtype, "shape": type.shape, **attrs}
        if op == "broadcast":
            attrs["shape"] = type.shape
        node = _make(op, args, self.where, attrs)
        if op == "pad" and not _fits(attrs["value"], node.dtype):
            raise ValueError(f"{attrs['value']!r} is no value of {node.type}")
        if node.type != type:
            raise ValueError(f"{op} gives {node.type}, the text says {type}")
        return node


def parse(text: str) -> Graph:
    """Read graph text; FormatError names the line that is wrong, and says what is wrong with it."""
    reader = _Reader()
    number = 1
    for number, line in enumerate(text.splitlines(), start=1):
        code, _, comment = line.partition("  # ")
        code = code.strip()
        if not code:
            continue
        try:
            reader.read(code, comment)
        except NeurlangError as error:
            raise FormatError(f"line {number}: {code!r}: {error.what}", hint=error.hint) from error
        except ValueError as error:
            raise FormatError(f"line {number}: {code!r}: {error}") from error
    if reader.name is None:
        raise FormatError("line 1: the text does not begin with `graph name(params):`")
    if reader.outputs is None:
        raise FormatError(f"line {number}: the text ends without `return`")
    return Graph(reader.name, reader.params, tuple(reader.table.values()), reader.outputs)
