"""The Loop IR: elements, buffers and loops, with every decision about the machine in sight.

    kernel     ::=  name, inputs: buffer*, outputs: buffer*, body: statement*
    statement  ::=  For(var, start, stop, step, kind, body, window)
                 |  Let(register, value) | Update(register, op, value)
                 |  Store(buffer, index, value) | Alloc(buffer) | Check(condition, code)
                 |  Transpose(register) | Rotate(register, by) | Prefetch(buffer, index)
    expression ::=  Literal | Ref(register) | Load(buffer, index) | Apply(op, args)
                 |  Fold(op, register) | Index(affine)
    affine     ::=  constant + sum(coefficient * (var | integer register))

A `vector` loop runs `step` lanes at once; where its range is not a multiple of the step, the last
lanes are masked: they neither load, store nor update. A register made inside a vector loop holds
all lanes; `Fold` combines the lanes of a register (pairwise, halves first) into one value. An
`unroll` loop is written out; a register array is indexed by unrolled variables only. A `parallel`
loop stands at the top of a kernel; its iterations touch disjoint parts of what they write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neurlang.ir.ops import SHORT_EXPONENTS
from neurlang.ir.types import SHORT, DType, Shape


@dataclass(frozen=True, eq=False, slots=True)
class Var:
    """A loop variable, by identity; its values lie in low..high (both included)."""

    name: str
    low: int
    high: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False, slots=True)
class Register:
    """A value on its own, by identity; with `shape` an array of them that is never in memory.

    `low..high` bound an integer register that is used in an index.
    """

    name: str
    dtype: DType
    lanes: int = 1
    shape: Shape = ()
    low: int = 0
    high: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def declared(self) -> str:
        lanes = f"x{self.lanes}" if self.lanes > 1 else ""
        shape = f"[{','.join(map(str, self.shape))}]" if self.shape else ""
        return f"{self.name}: {SHORT[self.dtype]}{lanes}{shape}"


Atom = Var | Register


@dataclass(frozen=True, slots=True)
class Affine:
    """constant + sum of coefficient * atom; no coefficient is zero, no atom stands twice."""

    constant: int = 0
    terms: tuple[tuple[Atom, int], ...] = ()

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.constant + other, self.terms)
        if not other.terms:
            return Affine(self.constant + other.constant, self.terms)
        table = dict(self.terms)
        for atom, coefficient in other.terms:
            table[atom] = table.get(atom, 0) + coefficient
        terms = tuple((atom, value) for atom, value in table.items() if value)
        return Affine(self.constant + other.constant, terms)

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return ZERO
        if factor == 1:
            return self
        terms = tuple((atom, value * factor) for atom, value in self.terms)
        return Affine(self.constant * factor, terms)

    def coefficient(self, atom: Atom) -> int:
        for found, value in self.terms:
            if found is atom:
                return value
        return 0

    @property
    def low(self) -> int:
        """The least value that the ranges of the atoms allow."""
        return self.constant + sum(
            value * (atom.low if value > 0 else atom.high) for atom, value in self.terms
        )

    @property
    def high(self) -> int:
        """The largest value that the ranges of the atoms allow."""
        return self.constant + sum(
            value * (atom.high if value > 0 else atom.low) for atom, value in self.terms
        )

    def substitute(self, table: Mapping[Atom, Affine]) -> Affine:
        """Atoms replaced by other affines."""
        if not any(atom in table for atom, _ in self.terms):
            return self
        result = Affine(self.constant)
        for atom, value in self.terms:
            result = result + (
                table[atom] * value if atom in table else Affine(0, ((atom, value),))
            )
        return result

    def __str__(self) -> str:
        parts = []
        for atom, value in self.terms:
            sign = "- " if value < 0 else "+ "
            factor = "" if abs(value) == 1 else f"{abs(value)}*"
            parts.append(f"{sign}{factor}{atom}")
        if self.constant or not parts:
            parts.append(f"{'-' if self.constant < 0 else '+'} {abs(self.constant)}")
        text = " ".join(parts)
        return text[2:] if text.startswith("+ ") else "-" + text[2:]


ZERO = Affine()


def affine(atom: Atom | int) -> Affine:
    """A variable, a register or a number as an index."""
    return Affine(atom) if isinstance(atom, int) else Affine(0, ((atom, 1),))


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """Memory of a fixed shape in row-major order, by identity."""

    name: str
    dtype: DType
    shape: Shape

    @property
    def size(self) -> int:
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def strides(self) -> Shape:
        """Elements between neighbours along each axis."""
        strides = []
        step = 1
        for extent in reversed(self.shape):
            strides.append(step)
            step *= extent
        return tuple(reversed(strides))

    def flat(self, index: Sequence[Affine]) -> Affine:
        """The index of an element counted from the buffer's start; one index is that already."""
        if len(index) == 1:
            return index[0]
        result = ZERO
        for position, stride in zip(index, self.strides):
            result = result + position * stride
        return result

    @property
    def declared(self) -> str:
        return f"{self.name}: {SHORT[self.dtype]}[{','.join(map(str, self.shape))}]"

    def __str__(self) -> str:
        return self.name


# expressions


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Any  # a NumPy scalar of the dtype
    dtype: DType


@dataclass(frozen=True, slots=True)
class Ref:
    """A register, or one element of a register array."""

    register: Register
    index: tuple[Affine, ...] = ()

    @property
    def dtype(self) -> DType:
        return self.register.dtype


@dataclass(frozen=True, slots=True)
class Load:
    """An element of a buffer."""

    buffer: Buffer
    index: tuple[Affine, ...]

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype


@dataclass(frozen=True, slots=True)
class Apply:
    """A map op of the table, `cast`/`bitcast` to `dtype`, or one that only loops have: `fma`; and
    of an index and the size n of an axis `inside`, whether it is in -n..n, and `position`, the
    index counted from the front, 0 where it is not inside."""

    op: str
    args: tuple[Expression, ...]
    dtype: DType


def short_exponent(expression: Expression) -> int | None:
    """The exponent of a power of floats that is written as products; None for all else."""
    match expression:
        case Apply("pow", (_, Literal(value=value, dtype=dtype)), _) if dtype.kind == "f":
            return int(value) if float(value) in SHORT_EXPONENTS else None
    return None


@dataclass(frozen=True, slots=True)
class Fold:
    """The lanes of a vector register combined: halves first, so every width gives one tree."""

    op: str
    register: Ref

    @property
    def dtype(self) -> DType:
        return self.register.dtype


@dataclass(frozen=True, slots=True)
class Index:
    """An index as an int64 value."""

    value: Affine
    dtype: DType


Expression = Literal | Ref | Load | Apply | Fold | Index


# statements


@dataclass(frozen=True, slots=True)
class Window:
    """The numbers first..first + length; `first` moves with the loops around."""

    first: Affine
    length: int

    def __str__(self) -> str:
        return f"{self.first}..{self.first + self.length}"


@dataclass(frozen=True, slots=True)
class For:
    """A loop: `serial`, `parallel`, `vector` (its step is the lanes), `unroll` (to be written out)
    or `block` (of rows; kernels are laid out inside of it). `unroll` copies of the body stand in
    one iteration; a thread of a parallel loop claims `grain` consecutive iterations at a time. A
    serial loop with a `window` takes those of its numbers that lie in it, which may be none."""

    var: Var
    start: int
    stop: int
    step: int
    kind: str
    body: tuple[Statement, ...]
    unroll: int = 1
    grain: int = 1
    window: Window | None = None

    @property
    def trips(self) -> int:
        """How many iterations there are; with a window the most that there can be."""
        length = self.stop - self.start
        if self.window is not None:
            length = min(length, self.window.length)
        return max(0, -(-length // self.step))

    @property
    def may_be_empty(self) -> bool:
        """Whether there can be no iteration."""
        if self.window is None:
            return self.trips == 0
        first = self.window.first
        return first.low < self.start or first.high >= self.stop or self.step > self.window.length

    def with_body(self, body: Iterable[Statement]) -> For:
        """The same loop around other statements."""
        limits = self.start, self.stop, self.step
        return For(self.var, *limits, self.kind, tuple(body), self.unroll, self.grain, self.window)


@dataclass(frozen=True, slots=True)
class Let:
    """A new register; where it stands in a loop, a new one in each iteration."""

    register: Register
    value: Expression
    index: tuple[Affine, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """register = op(register, value), or register = value where op is `set`."""

    register: Register
    op: str
    value: Expression
    index: tuple[Affine, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """Write an element of a buffer; `nontemporal` past the caches, by whole aligned vectors."""

    buffer: Buffer
    index: tuple[Affine, ...]
    value: Expression
    nontemporal: bool = False


@dataclass(frozen=True, slots=True)
class Alloc:
    """Scratch memory for the rest of the body around; at the top of a kernel threads share it."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Check:
    """The program ends with `code` where the condition does not hold; the kernel runs on."""

    condition: Expression
    code: int


@dataclass(frozen=True, slots=True)
class Transpose:
    """Lane l of element r of a square register array changes places with lane r of element l."""

    register: Register


@dataclass(frozen=True, slots=True)
class Rotate:
    """Element u of a register array is what element u + by was; those at the end take the first."""

    register: Register
    by: int


@dataclass(frozen=True, slots=True)
class Prefetch:
    """The cache line of an element is needed soon. It may lie past the end: nothing is read."""

    buffer: Buffer
    index: tuple[Affine, ...]


Statement = For | Let | Update | Store | Alloc | Check | Transpose | Rotate | Prefetch


@dataclass(frozen=True, eq=False)
class Kernel:
    """A loop nest that reads inputs and writes outputs; `notes` say what was decided and why.

    `schedule` tells the loop passes what was made before them: `rows` (innermost loops become
    vectors), `columns` (the loops around them do), `product` (three plain loops), `exchanged`
    (its rows along vectors), `packed`, `shared`, `tiles` (a product's tiles, which want their right
    operand packed by blocks, or as a whole, or have what they need), `running` (loops that store a
    value they carry on), `scan` (only the outer loops are free), `serial` (innermost loops become
    vectors, the others keep their order) or `fixed` (every loop keeps its order). `final` are large
    outputs that no later kernel reads.
    """

    name: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: tuple[Statement, ...]
    notes: tuple[str, ...] = field(default=())
    schedule: str = "rows"
    final: frozenset[Buffer] = frozenset()

    def with_body(self, body: Iterable[Statement]) -> Kernel:
        return replace(self, body=tuple(body))

    def __str__(self) -> str:
        from neurlang.ir.loops_text import kernel_text  # the printer sits above this module

        return kernel_text(self)


def walk(body: Sequence[Statement]) -> Iterator[Statement]:
    """Every statement, outer before inner."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        if isinstance(statement, For):
            stack.extend(reversed(statement.body))


def expressions_of(statement: Statement) -> tuple[Expression, ...]:
    """The expressions that stand in a statement itself."""
    match statement:
        case Let(value=value) | Update(value=value) | Store(value=value):
            return (value,)
        case Check(condition=condition):
            return (condition,)
        case _:
            return ()


def accesses(body: Sequence[Statement]) -> Iterator[tuple[Buffer, tuple[Affine, ...]]]:
    """Every load and store: the buffer and the index."""
    for statement in walk(body):
        if isinstance(statement, Store):
            yield statement.buffer, statement.index
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    yield part.buffer, part.index


def loads_in(body: Sequence[Statement]) -> list[Load]:
    """Every load, of loops inside as well."""
    return [
        part
        for statement in walk(body)
        for expression in expressions_of(statement)
        for part in parts(expression)
        if isinstance(part, Load)
    ]


def executions(body: Sequence[Statement], times: int = 1) -> Iterator[tuple[Statement, int]]:
    """Statements that are no loops, and for how many elements each runs if the body runs once."""
    for statement in body:
        if isinstance(statement, For):
            lanes = statement.step if statement.kind == "vector" else 1
            yield from executions(statement.body, times * statement.trips * lanes)
        else:
            yield statement, times


def elements_loaded(body: Sequence[Statement]) -> Counter[Buffer]:
    """How many elements of each buffer some statements load, if they run once."""
    found: Counter[Buffer] = Counter()
    for statement, times in executions(body):
        for load in loads_in([statement]):
            found[load.buffer] += times
    return found


def elements_stored(body: Sequence[Statement]) -> Counter[Buffer]:
    """How many elements of each buffer some statements store, if they run once."""
    found: Counter[Buffer] = Counter()
    for statement, times in executions(body):
        if isinstance(statement, Store):
            found[statement.buffer] += times
    return found


def parts(expression: Expression) -> Iterator[Expression]:
    """An expression and all its parts."""
    stack = [expression]
    while stack:
        found = stack.pop()
        yield found
        if isinstance(found, Apply):
            stack.extend(found.args)
        elif isinstance(found, Fold):
            stack.append(found.register)


def depends_on(expression: Expression, atoms: set[Atom]) -> bool:
    """Whether a value changes with any of the variables or registers."""
    for part in parts(expression):
        match part:
            case Apply():
                pass
            case Ref(register=register, index=index):
                if register in atoms or uses_any(index, atoms):
                    return True
            case Load(index=index):
                if uses_any(index, atoms):
                    return True
            case Index(value=value):
                if uses_any((value,), atoms):
                    return True
    return False


def uses_any(index: Sequence[Affine], atoms: set[Atom]) -> bool:
    """Whether an index depends on one of the variables."""
    return any(atom in atoms for position in index for atom, _ in position.terms)


def defined_in(body: Sequence[Statement]) -> set[Register]:
    """The registers that statements define."""
    return {s.register for s in walk(body) if isinstance(s, Let)}


def registers_of(expressions: Iterable[Expression]) -> set[Register]:
    """The registers that values are made of, also in indices."""
    used: set[Register] = set()
    for expression in expressions:
        for part in parts(expression):
            match part:
                case Ref(register=register, index=index):
                    used |= {register, *_registers(index)}
                case Load(index=index):
                    used |= _registers(index)
                case Index(value=value):
                    used |= _registers((value,))
    return used


def _registers(index: Sequence[Affine]) -> set[Register]:
    return {atom for at in index for atom, _ in at.terms if isinstance(atom, Register)}


def registers_in(body: Sequence[Statement]) -> set[Register]:
    """The registers that statements use, in values, in indices and as targets of updates."""
    used: set[Register] = set()
    for statement in walk(body):
        used |= registers_of(expressions_of(statement))
        if isinstance(statement, Let | Update | Store | Prefetch):
            used |= _registers(statement.index)
        if isinstance(statement, Update | Transpose | Rotate):
            used.add(statement.register)
    return used


def index_registers(body: Sequence[Statement]) -> set[Register]:
    """The registers that stand in indices of statements."""
    positions: list[Affine] = []
    for statement in walk(body):
        if isinstance(statement, Let | Update | Store | Prefetch):
            positions += statement.index
        for expression in expressions_of(statement):
            for part in parts(expression):
                match part:
                    case Ref(index=index) | Load(index=index):
                        positions += index
                    case Index(value=value):
                        positions.append(value)
    return _registers(positions)


def needed(lets: Sequence[Statement], used: set[Register]) -> list[Let]:
    """The named values that some registers stand for, and those they are made of, in order."""
    found: list[Let] = []
    wanted = set(used)
    for let in reversed(lets):
        if isinstance(let, Let) and let.register in wanted:
            found.append(let)
            wanted |= registers_of([let.value])
    return found[::-1]


def without_unused(body: Sequence[Statement], used: set[Register] | None = None) -> list[Statement]:
    """Statements but for names that nothing after them uses; `used` grows by what they use."""
    used = set() if used is None else used
    kept: list[Statement] = []
    for statement in reversed(body):
        if isinstance(statement, Let) and statement.register not in used:
            continue
        if isinstance(statement, For):
            statement = statement.with_body(without_unused(statement.body, used))
        else:
            used |= registers_in([statement])
        kept.append(statement)
    return kept[::-1]


def updated_in(body: Sequence[Statement]) -> dict[Register, str]:
    """The registers that statements update, and with which op."""
    return {s.register: s.op for s in walk(body) if isinstance(s, Update)}
