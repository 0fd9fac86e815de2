"""The passes, in order. A pass is registered by its line here; `run` applies them."""

from __future__ import annotations

from neurlang.passes.graph.canonicalize_reductions import canonicalize_reductions
from neurlang.passes.graph.eliminate_dead_nodes import eliminate_dead_nodes
from neurlang.passes.graph.expand_vector_products import expand_vector_products
from neurlang.passes.graph.fold_constants import fold_constants
from neurlang.passes.graph.merge_duplicates import merge_duplicates
from neurlang.passes.graph.simplify import simplify
from neurlang.passes.graph.sink_views import sink_views
from neurlang.passes.graph.sort_by_keys import sort_by_keys
from neurlang.passes.graph.split_long_products import split_long_products
from neurlang.passes.graph.write_out_windows import write_out_windows
from neurlang.passes.loops.accumulate import accumulate
from neurlang.passes.loops.block_rows import block_rows
from neurlang.passes.loops.collapse import collapse
from neurlang.passes.loops.contract import contract
from neurlang.passes.loops.distribute import distribute
from neurlang.passes.loops.exchange import exchange
from neurlang.passes.loops.fuse import fuse
from neurlang.passes.loops.hoist import hoist
from neurlang.passes.loops.interchange import interchange
from neurlang.passes.loops.interleave import interleave
from neurlang.passes.loops.jam import jam
from neurlang.passes.loops.join_blocks import join_blocks
from neurlang.passes.loops.locate import locate
from neurlang.passes.loops.pack import pack
from neurlang.passes.loops.parallelize import parallelize
from neurlang.passes.loops.prefetch import prefetch
from neurlang.passes.loops.prefetch_rows import prefetch_rows
from neurlang.passes.loops.quotients import quotients
from neurlang.passes.loops.share_quotients import share_quotients
from neurlang.passes.loops.stream import stream
from neurlang.passes.loops.tile import tile
from neurlang.passes.loops.transpose import transpose
from neurlang.passes.loops.unroll import unroll
from neurlang.passes.loops.vectorize import vectorize

GRAPH_PASSES = (
    fold_constants,  # first: rules match literals, not the arithmetic that makes them
    simplify,
    sort_by_keys,  # makes maps and gathers: before duplicates are merged
    sink_views,  # before duplicates are merged: moved views meet their like
    expand_vector_products,  # makes reductions: before they are brought into form
    split_long_products,  # the same, for few results and long k
    write_out_windows,  # reductions over several axes, as long as they are that
    canonicalize_reductions,  # the schedules know reductions over one axis
    simplify,  # views that the passes above left side by side
    merge_duplicates,
    eliminate_dead_nodes,  # last: every pass above leaves dead nodes behind
)

LOOP_PASSES = (
    block_rows,  # first: products that follow each other agree in their outer loops
    collapse,  # one long loop vectorises better than two short ones
    interchange,  # before anything is named between the loops that change places
    hoist,  # scalars leave the loop before lanes make vectors of them
    contract,  # with fast_math alone; what loops do not change has been named
    quotients,  # before lanes are chosen: products hide what quotients wait for
    interleave,  # before the loops along short rows are taken for vectors
    exchange,  # before tiles: rows of products along vectors
    tile,  # blocks for what lies across, tiles for products
    pack,  # operands as the tiles read them
    transpose,  # what lies across, in squares of vectors
    fuse,  # pieces of rows; after what wants its loops alone
    accumulate,  # running sums side by side; the values and stores around them are vectors then
    locate,  # two loops over a row as one; the rest of what vectorize makes vectors of
    distribute,  # before vectors are made: it leaves a loop that must stay serial
    vectorize,
    share_quotients,  # once it is known which lanes there are
    unroll,  # vectors side by side, sums in registers
    jam,  # rows side by side, once their sums are vectors
    join_blocks,  # now that each of them is laid out
    parallelize,  # after what makes loops: it cuts them
    prefetch,  # after what makes vectors
    stream,  # it must know where every vector begins
    prefetch_rows,  # last: what is stored past the caches is not asked for
)

# Without the first the lowering has no kernel for some graphs, and kernels in blocks are no program
# until they are joined: NEURLANG_BISECT never leaves these out.
NEEDED = frozenset({"canonicalize_reductions", "join_blocks"})
