"""The steps of a program that are no loops of their own: repeated kernels, and what NumPy does."""

from __future__ import annotations

from dataclasses import dataclass

from neurlang.ir.loops import Buffer, Kernel


@dataclass(frozen=True, eq=False)
class Repeat:
    """A step that runs the loops of the kernel `of` on other buffers, in the places of its."""

    name: str
    of: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        inputs = ", ".join(buffer.declared for buffer in self.inputs)
        outputs = ", ".join(buffer.declared for buffer in self.outputs)
        lines = [f"kernel {self.name}({inputs}) -> ({outputs}): the loops of {self.of}"]
        return "\n".join([*lines, *(f"    # {note}" for note in self.notes)])


LIBRARY = {
    "sort": "numpy's sort of rows of {}",
    "argsort": "indices that sort rows of {}, by numpy's sort of keys",
    "top_k": "indices of the largest in rows of {}, by numpy.partition",
}


@dataclass(frozen=True, eq=False)
class LibraryCall:
    """A step that NumPy does, in plain sight.

    With a `grain` its C functions sort row by row, and threads claim so many rows; without one it
    is called through Python for the whole of the buffers.
    """

    op: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    grain: int = 0

    def __str__(self) -> str:
        outputs = ", ".join(buffer.declared for buffer in self.outputs)
        inputs = ", ".join(buffer.declared for buffer in self.inputs)
        way = f"{self.grain} rows a claim" if self.grain else "through Python"
        return f"library {outputs} = {LIBRARY[self.op].format(inputs)}, {way}"


Step = Kernel | Repeat | LibraryCall

__all__ = ["LibraryCall", "Repeat", "Step"]
