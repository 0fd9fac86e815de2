"""Remainders of floats, exact in every lane, and the floor division that NumPy builds on them."""

from __future__ import annotations

from neurlang.codegen.mathlib.common import any_lane
from neurlang.codegen.writer import Module, Value, Writer, intrinsic_suffix

PRECISION = {"float": 24, "double": 53}
LARGEST_EXPONENT = {"float": 127, "double": 1023}


def emit_fmod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder with a's sign: that of the magnitudes, signed; NaN for inf by b and a by 0.

    With n = trunc(|a| / |b|) below 2^PRECISION, n is the quotient or one more: a rounded quotient
    reaches an integer but never passes it. So |a| - n |b| is a float, the fma makes it without an
    error, and adding |b| where it is negative is exact as well. Larger quotients leave the path.
    """
    numerator, denominator = writer.fabs(a), writer.fabs(b)
    quotient = writer.fdiv(numerator, denominator)
    fast = _reduced(writer, numerator, denominator, quotient)
    fast = _not_negative(writer, fast, denominator)
    fast = writer.select(writer.fcmp("olt", numerator, denominator), numerator, fast)
    bound = writer.constant(2.0 ** PRECISION[a.scalar], a)
    large = writer.fcmp("oge", quotient, bound)
    origin, slow, after = writer.block, writer.label("large"), writer.label("divided")
    writer.branch_if(any_lane(writer, large), slow, after)
    writer.start_block(slow)
    found = writer.select(large, _call_long_remainder(writer, numerator, denominator), fast)
    writer.branch(after)
    writer.start_block(after)
    merged = writer.phi(a.type)
    writer.set_phi(merged, [(fast, origin), (found, slow)])
    return writer.copysign(merged[0], a)


def emit_mod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder with b's sign, from the exact one with a's sign: NumPy's steps."""
    remainder, wrong_side = _remainder(writer, a, b)
    zero = writer.constant(0, a)
    moved = writer.select(wrong_side, writer.fadd(remainder, b), remainder)
    nothing = writer.fcmp("oeq", remainder, zero)
    return writer.select(nothing, writer.copysign(zero, b), moved)


def emit_floor_div(writer: Writer, a: Value, b: Value) -> Value:
    """floor(a / b) by way of the exact remainder: NumPy's steps, which round once."""
    remainder, wrong_side = _remainder(writer, a, b)
    zero, one = writer.constant(0, a), writer.constant(1, a)
    quotient = writer.fdiv(writer.fsub(a, remainder), b)
    quotient = writer.select(wrong_side, writer.fsub(quotient, one), quotient)
    floor = writer.floor(quotient)
    short = writer.fcmp("ogt", writer.fsub(quotient, floor), writer.constant(0.5, a))
    whole = writer.select(short, writer.fadd(floor, one), floor)
    plain = writer.fdiv(a, b)
    nothing = writer.fcmp("oeq", quotient, zero)
    whole = writer.select(nothing, writer.copysign(zero, plain), whole)
    return writer.select(writer.fcmp("oeq", b, zero), plain, whole)


def _remainder(writer: Writer, a: Value, b: Value) -> tuple[Value, Value]:
    """The remainder with a's sign, and whether it is not zero and on the other side than b."""
    remainder = emit_fmod(writer, a, b)
    zero = writer.constant(0, a)
    other = writer.xor(writer.fcmp("olt", b, zero), writer.fcmp("olt", remainder, zero))
    return remainder, writer.and_(writer.fcmp("une", remainder, zero), other)


def _reduced(writer: Writer, a: Value, divisor: Value, quotient: Value) -> Value:
    """a - trunc(quotient) * divisor, rounded once."""
    return writer.fma(writer.fneg(writer.ftrunc(quotient)), divisor, a)


def _not_negative(writer: Writer, remainder: Value, divisor: Value) -> Value:
    negative = writer.fcmp("olt", remainder, writer.constant(0, remainder))
    return writer.select(negative, writer.fadd(remainder, divisor), remainder)


def _call_long_remainder(writer: Writer, a: Value, b: Value) -> Value:
    """Call the function for large quotients, written into the module at its first use."""
    name = f"long_remainder_{intrinsic_suffix(a.type)}"
    head = f"internal {a.type} @{name}({a.type} %a, {a.type} %b)"
    if not any(text.startswith(f"define {head}") for text in writer.module.functions):
        _define_long_remainder(writer.module, head, a.type)
    return writer.value(f"call {a.type} @{name}({a}, {b})", a.type)


def _define_long_remainder(module: Module, head: str, type: str) -> None:
    """a modulo b, both positive, PRECISION bits of the quotient in each turn of a loop.

    A rounded quotient q >= 2^(PRECISION - 1) is an integer, and a - q b is a float (the residual
    of a division always is), at most half an ULP of q times b. It may be negative. A lane stops
    below b, or at NaN: when b is 0 or a is inf. A cold function: LLVM moves calls of it away.
    """
    writer = Writer(module, f"{head} cold noinline nounwind")
    b = Value("%b", type)
    loop, done = writer.label("turn"), writer.label("done")
    writer.branch(loop)
    writer.start_block(loop)
    carried = writer.phi(type)
    rest = carried[0]
    divisor = _scaled_divisor(writer, writer.fabs(rest), b)
    reduced = _reduced(writer, rest, divisor, writer.fdiv(rest, divisor))
    following = writer.select(writer.fcmp("oge", writer.fabs(rest), b), reduced, rest)
    writer.set_phi(carried, [(Value("%a", type), "entry"), (following, loop)])
    more = writer.fcmp("oge", writer.fabs(following), b)
    writer.branch_if(any_lane(writer, more), loop, done)
    writer.start_block(done)
    writer.ret(_not_negative(writer, following, b))
    writer.finish()


def _scaled_divisor(writer: Writer, a: Value, b: Value) -> Value:
    """b times a power of two, such that 2 <= a / divisor where it is not b, and never overflows.

    Each step takes LARGEST_EXPONENT - 2 from the quotient's exponent. Where a * 2^-LARGEST_EXPONENT
    is subnormal, its rounding is at most half of the least b: the quotient stays below 1.5 times
    2^LARGEST_EXPONENT. Two steps cover the widest range, from the largest to the least float.
    """
    exponent = LARGEST_EXPONENT[a.scalar]
    small = writer.fmul(a, writer.constant(2.0**-exponent, a))
    factor = writer.constant(2.0 ** (exponent - 2), a)
    for _ in range(2):
        b = writer.select(writer.fcmp("ogt", small, b), writer.fmul(b, factor), b)
    return b
