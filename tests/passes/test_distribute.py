"""distribute: a vector loop that finds places, a serial one that stores; and parts for threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neurlang as nl
from neurlang import executable
from neurlang.ir.loops import For, Kernel, walk
from neurlang.passes.loops import choose

GENERATOR = np.random.default_rng(0)
AT = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
DTYPES = ("bool", "int8", "int32", "uint16", "uint64", "float32", "float64")


def expected(base: Any, indices: Any, values: Any, mode: str) -> Any:
    """NumPy's own, in float64 where additions round."""
    wide = base.astype(np.float64) if base.dtype.kind == "f" else base.copy()
    if mode == "set":
        wide[indices] = values  # the last one stays
    else:
        AT[mode].at(wide, indices, values)
    return wide.astype(base.dtype)


def scatter(base: Any, indices: Any, values: Any, mode: str) -> Any:
    with nl.options(verify=True, cache="off"):
        return nl.jit(lambda b, i, v: nl.scatter(b, i, v, mode))(base, indices, values)


def arguments(dtype: str, count: int, size: int) -> tuple[Any, Any, Any]:
    indices = GENERATOR.integers(-size, size, count).astype(np.int32)
    if dtype == "bool":
        return np.zeros(size, bool), indices, GENERATOR.integers(0, 2, count) > 0
    if dtype.startswith("float"):
        return tuple(
            x.astype(dtype) if x is not indices else x
            for x in (GENERATOR.normal(1, 0.001, size), indices, GENERATOR.normal(1, 0.001, count))
        )
    base, values = GENERATOR.integers(0, 3, size), GENERATOR.integers(0, 3, count)
    return base.astype(dtype), indices, values.astype(dtype)


@pytest.mark.parametrize("mode", ["set", *AT])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [100, 256, 1000, 70_001])
def test_values(mode: str, dtype: str, count: int) -> None:
    if dtype == "bool" and mode in AT:
        pytest.skip("bools have no such modes")
    base, indices, values = arguments(dtype, count, 50)
    found = scatter(base, indices, values, mode)
    wanted = expected(base, indices, values, mode)
    assert found.dtype == wanted.dtype
    if base.dtype.kind != "f" or mode not in ("add", "mul"):
        np.testing.assert_array_equal(found, wanted)
    else:
        tolerance = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, wanted, rtol=tolerance)


def test_negative_zero_stays_where_nothing_is_added() -> None:
    base = np.full(10, -0.0, np.float32)
    indices = GENERATOR.integers(0, 9, 70_000)
    found = scatter(base, indices, np.ones(70_000, np.float32), "add")
    assert np.signbit(found[9]) and not np.signbit(found[:9]).any()


def test_nan_wins_in_every_part() -> None:
    values = np.ones(70_000, np.float32)
    values[[5, 69_999]] = np.nan
    found = scatter(np.zeros(4, np.float32), np.arange(70_000) % 4, values, "max")
    np.testing.assert_array_equal(found, [1, np.nan, 1, np.nan])


@pytest.mark.parametrize("position", [0, 12_345, 69_999])
def test_an_index_out_of_range_is_an_error(position: int) -> None:
    indices = np.arange(70_000) % 50
    indices[position] = 50
    with pytest.raises(nl.IndexingError):
        scatter(np.zeros(50), indices, np.ones(70_000), "add")
    indices[position] = -51
    with pytest.raises(nl.IndexingError):
        scatter(np.zeros(50), indices, np.ones(70_000), "set")


def test_threads_do_not_show() -> None:
    base, indices, values = arguments("float32", 300_000, 1000)
    found = []
    for threads in (1, 2, 3, 8):
        executable.clear()
        function = nl.jit(lambda b, i, v: nl.scatter_add(b, i, v), threads=threads, cache=False)
        found.append(function(base, indices, values).tobytes())
    assert len(set(found)) == 1


def test_computed_values_and_places() -> None:
    x = GENERATOR.normal(size=(2, 40_000)).astype(np.float32)

    @nl.jit(cache=False)
    def histogram(x):
        places = np.clip((x[0] * 4 + 16).astype(np.int64), 0, 31)
        return nl.scatter_add(np.zeros(32, np.float32), places, np.exp(x[1]) * 2)

    places = np.clip((x[0] * np.float32(4) + 16).astype(np.int64), 0, 31)
    wanted = np.bincount(places, np.exp(x[1].astype(np.float64)) * 2, 32)
    np.testing.assert_allclose(histogram(x), wanted, rtol=1e-5)


def kernels(count: int, size: int, mode: str) -> list[Kernel]:
    lowered = nl.jit(lambda b, i, v: nl.scatter(b, i, v, mode)).lower(
        nl.ShapeDtype((size,), "float32"),
        nl.ShapeDtype((count,), "int64"),
        nl.ShapeDtype((count,), "float32"),
    )
    assert lowered.made.program is not None
    return [step for step in lowered.made.program.steps if isinstance(step, Kernel)]


def test_who_gets_parts() -> None:
    """Many updates of few elements, whose order does not matter."""

    def parallel(*arguments: Any) -> bool:
        own = (k for k in kernels(*arguments) if not k.name.endswith("_copy"))
        loops = (s for k in own for s in walk(k.body) if isinstance(s, For))
        return any(loop.kind == "parallel" for loop in loops)

    assert parallel(1_000_000, 1024, "add")
    assert not parallel(1_000_000, 1_000_000, "add")
    assert not parallel(1_000_000, 1024, "set")
    assert not parallel(10_000, 10, "add")
    assert choose.scatter_parts(1 << 20, 1 << 15) == 2


def test_only_the_stores_are_serial() -> None:
    _, kernel = kernels(10_000, 64, "add")
    kinds = [s.kind for s in walk(kernel.body) if isinstance(s, For)]
    assert kinds == ["serial", "vector", "serial", "vector", "serial"]
