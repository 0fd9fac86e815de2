"""The error function, and the activations of neural networks."""

from __future__ import annotations

import math

import numpy as np

from neurlang.frontend.array import Array, Operand, apply
from neurlang.frontend.dispatch import like, prepare, primitive, unary


def _gelu(x: Array) -> Array:
    """x Phi(x); through erfc, which keeps its digits where Phi is small."""
    tail = apply("erfc", apply("mul", x, like(x, -math.sqrt(0.5))))
    return apply("mul", apply("mul", x, like(x, 0.5)), tail)


def _logistic(x: Array) -> tuple[Array, Array]:
    """Numerator and denominator: 1 / (1 + exp(-x)), or below 0 exp(x) / (1 + exp(x)).

    The exponential cannot overflow, so that no small result is lost. A choice, and not an absolute
    value, keeps the derivative at 0.
    """
    one, negative = like(x, 1), apply("less", x, like(x, 0))
    power = apply("exp", apply("where", negative, x, apply("neg", x)))
    return apply("where", negative, power, one), apply("add", one, power)


def _sigmoid(x: Array) -> Array:
    return apply("div", *_logistic(x))


def _silu(x: Array) -> Array:
    numerator, denominator = _logistic(x)
    return apply("div", apply("mul", x, numerator), denominator)


def _softplus(x: Array) -> Array:
    """max(x, 0) + log1p(exp(-|x|)): exp cannot overflow."""
    rest = apply("log1p", apply("exp", apply("neg", apply("abs", x))))
    return apply("add", apply("max", x, like(x, 0)), rest)


erf = unary("erf", np.exp, primitive("erf"), "the error function")
erfc = unary("erfc", np.exp, primitive("erfc"), "1 - erf(x) without cancellation")
sigmoid = unary(
    "sigmoid", np.exp, _sigmoid, "the logistic function 1 / (1 + exp(-x)), to 2.2 ULP in float32"
)
silu = unary("silu", np.exp, _silu, "x * sigmoid(x)")
softplus = unary("softplus", np.exp, _softplus, "log(1 + exp(x)) without overflow")


def relu(x: Operand, /) -> Array:
    """`maximum(x, 0)`, elementwise: same shape and dtype; NaN stays NaN."""
    return apply("max", *prepare("relu", np.maximum, (x, 0)))


def gelu(x: Operand, /, *, approximate: bool = False) -> Array:
    """x times the normal distribution function of x; same shape, floating point.

    With `approximate`, by a hyperbolic tangent: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, section 2.
    """
    (array,) = prepare("gelu", np.exp, (x,))
    if not approximate:
        return _gelu(array)
    cube = apply("mul", apply("mul", apply("mul", array, array), array), like(array, 0.044715))
    inner = apply("mul", apply("add", array, cube), like(array, math.sqrt(2 / math.pi)))
    half = apply("mul", array, like(array, 0.5))
    return apply("mul", half, apply("add", like(array, 1), apply("tanh", inner)))
