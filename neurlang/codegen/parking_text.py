"""How threads wait for each other, as LLVM IR: they spin at first, then park."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from string import Template
from typing import Literal

SPIN_NANOSECONDS = 20_000

Parking = Literal["futex", "condition", "none"]

# What differs between the ways to park, in the text below: `lock` and `unlock` surround the look
# at the word and the sleep; `prepare` comes before the first worker; `wake` may wake too many;
# `core` is the one that a thread runs on, and `leave_core` takes a worker away from it, where that
# is known. 128 and 129 are the futex operations WAIT and WAKE for the threads of one process.
_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_PARK = {
    "futex": {
        "declare_parking": """
declare i64 @syscall(i64, ...)
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

; Go to another of the cores that this thread may use, if there is one: it may not use this one for
; a moment. 128 bytes are a mask of 1024 cores; with more of them nothing is done.
define internal void @leave_core(i32 %core) nounwind {
entry:
  %mask = alloca [16 x i64]
  %others = alloca [16 x i64]
  %unread = call i32 @sched_getaffinity(i32 0, i64 128, ptr %mask)
  %read = icmp eq i32 %unread, 0
  br i1 %read, label %try, label %done
try:
  call void @llvm.memcpy.p0.p0.i64(ptr %others, ptr %mask, i64 128, i1 false)
  %word = lshr i32 %core, 6
  %bit = and i32 %core, 63
  %wide_bit = zext i32 %bit to i64
  %here = shl i64 1, %wide_bit
  %elsewhere = xor i64 %here, -1
  %place = getelementptr i64, ptr %others, i32 %word
  %allowed = load i64, ptr %place
  %left = and i64 %allowed, %elsewhere
  store i64 %left, ptr %place
  %refused = call i32 @sched_setaffinity(i32 0, i64 128, ptr %others)
  %gone = icmp eq i32 %refused, 0
  br i1 %gone, label %restore, label %done
restore:
  call i32 @sched_setaffinity(i32 0, i64 128, ptr %mask)
  br label %done
done:
  ret void
}""",
        "core": "call i32 @sched_getcpu()",
        "prepare": "",
        "lock": "",
        "unlock": "",
        "sleep": "call i64 (i64, ...) "
        "@syscall(i64 $futex, ptr %word, i32 128, i32 %seen, ptr null)",
        "wake": "call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i32 129, i32 %most)",
    },
    "condition": {
        "declare_parking": """
define internal void @leave_core(i32 %core) nounwind {
  ret void
}
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)""",
        "core": "add i32 -1, 0",
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

WAITING = """
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


def best_parking() -> Parking:
    """How workers park on this system."""
    if sys.platform == "linux" and platform.machine() in _FUTEX_CALL:
        return "futex"
    return "condition" if os.name == "posix" else "none"


def parking_names(parking: Parking, fields: Mapping[str, str]) -> dict[str, str]:
    """What the text of waiting threads, and of those that wake them, leaves open."""
    architecture = platform.machine()
    declare_pause, pause = _PAUSE.get(architecture, ("", ""))
    park = {
        name: Template(text).substitute(fields, futex=_FUTEX_CALL.get(architecture, 0))
        for name, text in _PARK[parking].items()
    }
    names = {"clock": str(time.CLOCK_MONOTONIC), "spin": str(SPIN_NANOSECONDS)}
    return {**park, **names, "declare_pause": declare_pause, "pause": pause}
