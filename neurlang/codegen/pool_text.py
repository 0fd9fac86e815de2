"""The worker pool's LLVM IR: how threads claim indices, who wakes whom, when a call ends.

The layout of the memory is `runtime.threads.PoolState`. Workers park on a futex on Linux, on a
condition variable on other systems with POSIX threads; elsewhere there are none.
"""

from __future__ import annotations

import ctypes
import signal
from string import Template

from neurlang.codegen.hiring_text import HIRING
from neurlang.codegen.parking_text import WAITING, Parking, parking_names
from neurlang.codegen.signals_text import signals_text
from neurlang.runtime.threads import MOST_RANGES, PoolState, Range

# So long does a call run before it wakes workers, if those that were woken last came too late.
DOUBT_NANOSECONDS = 100_000
MOST_DOUBT = 63

_ALONE = """
define i32 @neurlang_parallel(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
entry:
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %run, label %done
run:
  %index = phi i64 [ 0, %entry ], [ %next, %run ]
  call void %body(ptr %context, i64 %index, i64 0)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %run, label %done
done:
  ret i32 0
}
"""

_SERIAL = """
; Run all indices, or as many as there is time for until the call has to stop: then it is true.
define internal i1 @run_serially(ptr %body, ptr %context, i64 %count) nounwind {
entry:
  call void @expect_signals()
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %run, label %done
run:
  %index = phi i64 [ 0, %entry ], [ %next, %go_on ]
  call void %body(ptr %context, i64 %index, i64 0)
  %next = add i64 %index, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %go_on, label %done
go_on:
  %stops = call i1 @stopped()
  br i1 %stops, label %stop, label %run
stop:
  ret i1 true
done:
  ret i1 false
}
"""

_WORKING = """
@neurlang_pool = global [$size x i8] zeroinitializer, align 64

; The ticket of a range if it has indices of call %epoch that nobody has claimed, else 0.
define internal i64 @unclaimed(ptr %range, i32 %epoch) nounwind {
  %ticket = load atomic i64, ptr %range acquire, align 8
  %left = and i64 %ticket, 4294967295
  %upper = lshr i64 %ticket, 32
  %current = trunc i64 %upper to i32
  %same_call = icmp eq i32 %current, %epoch
  %any_left = icmp ne i64 %left, 0
  %claimable = and i1 %same_call, %any_left
  %result = select i1 %claimable, i64 %ticket, i64 0
  ret i64 %result
}

; Claim an index of range %number for call %epoch: the index plus 1, or 0 if none is left. The
; call's caller changes nothing that is read about it before the claimed index is finished.
define internal i64 @claim_in_range(i32 %epoch, i64 %number) nounwind {
entry:
  %range = getelementptr [$range_size x i8], ptr $range, i64 %number
  br label %look
look:
  %ticket = call i64 @unclaimed(ptr %range, i32 %epoch)
  %any = icmp ne i64 %ticket, 0
  br i1 %any, label %claim, label %none
claim:
  %fewer = sub i64 %ticket, 1
  %swap = cmpxchg ptr %range, i64 %ticket, i64 %fewer acq_rel monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %success, label %look
success:
  %end_place = getelementptr i8, ptr %range, i64 $range_end
  %end = load atomic i64, ptr %end_place monotonic, align 8
  %left = and i64 %ticket, 4294967295
  %index = sub i64 %end, %left
  %claimed = add i64 %index, 1
  ret i64 %claimed
none:
  ret i64 0
}

; Claim an index of call %epoch: of range %first, or of the next one of %ranges that has any.
define internal i64 @claim(i32 %epoch, i64 %first, i64 %ranges) nounwind {
entry:
  br label %look
look:
  %number = phi i64 [ %first, %entry ], [ %next, %further ]
  %claimed = call i64 @claim_in_range(i32 %epoch, i64 %number)
  %none = icmp eq i64 %claimed, 0
  br i1 %none, label %further, label %done
further:
  %behind = add i64 %number, 1
  %over = icmp uge i64 %behind, %ranges
  %next = select i1 %over, i64 0, i64 %behind
  %around = icmp eq i64 %next, %first
  br i1 %around, label %done, label %look
done:
  ret i64 %claimed
}

; Whether nobody needs to join call %epoch any more: all of its indices are claimed.
define internal i1 @all_claimed(i32 %epoch) nounwind {
entry:
  %ranges = load atomic i64, ptr $ranges monotonic, align 8
  br label %look
look:
  %number = phi i64 [ 0, %entry ], [ %next, %further ]
  %range = getelementptr [$range_size x i8], ptr $range, i64 %number
  %ticket = call i64 @unclaimed(ptr %range, i32 %epoch)
  %any = icmp ne i64 %ticket, 0
  br i1 %any, label %some, label %further
further:
  %next = add i64 %number, 1
  %more = icmp ult i64 %next, %ranges
  br i1 %more, label %look, label %all
some:
  ret i1 false
all:
  ret i1 true
}

define internal void @run(i64 %claimed, i64 %worker) nounwind {
  %body = load atomic ptr, ptr $body monotonic, align 8
  %context = load atomic ptr, ptr $context monotonic, align 8
  %index = sub i64 %claimed, 1
  call void %body(ptr %context, i64 %index, i64 %worker)
  ret void
}

; A worker's part of call %epoch: how many indices it ran. The range that it begins with is not
; the caller's, and the same in calls of as many ranges, so that it finds in its caches what it left
; there. After threads have left and come, or where few of many are woken, two may begin with one.
define internal i32 @work(i32 %epoch, i64 %place, i64 %worker) nounwind {
entry:
  %ranges = load atomic i64, ptr $ranges monotonic, align 8
  %others = sub i64 %ranges, 1
  %turn = urem i64 %place, %others
  %own = add i64 %turn, 1
  br label %look
look:
  %ran = phi i32 [ 0, %entry ], [ %ran_more, %run ]
  %claimed = call i64 @claim(i32 %epoch, i64 %own, i64 %ranges)
  %none = icmp eq i64 %claimed, 0
  br i1 %none, label %done, label %run
run:
  call void @run(i64 %claimed, i64 %worker)
  %ran_more = add i32 %ran, 1
  br label %look
done:
  ret i32 %ran
}
"""

_PARALLEL = """
; Tell the workers of a call, whose indices are cut in a range for each thread; the result is its
; number.
define internal i32 @publish(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
entry:
  store atomic ptr %body, ptr $body monotonic, align 8
  store atomic ptr %context, ptr $context monotonic, align 8
  store atomic i64 %count, ptr $count monotonic, align 8
  store atomic i64 %limit, ptr $limit monotonic, align 8
  store atomic i32 0, ptr $finished monotonic, align 4
  %core = $core
  store atomic i32 %core, ptr $home monotonic, align 4
  %last = load atomic i32, ptr $epoch monotonic, align 4
  %epoch = add i32 %last, 1
  %call = zext i32 %epoch to i64
  %upper = shl i64 %call, 32
  store atomic i64 %upper, ptr $joined release, align 8
  %fewer = call i64 @llvm.smin.i64(i64 %count, i64 %limit)
  %ranges = call i64 @llvm.smin.i64(i64 %fewer, i64 $most_ranges)
  store atomic i64 %ranges, ptr $ranges monotonic, align 8
  br label %cut
cut:
  %number = phi i64 [ 0, %entry ], [ %next, %cut ]
  %start = phi i64 [ 0, %entry ], [ %end, %cut ]
  %next = add i64 %number, 1
  %scaled = mul i64 %count, %next
  %end = udiv i64 %scaled, %ranges
  %left = sub i64 %end, %start
  %ticket = or i64 %upper, %left
  %range = getelementptr [$range_size x i8], ptr $range, i64 %number
  %end_place = getelementptr i8, ptr %range, i64 $range_end
  store atomic i64 %end, ptr %end_place monotonic, align 8
  store atomic i64 %ticket, ptr %range release, align 8
  %more = icmp ult i64 %next, %ranges
  br i1 %more, label %cut, label %tell
tell:
  store atomic i32 %epoch, ptr $epoch seq_cst, align 4
  ret i32 %epoch
}

; A worker that was woken on its caller's core has taken its place, and would do all its work. The
; scheduler puts it there where other cores are busy.
define internal void @make_room() nounwind {
entry:
  %core = $core
  %known = icmp sge i32 %core, 0
  %home = load atomic i32, ptr $home monotonic, align 4
  %same = icmp eq i32 %core, %home
  %in_the_way = and i1 %known, %same
  br i1 %in_the_way, label %leave, label %done
leave:
  call void @leave_core(i32 %core)
  br label %done
done:
  ret void
}

; Wake as many workers as the call can use.
define internal void @call_workers() nounwind {
  %count = load atomic i64, ptr $count monotonic, align 8
  %limit = load atomic i64, ptr $limit monotonic, align 8
  %fewer = call i64 @llvm.smin.i64(i64 %count, i64 %limit)
  %few = call i64 @llvm.smin.i64(i64 %fewer, i64 2147483647)
  %helpers = sub i64 %few, 1
  %most = trunc i64 %helpers to i32
  call void @wake(ptr $epoch, ptr $sleepers, i32 %most)
  ret void
}
declare i64 @llvm.smin.i64(i64, i64)

; Whether this call is to wake workers late. To wake one costs about 5 us, and where the cores are
; busy it comes when all is done. But few indices are long ones, which are not to be waited for.
define internal i1 @doubts() nounwind {
entry:
  %count = load atomic i64, ptr $count monotonic, align 8
  %limit = load atomic i64, ptr $limit monotonic, align 8
  %many = shl i64 %limit, 2
  %few = icmp slt i64 %count, %many
  %doubt = load i32, ptr $doubt
  %none = icmp eq i32 %doubt, 0
  %no = or i1 %few, %none
  br i1 %no, label %trust, label %doubts
doubts:
  %less = sub i32 %doubt, 1
  store i32 %less, ptr $doubt
  ret i1 true
trust:
  ret i1 false
}

; How a call ended: twice as many calls are in doubt after each that woke workers in vain, and none
; once a worker has helped.
define internal void @judge(i1 %woke, i32 %others) nounwind {
entry:
  %helped = icmp ne i32 %others, 0
  br i1 %helped, label %trust, label %failed
trust:
  store i32 0, ptr $failures
  store i32 0, ptr $doubt
  ret void
failed:
  br i1 %woke, label %doubt, label %done
doubt:
  %failures = load i32, ptr $failures
  %twice = shl i32 %failures, 1
  %next = or i32 %twice, 1
  %more = call i32 @llvm.umin.i32(i32 %next, i32 $most_doubt)
  store i32 %more, ptr $failures
  store i32 %more, ptr $doubt
  br label %done
done:
  ret void
}
declare i32 @llvm.umin.i32(i32, i32)

; The caller takes what is left of its call, and runs none of it: how many indices those are.
define internal i32 @abandon() nounwind {
entry:
  %ranges = load atomic i64, ptr $ranges monotonic, align 8
  br label %each
each:
  %number = phi i64 [ 0, %entry ], [ %next, %taken ]
  %all = phi i64 [ 0, %entry ], [ %more, %taken ]
  %range = getelementptr [$range_size x i8], ptr $range, i64 %number
  br label %look
look:
  %ticket = load atomic i64, ptr %range acquire, align 8
  %none = and i64 %ticket, -4294967296
  %swap = cmpxchg ptr %range, i64 %ticket, i64 %none acq_rel monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %taken, label %look
taken:
  %left = and i64 %ticket, 4294967295
  %more = add i64 %all, %left
  %next = add i64 %number, 1
  %further = icmp ult i64 %next, %ranges
  br i1 %further, label %each, label %done
done:
  %abandoned = trunc i64 %more to i32
  ret i32 %abandoned
}

; The caller's part of call %epoch: whether it had to stop.
define internal i1 @lead(i32 %epoch) nounwind {
entry:
  call void @expect_signals()
  %begin = call i64 @nanoseconds()
  %late = add i64 %begin, $late
  %ranges = load atomic i64, ptr $ranges monotonic, align 8
  %doubts = call i1 @doubts()
  br i1 %doubts, label %look, label %wake_now
wake_now:
  call void @call_workers()
  br label %look
look:
  %ran = phi i32 [ 0, %entry ], [ 0, %wake_now ], [ %ran_more, %go_on ]
  %woke = phi i1 [ false, %entry ], [ true, %wake_now ], [ %woke_now, %go_on ]
  %claimed = call i64 @claim(i32 %epoch, i64 0, i64 %ranges)
  %none = icmp eq i64 %claimed, 0
  br i1 %none, label %done, label %run
run:
  call void @run(i64 %claimed, i64 0)
  %ran_more = add i32 %ran, 1
  br i1 %woke, label %listen, label %look_at_clock
look_at_clock:
  %now = call i64 @nanoseconds()
  %is_late = icmp sge i64 %now, %late
  br i1 %is_late, label %wake_late, label %listen
wake_late:
  call void @call_workers()
  br label %listen
listen:
  %woke_now = phi i1 [ true, %run ], [ false, %look_at_clock ], [ true, %wake_late ]
  %stops = call i1 @stopped()
  br i1 %stops, label %stop, label %go_on
go_on:
  br label %look
stop:
  %abandoned = call i32 @abandon()
  %all = add i32 %ran_more, %abandoned
  call void @join(i32 %all, i1 %woke_now)
  ret i1 true
done:
  call void @join(i32 %ran, i1 %woke)
  ret i1 false
}

; Wait until the others have run what they claimed of a call.
define internal void @join(i32 %ran, i1 %woke) nounwind {
entry:
  %count = load atomic i64, ptr $count monotonic, align 8
  %total = trunc i64 %count to i32
  %others = sub i32 %total, %ran
  br label %look
look:
  %finished = load atomic i32, ptr $finished acquire, align 4
  %all = icmp eq i32 %finished, %others
  br i1 %all, label %done, label %wait
wait:
  call void @wait_for_change(ptr $finished, i32 %finished, ptr $waiting)
  br label %look
done:
  call void @judge(i1 %woke, i32 %others)
  ret void
}

; A count that does not fit the lower half of a ticket is serial: no program is cut so finely. The
; result is 1 where the call had to stop, with a Python exception set, else 0.
define i32 @neurlang_parallel(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
entry:
  %several = icmp sgt i64 %count, 1
  %allowed = icmp sgt i64 %limit, 1
  %fits = icmp slt i64 %count, 4294967296
  %shared = and i1 %several, %allowed
  %possible = and i1 %shared, %fits
  br i1 %possible, label %try, label %serial
try:
  %taken = call i1 @take()
  br i1 %taken, label %parallel, label %serial
serial:
  %serial_stop = call i1 @run_serially(ptr %body, ptr %context, i64 %count)
  br label %done
parallel:
  %epoch = call i32 @publish(ptr %body, ptr %context, i64 %count, i64 %limit)
  %parallel_stop = call i1 @lead(i32 %epoch)
  store atomic i32 0, ptr $busy release, align 4
  br label %done
done:
  %stop = phi i1 [ %serial_stop, %serial ], [ %parallel_stop, %parallel ]
  %result = zext i1 %stop to i32
  ret i32 %result
}
"""


def pool_text(parking: Parking, signals: bool) -> str:
    """The pool as LLVM IR, for this system; `signals` says whether callers listen to Python's."""
    if parking == "none":
        return _ALONE
    offsets = {name: getattr(PoolState, name).offset for name, *_ in PoolState._fields_}
    fields = {
        name: f"getelementptr (i8, ptr @neurlang_pool, i64 {offset})"
        for name, offset in offsets.items()
    }
    crashes = (signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
    keep = "\n  ".join(f"call i32 @sigdelset(ptr %mask, i32 {int(crash)})" for crash in crashes)
    text = Template(WAITING + signals_text(signals) + _SERIAL + _WORKING + HIRING + _PARALLEL)
    return text.substitute(
        {**fields, **parking_names(parking, fields)},
        size=ctypes.sizeof(PoolState),
        most_ranges=MOST_RANGES,
        range_size=ctypes.sizeof(Range),
        range_end=Range.end.offset,
        keep_crash_signals=keep,
        set_mask=int(signal.SIG_SETMASK),
        late=DOUBT_NANOSECONDS,
        most_doubt=MOST_DOUBT,
    )
