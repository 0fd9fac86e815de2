"""Random graphs and random inputs for them, from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurlang.ir.graph import Graph, Node, make_constant, make_node
from neurlang.ir.ops import CUMULATIVE, MAPS, OPS, SCATTER_MODES
from neurlang.ir.types import NAMES, Shape, Type

DTYPES = tuple(np.dtype(name) for name in NAMES.values())
INT64 = np.dtype("int64")
ELEMENTARY = frozenset(
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh "
    "atanh cbrt erf erfc gelu sigmoid atan2 hypot logaddexp logaddexp2".split()
)
# Ops that carry a bound of the error of their arguments on to their result.
SMOOTH = frozenset(
    "neg add sub mul max min reduce_sum reduce_max reduce_min reshape transpose broadcast slice "
    "pad concat gather update".split()
)
# Ops whose result has bits that no promise fixes: rounding, or which zero a maximum gives.
LOOSE = ELEMENTARY | {"max", "min", "reduce_max", "reduce_min", "reduce_sum", "reduce_prod", "dot"}
SIZES = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67)
SMALL_SIZES = (1, 1, 2, 3, 4, 5, 7)
LAYOUTS = ("C", "F", "strided", "reversed", "misaligned", "readonly", "transposed")


def is_loose(node: Node) -> bool:
    """Whether the op itself leaves bits of its result open."""
    if node.dtype.kind != "f":
        return False
    if node.op in ("cumulative", "scatter"):
        mode = node.attrs["op"] if node.op == "cumulative" else node.attrs["mode"]
        return mode in ("max", "min")
    return node.op in LOOSE or (node.op == "pow")


def is_smooth(node: Node) -> bool:
    """Whether errors of float arguments pass through with a bound that the oracle knows."""
    if node.op == "cast":
        return node.dtype.kind == "f" and node.args[0].dtype.kind == "f"
    return node.op in SMOOTH


@dataclass
class Case:
    """A graph and arrays for its parameters."""

    graph: Graph
    inputs: tuple[Any, ...]


class Generator:
    """Grows one graph node by node."""

    def __init__(self, seed: int, most_elements: int = 4096) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.most = most_elements
        self.nodes: list[Node] = []
        self.params: list[Node] = []
        self.loose: set[Node] = set()
        self.forced: dict[Node, None] = {}
        self.sizes = [self.random.choice(SIZES), self.random.choice(SMALL_SIZES)]
        self.sizes.append(self.random.choice((*SIZES, *SMALL_SIZES)))
        self.dtypes = [*self.random.sample(DTYPES, 2), np.dtype("float32")]
        self.special = self.random.choice((0.0, 0.0, 0.02, 0.3))
        self.scale = self.random.choice((1.0, 3.0, 100.0, 1e4))

    def case(self, count: int) -> Case:
        """A graph of about `count` nodes, and inputs."""
        for _ in range(self.random.randint(1, 3)):
            self.param(self.shape(), self.random.choice(self.dtypes))
        makers = list(MAKERS)
        weights = [MAKERS[maker] for maker in makers]
        while len(self.nodes) < count:
            (maker,) = self.random.choices(makers, weights)
            maker(self)
        used = {arg for node in self.nodes for arg in node.args}
        ends = [node for node in self.nodes if node not in used and node.op != "param"]
        if self.random.random() < 0.3:
            ends.append(self.random.choice(self.nodes))
        outputs = tuple(dict.fromkeys((*self.forced, *(ends or self.nodes[-1:]))))
        rest = [node for node in self.nodes if node.op != "param"]
        graph = Graph("fuzz", tuple(self.params), (*self.params, *rest), outputs)
        return Case(graph, tuple(self.values(param.type) for param in self.params))

    # leaves

    def shape(self) -> Shape:
        rank = self.random.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))
        shape = [self.random.choice(self.sizes) for _ in range(rank)]
        while math.prod(shape) > self.most:
            shape[self.random.randrange(rank)] = self.random.choice(SMALL_SIZES)
        return tuple(shape)

    def param(self, shape: Shape, dtype: Any) -> Node:
        name = f"x{len(self.params)}"
        node = Node("param", (), {"name": name}, Type(dtype, shape))
        self.params.append(node)
        self.nodes.append(node)
        return node

    def leaf(self, shape: Shape, dtype: Any) -> Node:
        """A parameter, a constant or an index."""
        choice = self.random.random()
        if choice < 0.2 and shape and dtype.kind in "iuf":
            axis = self.random.randrange(len(shape))
            return self.add("iota", [], dtype=dtype, shape=shape, axis=axis)
        if choice < 0.4:
            value = self.values(Type(dtype, ()))
            return self.listed(make_constant(value, Type(dtype, shape)))
        if choice < 0.5 and math.prod(shape) <= 64:
            return self.listed(make_constant(self.values(Type(dtype, shape))))
        return self.param(shape, dtype)

    def values(self, type: Type) -> Any:
        """Random values of a type, some of them special."""
        dtype, shape = type.dtype, type.shape
        pick = self.numbers.random(shape) < self.special
        if dtype.kind == "b":
            return np.asarray(self.numbers.random(shape) < 0.5)
        specials = special_values(dtype)
        chosen = specials[self.numbers.integers(0, len(specials), shape)]
        if dtype.kind == "f":
            plain = self.numbers.normal(0, self.scale, shape).astype(dtype)
        else:
            info = np.iinfo(dtype)
            low, high = max(info.min, -100), min(info.max, 100)
            plain = self.numbers.integers(low, high, shape, dtype, endpoint=True)
        return np.asarray(np.where(pick, chosen, plain), dtype)

    # nodes

    def listed(self, node: Node) -> Node:
        self.nodes.append(node)
        if is_loose(node) or any(a in self.loose and a not in self.forced for a in node.args):
            if node.dtype.kind == "f":
                self.loose.add(node)
        return node

    def add(self, op: str, args: Sequence[Node], /, **attrs: Any) -> Node:
        """A node; loose arguments of what is not smooth become outputs, which fixes their bits."""
        node = make_node(op, args, **attrs)
        if not is_smooth(node):
            for arg in args:
                if arg in self.loose:
                    self.forced[arg] = None
        return self.listed(node)

    def any(self, accepts: str = "biuf", least_rank: int = 0) -> Node:
        """An earlier node, late ones more often, of a dtype kind and rank that fits."""
        fits = [n for n in self.nodes if n.dtype.kind in accepts and len(n.shape) >= least_rank]
        if fits and self.random.random() < 0.9:
            position = int(len(fits) * math.sqrt(self.random.random()))
            return fits[min(position, len(fits) - 1)]
        dtypes = [d for d in self.dtypes if d.kind in accepts]
        dtypes = dtypes or [d for d in DTYPES if d.kind in accepts]
        shape = self.shape()
        while len(shape) < least_rank:
            shape = (*shape, self.random.choice(SMALL_SIZES))
        return self.leaf(shape, self.random.choice(dtypes))

    def like(self, shape: Shape, dtype: Any) -> Node:
        """A node of this type: an earlier one, perhaps cast or brought to the shape, or a leaf."""
        candidates = [n for n in self.nodes if fits_broadcast(n.shape, shape)]
        if not candidates or self.random.random() < 0.25:
            return self.leaf(shape, dtype)
        node = self.random.choice(candidates)
        if node.dtype != dtype:
            node = self.add("cast", [node], dtype=dtype)
        if node.shape != shape:
            node = self.add("broadcast", [node], shape=shape)
        return node

    def index(self, shape: Shape, size: int) -> Node:
        """Indices in range, counted from either end."""
        if self.random.random() < 0.5 and math.prod(shape) <= 64:
            return self.listed(make_constant(self.numbers.integers(-size, size, shape)))
        source = self.like(shape, INT64)
        bound = self.listed(make_constant(np.int64(size), Type(INT64, shape)))
        return self.add("mod", [source, bound])


def fits_broadcast(shape: Shape, wanted: Shape) -> bool:
    """Whether an array of `shape` broadcasts to `wanted`."""
    kept = wanted[len(wanted) - len(shape) :] if len(shape) <= len(wanted) else None
    return kept is not None and all(n in (1, w) for n, w in zip(shape, kept))


def special_values(dtype: Any) -> Any:
    """NaN, infinities, zeros, subnormals, extremes; for integers the ends and near them."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        values = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.nan, np.inf, -np.inf, limits.max, -limits.max]
        values += [limits.tiny, -limits.tiny, limits.smallest_subnormal, -limits.smallest_subnormal]
        values += [2.0**31, -(2.0**31), 2.0**53, 2.0**63, 2.0**64, 1e30, 1.5 * limits.tiny]
        return np.array(values, dtype)
    info = np.iinfo(dtype)
    bits = 8 * dtype.itemsize
    values = [0, 1, 2, 3, info.max, info.max - 1, info.min, info.min + 1, bits, bits - 1]
    values += [] if dtype.kind == "u" else [-1, -2]
    return np.array(values, dtype)


# what the generator may add, one function a kind


def add_unary(g: Generator) -> None:
    op = g.random.choice([o for o in MAPS if o.arity == 1 and o.name not in ("cast", "bitcast")])
    g.add(op.name, [g.any(op.accepts)])


def add_binary(g: Generator) -> None:
    op = g.random.choice([o for o in MAPS if o.arity == 2 and o.name != "copysign"])
    left = g.any(op.accepts)
    args = [left, g.like(left.shape, left.dtype)]
    if g.random.random() < 0.3:
        args.reverse()
    if op.name == "pow" and left.dtype.kind == "i":  # a negative exponent is an error
        largest = make_constant(left.dtype.type(np.iinfo(left.dtype).max), args[1].type)
        args[1] = g.add("and", [args[1], g.listed(largest)])
    g.add(op.name, args)


def add_arithmetic(g: Generator) -> None:
    left = g.any("iuf")
    op = g.random.choice(("add", "sub", "mul", "max", "min"))
    g.add(op, [left, g.like(left.shape, left.dtype)])


def add_where(g: Generator) -> None:
    left = g.any()
    condition = g.like(left.shape, np.dtype("bool"))
    g.add("where", [condition, left, g.like(left.shape, left.dtype)])


def add_cast(g: Generator) -> None:
    g.add("cast", [g.any()], dtype=g.random.choice(DTYPES))


def add_bits(g: Generator) -> None:
    """Only of parameters: the sign and payload of a computed NaN are free."""
    params = [p for p in g.params if p.dtype.itemsize >= 4 and p.dtype.kind in "iuf"]
    if not params:
        return
    param = g.random.choice(params)
    width = param.dtype.itemsize
    if param.dtype.kind == "f" and g.random.random() < 0.5:
        g.add("copysign", [g.like(param.shape, param.dtype), param])
        return
    others = [d for d in DTYPES if d.itemsize == width and d.kind in "iuf" and d != param.dtype]
    g.add("bitcast", [param], dtype=g.random.choice(others))


def add_reduce(g: Generator) -> None:
    names = "reduce_sum reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or "
    op = g.random.choice((names + "argmax argmin").split())
    source = g.any(OPS[op].accepts)
    rank = len(source.shape)
    axes = tuple(sorted(g.random.sample(range(rank), g.random.randint(min(1, rank), rank))))
    empty = any(source.shape[axis] == 0 for axis in axes)
    if not (empty and op in ("reduce_max", "reduce_min", "argmax", "argmin")):
        g.add(op, [source], axes=axes)


def add_normalised(g: Generator) -> None:
    """A row program: reduce an axis, broadcast the result back, combine."""
    source = g.any("f", 1)
    axis = g.random.randrange(len(source.shape))
    if source.shape[axis] == 0:
        return
    op = g.random.choice(("reduce_sum", "reduce_max", "reduce_min"))
    reduced = g.add(op, [source], axes=(axis,))
    kept = (*source.shape[:axis], 1, *source.shape[axis + 1 :])
    spread = g.add("broadcast", [g.add("reshape", [reduced], shape=kept)], shape=source.shape)
    g.add(g.random.choice(("sub", "add", "mul", "max")), [source, spread])


def add_reshape(g: Generator) -> None:
    source = g.any()
    size = math.prod(source.shape)
    shape: list[int] = []
    while size > 1 and len(shape) < 3 and g.random.random() < 0.7:
        factor = g.random.choice([k for k in range(1, size + 1) if size % k == 0][:12])
        shape.append(factor)
        size //= factor
    shape.insert(g.random.randint(0, len(shape)), size)
    if not g.random.randrange(4):
        shape.insert(g.random.randint(0, len(shape)), 1)
    g.add("reshape", [source], shape=tuple(shape) if source.shape or len(shape) > 1 else ())


def add_transpose(g: Generator) -> None:
    source = g.any("biuf", 1)
    axes = list(range(len(source.shape)))
    g.random.shuffle(axes)
    g.add("transpose", [source], axes=tuple(axes))


def add_broadcast(g: Generator) -> None:
    source = g.any()
    shape = [g.random.choice(SMALL_SIZES) if n == 1 else n for n in source.shape]
    if g.random.random() < 0.5:
        shape.insert(0, g.random.choice(SMALL_SIZES))
    if math.prod(shape) <= 2 * g.most:
        g.add("broadcast", [source], shape=tuple(shape))


def region(g: Generator, shape: Shape) -> tuple[Shape, Shape, Shape]:
    """Start, size and step of a region inside a shape."""
    starts, sizes, steps = [], [], []
    for extent in shape:
        step = g.random.choice((1, 1, 1, 2, 3, -1, -2))
        start = g.random.randrange(extent) if extent and g.random.random() < 0.7 else 0
        if step < 0 and extent and g.random.random() < 0.5:
            start = extent - 1
        room = 0
        if extent:
            room = (extent - 1 - start) // step + 1 if step > 0 else start // -step + 1
        size = (
            room if g.random.random() < 0.6 else g.random.randint(0 if room > 8 else 1, room or 1)
        )
        starts.append(start)
        sizes.append(min(size, room))
        steps.append(step)
    return tuple(starts), tuple(sizes), tuple(steps)


def add_slice(g: Generator) -> None:
    source = g.any("biuf", 1)
    start, size, step = region(g, source.shape)
    g.add("slice", [source], start=start, size=size, step=step)


def add_window(g: Generator) -> None:
    source = g.any("biuf", 1)
    axes = [axis for axis, extent in enumerate(source.shape) if extent]
    axes = g.random.sample(axes, min(len(axes), g.random.choice((1, 1, 2))))
    if not axes or source.type.size > 2000:
        return
    dilation = tuple(g.random.choice((1, 1, 2)) for _ in axes)
    size = tuple(
        g.random.randint(1, min(4, (source.shape[axis] - 1) // apart + 1))
        for axis, apart in zip(axes, dilation)
    )
    step = tuple(g.random.choice((1, 1, 2, 3)) for _ in axes)
    g.add("window", [source], axes=tuple(axes), size=size, step=step, dilation=dilation)


def add_update(g: Generator) -> None:
    source = g.any("biuf", 1)
    start, size, step = region(g, source.shape)
    g.add("update", [source, g.like(size, source.dtype)], start=start, step=step)


def add_pad(g: Generator) -> None:
    source = g.any("biuf", 1)
    low = tuple(g.random.choice((0, 0, 1, 2, 5)) for _ in source.shape)
    high = tuple(g.random.choice((0, 0, 1, 3)) for _ in source.shape)
    value = g.values(Type(source.dtype, ()))[()].item()
    if math.prod(n + a + b for n, a, b in zip(source.shape, low, high)) <= 2 * g.most:
        g.add("pad", [source], low=low, high=high, value=value)


def add_concat(g: Generator) -> None:
    first = g.any("biuf", 1)
    axis = g.random.randrange(len(first.shape))
    parts = [first]
    for _ in range(g.random.randint(1, 2)):
        size = g.random.choice((*g.sizes, 1))
        shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
        if math.prod(shape) <= g.most:
            parts.append(g.like(shape, first.dtype))
    g.random.shuffle(parts)
    g.add("concat", parts, axis=axis)


def add_dot(g: Generator) -> None:
    left = g.any("biuf" if g.random.random() < 0.2 else "f", 2)
    if math.prod(left.shape) > 2 * g.most:
        return
    if g.random.random() < 0.3:
        axes = (*range(len(left.shape) - 2), len(left.shape) - 1, len(left.shape) - 2)
        left = g.add("transpose", [left], axes=axes)
    columns = g.random.choice(g.sizes)
    shape = (*left.shape[:-2], left.shape[-1], columns)
    if g.random.random() < 0.3:
        swapped = (*shape[:-2], columns, shape[-2])
        axes = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        right = g.add("transpose", [g.like(swapped, left.dtype)], axes=axes)
    else:
        right = g.like(shape, left.dtype)
    g.add("dot", [left, right])


def add_gather(g: Generator) -> None:
    source = g.any("biuf", 1)
    axis = g.random.randrange(len(source.shape))
    sizes = source.shape[axis : g.random.randint(axis + 1, len(source.shape))]
    shape = tuple(g.random.choice(SMALL_SIZES) for _ in range(g.random.randint(0, 2)))
    rest = math.prod(source.shape) // (math.prod(sizes) or 1)
    if math.prod(sizes) and rest * math.prod(shape) <= 2 * g.most:
        g.add("gather", [source, *[g.index(shape, size) for size in sizes]], axis=axis)


def add_scatter(g: Generator) -> None:
    base = g.any("iuf", 1)
    if not base.shape[0] or math.prod(base.shape) > 2 * g.most:
        return
    shape = tuple(g.random.choice(SMALL_SIZES) for _ in range(g.random.randint(0, 2)))
    values = g.like((*shape, *base.shape[1:]), base.dtype)
    mode = g.random.choice(SCATTER_MODES)
    g.add("scatter", [base, g.index(shape, base.shape[0]), values], mode=mode)


def add_order(g: Generator) -> None:
    op = g.random.choice(("sort", "argsort", "cumulative", "cumulative"))
    source = g.any("iuf" if op == "cumulative" else "biuf", 1)
    if op == "cumulative":
        axis = g.random.randrange(len(source.shape))
        g.add(op, [source], op=g.random.choice(list(CUMULATIVE)), axis=axis)
    else:
        g.add(op, [source])


def add_leaf(g: Generator) -> None:
    g.leaf(g.shape(), g.random.choice(g.dtypes))


MAKERS: dict[Callable[[Generator], None], int] = {
    add_unary: 8,
    add_binary: 12,
    add_arithmetic: 6,
    add_where: 4,
    add_cast: 4,
    add_bits: 1,
    add_reduce: 8,
    add_normalised: 3,
    add_reshape: 4,
    add_transpose: 4,
    add_broadcast: 3,
    add_slice: 5,
    add_window: 2,
    add_update: 3,
    add_pad: 3,
    add_concat: 3,
    add_dot: 4,
    add_gather: 3,
    add_scatter: 2,
    add_order: 3,
    add_leaf: 1,
}


def random_case(seed: int, large: bool = False) -> Case:
    """The case of a seed: mostly small, sometimes (or always) large enough for several threads."""
    chooser = random.Random(-seed - 1)
    large = large or chooser.random() < 0.01
    generator = Generator(seed, 300_000 if large else chooser.choice((64, 512, 4096)))
    if large:
        generator.sizes = [chooser.choice((1000, 1025, 4099)), chooser.choice((31, 100, 257))]
    return generator.case(chooser.randint(3, 14))


def with_layout(array: Any, layout: str) -> Any:
    """The same values otherwise arranged in memory."""
    match layout:
        case "F" if array.ndim:
            return np.asfortranarray(array)
        case "strided" if array.ndim:
            wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
            wide[..., 1::2] = array
            return wide[..., 1::2]
        case "reversed" if array.ndim:
            return np.ascontiguousarray(array[::-1])[::-1]
        case "misaligned":
            memory = np.zeros(array.nbytes + 1, np.uint8)
            shifted = memory[1:].view(array.dtype).reshape(array.shape)
            shifted[...] = array
            return shifted
        case "readonly":
            array = array.copy()
            array.flags.writeable = False
            return array
        case "transposed" if array.ndim >= 2:
            return np.ascontiguousarray(array.swapaxes(0, -1)).swapaxes(0, -1)
    return array
