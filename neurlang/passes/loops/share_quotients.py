"""Quotients of indices that all lanes of a vector share are numbers, not vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from neurlang.ir.loops import (
    Affine,
    Apply,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Ref,
    Register,
    Statement,
    Var,
    affine,
    expressions_of,
    parts,
    walk,
)
from neurlang.ir.rewriter import Rewriter

Steps = Mapping[Var, int]  # of loops: numbers that divide all that their variables are


def share_quotients(kernel: Kernel) -> Kernel:
    """i // d and i % d, where d is a multiple of the lanes and the first lane's i is one, too.

    Then i // d is the same in all lanes, and i % d counts on: what is read at these indices is one
    element, or a vector, and no gather. A sum over rows that lie in blocks, as those of quantised
    weights with a scale for each, divides so. Only where a vector stands by itself, as in sums.
    """
    if not any(map(_divides, walk(kernel.body))):
        return kernel
    return kernel.with_body(_body(kernel.body, {}))


def _divides(statement: Statement) -> bool:
    """Whether a statement names the quotient or remainder of an index."""
    match statement:
        case Let(_, Apply("floor_div" | "mod", (Index(), Literal()))):
            return True
    return False


def _body(statements: Sequence[Statement], steps: Steps) -> list[Statement]:
    result: list[Statement] = []
    for statement in statements:
        if not isinstance(statement, For):
            result.append(statement)
        elif statement.kind == "vector":
            result += _shared(statement, steps)
        else:
            inside = {**steps, statement.var: math.gcd(statement.start, statement.step)}
            result.append(statement.with_body(_body(statement.body, inside)))
    return result


def _shared(loop: For, steps: Steps) -> list[Statement]:
    """A vector, behind the quotients and remainders of its first lane. Not where it makes a part of
    a register array, which belongs to other loops as well."""
    lets = [statement for statement in loop.body if isinstance(statement, Let)]
    found = [let for let in lets if _is_shared(let, loop, steps)]
    if not found or any(let.index for let in lets):
        return [loop]
    first = Rewriter({loop.var: Affine(loop.start)})
    numbers: list[Statement] = []
    rewriter = Rewriter({})
    for let in found:
        low, high = let.register.low, let.register.high
        assert isinstance(let.value, Apply)
        counts = let.value.op == "mod"
        number = replace(let.register, lanes=1, high=high - counts * (loop.step - 1), low=low)
        numbers.append(Let(number, first.expression(let.value)))
        rest = affine(loop.var) + -loop.start if counts else Affine()
        rewriter.atoms[let.register] = affine(number) + rest
        if not counts:
            rewriter.registers[let.register] = Ref(number)
    body = [statement for statement in loop.body if statement not in found]
    return [*numbers, loop.with_body(rewriter.body(body))]


def _is_shared(let: Let, loop: For, steps: Steps) -> bool:
    match let.value:
        case Apply("floor_div" | "mod" as op, (Index(index), Literal(divisor)), _):
            lanes = loop.step
            others = [
                coefficient * steps.get(atom, 1) if isinstance(atom, Var) else coefficient
                for atom, coefficient in index.terms
                if atom is not loop.var
            ]
            return (
                loop.trips == 1
                and index.coefficient(loop.var) == 1
                and int(divisor) % lanes == 0
                and all(number % lanes == 0 for number in (*others, index.constant, loop.start))
                and not (op == "mod" and _is_read(let.register, loop))
            )
    return False


def _is_read(register: Register, loop: For) -> bool:
    """Whether a register is read as a value, not only in indices."""
    return any(
        isinstance(part, Ref) and part.register is register
        for statement in walk(loop.body)
        for expression in expressions_of(statement)
        for part in parts(expression)
    )
