"""The writer of LLVM text: pieces that take turns."""

from __future__ import annotations

from neurlang.codegen.writer import Module, Value, Writer

POINTER = Value("%a", "ptr")


def chain(writer: Writer, place: int, length: int) -> Value:
    """A value that is loaded, and as many additions, each of the one before."""
    value = writer.load(writer.offset(POINTER, place, "float"), "float")
    for _ in range(length):
        value = writer.value(f"fadd {value}, {value.text}", "float")
    return value


def written(writer: Writer) -> list[str]:
    """The names that are defined, in order."""
    return [line.split()[0] for line in writer.lines if " = " in line]


def test_pieces_take_turns() -> None:
    writer = Writer(Module(), "void @f(ptr %a)")
    starts = []
    for place in range(3):
        starts.append(len(writer.lines))
        chain(writer, place, 8)
    apart = written(writer)
    first, second, third = apart[:10], apart[10:20], apart[20:]
    writer.interleave(starts)
    turns = [name for pair in zip(first, second, strict=True) for name in pair]
    assert written(writer) == turns + third  # the third has no other to take turns with


def test_what_the_second_needs_of_the_first_comes_before_it() -> None:
    writer = Writer(Module(), "void @f(ptr %a)")
    start = len(writer.lines)
    value = chain(writer, 0, 8)
    middle = len(writer.lines)
    for _ in range(10):
        value = writer.value(f"fmul {value}, {value.text}", "float")
    before = list(writer.lines)
    writer.interleave([start, middle])
    assert writer.lines == before


def test_short_pieces_and_pieces_with_blocks_stay() -> None:
    for length in (2, 8):
        writer = Writer(Module(), "void @f(ptr %a)")
        starts = []
        for place in range(2):
            starts.append(len(writer.lines))
            value = chain(writer, place, length)
            if length == 8:
                with writer.when(Value("true", "i1")):
                    writer.store(value, POINTER)
        before = list(writer.lines)
        writer.interleave(starts)
        assert writer.lines == before
