"""The worker pool's LLVM IR: how threads claim indices, how they wait, how they come and go.

The layout of the memory is `runtime.threads.PoolState`. Workers park on a futex on Linux, on a
condition variable on other systems with POSIX threads; elsewhere there are none.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import time
from string import Template
from typing import Literal

from neurlang.runtime.threads import PoolState

SPIN_NANOSECONDS = 20_000

Parking = Literal["futex", "condition", "none"]

# What differs between the ways to park, in the text below: `lock` and `unlock` surround the look
# at the word and the sleep; `prepare` comes before the first worker; `wake` may wake too many.
# 128 and 129 are the futex operations WAIT and WAKE for the threads of one process.
_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_PARK = {
    "futex": {
        "declare_parking": "declare i64 @syscall(i64, ...)",
        "prepare": "",
        "lock": "",
        "unlock": "",
        "sleep": "call i64 (i64, ...) "
        "@syscall(i64 $futex, ptr %word, i32 128, i32 %seen, ptr null)",
        "wake": "call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i32 129, i32 %most)",
    },
    "condition": {
        "declare_parking": """
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)""",
        "prepare": """call i32 @pthread_mutex_init(ptr $mutex, ptr null)
  call i32 @pthread_cond_init(ptr $condition, ptr null)""",
        "lock": "call i32 @pthread_mutex_lock(ptr $mutex)",
        "unlock": "call i32 @pthread_mutex_unlock(ptr $mutex)",
        "sleep": "call i32 @pthread_cond_wait(ptr $condition, ptr $mutex)",
        "wake": """call i32 @pthread_mutex_lock(ptr $mutex)
  call i32 @pthread_cond_broadcast(ptr $condition)
  call i32 @pthread_mutex_unlock(ptr $mutex)""",
    },
}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_PAUSE["arm64"] = _PAUSE["aarch64"]  # macOS's name for it

_SERIAL = """
define internal void @run_serially(ptr %body, ptr %context, i64 %count) nounwind {
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
  ret void
}
"""

_SERIAL_ENTRY = """
define void @neurlang_parallel(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
  call void @run_serially(ptr %body, ptr %context, i64 %count)
  ret void
}
"""

_WAITING = """
$declare_parking
declare i32 @clock_gettime(i32, ptr)
$declare_pause

define internal i64 @nanoseconds() nounwind {
  %time = alloca { i64, i64 }
  call i32 @clock_gettime(i32 $clock, ptr %time)
  %fraction_address = getelementptr { i64, i64 }, ptr %time, i32 0, i32 1
  %seconds = load i64, ptr %time
  %fraction = load i64, ptr %fraction_address
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %fraction
  ret i64 %sum
}

; Return once the word differs from %seen: spin at first, then sleep. %sleepers counts who sleeps;
; whoever changes the word reads the count afterwards, and both orders are total, so either the
; sleeper sees the change or the changer sees the sleeper.
define internal void @wait_for_change(ptr %word, i32 %seen, ptr %sleepers) nounwind {
entry:
  %begin = call i64 @nanoseconds()
  %deadline = add i64 %begin, $spin
  br label %burst
burst:
  br label %poll
poll:
  %polls = phi i32 [ 0, %burst ], [ %polled, %again ]
  %value = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %value, %seen
  br i1 %same, label %again, label %changed
again:
  $pause
  %polled = add i32 %polls, 1
  %rest = icmp ult i32 %polled, 16
  br i1 %rest, label %poll, label %look_at_clock
look_at_clock:
  %time = call i64 @nanoseconds()
  %early = icmp slt i64 %time, %deadline
  br i1 %early, label %burst, label %park
park:
  $lock
  %sleeping = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %check
check:
  %late_value = load atomic i32, ptr %word seq_cst, align 4
  %unchanged = icmp eq i32 %late_value, %seen
  br i1 %unchanged, label %sleep, label %wake_up
sleep:
  $sleep
  br label %check
wake_up:
  %awake = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  $unlock
  br label %changed
changed:
  ret void
}

define internal void @wake(ptr %word, ptr %sleepers, i32 %most) nounwind {
entry:
  %sleeping = load atomic i32, ptr %sleepers seq_cst, align 4
  %none = icmp eq i32 %sleeping, 0
  br i1 %none, label %done, label %call
call:
  $wake
  br label %done
done:
  ret void
}
"""

_WORKING = """
@neurlang_pool = global [$size x i8] zeroinitializer, align 64

; Claim indices of call %epoch until none is left, and run them; the result is how many ran.
; What is read about the call is right if the claim succeeds: its caller changes nothing before
; the last index is claimed and finished, and the ticket of a later call differs.
define internal i32 @work(i32 %epoch, i64 %worker) nounwind {
entry:
  br label %look
look:
  %ran = phi i32 [ 0, %entry ], [ %ran, %claim ], [ %ran_more, %run ]
  %ticket = load atomic i64, ptr $ticket acquire, align 8
  %left = and i64 %ticket, 4294967295
  %upper = lshr i64 %ticket, 32
  %current = trunc i64 %upper to i32
  %same_call = icmp eq i32 %current, %epoch
  %any_left = icmp ne i64 %left, 0
  %claimable = and i1 %same_call, %any_left
  br i1 %claimable, label %claim, label %done
claim:
  %body = load atomic ptr, ptr $body monotonic, align 8
  %context = load atomic ptr, ptr $context monotonic, align 8
  %count = load atomic i64, ptr $count monotonic, align 8
  %claimed = sub i64 %ticket, 1
  %swap = cmpxchg ptr $ticket, i64 %ticket, i64 %claimed acq_rel monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %run, label %look
run:
  %index = sub i64 %count, %left
  call void %body(ptr %context, i64 %index, i64 %worker)
  %ran_more = add i32 %ran, 1
  br label %look
done:
  ret i32 %ran
}

; Whether this worker is one too many: then it is no longer counted and has to end.
define internal i1 @leave() nounwind {
entry:
  %workers = load atomic i32, ptr $workers monotonic, align 4
  %wanted = load atomic i32, ptr $wanted monotonic, align 4
  %surplus = icmp uge i32 %workers, %wanted
  br i1 %surplus, label %resign, label %stay
resign:
  %fewer = sub i32 %workers, 1
  %swap = cmpxchg ptr $workers, i32 %workers, i32 %fewer monotonic monotonic
  %resigned = extractvalue { i32, i1 } %swap, 1
  ret i1 %resigned
stay:
  ret i1 false
}

; A new thread inherits its maker's rounding and denormal modes: kernels run with the defaults.
; A worker leaves only after it has helped: perhaps it alone was woken.
define internal ptr @worker(ptr %unused) nounwind {
entry:
  call void @llvm.reset.fpenv()
  br label %idle
idle:
  %seen = phi i32 [ 0, %entry ], [ %epoch, %rest ]
  call void @wait_for_change(ptr $epoch, i32 %seen, ptr $sleepers)
  %ticket = load atomic i64, ptr $ticket acquire, align 8
  %upper = lshr i64 %ticket, 32
  %epoch = trunc i64 %upper to i32
  %left = trunc i64 %ticket to i32
  %late = icmp eq i32 %left, 0
  br i1 %late, label %rest, label %join
join:
  %before = atomicrmw add ptr $joined, i32 1 monotonic
  %number = add i32 %before, 1
  %worker = zext i32 %number to i64
  %limit = load atomic i64, ptr $limit monotonic, align 8
  %allowed = icmp ult i64 %worker, %limit
  br i1 %allowed, label %work, label %rest
work:
  %ran = call i32 @work(i32 %epoch, i64 %worker)
  %useless = icmp eq i32 %ran, 0
  br i1 %useless, label %rest, label %report
report:
  %reported = atomicrmw add ptr $finished, i32 %ran seq_cst
  call void @wake(ptr $finished, ptr $waiting, i32 1)
  br label %rest
rest:
  %leaves = call i1 @leave()
  br i1 %leaves, label %quit, label %idle
quit:
  ret ptr null
}
declare void @llvm.reset.fpenv()
"""

_HIRING = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @sigdelset(ptr, i32)

; Make workers until there are as many as wanted, or as many as the system gives. They leave
; signals to the threads of the program, except those that tell of a crash.
define internal void @hire() nounwind noinline {
entry:
  %thread = alloca i64
  %mask = alloca [16 x i64]
  %old_mask = alloca [16 x i64]
  call i32 @sigfillset(ptr %mask)
  $keep_crash_signals
  call i32 @pthread_sigmask(i32 $set_mask, ptr %mask, ptr %old_mask)
  %prepared = load atomic i32, ptr $prepared monotonic, align 4
  %unprepared = icmp eq i32 %prepared, 0
  br i1 %unprepared, label %prepare, label %next
prepare:
  $prepare
  store atomic i32 1, ptr $prepared monotonic, align 4
  br label %next
next:
  %workers = load atomic i32, ptr $workers monotonic, align 4
  %wanted = load atomic i32, ptr $wanted monotonic, align 4
  %threads = add i32 %workers, 1
  %missing = icmp ult i32 %threads, %wanted
  br i1 %missing, label %make, label %done
make:
  %counted = atomicrmw add ptr $workers, i32 1 monotonic
  %error = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr null)
  %made = icmp eq i32 %error, 0
  br i1 %made, label %detach, label %refused
detach:
  %handle = load i64, ptr %thread
  call i32 @pthread_detach(i64 %handle)
  br label %next
refused:
  %uncounted = atomicrmw sub ptr $workers, i32 1 monotonic
  store atomic i32 %threads, ptr $wanted monotonic, align 4
  br label %done
done:
  call i32 @pthread_sigmask(i32 $set_mask, ptr %old_mask, ptr null)
  ret void
}

; Take the pool, with workers in it. False when another call has it, or where no worker exists.
define internal i1 @take() nounwind {
entry:
  %wanted = load atomic i32, ptr $wanted monotonic, align 4
  %alone = icmp ult i32 %wanted, 2
  br i1 %alone, label %no, label %try
try:
  %swap = cmpxchg ptr $busy, i32 0, i32 1 acquire monotonic
  %free = extractvalue { i32, i1 } %swap, 1
  br i1 %free, label %count, label %no
count:
  %workers = load atomic i32, ptr $workers monotonic, align 4
  %threads = add i32 %workers, 1
  %missing = icmp ult i32 %threads, %wanted
  br i1 %missing, label %staff, label %yes
staff:
  call void @hire()
  %hired = load atomic i32, ptr $workers monotonic, align 4
  %nobody = icmp eq i32 %hired, 0
  br i1 %nobody, label %give_back, label %yes
give_back:
  store atomic i32 0, ptr $busy release, align 4
  br label %no
no:
  ret i1 false
yes:
  ret i1 true
}

define void @neurlang_start_workers() nounwind {
entry:
  %taken = call i1 @take()
  br i1 %taken, label %give_back, label %done
give_back:
  store atomic i32 0, ptr $busy release, align 4
  br label %done
done:
  ret void
}
"""

_PARALLEL = """
; Tell the workers of a call and wake as many as it can use; the result is its number.
define internal i32 @publish(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
  store atomic ptr %body, ptr $body monotonic, align 8
  store atomic ptr %context, ptr $context monotonic, align 8
  store atomic i64 %count, ptr $count monotonic, align 8
  store atomic i64 %limit, ptr $limit monotonic, align 8
  store atomic i32 0, ptr $joined monotonic, align 4
  store atomic i32 0, ptr $finished monotonic, align 4
  %last = load atomic i32, ptr $epoch monotonic, align 4
  %epoch = add i32 %last, 1
  %number = zext i32 %epoch to i64
  %upper = shl i64 %number, 32
  %ticket = or i64 %upper, %count
  store atomic i64 %ticket, ptr $ticket seq_cst, align 8
  %fewer = call i64 @llvm.smin.i64(i64 %count, i64 %limit)
  %few = call i64 @llvm.smin.i64(i64 %fewer, i64 2147483647)
  %helpers = sub i64 %few, 1
  %most = trunc i64 %helpers to i32
  call void @wake(ptr $epoch, ptr $sleepers, i32 %most)
  ret i32 %epoch
}
declare i64 @llvm.smin.i64(i64, i64)

; A count that does not fit the ticket's lower half is serial: no program is cut so finely.
define void @neurlang_parallel(ptr %body, ptr %context, i64 %count, i64 %limit) nounwind {
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
  call void @run_serially(ptr %body, ptr %context, i64 %count)
  ret void
parallel:
  %epoch = call i32 @publish(ptr %body, ptr %context, i64 %count, i64 %limit)
  %ran = call i32 @work(i32 %epoch, i64 0)
  %total = trunc i64 %count to i32
  %others = sub i32 %total, %ran
  br label %join
join:
  %finished = load atomic i32, ptr $finished acquire, align 4
  %all = icmp eq i32 %finished, %others
  br i1 %all, label %done, label %wait
wait:
  call void @wait_for_change(ptr $finished, i32 %finished, ptr $waiting)
  br label %join
done:
  store atomic i32 0, ptr $busy release, align 4
  ret void
}
"""


def best_parking() -> Parking:
    """How workers park on this system."""
    if sys.platform == "linux" and platform.machine() in _FUTEX_CALL:
        return "futex"
    return "condition" if os.name == "posix" else "none"


def pool_text(parking: Parking) -> str:
    """The pool as LLVM IR, for this system."""
    if parking == "none":
        return _SERIAL + _SERIAL_ENTRY
    offsets = {name: getattr(PoolState, name).offset for name, *_ in PoolState._fields_}
    # The number of the call is the upper half of the ticket: the second, on little-endian machines.
    offsets["epoch"] = offsets["ticket"] + 4
    fields = {
        name: f"getelementptr (i8, ptr @neurlang_pool, i64 {offset})"
        for name, offset in offsets.items()
    }
    architecture = platform.machine()
    declare_pause, pause = _PAUSE.get(architecture, ("", ""))
    crashes = (signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
    keep = "\n  ".join(f"call i32 @sigdelset(ptr %mask, i32 {int(crash)})" for crash in crashes)
    park = {
        name: Template(text).substitute(fields, futex=_FUTEX_CALL.get(architecture, 0))
        for name, text in _PARK[parking].items()
    }
    text = Template(_SERIAL + _WAITING + _WORKING + _HIRING + _PARALLEL)
    return text.substitute(
        {**fields, **park},
        size=ctypes.sizeof(PoolState),
        clock=time.CLOCK_MONOTONIC,
        spin=SPIN_NANOSECONDS,
        declare_pause=declare_pause,
        pause=pause,
        keep_crash_signals=keep,
        set_mask=int(signal.SIG_SETMASK),
    )
