"""The error function, and the activations of neural networks."""

from __future__ import annotations

import math

import numpy as np

from neurlang.frontend.array import Array, Operand, apply
from neurlang.frontend.dispatch import like, prepare, primitive, unary


def _silu(x: Array) -> Array:
    return apply("mul", x, apply("sigmoid", x))


def _softplus(x: Array) -> Array:
    return apply("logaddexp", x, like(x, 0))


erf = unary("erf", np.exp, primitive("erf"), "the error function")
erfc = unary("erfc", np.exp, primitive("erfc"), "1 - erf(x) without cancellation")
sigmoid = unary("sigmoid", np.exp, primitive("sigmoid"), "the logistic function 1 / (1 + exp(-x))")
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
        return apply("gelu", array)
    cube = apply("mul", apply("mul", apply("mul", array, array), array), like(array, 0.044715))
    inner = apply("mul", apply("add", array, cube), like(array, math.sqrt(2 / math.pi)))
    half = apply("mul", array, like(array, 0.5))
    return apply("mul", half, apply("add", like(array, 1), apply("tanh", inner)))
