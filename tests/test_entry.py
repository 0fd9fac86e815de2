"""The native entry: results, every guard's fallback, references, scalars, memory that runs out."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import time

import numpy as np
import pytest
from plans import plan_of

from neurlang.codegen.compile import compile_object, link_object
from neurlang.codegen.entry import ENTRY, RUN, entry_text
from neurlang.codegen.pool import address
from neurlang.runtime import call
from neurlang.runtime.entry import EntrySignature, flat
from neurlang.runtime.entry_table import entry_symbols, entry_table, make_entry
from neurlang.runtime.objects import native_entry_available

pytestmark = pytest.mark.skipif(
    not native_entry_available(), reason="objects of this Python are laid out differently"
)

LLVM_TYPE = {"float32": "float", "float64": "double", "int64": "i64", "int8": "i8"}

F32 = "float32"
ADD_SIGNATURE = EntrySignature(((F32, (4, 4), "array"), (F32, (4, 4), "array")), ((F32, (4, 4)),))


class Fallback:
    """A dispatcher that says what it was called with."""

    def __call__(self, *args, **named):
        return ("fallback", args, named)


class Compiled:
    """A linked program with its entry; keeps the code as a real dispatcher does."""

    def __init__(self, signature, program):
        text = program + plan_of("program", len(signature.inputs) + len(signature.outputs))
        self.library = link_object(compile_object(text), ["plan"])
        self.dispatcher = Fallback()
        self.table = entry_table(signature, self.library["plan"], self.dispatcher)
        self.entry = make_entry(address(ENTRY), self.table, self.dispatcher)


def add_program(count: int, dtype: str = F32) -> str:
    """out[i] = first[i] + second[i] for i in 0..count."""
    element = LLVM_TYPE[dtype]
    add = "add" if element[0] == "i" else "fadd"
    return f"""
define i32 @program(ptr %arguments) {{
entry:
  %second = getelementptr ptr, ptr %arguments, i64 1
  %third = getelementptr ptr, ptr %arguments, i64 2
  %a = load ptr, ptr %arguments
  %b = load ptr, ptr %second
  %out = load ptr, ptr %third
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, {count}
  br i1 %more, label %body, label %done
body:
  %pa = getelementptr {element}, ptr %a, i64 %i
  %pb = getelementptr {element}, ptr %b, i64 %i
  %po = getelementptr {element}, ptr %out, i64 %i
  %x = load {element}, ptr %pa
  %y = load {element}, ptr %pb
  %sum = {add} {element} %x, %y
  store {element} %sum, ptr %po
  %next = add i64 %i, 1
  br label %test
done:
  ret i32 0
}}
"""


def copy_program(*moves: tuple[int, int, str]) -> str:
    """One element of `type` from each source to its target, positions in `arguments`."""
    lines = []
    for number, (source, target, type) in enumerate(moves):
        lines += [
            f"  %s{number} = getelementptr ptr, ptr %arguments, i64 {source}",
            f"  %t{number} = getelementptr ptr, ptr %arguments, i64 {target}",
            f"  %from{number} = load ptr, ptr %s{number}",
            f"  %to{number} = load ptr, ptr %t{number}",
            f"  %x{number} = load {type}, ptr %from{number}",
            f"  store {type} %x{number}, ptr %to{number}",
        ]
    body = "\n".join(lines)
    return f"define i32 @program(ptr %arguments) {{\n{body}\n  ret i32 0\n}}\n"


def failing_program(status: int = 1) -> str:
    return f"define i32 @program(ptr %arguments) {{\n  ret i32 {status}\n}}\n"


@pytest.fixture(scope="module")
def add():
    return Compiled(ADD_SIGNATURE, add_program(16))


def pair() -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(1).standard_normal((2, 4, 4), np.float32)
    return numbers[0].copy(), numbers[1].copy()


def test_result(add):
    a, b = pair()
    result = add.entry(a, b)
    assert type(result) is np.ndarray
    assert result.dtype == a.dtype and result.flags.owndata and result.flags.c_contiguous
    np.testing.assert_array_equal(result, a + b)


@pytest.mark.parametrize("dtype", sorted(LLVM_TYPE))
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_dtypes_and_shapes(dtype, shape):
    signature = EntrySignature(
        ((dtype, shape, "array"), (dtype, shape, "array")), ((dtype, shape),), release_gil=True
    )
    compiled = Compiled(signature, add_program(int(np.prod(shape)), dtype))
    a = np.random.default_rng(2).integers(-50, 50, shape).astype(dtype)
    a = np.asarray(a, dtype)
    result, expected = compiled.entry(a, a), a + a
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype and result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


class Subclass(np.ndarray):
    pass


def misaligned(like: np.ndarray) -> np.ndarray:
    room = np.zeros(like.nbytes + 1, np.uint8)
    array = room[1:].view(like.dtype).reshape(like.shape)
    array[...] = like
    return array


ODD_ARGUMENTS = {
    "dtype": lambda a: a.astype(np.float64),
    "same size dtype": lambda a: a.astype(np.int32),
    "byte order": lambda a: a.astype(">f4"),
    "fewer axes": lambda a: a.reshape(16),
    "more axes": lambda a: a.reshape(1, 4, 4),
    "shape": lambda a: a.reshape(2, 8),
    "first extent": lambda a: np.zeros((5, 4), np.float32),
    "last extent": lambda a: np.zeros((4, 5), np.float32),
    "transposed": lambda a: a.T,
    "subclass": lambda a: a.view(Subclass),
    "list": lambda a: a.tolist(),
    "float": lambda a: 1.0,
    "int": lambda a: 1,
    "none": lambda a: None,
    "scalar": lambda a: a[0, 0],
}


@pytest.mark.parametrize("name", ODD_ARGUMENTS)
@pytest.mark.parametrize("position", [0, 1])
def test_other_arguments_go_to_the_dispatcher(add, name, position):
    arguments = list(pair())
    arguments[position] = ODD_ARGUMENTS[name](arguments[position])
    said, received, named = add.entry(*arguments)
    assert (said, named) == ("fallback", {})
    assert [id(value) for value in received] == [id(value) for value in arguments]


STRIDED = {
    "strided": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "both axes": lambda a: np.repeat(np.repeat(a, 3, 1), 2, 0)[::2, ::3],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "rows apart": lambda a: np.hstack([a, a])[:, :4],
    "transposed rows": lambda a: np.hstack([a.T, a.T])[:, :4].T,
    "misaligned": misaligned,
    "misaligned rows": lambda a: misaligned(np.hstack([a, a]))[:, :4],
}


@pytest.mark.parametrize("name", STRIDED)
def test_strided_arguments_are_copied(add, name):
    """And the copies are dropped, also where another argument is refused."""
    a, b = pair()
    odd = STRIDED[name](a)
    np.testing.assert_array_equal(odd, a)
    watched = (odd, a, a.dtype)
    before = references(*watched)
    for _ in range(20):
        np.testing.assert_array_equal(add.entry(odd, b), a + b)
        np.testing.assert_array_equal(add.entry(b, odd), a + b)
        np.testing.assert_array_equal(add.entry(odd, odd), a + a)
        assert add.entry(odd, 3)[0] == "fallback"
    after = references(*watched)
    assert after == before


def test_a_copy_that_cannot_be_made():
    """An argument of 32 terabytes that repeats one element has no copy; those before it go."""
    shape = (1 << 22, 1 << 21)
    signature = EntrySignature(((F32, (4,), "array"), (F32, shape, "array")), ((F32, ()),))
    compiled = Compiled(signature, failing_program(0))
    small, huge = np.arange(8, dtype=np.float32)[::2], np.broadcast_to(np.float32(1), shape)
    before = references(small, huge, small.dtype)
    failed = [raises_memory_error(compiled, small, huge) for _ in range(20)]
    assert failed == [True] * 20
    after = references(small, huge, small.dtype)
    assert after == before


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_other_counts_go_to_the_dispatcher(add, count):
    a, _ = pair()
    said, received, _ = add.entry(*[a] * count)
    assert said == "fallback" and len(received) == count


def test_keywords_go_to_the_dispatcher(add):
    a, b = pair()
    said, received, named = add.entry(a, b, scale=2)
    assert said == "fallback" and len(received) == 2 and named == {"scale": 2}
    said, received, named = add.entry(a, y=b)
    assert said == "fallback" and received[0] is a and named["y"] is b


def test_read_only_arguments_are_native(add):
    a, b = pair()
    a.flags.writeable = False
    np.testing.assert_array_equal(add.entry(a, b), a + b)


@pytest.mark.parametrize("dtype", [*sorted(LLVM_TYPE), "bool"])
def test_unpickled_arrays_are_native(dtype):
    signature = EntrySignature(((dtype, (3,), "array"),), ((dtype, (1,)),))
    compiled = Compiled(signature, copy_program((0, 1, LLVM_TYPE.get(dtype, "i8"))))
    array = pickle.loads(pickle.dumps(np.array([1, 0, 1], dtype)))
    assert array.dtype is not np.zeros(1, dtype).dtype
    assert compiled.entry(array) == 1
    swapped = array.astype(array.dtype.newbyteorder())
    if swapped.dtype.byteorder != array.dtype.byteorder:
        assert compiled.entry(swapped)[0] == "fallback"


def test_errors_of_the_dispatcher_pass_through(add):
    class Refusing:
        def __call__(self, *args):
            raise LookupError("refused")

    refusing_one = Refusing()
    table = entry_table(ADD_SIGNATURE, add.library["plan"], refusing_one)
    refusing = make_entry(address(ENTRY), table, refusing_one, "named")
    assert refusing.__name__ == "named"
    with pytest.raises(LookupError, match="refused"):
        refusing(1)


def raises_memory_error(compiled: Compiled, *arguments: object) -> bool:
    """Not `pytest.raises`: what that keeps of the last error would be counted."""
    try:
        compiled.entry(*arguments)
    except MemoryError:
        return True
    return False


def references(*objects: object) -> list[int]:
    gc.collect()
    return [sys.getrefcount(one) for one in objects]


def test_references(add):
    a, b = pair()
    watched = (a, b, a.dtype, np.ndarray, add.dispatcher, add.entry)
    before = references(*watched)
    for _ in range(100):
        add.entry(a, b)
        add.entry(a, 3)
        add.entry(a)
    after = references(*watched)
    assert after == before
    results = [add.entry(a, b) for _ in range(10)]
    assert [sys.getrefcount(result) for result in results] == [3] * 10
    assert references(a.dtype)[0] == before[2] + 10


SCALARS = (("float64", (), "float"), ("int64", (), "int"), ("bool", (), "bool"))
SCALAR_SIGNATURE = EntrySignature(
    SCALARS, (("float64", ()), ("int64", ()), ("bool", (1,))), flat("tuple", 3)
)


@pytest.fixture(scope="module")
def scalars():
    return Compiled(SCALAR_SIGNATURE, copy_program((0, 3, "double"), (1, 4, "i64"), (2, 5, "i8")))


@pytest.mark.parametrize("number", [0, 1, -1, 255, 2**40, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("truth", [False, True])
def test_scalars(scalars, number, truth):
    result = scalars.entry(number / 3, number, truth)
    assert type(result) is tuple
    assert result[0] == number / 3 and type(result[0]) is np.float64
    assert result[1] == number and type(result[1]) is np.int64
    assert result[2].tolist() == [truth]


@pytest.mark.parametrize(
    "arguments",
    [
        (1, 1, True),
        (1.0, 1.0, True),
        (1.0, 1, 1),
        (1.0, True, True),
        (np.float64(1), 1, True),
        (1.0, np.int64(1), True),
        (1.0, 1, np.True_),
        (1.0, 2**63, True),
        (1.0, -(2**63) - 1, True),
        (1.0, 10**40, True),
    ],
)
def test_other_scalars_go_to_the_dispatcher(scalars, arguments):
    assert scalars.entry(*arguments) == ("fallback", arguments, {})


@pytest.mark.parametrize("result", ["tuple", "list"])
def test_several_results(result):
    signature = EntrySignature(
        ((F32, (4,), "array"),),
        ((F32, (1,)), (F32, ()), (F32, ())),
        flat(result, 3),
        release_gil=True,
    )
    moves = copy_program((0, 1, "float"), (0, 2, "float"), (0, 3, "float"))
    compiled = Compiled(signature, moves)
    a = np.array([7, 8, 9, 10], np.float32)
    before = references(a, a.dtype)
    for _ in range(50):
        together = compiled.entry(a)
        assert type(together).__name__ == result
        assert [type(one) for one in together] == [np.ndarray, np.float32, np.float32]
        assert [float(np.sum(one)) for one in together] == [7, 7, 7]
        # Read before the assertion, which holds what it compares: the tuple's, the argument's.
        count = sys.getrefcount(together[0])
        assert count == 2
    del together
    after = references(a, a.dtype)
    assert after == before


def test_no_results():
    compiled = Compiled(EntrySignature((), (), flat("tuple", 0)), failing_program(0))
    assert compiled.entry() == ()
    with pytest.raises(ValueError, match="does not hold 0 outputs"):
        EntrySignature((), ())


@pytest.mark.parametrize("result", ["tuple", "list"])
@pytest.mark.parametrize("release_gil", [False, True])
def test_a_program_out_of_memory(result, release_gil):
    outputs = ((F32, (3,)), (F32, ()), ("int8", (2,)))
    signature = EntrySignature(((F32, (4,), "array"),), outputs, flat(result, 3), release_gil)
    compiled = Compiled(signature, failing_program())
    a = np.zeros(4, np.float32)
    watched = (a, a.dtype, np.dtype("int8"))
    before = references(*watched)
    failed = [raises_memory_error(compiled, a) for _ in range(20)]
    assert failed == [True] * 20
    after = references(*watched)
    assert after == before


@pytest.mark.parametrize("release_gil", [False, True])
def test_the_dispatcher_answers_other_failures(release_gil):
    outputs = ((F32, (3,)), ("int8", ()))
    signature = EntrySignature(((F32, (4,), "array"),), outputs, flat("tuple", 2), release_gil)
    compiled = Compiled(signature, failing_program(2))
    a = np.zeros(4, np.float32)
    watched = (a, a.dtype, np.dtype("int8"))
    before = references(*watched)
    said = [compiled.entry(a)[0] for _ in range(20)]
    after = references(*watched)
    assert said == ["fallback"] * 20
    assert after == before


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_output_that_cannot_be_allocated(position):
    shapes = [(3,), (5,), (2, 2)]
    shapes[position] = (1 << 45, 1 << 10)
    signature = EntrySignature(
        ((F32, (4,), "array"),), tuple((F32, shape) for shape in shapes), flat("tuple", 3)
    )
    compiled = Compiled(signature, failing_program(0))
    a = np.zeros(4, np.float32)
    before = references(a, a.dtype)
    failed = [raises_memory_error(compiled, a) for _ in range(20)]
    assert failed == [True] * 20
    after = references(a, a.dtype)
    assert after == before


def test_threads_call_one_entry():
    signature = EntrySignature(ADD_SIGNATURE.inputs, ADD_SIGNATURE.outputs, release_gil=True)
    compiled = Compiled(signature, add_program(16))
    a, b = pair()
    expected = a + b
    right = []

    def call_often() -> None:
        right.append(all((compiled.entry(a, b) == expected).all() for _ in range(2000)))

    threads = [threading.Thread(target=call_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 8


def test_a_dropped_entry_frees_its_dispatcher():
    compiled = Compiled(ADD_SIGNATURE, add_program(16))
    before = sys.getrefcount(compiled.dispatcher)
    compiled.entry = None
    after = sys.getrefcount(compiled.dispatcher)
    assert after == before - 1


def test_call_program(add):
    a, b = pair()
    out = np.empty_like(a)
    pointers = [array.ctypes.data for array in (a, b, out)]
    assert call.call_program(address(RUN), add.library["plan"], pointers) == 0
    np.testing.assert_array_equal(out, a + b)
    failing = Compiled(ADD_SIGNATURE, failing_program())
    assert call.call_program(address(RUN), failing.library["plan"], pointers) == 1


def test_no_address_is_in_the_object():
    data = compile_object(entry_text() + f"declare i32 @{RUN}(ptr, ptr)\n")
    for name, place in entry_symbols().items():
        assert place.to_bytes(8, "little") not in data, name


def test_overhead_is_shown(add):
    a, b = (array.reshape(4, 4) for array in pair())
    for name, function in (("native entry", add.entry), ("numpy", np.add)):
        best = float("inf")
        for _ in range(5):
            begin = time.perf_counter_ns()
            for _ in range(10_000):
                function(a, b)
            best = min(best, (time.perf_counter_ns() - begin) / 10_000)
        print(f"{name}: {best:.0f} ns a call, the loop's included")
