"""Fusion: which nodes are stored, and which stored nodes are computed by one kernel.

A node that is stored is an *anchor*; everything else is inlined where it is used. Anchors that
iterate over one space become one *group*, which is one kernel: several reductions and maps of a
row program, or several outputs of elementwise work.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from neurlang.ir.access import (
    Indices,
    NameOnlyDivider,
    ProductSpace,
    SplitNeeded,
    below_reshapes,
    concat_bounds,
    flat_index,
    loop_vars,
    pad_bounds,
    piece_of,
    product_space,
    reduce_index,
    same_axes,
    view_index,
)
from neurlang.ir.graph import Graph, Node
from neurlang.ir.loops import ZERO, Affine
from neurlang.ir.ops import OPS, PURE_VIEWS
from neurlang.ir.text import node_names
from neurlang.ir.types import Shape
from neurlang.passes.graph.worth import columns_stay, columns_worth_it, rows_worth_it

RECOMPUTE_COST = 12  # inlining more than this into a second kernel costs more than a store
SHOWN_WORK = 1 << 14  # operators that a broadcast of quotients or roots repeats before a store pays
CHEAP_SHOWN_WORK = 1 << 20  # of other operators
LARGEST_KERNEL = 2000  # nodes: LLVM takes more than twice as long for a body twice as large
MAX_PLACES = 3  # elements of one node that one element of a consumer may ask for
PROLOGUE_COST = 4  # operators before a product that are evaluated while its operand is packed
LEAST_DEPTH = 2  # where k is several loops, the innermost one has as many steps
LEAST_COLUMNS = 8  # and the loop over columns as many,
LEAST_SHORT_COLUMNS, LEAST_ROWS = 4, 32  # fewer where rows can lie along vectors
SORTS = ("sort", "argsort", "top_k")
OWN_KERNEL = ("dot", "scatter", "update", *SORTS, "cumulative")


@dataclass(eq=False)
class Group:
    """One kernel: its anchors in order. `outer` is the space of its rows once one is known.

    `reasons` say for each anchor why it joined, or why it started the kernel.
    """

    kind: str
    anchors: list[Node]
    shape: Shape
    outer: Shape | None = None
    number: int = 0
    size: int = 0
    needs: set[int] = field(default_factory=set)
    space: ProductSpace | None = None  # of a product
    reasons: list[str] = field(default_factory=list)
    pieces: bool = False

    @property
    def elements(self) -> Shape:
        """The shape of what its reductions reduce: `shape` itself, unless they run down columns."""
        return next((a.args[0].shape for a in self.anchors if a.kind == "reduce"), self.shape)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of `elements` that its reductions reduce."""
        return next((a.attrs["axes"] for a in self.anchors if a.kind == "reduce"), ())

    def row_of(self, index: Indices) -> Indices:
        """The row, or column, in which an element lies."""
        return tuple(at for axis, at in enumerate(index) if axis not in self.axes)


@dataclass(frozen=True)
class Plan:
    """The partition of a graph into kernels, in an order in which they can run."""

    groups: tuple[Group, ...]
    anchors: frozenset[Node]


def group(graph: Graph, fuse: bool = True) -> Plan:
    """Choose anchors and groups; repeats with more anchors until nothing costly is recomputed."""
    position = {node: number for number, node in enumerate(graph.nodes)}
    names = {node: f"{node.op} {name}" for node, name in node_names(graph).items()}
    anchors = _first_anchors(graph, fuse)
    while True:
        grouping = _Grouping(graph, position, names, anchors, fuse)
        more = grouping.run() - anchors
        if not more:
            return Plan(tuple(_in_order(grouping.groups)), frozenset(anchors))
        anchors |= more


def _first_anchors(graph: Graph, fuse: bool) -> set[Node]:
    """Outputs, reductions, contractions, and what they and gathers must read from memory."""
    anchors = {node for node in graph.outputs if node.op != "param"}
    following: set[Node] = set()  # products, and the maps of what they give
    for node in graph.nodes:
        kind = node.kind
        if kind == "leaf":
            continue
        if node.op == "dot" or (kind == "map" and any(arg in following for arg in node.args)):
            following.add(node)
        if kind in ("reduce", "contract", "order") or node.op in OWN_KERNEL:
            anchors.add(node)
        if not fuse and kind not in ("view", "leaf"):
            anchors.add(node)
        if node.op in SORTS and node.args[0].op != "param":
            anchors.add(node.args[0])
        if node.op == "update":
            anchors.update(found for arg in node.args if (found := stored_source(arg)))
        if node.op == "dot":
            for operand in node.args:
                anchors.update(prologue_sources(operand))
        if node.op in ("gather", "window") and (source := stored_source(node.args[0])) is not None:
            anchors.add(source)
    # In a product's kernel, where it is stored, and not in one of its own that reshapes it.
    anchors |= following & {below_reshapes(node) for node in graph.outputs}
    return anchors


def prologue_sources(operand: Node) -> set[Node]:
    """What must be stored below an operand of a product.

    Views, and a few operators on what the program is given (a cast, a scale), are evaluated while
    it is packed. Operators on what a kernel computes are done there, once, before it is stored.
    """
    while operand.op in PURE_VIEWS:
        operand = operand.args[0]
    stack = [(operand, 0)]
    while stack:
        node, spent = stack.pop()
        if node.op in PURE_VIEWS:
            stack.append((node.args[0], spent))
        elif node.kind == "map" and spent + OPS[node.op].cost <= PROLOGUE_COST:
            stack.extend((arg, spent + OPS[node.op].cost) for arg in node.args)
        elif node.kind != "leaf":
            return {operand}
    return set()


def stored_source(node: Node) -> Node | None:
    """The computed node that a chain of pure views starts at; pads and concats are computed."""
    while node.op in PURE_VIEWS:
        node = node.args[0]
    return None if node.kind == "leaf" else node


def space_of(node: Node) -> tuple[Shape, Shape]:
    """The whole iteration space of an anchor, and its outer part where it is a reduction."""
    if node.kind != "reduce":
        return node.shape, node.shape
    source = node.args[0].shape
    inner = tuple(source[axis] for axis in node.attrs["axes"])
    return (*node.shape, *inner), node.shape


def is_trailing(node: Node) -> bool:
    """Whether a reduction is over the last axes."""
    rank = len(node.args[0].shape)
    axes = node.attrs["axes"]
    return tuple(axes) == tuple(range(rank - len(axes), rank))


class _Grouping:
    """One attempt with a given set of anchors."""

    def __init__(
        self,
        graph: Graph,
        position: dict[Node, int],
        names: dict[Node, str],
        anchors: set[Node],
        fuse: bool,
    ) -> None:
        self.graph = graph
        self.position = position
        self.names = names
        self.anchors = anchors
        self.fuse = fuse
        self.groups: list[Group] = []
        self.group_of: dict[Node, Group] = {}
        self.inlined_in: dict[Node, set[int]] = {}
        self.more: set[Node] = set()
        self.visited: list[Node] = []
        self.outer_index: Indices = ()
        self.space: ProductSpace | None = None
        self.divided: list[Node] = []
        self.divider = NameOnlyDivider()

    def run(self) -> set[Node]:
        """Assign every anchor; returns nodes that had better be anchors as well."""
        for node in self.graph.nodes:
            if node in self.anchors:
                self._assign(node)
        cost: dict[Node, int] = {}
        for node in self.graph.nodes:
            own = OPS[node.op].cost if node.kind == "map" else 0
            inlined = (cost[arg] for arg in node.args if arg not in self.anchors)
            cost[node] = min(1000, own + max(inlined, default=0))
            if node.kind == "map" and node not in self.anchors:
                repeated = len(self.inlined_in.get(node, ())) > 1
                if repeated and cost[node] > RECOMPUTE_COST:
                    self.more.add(node)
                    cost[node] = 0
            if node.op == "broadcast" and _is_worth_storing(node, cost[node]):
                self.more.update(self._computed_again(node))
        return self.more

    def _computed_again(self, node: Node) -> set[Node]:
        """What a broadcast shows, where it would be computed for each element that it shows."""
        source = stored_source(node)
        if source is None or source in self.anchors or source.kind != "map":
            return set()
        groups = (self.groups[number] for number in self.inlined_in.get(node, ()))
        return {source} if any(_varies_inside(node, found) for found in groups) else set()

    def _assign(self, node: Node) -> None:
        reached = self._reached(node)
        if node.kind == "reduce" or node.op in OWN_KERNEL:
            self.more.update(found for found in self.visited if found.op in ("pad", "concat"))
        needs = {self.group_of[found].number for found in reached if found in self.group_of}
        chosen, reason = self._choose(node, reached, needs)
        if chosen is None:
            kind = node.op if node.op in OWN_KERNEL else "rows"
            space, outer = space_of(node)
            chosen = Group(kind, [], space, outer if node.kind == "reduce" else None)
            chosen.number = len(self.groups)
            chosen.space = self.space if kind == "dot" else None
            self.groups.append(chosen)
        chosen.anchors.append(node)
        chosen.reasons.append(f"{self.names[node]} {reason}")
        chosen.pieces |= self._has_pieces()
        if node.kind == "reduce" and chosen.outer is None:
            chosen.outer = node.shape
        if len(space_of(node)[0]) > len(chosen.shape):
            chosen.shape = space_of(node)[0]
        chosen.needs |= needs - {chosen.number}
        chosen.size += len(self.visited)
        self.group_of[node] = chosen
        for found in self.visited:
            self.inlined_in.setdefault(found, set()).add(chosen.number)

    def _reached(self, node: Node) -> dict[Node, set[Indices]]:
        """The anchors that a node reads, and at which indices of its space."""
        if node.kind == "reduce":
            _, outer = loop_vars(node.shape, "o")
            _, inner = loop_vars(space_of(node)[0][len(node.shape) :], "i")
            start = [(node.args[0], reduce_index(node, outer, inner))]
            self.outer_index = outer
        elif node.op in OWN_KERNEL:
            return self._reached_by_operands(node)
        else:
            _, self.outer_index = loop_vars(node.shape, "o")
            start = [(node, self.outer_index)]
        reached = self._demand(start, node)
        if node.op == "reshape" and self.divider.made:
            self._prefer_source(node)
        return reached

    def _prefer_source(self, node: Node) -> None:
        """What is computed along other axes than it has had better be stored along those, where
        fewer indices are divided then: as an output it takes no step to be of another shape."""
        source = below_reshapes(node)
        if source in self.anchors or source.kind == "leaf":
            return
        visited, divider = self.visited, self.divider
        _, index = loop_vars(source.shape, "o")
        self._demand([(source, index)], source)
        if len(self.divider.made) < len(divider.made):
            self.more.add(source)
        self.visited, self.divider = visited, divider

    def _reached_by_operands(self, node: Node) -> dict[Node, set[Indices]]:
        """The same for a kernel of its own; what a product reads must have an affine index."""
        self.outer_index = ()
        if node.op == "dot":
            return self._reached_by_product(node)
        return self._read([(arg, loop_vars(arg.shape, "i")[1]) for arg in node.args], node)

    def _reached_by_product(self, node: Node) -> dict[Node, set[Indices]]:
        """With loops over merged axes where their index is divided; or else they are stored."""
        self.space = product_space(node)
        reached = self._read(list(zip(node.args, self.space.indices())), node)
        if self.divided:
            merged = product_space(node, merged=True)
            if _worth_loops(merged):
                self.space = merged
                reached = self._read(list(zip(node.args, merged.indices())), node)
        self.more.update(_below_copies(arg) for arg in self.divided)
        return reached

    def _read(
        self, operands: Sequence[tuple[Node, Indices]], node: Node
    ) -> dict[Node, set[Indices]]:
        """What is read below each operand; `divided` are those that need a division of an index."""
        reached: dict[Node, set[Indices]] = {}
        visited: list[Node] = []
        self.divided = []
        for arg, index in operands:
            for found, places in self._demand([(arg, index)], node).items():
                reached.setdefault(found, set()).update(places)
            if self.divider.made:
                self.divided.append(arg)
            visited += self.visited
        self.visited = visited
        return reached

    def _demand(
        self, start: Sequence[tuple[Node, Indices]], root: Node
    ) -> dict[Node, set[Indices]]:
        divider = self.divider = NameOnlyDivider()
        asked: dict[Node, set[Indices]] = {}
        heap: list[int] = []
        reached: dict[Node, set[Indices]] = {}
        self.visited = []
        nodes = self.graph.nodes

        def ask(node: Node, index: Indices) -> None:
            if node in self.anchors and node is not root:
                reached.setdefault(node, set()).add(index)
            elif node.kind != "leaf":
                if node not in asked:
                    asked[node] = set()
                    heapq.heappush(heap, -self.position[node])
                asked[node].add(index)

        for node, index in start:
            ask(node, index)
        while heap:
            node = nodes[-heapq.heappop(heap)]
            self.visited.append(node)
            if len(self.visited) % LARGEST_KERNEL == 0 and node.kind == "map":
                self.more.add(node)
            places = asked[node]
            if len(places) > MAX_PLACES or (len(places) > 1 and OPS[node.op].cost > RECOMPUTE_COST):
                if node.kind != "view" or node.op in ("pad", "concat"):
                    self.more.add(node)
                    places = set(list(places)[:1])
            base = below_reshapes(node)
            stored = base in self.anchors or base.op == "param"
            for index in places:
                if stored and base is not node and not same_axes(base.shape, node.shape):
                    ask(base, (flat_index(node.shape, index),))
                    continue
                for arg, position in argument_indices(node, index, divider):
                    ask(arg, position)
        return reached

    def _choose(
        self, node: Node, reached: dict[Node, set[Indices]], needs: set[int]
    ) -> tuple[Group | None, str]:
        """The latest group that the node may join, or None where it starts one; and why."""
        if not self.fuse:
            return None, "starts a kernel: fusion is off"
        if node.op in OWN_KERNEL:
            return None, f"starts a kernel: a {node.op} has loops of its own"
        candidates = {self.group_of[found].number for found in reached}
        candidates |= {g.number for g in self.groups[-4:] if self._same_space(g, node)}
        reason = "starts a kernel"
        for number in sorted(candidates, reverse=True):
            found = self.groups[number]
            obstacle = self._obstacle(found, node, reached)
            if not obstacle and self._cycle(found, needs):
                obstacle = "another kernel must run between them"
            if not obstacle:
                return found, self._common(found, node, reached)
            if reason == "starts a kernel":
                reason += f", apart from {self.names[found.anchors[0]]}: {obstacle}"
        return None, reason

    def _common(self, found: Group, node: Node, reached: dict[Node, set[Indices]]) -> str:
        """Why a node joined a group: what it reads there, or the space that both iterate over."""
        read = [self.names[anchor] for anchor in found.anchors if anchor in reached]
        outer = node.shape if node.kind == "reduce" or found.outer is None else found.outer
        what = "rows" if outer != space_of(node)[0] else "elements"
        source = f"reads {read[-1]} at the" if read else "the"
        return f"joins: {source} same {what} {list(outer)}"

    def _same_space(self, found: Group, node: Node) -> bool:
        return found.kind == "rows" and found.shape == space_of(node)[0]

    def _cycle(self, found: Group, needs: set[int]) -> bool:
        """Whether another group that the node needs depends on `found`."""
        stack = [number for number in needs if number != found.number]
        seen = set(stack)
        while stack:
            number = stack.pop()
            if number == found.number:
                return True
            fresh = self.groups[number].needs - seen
            seen |= fresh
            stack.extend(fresh)
        return False

    def _obstacle(self, found: Group, node: Node, reached: dict[Node, set[Indices]]) -> str:
        """What keeps a node out of a group; the empty text where nothing does."""
        members = {anchor: reached[anchor] for anchor in found.anchors if anchor in reached}
        if found.size + len(self.visited) > LARGEST_KERNEL:
            return "the kernel is as large as it may be"
        if found.kind == "dot":
            return self._product_obstacle(found, node, members)
        if found.kind != "rows":
            return f"a {found.kind} has loops of its own"
        if node.kind == "reduce":
            return self._reduce_obstacle(found, node, members)
        if node.op in ("pad", "concat") or self._has_pieces():
            return "it is made of pieces"
        return self._map_obstacle(found, node, members)

    def _has_pieces(self) -> bool:
        return any(found.op in ("pad", "concat") for found in self.visited)

    def _product_obstacle(self, found: Group, node: Node, members: dict[Node, set[Indices]]) -> str:
        if node.kind != "map" or node.shape != found.anchors[0].shape:
            return "only maps of the product's shape follow it in its kernel"
        if len(found.anchors) > 1:
            return "the product has its last step already"
        if not members or not _at_rows(found, members, self.outer_index):
            return "it reads the product at other places than its own"
        return ""

    def _reduce_obstacle(self, found: Group, node: Node, members: dict[Node, set[Indices]]) -> str:
        space, outer = space_of(node)
        if found.shape != space:
            return f"it iterates over {list(space)}, not {list(found.shape)}"
        if found.outer not in (None, outer):
            return f"it has rows {list(outer)}, not {list(found.outer or ())}"
        reductions = [anchor for anchor in found.anchors if anchor.kind == "reduce"]
        if any(reduction.attrs["axes"] != node.attrs["axes"] for reduction in reductions):
            return "they run along other axes"
        if not is_trailing(node) and not reductions:
            return "it runs down columns"
        if not is_trailing(node) and not columns_stay(node):
            return "columns are too long to stay in the cache from one sweep to the next"
        if found.pieces:  # the loops are cut where pieces change; a row cannot be
            return "the rows are made of pieces"
        if found.outer is None and not rows_worth_it(outer, space):
            return "long rows are too few to be one thread's work each"
        if not _at_rows(found, members, self.outer_index):
            return "it reads other rows than its own"
        return ""

    def _map_obstacle(self, found: Group, node: Node, members: dict[Node, set[Indices]]) -> str:
        if found.outer is None and node.shape != found.shape:
            return f"it iterates over {list(node.shape)}, not {list(found.shape)}"
        if found.outer is not None and node.shape not in (found.outer, found.elements):
            return f"it iterates over {list(node.shape)}, not rows {list(found.outer)}"
        if found.outer is not None and not members:
            return "it reads nothing of theirs"
        if found.outer is None or node.shape == found.outer:
            if not _at_rows(found, members, self.outer_index):
                return "it reads other elements than its own"
            return ""
        reduction = next(anchor for anchor in found.anchors if anchor.kind == "reduce")
        if not is_trailing(reduction):
            sweeps = sum(anchor.kind == "reduce" for anchor in found.anchors)
            if not columns_stay(reduction) or not columns_worth_it(reduction, sweeps):
                return "it is better stored by rows, and the reduction runs down columns"
        elif not rows_worth_it(found.outer, found.shape):
            return "long rows are too few to be one thread's work each"
        if not _at_rows(found, members, found.row_of(self.outer_index)):
            return "it reads other rows than its own"
        return ""


def _is_worth_storing(node: Node, cost: int) -> bool:
    """Whether what a broadcast shows is costly, or less so and shown to many elements."""
    again = math.prod(node.shape) - math.prod(node.args[0].shape)
    least = SHOWN_WORK if cost >= OPS["div"].cost else CHEAP_SHOWN_WORK
    return cost > RECOMPUTE_COST or again * cost >= least


def _varies_inside(node: Node, found: Group) -> bool:
    """Whether what a broadcast shows changes in a loop inside of one that it is the same in; if
    not, it is computed outside of that. Down columns, the loop over rows is the inner one."""
    source = node.args[0].shape
    across = found.axes if found.kind == "rows" and node.shape == found.elements else ()
    order = sorted(range(len(node.shape)), key=lambda axis: (axis in across, axis))
    sizes = (1,) * (len(node.shape) - len(source)) + source
    changes = [sizes[axis] != 1 for axis in order if node.shape[axis] != 1]
    return changes != sorted(changes, reverse=True)


def _at_rows(found: Group, members: dict[Node, set[Indices]], row: Indices) -> bool:
    """Whether all that is read of a group's anchors lies in one row."""
    for anchor, places in members.items():
        whole = found.axes and anchor.shape == found.elements
        rows = [found.row_of(at) if whole else at[: len(row)] for at in places]
        if any(other != row for other in rows):
            return False
    return True


def _below_copies(node: Node) -> Node:
    """What a product reads with repeats, without them: it is stored once."""
    node = below_reshapes(node)
    while node.op == "broadcast":
        node = below_reshapes(node.args[0])
    return node


def _worth_loops(space: ProductSpace) -> bool:
    """Whether the innermost loops over k and columns are long enough to be loops of a product."""
    rows, columns = space.row.high + 1, space.columns[-1].high + 1
    least = LEAST_SHORT_COLUMNS if rows >= LEAST_ROWS else LEAST_COLUMNS
    return space.depth[-1].high + 1 >= LEAST_DEPTH and columns >= least


def argument_indices(
    node: Node, index: Indices, divider: NameOnlyDivider
) -> Iterable[tuple[Node, Indices]]:
    """The elements of its arguments that one element of an inlined node reads."""
    match node.op:
        case "pad" | "concat":
            return _piece_indices(node, index)
        case "gather":
            source, *indices = node.args
            axis = node.attrs["axis"]
            after = axis + len(indices[0].shape)
            unknown = [divider.divide(Affine(id(each)), 1 << 62)[0] for each in indices]
            places = [(each, index[axis:after]) for each in indices]
            return [(source, (*index[:axis], *unknown, *index[after:])), *places]
    if node.kind == "view":
        return [(node.args[0], view_index(node, index, divider))]
    return [(arg, index) for arg in node.args]


def _piece_indices(node: Node, index: Indices) -> list[tuple[Node, Indices]]:
    """Every piece that a pad or concat may read: the loops will be cut between them."""
    if node.op == "pad":
        low = node.attrs["low"]
        return [(node.args[0], tuple(i + (-before) for i, before in zip(index, low)))]
    axis = node.attrs["axis"]
    bounds = concat_bounds(node)
    try:
        piece = piece_of(index[axis], bounds)
    except SplitNeeded:
        piece = None
    pieces = range(len(node.args)) if piece is None else [piece]
    return [
        (node.args[k], (*index[:axis], index[axis] + (-bounds[k]), *index[axis + 1 :]))
        for k in pieces
    ]


def _in_order(groups: Sequence[Group]) -> list[Group]:
    """Groups so that each comes after those it needs; joining may have broken creation order."""
    done: set[int] = set()
    order: list[Group] = []
    for root in groups:
        stack = [root]
        while stack:
            found = stack[-1]
            if found.number in done:
                stack.pop()
                continue
            missing = [number for number in sorted(found.needs) if number not in done]
            if missing:
                stack.append(groups[missing[0]])
            else:
                done.add(found.number)
                order.append(found)
                stack.pop()
    return order


__all__ = ["ZERO", "Group", "Plan", "group", "is_trailing", "pad_bounds", "space_of"]
