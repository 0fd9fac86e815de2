"""Scalar loops become loops over vectors, masked at the end; reductions get several accumulators.

The tree of a sum is fixed by its length alone (choose.TREE_*): element r belongs to running sum
r mod 64, each adds blocks of 16, blocks are added with their rounding error carried along (Knuth,
The Art of Computer Programming 2, 4.2.2, 1969, theorem B), and the 64 are folded by halves. So the
bits do not depend on the vector width, the number of threads, or what is fused around the sum, and
the error stays within (2 + log2 n) eps sum |x|.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Affine,
    Expression,
    Fold,
    For,
    Kernel,
    Let,
    Ref,
    Register,
    Rotate,
    Statement,
    Update,
    Var,
    affine,
    defined_in,
    updated_in,
    walk,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.passes.loops import choose, choose_products
from neurlang.passes.loops.columns import vectorize_columns
from neurlang.passes.loops.products import tile_of
from neurlang.passes.loops.trees import compensated, finished_sum, literal_of, two_sum


def vectorize(kernel: Kernel, machine: Machine, threads: int) -> Kernel:
    """Turn innermost serial loops into vector loops (or, for columns, the loops around them).

    Leaves alone what carries a value from one iteration to the next in any other way than a sum,
    product, maximum, minimum, `and` or `or`.
    """
    match kernel.schedule:
        case "columns":
            return kernel.with_body(vectorize_columns(kernel.body, machine, threads))
        case "rows" | "serial" | "running":
            return kernel.with_body(
                _body(kernel.body, lambda loop: choose.loop_lanes(loop, machine), 2)
            )
        case "tiles":
            loops = (statement for statement in walk(kernel.body) if isinstance(statement, For))
            sums = [tile.sums for loop in loops if (tile := tile_of(loop)) is not None]
            columns = max(buffer.shape[1] for buffer in sums)
            lanes = choose_products.sum_lanes(columns, sums[0].dtype, machine)
            return kernel.with_body(_body(kernel.body, lambda loop: lanes, 1))
        case _:
            return kernel


Lanes = Callable[[For], int]


def _body(body: Sequence[Statement], lanes: Lanes, least: int) -> list[Statement]:
    """Innermost loops of `least` iterations or more as vectors."""
    result: list[Statement] = []
    for statement in body:
        if not isinstance(statement, For):
            result.append(statement)
        elif any(isinstance(inner, For) for inner in statement.body):
            result.append(statement.with_body(_body(statement.body, lanes, least)))
        elif statement.trips >= least:
            result.extend(_loop(statement, lanes(statement)))
        else:
            result.append(statement)
    return result


def _loop(loop: For, lanes: int) -> list[Statement]:
    carried = {
        register: op
        for register, op in updated_in(loop.body).items()
        if register not in defined_in(loop.body)
    }
    if "set" in carried.values() or loop.kind != "serial":
        return [loop]
    if carried:
        return Reduction(loop, carried, lanes).statements()
    var = Var(loop.var.name, loop.start, loop.stop - 1)
    body = Rewriter({loop.var: affine(var)}, lanes=lanes, varying=[var]).body(loop.body)
    return [For(var, loop.start, loop.stop, lanes, "vector", body)]


class Reduction:
    """The vector form of one loop that updates registers."""

    def __init__(self, loop: For, carried: dict[Register, str], lanes: int) -> None:
        self.loop = loop
        self.carried = carried
        self.lanes = lanes
        self.count = choose.TREE_WIDTH // lanes
        self.length = loop.stop - loop.start
        vectors = -(-self.length // lanes)
        self.copies = choose.copies(loop.body, self.count, vectors)
        self.used = min(self.count, vectors) if self.copies == self.count else self.count
        self.accumulators = {
            register: Register(f"{register.name}v", register.dtype, lanes, (self.count,))
            for register in carried
        }
        self.blocked = self.length > choose.TREE_WIDTH * choose.TREE_CHAIN
        self.sums = [r for r, op in carried.items() if self.blocked and compensated(op, r.dtype)]

    def statements(self) -> list[Statement]:
        plain = [register for register in self.carried if register not in self.sums]
        result = self._initial(plain)
        if self.sums:
            result += self._blocks()
        else:
            result += self._sweep(Affine(self.loop.start), self.length)
        for register, op in self.carried.items():
            result += self._folded(register, op)
        return result

    def _each(self, body: Sequence[Statement], var: Var, count: int) -> list[Statement]:
        return [For(var, 0, count, 1, "unroll", tuple(body))] if count else []

    def _initial(self, registers: Sequence[Register]) -> list[Statement]:
        if not registers:
            return []
        u = Var("u", 0, self.count - 1)
        body = [
            Let(self.accumulators[r], literal_of(self.carried[r], r.dtype), (affine(u),))
            for r in registers
        ]
        return self._each(body, u, self.used)

    def _sweep(self, base: Affine, length: int) -> list[Statement]:
        """All vectors of `length` elements from `base`.

        Vector v belongs to accumulator v modulo their number. Where what is added up is long, it is
        written out for some of them only, and they take turns at these places.
        """
        result: list[Statement] = []
        width = self.copies * self.lanes
        main = length // width * width
        if main:
            k = Var("k", 0, main - width)
            group = [*self._group(base + affine(k), width), *self._rotated(self.copies)]
            result.append(For(k, 0, main, width, "serial", tuple(group)))
        result += self._group(base + main, length - main)
        return result + self._rotated(-(main // self.lanes))

    def _rotated(self, by: int) -> list[Statement]:
        by %= self.count
        return [Rotate(array, by) for array in self.accumulators.values()] if by else []

    def _group(self, base: Affine, length: int) -> list[Statement]:
        """At most as many elements as there are running sums, a vector into each accumulator."""
        result: list[Statement] = []
        full, partial = divmod(length, self.lanes)
        if full:
            u = Var("u", 0, full - 1)
            step = self._step(base, affine(u) * self.lanes, affine(u), self.lanes)
            result += self._each([step], u, full)
        if partial:
            result.append(self._step(base, Affine(full * self.lanes), Affine(full), partial))
        return result

    def _step(self, base: Affine, offset: Affine, which: Affine, active: int) -> For:
        """One vector of a group, into accumulator `which`."""
        lane = Var(self.loop.var.name, 0, active - 1)
        at = base + offset + affine(lane)
        registers = {r: Ref(v, (which,)) for r, v in self.accumulators.items()}
        rewriter = Rewriter({self.loop.var: at}, registers, self.lanes, [lane])
        return For(lane, 0, active, self.lanes, "vector", rewriter.body(self.loop.body))

    def _blocks(self) -> list[Statement]:
        """Blocks of the sum, each added to a running total with its error kept."""
        size = choose.TREE_WIDTH * choose.TREE_CHAIN
        totals = {r: self._array(r, "total") for r in self.sums}
        errors = {r: self._array(r, "error") for r in self.sums}
        u = Var("u", 0, self.count - 1)
        start = [
            Let(table[r], literal_of("add", r.dtype), (affine(u),))
            for r in self.sums
            for table in (totals, errors)
        ]
        result = self._each(start, u, self.count)
        blocks, rest = divmod(self.length, size)
        b = Var("block", 0, blocks * size - size)
        base = affine(b) + self.loop.start
        block = self._initial(self.sums) + self._sweep(base, size)
        result.append(
            For(b, 0, blocks * size, size, "serial", (*block, *self._add(totals, errors)))
        )
        if rest:
            result += self._initial(self.sums)
            result += self._sweep(Affine(self.loop.start + blocks * size), rest)
            result += self._add(totals, errors)
        last = Var("u", 0, self.count - 1)
        done = [
            Let(
                self.accumulators[r],
                finished_sum(Ref(totals[r], (affine(last),)), Ref(errors[r], (affine(last),))),
                (affine(last),),
            )
            for r in self.sums
        ]
        return result + self._each(done, last, self.count)

    def _array(self, register: Register, name: str) -> Register:
        return Register(f"{register.name}{name}", register.dtype, self.lanes, (self.count,))

    def _add(
        self, totals: dict[Register, Register], errors: dict[Register, Register]
    ) -> list[Statement]:
        u = Var("u", 0, self.count - 1)
        at = (affine(u),)
        body: list[Statement] = []
        for r in self.sums:
            value = Ref(self.accumulators[r], at)
            body += two_sum(Ref(totals[r], at), Ref(errors[r], at), value, self.lanes)
        return self._each(body, u, self.count)

    def _folded(self, register: Register, op: str) -> list[Statement]:
        """The accumulators by halves, then the lanes of the one that is left."""
        result: list[Statement] = []
        accumulator = self.accumulators[register]
        used = self.used
        half = self.count // 2
        while half:
            pairs = min(half, used - half)
            if pairs > 0:
                u = Var("u", 0, pairs - 1)
                other = Ref(accumulator, (affine(u) + half,))
                body = Update(accumulator, op, other, (affine(u),))
                result += self._each([body], u, pairs)
                used = half
            half //= 2
        whole: Expression = Fold(op, Ref(accumulator, (Affine(0),)))
        result.append(Update(register, op, whole))
        return result
