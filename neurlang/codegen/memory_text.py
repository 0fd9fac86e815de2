"""The pool of large results as LLVM IR: what NumPy calls to allocate and free their memory.

A fresh page costs more than what is computed into it. So the memory of a large result that nobody
refers to any more is kept for the next one of about that size. The layout of the pool is
`runtime.memory.MemoryState`; each block begins with its own length.
"""

from __future__ import annotations

import ctypes
import mmap
from string import Template

from neurlang.runtime.memory import HEADER, MOST_BLOCKS, PAGE, MemoryState

EXPORTS = (
    "neurlang_memory",
    "neurlang_allocate",
    "neurlang_allocate_zeroed",
    "neurlang_reallocate",
    "neurlang_free",
    "neurlang_empty_pool",
)

SMALL_UNIT, LARGE_UNIT = 1 << 16, 1 << 21  # a large block begins at a huge page and fills several

# Who finds the pool in use does without it: nobody waits, so a signal or a fork in the middle of
# one of these functions delays no one.
_TEXT = """
@neurlang_memory = global [$size x i8] zeroinitializer, align 64
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare i32 @madvise(ptr, i64, i32)
declare ptr @memcpy(ptr, ptr, i64)
declare ptr @memset(ptr, i32, i64)
declare ptr @memmove(ptr, ptr, i64)
declare i64 @llvm.umin.i64(i64, i64)

define internal i1 @take_memory() nounwind {
  %pair = cmpxchg ptr $busy, i32 0, i32 1 acquire monotonic
  %taken = extractvalue { i32, i1 } %pair, 1
  ret i1 %taken
}

define internal void @leave_memory() nounwind {
  store atomic i32 0, ptr $busy release, align 4
  ret void
}

; Remove the block in a slot; those behind it move up.
define internal ptr @removed(i64 %slot) nounwind {
  %place = getelementptr ptr, ptr $blocks, i64 %slot
  %block = load ptr, ptr %place
  %length = load i64, ptr %block
  %held = load i64, ptr $held
  %less = sub i64 %held, %length
  store i64 %less, ptr $held
  %count = load i64, ptr $count
  %fewer = sub i64 %count, 1
  store i64 %fewer, ptr $count
  %behind = sub i64 %fewer, %slot
  %bytes = mul i64 %behind, 8
  %next = getelementptr ptr, ptr %place, i64 1
  call ptr @memmove(ptr %place, ptr %next, i64 %bytes)
  ret ptr %block
}

; The newest block that is long enough, and wastes no more than a quarter; null without one.
define internal ptr @reused(i64 %length) nounwind {
entry:
  %taken = call i1 @take_memory()
  br i1 %taken, label %search, label %none
search:
  %quarter = lshr i64 %length, 2
  %longest = add i64 %length, %quarter
  %count = load i64, ptr $count
  br label %next
next:
  %left = phi i64 [ %count, %search ], [ %slot, %look ]
  %over = icmp eq i64 %left, 0
  br i1 %over, label %missed, label %look
look:
  %slot = sub i64 %left, 1
  %place = getelementptr ptr, ptr $blocks, i64 %slot
  %candidate = load ptr, ptr %place
  %has = load i64, ptr %candidate
  %enough = icmp uge i64 %has, %length
  %close = icmp ule i64 %has, %longest
  %fits = and i1 %enough, %close
  br i1 %fits, label %found, label %next
found:
  %block = call ptr @removed(i64 %slot)
  %times = load i64, ptr $reuses
  %more = add i64 %times, 1
  store i64 %more, ptr $reuses
  call void @leave_memory()
  ret ptr %block
missed:
  call void @leave_memory()
  br label %none
none:
  ret ptr null
}

define internal ptr @fresh(i64 %length) nounwind {
entry:
  %large = icmp uge i64 %length, $large_unit
  %alignment = select i1 %large, i64 $large_unit, i64 $page
  %block = call ptr @aligned_alloc(i64 %alignment, i64 %length)
  %made = icmp ne ptr %block, null
  %both = and i1 %made, %large
  br i1 %both, label %advise, label %done
advise:
  $advise
  br label %done
done:
  ret ptr %block
}

define ptr @neurlang_allocate(ptr %context, i64 %size) nounwind {
entry:
  %possible = icmp ult i64 %size, 4611686018427387904
  br i1 %possible, label %start, label %failed
start:
  %whole = add i64 %size, $header
  %large = icmp uge i64 %whole, $large_unit
  %unit = select i1 %large, i64 $large_unit, i64 $small_unit
  %last = sub i64 %unit, 1
  %up = add i64 %whole, %last
  %mask = sub i64 0, %unit
  %length = and i64 %up, %mask
  %old = call ptr @reused(i64 %length)
  %found = icmp ne ptr %old, null
  br i1 %found, label %ready, label %make
make:
  %new = call ptr @fresh(i64 %length)
  %made = icmp ne ptr %new, null
  br i1 %made, label %label, label %again
again:
  call void @neurlang_empty_pool()
  %second = call ptr @fresh(i64 %length)
  %made_now = icmp ne ptr %second, null
  br i1 %made_now, label %label, label %failed
label:
  %labelled = phi ptr [ %new, %make ], [ %second, %again ]
  store i64 %length, ptr %labelled
  br label %ready
ready:
  %block = phi ptr [ %old, %start ], [ %labelled, %label ]
  %data = getelementptr i8, ptr %block, i64 $header
  ret ptr %data
failed:
  ret ptr null
}

define ptr @neurlang_allocate_zeroed(ptr %context, i64 %count, i64 %each) nounwind {
entry:
  %product = call { i64, i1 } @llvm.umul.with.overflow.i64(i64 %count, i64 %each)
  %size = extractvalue { i64, i1 } %product, 0
  %overflow = extractvalue { i64, i1 } %product, 1
  br i1 %overflow, label %failed, label %allocate
allocate:
  %data = call ptr @neurlang_allocate(ptr %context, i64 %size)
  %made = icmp ne ptr %data, null
  br i1 %made, label %clear, label %failed
clear:
  call ptr @memset(ptr %data, i32 0, i64 %size)
  ret ptr %data
failed:
  ret ptr null
}
declare { i64, i1 } @llvm.umul.with.overflow.i64(i64, i64)

define ptr @neurlang_reallocate(ptr %context, ptr %old, i64 %size) nounwind {
entry:
  %new = call ptr @neurlang_allocate(ptr %context, i64 %size)
  %made = icmp ne ptr %new, null
  %any = icmp ne ptr %old, null
  %both = and i1 %made, %any
  br i1 %both, label %copy, label %done
copy:
  %block = getelementptr i8, ptr %old, i64 -$header
  %length = load i64, ptr %block
  %had = sub i64 %length, $header
  %bytes = call i64 @llvm.umin.i64(i64 %had, i64 %size)
  call ptr @memcpy(ptr %new, ptr %old, i64 %bytes)
  call void @neurlang_free(ptr %context, ptr %old, i64 0)
  br label %done
done:
  ret ptr %new
}

; The oldest blocks go when a new one would exceed the limit, or finds no slot.
define void @neurlang_free(ptr %context, ptr %data, i64 %size) nounwind {
entry:
  %any = icmp ne ptr %data, null
  br i1 %any, label %start, label %done
start:
  %block = getelementptr i8, ptr %data, i64 -$header
  %length = load i64, ptr %block
  %taken = call i1 @take_memory()
  br i1 %taken, label %compare, label %release
compare:
  %limit = load i64, ptr $limit
  %possible = icmp ule i64 %length, %limit
  br i1 %possible, label %make_room, label %leave
leave:
  call void @leave_memory()
  br label %release
release:
  call void @free(ptr %block)
  br label %done
make_room:
  %held = load i64, ptr $held
  %together = add i64 %held, %length
  %count = load i64, ptr $count
  %below = icmp ule i64 %together, %limit
  %slots = icmp ult i64 %count, $most
  %fits = and i1 %below, %slots
  br i1 %fits, label %keep, label %evict
evict:
  %oldest = call ptr @removed(i64 0)
  call void @free(ptr %oldest)
  br label %make_room
keep:
  %place = getelementptr ptr, ptr $blocks, i64 %count
  store ptr %block, ptr %place
  %more = add i64 %count, 1
  store i64 %more, ptr $count
  store i64 %together, ptr $held
  call void @leave_memory()
  br label %done
done:
  ret void
}

define void @neurlang_empty_pool() nounwind {
entry:
  %taken = call i1 @take_memory()
  br i1 %taken, label %look, label %done
look:
  %count = load i64, ptr $count
  %any = icmp ne i64 %count, 0
  br i1 %any, label %drop, label %leave
drop:
  %oldest = call ptr @removed(i64 0)
  call void @free(ptr %oldest)
  br label %look
leave:
  call void @leave_memory()
  br label %done
done:
  ret void
}
"""


def memory_text() -> str:
    """The pool as LLVM IR, for this system."""
    fields = {
        name: f"getelementptr (i8, ptr @neurlang_memory, i64 {getattr(MemoryState, name).offset})"
        for name, *_ in MemoryState._fields_
    }
    huge = getattr(mmap, "MADV_HUGEPAGE", None)
    advise = "" if huge is None else f"call i32 @madvise(ptr %block, i64 %length, i32 {huge})"
    return Template(_TEXT).substitute(
        fields,
        size=ctypes.sizeof(MemoryState),
        header=HEADER,
        page=PAGE,
        most=MOST_BLOCKS,
        small_unit=SMALL_UNIT,
        large_unit=LARGE_UNIT,
        advise=advise,
    )


__all__ = ["EXPORTS", "memory_text"]
