"""What a loop computes anew in each iteration, and need not, moves before the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Apply,
    Atom,
    Check,
    Expression,
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
    defined_in,
    depends_on,
    parts,
    updated_in,
    walk,
)


def hoist(kernel: Kernel) -> Kernel:
    """Name every part of an expression that a loop does not change, in front of that loop.

    Values that are loaded from what the loop stores stay. Runs before vectorisation, so that a
    scalar is computed once and spread over the lanes.
    """
    if kernel.schedule == "product":  # its loops change places first
        return kernel
    return kernel.with_body(_Hoist().body(kernel.body))


class _Hoist:
    def __init__(self) -> None:
        self.count = 0

    def body(self, statements: Sequence[Statement]) -> list[Statement]:
        result: list[Statement] = []
        for statement in statements:
            if isinstance(statement, For):
                inner = statement.with_body(self.body(statement.body))
                before, loop = self._loop(inner)
                result.extend(before)
                if loop.body:  # all of it may be the same each time
                    result.append(loop)
            else:
                result.append(statement)
        return result

    def _loop(self, loop: For) -> tuple[list[Statement], For]:
        updated = updated_in(loop.body)
        changing: set[Atom] = {loop.var, *defined_in(loop.body), *updated}
        changing |= {s.var for s in walk(loop.body) if isinstance(s, For)}
        written = {s.buffer for s in walk(loop.body) if isinstance(s, Store)}
        before: list[Statement] = []
        named: dict[Expression, Ref] = {}

        def fixed(expression: Expression) -> bool:
            loads = (part.buffer for part in parts(expression) if isinstance(part, Load))
            return not depends_on(expression, changing) and not any(b in written for b in loads)

        def move(expression: Expression) -> Expression:
            if isinstance(expression, Literal | Ref | Index):
                return expression
            if fixed(expression):
                if expression not in named:
                    self.count += 1
                    register = Register(f"h{self.count}", expression.dtype)
                    before.append(Let(register, expression))
                    named[expression] = Ref(register)
                return named[expression]
            if isinstance(expression, Apply):
                args = tuple(move(arg) for arg in expression.args)
                return Apply(expression.op, args, expression.dtype)
            return expression

        body: list[Statement] = []
        for statement in loop.body:
            match statement:
                case Let(register, value, ()) if register not in updated and fixed(value):
                    changing.discard(register)
                    before.append(statement)
                case Let(value=value) | Update(value=value) | Store(value=value):
                    body.append(replace(statement, value=move(value)))
                case Check(condition=condition) if fixed(condition) and loop.trips:
                    before.append(statement)
                case Check(condition=condition):
                    body.append(replace(statement, condition=move(condition)))
                case _:
                    body.append(statement)
        return before, loop.with_body(body)
