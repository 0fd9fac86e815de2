"""Operations that some machines have as one instruction: tables in registers, exponents, scaling.

Each is exact, or rounds once, so that its bits are the same whichever way it is written.
"""

from __future__ import annotations

from collections.abc import Sequence

from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    INFINITY,
    MANTISSA_BITS,
    NAN,
    SMALLEST_NORMAL,
    at_least,
    at_most,
    replace_where,
    rounding_shift,
    scale_by_power,
)
from neurlang.codegen.writer import BITS, Value, Writer, constant_vector, vector_type

AVX512 = frozenset({"avx512f", "avx512vl", "avx512dq"})
FORMAT = {"float": "ps", "double": "pd"}
SUBNORMAL_SCALE = {"float": 32, "double": 64}
FARTHEST = {"float": 250.0, "double": 2000.0}
# vgetmant: the mantissa in [1, 2), NaN of negative numbers, 1 of -0.
POSITIVE_MANTISSA = Value("12", "i32")
# vfpclass: quiet NaN 1, +0 2, -0 4, +inf 8, -inf 16, subnormal 32, negative 64, signalling NaN 128.
ZERO_INFINITE_NAN = "i32 159"
INFINITE_NAN = "i32 153"
ROUNDING = Value("4", "i32")  # as the environment says


def vector_bits(x: Value) -> int:
    """The width of a vector."""
    return BITS[x.scalar] * x.lanes


def fills_registers(writer: Writer, x: Value) -> bool:
    """Whether x is whole registers of a machine with AVX-512."""
    return vector_bits(x) % 512 == 0 and writer.module.features >= AVX512


def halves(writer: Writer, x: Value) -> tuple[Value, Value]:
    """The lower lanes and the upper lanes."""
    half = x.lanes // 2
    lower, upper = range(half), range(half, x.lanes)
    return writer.shuffle(x, x, lower), writer.shuffle(x, x, upper)


def masked(writer: Writer, name: str, x: Value, *more: Value) -> Value:
    """`llvm.x86.avx512.mask.NAME` on whole registers, with every lane on."""
    if vector_bits(x) > 512:
        parts = [(a, a) if a.lanes == 1 else halves(writer, a) for a in more]
        low, high = halves(writer, x)
        low = masked(writer, name, low, *(first for first, _ in parts))
        high = masked(writer, name, high, *(second for _, second in parts))
        return writer.shuffle(low, high, range(x.lanes))
    mask = f"i{x.lanes}"
    rest = [Value("zeroinitializer", x.type), Value("-1", mask), ROUNDING]
    function = f"llvm.x86.avx512.mask.{name}.{FORMAT[x.scalar]}.512"
    return writer.call(function, x.type, [x, *more, *rest])


# numbers taken apart and scaled


def split_positive(writer: Writer, x: Value) -> tuple[Value, Value]:
    """m in [1, 2) and an integral e with x = m 2^e, for positive x, subnormals included.

    Zero gives (1, -inf), infinity (1, inf); NaN and negative numbers have a NaN among the two.
    """
    if fills_registers(writer, x):
        return masked(writer, "getmant", x, POSITIVE_MANTISSA), exponent(writer, x)
    mantissa = writer.integer_constant((1 << MANTISSA_BITS[x.scalar]) - 1, x)
    one = writer.float_bits(writer.constant(1.0, x))
    normal, _ = scaled_up(writer, x)
    m = writer.bits_float(writer.or_(writer.and_(writer.float_bits(normal), mantissa), one))
    negative = writer.fcmp("olt", x, writer.constant(0.0, x))
    return replace_where(writer, negative, NAN, m), exponent(writer, x)


def scaled_up(writer: Writer, x: Value) -> tuple[Value, Value]:
    """|x|, a subnormal one times a power of two, and the exponent of that power."""
    size = writer.fabs(x)
    tiny = writer.fcmp("olt", size, writer.constant(SMALLEST_NORMAL[x.scalar], x))
    scale = SUBNORMAL_SCALE[x.scalar]
    scaled = writer.fmul(size, writer.constant(2.0**scale, x))
    shift = replace_where(writer, tiny, float(scale), writer.constant(0.0, x))
    return writer.select(tiny, scaled, size), shift


def exponent(writer: Writer, x: Value) -> Value:
    """floor(log2|x|) as a float: -inf for zero, inf for infinity, NaN for NaN."""
    if fills_registers(writer, x):
        return masked(writer, "getexp", x)
    normal, shift = scaled_up(writer, x)
    e = writer.fsub(exponent_of_normal(writer, normal), shift)
    finite = writer.fcmp("olt", normal, writer.constant(INFINITY, x))
    e = writer.select(finite, e, normal)
    return replace_where(writer, writer.fcmp("oeq", x, writer.constant(0.0, x)), -INFINITY, e)


def exponent_of_normal(writer: Writer, x: Value) -> Value:
    """As `exponent`, for x in the normal range."""
    if fills_registers(writer, x):
        return masked(writer, "getexp", x)
    width, bias = MANTISSA_BITS[x.scalar], EXPONENT_BIAS[x.scalar]
    field = writer.lshr(writer.float_bits(x), writer.integer_constant(width, x))
    # The field in the low bits of the float 2^width makes it 2^width + field.
    power = writer.integer_constant((bias + width) << width, x)
    number = writer.bits_float(writer.or_(field, power))
    return writer.fsub(number, writer.constant(2.0**width + bias, x))


def scale(writer: Writer, x: Value, n: Value, biased: Value | None = None) -> Value:
    """x 2^floor(n), rounded once, for x 2^(n/2) in the normal range.

    Beyond FARTHEST, n counts as that. The low bits of `biased`, where there is one, hold
    n + 2 * EXPONENT_BIAS; |n| is then at most FARTHEST.
    """
    if fills_registers(writer, x):
        return masked(writer, "scalef", x, n)
    if biased is not None:
        return scale_by_power(writer, x, biased)
    n = at_least(writer, writer.floor(n), -FARTHEST[x.scalar])
    n = at_most(writer, n, FARTHEST[x.scalar])
    shift = writer.constant(rounding_shift(x.scalar, 2 * EXPONENT_BIAS[x.scalar]), x)
    return scale_by_power(writer, x, writer.float_bits(writer.fadd(n, shift)))


def is_special(writer: Writer, x: Value) -> Value:
    """Whether x is a zero, infinite or NaN."""
    if vector_bits(x) == 512 and fills_registers(writer, x):
        return of_class(writer, x, ZERO_INFINITE_NAN)
    zero = writer.fcmp("oeq", x, writer.constant(0.0, x))
    return writer.or_(zero, is_not_finite(writer, x))


def is_not_finite(writer: Writer, x: Value) -> Value:
    """Whether x is infinite or NaN."""
    if vector_bits(x) == 512 and fills_registers(writer, x):
        return of_class(writer, x, INFINITE_NAN)
    return writer.fcmp("uge", writer.fabs(x), writer.constant(INFINITY, x))


def of_class(writer: Writer, x: Value, classes: str) -> Value:
    """`vfpclass`: whether x is of one of the classes."""
    mask = vector_type("i1", x.lanes)
    function = f"llvm.x86.avx512.fpclass.{FORMAT[x.scalar]}.512"
    writer.module.declare(function, mask, (x.type, "i32"))
    return writer.value(f"call {mask} @{function}({x}, {classes})", mask)


# tables


def look_up(writer: Writer, table: Sequence[float], index: Value, scalar: str) -> Value:
    """table[i], where i are the low bits of `index`: as many as the table's size, 2^k, needs.

    Machines with AVX-512, or AVX2 for floats, keep the table in registers and permute them.
    """
    lanes, size = index.lanes, len(table)
    register = permutation_bits(writer, scalar, lanes)
    held = register // BITS[scalar]
    if not held:
        return load_each(writer, table, index, scalar)
    if lanes > held:
        low, high = (look_up(writer, table, half, scalar) for half in halves(writer, index))
        return writer.shuffle(low, high, range(lanes))
    if size > (2 * held if writer.module.features >= AVX512 else held):
        bit = writer.and_(index, writer.constant(size // 2, index))
        upper = writer.icmp("ne", bit, writer.constant(0, index))
        low, high = (
            look_up(writer, half, index, scalar)
            for half in (table[: size // 2], table[size // 2 :])
        )
        return writer.select(upper, high, low)
    return permute(writer, table, index, scalar, register)


def permutation_bits(writer: Writer, scalar: str, lanes: int) -> int:
    """The width of the registers to permute for so many lanes, 0 if there are none."""
    features, width = writer.module.features, BITS[scalar] * lanes
    if features >= AVX512 and width >= 256:
        return min(width, 512)
    return 256 if "avx2" in features and scalar == "float" and width >= 256 else 0


def permute(
    writer: Writer, table: Sequence[float], index: Value, scalar: str, register: int
) -> Value:
    """One instruction: a permutation of one register, or of two."""
    lanes = register // BITS[scalar]
    type, kind = vector_type(scalar, lanes), "sd"[scalar == "double"]
    numbers = [table[i % len(table)] for i in range(max(lanes, len(table)))]
    parts = [constant_vector(numbers[i : i + lanes], scalar) for i in range(0, len(numbers), lanes)]
    if len(parts) == 2:
        name = f"llvm.x86.avx512.vpermi2var.p{kind}.{register}"
        return writer.call(name, type, [parts[0], index, parts[1]])
    name = f"llvm.x86.avx512.permvar.{kind}f.{register}"
    if register == 256 and scalar == "float":
        name = "llvm.x86.avx2.permps"
    return writer.call(name, type, [parts[0], index])


def load_each(writer: Writer, table: Sequence[float], index: Value, scalar: str) -> Value:
    """A scalar load for every lane."""
    address = writer.module.constant_array(scalar, table)
    index = writer.and_(index, writer.constant(len(table) - 1, index))
    result = Value("poison", vector_type(scalar, index.lanes))
    for lane in range(index.lanes):
        place = writer.zext(writer.extract(index, lane), "i64")
        number = writer.load(writer.offset(address, place, scalar), scalar)
        result = number if index.lanes == 1 else writer.insert(result, number, lane)
    return result


def index_bits(writer: Writer, x: Value, kept: int) -> Value:
    """The sign, the exponent and the highest `kept` bits of the mantissa of x, as an integer."""
    drop = MANTISSA_BITS[x.scalar] - kept
    return writer.lshr(writer.float_bits(x), writer.integer_constant(drop, x))
