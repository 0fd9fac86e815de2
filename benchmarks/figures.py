"""What calls of small functions cost; products of matrices and sorts beside NumPy's.

    python benchmarks/figures.py            # all, about a minute
    python benchmarks/figures.py calls      # some of them: calls, products, sorts
    python benchmarks/figures.py --small    # the least that shows that it works

Times are the least of several runs in one process.
"""

from __future__ import annotations

import argparse
import timeit
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

import neurlang as nl


def ones(*shape: int) -> Any:
    return np.ones(shape, "float32")


def best(call: Callable[[], Any], seconds: float) -> float:
    """The least time of one call."""
    call()
    once = max(1e-8, min(timeit.repeat(call, number=1, repeat=3)))
    number = max(1, int(0.01 / once))
    repeats = max(3, int(seconds / (number * once)))
    return min(timeit.repeat(call, number=number, repeat=repeats)) / number


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells: str) -> None:
    row(*cells)
    print("|" + "---|" * len(cells))


Point = namedtuple("Point", "x y")


def cases() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """Calls that do next to nothing: the function, its arguments."""
    a, small, square = ones(16), np.ones(16, "int8"), ones(4, 8)
    four = {name: ones(16) for name in "wbuv"}
    return {
        "`a + b`": (lambda a, b: a + b, (a, a), {}),
        "`a + b, c * d`": (lambda a, b, c, d: (a + b, c * d), (a, a, a, a), {}),
        "`a * s`, s a Python float": (lambda a, s: a * s, (a, 2.0), {}),
        "`a + n`, a int8, n a Python int": (lambda a, n: a + n, (small, 2), {}),
        "`a * s`, s a float32 scalar": (lambda a, s: a * s, (a, np.float32(2)), {}),
        "`a * s`, s by name": (lambda a, s: a * s, (a,), {"s": 2.0}),
        "`a.sum()`": (lambda a: a.sum(), (a,), {}),
        "a dict of 4 arrays": (lambda p: p["w"] + p["b"] * p["u"] - p["v"], (four,), {}),
        "the same, a dict of 4 as result": (lambda p: {k: p[k] * 2 for k in p}, (four,), {}),
        "a named tuple, and one as result": (lambda p: Point(p.y, p.x), (Point(a, a),), {}),
        "a transposed array": (lambda a: a * 2, (square.T,), {}),
        "an array with strides": (lambda a: a * 2, (square[:, ::2],), {}),
        "a reversed array": (lambda a: a * 2, (a[::-1],), {}),
        "a lazy array whose value is known": (lambda a: a * 2, (nl.asarray(a),), {}),
    }


def turns() -> Callable[[], Any]:
    """Two calls, each of another shape than the one before."""
    jitted = nl.jit(lambda a: a * 2, cache=False)
    a, b = ones(16), ones(17)
    return lambda: (jitted(a), jitted(b))


def static() -> Callable[[], Any]:
    """A call with two static arguments."""
    jitted = nl.jit(lambda a, n, how: a * n, static_argnames=("n", "how"), cache=False)
    a = ones(16)
    return lambda: jitted(a, 2, "up")


def lazy_run(seconds: float) -> float:
    """The time that a lazy `a + b` takes to run, once it is recorded."""
    a, b = nl.asarray(ones(16)), nl.asarray(ones(16))
    count = max(1, int(seconds * 1e3))
    times = []
    for _ in range(20):
        recorded = iter([a + b for _ in range(count)])
        times.append(timeit.timeit(lambda: next(recorded).execute(), number=count))  # noqa: B023  # called at once
    return min(times) / count


def calls(small: bool) -> None:
    """What a call costs besides its work; the lambda that makes it is taken off."""
    a = ones(16)
    seconds = 1e-3 if small else 0.3
    empty = best(lambda: None, seconds)
    head("call on 16 floats", "ns")
    row("`numpy.add`", f"{(best(lambda: np.add(a, a), seconds) - empty) * 1e9:.0f}")
    for name, (function, args, kwargs) in cases().items():
        jitted = nl.jit(function, cache=False)
        if kwargs:
            taken = best(lambda f=jitted, a=args[0], s=kwargs["s"]: f(a, s=s), seconds)
        else:
            taken = best(lambda f=jitted, args=args: f(*args), seconds)
        row(name, f"{(taken - empty) * 1e9:.0f}")
    row("two static arguments, 2 and `'up'`", f"{(best(static(), seconds) - empty) * 1e9:.0f}")
    row("two shapes that take turns, each", f"{(best(turns(), seconds) - empty) / 2 * 1e9:.0f}")
    with nl.options(threads=1):
        jitted = nl.jit(lambda a, b: a + b, cache=False)
        inside = best(lambda: jitted(a, a), seconds)
    row("`a + b` inside of `nl.options`", f"{(inside - empty) * 1e9:.0f}")
    row("a lazy `a + b`: its run", f"{lazy_run(seconds) * 1e9:.0f}")


def products(small: bool) -> None:
    """Products of matrices against NumPy's BLAS, interleaved."""
    head("m, k, n", "neurlang, GFLOP/s", "NumPy, GFLOP/s")
    sizes = [(n, n, n) for n in (32, 64, 128, 256, 512, 1024, 2048)]
    sizes += [(8, 4096, 4096), (32, 512, 512), (256, 784, 512)]
    for m, k, n in sizes[:1] if small else sizes:
        a, b = np.random.rand(m, k).astype("f4"), np.random.rand(k, n).astype("f4")
        product = nl.jit(np.matmul, cache=False)
        ours = theirs = 1e9
        for _ in range(3):
            ours = min(ours, best(lambda: product(a, b), 0.1))  # noqa: B023  # called at once
            theirs = min(theirs, best(lambda: np.matmul(a, b), 0.1))  # noqa: B023
        work = 2e-9 * m * k * n
        row(f"{m}, {k}, {n}", f"{work / ours:.0f}", f"{work / theirs:.0f}")


def numpys_largest(x: Any, count: int) -> tuple[Any, Any]:
    """What `nl.top_k` gives, but for the order of equal elements."""
    places = np.argpartition(x, x.shape[-1] - count, axis=-1)[..., -count:]
    values = np.take_along_axis(x, places, -1)
    order = np.argsort(-values, axis=-1)
    return np.take_along_axis(values, order, -1), np.take_along_axis(places, order, -1)


def sorts(small: bool) -> None:
    """Stable sorts of the last axis, in NumPy's time for its fastest, which are not stable."""
    head("normally distributed", "sort", "argsort", "top_k, 10")
    rng = np.random.default_rng(0)
    shapes = [(1000,), (100_000,), (1_000_000,), (1000, 1000), (20_000, 50)]
    pairs: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
        (nl.jit(np.sort, cache=False), np.sort),
        (nl.jit(np.argsort, cache=False), np.argsort),
        (nl.jit(lambda x: nl.top_k(x, 10), cache=False), lambda x: numpys_largest(x, 10)),
    ]
    for dtype in ("float32", "float64", "int16", "int32", "int64"):
        for shape in shapes[:1] if small else shapes:
            x = (rng.standard_normal(shape) * 1e4).astype(dtype)
            ratios = []
            for ours, theirs in pairs:
                found = [1e9, 1e9]
                for _ in range(1 if small else 3):
                    for place, sort in enumerate((ours, theirs)):
                        seconds = best(lambda: sort(x), 0.03)  # noqa: B023  # called at once
                        found[place] = min(found[place], seconds)
                ratios.append(f"{found[0] / found[1]:.2f}")
            row(f"{dtype} {' x '.join(map(str, shape))}", *ratios)


GROUPS = {"calls": calls, "products": products, "sorts": sorts}


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls of small functions; products; sorts.")
    parser.add_argument("groups", nargs="*", default=list(GROUPS), help=", ".join(GROUPS))
    parser.add_argument("--small", action="store_true", help="the least that shows that it works")
    chosen = parser.parse_args()
    for name in chosen.groups:
        GROUPS[name](chosen.small)
        print()


if __name__ == "__main__":
    main()
