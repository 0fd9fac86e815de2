"""THE table of primitive ops, by the kind that every other stage is written for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.ir.types import BOOL, INT64, DType

NumericFunction = Callable[..., Any]


@dataclass(frozen=True)
class Op:
    """One primitive. `numpy` evaluates it; `accepts` are NumPy kind letters (b i u f)."""

    name: str
    kind: str
    arity: int
    numpy: NumericFunction | None
    accepts: str
    result: str
    meaning: str
    cost: int = 1

    def result_dtype(self, dtype: DType) -> DType:
        """The dtype of the result for arguments of `dtype`."""
        match self.result:
            case "bool":
                return BOOL
            case "int64":
                return INT64
            case _:
                return dtype


def _elementwise_erf(function: Callable[[float], float]) -> NumericFunction:
    """erf of the C library through Python: slow, and right to less than one ULP."""

    def evaluate(x: Any) -> Any:
        flat = [function(float(value)) for value in np.ravel(x)]
        return np.asarray(flat, x.dtype).reshape(np.shape(x))

    return evaluate


def _gelu(x: Any) -> Any:
    """x times the normal distribution function, with erfc's argument in two parts."""
    size = np.abs(x).astype(np.longdouble)
    root = size * np.sqrt(np.longdouble(0.5))
    high = root.astype(np.float64)
    tail = _elementwise_erf(math.erfc)(high)
    tail = tail - 2 * high * tail * np.where(tail > 0, root - high, 0)
    result = np.maximum(x, 0) - np.where(tail > 0, size * tail / 2, 0)
    return np.copysign(result, x).astype(x.dtype)


def _sigmoid(x: Any) -> Any:
    """exp(min(x, 0)) / (1 + exp(-|x|)): no exponential overflows."""
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def _log_of_sum(function: NumericFunction, base: float) -> NumericFunction:
    """NumPy's logaddexp or logaddexp2, with log1p in place of its cancellation near 0."""
    unit = np.log(np.longdouble(base)) if base == 2 else np.longdouble(1)

    def evaluate(x: Any, y: Any) -> Any:
        large, small = (extreme(x, y).astype(np.longdouble) for extreme in (np.maximum, np.minimum))
        with np.errstate(over="ignore"):
            above_one = np.expm1(large * unit) + np.exp(small * unit)
        near = (np.abs(above_one) < 0.5) & (large != small)
        result = np.where(
            near, np.log1p(np.where(near, above_one, 0)) / unit, function(large, small)
        )
        return result.astype(x.dtype)

    return evaluate


def _shift_left(x: Any, count: Any) -> Any:
    return np.left_shift(x, count)


def _popcount(x: Any) -> Any:
    """NumPy counts the bits of |x|."""
    return np.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype)


def _pow(x: Any, y: Any) -> Any:
    """Integer powers by squaring modulo 2^bits, for which NumPy takes unsigned exponents.

    What a negative one gives is not used: a program that meets it ends with an error.
    """
    if x.dtype.kind == "f":
        return np.power(x, y)
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    return np.power(x.astype(unsigned), y.astype(unsigned)).astype(x.dtype)


def cast(x: Any, dtype: DType) -> Any:
    """NumPy's cast on x86-64, also where C leaves it open (promise P6)."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        return x.astype(dtype)
    wide = np.where(np.isnan(x), -np.inf, np.trunc(x)).astype(np.float64)
    if dtype.itemsize < 4:
        inside = (wide >= -(2.0**31)) & (wide < 2.0**31)
        return np.where(inside, wide, -(2.0**31)).astype(np.int32).astype(dtype)
    if dtype == np.dtype("int32"):
        inside = (wide >= -(2.0**31)) & (wide < 2.0**31)
        return np.where(inside, wide, -(2.0**31)).astype(np.int32)
    inside = (wide >= -(2.0**63)) & (wide < 2.0**63)
    signed = np.where(inside, wide, -(2.0**63)).astype(np.int64)
    if dtype == np.dtype("uint64"):
        above = (wide >= 2.0**63) & (wide < 2.0**64)
        high = np.where(above, wide - 2.0**63, 0.0).astype(np.uint64) + np.uint64(1 << 63)
        low = np.where(wide >= 2.0**64, np.uint64(0), signed.astype(np.uint64))
        return np.where(above, high, low)
    return signed.astype(dtype)


def _unary(name: str, function: NumericFunction, accepts: str, meaning: str, cost: int = 1) -> Op:
    return Op(name, "map", 1, function, accepts, "same", meaning, cost)


def _binary(
    name: str,
    function: NumericFunction,
    accepts: str,
    meaning: str,
    cost: int = 1,
    result: str = "same",
) -> Op:
    return Op(name, "map", 2, function, accepts, result, meaning, cost)


MAPS = (
    _unary("neg", np.negative, "iuf", "-x"),
    _unary("abs", np.abs, "iuf", "|x|; the least integer stays itself"),
    _unary("sign", np.sign, "iuf", "-1, 0 or 1; NaN stays NaN", 2),
    _unary("sqrt", np.sqrt, "f", "square root, rounded correctly", 4),
    _unary("exp", np.exp, "f", "e to the x", 14),
    _unary("exp2", np.exp2, "f", "2 to the x", 14),
    _unary("expm1", np.expm1, "f", "exp(x) - 1 without cancellation", 20),
    _unary("log", np.log, "f", "natural logarithm", 16),
    _unary("log2", np.log2, "f", "logarithm to base 2", 18),
    _unary("log10", np.log10, "f", "logarithm to base 10", 18),
    _unary("log1p", np.log1p, "f", "log(1 + x) without cancellation", 20),
    _unary("sin", np.sin, "f", "sine of radians", 20),
    _unary("cos", np.cos, "f", "cosine of radians", 20),
    _unary("tan", np.tan, "f", "tangent of radians", 28),
    _unary("asin", np.arcsin, "f", "inverse sine", 20),
    _unary("acos", np.arccos, "f", "inverse cosine", 20),
    _unary("atan", np.arctan, "f", "inverse tangent", 20),
    _unary("sinh", np.sinh, "f", "hyperbolic sine", 24),
    _unary("cosh", np.cosh, "f", "hyperbolic cosine", 20),
    _unary("tanh", np.tanh, "f", "hyperbolic tangent", 20),
    _unary("asinh", np.arcsinh, "f", "inverse hyperbolic sine", 28),
    _unary("acosh", np.arccosh, "f", "inverse hyperbolic cosine", 28),
    _unary("atanh", np.arctanh, "f", "inverse hyperbolic tangent", 28),
    _unary("cbrt", np.cbrt, "f", "cube root", 20),
    _unary("erf", _elementwise_erf(math.erf), "f", "error function", 24),
    _unary("erfc", _elementwise_erf(math.erfc), "f", "1 - erf(x) without cancellation", 30),
    _unary("gelu", _gelu, "f", "x times the normal distribution function", 24),
    _unary("sigmoid", _sigmoid, "f", "1 / (1 + exp(-x))", 22),
    _unary("floor", np.floor, "f", "largest integer not above x"),
    _unary("ceil", np.ceil, "f", "smallest integer not below x"),
    _unary("trunc", np.trunc, "f", "x without its fraction"),
    _unary("round", np.rint, "f", "nearest integer, ties to even"),
    _unary("not", np.invert, "biu", "logical not of bools, complement of integers"),
    _unary("popcount", _popcount, "iu", "how many bits are set", 4),
    Op("cast", "map", 1, None, "biuf", "attr", "the value in another dtype, as NumPy converts"),
    Op("bitcast", "map", 1, None, "iuf", "attr", "the same bits as another dtype of that width"),
    _binary("add", np.add, "iuf", "x + y"),
    _binary("sub", np.subtract, "iuf", "x - y"),
    _binary("mul", np.multiply, "iuf", "x * y"),
    _binary("div", np.divide, "f", "x / y", 4),
    _binary("floor_div", np.floor_divide, "iuf", "floor(x / y) by way of mod, as Python", 12),
    _binary("mod", np.mod, "iuf", "remainder with the sign of y, as Python", 12),
    _binary("fmod", np.fmod, "iuf", "remainder with the sign of x, as C", 12),
    _binary("pow", _pow, "iuf", "x to the y; integers wrap, and fail for y < 0", 60),
    _binary("gcd", np.gcd, "iu", "greatest common divisor of |x| and |y|", 200),
    _binary("max", np.maximum, "iuf", "larger value; NaN wins"),
    _binary("min", np.minimum, "iuf", "smaller value; NaN wins"),
    _binary("atan2", np.arctan2, "f", "angle of the point (y, x)", 30),
    _binary("hypot", np.hypot, "f", "sqrt(x*x + y*y) without overflow", 12),
    _binary(
        "logaddexp", _log_of_sum(np.logaddexp, math.e), "f", "log(exp(x) + exp(y)), also near 0", 60
    ),
    _binary("logaddexp2", _log_of_sum(np.logaddexp2, 2), "f", "log2(2**x + 2**y), also near 0", 60),
    _binary("copysign", np.copysign, "f", "|x| with the sign of y"),
    _binary("nextafter", np.nextafter, "f", "the float next to x towards y", 6),
    _binary("equal", np.equal, "biuf", "x == y", result="bool"),
    _binary("less", np.less, "biuf", "x < y", result="bool"),
    _binary("less_equal", np.less_equal, "biuf", "x <= y", result="bool"),
    _binary("and", np.bitwise_and, "biu", "bitwise and; logical and of bools"),
    _binary("or", np.bitwise_or, "biu", "bitwise or; logical or of bools"),
    _binary("xor", np.bitwise_xor, "biu", "bitwise exclusive or; inequality of bools"),
    _binary("shift_left", _shift_left, "iu", "x << y; 0 where y is not in 0..bits"),
    _binary("shift_right", np.right_shift, "iu", "x >> y; the sign where y is not in 0..bits"),
    Op("where", "map", 3, np.where, "biuf", "same", "y where the bool x holds, else z"),
)


def _reduce(name: str, function: NumericFunction, accepts: str, meaning: str, **more: str) -> Op:
    return Op(name, "reduce", 1, function, accepts, more.get("result", "same"), meaning)


REDUCES = (
    _reduce("reduce_sum", np.add.reduce, "iuf", "sum over axes"),
    _reduce("reduce_prod", np.multiply.reduce, "iuf", "product over axes"),
    _reduce("reduce_max", np.maximum.reduce, "iuf", "largest value over axes; NaN wins"),
    _reduce("reduce_min", np.minimum.reduce, "iuf", "smallest value over axes; NaN wins"),
    _reduce("reduce_and", np.logical_and.reduce, "b", "whether all hold"),
    _reduce("reduce_or", np.logical_or.reduce, "b", "whether any holds"),
    _reduce("argmax", np.argmax, "biuf", "index of the first largest; NaN wins", result="int64"),
    _reduce("argmin", np.argmin, "biuf", "index of the first smallest; NaN wins", result="int64"),
)


def _other(name: str, kind: str, arity: int, meaning: str, accepts: str = "biuf") -> Op:
    return Op(name, kind, arity, None, accepts, "same", meaning)


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        _other("param", "leaf", 0, "an input of the graph"),
        _other("const", "leaf", 0, "a value known when the graph is made"),
        _other("iota", "leaf", 0, "each element's index along an axis", "iuf"),
        *MAPS,
        *REDUCES,
        _other("reshape", "view", 1, "the same elements, in order, under another shape"),
        _other("transpose", "view", 1, "axes in another order"),
        _other("broadcast", "view", 1, "repeat axes of size 1 and add leading ones"),
        _other("slice", "view", 1, "elements start, start + step, ... of each axis"),
        _other("window", "view", 1, "strided windows along axes; positions inside them come last"),
        _other("pad", "view", 1, "a constant before and after the elements of each axis"),
        _other("concat", "view", -1, "arrays one after the other along an axis"),
        _other("dot", "contract", 2, "(batch, m, k) by (batch, k, n): sums of products over k"),
        _other("gather", "index", -1, "slices of axes side by side chosen by integer indices"),
        _other("scatter", "index", 3, "slices of axis 0 set, added, ... at integer indices"),
        _other("update", "index", 2, "a strided region replaced by another array"),
        _other("sort", "order", 1, "ascending along the last axis; NaN last"),
        _other("argsort", "order", 1, "indices that sort the last axis, stable"),
        _other("top_k", "order", 1, "indices of the largest of each row, in descending order"),
        _other("cumulative", "order", 1, "running sum, prod, max or min along an axis"),
    )
}

# Views that show every element of theirs where it lies: the index says where.
PURE_VIEWS = ("transpose", "broadcast", "slice", "window", "reshape")
CUMULATIVE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}
SHORT_EXPONENTS = frozenset({*range(-8, -1), *range(3, 9)})  # constant: products are cheaper
SCATTER_MODES = ("set", "add", "mul", "max", "min")
