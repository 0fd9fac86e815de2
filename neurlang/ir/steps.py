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
    "sort": "numpy.sort({}, axis=-1)",
    "argsort": "numpy.argsort({}, axis=-1, stable=True)",
    "top_k": "indices of the largest, by numpy.partition({}, axis=-1)",
}


@dataclass(frozen=True, eq=False)
class LibraryCall:
    """A step that NumPy does: `op` over whole buffers, in plain sight."""

    op: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]

    def __str__(self) -> str:
        outputs = ", ".join(buffer.declared for buffer in self.outputs)
        inputs = ", ".join(buffer.declared for buffer in self.inputs)
        return f"library {outputs} = {LIBRARY[self.op].format(inputs)}"


Step = Kernel | Repeat | LibraryCall

__all__ = ["LibraryCall", "Repeat", "Step"]
