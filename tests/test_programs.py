"""More than 200 programs: NumPy, both interpreters and machine code agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang.executable import Executable
from neurlang.ir.interpret import interpret
from neurlang.ir.loops import Buffer
from neurlang.ir.loops_interpret import interpret_kernel
from neurlang.ir.ops import OPS
from neurlang.lower.program import Program
from neurlang.pipeline import current_target, generate, optimize

RNG = np.random.default_rng(7)
Inputs = tuple[Any, ...]
Case = tuple[Callable[..., Any], Inputs]


def normal(*shape: int, dtype: str = "float32") -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def positive(*shape: int, dtype: str = "float32") -> Any:
    return RNG.uniform(0.1, 3.0, shape).astype(dtype)


def unit(*shape: int) -> Any:
    return RNG.uniform(-0.95, 0.95, shape).astype("float32")


def integers(*shape: int, dtype: str = "int32") -> Any:
    return RNG.integers(-9, 9, shape).astype(dtype)


PROGRAMS: dict[str, Case] = {}

for name in (
    "negative absolute sign square exp exp2 expm1 sin cos tan sinh cosh tanh arctan arcsinh cbrt "
    "floor ceil trunc rint degrees radians isnan isinf isfinite signbit reciprocal positive sinc"
).split():
    PROGRAMS[name] = (getattr(np, name), (normal(37),))
for name in "sqrt log log2 log10 log1p arccosh".split():
    PROGRAMS[name] = (getattr(np, name), (positive(37) + np.float32(1),))
for name in "arcsin arccos arctanh".split():
    PROGRAMS[name] = (getattr(np, name), (unit(37),))
for name in (
    "add subtract multiply divide maximum minimum fmax fmin arctan2 hypot copysign logaddexp "
    "floor_divide remainder fmod equal not_equal less less_equal greater greater_equal heaviside "
    "nextafter"
).split():
    PROGRAMS[name] = (getattr(np, name), (normal(5, 23), normal(23)))
for name in (
    "add subtract multiply floor_divide remainder fmod maximum minimum bitwise_and bitwise_or "
    "bitwise_xor left_shift right_shift equal less greater_equal"
).split():
    for dtype in ("int8", "int64", "uint16"):
        inputs = (integers(41, dtype=dtype), integers(41, dtype=dtype))
        PROGRAMS[f"{name}_{dtype}"] = (getattr(np, name), inputs)
for name in "sum prod max min mean var std argmax argmin any all ptp".split():
    for axis in (None, 0, 1, 2):
        program = partial(getattr(np, name), axis=axis)
        PROGRAMS[f"{name}_axis_{axis}"] = (program, (normal(3, 5, 19),))
for name in "sum max mean".split():
    for axes in ((0, 1), (0, 2), (1, 2)):
        program = partial(getattr(np, name), axis=axes, keepdims=True)
        PROGRAMS[f"{name}_axes_{axes[0]}{axes[1]}"] = (program, (normal(4, 6, 21),))
for shape in (
    (1, 1, 1),
    (3, 4, 5),
    (6, 64, 16),
    (7, 33, 70),
    (17, 300, 40),
    (40, 20, 1),
    (1, 65, 9),
):
    m, k, n = shape
    PROGRAMS[f"matmul_{m}_{k}_{n}"] = (np.matmul, (normal(m, k), normal(k, n)))

PROGRAMS |= {
    "where": (lambda x: np.where(x > 0, x, 0.1 * x), (normal(50),)),
    "clip": (lambda x: np.clip(x, -0.5, 0.5), (normal(50),)),
    "reshape": (lambda x: x.reshape(4, -1) * 2, (normal(8, 6),)),
    "transpose": (lambda x: x.T + 1, (normal(40, 35),)),
    "moveaxis": (lambda x: np.moveaxis(x, 0, 2) * 1.5, (normal(4, 5, 6),)),
    "swapaxes": (lambda x: np.swapaxes(x, 0, 1), (normal(4, 5, 6),)),
    "expand_squeeze": (lambda x: np.squeeze(x[:, None] * x[None, :]), (normal(17),)),
    "concatenate": (
        lambda x, y: np.concatenate([x, y * 2, x], axis=1),
        (normal(4, 5), normal(4, 3)),
    ),
    "stack": (lambda x, y: np.stack([x, y], axis=1), (normal(4, 5), normal(4, 5))),
    "split": (lambda x: np.split(x, 3, axis=1), (normal(4, 9),)),
    "flip": (lambda x: np.flip(x, axis=1) + x, (normal(5, 37),)),
    "roll": (lambda x: np.roll(x, 3, axis=1) - x, (normal(5, 37),)),
    "roll_both": (lambda x: np.roll(x, (1, -2), axis=(0, 1)), (normal(6, 21),)),
    "tile": (lambda x: np.tile(x, (2, 3)), (normal(3, 4),)),
    "repeat": (lambda x: np.repeat(x, 3, axis=0), (normal(5, 4),)),
    "pad": (lambda x: np.pad(x, ((1, 2), (3, 0))), (normal(5, 20),)),
    "pad_edge": (lambda x: np.pad(x, 2, mode="edge"), (normal(5, 9),)),
    "slice_steps": (lambda x: x[::-2, 1::3] * 2, (normal(11, 40),)),
    "stencil": (lambda x: x[2:] - 2 * x[1:-1] + x[:-2], (normal(70),)),
    "jacobi": (
        lambda x: np.pad(0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]), 1),
        (normal(19, 37),),
    ),
    "take": (lambda x, i: np.take(x, i, axis=0), (normal(9, 5), np.array([3, -1, 0, 8]))),
    "fancy_index": (lambda x, i: x[i, i], (normal(9, 9), np.array([3, -1, 0, 8]))),
    "take_along_axis": (
        lambda x, i: np.take_along_axis(x, i, axis=1),
        (normal(4, 9), RNG.integers(0, 9, (4, 3))),
    ),
    "bmm": (lambda x, y: x @ y, (normal(3, 8, 20), normal(3, 20, 33))),
    "matmul_transposed": (lambda x, y: x @ y.T, (normal(9, 40), normal(21, 40))),
    "matvec": (lambda x, y: x @ y, (normal(30, 70), normal(70))),
    "vecmat": (lambda x, y: x @ y, (normal(70), normal(70, 30))),
    "vdot": (lambda x, y: np.vdot(x, y), (normal(70), normal(70))),
    "inner": (lambda x, y: np.inner(x, y), (normal(3, 7), normal(4, 7))),
    "outer": (lambda x, y: np.outer(x, y), (normal(13), normal(21))),
    "tensordot": (
        lambda x, y: np.tensordot(x, y, axes=((1, 2), (0, 2))),
        (normal(4, 5, 6), normal(5, 7, 6)),
    ),
    "einsum_trace": (lambda x: np.einsum("ii->i", x), (normal(9, 9),)),
    "einsum_batch": (
        lambda x, y: np.einsum("bik,bkj->bji", x, y),
        (normal(2, 5, 6), normal(2, 6, 7)),
    ),
    "einsum_three": (
        lambda x, y, z: np.einsum("ij,jk,kl->il", x, y, z),
        (normal(4, 5), normal(5, 6), normal(6, 3)),
    ),
    "matmul_int": (lambda x, y: x @ y, (integers(5, 9), integers(9, 20))),
    "matmul_f64": (
        lambda x, y: x @ y,
        (normal(9, 33, dtype="float64"), normal(33, 20, dtype="float64")),
    ),
    "dense_gelu": (
        lambda x, w, b: 0.5 * (x @ w + b) * (1 + np.tanh(0.8 * (x @ w + b))),
        (normal(9, 30), normal(30, 41), normal(41)),
    ),
    "dense_relu": (
        lambda x, w, b: np.maximum(x @ w + b, 0),
        (normal(33, 20), normal(20, 70), normal(70)),
    ),
    "product_of_quantized_weights": (
        lambda x, q, s: x @ ((q.astype("float32") - 3) * s).T,
        (normal(40, 33), integers(50, 33, dtype="int8"), positive(50, 1)),
    ),
    "cumsum": (lambda x: np.cumsum(x, axis=1), (normal(4, 37),)),
    "cumprod": (lambda x: np.cumprod(x, axis=0), (positive(5, 6),)),
    "sort": (lambda x: np.sort(x, axis=1), (normal(4, 37),)),
    "argsort": (lambda x: np.argsort(x, axis=0), (normal(14, 7),)),
    "median_like": (lambda x: np.sort(x)[..., x.shape[-1] // 2], (normal(4, 37),)),
    "softmax": (
        lambda x: (
            np.exp(x - x.max(axis=1, keepdims=True))
            / np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
        ),
        (normal(9, 101),),
    ),
    "logsumexp": (
        lambda x: np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1)) + x.max(-1),
        (normal(9, 33),),
    ),
    "layernorm": (
        lambda x, g: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * g,
        (normal(9, 65), normal(65)),
    ),
    "normalize_columns": (lambda x: x / np.sqrt((x * x).sum(axis=0)), (normal(40, 35),)),
    "pairwise_distance": (
        lambda x, y: np.sqrt(((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)),
        (normal(7, 16), normal(9, 16)),
    ),
    "attention": (
        lambda q, k, v: (np.exp(q @ k.T) / np.exp(q @ k.T).sum(1, keepdims=True)) @ v,
        (unit(12, 8), unit(12, 8), normal(12, 8)),
    ),
    "logistic_step": (
        lambda w, x, y: w - 0.1 * (x.T @ (1 / (1 + np.exp(-(x @ w))) - y)) / 40,
        (normal(8), normal(40, 8), positive(40)),
    ),
    "life": (
        lambda s: sum(np.roll(s, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)) - s,
        (RNG.integers(0, 2, (9, 21)).astype("int8"),),
    ),
    "histogram_free": (lambda x: (x[:, None] == np.arange(5)).sum(axis=0), (integers(60) % 5,)),
    "mixed_dtypes": (lambda x, y: x * y + 1, (integers(33, dtype="int8"), normal(33))),
    "bool_mask_sum": (lambda x: (x > 0).sum() + x.size, (normal(77),)),
    "long_sum": (lambda x: x.sum(), (normal(5000),)),
    "long_sum_f64": (lambda x: x.sum(), (normal(3000, dtype="float64"),)),
    "sum_down_a_reshaped_slice": (
        lambda x: x[:, 1:, 2:].reshape(6, -1).sum(axis=0),
        (normal(6, 9, 8),),
    ),
    "max_down_a_transpose": (
        lambda x: (x.transpose(0, 2, 1).reshape(24, -1) * 2).max(axis=0),
        (normal(12, 6, 8),),
    ),
    "sum_down_a_gather": (
        lambda x: np.exp(np.take(x, np.array([3, 1, 2]), axis=2)).sum(axis=0),
        (normal(20, 5, 4),),
    ),
    "deviation_down_a_reshaped_slice": (
        lambda x: x[:, 1:].reshape(4, -1) - x[:, 1:].reshape(4, -1).mean(axis=0, keepdims=True),
        (normal(4, 9, 3, 5),),
    ),
    "tall_sum": (lambda x: x.sum(axis=0), (normal(300, 37),)),
    "zero_d": (lambda x, y: x * 2 + y, (np.float32(3), np.float32(4))),
    "empty": (lambda x: x * 2 + 1, (normal(0, 4),)),
    "empty_sum": (lambda x: x.sum(axis=0), (normal(0, 4),)),
    "many_outputs": (lambda x: (x + 1, x * 2, x.sum(), x), (normal(20),)),
    "same_output_twice": (lambda x: (x + 1, x + 1), (normal(20),)),
    "chain": (lambda x: np.sqrt(np.abs(x * 1.5 + 0.25) + 1) / (x * x + 2) - x, (normal(130),)),
    "moving_average": (
        lambda x: (x[:-4] + x[1:-3] + x[2:-2] + x[3:-1] + x[4:]) / 5,
        (normal(100),),
    ),
    "outer_exp": (lambda x, y: np.exp(-(x[:, None] + y[None, :])), (positive(11), positive(33))),
    "trapezoid": (lambda y: ((y[1:] + y[:-1]) / 2).sum(), (normal(90),)),
    "polyval": (lambda x: ((0.1 * x + 0.5) * x - 0.25) * x + 0.75, (normal(66),)),
}


def run_loops(program: Program, inputs: Inputs, captured: Inputs) -> list[Any]:
    """A program by the loop interpreter; library steps by NumPy."""
    memory: dict[Buffer, Any] = {}
    for buffer, value in zip((*program.inputs, *program.captured), (*inputs, *captured)):
        memory[buffer] = np.array(value, buffer.dtype).reshape(buffer.shape)
    for buffer in program.outputs:
        memory[buffer] = np.empty(buffer.shape, buffer.dtype)
    for buffer, place in program.places.items():
        memory[buffer] = memory[place].reshape(buffer.shape)
    for step in program.steps:
        for buffer in (*step.inputs, *step.outputs):
            if buffer not in memory:
                memory[buffer] = np.empty(buffer.shape, buffer.dtype)
        kernel = program.kernel(step)
        if kernel is not None:
            places = zip((*kernel.inputs, *kernel.outputs), (*step.inputs, *step.outputs))
            assert interpret_kernel(kernel, {own: memory[other] for own, other in places}) == 0
        else:
            (source,), (target,) = step.inputs, step.outputs
            memory[target][...] = getattr(np, step.op)(memory[source], axis=-1, kind="stable")
    return [memory[buffer] for buffer in program.outputs]


def flat(result: Any) -> list[Any]:
    items = result if isinstance(result, tuple | list) else [result]
    return [np.asarray(item) for item in items]


def assert_close(found: Any, expected: Any, what: str) -> None:
    """Equal dtype and shape; integers and bools exactly, floats to a few rounding errors."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    if expected.dtype.kind != "f":
        assert np.array_equal(found, expected), what
        return
    eps = np.finfo(expected.dtype).eps
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    assert np.allclose(found, expected, rtol=64 * eps, atol=64 * eps * scale, equal_nan=True), what


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_four_ways_agree(name: str) -> None:
    function, inputs = PROGRAMS[name]
    with np.errstate(all="ignore"):
        expected = flat(function(*inputs))
    graph = nl.jit(function).trace(*inputs).graph
    with nl.options(verify=True):
        made = optimize(graph, current_target())
    code = generate(made)
    assert made.program is not None and made.graph is not None
    interpreted = flat(interpret(graph, *inputs))
    loops = run_loops(made.program, inputs, made.graph.captured)
    compiled = flat(Executable(code, graph).run(*map(np.asarray, inputs)))
    for k, value in enumerate(expected):
        assert_close(interpreted[k], value, "graph interpreter")
        assert_close(loops[k], value, "loop interpreter")
        assert_close(compiled[k], value, "machine code")
        same = np.array_equal(compiled[k], loops[k], equal_nan=True)
        elementary = any(node.op in ELEMENTARY for node in made.graph.nodes)
        assert same or elementary, "machine code and the loops it was made from differ"


ELEMENTARY = {
    op.name for op in OPS.values() if op.kind == "map" and op.cost >= 12
}  # the interpreters take these from NumPy


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) >= 200
