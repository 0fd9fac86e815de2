"""The contract of the Loop IR, checked after every pass when asked and always in tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import numpy as np

from neurlang.errors import InternalError
from neurlang.ir.apart import stores_apart
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Atom,
    Buffer,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Prefetch,
    Ref,
    Register,
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
    Var,
    Window,
    affine,
    defined_in,
    updated_in,
)
from neurlang.ir.loops_text import expression_text, index_text, statement_lines
from neurlang.ir.ops import OPS
from neurlang.ir.types import BOOL, INT64, SHORT, DType, Shape

KINDS = ("serial", "parallel", "vector", "unroll", "block")


def verify_kernel(kernel: Kernel, after: str = "lower") -> None:
    """Check that a kernel is well formed; InternalError names the pass, kernel and statement.

    Names. Variables, registers and buffers are used inside the body that makes them, and after;
    none is made a second time while it can be used. A register array belongs to the body around
    the unroll and vector loops that make its elements. Its index has one number for each axis,
    constant once unroll loops are written out, and within its shape.

    Memory. An index has one number for each axis of the buffer, or is one number that counts from
    the start of it. It stays within the bounds for every value that the loops give to variables
    and that `low..high` gives to registers; the masked lanes of a vector loop do not count, nor do
    loops that make no trip. Stores go to outputs and scratch only.

    Types. Arguments and results of ops have the dtypes that the table asks for; a value has the
    dtype of the buffer or register that it goes to. An index register is an integer on its own.

    Loops. Their kinds are known, their steps positive, and what their variables take on lies in
    the variables' `low..high`. A window belongs to a serial loop, and begins at its numbers. A
    parallel loop stands at the top of the kernel and updates no register made outside. A vector
    loop holds no other and no Alloc.

    Transposes. The register array has as many elements as lanes, and stands in no vector loop.

    Lanes. A vector of lanes goes only where that many lanes are held: in a vector loop, registers
    made inside it or of `step` lanes; elsewhere, registers of as many lanes. A register's declared
    lanes are, inside a vector loop, 1 or `step`. `Fold` takes a power of two of them.
    """
    _Verifier(kernel, after).verify()


class _Verifier:
    """One walk over a kernel, with what is in scope at hand."""

    def __init__(self, kernel: Kernel, after: str) -> None:
        self.kernel = kernel
        self.after = after
        self.statement: Statement | None = None
        self.ranges: dict[Var, tuple[int, int]] = {}
        self.windows: dict[Var, tuple[Window, int]] = {}
        self.unrolled: set[Atom] = set()
        self.registers: set[Register] = set()
        self.readable: set[Buffer] = {*kernel.inputs, *kernel.outputs}
        self.writable: set[Buffer] = {*kernel.outputs}
        self.lanes = 1  # of the vector loop around
        self.inside: set[Atom] = set()  # made in that loop, its variable too
        self.foreign: set[Register] = set()  # made outside of the parallel loop around
        self.reached = True  # false in a loop that makes no trip

    def fail(self, what: str) -> NoReturn:
        line = ""
        if self.statement is not None:
            line = f"\n  in: {statement_lines(self.statement, 0)[0]}"
        raise InternalError(
            f"after {self.after}: kernel {self.kernel.name}: {what}{line}\n{self.kernel}"
        )

    def verify(self) -> None:
        for statement in self.kernel.body:
            self.check(statement, top=True)

    # statements

    def check(self, statement: Statement, top: bool = False) -> None:
        self.statement = statement
        match statement:
            case For():
                self.loop(statement, top)
            case Let():
                self.let(statement)
            case Update():
                self.update(statement)
            case Store(buffer=buffer, index=index, value=value):
                if buffer not in self.writable:
                    self.fail(f"{buffer} is stored to, and is neither an output nor scratch here")
                places = self.place(buffer, index)
                lanes = self.value(value, buffer.dtype, str(buffer))
                if lanes > 1 and places == 1:
                    self.fail(f"{lanes} lanes are stored to one element")
                self.together((places, lanes))
            case Alloc(buffer=buffer):
                if self.lanes > 1:
                    self.fail("scratch is allocated in a vector loop")
                if buffer in self.readable:
                    self.fail(f"{buffer} is allocated a second time")
                self.readable.add(buffer)
                self.writable.add(buffer)
            case Prefetch(buffer=buffer, index=index):
                self.place(buffer, index, bounded=False)
            case Transpose(register=register):
                self.known(register)
                if self.lanes > 1 or register.shape != (register.lanes,):
                    self.fail(f"{register.declared} is no square, or lies in a vector loop")
            case Rotate(register=register, by=by):
                self.known(register)
                if self.lanes > 1 or len(register.shape) != 1 or not 0 < by < register.shape[0]:
                    self.fail(f"{register.declared} cannot rotate by {by} here")
            case Check(condition=condition):
                if self.value(condition, BOOL, "a check") not in (1, self.lanes):
                    self.fail("a condition has lanes outside of a vector loop")

    def loop(self, loop: For, top: bool) -> None:
        var, vector = loop.var, loop.kind == "vector"
        if loop.kind not in KINDS or min(loop.step, loop.unroll, loop.grain) < 1:
            self.fail("a loop has an unknown kind, or a step, unroll or grain below 1")
        if loop.kind == "parallel" and not top:
            self.fail("a parallel loop does not stand at the top of the kernel")
        if loop.kind == "parallel" and loop.trips > 1 and not stores_apart(loop):
            self.fail("iterations of a parallel loop store to the same elements")
        if vector and self.lanes > 1:
            self.fail("a vector loop stands in another")
        if var in self.ranges:
            self.fail(f"{var} is the variable of a loop around")
        if loop.window is not None:
            self.window(loop, loop.window)
        whole = max(0, -(-(loop.stop - loop.start) // loop.step))
        last = loop.stop - 1 if vector else loop.start + (whole - 1) * loop.step
        if loop.trips and not var.low <= loop.start <= last <= var.high:
            self.fail(f"{var} takes {loop.start}..{last}, declared are {var.low}..{var.high}")
        saved = self.registers.copy(), self.readable.copy(), self.writable.copy(), self.reached
        self.ranges[var] = loop.start, last
        self.reached = self.reached and loop.trips > 0
        if loop.window is not None:
            self.windows[var] = loop.window, loop.step
        match loop.kind:
            case "vector":
                self.lanes, self.inside = loop.step, {var}
            case "unroll":
                self.unrolled.add(var)
            case "parallel":
                self.foreign = self.registers.copy()
        for statement in loop.body:
            self.check(statement)
        self.leave(loop)
        made = self.registers
        self.registers, self.readable, self.writable, self.reached = saved
        if loop.kind in ("vector", "unroll"):
            lasting = (register for register in made if register.shape)
            self.registers |= {r for r in lasting if not vector or r.lanes == loop.step}

    def window(self, loop: For, window: Window) -> None:
        """A window begins at numbers of the loop; where it may be empty, no register is carried."""
        self.interval(window.first)
        steps = (*(value for _, value in window.first.terms), window.first.constant - loop.start)
        if loop.kind != "serial" or loop.unroll > 1 or window.length < 1:
            self.fail("a window belongs to a serial loop, and has a length")
        if any(number % loop.step for number in steps):
            self.fail(f"a window begins at {window.first}, between the loop's numbers")
        if loop.may_be_empty and set(updated_in(loop.body)) - defined_in(loop.body):
            self.fail("a loop whose window may be empty updates a register made outside of it")

    def leave(self, loop: For) -> None:
        """Forget the variable, and the lanes of a vector loop."""
        del self.ranges[loop.var]
        self.windows.pop(loop.var, None)
        self.unrolled.discard(loop.var)
        match loop.kind:
            case "vector":
                self.lanes, self.inside = 1, set()
            case "parallel":
                self.foreign = set()

    def let(self, let: Let) -> None:
        register = let.register
        lanes = self.value(let.value, register.dtype, str(register))
        known = register in self.registers
        if known and not let.index:
            self.fail(f"{register} is made a second time")
        if let.index:
            self.element(register, let.index)
        if self.lanes > 1:
            if register.lanes != self.lanes and (known or register.lanes != 1):
                self.fail(f"{register.declared} is made in a loop of {self.lanes} lanes")
            if not known:
                self.inside.add(register)
        elif lanes not in (1, register.lanes):
            self.fail(f"{lanes} lanes go to {register.declared}")
        self.registers.add(register)

    def update(self, update: Update) -> None:
        register = update.register
        self.known(register)
        self.element(register, update.index)
        if register in self.foreign:
            self.fail(f"{register} is updated in a parallel loop and made outside of it")
        if update.op != "set":
            self.combining(update.op, register.dtype)
        lanes = self.value(update.value, register.dtype, str(register))
        held = self.lanes_of(register)
        if self.lanes > 1 and held != self.lanes:
            self.fail(f"{register.declared} is updated in a vector loop of {self.lanes} lanes")
        if lanes not in (1, held):
            self.fail(f"{lanes} lanes go to {register.declared}")

    # expressions: each check gives the number of lanes

    def value(self, expression: Expression, dtype: DType, target: str) -> int:
        if expression.dtype != dtype:
            self.fail(f"a value of {SHORT[expression.dtype]} goes to {target}, of {SHORT[dtype]}")
        return self.expression(expression)

    def expression(self, expression: Expression) -> int:
        match expression:
            case Literal(value=value, dtype=dtype):
                if np.asarray(value).dtype != dtype or np.ndim(value):
                    self.fail(f"the literal {value!r} is not one {SHORT[dtype]}")
                return 1
            case Ref(register=register, index=index):
                self.known(register)
                self.element(register, index)
                return self.lanes_of(register)
            case Load(buffer=buffer, index=index):
                if buffer not in self.readable:
                    self.fail(f"{buffer} is loaded from, and is not in scope")
                return self.place(buffer, index)
            case Index(value=value, dtype=dtype):
                if dtype != INT64:
                    self.fail(f"an index is of dtype {SHORT[dtype]}")
                self.interval(value)
                return self.together(self.lanes_of(atom) for atom, _ in value.terms)
            case Fold(op=op, register=register, dtype=dtype):
                self.combining(op, dtype)
                lanes = self.expression(register)
                if lanes & (lanes - 1):
                    self.fail(f"{lanes} lanes are folded, not a power of two")
                return 1
            case Apply(args=args):
                self.apply(expression)
                return self.together([self.expression(arg) for arg in args])

    def apply(self, apply: Apply) -> None:
        """The dtypes of an op, as the table has them."""
        dtypes = [arg.dtype for arg in apply.args]
        op = OPS.get(apply.op)
        if apply.op == "fma":
            fits = [dtype.kind for dtype in dtypes] == ["f"] * 3 and {*dtypes} == {apply.dtype}
        elif apply.op in ("inside", "position"):
            result = BOOL if apply.op == "inside" else dtypes[0]
            fits = [dtype.kind for dtype in dtypes] == ["i"] * 2 and apply.dtype == result
            fits = fits and len({*dtypes}) == 1
        elif op is None or op.kind != "map" or op.arity != len(dtypes):
            self.fail(f"{apply.op} is no op of {len(dtypes)} arguments")
        elif apply.op in ("cast", "bitcast"):
            fits = dtypes[0].kind in op.accepts and apply.dtype.kind in op.accepts
            if apply.op == "bitcast":
                fits = fits and dtypes[0].itemsize == apply.dtype.itemsize
        else:
            operands = dtypes[1:] if apply.op == "where" else dtypes
            first = operands[0]
            fits = (
                {*operands} == {first}
                and first.kind in op.accepts
                and (apply.op != "where" or dtypes[0] == BOOL)
                and apply.dtype == op.result_dtype(first)
            )
        if not fits:
            found = ", ".join(SHORT[dtype] for dtype in dtypes)
            self.fail(f"{expression_text(apply)} gives {SHORT[apply.dtype]} from {found}")

    def combining(self, name: str, dtype: DType) -> None:
        """Whether an op makes one value from two of a dtype."""
        op = OPS.get(name)
        if op is None or op.kind != "map" or op.arity != 2 or op.result_dtype(dtype) != dtype:
            self.fail(f"{name} does not combine two values")
        if dtype.kind not in op.accepts:
            self.fail(f"{name} does not take {SHORT[dtype]}")

    # lanes

    def together(self, lanes: Iterable[int]) -> int:
        """The lanes of values that are combined: equal, or 1."""
        several = {count for count in lanes if count > 1}
        if len(several) > 1:
            self.fail(f"values of {' and '.join(map(str, sorted(several)))} lanes are combined")
        return several.pop() if several else 1

    def lanes_of(self, atom: Atom) -> int:
        if atom in self.inside:
            return self.lanes
        return atom.lanes if isinstance(atom, Register) else 1

    # indices

    def known(self, register: Register) -> None:
        if register not in self.registers:
            self.fail(f"{register} is used and not made before in this scope")

    def element(self, register: Register, index: Sequence[Affine]) -> None:
        """The index of a register array; none for a single register or a whole array's Let."""
        if len(index) != len(register.shape):
            self.fail(f"{register.declared} has the index {index_text(index) or '[]'}")
        for position in index:
            if any(atom not in self.unrolled for atom, _ in position.terms):
                self.fail(f"{register}{index_text(index)} is not constant under unroll loops")
        self.within(register, index, register.shape)

    def place(self, buffer: Buffer, index: Sequence[Affine], bounded: bool = True) -> int:
        """Check an element of a buffer; the lanes that it is different in."""
        flat = len(index) == 1 < len(buffer.shape)
        if len(index) != len(buffer.shape) and not flat:
            self.fail(f"{buffer.declared} has the index {index_text(index) or '[]'}")
        if bounded:
            self.within(buffer, index, (buffer.size,) if flat else buffer.shape)
        lanes = self.together(
            self.lanes_of(atom) for position in index for atom, _ in position.terms
        )
        if lanes not in (1, self.lanes):
            self.fail(f"{buffer}{index_text(index)} has lanes outside of a vector loop of as many")
        return lanes

    def within(self, what: Buffer | Register, index: Sequence[Affine], shape: Shape) -> None:
        for position, extent in zip(index, shape):
            low, high = self.interval(position)
            if self.reached and not 0 <= low <= high < extent:
                self.fail(
                    f"{what}{index_text(index)}: {position} lies in {low}..{high}, "
                    f"not below {extent}"
                )

    def interval(self, value: Affine) -> tuple[int, int]:
        """The least and the largest value of an index, known from ranges or from windows."""
        low, high = self.plain_interval(value)
        moved = value
        for var, (window, step) in reversed(self.windows.items()):
            inside = Var(var.name, 0, (window.length - 1) // step * step)
            moved = moved.substitute({var: window.first + affine(inside)})
            self.ranges[inside] = inside.low, inside.high
        if moved is not value:
            least, most = self.plain_interval(moved)
            low, high = max(low, least), min(high, most)
        return low, high

    def plain_interval(self, value: Affine) -> tuple[int, int]:
        low = high = value.constant
        for atom, coefficient in value.terms:
            ends = [coefficient * end for end in self.range_of(atom)]
            low += min(ends)
            high += max(ends)
        return low, high

    def range_of(self, atom: Atom) -> tuple[int, int]:
        if isinstance(atom, Var):
            if atom not in self.ranges:
                self.fail(f"{atom} is used outside of its loop")
            return self.ranges[atom]
        self.known(atom)
        if atom.dtype.kind not in "iu" or atom.shape or atom.low > atom.high:
            self.fail(f"{atom.declared} in {atom.low}..{atom.high} cannot be an index")
        return atom.low, atom.high
