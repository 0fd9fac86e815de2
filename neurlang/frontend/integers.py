"""Functions of integers: common divisors and multiples, and how many bits are set."""

from __future__ import annotations

import numpy as np

from neurlang.frontend.array import Array, apply, cast
from neurlang.frontend.dispatch import binary, primitive, unary

UINT8 = np.dtype("uint8")


def _magnitude(x: Array) -> Array:
    """|x| as an unsigned integer of that width, which holds that of the least integer too."""
    if x.dtype.kind == "u":
        return x
    return apply("bitcast", apply("abs", x), dtype=np.dtype(f"u{x.dtype.itemsize}"))


def _least_common_multiple(x: Array, y: Array) -> Array:
    """|x| / gcd * |y|, which wraps; 0 where one of them is 0, for 0 by 0 is 0."""
    a, b = _magnitude(x), _magnitude(y)
    quotient = apply("floor_div", a, apply("gcd", a, b))
    multiple = apply("mul", quotient, b)
    return multiple if x.dtype.kind == "u" else apply("bitcast", multiple, dtype=x.dtype)


def _count_of_bits(x: Array) -> Array:
    """Of |x|, as in NumPy; at most 64."""
    return cast(apply("popcount", apply("abs", x)), UINT8)


gcd = binary("gcd", np.gcd, primitive("gcd"), "the greatest common divisor of |x1| and |x2|")
lcm = binary("lcm", np.lcm, _least_common_multiple, "the least common multiple; 0 where one is 0")
bitwise_count = unary(
    "bitwise_count", np.bitwise_count, _count_of_bits, "how many bits are set in |x|, as uint8"
)

__all__ = ["bitwise_count", "gcd", "lcm"]
