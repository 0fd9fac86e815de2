"""Every heuristic: how many lanes, how far to unroll, what is worth a thread, which tiles.

The passes apply what is chosen here; nothing else in the compiler guesses. The figures were
measured (docs/benchmarks.md) and depend on the machine's description alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from neurlang.codegen.machine import Machine
from neurlang.ir.loops import (
    Apply,
    For,
    Index,
    Let,
    Literal,
    Load,
    Ref,
    Register,
    Statement,
    Store,
    Update,
    Var,
    defined_in,
    expressions_of,
    loads_in,
    parts,
    walk,
)
from neurlang.ir.ops import OPS
from neurlang.ir.rows import LONGEST_ROW
from neurlang.ir.types import DType, Shape

# A sum's tree is fixed: 64 running sums, each over blocks of 16, whatever the vector width.
TREE_WIDTH = 64
TREE_CHAIN = 16
TREE_ROWS = 8

NARROWEST = 16  # bytes of a vector
UNROLL_LIMIT = 24  # operators of a body that is still worth writing out more than once
DIVIDING = frozenset({"div", "sqrt", "floor_div", "mod", "fmod"})
PARALLEL_WORK = 1 << 17  # operators under which one thread is faster than two (about 50 us)
PARALLEL_WORK_AWAKE = 1 << 13  # the same where the threads are awake
PARALLEL_BYTES = 1 << 20  # read and written, which take as long where nothing is computed
LEAST_PIECE = 1024  # bytes that one claim stores side by side: the lines at its ends are shared
GRAIN_WORK = 1 << 18  # operators that one claim of a thread should be worth
LEAST_SHORT_ROWS = 8  # that lie across vectors
SHORTER_ROW, MANY_SHORT_ROWS = 8, 1024  # longer ones are as many times more code: only for many
GATHERED_LANES = 8  # whose elements are read one by one: more are as much more code
LONGEST_GATHERED_ROW = 3  # elements; more are loaded at once
SHORT_ROW_COST = 400  # cost of all loops along such a row, which are written out
CHUNK_WORK = 1 << 17  # the same for flat loops, whose pieces need not be whole rows
COPY_LIMIT = 2000  # cost of all copies of what a reduction down columns adds up
OWN_COPY_LIMIT = 48  # the same along rows, where every accumulator has a copy of its own
SHARED_COPY_LIMIT = 500  # and where two take turns at a copy, or more
COLUMN_VECTORS = 8  # vectors side by side when a reduction runs down columns, at most
LEAST_COLUMN_VECTORS = 2
COLUMN_TILE_LIMIT = 450  # cost of what is written out for them
WIDE_ROW = 2048  # bytes of a row that is worth such blocks
BLOCK_BYTES = 512, 8192  # of a row in such a block: long pieces to read, short sums in the cache


def column_block(
    columns: int, lanes: int, body: Sequence[Statement], machine: Machine, threads: int
) -> int:
    """Columns whose sums wait in scratch memory while rows are read, a long piece of each; 0 where
    few columns side by side, with sums in registers, are better: there are few, or much is computed
    for what is added. Every thread needs a block; else longer pieces are read faster. Where there
    are several sweeps, what they read stays in the second cache."""
    size = max((load.dtype.itemsize for load in loads_in(body)), default=1)
    least, most = (count // size for count in BLOCK_BYTES)
    loops = [statement for statement in body if isinstance(statement, For)]
    if columns * size < WIDE_ROW:
        return 0
    if not all(copies_are_short(loop.body, TREE_ROWS) for loop in loops):
        return 0
    if len(loops) > 1:
        rows = max(loop.trips for loop in loops)
        most = min(most, max(least, machine.l2 // 2 // (rows * size)))
    shared = threads if worth_threads(columns * cost(body)) else 1
    blocks = max(min(shared, columns // least), -(-columns // most))
    if columns % blocks == 0:  # a rest would be another copy of all loops, and one thread's work
        return columns // blocks
    return multiple(-(-columns // blocks), lanes)


def column_vectors(sweeps: Sequence[For]) -> int:
    """Vectors side by side in each of which a column's sums are registers; fewer where more is
    computed for them, all of which is written out for every row of a tree."""
    work = max(cost(sweep.body) for sweep in sweeps) * TREE_ROWS
    vectors = COLUMN_VECTORS
    while vectors > LEAST_COLUMN_VECTORS and work * vectors > COLUMN_TILE_LIMIT:
        vectors //= 2
    return vectors


def lanes(body: Sequence[Statement], machine: Machine) -> int:
    """Elements at once: full vectors of the widest dtype that the body computes with."""
    return machine.lanes(_widest(body))


def loop_lanes(loop: For, machine: Machine) -> int:
    """The same for one loop: if it is shorter than a vector, the least that holds it. Elements that
    are picked from rows come from as few vectors as there can be, which are whole ones; and what
    functions give for an element must not depend on how long a loop is."""
    body = _without_shared(loop, machine)
    size = _widest(body)
    width, made = machine.lanes(size), defined_in(body)
    if any(_is_gathered(load, made) for load in loads_in(body)):
        return min(width, GATHERED_LANES)
    flats = (load.buffer.flat(load.index) for load in loads_in(loop.body))
    apart = any(abs(flat.coefficient(loop.var)) > 1 for flat in flats)
    if apart or any(_op_cost(operator) > _op_cost("div") for operator in _operators(loop.body)):
        return width
    while width // 2 >= loop.trips and width * size > NARROWEST:
        width //= 2
    return width


def _without_shared(loop: For, machine: Machine) -> Sequence[Statement]:
    """The body of a loop without the quotients of indices that all lanes will share."""
    rest = [s for s in loop.body if not _divides_index(s, loop.var)]
    lanes = machine.lanes(_widest(rest))
    sums = any(isinstance(statement, Update) for statement in loop.body)
    shared = sums and all(_divides_index(s, loop.var) % lanes == 0 for s in loop.body)
    return rest if shared else loop.body


def _divides_index(statement: Statement, var: Var) -> int:
    """What the vectors of a loop may be a part of, where a statement is the quotient or remainder
    of an index that counts with it: the gcd of the divisor and all that the index begins at."""
    match statement:
        case Let(_, Apply("floor_div" | "mod", (Index(index), Literal(divisor)))):
            others = (number for atom, number in index.terms if atom is not var)
            if index.coefficient(var) == 1:
                return math.gcd(int(divisor), index.constant, *others)
    return 0


def _widest(body: Sequence[Statement]) -> int:
    """The bytes of the widest dtype that a body computes with; at least 2."""
    size = 2
    for statement in walk(body):
        if isinstance(statement, Store):
            size = max(size, statement.buffer.dtype.itemsize)
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load | Apply | Ref) and not _is_index(part):
                    size = max(size, part.dtype.itemsize)
    return size


def _is_index(part: object) -> bool:
    """An index that is only converted is made in the dtype that it is wanted in."""
    return isinstance(part, Index)


def cost(body: Sequence[Statement]) -> int:
    """Operators and memory accesses of one execution of the statements, loops multiplied. What lies
    where data says is as many accesses as a vector of it has lanes."""
    total = 0
    loads: set[Load] = set()  # what is read twice is loaded once
    for statement in body:
        if isinstance(statement, For):
            total += statement.trips * cost(statement.body)
            continue
        if isinstance(statement, Store | Update):
            total += 1
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    loads.add(part)
                elif isinstance(part, Apply):
                    total += _op_cost(part.op)
    made = {statement.register for statement in body if isinstance(statement, Let)}
    return total + sum(GATHERED_LANES if _is_gathered(load, made) else 1 for load in loads)


def _is_gathered(load: Load, made: set[Register]) -> bool:
    """Whether what was made of data is a part of the index."""
    return any(atom in made for at in load.index for atom, _ in at.terms)


def unroll(body: Sequence[Statement], late: bool) -> int:
    """Copies of a vector loop's body: small ones hide the latency of their loads, and chains of
    operators that of each other. What divides waits for the divider, all the same, unless it stores
    to what comes `late`: two loads are under way then before a store. Functions are written with
    short chains. Elements at indices are read one by one, which is copies enough.
    """
    work, operators = cost(body), set(_operators(body))
    if work > UNROLL_LIMIT or "position" in operators:
        return 1
    if operators & DIVIDING:
        return 2 if late else 1
    simple = not any(map(is_costly, operators))
    return 4 if simple or work <= UNROLL_LIMIT // 2 else 2


def _operators(body: Sequence[Statement]) -> Iterator[str]:
    for statement in walk(body):
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Apply):
                    yield part.op


def copies(body: Sequence[Statement], accumulators: int, vectors: int) -> int:
    """How often what a reduction adds up is written out: at most once for every accumulator.

    Accumulators that take turns at fewer copies are moved between registers, in a loop.
    """
    work = cost(body)
    once = vectors <= accumulators or work * accumulators <= OWN_COPY_LIMIT
    number = accumulators if once else accumulators // 2
    while number > 1 and work * number > SHARED_COPY_LIMIT:
        number //= 2
    return number


def locates(trips: int, dtype: DType) -> bool:
    """Whether the place of an extreme value is found with it: where most vectors are not the first
    of their accumulator. Indices of narrow elements would fill several vectors for each of these.
    """
    return trips >= 2 * TREE_WIDTH and dtype.itemsize >= 4


def copies_are_short(body: Sequence[Statement], copies: int) -> bool:
    """Whether what is added up down columns may be written out so many times."""
    return cost(body) * copies <= COPY_LIMIT


def rows_lie_across(loop: For) -> bool:
    """Whether the loops inside of one go along rows so short that each had better have a lane."""
    inner = [statement for statement in walk(loop.body) if isinstance(statement, For)]
    if not inner or not all(each.kind == "serial" and each.step == 1 for each in (loop, *inner)):
        return False
    longest = max(each.trips for each in inner)
    return is_short_row(longest, loop.trips) and cost(loop.body) <= SHORT_ROW_COST


def gathers_lie_across(loop: For) -> bool:
    """Whether the elements of rows that data chooses had better have a lane for each row: where
    these are no vectors, and the indices lie next to each other, or are computed."""
    trips = [inner.trips for inner in walk(loop.body) if isinstance(inner, For)]
    indices = [load for load in loads_in(loop.body) if load.dtype.kind in "iu"]
    apart = (abs(load.buffer.flat(load.index).coefficient(loop.var)) for load in indices)
    return max(trips, default=0) <= LONGEST_GATHERED_ROW and max(apart, default=0) <= 1


def is_short_row(length: int, rows: int) -> bool:
    """Whether a row is short, and one of so many that each had better have a lane."""
    least = LEAST_SHORT_ROWS if length <= SHORTER_ROW else MANY_SHORT_ROWS
    return length <= LONGEST_ROW and rows >= least


def is_costly(op: str) -> bool:
    """Whether an operator takes more than a place of an instruction that is computed anyway."""
    return _op_cost(op) > 1


def _op_cost(op: str) -> int:
    """Of an op of the table, or one that only loops have."""
    return OPS[op].cost if op in OPS else 1


def worth_threads(work: int, traffic: int = 0, awake: bool = False) -> bool:
    """Whether a loop does enough to be shared among threads, or moves so many bytes; less, where
    another loop of the kernel keeps them `awake`."""
    return work >= (PARALLEL_WORK_AWAKE if awake else PARALLEL_WORK) or traffic >= PARALLEL_BYTES


def grain(trips: int, work_per_trip: int, apart: int = 0) -> int:
    """Iterations that a thread claims at once; more where they store to pieces that lie so many
    bytes `apart` and share cache lines, for which threads would have to wait in turns."""
    wanted = max(1, min(GRAIN_WORK // max(1, work_per_trip), trips // 8))
    if apart % CACHE_LINE:
        wanted = max(wanted, min(-(-LEAST_PIECE // apart), trips // 16))
    claims = multiple(-(-trips // wanted), 8)  # as many for each thread
    return max(1, -(-trips // claims))


def sort_grain(rows: int, size: int) -> int:
    """Rows that a thread claims at once to sort them; all of them where they are little work."""
    work = size * size.bit_length()
    return grain(rows, work) if worth_threads(rows * work) else rows


def chunk(count: int, step: int, work_per_element: int, tile: int = 0) -> int:
    """Elements of a flat loop that a thread claims at once: a multiple of the vector step."""
    wanted = tile or max(step, min(CHUNK_WORK // max(1, work_per_element), count // 16))
    return max(step, wanted // step * step)


SCATTER_BLOCK = 256  # elements whose places wait in scratch
SCATTER_UNROLL = 4
SCATTER_LONG = 1 << 16  # updates that are worth threads, and a copy of the target for each part
SCATTER_PARTS = 16
SCATTER_SHARE = 16  # updates for each element of a copy, which is cleared and added up


def scatter_parts(updates: int, size: int) -> int:
    """In how many parts, each with a copy of the target, updates are done; 1 for none."""
    if updates < SCATTER_LONG:
        return 1
    return max(1, min(SCATTER_PARTS, updates // (SCATTER_SHARE * size)))


RUNNING_BLOCK = 16  # rows and steps of a block of running sums: fixed, for it is their order
RUNNING_LONG = 1024  # elements of a row that is worth blocks
RUNNING_SQUARE = 4  # rows side by side in lanes: more are no faster, and take longer to compile
RUNNING_VECTORS = 4  # vectors of columns whose running sums go down side by side


def runs_in_blocks(shape: Shape, axis: int) -> bool:
    """Whether running sums are made block by block: of long rows, too few to fill a square."""
    alone = math.prod(shape[axis + 1 :]) == 1 and math.prod(shape[:axis]) < RUNNING_SQUARE
    return alone and shape[axis] >= RUNNING_LONG


def running_side(rows: int, lanes: int) -> int:
    """Rows whose running sums stand side by side in the lanes of a vector, a square of them."""
    return min(lanes, RUNNING_SQUARE) if rows >= RUNNING_SQUARE else 1


STREAMED = 1 << 20  # bytes of a result that is worth streaming
PASSES = 2  # times the last cache: of less traffic, some is still there when it is used again


def outgrows_cache(traffic: int, machine: Machine) -> bool:
    """Whether what a kernel reads and writes does not stay in the last cache until it is used."""
    return traffic > PASSES * machine.l3


def streams(nbytes: int) -> bool:
    """Whether a result of such a kernel is worth nontemporal stores."""
    return nbytes >= STREAMED


PREFETCH_BYTES = 8192  # ahead: a core reads as much while the memory answers
MOST_SWEEPS = 4  # loops over a row: more, and it is an operand that is used again
ROWS_AT_ONCE = 2  # that share a vector; four gain little more and take longer to compile
PAGE = 4096  # bytes
MEMORY_BOUND = 8  # cost of a vector that the memory brings more slowly than it is computed


def comes_late(nbytes: int, machine: Machine) -> bool:
    """Whether an operand does not come from a core's own caches."""
    return nbytes > machine.l2


def asks_ahead(elements: int, size: int, nbytes: int, machine: Machine) -> bool:
    """Whether an operand, of which so many elements are loaded, is worth asking for in advance:
    it is read in order, by some loops over each row, and cores do not follow streams themselves."""
    in_order = elements <= MOST_SWEEPS * size + size // 4
    return comes_late(nbytes, machine) and in_order and not machine.follows_streams


SWEEP = 2048  # bytes of a row that a loop passes over, and not its end alone
LONG_ROW = 8192  # bytes: while shorter ones are reduced, a core already works on the next
LEAST_ROW_AHEAD = 3072  # bytes: it reads shorter ones ahead, too
ONLY_READS = 3  # cost of a body that takes less time than its vector needs to come


def reads_ahead(nbytes: int, shape: Shape, machine: Machine) -> bool:
    """Whether an operand's next row is worth asking for while one is read again.

    It has to come from the last cache, two rows to fit the first one; and cores that do not follow
    streams have been told in the first loop over a row.
    """
    if not machine.follows_streams or not machine.l2 < nbytes <= machine.l3 or len(shape) < 2:
        return False
    return LEAST_ROW_AHEAD <= nbytes // math.prod(shape[:-1]) <= machine.l1 // 2


def reads_more_slowly(first: Statement, last: Statement) -> bool:
    """Whether the first loop over a row waits for what it reads, and the last one would not take
    so long for it that the core reads ahead meanwhile."""
    return _cost_of_vector(first) <= ONLY_READS and _cost_of_vector(last) <= MEMORY_BOUND


def _cost_of_vector(statement: Statement) -> int:
    loops = [one for one in walk([statement]) if isinstance(one, For) and one.kind == "vector"]
    return max((cost(loop.body) for loop in loops), default=0)


def waits_for_memory(body: Sequence[Statement], rows: int = 1) -> bool:
    """Whether a vector loop does little for what it reads, of so many rows."""
    return cost(body) <= MEMORY_BOUND * rows


def rows_at_once(count: int, nbytes: int, sums: int, machine: Machine) -> int:
    """Rows that are added up side by side, with so many registers for the sums of each.

    Worth it where they come from a cache, and not the first: memory brings one row after the other
    faster, and rows that lie whole pages apart share few sets of a cache.
    """
    comes_from_cache = machine.l1 < nbytes <= machine.l3 // 3
    apart = nbytes // count % PAGE != 0
    fits = ROWS_AT_ONCE * sums <= machine.vector_registers - ROWS_AT_ONCE - 2
    even = count % ROWS_AT_ONCE == 0 and count > ROWS_AT_ONCE
    return ROWS_AT_ONCE if comes_from_cache and apart and fits and even else 1


SQUARE_LIMIT = 100  # cost of what is written out on the registers of a transposed square
SQUARE_SIDE = 16  # lanes at most: wider squares of narrow elements are not faster, and more code
EDGE_SQUARES = 4  # times smaller are the squares at the edges: few instructions more
BLOCK_ROWS = 32  # rows of a block where one access runs across the others
CACHE_LINE = 64


def line_elements(body: Sequence[Statement]) -> int:
    """Elements of a cache line, for the narrowest dtype that is loaded or stored."""
    size = 8
    for statement in walk(body):
        if isinstance(statement, Store):
            size = min(size, statement.buffer.dtype.itemsize)
        for expression in expressions_of(statement):
            for part in parts(expression):
                if isinstance(part, Load):
                    size = min(size, part.dtype.itemsize)
    return CACHE_LINE // size


def multiple(count: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `count`."""
    return -(-count // unit) * unit
