"""What can fail when a program runs, because of the values that it is given."""

from __future__ import annotations

from dataclasses import dataclass

from neurlang.errors import DomainError, IndexingError, NeurlangError, Where
from neurlang.ir.graph import Node
from neurlang.ir.ops import PURE_VIEWS


@dataclass(frozen=True)
class Failure:
    """What to tell the user where values do not allow an operation."""

    message: str
    where: Where | None
    hint: str
    kind: type[NeurlangError]

    def error(self) -> NeurlangError:
        """The error, to be raised."""
        return self.kind(self.message, where=self.where, hint=self.hint)


# By name, for the disk cache: it stores no Python objects.
FAILURE_KINDS: dict[str, type[NeurlangError]] = {
    kind.__name__: kind for kind in (IndexingError, DomainError)
}


def index_failure(node: Node, size: int) -> Failure:
    """An index of a gather or scatter lies outside of an axis."""
    return Failure(
        f"an index is out of range for an axis of size {size}",
        node.where,
        f"indices must lie in {-size}..{size - 1}",
        IndexingError,
    )


def power_failure(node: Node) -> Failure:
    """An exponent of an integer power is negative."""
    return Failure(
        "integers to negative integer powers are not allowed",
        node.where,
        "convert with astype('float64') first",
        DomainError,
    )


def can_fail(node: Node) -> bool:
    """Whether there are values for which a node is an error."""
    if node.op == "pow":
        return may_be_negative(node.args[1])
    return node.op in ("gather", "scatter")


def may_be_negative(node: Node) -> bool:
    """Whether a node is of signed integers that are not seen to be 0 or more without running."""
    while node.dtype.kind == "i":
        match node.op:
            case "const":
                return bool((node.attrs["value"] < 0).any())
            case "iota":
                return False
            case op if op in PURE_VIEWS:
                node = node.args[0]
            case "cast" if _widens(node):
                node = node.args[0]
            case _:
                return True
    return False


def _widens(node: Node) -> bool:
    """Whether a cast to signed integers keeps every value."""
    source = node.args[0].dtype
    narrower = source.kind in "iu" and source.itemsize < node.dtype.itemsize
    return narrower or source.kind == "b"
