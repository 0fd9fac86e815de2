"""The stages of a jitted function as objects: traced, lowered, compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neurlang.errors import OptionError
from neurlang.frontend.signature import ShapeDtype
from neurlang.frontend.tree import Structure, unflatten
from neurlang.ir.graph import Graph
from neurlang.settings import STAGES

if TYPE_CHECKING:
    from neurlang.pipeline import Compilation


@dataclass(frozen=True)
class Compiled:
    """A program for one signature: call it, or look at how it was made."""

    run: Callable[..., Any]
    lowered: Lowered

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result; ArgumentError for arguments of other dtypes, shapes or structure."""
        return self.run(*args, **kwargs)

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the result, in the result's structure."""
        return self.lowered.out_info

    def as_text(self, stage: str = "loops") -> str:
        """The text of a stage: trace, graph, loops, llvm or asm."""
        return self.lowered.as_text(stage)


@dataclass(frozen=True)
class Lowered:
    """A program as scheduled loops, not yet compiled."""

    made: Compilation
    out_info: Any
    generate: Callable[[Compilation], None]
    finish: Callable[[], Callable[..., Any]]

    def compile(self) -> Compiled:
        """Machine code for the loops."""
        return Compiled(self.finish(), self)

    def as_text(self, stage: str = "loops") -> str:
        """The text of a stage: trace, graph, loops, llvm or asm."""
        if stage not in STAGES:
            raise OptionError(f"there is no stage {stage!r}", hint=f"choose from {STAGE_NAMES}")
        if stage in ("llvm", "asm") and not self.made.llvm:
            self.generate(self.made)
        return self.made.as_text(stage)


STAGE_NAMES = ", ".join(STAGES)


@dataclass(frozen=True)
class Traced:
    """A function's graph for one signature; nothing has been computed."""

    graph: Graph
    structure: Structure
    finish: Callable[[Traced], Lowered]

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the result, in the result's structure."""
        types = [ShapeDtype(node.shape, node.dtype) for node in self.graph.outputs]
        return unflatten(self.structure, types)

    def lower(self) -> Lowered:
        """Run the passes and choose the loops."""
        return self.finish(self)

    def __str__(self) -> str:
        return str(self.graph)
