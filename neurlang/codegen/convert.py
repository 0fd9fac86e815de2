"""Types of values in registers and memory, and NumPy's conversions between them (promise P6)."""

from __future__ import annotations

from neurlang.codegen.writer import Value, Writer, constant, vector_type
from neurlang.ir.types import BOOL, DType

_NAMES = {"f": "float", "d": "double", "?": "i1"}  # by character: many ask, and names are made


def llvm_type(dtype: DType) -> str:
    """The type of one element in a register; a bool is one bit."""
    return _NAMES.get(dtype.char) or f"i{8 * dtype.itemsize}"


def memory_type(dtype: DType) -> str:
    """The type of one element in memory; a bool is one byte."""
    return "i8" if dtype == BOOL else llvm_type(dtype)


def emit_cast(writer: Writer, a: Value, source: DType, result: DType) -> Value:
    """`a` in another dtype, as NumPy converts on x86-64, also where C leaves it open."""
    if source == result:
        return a
    target = llvm_type(result)
    if result == BOOL:
        zero = constant(0, a.type)
        return writer.fcmp("une", a, zero) if source.kind == "f" else writer.icmp("ne", a, zero)
    if source.kind == "f":
        if result.kind == "f":
            wider = result.itemsize > source.itemsize
            return writer.fpext(a, target) if wider else writer.fptrunc(a, target)
        return _float_to_integer(writer, a, result)
    if result.kind == "f":
        return writer.sitofp(a, target) if source.kind == "i" else writer.uitofp(a, target)
    if source != BOOL and result.itemsize <= source.itemsize:
        return writer.trunc(a, target)
    return writer.sext(a, target) if source.kind == "i" else writer.zext(a, target)


def _float_to_integer(writer: Writer, a: Value, result: DType) -> Value:
    """Narrow results pass through 32 bits, 32-bit unsigned ones through 64, and lose high bits."""
    target = llvm_type(result)
    if result.itemsize < 4 or result.name == "int32":
        return writer.trunc(_to_signed(writer, a, 32), target)
    signed = _to_signed(writer, a, 64)
    if result.name != "uint64":
        return writer.trunc(signed, target)
    # From 2^64 on the difference does not fit either: the least integer, and 0 with its bit turned.
    middle = constant(2.0**63, a.type)
    high = _to_signed(writer, writer.fsub(a, middle), 64)
    high = writer.xor(high, constant(-(2**63), high.type))
    return writer.select(writer.fcmp("oge", a, middle), high, signed)


def _to_signed(writer: Writer, a: Value, bits: int) -> Value:
    """Towards zero; what does not fit, and NaN, becomes the least integer, as x86 converts."""
    limit = 2.0 ** (bits - 1)
    inside = writer.and_(
        writer.fcmp("oge", a, constant(-limit, a.type)),
        writer.fcmp("olt", a, constant(limit, a.type)),
    )
    safe = writer.select(inside, a, constant(0, a.type))
    scalar = f"i{bits}"
    least_integer = constant(-(2 ** (bits - 1)), vector_type(scalar, a.lanes))
    return writer.select(inside, writer.fptosi(safe, scalar), least_integer)
