"""Where an extreme value stands is found by the loop that finds the value.

    for r: best max= x[r]
    for r: place min= where(x[r] == best, r, n)

become one vector loop, which keeps in each lane its best value and where that stands; the second
loop only looks through the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurlang.codegen.machine import Machine
from neurlang.ir.identities import identity
from neurlang.ir.loops import (
    Affine,
    Apply,
    Atom,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    affine,
    index_registers,
)
from neurlang.ir.rewriter import Rewriter
from neurlang.ir.types import BOOL, INT64, DType
from neurlang.passes.loops import choose
from neurlang.passes.loops.vectorize import Reduction

MOST_NAMES = 6  # in a body that is compared with another: expressions share them


def locate(kernel: Kernel, machine: Machine) -> Kernel:
    """Merge a loop that finds a maximum or minimum with the one that finds its first place.

    The first NaN is the place where there is one. Needs two plain loops over the same elements,
    as `argmax` leaves them, and rows of many vectors; leaves short rows, and elements narrower
    than their indices, to two loops.
    """
    if kernel.schedule != "rows":
        return kernel
    return kernel.with_body(_body(kernel.body, machine))


def _body(body: Sequence[Statement], machine: Machine) -> list[Statement]:
    result: list[Statement] = []
    extreme: For | None = None
    position = 0
    for statement in body:
        result.append(statement)
        if not isinstance(statement, For):
            continue
        if any(isinstance(inner, For) for inner in statement.body):
            result[-1] = replace(statement, body=tuple(_body(statement.body, machine)))
            continue
        search = _search_of(statement)
        pair = None
        if search is not None and extreme is not None and search.best is _best_of(extreme):
            pair = _pair(extreme, search, result[position + 1 : -1])
        if pair is not None:
            located = _Located(pair, choose.lanes(pair.loop.body, machine))
            result[-1:] = located.looked_through()
            result[position : position + 1] = located.statements()
        extreme, position = statement if pair is None else None, len(result) - 1
    return result


@dataclass(frozen=True)
class _Search:
    """`for r: place min= where(value == best, index, beyond)`, or where the value is a NaN."""

    loop: For
    value: Expression
    best: Register
    place: Register
    index: Affine
    beyond: Literal


@dataclass(frozen=True)
class _Pair:
    """A loop that finds the best of some values by an op, and the search for its place."""

    loop: For
    op: str
    search: _Search


def _best_of(loop: For) -> Register | None:
    """What a loop does nothing else than to find the maximum or minimum of."""
    *lets, last = loop.body
    plain = loop.kind == "serial" and all(isinstance(s, Let) for s in lets)
    match last:
        case Update(register, "max" | "min", _, ()) if plain:
            return register
    return None


def _search_of(loop: For) -> _Search | None:
    *lets, last = loop.body
    if loop.kind != "serial" or not all(isinstance(s, Let) for s in lets):
        return None
    match last:
        case Update(place, "min", Apply("where", (found, index, Literal() as beyond)), ()):
            pass
        case _:
            return None
    match found:
        case Apply("equal", (value, Ref(best, ()))):
            pass
        case Apply(
            "or",
            (
                Apply("equal", (value, Ref(best, ()))),
                Apply("not", (Apply("equal", (one, other)),)),
            ),
        ) if value == one == other:
            pass
        case _:
            return None
    at = _counted(index)
    exact = value.dtype.kind != "f"
    if at is None or exact != (found.op == "equal") or at.coefficient(loop.var) != 1:
        return None
    return _Search(loop, value, best, place, at, beyond)


def _counted(index: Expression) -> Affine | None:
    """What an index counts, whichever dtype it is converted to."""
    match index:
        case Index(value=value) | Apply("cast", (Index(value=value),)):
            return value
    return None


def _index(value: Affine, dtype: DType) -> Expression:
    return Apply("cast", (Index(value, INT64),), dtype)


def _pair(loop: For, search: _Search, between: Sequence[Statement]) -> _Pair | None:
    """The two loops, where they go over the same values, which nothing between them changes."""
    last = loop.body[-1]
    assert isinstance(last, Update)
    other = search.loop
    same = (loop.start, loop.stop, loop.step) == (other.start, other.stop, other.step)
    if not same or loop.step != 1 or not choose.locates(loop.trips, search.value.dtype):
        return None
    if index_registers(loop.body) or index_registers(other.body):
        return None
    if len(loop.body) + len(other.body) > MOST_NAMES:
        return None
    if any(isinstance(s, For | Store) and not _is_result(s, search) for s in between):
        return None
    moved: dict[Atom, Affine] = {other.var: affine(loop.var)}
    found = Rewriter(moved).expression(_spelled_out(search.value, other))
    return _Pair(loop, last.op, search) if found == _spelled_out(last.value, loop) else None


def _is_result(statement: For | Store, search: _Search) -> bool:
    """Whether a statement only stores the value that was found, apart from what is searched."""
    if isinstance(statement, For):
        return False
    expressions = [s.value for s in search.loop.body if isinstance(s, Let | Update)]
    return not any(_loads(expression, statement) for expression in expressions)


def _loads(expression: Expression, store: Store) -> bool:
    match expression:
        case Load(buffer=buffer):
            return buffer is store.buffer
        case Apply(args=args):
            return any(_loads(arg, store) for arg in args)
    return False


def _spelled_out(expression: Expression, loop: For) -> Expression:
    """A value without the names that its loop gives to parts of it."""
    names = {let.register: let.value for let in loop.body if isinstance(let, Let)}

    def spell(found: Expression) -> Expression:
        match found:
            case Ref(register, ()) if register in names:
                return spell(names[register])
            case Apply(op, args, dtype):
                return Apply(op, tuple(map(spell, args)), dtype)
        return found

    return spell(expression)


class _Located(Reduction):
    """The vector form of both: accumulators of values, and beside them where these stand.

    A place is kept as the first index of the group of vectors in which it lies.
    """

    def __init__(self, pair: _Pair, lanes: int) -> None:
        self.search = pair.search
        self.group = Var("group", pair.loop.start, pair.loop.stop - 1)
        best, place = pair.search.best, Register("place", pair.search.place.dtype)
        *lets, last = pair.loop.body
        assert isinstance(last, Update)
        value, better = Register("value", best.dtype), Register("better", BOOL)
        first = _index(affine(self.group), place.dtype)
        body: list[Statement] = [
            *lets,
            Let(value, last.value),
            Let(better, _is_better(pair.op, Ref(value), Ref(best))),
            Update(place, "set", Apply("where", (Ref(better), first, Ref(place)), place.dtype)),
            Update(best, "set", Apply("where", (Ref(better), Ref(value), Ref(best)), best.dtype)),
        ]
        super().__init__(replace(pair.loop, body=tuple(body)), {best: pair.op}, lanes)
        self.places = Register("placev", place.dtype, lanes, (self.count,))
        self.best = self.accumulators[best]
        self.accumulators[place] = self.places

    def _initial(self, registers: Sequence[Register]) -> list[Statement]:
        """Lanes that find nothing better have it at their first element."""
        u = Var("u", 0, self.count - 1)
        start = Literal(self.places.dtype.type(self.loop.start), self.places.dtype)
        return [
            *super()._initial(registers),
            *self._each([Let(self.places, start, (affine(u),))], u, self.used),
        ]

    def _step(self, base: Affine, offset: Affine, which: Affine, active: int) -> For:
        step = super()._step(base, offset, which, active)
        return replace(step, body=Rewriter({self.group: base}).body(step.body))

    def _folded(self, register: Register, op: str) -> list[Statement]:
        """The values of all accumulators in copies, for these are still looked through."""
        copies = Register(f"{register.name}f", register.dtype, self.lanes, (self.count,))
        u = Var("u", 0, self.count - 1)
        copied = self._each([Let(copies, Ref(self.best, (affine(u),)), (affine(u),))], u, self.used)
        self.accumulators[register] = copies
        return [*copied, *super()._folded(register, op)]

    def looked_through(self) -> list[Statement]:
        """The least place at which an accumulator has the best value, or a NaN."""
        search = self.search
        dtype = self.places.dtype
        least = Register(f"{search.place.name}v", dtype, self.lanes)
        copies = min(self.copies, self.used)
        block, u = Var("block", 0, self.used // copies - 1), Var("u", 0, copies - 1)
        lane = Var(self.loop.var.name, 0, self.lanes - 1)
        which = (affine(block) * copies + affine(u),)
        inside: dict[Atom, Affine] = {search.loop.var: affine(u) * self.lanes + affine(lane)}
        offset = _index(search.index.substitute(inside), dtype)
        place = Apply("add", (offset, Ref(self.places, which)), dtype)
        value = Ref(self.best, which)
        found = Apply("equal", (value, Ref(search.best)), BOOL)
        if value.dtype.kind == "f":
            number = Apply("equal", (value, value), BOOL)
            found = Apply("or", (found, Apply("not", (number,), BOOL)), BOOL)
        chosen = Apply("where", (found, place, search.beyond), dtype)
        vector = For(lane, 0, self.lanes, self.lanes, "vector", (Update(least, "min", chosen),))
        return [
            Let(least, Literal(identity("min", dtype), dtype)),
            *self._each(self._each([vector], u, copies), block, self.used // copies),
            Update(search.place, "min", Fold("min", Ref(least))),
        ]


def _is_better(op: str, value: Ref, best: Ref) -> Expression:
    """Whether a value takes the place of the best one: a NaN does, and nothing a NaN's."""
    low, high = (best, value) if op == "max" else (value, best)
    if value.dtype.kind != "f":
        return Apply("less", (low, high), BOOL)
    beyond = Apply("not", (Apply("less_equal", (high, low), BOOL),), BOOL)
    return Apply("and", (beyond, Apply("equal", (best, best), BOOL)), BOOL)
