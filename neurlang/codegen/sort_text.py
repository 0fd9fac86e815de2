"""Rows in order, as LLVM IR: shared code around NumPy's vectorised sorts, which are not stable.

Among values that shows in zeros of both signs alone, of which they may turn some into the other:
where a row has any -0.0, its zeros are stored again as they came. Indices come from keys that no
two elements share: how far a place in the order is above the least of its row, and the index. Where
the row's range leaves no room for indices, the lowest bits of the places are cut off, and elements
that agree in the others are sorted by those afterwards.
"""

from __future__ import annotations

from string import Template

import numpy as np

from neurlang.ir.types import FLOAT32, FLOAT64
from neurlang.runtime.sorting import DTYPES, SORTERS

SORT_ROWS, ARGSORT_ROWS = "neurlang_sort_rows", "neurlang_argsort_rows"
VECTOR_BITS = 512  # looked at together

_ZEROS = """
; Store the zeros of a sorted row again, in the order of the row that it was made of.
define internal void @order_zeros_$name(ptr %in, ptr %out, i64 %size) nounwind {
entry:
  br label %search
search:
  %low = phi i64 [ 0, %entry ], [ %new_low, %halve ]
  %high = phi i64 [ %size, %entry ], [ %new_high, %halve ]
  %open = icmp ult i64 %low, %high
  br i1 %open, label %halve, label %scan
halve:
  %sum = add i64 %low, %high
  %middle = lshr i64 %sum, 1
  %middle_place = getelementptr $type, ptr %out, i64 %middle
  %middle_value = load $type, ptr %middle_place
  %below = fcmp olt $type %middle_value, 0.0
  %above_middle = add i64 %middle, 1
  %new_low = select i1 %below, i64 %above_middle, i64 %low
  %new_high = select i1 %below, i64 %high, i64 %middle
  br label %search

; Vectors of the source, then single elements: is any a negative zero?
scan:
  %any = icmp ult i64 %low, %size
  br i1 %any, label %look, label %done
look:
  %place = getelementptr $type, ptr %out, i64 %low
  %value = load $type, ptr %place
  %zero = fcmp oeq $type %value, 0.0
  br i1 %zero, label %vectors, label %done
vectors:
  %at = phi i64 [ 0, %look ], [ %after_vector, %vector ]
  %after_vector = add i64 %at, $lanes
  %whole = icmp ule i64 %after_vector, %size
  br i1 %whole, label %vector, label %singles
vector:
  %vector_place = getelementptr $type, ptr %in, i64 %at
  %several = load <$lanes x $bits>, ptr %vector_place, align $align
  %negative_zeros = icmp eq <$lanes x $bits> %several, splat ($bits $negative_zero)
  %mask = bitcast <$lanes x i1> %negative_zeros to i$lanes
  %none = icmp eq i$lanes %mask, 0
  br i1 %none, label %vectors, label %again
singles:
  %here = phi i64 [ %at, %vectors ], [ %next, %single ]
  %inside = icmp ult i64 %here, %size
  br i1 %inside, label %single, label %done
single:
  %single_place = getelementptr $type, ptr %in, i64 %here
  %single_bits = load $bits, ptr %single_place
  %negative = icmp eq $bits %single_bits, $negative_zero
  %next = add i64 %here, 1
  br i1 %negative, label %again, label %singles

again:
  %from = phi i64 [ 0, %vector ], [ 0, %single ], [ %following, %go_on ]
  %to = phi i64 [ %low, %vector ], [ %low, %single ], [ %new_to, %go_on ]
  %all = icmp eq i64 %from, %size
  br i1 %all, label %done, label %read
read:
  %source = getelementptr $type, ptr %in, i64 %from
  %original = load $type, ptr %source
  %following = add i64 %from, 1
  %is_zero = fcmp oeq $type %original, 0.0
  br i1 %is_zero, label %write, label %go_on
write:
  %target = getelementptr $type, ptr %out, i64 %to
  store $type %original, ptr %target
  %after = add i64 %to, 1
  br label %go_on
go_on:
  %new_to = phi i64 [ %to, %read ], [ %after, %write ]
  br label %again
done:
  ret void
}
"""

_SORT = """
@sorters = internal constant [$count x ptr] [$sorters]
@sizes = internal constant [$count x i64] [$sizes]
$declarations
declare ptr @memcpy(ptr, ptr, i64)

; Copy rows of a dtype, by its place among DTYPES, and sort each; 1 where memory ran out.
define i32 @$sort_rows(ptr %in, ptr %out, i64 %rows, i64 %size, i64 %dtype) nounwind {
entry:
  %sorter_place = getelementptr ptr, ptr @sorters, i64 %dtype
  %sorter = load ptr, ptr %sorter_place
  %size_place = getelementptr i64, ptr @sizes, i64 %dtype
  %itemsize = load i64, ptr %size_place
  %bytes = mul i64 %itemsize, %size
  br label %test
test:
  %row = phi i64 [ 0, %entry ], [ %next, %sorted ]
  %more = icmp ult i64 %row, %rows
  br i1 %more, label %sort, label %done
sort:
  %offset = mul i64 %row, %bytes
  %source = getelementptr i8, ptr %in, i64 %offset
  %target = getelementptr i8, ptr %out, i64 %offset
  call ptr @memcpy(ptr %target, ptr %source, i64 %bytes)
  %failed = call i32 %sorter(ptr %target, i64 %size, ptr null)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %full, label %zeros
zeros:
  switch i64 %dtype, label %sorted [ i64 $f32, label %f32 i64 $f64, label %f64 ]
f32:
  call void @order_zeros_f32(ptr %source, ptr %target, i64 %size)
  br label %sorted
f64:
  call void @order_zeros_f64(ptr %source, ptr %target, i64 %size)
  br label %sorted
sorted:
  %next = add i64 %row, 1
  br label %test
full:
  ret i32 1
done:
  ret i32 0
}

; The least of a row of places, and how much larger the greatest is.
define internal { i64, i64 } @place_range(ptr %in, i64 %size) nounwind {
entry:
  br label %look
look:
  %index = phi i64 [ 0, %entry ], [ %next, %look ]
  %least = phi i64 [ -1, %entry ], [ %lower, %look ]
  %most = phi i64 [ 0, %entry ], [ %upper, %look ]
  %place = getelementptr i64, ptr %in, i64 %index
  %value = load i64, ptr %place
  %lower = call i64 @llvm.umin.i64(i64 %least, i64 %value)
  %upper = call i64 @llvm.umax.i64(i64 %most, i64 %value)
  %next = add i64 %index, 1
  %more = icmp ult i64 %next, %size
  br i1 %more, label %look, label %done
done:
  %range = sub i64 %upper, %lower
  %first = insertvalue { i64, i64 } poison, i64 %lower, 0
  %both = insertvalue { i64, i64 } %first, i64 %range, 1
  ret { i64, i64 } %both
}
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.ctlz.i64(i64, i1)

; The keys of a row of places: the place above the least, without its %cut lowest bits, and behind
; it %bits of index.
define internal void @make_keys(ptr %in, ptr %keys, i64 %size, i64 %least, i64 %cut, i64 %bits)
    nounwind {
entry:
  br label %key
key:
  %index = phi i64 [ 0, %entry ], [ %next, %key ]
  %place = getelementptr i64, ptr %in, i64 %index
  %value = load i64, ptr %place
  %above = sub i64 %value, %least
  %kept = lshr i64 %above, %cut
  %upper = shl i64 %kept, %bits
  %made = or i64 %upper, %index
  %target = getelementptr i64, ptr %keys, i64 %index
  store i64 %made, ptr %target
  %next = add i64 %index, 1
  %more = icmp ult i64 %next, %size
  br i1 %more, label %key, label %done
done:
  ret void
}

; Leave nothing but the indices of keys.
define internal void @strip_keys(ptr %keys, i64 %size, i64 %mask) nounwind {
entry:
  br label %key
key:
  %at = phi i64 [ 0, %entry ], [ %next, %key ]
  %place = getelementptr i64, ptr %keys, i64 %at
  %old = load i64, ptr %place
  %index = and i64 %old, %mask
  store i64 %index, ptr %place
  %next = add i64 %at, 1
  %more = icmp ult i64 %next, %size
  br i1 %more, label %key, label %done
done:
  ret void
}

; Where the run of keys ends that agree but for the index with the one at %start.
define internal i64 @run_end(ptr %keys, i64 %start, i64 %size, i64 %mask) nounwind {
entry:
  %first_place = getelementptr i64, ptr %keys, i64 %start
  %first = load i64, ptr %first_place
  br label %step
step:
  %here = phi i64 [ %start, %entry ], [ %next, %same ]
  %next = add i64 %here, 1
  %inside = icmp ult i64 %next, %size
  br i1 %inside, label %same, label %done
same:
  %place = getelementptr i64, ptr %keys, i64 %next
  %key = load i64, ptr %place
  %difference = xor i64 %key, %first
  %agree = icmp ule i64 %difference, %mask
  br i1 %agree, label %step, label %done
done:
  ret i64 %next
}

; Sort a run by the %cut bits that its keys have not, of places above the least.
define internal i32 @sort_run(ptr %in, ptr %run, i64 %size, i64 %least, i64 %cut, i64 %mask)
    nounwind {
entry:
  %shift = sub i64 64, %cut
  br label %key
key:
  %at = phi i64 [ 0, %entry ], [ %next, %key ]
  %place = getelementptr i64, ptr %run, i64 %at
  %old = load i64, ptr %place
  %index = and i64 %old, %mask
  %source = getelementptr i64, ptr %in, i64 %index
  %value = load i64, ptr %source
  %above = sub i64 %value, %least
  %high = shl i64 %above, %shift
  %made = or i64 %high, %index
  store i64 %made, ptr %place
  %next = add i64 %at, 1
  %more = icmp ult i64 %next, %size
  br i1 %more, label %key, label %sort
sort:
  %pair = icmp eq i64 %size, 2
  br i1 %pair, label %two, label %many
two:
  %second_place = getelementptr i64, ptr %run, i64 1
  %first = load i64, ptr %run
  %second = load i64, ptr %second_place
  %lesser = call i64 @llvm.umin.i64(i64 %first, i64 %second)
  %greater = call i64 @llvm.umax.i64(i64 %first, i64 %second)
  store i64 %lesser, ptr %run
  store i64 %greater, ptr %second_place
  ret i32 0
many:
  %failed = call i32 @$sort_keys(ptr %run, i64 %size, ptr null)
  ret i32 %failed
}

; Sort every run of keys that agree but for the index; 1 where memory ran out.
define internal i32 @sort_runs(ptr %in, ptr %keys, i64 %size, i64 %least, i64 %cut, i64 %mask)
    nounwind {
entry:
  br label %run
run:
  %start = phi i64 [ 0, %entry ], [ %end, %next ]
  %left = icmp ult i64 %start, %size
  br i1 %left, label %find, label %done
find:
  %end = call i64 @run_end(ptr %keys, i64 %start, i64 %size, i64 %mask)
  %length = sub i64 %end, %start
  %alone = icmp eq i64 %length, 1
  br i1 %alone, label %next, label %order
order:
  %first = getelementptr i64, ptr %keys, i64 %start
  %failed = call i32 @sort_run(
      ptr %in, ptr %first, i64 %length, i64 %least, i64 %cut, i64 %mask)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %full, label %next
next:
  br label %run
full:
  ret i32 1
done:
  ret i32 0
}

; The indices that sort rows of places, uint64, of which there are at most 2**32 in a row; 1 where
; memory ran out.
define i32 @$argsort_rows(ptr %in, ptr %out, i64 %rows, i64 %size) nounwind {
entry:
  %bytes = mul i64 %size, 8
  %last = sub i64 %size, 1
  %unused = call i64 @llvm.ctlz.i64(i64 %last, i1 false)
  %wanted = sub i64 64, %unused
  %bits = call i64 @llvm.umax.i64(i64 %wanted, i64 1)
  %power = shl i64 1, %bits
  %mask = sub i64 %power, 1
  %room = sub i64 64, %bits
  %any = icmp ne i64 %size, 0
  br i1 %any, label %test, label %done
test:
  %row = phi i64 [ 0, %entry ], [ %next_row, %ordered ]
  %more = icmp ult i64 %row, %rows
  br i1 %more, label %sort, label %done
sort:
  %offset = mul i64 %row, %bytes
  %source = getelementptr i8, ptr %in, i64 %offset
  %target = getelementptr i8, ptr %out, i64 %offset
  %bounds = call { i64, i64 } @place_range(ptr %source, i64 %size)
  %least = extractvalue { i64, i64 } %bounds, 0
  %range = extractvalue { i64, i64 } %bounds, 1
  %zeros = call i64 @llvm.ctlz.i64(i64 %range, i1 false)
  %width = sub i64 64, %zeros
  %cut = call i64 @llvm.usub.sat.i64(i64 %width, i64 %room)
  call void @make_keys(
      ptr %source, ptr %target, i64 %size, i64 %least, i64 %cut, i64 %bits)
  %failed = call i32 @$sort_keys(ptr %target, i64 %size, ptr null)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %full, label %compare
compare:
  %complete = icmp eq i64 %cut, 0
  br i1 %complete, label %ordered, label %runs
runs:
  %runs_failed = call i32 @sort_runs(
      ptr %source, ptr %target, i64 %size, i64 %least, i64 %cut, i64 %mask)
  %runs_bad = icmp ne i32 %runs_failed, 0
  br i1 %runs_bad, label %full, label %ordered
ordered:
  call void @strip_keys(ptr %target, i64 %size, i64 %mask)
  %next_row = add i64 %row, 1
  br label %test
full:
  ret i32 1
done:
  ret i32 0
}
declare i64 @llvm.usub.sat.i64(i64, i64)
"""


def sort_text() -> str:
    """The module text of the shared sorts; it imports NumPy's by the names in SORTERS."""
    zeros = "".join(
        Template(_ZEROS).substitute(
            name=name,
            type=type,
            bits=f"i{bits}",
            lanes=VECTOR_BITS // bits,
            align=bits // 8,
            negative_zero=-1 << (bits - 1),
        )
        for name, type, bits in (("f32", "float", 32), ("f64", "double", 64))
    )
    names = SORTERS.values()
    return zeros + Template(_SORT).substitute(
        count=len(DTYPES),
        sorters=", ".join(f"ptr @{name}" for name in names),
        sizes=", ".join(f"i64 {dtype.itemsize}" for dtype in DTYPES),
        declarations="\n".join(f"declare i32 @{name}(ptr, i64, ptr)" for name in names),
        f32=DTYPES.index(FLOAT32),
        f64=DTYPES.index(FLOAT64),
        sort_rows=SORT_ROWS,
        argsort_rows=ARGSORT_ROWS,
        sort_keys=SORTERS[np.dtype("uint64")],
    )
