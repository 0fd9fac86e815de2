"""Arguments of sin, cos and tan brought near zero, however large they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from neurlang.codegen.mathlib.common import (
    Pair,
    fast_two_sum,
    multiply_pairs,
    replace_rare,
    rounding_shift,
)
from neurlang.codegen.mathlib.trigonometric_coefficients import (
    FRACTION_BITS,
    PI,
    PI_SPLIT,
    TURN_WORDS,
)
from neurlang.codegen.writer import Module, Value, Writer, constant, split_type, vector_type

# |x| from which the parts of pi do not leave enough bits next to some multiple of pi / 2.
FAST_BOUND = {"float": 2.0**36, "double": 2.0**21}
# The width of the window of 1 / (2 pi) by which a significand is multiplied, and of the result.
WINDOW_BITS, TURN_BITS = 192, 128


@dataclass(frozen=True)
class Grid:
    """The numbers (n - offset) * step with step = 2 pi / 2^shift, for all integers n."""

    name: str
    shift: int
    offset: float

    def step(self, parts_of_pi: tuple[float, ...]) -> tuple[float, ...]:
        """The step in as many parts as pi."""
        return tuple(part * 2.0 ** (1 - self.shift) for part in parts_of_pi)


QUARTER_TURNS = Grid("quarter_turns", 2, 0.0)
HALF_TURNS = Grid("half_turns", 1, 0.0)
ODD_QUARTER_TURNS = Grid("odd_quarter_turns", 1, 0.5)


class Reduction(NamedTuple):
    """x = (n - offset) * step + remainder - excess, with the low bits of n in `steps`.

    The excess is at most about half an ULP of the remainder. It is kept with this sign because
    remainder - (something + excess) then keeps the sign of x = -0.
    """

    remainder: Value
    excess: Value
    steps: Value


def reduce_angle(writer: Writer, x: Value, grid: Grid) -> Reduction:
    """x less the nearest point of a grid, as doubles; the excess is 0 for floats.

    Large lanes take the slow way, in a function of their own; the others keep their fast result
    whatever their neighbours do.
    """
    huge = writer.fcmp("oge", writer.fabs(x), writer.constant(FAST_BOUND[x.scalar], x))
    reduce = reduce_small_float if x.scalar == "float" else reduce_small_double
    fast = reduce(writer, x, grid)
    found = replace_rare(
        writer, huge, fast, lambda: call_huge_reduction(writer, writer.fpext(x, "double"), grid)
    )
    return Reduction(*found)


def nearest_count(writer: Writer, x: Value, grid: Grid) -> tuple[Value, Value]:
    """The n of the grid point nearest to x: n - offset, and bits that end in those of n."""
    inverse = writer.constant(1 / grid.step(PI)[0], x)
    shift = writer.constant(rounding_shift("double"), x)
    if not grid.offset:
        shifted = writer.fma(x, inverse, shift)
        return writer.fsub(shifted, shift), writer.float_bits(shifted)
    offset = writer.constant(grid.offset, x)
    shifted = writer.fadd(writer.fma(x, inverse, offset), shift)
    n = writer.fsub(shifted, shift)
    return writer.fsub(n, offset), writer.float_bits(shifted)


def reduce_small_float(writer: Writer, x: Value, grid: Grid) -> Reduction:
    """x - (n - offset) * step in double precision, with two parts of the step.

    Source: Cody and Waite, Software manual for the elementary functions, 1980, chapter 8.
    """
    x = writer.fpext(x, "double")
    n, bits = nearest_count(writer, x, grid)
    high, low = (writer.constant(-part, x) for part in grid.step(PI))
    remainder = writer.fma(n, low, writer.fma(n, high, x))
    return Reduction(remainder, writer.constant(0.0, x), bits)


def reduce_small_double(writer: Writer, x: Value, grid: Grid) -> Reduction:
    """x - (n - offset) * step with three parts of the step, to about 100 bits.

    The first difference is exact thanks to the fma. The second part of the step has 32 bits, so
    that remainder - first is exact: both are multiples of 2^-86, and |n| < 2^21.
    """
    n, bits = nearest_count(writer, x, grid)
    high, middle, low = (writer.constant(part, x) for part in grid.step(PI_SPLIT))
    first = writer.fma(n, writer.fneg(high), x)
    remainder = writer.fma(n, writer.fneg(middle), first)
    excess = writer.fma(n, middle, writer.fsub(remainder, first))
    return Reduction(remainder, writer.fma(n, low, excess), bits)


def call_huge_reduction(writer: Writer, x: Value, grid: Grid) -> Reduction:
    """Call the function that reduces every lane, written into the module at its first use."""
    name = f"reduce_{grid.name}_{x.lanes}"
    count = vector_type("i64", x.lanes)
    result = f"{{ {x.type}, {x.type}, {count} }}"
    head = f"internal {result} @{name}({x.type} %x)"
    if not any(text.startswith(f"define {head}") for text in writer.module.functions):
        define_huge_reduction(writer.module, head, x.type, grid)
    parts = writer.value(f"call {result} @{name}({x})", result)
    types = (x.type, x.type, count)
    return Reduction(*(writer.value(f"extractvalue {parts}, {i}", t) for i, t in enumerate(types)))


def define_huge_reduction(module: Module, head: str, type: str, grid: Grid) -> None:
    """A loop over the lanes. A cold function: LLVM moves calls of it out of the fast path."""
    lanes = split_type(type)[1]
    writer = Writer(module, f"{head} cold noinline nounwind")
    results = [(scalar, vector_type(scalar, lanes)) for scalar in ("double", "double", "i64")]
    source = writer.value(f"alloca {type}", "ptr")
    slots = [writer.value(f"alloca {vector}", "ptr") for _, vector in results]
    writer.store(Value("%x", type), source)
    loop, done = writer.label("lane"), writer.label("done")
    writer.branch(loop)
    writer.start_block(loop)
    lane, edges = writer.phi("i64")
    x = writer.load(writer.offset(source, lane, "double"), "double")
    for part, (scalar, _), slot in zip(reduce_huge_angle(writer, x, grid), results, slots):
        writer.store(part, writer.offset(slot, lane, scalar))
    following = writer.add(lane, constant(1, "i64"))
    writer.set_phi((lane, edges), [(constant(0, "i64"), "entry"), (following, loop)])
    writer.branch_if(writer.icmp("ult", following, constant(lanes, "i64")), loop, done)
    writer.start_block(done)
    struct = f"{{ {', '.join(vector for _, vector in results)} }}"
    value = Value("poison", struct)
    for i, ((_, vector), slot) in enumerate(zip(results, slots)):
        value = writer.value(f"insertvalue {value}, {writer.load(slot, vector)}, {i}", struct)
    writer.ret(value)
    writer.finish()


def reduce_huge_angle(writer: Writer, x: Value, grid: Grid) -> Reduction:
    """One large double; NaN for an infinity.

    Only the bits of x / (2 pi) below the point matter, so only a window of the bits of 1 / (2 pi)
    is multiplied. Source: Payne and Hanek, Radian reduction for trigonometric functions, 1983.
    """
    turns = fraction_of_turn(writer, x)
    if grid.offset:
        quarter = constant(int(grid.offset * 2.0 ** (TURN_BITS - grid.shift)), turns.type)
        turns = writer.add(turns, quarter)
    # The nearest grid point, and the signed distance from it in units of step / 2^TURN_BITS.
    half_step = constant(1 << (TURN_BITS - grid.shift - 1), turns.type)
    count = writer.add(turns, half_step)
    count = writer.lshr(count, constant(TURN_BITS - grid.shift, turns.type))
    distance = writer.shl(turns, constant(grid.shift, turns.type))
    steps = signed_fraction(writer, distance)
    high, low = (constant(part, "double") for part in grid.step(PI))
    product = multiply_pairs(writer, steps, Pair(high, low))
    remainder, rest = fast_two_sum(writer, product.high, product.low)
    nan_if_infinite = writer.fsub(x, x)
    return Reduction(
        writer.fadd(remainder, nan_if_infinite), writer.fneg(rest), writer.trunc(count, "i64")
    )


def fraction_of_turn(writer: Writer, x: Value) -> Value:
    """x / (2 pi) modulo 1 as an i128 in units of 2^-128, for a large double x."""
    bits = writer.float_bits(writer.fabs(x))
    bound = writer.float_bits(constant(FAST_BOUND["double"], "double"))
    # Small lanes are computed as well; they must not read outside the table.
    bits = writer.intrinsic("umax", bits, bound)
    exponent = writer.lshr(bits, constant(52, "i64"))
    significand = writer.and_(bits, constant((1 << 52) - 1, "i64"))
    significand = writer.or_(significand, constant(1 << 52, "i64"))
    # |x| = significand * 2^(exponent - 1075). The bits of 1 / (2 pi) below the window add less
    # than 2^-139 turns, those above it whole turns.
    lowest = constant(FRACTION_BITS - WINDOW_BITS + 1075, "i64")
    low, middle, high = window_of_turn(writer, writer.sub(lowest, exponent))
    turns = writer.lshr(long_product(writer, significand, low), constant(64, "i128"))
    turns = writer.add(turns, long_product(writer, significand, middle))
    top = writer.zext(writer.mul(significand, high), "i128")
    turns = writer.add(turns, writer.shl(top, constant(64, "i128")))
    negative = writer.fcmp("olt", x, constant(0.0, "double"))
    return writer.select(negative, writer.sub(constant(0, turns.type), turns), turns)


def window_of_turn(writer: Writer, lowest: Value) -> list[Value]:
    """WINDOW_BITS bits of 1 / (2 pi) from a place in TURN_WORDS on: three words, lowest first."""
    table = writer.module.constant_array("i64", TURN_WORDS)
    address = writer.offset(table, writer.lshr(lowest, constant(6, "i64")), "i64")
    words = [writer.load(writer.offset(address, i, "i64"), "i64") for i in range(4)]
    shift = writer.and_(lowest, constant(63, "i64"))
    return [writer.intrinsic("fshr", b, a, shift) for a, b in pairwise(words)]


def long_product(writer: Writer, a: Value, b: Value) -> Value:
    """The i128 product of two i64."""
    return writer.mul(writer.zext(a, "i128"), writer.zext(b, "i128"))


def signed_fraction(writer: Writer, a: Value) -> Pair:
    """The signed i128 a / 2^128 as a pair with 106 significant bits."""
    zero, one = constant(0, a.type), constant(1, a.type)
    negative = writer.icmp("slt", a, zero)
    size = writer.or_(writer.select(negative, writer.sub(zero, a), a), one)
    # The lowest bit is set so that the count of leading zeros is less than the width.
    zeros = writer.value(f"call i128 @llvm.ctlz.i128({size}, i1 true)", "i128")
    writer.module.declare("llvm.ctlz.i128", "i128", ("i128", "i1"))
    normal = writer.shl(size, zeros)
    high = writer.trunc(writer.lshr(normal, constant(TURN_BITS - 53, a.type)), "i64")
    low = writer.trunc(writer.lshr(normal, constant(TURN_BITS - 106, a.type)), "i64")
    low = writer.and_(low, constant((1 << 53) - 1, "i64"))
    # high counts units of 2^(-53 - zeros)
    biased = writer.sub(constant(1023 - 53, "i64"), writer.trunc(zeros, "i64"))
    unit = writer.bits_float(writer.shl(biased, constant(52, "i64")))
    unit = writer.select(negative, writer.fneg(unit), unit)
    small_unit = writer.fmul(unit, constant(2.0**-53, "double"))
    return Pair(
        writer.fmul(writer.uitofp(high, "double"), unit),
        writer.fmul(writer.uitofp(low, "double"), small_unit),
    )
