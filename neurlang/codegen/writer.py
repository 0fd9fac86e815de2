"""Typed LLVM IR text: one method per instruction, values that know their type.

Text is written instead of built through an object model because parsing text is about fifteen
times faster. The writer keeps names apart, declares intrinsics once and checks nothing else:
LLVM's own parser and verifier read every module before it is compiled.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

SMALLEST_REGISTER = 128  # bits of a vector
BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64, "ptr": 64}
INTEGER_OF = {"float": "i32", "double": "i64"}
FLOAT_OF = {"i32": "float", "i64": "double"}
SHORTEST_CHAIN = 8  # lines
_NAME = re.compile(r"%[\w.]+")
SUFFIX = {"float": "f32", "double": "f64", "ptr": "p0"}


@lru_cache(maxsize=4096)
def split_type(name: str) -> tuple[str, int]:
    """`"<16 x float>"` -> `("float", 16)`; a scalar has one lane."""
    if name[0] != "<":
        return name, 1
    lanes, scalar = name[1:-1].split(" x ")
    return scalar, int(lanes)


def vector_type(scalar: str, lanes: int) -> str:
    """`("float", 16)` -> `"<16 x float>"`; one lane is the scalar itself."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA name or a constant, with its LLVM type."""

    text: str
    type: str

    @property
    def scalar(self) -> str:
        return split_type(self.type)[0]

    @property
    def lanes(self) -> int:
        return split_type(self.type)[1]

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def float_text(number: float, scalar: str) -> str:
    """A float constant as LLVM reads it exactly: the bits of a double, in hexadecimal."""
    if scalar == "float":
        (number,) = struct.unpack("<f", struct.pack("<f", number))
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    return f"0x{bits:016X}"


def constant(number: int | float | bool, type: str) -> Value:
    """A literal of `type`; a vector type gets the literal in every lane."""
    scalar, lanes = split_type(type)
    if scalar in SUFFIX:
        text = float_text(float(number), scalar)
    elif scalar == "i1":
        text = "true" if number else "false"
    else:
        text = str(int(number))
    return Value(text if lanes == 1 else f"splat ({scalar} {text})", type)


def constant_vector(numbers: Sequence[int | float | bool], scalar: str) -> Value:
    """A vector literal with the given lanes."""
    parts = ", ".join(str(constant(number, scalar)) for number in numbers)
    return Value(f"<{parts}>", vector_type(scalar, len(numbers)))


@lru_cache(maxsize=4096)
def _shuffle_mask(lanes: tuple[int, ...]) -> str:
    parts = ", ".join(f"i32 {lane}" if lane >= 0 else "i32 poison" for lane in lanes)
    return f"<{len(lanes)} x i32> " + (f"<{parts}>" if any(lanes) else "zeroinitializer")


def intrinsic_suffix(type: str) -> str:
    """`"<16 x float>"` -> `"v16f32"`: how LLVM mangles a type into an intrinsic's name."""
    scalar, lanes = split_type(type)
    short = SUFFIX.get(scalar, scalar)
    return short if lanes == 1 else f"v{lanes}{short}"


def _is_straight(lines: Sequence[str]) -> bool:
    return all(line and line[0] == " " and not line.startswith("  br ") for line in lines)


def _in_turns(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Lines of both, each after those that it refers to; the second may refer to the first."""
    place = {line.split(" ", 3)[2]: number for number, line in enumerate(first)}
    merged: list[str] = []
    done = 0
    for line in second:
        needed = max((place.get(name, -1) for name in _NAME.findall(line)), default=-1)
        turn = max(done + 1, needed + 1)
        merged += first[done:turn]
        merged.append(line)
        done = turn
    return merged + list(first[done:])


class Module:
    """The text of one LLVM module: globals, functions, and the declarations they need.

    `features` are those of the machine it is for, by LLVM's names, that may choose instructions;
    they never choose bits of a result.
    """

    def __init__(self, features: frozenset[str] = frozenset()) -> None:
        self.features = features
        self.globals: list[str] = []
        self.functions: list[str] = []
        self.declarations: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.metadata: dict[str, str] = {}  # names by bodies
        self.helpers: set[str] = set()

    def declare(self, name: str, result: str, arguments: Iterable[str]) -> None:
        """Declare an external function or an intrinsic, once."""
        if name not in self.declarations:
            self.declarations[name] = f"declare {result} @{name}({', '.join(arguments)})"

    def constant_array(self, scalar: str, numbers: Sequence[int | float]) -> Value:
        """A private constant table; equal tables are one. The value is its address."""
        parts = ", ".join(str(constant(number, scalar)) for number in numbers)
        body = f"[{len(numbers)} x {scalar}] [{parts}]"
        name = self.constants.setdefault(body, f"@table{len(self.constants)}")
        return Value(name, "ptr")

    def nontemporal(self) -> str:
        """The metadata node that makes stores nontemporal."""
        return self.metadata.setdefault("!{i32 1}", f"!{len(self.metadata)}")

    def weights(self, yes: int, no: int) -> str:
        """The metadata node that says how often a branch goes where."""
        body = f'!{{!"branch_weights", i32 {yes}, i32 {no}}}'
        return self.metadata.setdefault(body, f"!{len(self.metadata)}")

    def text(self) -> str:
        tables = [
            f"{name} = private unnamed_addr constant {body}, align 64"
            for body, name in self.constants.items()
        ]
        metadata = [f"{name} = {body}" for body, name in self.metadata.items()]
        parts = [*tables, *self.globals, *self.declarations.values(), *self.functions, *metadata]
        return "\n".join(parts) + "\n"


class Writer:
    """Writes one function's body. `block` is the label that is being filled."""

    def __init__(self, module: Module, signature: str) -> None:
        self.module = module
        self.lines = [f"define {signature} {{", "entry:"]
        self.block = "entry"
        self.names = 0
        self.known: dict[str, Value] = {}  # what pure instructions of this block gave

    def call_helper(
        self, name: str, arguments: Sequence[Value], body: Callable[..., Value]
    ) -> Value:
        """Call a function of this module, for what is rarely done; `body` writes it, once.

        All arguments and the result have one type. The name says all that the body depends on.
        As it is cold, LLVM moves calls of it out of the way of what is done always.
        """
        type = arguments[0].type
        parameters = [Value(f"%argument{i}", type) for i in range(len(arguments))]
        if name not in self.module.helpers:
            self.module.helpers.add(name)
            signature = f"{type} @{name}({', '.join(map(str, parameters))})"
            helper = Writer(self.module, f"internal {signature} cold noinline nounwind")
            helper.ret(body(helper, *parameters))
            helper.finish()
        return self.value(f"call {type} @{name}({', '.join(map(str, arguments))})", type)

    # names, lines and control flow

    def name(self, hint: str = "") -> str:
        self.names += 1
        return f"%{hint}{self.names}" if hint else f"%v{self.names}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def value(self, instruction: str, type: str) -> Value:
        name = self.name()
        self.lines.append(f"  {name} = {instruction}")
        return Value(name, type)

    def pure(self, instruction: str, type: str) -> Value:
        """The value of an instruction that reads nothing but its operands: in a block, once."""
        found = self.known.get(instruction)
        if found is None:
            found = self.known[instruction] = self.value(instruction, type)
        return found

    def label(self, hint: str) -> str:
        self.names += 1
        return f"{hint}.{self.names}"

    def start_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label
        self.known = {}

    def branch(self, label: str) -> None:
        self.line(f"br label %{label}")

    def branch_if(self, condition: Value, yes: str, no: str, times: int = 0) -> None:
        """Go to `yes` where the condition holds; `times` as often as to `no`, where that is known.

        What LLVM keeps in registers is what it takes to be used most often.
        """
        weights = f", !prof {self.module.weights(times, 1)}" if times else ""
        self.line(f"br i1 {condition.text}, label %{yes}, label %{no}{weights}")

    def ret(self, value: Value | None = None) -> None:
        self.line("ret void" if value is None else f"ret {value}")

    def place(self) -> int:
        """A place in the text, for what is written later `at` it."""
        self.lines.append("")
        return len(self.lines) - 1

    @contextmanager
    def at(self, place: int) -> Iterator[None]:
        """Write what is inside at an earlier place, after what was written there before."""
        lines, self.lines = self.lines, []
        known, self.known = self.known, {}
        yield
        written, self.lines = self.lines, lines
        self.known = known
        self.lines[place] = "\n".join(filter(None, [self.lines[place], *written]))

    def interleave(self, starts: Sequence[int]) -> None:
        """Take lines in turns from two pieces of the text at a time, which begin at these places
        and do the same to other elements. Not where one has blocks of its own, or is a few lines.

        Each is a chain of instructions that wait for each other, and a processor finds work that
        need not wait among the next few dozen only.
        """
        ends = [*starts[1:], len(self.lines)]
        pieces = [self.lines[start:end] for start, end in zip(starts, ends)]
        if any(len(piece) < SHORTEST_CHAIN or not _is_straight(piece) for piece in pieces):
            return
        for first, second in zip(range(0, len(pieces), 2), range(1, len(pieces), 2)):
            self.lines[starts[first] : ends[second]] = _in_turns(pieces[first], pieces[second])

    def finish(self) -> None:
        """Close the function and hand its text to the module."""
        self.lines.append("}")
        self.module.functions.append("\n".join(filter(None, self.lines)))

    def phi(self, type: str) -> tuple[Value, int]:
        """A phi whose incoming edges are given later to `set_phi`."""
        name = self.name()
        self.lines.append("")
        return Value(name, type), len(self.lines) - 1

    def set_phi(self, phi: tuple[Value, int], edges: Iterable[tuple[Value, str]]) -> None:
        value, line = phi
        incoming = ", ".join(f"[ {edge.text}, %{label} ]" for edge, label in edges)
        self.lines[line] = f"  {value.text} = phi {value.type} {incoming}"

    @contextmanager
    def when(self, condition: Value, hint: str = "then") -> Iterator[None]:
        """Run what is written inside only if `condition` (an i1) holds."""
        yes, after = self.label(hint), self.label("after")
        self.branch_if(condition, yes, after)
        self.start_block(yes)
        yield
        self.branch(after)
        self.start_block(after)

    def either(
        self,
        condition: Value,
        yes: Callable[[], Value],
        no: Callable[[], Value],
        times: int,
    ) -> Value:
        """What one of two pieces of code gives; `times` as often the first, where `condition`
        (an i1) holds."""
        first, second, after = self.label("yes"), self.label("no"), self.label("after")
        self.branch_if(condition, first, second, times)
        edges = []
        for label, write in ((first, yes), (second, no)):
            self.start_block(label)
            value = write()
            edges.append((value, self.block))
            self.branch(after)
        self.start_block(after)
        chosen = self.phi(edges[0][0].type)
        self.set_phi(chosen, edges)
        return chosen[0]

    # constants

    def constant(self, number: int | float | bool, like: Value | str) -> Value:
        return constant(number, like if isinstance(like, str) else like.type)

    def integer_constant(self, number: int, like: Value) -> Value:
        """A constant of the integer type as wide as the float `like`."""
        return constant(number, vector_type(INTEGER_OF[like.scalar], like.lanes))

    # arithmetic: operands have one type, which is the result's

    def binary(self, op: str, a: Value, b: Value) -> Value:
        return self.pure(f"{op} {a.type} {a.text}, {b.text}", a.type)

    def fadd(self, a: Value, b: Value) -> Value:
        return self.binary("fadd", a, b)

    def fsub(self, a: Value, b: Value) -> Value:
        return self.binary("fsub", a, b)

    def fmul(self, a: Value, b: Value) -> Value:
        return self.binary("fmul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self.binary("fdiv", a, b)

    def frem(self, a: Value, b: Value) -> Value:
        return self.binary("frem", a, b)

    def fneg(self, a: Value) -> Value:
        return self.pure(f"fneg {a}", a.type)

    def add(self, a: Value, b: Value) -> Value:
        return self.binary("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.binary("mul", a, b)

    def sdiv(self, a: Value, b: Value) -> Value:
        return self.binary("sdiv", a, b)

    def udiv(self, a: Value, b: Value) -> Value:
        return self.binary("udiv", a, b)

    def srem(self, a: Value, b: Value) -> Value:
        return self.binary("srem", a, b)

    def urem(self, a: Value, b: Value) -> Value:
        return self.binary("urem", a, b)

    def shl(self, a: Value, b: Value) -> Value:
        return self.binary("shl", a, b)

    def lshr(self, a: Value, b: Value) -> Value:
        return self.binary("lshr", a, b)

    def ashr(self, a: Value, b: Value) -> Value:
        return self.binary("ashr", a, b)

    def and_(self, a: Value, b: Value) -> Value:
        return self.binary("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self.binary("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self.binary("xor", a, b)

    def icmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.pure(
            f"icmp {predicate} {a.type} {a.text}, {b.text}", vector_type("i1", a.lanes)
        )

    def fcmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.pure(
            f"fcmp {predicate} {a.type} {a.text}, {b.text}", vector_type("i1", a.lanes)
        )

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        return self.pure(f"select {condition}, {yes}, {no}", yes.type)

    # conversions: `scalar` names the new element type, the lanes stay

    def convert(self, op: str, a: Value, scalar: str) -> Value:
        type = vector_type(scalar, a.lanes)
        return a if type == a.type else self.pure(f"{op} {a} to {type}", type)

    def bitcast(self, a: Value, scalar: str) -> Value:
        return self.convert("bitcast", a, scalar)

    def float_bits(self, a: Value) -> Value:
        """A float's bits as the integer of its width."""
        return self.bitcast(a, INTEGER_OF[a.scalar])

    def bits_float(self, a: Value) -> Value:
        """An i32 or i64 read as the float of its width."""
        return self.bitcast(a, FLOAT_OF[a.scalar])

    def fptosi(self, a: Value, scalar: str) -> Value:
        return self.convert("fptosi", a, scalar)

    def fptoui(self, a: Value, scalar: str) -> Value:
        return self.convert("fptoui", a, scalar)

    def sitofp(self, a: Value, scalar: str) -> Value:
        return self.convert("sitofp", a, scalar)

    def uitofp(self, a: Value, scalar: str) -> Value:
        return self.convert("uitofp", a, scalar)

    def fpext(self, a: Value, scalar: str) -> Value:
        return self.convert("fpext", a, scalar)

    def fptrunc(self, a: Value, scalar: str) -> Value:
        return self.convert("fptrunc", a, scalar)

    def sext(self, a: Value, scalar: str) -> Value:
        return self.convert("sext", a, scalar)

    def zext(self, a: Value, scalar: str) -> Value:
        return self.convert("zext", a, scalar)

    def trunc(self, a: Value, scalar: str) -> Value:
        return self.convert("trunc", a, scalar)

    def all_lanes(self, mask: Value) -> Value:
        """Whether each lane of a mask is on, as an i1."""
        if mask.lanes == 1:
            return mask
        return self.call(f"llvm.vector.reduce.and.v{mask.lanes}i1", "i1", [mask])

    # calls

    def call(self, name: str, result: str, arguments: Sequence[Value]) -> Value:
        """Call an external function or an intrinsic; it is declared on the way."""
        self.module.declare(name, result, (a.type for a in arguments))
        return self.value(f"call {result} @{name}({', '.join(map(str, arguments))})", result)

    def call_void(self, name: str, arguments: Sequence[Value]) -> None:
        self.module.declare(name, "void", (a.type for a in arguments))
        self.line(f"call void @{name}({', '.join(map(str, arguments))})")

    def intrinsic(self, name: str, *arguments: Value, flags: str = "") -> Value:
        """`llvm.NAME` overloaded on the first argument's type, which is the result's type."""
        type = arguments[0].type
        name = f"llvm.{name}.{intrinsic_suffix(type)}"
        self.module.declare(name, type, (a.type for a in arguments))
        return self.pure(f"call {flags}{type} @{name}({', '.join(map(str, arguments))})", type)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a)

    def fabs(self, a: Value) -> Value:
        return self.intrinsic("fabs", a)

    def copysign(self, magnitude: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", magnitude, sign)

    def floor(self, a: Value) -> Value:
        return self.intrinsic("floor", a)

    def ceil(self, a: Value) -> Value:
        return self.intrinsic("ceil", a)

    def ftrunc(self, a: Value) -> Value:
        return self.intrinsic("trunc", a)

    def roundeven(self, a: Value) -> Value:
        return self.intrinsic("roundeven", a)

    # vectors

    def splat(self, a: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if lanes == 1:
            return a
        type = vector_type(a.type, lanes)
        first = self.pure(f"insertelement {type} poison, {a}, i64 0", type)
        return self.shuffle(first, first, [0] * lanes)

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        """Lanes of `a` (0..n) and of `b` (n..2n); -1 is a lane that does not matter."""
        type = vector_type(a.scalar, len(lanes))
        return self.pure(f"shufflevector {a}, {b}, {_shuffle_mask(tuple(lanes))}", type)

    def extract(self, a: Value, lane: int) -> Value:
        if a.lanes == 1:
            return a
        return self.pure(f"extractelement {a}, i64 {lane}", a.scalar)

    def insert(self, a: Value, scalar: Value, lane: int) -> Value:
        return self.pure(f"insertelement {a}, {scalar}, i64 {lane}", a.type)

    # memory: `align` is the element's size unless given

    def offset(self, pointer: Value, index: Value | int, element: str = "i8") -> Value:
        """pointer + index * size(element)."""
        text = f"i64 {index}" if isinstance(index, int) else str(index)
        return self.pure(f"getelementptr {element}, {pointer}, {text}", "ptr")

    def load(self, pointer: Value, type: str, align: int = 0, suffix: str = "") -> Value:
        align = align or max(1, BITS[split_type(type)[0]] // 8)
        return self.value(f"load {type}, {pointer}, align {align}{suffix}", type)

    def store(self, value: Value, pointer: Value, align: int = 0, suffix: str = "") -> None:
        align = align or max(1, BITS[value.scalar] // 8)
        self.line(f"store {value}, {pointer}, align {align}{suffix}")

    def masked_load(self, pointer: Value, type: str, mask: Value) -> Value:
        """Lanes whose mask is off are not read and hold zero."""
        align = max(1, BITS[split_type(type)[0]] // 8)
        name = f"llvm.masked.load.{intrinsic_suffix(type)}.p0"
        zero = Value("zeroinitializer", type)
        self.module.declare(name, type, ("ptr", mask.type, type))
        return self.value(
            f"call {type} @{name}(ptr align {align} {pointer.text}, {mask}, {zero})", type
        )

    def masked_store(self, value: Value, pointer: Value, mask: Value) -> None:
        """Lanes whose mask is off are not written."""
        align = max(1, BITS[value.scalar] // 8)
        name = f"llvm.masked.store.{intrinsic_suffix(value.type)}.p0"
        self.module.declare(name, "void", (value.type, "ptr", mask.type))
        self.line(f"call void @{name}({value}, ptr align {align} {pointer.text}, {mask})")
