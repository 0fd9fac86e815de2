"""The machine instructions of every map op, for scalars and vectors alike: one row an op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neurlang.codegen.convert import emit_cast, llvm_type, memory_type
from neurlang.codegen.mathlib import FUNCTIONS
from neurlang.codegen.scalar_integer import (
    emit_gcd,
    emit_multiply_add,
    emit_negative,
    emit_not,
    emit_power,
    emit_shift_left,
    emit_signed_abs,
    emit_signed_floor_div,
    emit_signed_fmod,
    emit_signed_gcd,
    emit_signed_mod,
    emit_signed_shift_right,
    emit_signed_sign,
    emit_unsigned_floor_div,
    emit_unsigned_mod,
    emit_unsigned_shift_right,
    emit_unsigned_sign,
)
from neurlang.codegen.scalar_remainder import emit_floor_div, emit_fmod, emit_mod
from neurlang.codegen.writer import Value, Writer, constant, vector_type
from neurlang.ir.identities import identity
from neurlang.ir.types import DType

Emitter = Callable[..., Value]


def constant_value(value: Any, dtype: DType, lanes: int) -> Value:
    """A literal in every lane."""
    number = value.item() if hasattr(value, "item") else value
    return constant(number, vector_type(llvm_type(dtype), lanes))


def emit_op(writer: Writer, op: str, args: Sequence[Value], source: DType, result: DType) -> Value:
    """Write a map op of the table, or one that only loops have.

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


def _float_extreme(name: str) -> Emitter:
    """`maximum` or `minimum`: NaN wins. Which zero of two comes out is left to the machine."""
    return lambda writer, a, b: writer.intrinsic(name, a, b, flags="nsz ")


def _float_sign(writer: Writer, a: Value) -> Value:
    """One with a's sign; a + 0 where that is NaN, or a zero, which loses its sign."""
    neither = writer.fcmp("ueq", a, _zero(a))
    return writer.select(neither, writer.fadd(a, _zero(a)), writer.copysign(_one(a), a))


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
    "floor_div": emit_floor_div,
    "mod": emit_mod,
    "fmod": emit_fmod,
    "max": _float_extreme("maximum"),
    "min": _float_extreme("minimum"),
    "copysign": _intrinsic("copysign"),
    "nextafter": _nextafter,
    "equal": _compare_floats("oeq"),
    "less": _compare_floats("olt"),
    "less_equal": _compare_floats("ole"),
    "where": _where,
    **FUNCTIONS,
}


# integers and bools


INTEGER: dict[str, Emitter] = {
    "neg": emit_negative,
    "not": emit_not,
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "fma": emit_multiply_add,
    "equal": _compare_integers("eq"),
    "and": _binary("and"),
    "or": _binary("or"),
    "xor": _binary("xor"),
    "pow": emit_power,
    "shift_left": emit_shift_left,
    "popcount": _intrinsic("ctpop"),
    "where": _where,
}


def _counted(writer: Writer, index: Value, size: Value) -> Value:
    """An index counted from the front: as an unsigned number below `size`, or it was not inside."""
    negative = writer.icmp("slt", index, _zero(index))
    return writer.select(negative, writer.add(index, size), index)


def _inside(writer: Writer, index: Value, size: Value) -> Value:
    return writer.icmp("ult", _counted(writer, index, size), size)


def _position(writer: Writer, index: Value, size: Value) -> Value:
    counted = _counted(writer, index, size)
    return writer.select(_inside(writer, index, size), counted, _zero(index))


SIGNED: dict[str, Emitter] = {
    "abs": emit_signed_abs,
    "sign": emit_signed_sign,
    "floor_div": emit_signed_floor_div,
    "mod": emit_signed_mod,
    "fmod": emit_signed_fmod,
    "gcd": emit_signed_gcd,
    "max": _intrinsic("smax"),
    "min": _intrinsic("smin"),
    "less": _compare_integers("slt"),
    "less_equal": _compare_integers("sle"),
    "shift_right": emit_signed_shift_right,
    "inside": _inside,
    "position": _position,
}

UNSIGNED: dict[str, Emitter] = {
    "abs": lambda writer, a: a,
    "sign": emit_unsigned_sign,
    "floor_div": emit_unsigned_floor_div,
    "mod": emit_unsigned_mod,
    "fmod": emit_unsigned_mod,
    "gcd": emit_gcd,
    "max": _intrinsic("umax"),
    "min": _intrinsic("umin"),
    "less": _compare_integers("ult"),
    "less_equal": _compare_integers("ule"),
    "shift_right": emit_unsigned_shift_right,
}

CONVERSIONS: dict[str, Emitter] = {
    "cast": emit_cast,
    "bitcast": lambda writer, a, source, result: writer.bitcast(a, llvm_type(result)),
}

__all__ = ["constant_value", "emit_op", "identity", "llvm_type", "memory_type"]
