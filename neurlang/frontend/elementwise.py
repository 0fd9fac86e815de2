"""Every elementwise function, under NumPy's name and with NumPy's results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neurlang.frontend.activations import erf as erf
from neurlang.frontend.activations import erfc as erfc
from neurlang.frontend.activations import gelu as gelu
from neurlang.frontend.activations import relu as relu
from neurlang.frontend.activations import sigmoid as sigmoid
from neurlang.frontend.activations import silu as silu
from neurlang.frontend.activations import softplus as softplus
from neurlang.frontend.array import (
    Array,
    Operand,
    apply,
    as_operand,
    asarray,
    broadcast_to,
    cast,
    common_shape,
    full,
    python_scalar,
    result_dtype,
)
from neurlang.frontend.dispatch import (
    SAME_KIND,
    Comparison,
    Compute,
    binary,
    document,
    like,
    prepare,
    primitive,
    unary,
)
from neurlang.frontend.float_parts import frexp as frexp
from neurlang.frontend.float_parts import modf as modf
from neurlang.frontend.float_parts import spacing as spacing
from neurlang.frontend.integers import bitwise_count as bitwise_count
from neurlang.frontend.integers import gcd as gcd
from neurlang.frontend.integers import lcm as lcm
from neurlang.frontend.powers import power as power
from neurlang.frontend.powers import reciprocal_of, scaled_by_power_of_two, square_of
from neurlang.ir.types import BOOL, FLOAT64, INT64, DType, Shape, check_dtype

UINT64 = np.dtype("uint64")


# --- sums, products, quotients ------------------------------------------------------------------


def _or_of_bools(op: str, logical: str) -> Compute:
    """`op`, which on bools is the logical op of another name."""

    def compute(x: Array, y: Array) -> Array:
        return apply(logical if x.dtype == BOOL else op, x, y)

    return compute


def _identity(x: Array) -> Array:
    return x


def _absolute(x: Array) -> Array:
    return x if x.dtype.kind in "bu" else apply("abs", x)


def _rounding(op: str) -> Compute:
    """A rounding function, which leaves integers and bools alone."""

    def compute(x: Array) -> Array:
        return apply(op, x) if x.dtype.kind == "f" else x

    return compute


def _times(factor: Any) -> Compute:
    """x times a factor that is computed in the dtype of x."""

    def compute(x: Array) -> Array:
        return apply("mul", x, like(x, factor(x.dtype.type)))

    return compute


add = binary("add", np.add, _or_of_bools("add", "or"), "x1 + x2")
subtract = binary("subtract", np.subtract, primitive("sub"), "x1 - x2")
multiply = binary("multiply", np.multiply, _or_of_bools("mul", "and"), "x1 * x2")
divide = binary("divide", np.divide, primitive("div"), "x1 / x2, in floating point")
floor_divide = binary(
    "floor_divide", np.floor_divide, primitive("floor_div"), "the quotient rounded down, x1 // x2"
)
remainder = binary(
    "remainder", np.remainder, primitive("mod"), "the remainder with the sign of x2, x1 % x2"
)
fmod = binary("fmod", np.fmod, primitive("fmod"), "the remainder with the sign of x1, as in C")
negative = unary("negative", np.negative, primitive("neg"), "-x")
positive = unary("positive", np.positive, _identity, "x itself")
absolute = unary("absolute", np.absolute, _absolute, "the absolute value")
fabs = unary("fabs", np.fabs, primitive("abs"), "the absolute value, in floating point")
sign = unary("sign", np.sign, primitive("sign"), "-1, 0 or 1 by the sign; NaN stays NaN")
square = unary("square", np.square, square_of, "x * x")
reciprocal = unary("reciprocal", np.reciprocal, reciprocal_of, "1 / x; 0 for larger integers")
degrees = unary(
    "degrees", np.degrees, _times(lambda t: t(180) / t(math.pi)), "radians turned into degrees"
)
radians = unary(
    "radians", np.radians, _times(lambda t: t(math.pi) / t(180)), "degrees turned into radians"
)


def divmod(x1: Operand, x2: Operand, /) -> tuple[Array, Array]:
    """Quotient rounded down and remainder: `(x1 // x2, x1 % x2)`, with NumPy's dtypes.

    The operands broadcast together. ShapeError where they do not, DTypeError without a dtype.
    """
    x, y = prepare("divmod", np.divmod, (x1, x2))
    return apply("floor_div", x, y), apply("mod", x, y)


# --- powers -------------------------------------------------------------------------------------

float_power = binary("float_power", np.float_power, primitive("pow"), "x1 to the x2 in float64")
ldexp = binary("ldexp", np.ldexp, scaled_by_power_of_two, "x1 * 2**x2, rounded once")
sqrt = unary("sqrt", np.sqrt, primitive("sqrt"), "the square root; NaN below 0")
cbrt = unary("cbrt", np.cbrt, primitive("cbrt"), "the cube root")
hypot = binary("hypot", np.hypot, primitive("hypot"), "sqrt(x1**2 + x2**2) without overflow")

# --- exponentials and logarithms ----------------------------------------------------------------

exp = unary("exp", np.exp, primitive("exp"), "e to the x")
exp2 = unary("exp2", np.exp2, primitive("exp2"), "2 to the x")
expm1 = unary("expm1", np.expm1, primitive("expm1"), "exp(x) - 1 without cancellation")
log = unary("log", np.log, primitive("log"), "the natural logarithm; NaN below 0")
log2 = unary("log2", np.log2, primitive("log2"), "the logarithm to base 2; NaN below 0")
log10 = unary("log10", np.log10, primitive("log10"), "the logarithm to base 10; NaN below 0")
log1p = unary("log1p", np.log1p, primitive("log1p"), "log(1 + x) without cancellation")
logaddexp = binary("logaddexp", np.logaddexp, primitive("logaddexp"), "log(exp(x1) + exp(x2))")
logaddexp2 = binary("logaddexp2", np.logaddexp2, primitive("logaddexp2"), "log2(2**x1 + 2**x2)")

# --- trigonometry -------------------------------------------------------------------------------

sin = unary("sin", np.sin, primitive("sin"), "the sine of radians")
cos = unary("cos", np.cos, primitive("cos"), "the cosine of radians")
tan = unary("tan", np.tan, primitive("tan"), "the tangent of radians")
arcsin = unary("arcsin", np.arcsin, primitive("asin"), "the inverse sine, in radians")
arccos = unary("arccos", np.arccos, primitive("acos"), "the inverse cosine, in radians")
arctan = unary("arctan", np.arctan, primitive("atan"), "the inverse tangent, in radians")
arctan2 = binary("arctan2", np.arctan2, primitive("atan2"), "the angle of the point (x2, x1)")
sinh = unary("sinh", np.sinh, primitive("sinh"), "the hyperbolic sine")
cosh = unary("cosh", np.cosh, primitive("cosh"), "the hyperbolic cosine")
tanh = unary("tanh", np.tanh, primitive("tanh"), "the hyperbolic tangent")
arcsinh = unary("arcsinh", np.arcsinh, primitive("asinh"), "the inverse hyperbolic sine")
arccosh = unary("arccosh", np.arccosh, primitive("acosh"), "the inverse hyperbolic cosine")
arctanh = unary("arctanh", np.arctanh, primitive("atanh"), "the inverse hyperbolic tangent")


def sinc(x: Operand, /) -> Array:
    """sin(pi x) / (pi x), and 1 at 0; shape of `x`, dtype of a float product."""
    angle = multiply(x, math.pi)
    least = like(angle, np.finfo(angle.dtype).eps)
    nonzero = apply("where", apply("equal", angle, like(angle, 0)), least, angle)
    return apply("div", apply("sin", nonzero), nonzero)


# --- rounding and floats ------------------------------------------------------------------------


def round(x: Operand, decimals: int = 0) -> Array:
    """`x` rounded to `decimals` places, ties to even; same shape and dtype.

    Negative `decimals` round to tens and more, integers through float64. DTypeError for bools.
    """
    array = asarray(x)
    if array.dtype.kind != "f":
        if array.dtype == BOOL or decimals >= 0:
            return rint(array) if array.dtype == BOOL else cast(array, array.dtype)
        return cast(round(cast(array, FLOAT64), decimals), array.dtype)
    if decimals == 0:
        return apply("round", array)
    scale = like(array, 10.0 ** (decimals if decimals > 0 else -decimals))
    there, back = ("mul", "div") if decimals > 0 else ("div", "mul")
    return apply(back, apply("round", apply(there, array, scale)), scale)


def _of_floats(otherwise: bool, test: Compute) -> Compute:
    """A test of floats, whose answer for integers and bools is `otherwise`."""

    def compute(x: Array) -> Array:
        return test(x) if x.dtype.kind == "f" else full(x.shape, otherwise, BOOL)

    return compute


def _equals(value: float) -> Compute:
    return lambda x: apply("equal", x, like(x, value))


_isnan = _of_floats(False, lambda x: apply("not", apply("equal", x, x)))
_isinf = _of_floats(False, lambda x: _equals(np.inf)(apply("abs", x)))
_isfinite = _of_floats(True, lambda x: apply("less", apply("abs", x), like(x, np.inf)))


def _signbit(x: Array) -> Array:
    bits = apply("bitcast", x, dtype=np.dtype(f"i{x.dtype.itemsize}"))
    return apply("less", bits, like(bits, 0))


def _heaviside(x: Array, at_zero: Array) -> Array:
    zero = like(x, 0)
    step = apply("where", apply("less", x, zero), zero, like(x, 1))
    step = apply("where", apply("equal", x, zero), at_zero, step)
    return apply("where", _isnan(x), x, step)


floor = unary("floor", np.floor, _rounding("floor"), "the largest integer not above x")
ceil = unary("ceil", np.ceil, _rounding("ceil"), "the smallest integer not below x")
trunc = unary("trunc", np.trunc, _rounding("trunc"), "x without its fraction")
rint = unary("rint", np.rint, primitive("round"), "the nearest integer, ties to even")
isnan = unary("isnan", np.isnan, _isnan, "whether x is NaN")
isinf = unary("isinf", np.isinf, _isinf, "whether x is infinite, of either sign")
isfinite = unary("isfinite", np.isfinite, _isfinite, "whether x is neither infinite nor NaN")
signbit = unary("signbit", np.signbit, _signbit, "whether the sign is negative, also of -0.0, NaN")
copysign = binary("copysign", np.copysign, primitive("copysign"), "|x1| with the sign of x2")
nextafter = binary("nextafter", np.nextafter, primitive("nextafter"), "the float beside x1 to x2")
heaviside = binary("heaviside", np.heaviside, _heaviside, "0 below 0, x2 at 0, 1 above")


def fix(x: Operand, /) -> Array:
    """`x` rounded towards 0: same shape and dtype."""
    return trunc(x)


def isposinf(x: Operand, /) -> Array:
    """Whether `x` is +infinity, elementwise: bools of the same shape."""
    return _of_floats(False, _equals(np.inf))(asarray(x))


def isneginf(x: Operand, /) -> Array:
    """Whether `x` is -infinity, elementwise: bools of the same shape."""
    return _of_floats(False, _equals(-np.inf))(asarray(x))


def nan_to_num(
    x: Operand,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Array:
    """`x` with NaN and infinities replaced; same shape and dtype, integers unchanged.

    Infinities become the largest finite values unless `posinf` and `neginf` are given. Results
    are values, so `copy` changes nothing.
    """
    array = asarray(x)
    if array.dtype.kind != "f":
        return cast(array, array.dtype)
    limits = np.finfo(array.dtype)
    high = like(array, limits.max if posinf is None else posinf)
    low = like(array, limits.min if neginf is None else neginf)
    result = apply("where", _isnan(array), like(array, nan), array)
    result = apply("where", isposinf(array), high, result)
    return apply("where", isneginf(array), low, result)


# --- order --------------------------------------------------------------------------------------


def _ignoring_nan(op: str) -> Compute:
    """The extreme value; where one operand is NaN, the other."""
    extreme = _or_of_bools(op, "or" if op == "max" else "and")

    def compute(x: Array, y: Array) -> Array:
        if x.dtype.kind != "f":
            return extreme(x, y)
        result = apply("where", _isnan(y), x, extreme(x, y))
        return apply("where", _isnan(x), y, result)

    return compute


maximum = binary("maximum", np.maximum, _or_of_bools("max", "or"), "the larger value; NaN wins")
minimum = binary("minimum", np.minimum, _or_of_bools("min", "and"), "the smaller value; NaN wins")
fmax = binary("fmax", np.fmax, _ignoring_nan("max"), "the larger value; NaN only of two NaNs")
fmin = binary("fmin", np.fmin, _ignoring_nan("min"), "the smaller value; NaN only of two NaNs")

_clip: np.ufunc = np._core.umath.clip  # type: ignore[attr-defined]  # the one with three operands


def clip(
    a: Operand,
    a_min: Operand = None,
    a_max: Operand = None,
    *,
    min: Operand = None,
    max: Operand = None,
) -> Array:
    """`a` limited to `a_min`..`a_max`, elementwise: `minimum(maximum(a, a_min), a_max)`.

    A bound of None is none; `min` and `max` are other names for them. Bounds broadcast with `a`,
    the dtype is NumPy's. Python integers beyond the range of an integer array limit nothing.
    """
    low = min if a_min is None else a_min
    high = max if a_max is None else a_max
    array = asarray(a)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        if type(low) is int and low <= limits.min:
            low = None
        if type(high) is int and high >= limits.max:
            high = None
        low = _within(low, "max", int(limits.min))
        high = _within(high, "min", int(limits.max))
    if low is None and high is None:
        return positive(array)
    if low is None:
        return minimum(array, high)
    if high is None:
        return maximum(array, low)
    array, low, high = prepare("clip", _clip, (array, low, high))
    return minimum(maximum(array, low), high)


def _within(bound: Operand, op: str, limit: int) -> Operand:
    """A traced Python integer as a bound, not further out than the dtype that it limits."""
    if not isinstance(bound, Array) or bound.weak is not int:
        return bound
    largest = np.iinfo(INT64).max
    return apply(op, bound, like(bound, limit if limit < largest else largest), weak=int)


# --- comparison ---------------------------------------------------------------------------------


def _outside(value: Operand, other: Operand) -> int:
    """-1 or 1 where the Python integer `value` lies below or above the dtype of `other`."""
    if type(value) is not int or not isinstance(other, Array) or other.weak is not None:
        return 0
    if other.dtype.kind not in "iu":
        return 0
    limits = np.iinfo(other.dtype)
    return int(value > limits.max) - int(value < limits.min)


def _all_bits(operand: Operand, other: Operand) -> Operand:
    """A traced Python integer beside integers as int64: their dtype need not hold its value."""
    if not isinstance(operand, Array) or not isinstance(other, Array):
        return operand
    beside = operand.weak is int and other.weak is None and other.dtype.kind in "iu"
    return cast(operand, INT64) if beside else operand


def _comparison(name: str, numpy: np.ufunc, compute: Compute, meaning: str) -> Comparison:
    def function(x1: Operand, x2: Operand, /, *, casting: str = SAME_KIND) -> Array:
        left, right = as_operand(x1), as_operand(x2)
        outside = _outside(right, left) - _outside(left, right)
        if outside:
            return full(common_shape(name, (left, right)), numpy(0, outside), BOOL)
        exact = _all_bits(left, right), _all_bits(right, left)
        return compute(*prepare(name, numpy, exact, casting=casting))

    return document(function, name, numpy, meaning)


def _compare(op: str) -> Compute:
    """`op`; of int64 with uint64 by sign first, as a negative value is below every unsigned one."""

    def compute(x: Array, y: Array) -> Array:
        if x.dtype == y.dtype:
            return apply(op, x, y)
        same = apply(op, cast(x, UINT64), cast(y, UINT64))
        signed = x if x.dtype == INT64 else y
        decided = full(x.shape, signed is x and op != "equal", BOOL)
        return apply("where", apply("less", signed, like(signed, 0)), decided, same)

    return compute


def _swapped(compute: Compute) -> Compute:
    return lambda x, y: compute(y, x)


def _unequal(x: Array, y: Array) -> Array:
    return apply("not", _compare("equal")(x, y))


_less, _less_equal = _compare("less"), _compare("less_equal")

equal = _comparison("equal", np.equal, _compare("equal"), "whether x1 == x2")
not_equal = _comparison("not_equal", np.not_equal, _unequal, "whether x1 != x2")
less = _comparison("less", np.less, _less, "whether x1 < x2")
less_equal = _comparison("less_equal", np.less_equal, _less_equal, "whether x1 <= x2")
greater = _comparison("greater", np.greater, _swapped(_less), "whether x1 > x2")
greater_equal = _comparison(
    "greater_equal", np.greater_equal, _swapped(_less_equal), "whether x1 >= x2"
)

# --- logic and bits -----------------------------------------------------------------------------


def _logical(op: str) -> Compute:
    """`op` of whether each operand is nonzero."""

    def compute(*operands: Array) -> Array:
        return apply(op, *[cast(operand, BOOL) for operand in operands])

    return compute


logical_and = binary("logical_and", np.logical_and, _logical("and"), "whether both are nonzero")
logical_or = binary("logical_or", np.logical_or, _logical("or"), "whether one is nonzero")
logical_xor = binary("logical_xor", np.logical_xor, _logical("xor"), "whether just one is nonzero")
logical_not = unary("logical_not", np.logical_not, _logical("not"), "whether x is 0")
bitwise_and = binary("bitwise_and", np.bitwise_and, primitive("and"), "the bits set in both")
bitwise_or = binary("bitwise_or", np.bitwise_or, primitive("or"), "the bits set in one")
bitwise_xor = binary("bitwise_xor", np.bitwise_xor, primitive("xor"), "the bits set in just one")
invert = unary("invert", np.invert, primitive("not"), "all bits flipped; logical not of bools")
left_shift = binary(
    "left_shift", np.left_shift, primitive("shift_left"), "x1 << x2; 0 where all bits leave"
)
right_shift = binary(
    "right_shift", np.right_shift, primitive("shift_right"), "x1 >> x2; the sign fills from above"
)

# --- choice and conversion ----------------------------------------------------------------------


def where(condition: Operand, x: Operand, y: Operand) -> Array:
    """`x` where `condition` is nonzero, else `y`, elementwise.

    The three broadcast together; the dtype is the common one of `x` and `y`. ShapeError where
    they do not broadcast.
    """
    choice = cast(asarray(condition), BOOL)
    operands = [as_operand(x), as_operand(y)]
    shape = common_shape("where", [choice, *operands])
    dtype = result_dtype(*operands)
    left, right = (_choice(operand, dtype, shape) for operand in operands)
    return apply("where", broadcast_to(choice, shape), left, right)


def _choice(operand: Operand, dtype: DType, shape: Shape) -> Array:
    """An operand of `where`, which converts Python integers out of range as astype does."""
    if isinstance(operand, Array):
        return broadcast_to(cast(operand, dtype), shape)
    with np.errstate(over="ignore"):
        return full(shape, python_scalar(operand).astype(dtype), dtype)


def astype(x: Operand, dtype: Any, *, copy: bool = True) -> Array:
    """`x` converted to `dtype` as NumPy converts; same shape. DTypeError for other dtypes.

    Results are values, so `copy` changes nothing.
    """
    return cast(asarray(x), check_dtype(dtype, "astype"))


# --- other names --------------------------------------------------------------------------------

abs = absolute
around = round
acos, acosh, asin, asinh = arccos, arccosh, arcsin, arcsinh
atan, atan2, atanh = arctan, arctan2, arctanh
bitwise_invert = bitwise_not = invert
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift
deg2rad, rad2deg = radians, degrees
mod, pow, true_divide = remainder, power, divide

__all__ = """
    abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh around asin
    asinh astype atan atan2 atanh bitwise_and bitwise_count bitwise_invert bitwise_left_shift
    bitwise_not bitwise_or bitwise_right_shift bitwise_xor cbrt ceil clip copysign cos cosh deg2rad
    degrees divide divmod equal erf erfc exp exp2 expm1 fabs fix float_power floor floor_divide fmax
    fmin fmod frexp gcd gelu greater greater_equal heaviside hypot invert isfinite isinf isnan
    isneginf isposinf lcm ldexp left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2
    logical_and logical_not logical_or logical_xor maximum minimum mod modf multiply nan_to_num
    negative nextafter not_equal positive pow power rad2deg radians reciprocal relu remainder
    right_shift rint round sigmoid sign signbit silu sin sinc sinh softplus spacing sqrt square
    subtract tan tanh true_divide trunc where
""".split()
