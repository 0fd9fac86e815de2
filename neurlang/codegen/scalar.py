"""The machine instructions of every map op, for scalars and vectors alike: one row an op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neurlang.codegen.convert import emit_cast, llvm_type, memory_type
from neurlang.codegen.mathlib import FUNCTIONS
from neurlang.codegen.writer import Value, Writer, constant, vector_type
from neurlang.ir.types import DType

Emitter = Callable[..., Value]


def constant_value(value: Any, dtype: DType, lanes: int) -> Value:
    """A literal in every lane."""
    number = value.item() if hasattr(value, "item") else value
    return constant(number, vector_type(llvm_type(dtype), lanes))


def emit_op(writer: Writer, op: str, args: Sequence[Value], source: DType, result: DType) -> Value:
    """Write a map op of the table, or `fma`.

    `source` is the dtype of the operands (of the branches, for `where`); `result` that of the
    result, which casts and comparisons change. Every lane count gives the same bits.
    """
    if op in CONVERSIONS:
        return CONVERSIONS[op](writer, args[0], source, result)
    table = FLOAT if source.kind == "f" else INTEGER
    if op in table:
        return table[op](writer, *args)
    if source.kind == "i" and op in SIGNED:
        return SIGNED[op](writer, *args)
    return UNSIGNED[op](writer, *args)


def _zero(like: Value) -> Value:
    return constant(0, like.type)


def _one(like: Value) -> Value:
    return constant(1, like.type)


def _binary(instruction: str) -> Emitter:
    return lambda writer, a, b: writer.binary(instruction, a, b)


def _intrinsic(name: str) -> Emitter:
    return lambda writer, *args: writer.intrinsic(name, *args)


def _compare_floats(predicate: str) -> Emitter:
    return lambda writer, a, b: writer.fcmp(predicate, a, b)


def _compare_integers(predicate: str) -> Emitter:
    return lambda writer, a, b: writer.icmp(predicate, a, b)


def _where(writer: Writer, condition: Value, yes: Value, no: Value) -> Value:
    return writer.select(condition, yes, no)


# floats


def _float_extreme(predicate: str) -> Emitter:
    """Maximum or minimum; NaN wins. A literal is no NaN, which saves the second test."""

    def emit(writer: Writer, a: Value, b: Value) -> Value:
        if not a.text.startswith("%"):
            a, b = b, a
        chosen = writer.select(writer.fcmp(predicate, b, a), b, a)
        if not b.text.startswith("%"):
            return chosen
        return writer.select(writer.fcmp("uno", b, b), b, chosen)

    return emit


def _float_sign(writer: Writer, a: Value) -> Value:
    positive = writer.select(writer.fcmp("ogt", a, _zero(a)), _one(a), _zero(a))
    signed = writer.select(writer.fcmp("olt", a, _zero(a)), constant(-1, a.type), positive)
    return writer.select(writer.fcmp("uno", a, a), a, signed)


def _float_mod(writer: Writer, a: Value, b: Value) -> Value:
    """The remainder with b's sign, from the exact one with a's sign: NumPy's steps."""
    remainder, wrong_side = _remainder(writer, a, b)
    moved = writer.select(wrong_side, writer.fadd(remainder, b), remainder)
    nothing = writer.fcmp("oeq", remainder, _zero(a))
    signed = writer.select(nothing, writer.copysign(_zero(a), b), moved)
    return writer.select(writer.fcmp("oeq", b, _zero(b)), remainder, signed)


def _float_floor_div(writer: Writer, a: Value, b: Value) -> Value:
    """floor(a / b) by way of the exact remainder: NumPy's steps, which round once."""
    remainder, wrong_side = _remainder(writer, a, b)
    quotient = writer.fdiv(writer.fsub(a, remainder), b)
    quotient = writer.select(wrong_side, writer.fsub(quotient, _one(a)), quotient)
    floor = writer.floor(quotient)
    short = writer.fcmp("ogt", writer.fsub(quotient, floor), constant(0.5, a.type))
    whole = writer.select(short, writer.fadd(floor, _one(a)), floor)
    plain = writer.fdiv(a, b)
    nothing = writer.fcmp("oeq", quotient, _zero(a))
    whole = writer.select(nothing, writer.copysign(_zero(a), plain), whole)
    return writer.select(writer.fcmp("oeq", b, _zero(b)), plain, whole)


def _remainder(writer: Writer, a: Value, b: Value) -> tuple[Value, Value]:
    """The remainder with a's sign, and whether it is not zero and on the other side than b."""
    remainder = writer.frem(a, b)
    other = writer.xor(writer.fcmp("olt", b, _zero(b)), writer.fcmp("olt", remainder, _zero(a)))
    return remainder, writer.and_(writer.fcmp("une", remainder, _zero(a)), other)


def _nextafter(writer: Writer, a: Value, b: Value) -> Value:
    """One step in the integers that order floats of one sign."""
    bits = writer.float_bits(a)
    negative = writer.fcmp("olt", a, _zero(a))
    away = writer.xor(writer.fcmp("olt", a, b), negative)
    stepped = writer.select(away, writer.add(bits, _one(bits)), writer.sub(bits, _one(bits)))
    result = writer.bits_float(stepped)
    least = writer.copysign(writer.bits_float(_one(bits)), b)
    result = writer.select(writer.fcmp("oeq", a, _zero(a)), least, result)
    result = writer.select(writer.fcmp("oeq", a, b), b, result)
    return writer.select(writer.fcmp("uno", a, b), writer.fadd(a, b), result)


FLOAT: dict[str, Emitter] = {
    "neg": lambda writer, a: writer.fneg(a),
    "abs": _intrinsic("fabs"),
    "sign": _float_sign,
    "sqrt": _intrinsic("sqrt"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
    "round": _intrinsic("roundeven"),
    "add": _binary("fadd"),
    "sub": _binary("fsub"),
    "mul": _binary("fmul"),
    "div": _binary("fdiv"),
    "fma": _intrinsic("fma"),
    "floor_div": _float_floor_div,
    "mod": _float_mod,
    "fmod": _binary("frem"),
    "max": _float_extreme("ogt"),
    "min": _float_extreme("olt"),
    "copysign": _intrinsic("copysign"),
    "nextafter": _nextafter,
    "equal": _compare_floats("oeq"),
    "less": _compare_floats("olt"),
    "less_equal": _compare_floats("ole"),
    "where": _where,
    **FUNCTIONS,
}


# integers and bools


def _negative(writer: Writer, a: Value) -> Value:
    return writer.sub(_zero(a), a)


def _not(writer: Writer, a: Value) -> Value:
    return writer.xor(a, constant(1 if a.scalar == "i1" else -1, a.type))


def _multiply_add(writer: Writer, a: Value, b: Value, c: Value) -> Value:
    return writer.add(writer.mul(a, b), c)


def _power(writer: Writer, a: Value, b: Value) -> Value:
    """Squares, as many as the exponent has bits, modulo 2^bits."""
    result, square, exponent = _one(a), a, b
    for _ in range(int(a.scalar[1:])):
        odd = writer.icmp("ne", writer.and_(exponent, _one(b)), _zero(b))
        result = writer.select(odd, writer.mul(result, square), result)
        square = writer.mul(square, square)
        exponent = writer.lshr(exponent, _one(b))
    return result


def _signed_power(writer: Writer, a: Value, b: Value) -> Value:
    """With a negative exponent only the powers of 1 and -1 are integers; others become 0."""
    minus = constant(-1, a.type)
    odd = writer.icmp("ne", writer.and_(b, _one(b)), _zero(b))
    alternating = writer.select(odd, minus, _one(a))
    inverse = writer.select(writer.icmp("eq", a, minus), alternating, _zero(a))
    inverse = writer.select(writer.icmp("eq", a, _one(a)), _one(a), inverse)
    negative = writer.icmp("slt", b, _zero(b))
    return writer.select(negative, inverse, _power(writer, a, b))


def _signed_divisor(writer: Writer, b: Value) -> tuple[Value, Value, Value]:
    """A divisor that neither traps nor overflows, and whether the real one is 0 or -1."""
    zero = writer.icmp("eq", b, _zero(b))
    minus = writer.icmp("eq", b, constant(-1, b.type))
    return writer.select(writer.or_(zero, minus), _one(b), b), zero, minus


def _signed_floor_div(writer: Writer, a: Value, b: Value) -> Value:
    divisor, zero, minus = _signed_divisor(writer, b)
    quotient, remainder = writer.sdiv(a, divisor), writer.srem(a, divisor)
    below = _below(writer, remainder, divisor)
    floor = writer.select(below, writer.sub(quotient, _one(a)), quotient)
    return writer.select(zero, _zero(a), writer.select(minus, _negative(writer, a), floor))


def _signed_mod(writer: Writer, a: Value, b: Value) -> Value:
    divisor, zero, minus = _signed_divisor(writer, b)
    remainder = writer.srem(a, divisor)
    below = _below(writer, remainder, divisor)
    moved = writer.select(below, writer.add(remainder, divisor), remainder)
    return writer.select(writer.or_(zero, minus), _zero(a), moved)


def _below(writer: Writer, remainder: Value, divisor: Value) -> Value:
    """Whether a remainder is not zero and has not the divisor's sign."""
    nonzero = writer.icmp("ne", remainder, _zero(remainder))
    signs = writer.icmp("slt", writer.xor(remainder, divisor), _zero(remainder))
    return writer.and_(nonzero, signs)


def _signed_fmod(writer: Writer, a: Value, b: Value) -> Value:
    divisor, zero, minus = _signed_divisor(writer, b)
    return writer.select(writer.or_(zero, minus), _zero(a), writer.srem(a, divisor))


def _unsigned_division(instruction: str) -> Emitter:
    def emit(writer: Writer, a: Value, b: Value) -> Value:
        zero = writer.icmp("eq", b, _zero(b))
        divisor = writer.select(zero, _one(b), b)
        return writer.select(zero, _zero(a), writer.binary(instruction, a, divisor))

    return emit


def _shift(instruction: str) -> Emitter:
    """A count that is negative or not below the width moves every bit out."""

    def emit(writer: Writer, a: Value, b: Value) -> Value:
        inside = writer.icmp("ult", b, constant(int(b.scalar[1:]), b.type))
        count = writer.select(inside, b, _zero(b))
        return writer.select(inside, writer.binary(instruction, a, count), _zero(a))

    return emit


def _signed_shift_right(writer: Writer, a: Value, b: Value) -> Value:
    width = int(b.scalar[1:])
    inside = writer.icmp("ult", b, constant(width, b.type))
    return writer.ashr(a, writer.select(inside, b, constant(width - 1, b.type)))


def _signed_abs(writer: Writer, a: Value) -> Value:
    negative = writer.icmp("slt", a, _zero(a))
    return writer.select(negative, _negative(writer, a), a)


def _signed_sign(writer: Writer, a: Value) -> Value:
    positive = writer.select(writer.icmp("sgt", a, _zero(a)), _one(a), _zero(a))
    return writer.select(writer.icmp("slt", a, _zero(a)), constant(-1, a.type), positive)


def _unsigned_sign(writer: Writer, a: Value) -> Value:
    return writer.select(writer.icmp("ne", a, _zero(a)), _one(a), _zero(a))


INTEGER: dict[str, Emitter] = {
    "neg": _negative,
    "not": _not,
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "fma": _multiply_add,
    "equal": _compare_integers("eq"),
    "and": _binary("and"),
    "or": _binary("or"),
    "xor": _binary("xor"),
    "shift_left": _shift("shl"),
    "where": _where,
}

SIGNED: dict[str, Emitter] = {
    "abs": _signed_abs,
    "sign": _signed_sign,
    "floor_div": _signed_floor_div,
    "mod": _signed_mod,
    "fmod": _signed_fmod,
    "pow": _signed_power,
    "max": _intrinsic("smax"),
    "min": _intrinsic("smin"),
    "less": _compare_integers("slt"),
    "less_equal": _compare_integers("sle"),
    "shift_right": _signed_shift_right,
}

UNSIGNED: dict[str, Emitter] = {
    "abs": lambda writer, a: a,
    "sign": _unsigned_sign,
    "floor_div": _unsigned_division("udiv"),
    "mod": _unsigned_division("urem"),
    "fmod": _unsigned_division("urem"),
    "pow": _power,
    "max": _intrinsic("umax"),
    "min": _intrinsic("umin"),
    "less": _compare_integers("ult"),
    "less_equal": _compare_integers("ule"),
    "shift_right": _shift("lshr"),
}

CONVERSIONS: dict[str, Emitter] = {
    "cast": emit_cast,
    "bitcast": lambda writer, a, source, result: writer.bitcast(a, llvm_type(result)),
}

__all__ = ["constant_value", "emit_op", "llvm_type", "memory_type"]
