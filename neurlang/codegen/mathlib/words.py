"""Numbers as unevaluated sums of three doubles, for what a pair cannot tell from zero.

Source: Hida, Li and Bailey, Algorithms for quad-double precision floating point arithmetic, 2001,
sections 2 and 3, with three words, of which the last is rounded and carries no error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from neurlang.codegen.mathlib.common import fast_two_sum, two_product, two_sum
from neurlang.codegen.writer import Value, Writer

TERMS = 42  # of (e^r - 1) / r; the next is below 2^-180 for |r| < 0.8
# log(2) to 168 bits, in four parts of 42 bits: their products with exponents are exact.
LN2_PARTS = (
    float.fromhex("0x1.62e42fefa3800p-1"),
    float.fromhex("0x1.ef35793c76000p-45"),
    float.fromhex("0x1.cc01f97b56000p-87"),
    float.fromhex("0x1.a079a19339000p-127"),
)


class Words(NamedTuple):
    """An unevaluated sum, each word at most about an ULP of the one before."""

    first: Value
    second: Value
    third: Value


def split_in_words(number: Fraction) -> tuple[float, float, float]:
    """The three doubles nearest to a number and what they leave."""
    first = float(number)
    second = float(number - Fraction(first))
    return first, second, float(number - Fraction(first) - Fraction(second))


def renormalize(writer: Writer, first: Value, seconds: Sequence[Value], third: Value) -> Words:
    """first + the sum of `seconds` + third."""
    total, *others = seconds
    for second in others:
        sum = two_sum(writer, total, second)
        total, third = sum.high, writer.fadd(third, sum.low)
    upper = fast_two_sum(writer, first, total)
    lower = fast_two_sum(writer, upper.low, third)
    return Words(upper.high, lower.high, lower.low)


def multiply_and_add(writer: Writer, a: Words, b: Words, c: Words) -> Words:
    """a * b + c, for |a * b| and |c| that are not much above the sum."""
    product = two_product(writer, a.first, b.first)
    left = two_product(writer, a.first, b.second)
    right = two_product(writer, a.second, b.first)
    third = writer.fadd(c.third, writer.fadd(left.low, right.low))
    for x, y in ((a.third, b.first), (a.second, b.second), (a.first, b.third)):
        third = writer.fma(x, y, third)
    sum = two_sum(writer, product.high, c.first)
    seconds = (left.high, right.high, product.low, c.second, sum.low)
    return renormalize(writer, sum.high, seconds, third)


def growth(writer: Writer, arguments: Sequence[Words]) -> list[Words]:
    """(e^r - 1) / r for some |r| < 0.8, by a loop over the terms of its series."""
    like = arguments[0].first
    terms = [split_in_words(Fraction(1, math.factorial(k))) for k in range(TERMS, 0, -1)]
    table = writer.module.constant_array("double", [word for term in terms for word in term])
    before, loop, after = writer.block, writer.label("terms"), writer.label("after")
    writer.branch(loop)
    writer.start_block(loop)
    place = writer.phi("i64")
    states = [[writer.phi(like.type) for _ in range(3)] for _ in arguments]
    term = Words(
        *(
            writer.splat(writer.load(writer.offset(table, word, "double"), "double"), like.lanes)
            for word in (writer.add(place[0], writer.constant(i, "i64")) for i in range(3))
        )
    )
    results = [
        multiply_and_add(writer, Words(*(phi[0] for phi in state)), r, term)
        for state, r in zip(states, arguments)
    ]
    following = writer.add(place[0], writer.constant(3, "i64"))
    writer.set_phi(place, [(writer.constant(0, "i64"), before), (following, writer.block)])
    zero = writer.constant(0.0, like)
    for state, result in zip(states, results):
        for phi, word in zip(state, result):
            writer.set_phi(phi, [(zero, before), (word, writer.block)])
    end = writer.constant(3 * TERMS, "i64")
    writer.branch_if(writer.icmp("ult", following, end), loop, after)
    writer.start_block(after)
    return results
