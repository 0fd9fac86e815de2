"""The error function and its complement: erf, erfc."""

from __future__ import annotations

from collections.abc import Callable

from neurlang.codegen.mathlib.coefficients import ERF_TAIL, ERFC_RATE, EXP2_SHORT
from neurlang.codegen.mathlib.common import (
    EXPONENT_BIAS,
    at_most,
    polynomial,
    power_from_bits,
    rounding_shift,
    selected_polynomial,
)
from neurlang.codegen.writer import Value, Writer

# The square of |x| below which erf is an odd polynomial, and |x| from which it rounds to 1.
ERF_NEAR = {"float": 1.0, "double": 1.0}
ERF_ONE = {"float": 4.0, "double": 6.0}


def emit_erf(writer: Writer, x: Value) -> Value:
    """erf(x): near 0 an odd polynomial, else 1 - 2^(-|x| q(|x|)) with a minimax q.

    Both cases evaluate one polynomial whose coefficients are selected.
    """
    scalar = x.scalar
    y = at_most(writer, writer.fabs(x), ERF_ONE[scalar])
    square = writer.fmul(y, y)
    near = writer.fcmp("olt", square, writer.constant(ERF_NEAR[scalar], x))
    z = writer.select(near, square, y)
    q = selected_polynomial(writer, near, z, ERF_TAIL[scalar], ERFC_RATE[scalar])
    shift = writer.constant(rounding_shift(scalar, EXPONENT_BIAS[scalar]), x)
    shifted = writer.fma(writer.fneg(y), q, shift)
    fraction = writer.fma(y, q, writer.fsub(shifted, shift))
    complement = polynomial(writer, fraction, EXP2_SHORT[scalar])
    power = power_from_bits(writer, writer.float_bits(shifted))
    far = writer.fma(writer.fneg(power), complement, writer.constant(1.0, x))
    return writer.copysign(writer.select(near, writer.fma(y, q, y), far), x)


ERROR_FUNCTION: dict[str, Callable[..., Value]] = {"erf": emit_erf}
