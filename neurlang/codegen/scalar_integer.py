"""Integer ops that take more than one instruction: no operand traps, overflows or is poison."""

from __future__ import annotations

from neurlang.codegen.mathlib.common import any_lane
from neurlang.codegen.writer import BITS, Value, Writer

# Floats whose quotient of two integers of that width truncates to the integers' quotient.
QUOTIENT_FLOAT = {"i8": "float", "i16": "float", "i32": "double"}


def emit_negative(writer: Writer, a: Value) -> Value:
    """0 - a, which leaves the least integer as it is."""
    return writer.sub(writer.constant(0, a), a)


def emit_not(writer: Writer, a: Value) -> Value:
    """The complement; of a bool, its opposite."""
    return writer.xor(a, writer.constant(1 if a.scalar == "i1" else -1, a))


def emit_multiply_add(writer: Writer, a: Value, b: Value, c: Value) -> Value:
    """a * b + c, wrapped."""
    return writer.add(writer.mul(a, b), c)


def emit_signed_abs(writer: Writer, a: Value) -> Value:
    """The magnitude; the least integer stays itself."""
    negative = writer.icmp("slt", a, writer.constant(0, a))
    return writer.select(negative, emit_negative(writer, a), a)


def emit_signed_sign(writer: Writer, a: Value) -> Value:
    """-1, 0 or 1."""
    zero = writer.constant(0, a)
    positive = writer.select(writer.icmp("sgt", a, zero), writer.constant(1, a), zero)
    return writer.select(writer.icmp("slt", a, zero), writer.constant(-1, a), positive)


def emit_unsigned_sign(writer: Writer, a: Value) -> Value:
    """0 or 1."""
    zero = writer.constant(0, a)
    return writer.select(writer.icmp("ne", a, zero), writer.constant(1, a), zero)


# powers


def emit_power(writer: Writer, a: Value, b: Value) -> Value:
    """Squares and products modulo 2^bits, until no lane's exponent has a bit left: unsigned."""
    zero, one = writer.constant(0, a), writer.constant(1, a)
    origin, loop, done = writer.block, writer.label("square"), writer.label("raised")
    writer.branch(loop)
    writer.start_block(loop)
    result, square, exponent = (writer.phi(a.type) for _ in range(3))
    odd = writer.icmp("ne", writer.and_(exponent[0], one), zero)
    product = writer.select(odd, writer.mul(result[0], square[0]), result[0])
    squared = writer.mul(square[0], square[0])
    rest = writer.lshr(exponent[0], one)
    writer.set_phi(result, [(one, origin), (product, loop)])
    writer.set_phi(square, [(a, origin), (squared, loop)])
    writer.set_phi(exponent, [(b, origin), (rest, loop)])
    writer.branch_if(any_lane(writer, writer.icmp("ne", rest, zero)), loop, done)
    writer.start_block(done)
    return product


# common divisors


def emit_signed_gcd(writer: Writer, a: Value, b: Value) -> Value:
    """Of the magnitudes, as unsigned integers: that of the least integer wraps to itself."""
    return emit_gcd(writer, emit_signed_abs(writer, a), emit_signed_abs(writer, b))


def emit_gcd(writer: Writer, a: Value, b: Value) -> Value:
    """Greatest common divisors of unsigned integers, of all lanes at once.

    The smaller of two odd numbers stays, their difference loses its factors of two, until it is 0
    in every lane: the binary algorithm, which never divides (J. Stein, Computational problems
    associated with Racah algebra, J. Comput. Phys. 1, 1967).
    """
    zero, one = writer.constant(0, a), writer.constant(1, a)
    both_zero = writer.icmp("eq", writer.or_(a, b), zero)
    a, b = (  # gcd(a, 0) = gcd(a, a); gcd(1, 1) in place of gcd(0, 0)
        writer.select(both_zero, one, writer.select(writer.icmp("eq", x, zero), y, x))
        for x, y in ((a, b), (b, a))
    )
    twos = _trailing_zeros(writer, writer.or_(a, b))
    a = writer.lshr(a, _trailing_zeros(writer, a))
    origin, loop, done = writer.block, writer.label("subtract"), writer.label("divided")
    writer.branch(loop)
    writer.start_block(loop)
    odd, other = writer.phi(a.type), writer.phi(a.type)
    stripped = writer.lshr(other[0], _trailing_zeros(writer, other[0]))
    smaller = writer.intrinsic("umin", odd[0], stripped)
    larger = writer.intrinsic("umax", odd[0], stripped)
    unequal = writer.icmp("ne", odd[0], stripped)
    difference = writer.select(unequal, writer.sub(larger, smaller), smaller)
    writer.set_phi(odd, [(a, origin), (smaller, loop)])
    writer.set_phi(other, [(b, origin), (difference, loop)])
    writer.branch_if(any_lane(writer, unequal), loop, done)
    writer.start_block(done)
    return writer.select(both_zero, zero, writer.shl(smaller, twos))


def _trailing_zeros(writer: Writer, a: Value) -> Value:
    """How many zeros follow the lowest bit of a number that is not 0."""
    below = writer.and_(emit_not(writer, a), writer.sub(a, writer.constant(1, a)))
    return writer.intrinsic("ctpop", below)


# division


def emit_signed_floor_div(writer: Writer, a: Value, b: Value) -> Value:
    """The quotient rounded down; 0 by 0, and the least integer by -1 stays itself."""
    quotient, remainder, zero, minus = _signed_division(writer, a, b)
    below = _wrong_side(writer, remainder, b)
    floor = writer.select(below, writer.sub(quotient, writer.constant(1, a)), quotient)
    floor = writer.select(minus, emit_negative(writer, a), floor)
    return writer.select(zero, writer.constant(0, a), floor)


def emit_signed_mod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder with b's sign; 0 by 0."""
    _, remainder, zero, minus = _signed_division(writer, a, b)
    below = _wrong_side(writer, remainder, b)
    moved = writer.select(below, writer.add(remainder, b), remainder)
    return writer.select(writer.or_(zero, minus), writer.constant(0, a), moved)


def emit_signed_fmod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder with a's sign; 0 by 0."""
    _, remainder, zero, minus = _signed_division(writer, a, b)
    return writer.select(writer.or_(zero, minus), writer.constant(0, a), remainder)


def emit_unsigned_floor_div(writer: Writer, a: Value, b: Value) -> Value:
    """The quotient rounded down; 0 by 0."""
    quotient, _, zero = _unsigned_division(writer, a, b)
    return writer.select(zero, writer.constant(0, a), quotient)


def emit_unsigned_mod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder; 0 by 0."""
    _, remainder, zero = _unsigned_division(writer, a, b)
    return writer.select(zero, writer.constant(0, a), remainder)


def _wrong_side(writer: Writer, remainder: Value, divisor: Value) -> Value:
    """Whether a remainder is not zero and has not the divisor's sign."""
    zero = writer.constant(0, remainder)
    signs = writer.icmp("slt", writer.xor(remainder, divisor), zero)
    return writer.and_(writer.icmp("ne", remainder, zero), signs)


def _signed_division(writer: Writer, a: Value, b: Value) -> tuple[Value, Value, Value, Value]:
    """C's quotient and remainder by b, or by 1 where b is 0 or -1; whether it is 0, or -1."""
    zero = writer.icmp("eq", b, writer.constant(0, b))
    minus = writer.icmp("eq", b, writer.constant(-1, b))
    divisor = writer.select(writer.or_(zero, minus), writer.constant(1, b), b)
    if _divides_as_float(a, b):
        scalar = QUOTIENT_FLOAT[a.scalar]
        real = writer.fdiv(writer.sitofp(a, scalar), writer.sitofp(divisor, scalar))
        quotient = writer.fptosi(real, a.scalar)
    else:
        quotient = writer.sdiv(a, divisor)
    return quotient, writer.sub(a, writer.mul(quotient, divisor)), zero, minus


def _unsigned_division(writer: Writer, a: Value, b: Value) -> tuple[Value, Value, Value]:
    """Quotient and remainder by b, or by 1 where b is 0; whether it is."""
    zero = writer.icmp("eq", b, writer.constant(0, b))
    divisor = writer.select(zero, writer.constant(1, b), b)
    if _divides_as_float(a, b):
        scalar = QUOTIENT_FLOAT[a.scalar]
        real = writer.fdiv(writer.uitofp(a, scalar), writer.uitofp(divisor, scalar))
        quotient = writer.fptoui(real, a.scalar)
    else:
        quotient = writer.udiv(a, divisor)
    return quotient, writer.sub(a, writer.mul(quotient, divisor)), zero


def _divides_as_float(a: Value, b: Value) -> bool:
    """Whether floats divide these vectors: LLVM goes lane by lane, but for a literal divisor.

    Floats of p digits divide integers below 2^w exactly: a quotient that is no integer lies at
    least 1 / |b| below the next one, m, and rounding moves it by m 2^-p < 2^(w + 1 - p) / |b|.
    """
    return a.lanes > 1 and b.text.startswith("%") and a.scalar in QUOTIENT_FLOAT


# shifts


def emit_shift_left(writer: Writer, a: Value, b: Value) -> Value:
    """a << b; 0 where the count is not in 0..bits."""
    return _shift_zeros(writer, "shl", a, b)


def emit_unsigned_shift_right(writer: Writer, a: Value, b: Value) -> Value:
    """a >> b; 0 where the count is not in 0..bits."""
    return _shift_zeros(writer, "lshr", a, b)


def emit_signed_shift_right(writer: Writer, a: Value, b: Value) -> Value:
    """A count that is negative or not below the width leaves the sign in every bit."""
    width = BITS[a.scalar]
    inside = writer.icmp("ult", b, writer.constant(width, b))
    return writer.ashr(a, writer.select(inside, b, writer.constant(width - 1, b)))


def _shift_zeros(writer: Writer, instruction: str, a: Value, b: Value) -> Value:
    """A count that is negative or not below the width moves every bit out."""
    zero = writer.constant(0, a)
    inside = writer.icmp("ult", b, writer.constant(BITS[a.scalar], b))
    shifted = writer.binary(instruction, a, writer.select(inside, b, zero))
    return writer.select(inside, shifted, zero)
