"""What each array library makes of a workload; run as a script, it answers benchmarks/peers.py.

A library gives a namespace of NumPy's names, a step that compiles, arrays of its own, and a way to
wait for a result. Where it has one function for what a program spells out, or where its users would
write loops, that is timed instead: `own` holds such functions by the workloads' names.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import more_workloads  # noqa: F401  registers them
import numpy as np
from workloads import HEADS, WORKLOADS, Workload

Call = Callable[[], Any]
Function = Callable[..., Any]
MODULES = {"torch_compile": "torch"}  # of the libraries that are not called as their module is


class Namespace:
    """A module, and functions in place of some of its own or beside them."""

    def __init__(self, module: Any, **functions: Any) -> None:
        self.module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


@dataclass(frozen=True)
class Library:
    """How a library runs a workload."""

    namespace: Any
    compile: Callable[[Function], Function] = lambda function: function
    array: Callable[[Any], Any] = lambda array: array
    wait: Callable[[Any], Any] = lambda result: result
    own: Mapping[str, Function] = field(default_factory=dict)
    only_own: bool = False


def loop(count: int, body: Function, state: Any) -> Any:
    """`state = body(state)`, count times, as a loop of Python."""
    for _ in range(count):
        state = body(state)
    return state


# the libraries


def exact_erf(x: Any) -> Any:
    """The C library's, element by element."""
    return np.fromiter(map(math.erf, x.flat), x.dtype, x.size).reshape(x.shape)


def numpy_conv2d(x: Any, w: Any, padding: int, groups: int) -> Any:
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edges), w.shape[2:], axis=(2, 3))
    if groups == 1:
        product = np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3)))
        return np.ascontiguousarray(np.moveaxis(product, 3, 1))
    return np.einsum("nchwij,cij->nchw", windows, w[:, 0])


def numpy_bincount(places: Any, weights: Any, size: int) -> Any:
    return np.bincount(places, weights, size).astype(weights.dtype)


def numpy_namespace(erf: Function) -> Namespace:
    functions = {"bincount": numpy_bincount, "conv2d": numpy_conv2d, "loop": loop}
    return Namespace(np, erf=erf, **functions)


def open_numpy(workload: Workload) -> Library:
    """NumPy; its error function is SciPy's, since it has none."""
    try:
        erf = importlib.import_module("scipy.special").erf
    except ImportError:
        return Library(numpy_namespace(missing("NumPy has no erf, and SciPy is not installed")))
    return Library(numpy_namespace(erf))


def missing(reason: str) -> Function:
    """A function that a library does not have."""

    def call(*_: Any) -> Any:
        raise NotImplementedError(reason)

    return call


def open_neurlang(workload: Workload) -> Library:
    import neurlang as nl

    def bincount(places: Any, weights: Any, size: int) -> Any:
        return nl.scatter_add(nl.zeros(size, weights.dtype), places, weights)

    return Library(Namespace(nl, bincount=bincount, loop=loop), nl.jit)


def open_jax(workload: Workload) -> Library:
    import jax

    jax.clear_caches()
    jax.config.update("jax_enable_x64", workload.double)

    def conv2d(x: Any, w: Any, padding: int, groups: int) -> Any:
        edges = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(x, w, (1, 1), edges, feature_group_count=groups)

    def bincount(places: Any, weights: Any, size: int) -> Any:
        return jax.numpy.zeros(size, weights.dtype).at[places].add(weights)

    def repeat(count: int, body: Function, state: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda _, state: body(state), state)

    functions = {"bincount": bincount, "conv2d": conv2d, "loop": repeat}
    space = Namespace(jax.numpy, erf=jax.scipy.special.erf, **functions)
    return Library(space, jax.jit, jax.device_put, jax.block_until_ready)


def open_torch(workload: Workload) -> Library:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    space = Namespace(
        torch,
        astype=lambda x, dtype: x.to(getattr(torch, dtype)),
        bincount=lambda places, weights, size: torch.zeros(size).index_add(0, places, weights),
        conv2d=torch.nn.functional.conv2d,
        loop=loop,
        max=torch.amax,
        min=torch.amin,
        maximum=lambda x, y: torch.clamp(x, min=y),
        minimum=lambda x, y: torch.clamp(x, max=y),
        pad=lambda x, edges: torch.nn.functional.pad(x, [n for pair in edges[::-1] for n in pair]),
        permute_dims=torch.permute,
        take=lambda x, places, axis: torch.index_select(x, axis, places),
        take_along_axis=torch.take_along_dim,
        tensordot=lambda a, b, axes: torch.tensordot(a, b, dims=axes),
    )
    return Library(space, torch.no_grad(), torch.from_numpy, own=torch_functions(torch))


def torch_functions(torch: Any) -> dict[str, Function]:
    """What torch has one function for."""
    nn = torch.nn.functional

    def perceptron(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any) -> Any:
        for w, b in ((w1, b1), (w2, b2)):
            x = torch.relu(torch.addmm(b, x, w))
        return torch.addmm(b3, x, w3)

    def layer(x: Any, w: Any, b: Any) -> Any:
        return nn.gelu(torch.addmm(b, x, w), approximate="tanh")

    def attend(x: Any, wq: Any, wk: Any, wv: Any, wo: Any) -> Any:
        heads = (x.shape[0], HEADS, x.shape[1] // HEADS)
        q, k, v = ((x @ w).view(heads).transpose(0, 1)[None] for w in (wq, wk, wv))
        mixed = nn.scaled_dot_product_attention(q, k, v, is_causal=True)[0]
        return mixed.transpose(0, 1).reshape(x.shape) @ wo

    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        return nn.layer_norm(x, x.shape[1:], scale, shift, 1e-5)

    def transformer(x: Any, *parameters: Any) -> Any:
        wq, wk, wv, wo, scale1, shift1, scale2, shift2, w1, b1, w2, b2 = parameters
        x = x + attend(layer_norm(x, scale1, shift1), wq, wk, wv, wo)
        return x + torch.addmm(b2, layer(layer_norm(x, scale2, shift2), w1, b1), w2)

    exact = "donot_use_mm_for_euclid_dist"
    return {
        "gelu_tanh": lambda x: nn.gelu(x, approximate="tanh"),
        "gelu_erf": nn.gelu,
        "sigtanh": lambda x, y: torch.sigmoid(x) * torch.tanh(y),
        "mean_var": lambda x: torch.var_mean(x, 1, correction=0)[::-1],
        "softmax": lambda x: torch.softmax(x, 1),
        "layernorm": layer_norm,
        "l2norm": lambda x: torch.linalg.vector_norm(x, dim=1),
        "pdist": lambda a, b: torch.cdist(a, b, compute_mode=exact),
        "mlp_layer": layer,
        "mlp3": perceptron,
        "attention": attend,
        "transformer": transformer,
    }


def open_torch_compile(workload: Workload) -> Library:
    """The same functions compiled; nothing is taken from a cache, on disk or in memory."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(dir=os.environ["PEERS_SCRATCH"])
    os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = "0"
    os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
    import torch

    torch._dynamo.reset()  # or its limit of compilations of one function makes it run eagerly
    eager = open_torch(workload)

    def compiled(function: Function) -> Function:
        made = torch.compile(function, fullgraph=True, dynamic=False)
        return lambda *arrays: run(made, arrays)

    def run(made: Function, arrays: Any) -> Any:
        with torch.no_grad():
            return made(*arrays)

    return Library(eager.namespace, compiled, eager.array, own=eager.own)


def open_numba(workload: Workload) -> Library:
    """Loops by hand; the modules are run again, so that nothing in them is compiled yet."""
    loops: dict[str, Function] = {}
    for name in ("numba_loops", "numba_products", "numba_more"):
        loops |= importlib.reload(importlib.import_module(name)).LOOPS
    return Library(None, own=loops, only_own=True)


OPEN: dict[str, Callable[[Workload], Library]] = {
    "neurlang": open_neurlang,
    "numpy": open_numpy,
    "jax": open_jax,
    "torch": open_torch,
    "torch_compile": open_torch_compile,
    "numba": open_numba,
}


# running a workload


def own_function(library: Library, name: str) -> Function | None:
    """The function for `softmax_50k`, or else for `softmax`."""
    while name:
        if name in library.own:
            return library.own[name]
        name = name.rpartition("_")[0]
    return None


def prepare(name: str, workload: Workload) -> Call:
    """A call of a workload in a library, on arrays of its own; nothing is compiled yet."""
    library = OPEN[name](workload)
    own = own_function(library, workload.name)
    if own is None and library.only_own:
        raise NotImplementedError("no loops are written for it")
    if own is None:
        program = library.compile(lambda *xs: workload.program(library.namespace, *xs))
    else:
        program = library.compile(own)
    arrays = [library.array(array) for array in workload.make_arguments()]
    return lambda: library.wait(program(*arrays))


def flat(result: Any) -> list[Any]:
    """The arrays of a result, as NumPy's."""
    parts = result if isinstance(result, tuple | list) else (result,)
    return [np.asarray(part) for part in parts]


def reference(workload: Workload) -> list[Any]:
    """The result in float64, by NumPy."""
    arrays = workload.make_arguments()
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    with np.errstate(all="ignore"):
        return flat(workload.program(numpy_namespace(exact_erf), *wide))


def difference(found: list[Any], wanted: list[Any], workload: Workload) -> str:
    """What is wrong with a result; nothing where it is right."""
    if [a.shape for a in found] != [a.shape for a in wanted]:
        return f"shapes {[a.shape for a in found]}"
    for one, other in zip(found, wanted):
        wide = other.astype(np.float64)
        bound = workload.tolerance * (np.abs(wide) + np.sqrt(np.mean(np.square(wide))))
        far = np.mean(~(np.abs(one.astype(np.float64) - wide) <= bound))
        if far > workload.loose:
            return f"{far:.1%} of the elements differ"
    return ""


def processor_seconds() -> float:
    """Of this process, and of the compilers that it has started and that have ended."""
    own, ended = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def first_call(call: Call, workload: Workload, file: str) -> dict[str, Any]:
    """Seconds and processor seconds from trace to result, and what is wrong with it."""
    busy, begun = processor_seconds(), time.perf_counter()
    result = call()
    wall, processor = time.perf_counter() - begun, processor_seconds() - busy
    with np.load(file) as saved:
        wanted = [saved[key] for key in saved]
    wrong = difference(flat(result), wanted, workload)
    return {"first": wall, "processor": processor, "problem": wrong}


def least_time(call: Call, budget: float) -> float:
    """Of a slice of calls, the shortest; short calls in batches."""
    call()
    begun = time.perf_counter()
    call()
    batch = max(1, min(200, int(budget / 40 / max(time.perf_counter() - begun, 1e-7))))
    least, end = math.inf, time.perf_counter() + budget
    while time.perf_counter() < end or least == math.inf:
        begun = time.perf_counter()
        for _ in range(batch):
            call()
        least = min(least, (time.perf_counter() - begun) / batch)
    return least


def main(library: str) -> None:
    """Answer lines of JSON: ["version"], ["first", workload, file], ["time", seconds]."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no reply
    np.seterr(all="ignore")
    call: Call = missing("nothing is prepared")
    for line in sys.stdin:
        what, *more = json.loads(line)
        try:
            if what == "version":
                module = importlib.import_module(MODULES.get(library, library))
                reply: dict[str, Any] = {"version": str(module.__version__)}
            elif what == "first":
                name, file = more
                call = missing("nothing is prepared")  # the arrays before are freed
                call = prepare(library, WORKLOADS[name])
                reply = first_call(call, WORKLOADS[name], file)
            else:
                reply = {"seconds": least_time(call, *more)}
        except Exception as error:  # what a peer cannot do is left out, and the report says why
            reply = {"problem": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
