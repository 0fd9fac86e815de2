"""The error function and what is made of it: erf, erfc, gelu."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import (
    ERF_TAIL,
    ERFC,
    ERFC_NEAR,
    ERFC_RATE,
    EXP2_SHORT,
    EXP_TAIL,
    EXPM1_TAIL,
)
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    Pair,
    at_most,
    divide_pairs,
    evaluate_polynomial,
    fast_two_sum,
    multiply_pairs,
    polynomial,
    power_from_bits,
    replace_rare,
    rounding_shift,
    scale_by_power,
    selected_polynomial,
    two_product,
    two_sum,
)
from neurlang.codegen.mathlib.exponential import (
    LN2_HIGH,
    LN2_LOW,
    nearest_multiple,
    reduce_exp_parts,
)
from neurlang.codegen.mathlib.lanes import look_up, scale
from neurlang.codegen.mathlib.pieces import evaluate_piece, odd_function
from neurlang.codegen.mathlib.tables import ERF_PIECES, ERFC_PIECES, GELU_PIECES
from neurlang.codegen.writer import Value, Writer

# The square of |x| below which erf of doubles is an odd polynomial, and |x| from which it is 1.
ERF_NEAR = 0.9
ERF_ONE = {"float": 4.0, "double": 6.0}
# Below this |x|, erfc of doubles is 1 less a polynomial; beyond the others, it rounds to 0.
ERFC_NEAR_ZERO = 0.6
ERFC_ZERO = {"float": 10.1, "double": 27.3}
# (1 + 2 x) e^(x^2) erfc(x) at x = 4, in two parts.
SCALED_ERFC = (float.fromhex("0x1.3ba5916e9fd7fp+0"), float.fromhex("-0x1.aa9c415679e6fp-55"))
# sqrt(1/2) in two parts.
HALF_ROOT = {
    "float": (float.fromhex("0x1.6a09e6p-1"), float.fromhex("0x1.9fcef4p-27")),
    "double": (float.fromhex("0x1.6a09e667f3bcdp-1"), float.fromhex("-0x1.bdd3413b26456p-55")),
}
# The distance of the cells' middles; the |x| up to which they go; where x Phi(x) is 0.
GELU_STEP, GELU_FAR = 25 / 64, 6.0
GELU_ZERO = {"float": 14.5, "double": 38.7}


def emit_erf(writer: Writer, x: Value) -> Value:
    """erf(x): float by cells, see `pieces`; double as `erf_of_double`.

    Largest error measured: float 0.84 ULP, double 0.91 ULP.
    """
    if x.scalar == "float":
        return odd_function(writer, x, ERF_PIECES, ERF_ONE["float"])
    return erf_of_double(writer, x)


def erf_of_double(writer: Writer, x: Value) -> Value:
    """Near 0 an odd polynomial x + x p(x^2), else 1 - 2^(-|x| q(|x|)); p and q minimax.

    Both cases evaluate one polynomial, the tail of p or of q, whose coefficients are selected.
    """
    y = at_most(writer, writer.fabs(x), ERF_ONE["double"])
    square = writer.fmul(y, y)
    near = writer.fcmp("olt", square, writer.constant(ERF_NEAR, x))
    z = writer.select(near, square, y)
    (a0, a1, *a), (b0, b1, *b) = ERF_TAIL["double"], ERFC_RATE["double"]
    tail = selected_polynomial(writer, near, z, a, b)
    # a0 + a1 u and u^2 tail nearly cancel: the middle term comes last, or its rounding shows.
    p = writer.fma(writer.fmul(square, square), tail, writer.constant(a0, x))
    p = writer.fma(square, writer.constant(a1, x), p)
    inner = writer.fma(y, tail, writer.constant(b1, x))
    first = writer.constant(b0, x)
    q = writer.fma(y, inner, first)
    q_error = writer.fma(y, inner, writer.fsub(first, q))
    shift = writer.constant(rounding_shift("double", EXPONENT_BIAS["double"]), x)
    shifted = writer.fma(writer.fneg(y), q, shift)
    fraction = writer.fma(y, q, writer.fsub(shifted, shift))
    fraction = writer.fma(y, q_error, fraction)
    complement = polynomial(writer, fraction, EXP2_SHORT["double"])
    power = power_from_bits(writer, writer.float_bits(shifted))
    far = writer.fma(writer.fneg(power), complement, writer.constant(1.0, x))
    return writer.copysign(writer.select(near, writer.fma(y, p, y), far), x)


def erfc_of_float(writer: Writer, y: Value) -> Value:
    """erfc(y) = e^(-y^2) g(y) for 0 <= y <= 10.1, with g by cells.

    -y^2 = n log(2) + r + low and e^(r + low) = 1 + r + v; g = a + w. The two products of the large
    parts a (1 + r) are taken exactly, so that only the small ones are rounded more than once.
    """
    _, a, t, slope = evaluate_piece(writer, y, ERFC_PIECES, ERFC_ZERO["float"])
    w = writer.fmul(t, slope)
    square = two_product(writer, y, writer.fneg(y))
    n, _ = nearest_multiple(writer, square.high, 0)
    r = writer.fma(n, writer.constant(-LN2_HIGH["float"], y), square.high)
    low = writer.fma(n, writer.constant(-LN2_LOW["float"], y), square.low)
    near = writer.fadd(r, low)
    tail = polynomial(writer, near, EXP_TAIL["float"])
    v = writer.fma(writer.fmul(near, near), tail, low)
    product = two_product(writer, a, r)
    sum = fast_two_sum(writer, a, product.high)
    rest = writer.fma(a, v, writer.fadd(product.low, sum.low))
    rest = writer.fadd(rest, writer.fma(w, writer.fadd(r, v), w))
    return scale(writer, writer.fadd(sum.high, rest), n)


def erfc_of_double(writer: Writer, x: Value) -> Value:
    """Near 0 it is 1 - x - x p(x^2), with 1 - x exact; else erfc(|x|), or 2 - that, as below.

    erfc(y) = e^(-y^2) g(t) / (1 + 2 y) with t = (y - 4) / (y + 4), for 0 < y <= 27.3. p and g are
    minimax polynomials, evaluated as one; squares, quotient and exponential are double-float.
    """
    size = writer.fabs(x)
    y = at_most(writer, size, ERFC_ZERO["double"])
    near = writer.fcmp("olt", size, writer.constant(ERFC_NEAR_ZERO, x))
    one, two, four = (writer.constant(c, y) for c in (1.0, 2.0, 4.0))
    t = writer.fdiv(writer.fsub(y, four), writer.fadd(y, four))
    z = writer.select(near, writer.fmul(x, x), t)
    tail = selected_polynomial(writer, near, z, ERFC_NEAR["double"], ERFC["double"])
    g = fast_two_sum(writer, writer.constant(SCALED_ERFC[0], y), writer.fmul(t, tail))
    g = Pair(g.high, writer.fadd(g.low, writer.constant(SCALED_ERFC[1], y)))
    factor = divide_pairs(writer, g, two_sum(writer, one, writer.fmul(two, y)))
    square = two_product(writer, y, writer.fneg(y))
    r, low, _, n = reduce_exp_parts(writer, square.high, 2 * EXPONENT_BIAS["double"])
    low = writer.fadd(low, square.low)
    exp = fast_two_sum(writer, one, r)
    # e^(r + low) = e^r + low e^r and e^r = 1 + r + r^2 q(r)
    q = polynomial(writer, r, EXPM1_TAIL["double"])
    rest = writer.fma(writer.fmul(r, r), q, exp.low)
    rest = writer.fma(low, writer.fadd(exp.high, rest), rest)
    exp = fast_two_sum(writer, exp.high, rest)
    result = multiply_pairs(writer, exp, factor)
    far = scale_by_power(writer, writer.fadd(result.high, result.low), n)
    far = writer.select(writer.fcmp("olt", x, writer.constant(0.0, x)), writer.fsub(two, far), far)
    sum = fast_two_sum(writer, one, writer.fneg(x))
    close = writer.fadd(sum.high, writer.fma(writer.fneg(x), tail, sum.low))
    return writer.select(near, close, far)


def emit_erfc(writer: Writer, x: Value) -> Value:
    """erfc(x) = 1 - erf(x): `erfc_of_double`; for floats `erfc_of_float`, 2 - erfc(-x) below 0.

    Source for double: Shepherd and Laframboise, Chebyshev approximation of (1 + 2 x) exp(x^2)
    erfc(x), 1981.
    Largest error measured: float 0.98 ULP, double 0.98 ULP.
    """
    if x.scalar == "double":
        return erfc_of_double(writer, x)
    result = erfc_of_float(writer, at_most(writer, writer.fabs(x), ERFC_ZERO["float"]))
    reflected = writer.fsub(writer.constant(2.0, x), result)
    negative = writer.fcmp("olt", x, writer.constant(0.0, x))
    return writer.select(negative, reflected, result)


def lower_tail(writer: Writer, y: Value) -> Value:
    """y Phi(-y) = y / 2 erfc(y / sqrt(2)) for y >= 0.

    The argument of erfc is a pair, as the rounding of a large one would cost many digits: with
    z = high + low it is erfc(high) (1 - 2 high low) nearly.
    """
    first, second = (writer.constant(part, y) for part in HALF_ROOT[y.scalar])
    high = writer.fmul(y, first)
    low = writer.fma(y, second, writer.fma(y, first, writer.fneg(high)))
    tail = emit_erfc(writer, high)
    slope = writer.fmul(tail, writer.fmul(high, writer.constant(-2.0, y)))
    tail = writer.fma(slope, low, tail)
    return writer.fmul(writer.fmul(y, writer.constant(0.5, y)), tail)


def lower_tail_by_cells(writer: Writer, y: Value) -> Value:
    """y Phi(-y) for 0 <= y <= GELU_FAR by a polynomial for each of 16 equal cells."""
    shift = writer.constant(rounding_shift("float"), y)
    shifted = writer.fma(y, writer.constant(1 / GELU_STEP, y), shift)
    t = writer.fma(writer.fsub(shifted, shift), writer.constant(-GELU_STEP, y), y)
    index = writer.float_bits(shifted)
    value, *coefficients = (look_up(writer, row, index, "float") for row in GELU_PIECES)
    return writer.fma(t, evaluate_polynomial(writer, t, coefficients), value)


def emit_gelu(writer: Writer, x: Value) -> Value:
    """x Phi(x) = max(x, 0) - y Phi(-y) with y = |x|, which cancels nowhere; -0 for -0 and -inf.

    Floats down to -GELU_FAR by cells. Largest error measured: float 1.2 ULP above -2 and 5.3 ULP
    below, double 3.2 ULP; 19 ULP where Phi is subnormal. Not among the functions within 1 ULP.
    """
    zero, y = writer.constant(0.0, x), writer.fabs(x)
    positive = writer.select(writer.fcmp("olt", zero, x), x, zero)
    bounded = at_most(writer, y, GELU_ZERO[x.scalar])
    if x.scalar == "double":
        tail = lower_tail(writer, bounded)
    else:
        far = writer.fcmp("olt", x, writer.constant(-GELU_FAR, x))
        near = lower_tail_by_cells(writer, at_most(writer, y, GELU_FAR))
        (tail,) = replace_rare(writer, far, [near], lambda: [lower_tail(writer, bounded)])
    return writer.copysign(writer.fsub(positive, tail), x)


ERROR_FUNCTION: dict[str, Callable[..., Value]] = {
    "erf": emit_erf,
    "erfc": emit_erfc,
    "gelu": emit_gelu,
}
