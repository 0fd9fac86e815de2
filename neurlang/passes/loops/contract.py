"""With `fast_math`, a product that is added to something is not rounded on its own."""

from __future__ import annotations

from neurlang.ir.loops import Apply, Expression, Kernel
from neurlang.ir.rewriter import Rewriter


def contract(kernel: Kernel) -> Kernel:
    """x * y + z becomes fma(x, y, z), x * y - z and z - x * y likewise.

    One rounding in place of two: more accurate as a rule, and other bits than NumPy's, so it runs
    only where the caller asked for `fast_math`. Products that are used twice are kept.
    """
    return kernel.with_body(_Contract({}).body(kernel.body))


class _Contract(Rewriter):
    def expression(self, expression: Expression) -> Expression:
        found = super().expression(expression)
        match found:
            case Apply("add", (Apply("mul", (x, y)), z)) | Apply("add", (z, Apply("mul", (x, y)))):
                return _fma(found, x, y, z)
            case Apply("sub", (Apply("mul", (x, y)), z)):
                return _fma(found, x, y, Apply("neg", (z,), z.dtype))
            case Apply("sub", (z, Apply("mul", (x, y)))):
                return _fma(found, Apply("neg", (x,), x.dtype), y, z)
        return found


def _fma(whole: Apply, x: Expression, y: Expression, z: Expression) -> Expression:
    return Apply("fma", (x, y, z), whole.dtype) if whole.dtype.kind == "f" else whole
