"""Loads and stores of one function: what lies in order, a few elements apart, or anywhere.

Elements next to each other are a vector; those a few apart are picked from vectors of all that lies
there, and rows that several stores fill are stored as whole vectors; the rest is gathered and
scattered. A mask keeps lanes out of it that are beyond a loop's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from neurlang.codegen.addresses import Addresses, Term
from neurlang.codegen.scalar import memory_type
from neurlang.codegen.short_rows import Step, columns, exchanged, rows
from neurlang.codegen.writer import (
    BITS,
    Module,
    Value,
    Writer,
    constant,
    constant_vector,
    vector_type,
)
from neurlang.ir.loops import (
    Affine,
    Apply,
    Buffer,
    Expression,
    Literal,
    Load,
    Ref,
    Register,
    Store,
    Var,
)
from neurlang.ir.rows import LONGEST_ROW
from neurlang.ir.types import BOOL, DType

Place = tuple[Register, tuple[int, ...]]
MOST_USUAL = 1000  # vectors of indices that are positions as they stand, to one that is not


class Listed(NamedTuple):
    """Integers that lie in memory side by side, one for each lane. As indices they are positions as
    they stand where `usual` holds; always, where it is None."""

    address: Value
    dtype: DType
    usual: Value | None = None


class Accesses:
    """The state of a function that is being written, and what it reads and writes."""

    def __init__(self, module: Module, signature: str) -> None:
        self.writer = Writer(module, signature)
        self.vars: dict[Var, Value | int] = {}
        self.ahead: dict[Var, int] = {}  # what an unrolled copy adds to its loop's variable
        self.registers: dict[Place, Value] = {}
        self.pointers: dict[Buffer, Value] = {}
        self.lane: Var | None = None
        self.lanes = 1
        self.mask: Value | None = None
        self.active: int | None = None  # how many lanes are, where that is known
        self.read: dict[str, Value] = {}  # whole vectors, in the block of `read_in`
        self.read_in: dict[str, Value] = {}
        self.exchanged: dict[str, dict[Step, Value]] = {}  # of those, by what they begin with
        self.listed: dict[Register, Listed] = {}  # until something is stored
        self.streams = False  # whether it has nontemporal stores
        self.addresses = Addresses(self.writer, self.pointers)

    def widened(self, value: Value, lanes: int) -> Value:
        return self.writer.splat(value, lanes) if value.lanes == 1 else value

    def affine(self, index: Affine) -> Value | int:
        """An index as a number or an i64; the lane variable counts as its first lane."""
        number = index.constant
        total: Value | None = None
        for atom, coefficient in index.terms:
            value: Value | int
            if isinstance(atom, Var):
                value = self.vars[atom]
                number += self.ahead.get(atom, 0) * coefficient
            else:
                value = self._index_register(atom)
            if isinstance(value, int):
                number += value * coefficient
                continue
            if coefficient != 1:
                value = self.writer.mul(value, constant(coefficient, value.type))
            if total is not None and total.lanes != value.lanes:
                lanes = max(total.lanes, value.lanes)
                total, value = self.widened(total, lanes), self.widened(value, lanes)
            total = value if total is None else self.writer.add(total, value)
        if total is None:
            return number
        return self.writer.add(total, constant(number, total.type)) if number else total

    def _stride(self, flat: Affine) -> int | None:
        """Elements between neighbouring lanes; None where the lanes' indices are data."""
        if any(isinstance(atom, Register) and self._is_data(atom) for atom, _ in flat.terms):
            return None
        return flat.coefficient(self.lane) if self.lane is not None else 0

    def _address(self, buffer: Buffer, flat: Affine) -> Value:
        """Where an element lies."""
        number = flat.constant
        terms = []
        for atom, coefficient in flat.terms:
            if isinstance(atom, Register):
                terms.append(Term(None, self._index_register(atom), coefficient))
                continue
            value = self.vars[atom]
            number += self.ahead.get(atom, 0) * coefficient
            if isinstance(value, int):
                number += value * coefficient
            else:
                terms.append(Term(atom, value, coefficient))
        base = self.addresses.base(buffer, terms)
        return self.writer.offset(base, number, memory_type(buffer.dtype)) if number else base

    def _addresses(self, buffer: Buffer, flat: Affine, stride: int | None) -> Value:
        """A vector of addresses, one a lane: the one that all share, and what differs."""
        terms = [(a, n) for a, n in flat.terms if isinstance(a, Register) and self._is_data(a)]
        shared = Affine(flat.constant, tuple(term for term in flat.terms if term not in terms))
        step = flat.coefficient(self.lane) if self.lane is not None else 0
        steps = [lane * step for lane in range(self.lanes)]
        differs = Affine(0, tuple(terms))
        low, high = differs.low + min(steps), differs.high + max(steps)
        registers = [self.registers[(register, ())] for register, _ in terms]
        narrow = -(1 << 31) <= low and high < 1 << 31 and all(r.scalar == "i32" for r in registers)
        scalar = "i32" if narrow else "i64"
        index = constant_vector(steps, scalar) if step else None
        for value, (_, coefficient) in zip(registers, terms):
            value = self.writer.sext(value, scalar)
            if coefficient != 1:
                value = self.writer.mul(value, constant(coefficient, value.type))
            index = value if index is None else self.writer.add(index, value)
        assert index is not None
        base = self._address(buffer, shared)
        element = memory_type(buffer.dtype)
        type = vector_type("ptr", self.lanes)
        return self.writer.value(f"getelementptr {element}, {base}, {index}", type)

    def _is_data(self, register: Register) -> bool:
        """Whether the lanes have indices of their own in a register."""
        return self.registers[(register, ())].lanes > 1

    def _index_register(self, register: Register) -> Value:
        """A register as a part of an address."""
        return self.writer.sext(self.registers[(register, ())], "i64")

    def _reversed(self, value: Value) -> Value:
        return self.writer.shuffle(value, value, list(range(self.lanes - 1, -1, -1)))

    def load(self, load: Load) -> Value:
        flat = load.buffer.flat(load.index)
        stride = self._stride(flat)
        element = memory_type(load.buffer.dtype)
        writer = self.writer
        if stride == 0:
            value = writer.load(self._address(load.buffer, flat), element)
        elif stride is not None and self.active == 1:
            nothing = Value("zeroinitializer", vector_type(element, self.lanes))
            single = writer.load(self._address(load.buffer, flat), element)
            value = writer.insert(nothing, single, 0)
        elif stride in (1, -1):
            type = vector_type(element, self.lanes)
            start = flat if stride == 1 else flat + (1 - self.lanes)
            pointer = self._address(load.buffer, start)
            mask = self.mask
            if mask is not None and stride == -1:
                mask = self._reversed(mask)
            if mask is None:
                value = writer.load(pointer, type)
            else:
                value = writer.masked_load(pointer, type, mask)
            if stride == -1:
                value = self._reversed(value)
        elif stride is not None and self.active and abs(stride) <= LONGEST_ROW:
            value = self._picked(load.buffer, flat, stride, self.active)
        else:
            value = self._gather(load, flat, stride)
        return self._from_memory(value, load.buffer.dtype)

    def _picked(self, buffer: Buffer, flat: Affine, stride: int, count: int) -> Value:
        """Some elements that lie a few apart, picked from vectors of all that lies there.

        The last vector ends with the last of the elements: nothing behind it is read.
        """
        writer, lanes = self.writer, self.lanes
        type = vector_type(memory_type(buffer.dtype), lanes)
        offset = flat.constant % abs(stride)
        if self._is_inside(buffer, flat + -offset, abs(stride)):
            return self._column(offset, buffer, flat + -offset, stride)
        places = [lane * abs(stride) for lane in range(count)]
        size = places[-1] + 1
        if stride < 0:
            flat, places = flat + -places[-1], places[::-1]
        places += [places[0]] * (lanes - count)
        if size < lanes:
            mask = constant_vector([lane < size for lane in range(lanes)], "i1")
            whole = writer.masked_load(self._address(buffer, flat), type, mask)
            return writer.shuffle(whole, whole, places)
        starts = [*range(0, size - lanes, lanes), size - lanes]
        vectors = [writer.load(self._address(buffer, flat + start), type) for start in starts]
        numbers = [min(place // lanes, len(starts) - 1) for place in places]
        return self._mixed(vectors, [(n, p - starts[n]) for n, p in zip(numbers, places)])

    def _is_inside(self, buffer: Buffer, first: Affine, length: int) -> bool:
        """Whether rows lie in a buffer from their first element to their last, in every lane."""
        return first.low >= 0 and first.high + length <= buffer.size

    def _column(self, number: int, buffer: Buffer, first: Affine, stride: int) -> Value:
        """A column of as many rows as lanes are active: all columns share what is loaded."""
        assert self.active is not None
        lanes, length = self.lanes, abs(stride)
        size = self.active * length
        start = first if stride > 0 else first + (self.active - 1) * stride
        wholes = [
            self._whole(self._address(buffer, start + n), buffer, size - n)
            for n in range(0, size, lanes)
        ]
        step = columns(lanes, length, self.active, stride < 0)[number]
        key = f"{wholes[0].text} {length} {size}"
        return exchanged(self.writer, step, wholes, self.exchanged.setdefault(key, {}))

    def _whole(self, pointer: Value, buffer: Buffer, count: int) -> Value:
        """A vector from memory, or `count` elements where that is less; once in a block where
        nothing is stored in between."""
        type = vector_type(memory_type(buffer.dtype), self.lanes)
        if self.read_in is not self.writer.known:
            self.read_in, self.read, self.exchanged = self.writer.known, {}, {}
        key = f"{type} {pointer.text} {min(count, self.lanes)}"
        if key not in self.read:
            if count >= self.lanes:
                self.read[key] = self.writer.load(pointer, type)
            else:
                mask = constant_vector([lane < count for lane in range(self.lanes)], "i1")
                self.read[key] = self.writer.masked_load(pointer, type, mask)
        return self.read[key]

    def _mixed(self, vectors: Sequence[Value], chosen: Sequence[tuple[int, int]]) -> Value:
        """The vector with these lanes, each of one of the vectors."""
        value = vectors[0]
        found = [lane if number == 0 else -1 for number, lane in chosen]
        if len(vectors) == 1:
            return self.writer.shuffle(value, value, found)
        for more, vector in enumerate(vectors[1:], 1):
            ends = [self.lanes + lane if number == more else -1 for number, lane in chosen]
            mask = [old if old >= 0 else new for old, new in zip(found, ends)]
            value = self.writer.shuffle(value, vector, mask)
            found = [lane if at >= 0 else -1 for lane, at in enumerate(mask)]
        return value

    def store_row(self, first: Store, elements: Sequence[Value]) -> None:
        """Elements of rows, one vector for each place in a row, as vectors of whole rows."""
        lanes, length = self.lanes, len(elements)
        values = [self.widened(element, lanes) for element in elements]
        assert self.active is not None
        size = self.active * length
        done: dict[Step, Value] = {}
        for start, step in zip(range(0, size, lanes), rows(lanes, length, self.active)):
            value = exchanged(self.writer, step, values, done)
            pointer = self._address(first.buffer, first.buffer.flat(first.index) + start)
            if start + lanes <= size:
                self.writer.store(value, pointer)
            else:
                mask = constant_vector([start + lane < size for lane in range(lanes)], "i1")
                self.writer.masked_store(value, pointer, mask)
        self.forget_memory()

    def prefetch(self, buffer: Buffer, index: Sequence[Affine]) -> None:
        """Ask for a line, to be read, into all caches."""
        address = self._address(buffer, buffer.flat(index))
        hints = (constant(number, "i32") for number in (0, 3, 1))
        self.writer.call_void("llvm.prefetch.p0", [address, *hints])

    def remember(self, register: Register, value: Expression) -> None:
        """That a register holds a vector as it lies in memory, or positions that lie there."""
        match value:
            case Load(buffer, index) | Apply("cast", (Load(buffer, index),), _):
                flat, source = buffer.flat(index), buffer.dtype
                kept = source.kind in "iu" and source.itemsize <= value.dtype.itemsize
                whole = self.mask is None and self.lanes > 1 and self._stride(flat) == 1
                if kept and whole:
                    self.listed[register] = Listed(self._address(buffer, flat), buffer.dtype)
            case Apply("position", (Ref(source), Literal(size)), _) if source in self.listed:
                found = self.registers[(source, ())]
                inside = self.writer.icmp("ult", found, constant(int(size), found.type))
                indices = self.listed[source]._replace(usual=self.writer.all_lanes(inside))
                self.listed[source] = self.listed[register] = indices

    def usual(self, index: Expression) -> Value | None:
        """Whether indices in memory are all positions as they stand, where that is known."""
        if isinstance(index, Ref) and index.register in self.listed:
            return self.listed[index.register].usual
        return None

    def forget_memory(self) -> None:
        """Something is stored, or will be in a loop, and may lie where something was loaded."""
        self.read, self.listed = {}, {}

    def _gather(self, load: Load, flat: Affine, stride: int | None) -> Value:
        """Elements anywhere: those whose indices lie in memory, and are usual, one by one.

        A load of an index and one of the element take less than a gather's share of it.
        """
        terms = [(a, n) for a, n in flat.terms if isinstance(a, Register) and self._is_data(a)]
        if not terms or not all(register in self.listed for register, _ in terms):
            return self._gather_vector(load, flat, stride)
        writer, listed = self.writer, [(self.listed[register], n) for register, n in terms]
        shared = Affine(flat.constant, tuple(term for term in flat.terms if term not in terms))
        base = self._address(load.buffer, shared)
        step = flat.coefficient(self.lane) if self.lane is not None else 0
        usual: Value | None = None
        for indices, _ in listed:
            if indices.usual is not None:
                usual = indices.usual if usual is None else writer.and_(usual, indices.usual)

        def one_by_one() -> Value:
            element = memory_type(load.buffer.dtype)
            value = Value("poison", vector_type(element, self.lanes))
            for lane in range(self.lanes):
                address = writer.offset(base, lane * step, element)
                for indices, coefficient in listed:
                    index = self._listed_index(indices, lane)
                    if coefficient != 1:
                        index = writer.mul(index, constant(coefficient, "i64"))
                    address = writer.offset(address, index, element)
                value = writer.insert(value, writer.load(address, element), lane)
            return value

        if usual is None:
            return one_by_one()
        gather = partial(self._gather_vector, load, flat, stride)
        return writer.either(usual, one_by_one, gather, MOST_USUAL)

    def _listed_index(self, indices: Listed, lane: int) -> Value:
        """One of the indices, read from memory."""
        scalar = memory_type(indices.dtype)
        index = self.writer.load(self.writer.offset(indices.address, lane, scalar), scalar)
        extend = self.writer.sext if indices.dtype.kind == "i" else self.writer.zext
        return extend(index, "i64")

    def _gather_vector(self, load: Load, flat: Affine, stride: int | None) -> Value:
        """Elements anywhere, by addresses that are a vector."""
        element = memory_type(load.buffer.dtype)
        type = vector_type(element, self.lanes)
        pointers = self._addresses(load.buffer, flat, stride)
        mask = self.mask or constant(True, vector_type("i1", self.lanes))
        name = f"llvm.masked.gather.v{self.lanes}{_mangled(element)}.v{self.lanes}p0"
        zero = Value("zeroinitializer", type)
        size = load.buffer.dtype.itemsize
        self.writer.module.declare(name, type, (pointers.type, mask.type, type))
        text = f"call {type} @{name}({pointers.type} align {size} {pointers.text}, {mask}, {zero})"
        return self.writer.value(text, type)

    def _from_memory(self, value: Value, dtype: DType) -> Value:
        if dtype != BOOL:
            return value
        return self.writer.icmp("ne", value, constant(0, value.type))

    def store(self, store: Store, value: Value) -> None:
        """Store a value, as it lies in memory."""
        self.forget_memory()
        buffer = store.buffer
        flat = buffer.flat(store.index)
        stride = self._stride(flat)
        if stride == 0:
            self.writer.store(value, self._address(buffer, flat))
            return
        value = self.widened(value, self.lanes)
        if stride is not None and self.active == 1:
            # not masked: LLVM 22 for x86 stores the whole of a narrowed lane under such a mask
            self.writer.store(self.writer.extract(value, 0), self._address(buffer, flat))
            return
        if stride in (1, -1):
            start = flat if stride == 1 else flat + (1 - self.lanes)
            pointer = self._address(buffer, start)
            mask = self.mask
            if stride == -1:
                value = self._reversed(value)
                mask = None if mask is None else self._reversed(mask)
            if store.nontemporal:
                self._stream(value, pointer)
            elif mask is None:
                self.writer.store(value, pointer)
            else:
                self.writer.masked_store(value, pointer, mask)
            return
        self._scatter(buffer, flat, stride, value)

    def _stream(self, value: Value, pointer: Value) -> None:
        """Past the caches: other threads see such stores in order only after a fence."""
        size = value.lanes * BITS[value.scalar] // 8
        self.writer.store(
            value, pointer, size, f", !nontemporal {self.writer.module.nontemporal()}"
        )
        self.streams = True

    def _scatter(self, buffer: Buffer, flat: Affine, stride: int | None, value: Value) -> None:
        pointers = self._addresses(buffer, flat, stride)
        mask = self.mask or constant(True, vector_type("i1", self.lanes))
        name = f"llvm.masked.scatter.v{self.lanes}{_mangled(value.scalar)}.v{self.lanes}p0"
        self.writer.module.declare(name, "void", (value.type, pointers.type, mask.type))
        size = buffer.dtype.itemsize
        place = f"{pointers.type} align {size} {pointers.text}"
        self.writer.line(f"call void @{name}({value}, {place}, {mask})")


def _mangled(element: str) -> str:
    return {"float": "f32", "double": "f64"}.get(element, element)
