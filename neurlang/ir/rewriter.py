"""Copies of statements of the loops with other variables, registers and lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Affine,
    Apply,
    Atom,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Let,
    Load,
    Prefetch,
    Ref,
    Register,
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
    Window,
    affine,
    depends_on,
)


class Rewriter:
    """Copies statements with atoms of indices and registers replaced.

    `registers` gives for a register the one that stands for it, and its index where that one is
    an array. A register that is defined inside what is copied, and not in the table, is renewed
    with `lanes` lanes where its value depends on a variable or register in `varying`.
    """

    def __init__(
        self,
        atoms: Mapping[Atom, Affine],
        registers: Mapping[Register, Ref] | None = None,
        lanes: int = 1,
        varying: Sequence[Atom] = (),
    ) -> None:
        self.atoms: dict[Atom, Affine] = dict(atoms)
        self.registers: dict[Register, Ref] = dict(registers or {})
        self.lanes = lanes
        self.varying: set[Atom] = set(varying)

    def indices(self, index: tuple[Affine, ...]) -> tuple[Affine, ...]:
        return tuple(position.substitute(self.atoms) for position in index)

    def expression(self, expression: Expression) -> Expression:
        match expression:
            case Load(buffer=buffer, index=index):
                return Load(buffer, self.indices(index))
            case Ref(register=register, index=index):
                found = self.registers.get(register)
                if found is None:
                    return Ref(register, self.indices(index))
                return Ref(found.register, found.index + self.indices(index))
            case Index(value=value, dtype=dtype):
                return Index(value.substitute(self.atoms), dtype)
            case Apply(op=op, args=args, dtype=dtype):
                return Apply(op, tuple(self.expression(arg) for arg in args), dtype)
            case Fold(op=op, register=register):
                renamed = self.expression(register)
                assert isinstance(renamed, Ref)
                return Fold(op, renamed)
            case _:
                return expression

    def body(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple(self.statement(statement) for statement in statements)

    def statement(self, statement: Statement) -> Statement:
        match statement:
            case For(window=Window(first, length)):
                window = Window(first.substitute(self.atoms), length)
                return replace(statement, body=self.body(statement.body), window=window)
            case For():
                return statement.with_body(self.body(statement.body))
            case Let(register, value, index):
                return self._let(register, value, index)
            case Update(register, op, value, index):
                target = self.registers.get(register, Ref(register))
                new = self.expression(value)
                return Update(target.register, op, new, target.index + self.indices(index))
            case Store(buffer, index, value, nontemporal):
                return Store(buffer, self.indices(index), self.expression(value), nontemporal)
            case Check(condition, code):
                return Check(self.expression(condition), code)
            case Prefetch(buffer, index):
                return Prefetch(buffer, self.indices(index))
            case Transpose(register):
                return Transpose(self.registers.get(register, Ref(register)).register)
            case Rotate(register, by):
                return Rotate(self.registers.get(register, Ref(register)).register, by)
            case _:
                return statement

    def _let(self, register: Register, value: Expression, index: tuple[Affine, ...]) -> Let:
        new_value = self.expression(value)
        if register not in self.registers:
            lanes = register.lanes
            if depends_on(new_value, self.varying):
                lanes = max(lanes, self.lanes)
            new = replace(register, lanes=lanes)
            if lanes > 1:
                self.varying.add(new)
            self.registers[register] = Ref(new)
            self.atoms[register] = affine(new)
        found = self.registers[register]
        return Let(found.register, new_value, found.index + self.indices(index))
