"""How workers of the pool come and go, and what one does all its life, as LLVM IR."""

from __future__ import annotations

HIRING = """
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

; Join call %epoch: the number that its bodies are told, or 0 where as many as may have joined.
define internal i64 @enlist(i32 %epoch) nounwind {
entry:
  br label %look
look:
  %joined = load atomic i64, ptr $joined acquire, align 8
  %upper = lshr i64 %joined, 32
  %current = trunc i64 %upper to i32
  %same_call = icmp eq i32 %current, %epoch
  %before = and i64 %joined, 4294967295
  %number = add i64 %before, 1
  %limit = load atomic i64, ptr $limit monotonic, align 8
  %room = icmp ult i64 %number, %limit
  %allowed = and i1 %same_call, %room
  br i1 %allowed, label %join, label %refused
join:
  %more = add i64 %joined, 1
  %swap = cmpxchg ptr $joined, i64 %joined, i64 %more acq_rel monotonic
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %success, label %look
success:
  ret i64 %number
refused:
  ret i64 0
}

; A new thread inherits its maker's rounding and denormal modes: kernels run with the defaults.
; A worker looks whether it has to leave after it was woken for a call: perhaps it alone was. Its
; argument is its place among the workers, which says with what range of a call it begins.
define internal ptr @worker(ptr %argument) nounwind {
entry:
  %place = ptrtoint ptr %argument to i64
  call void @llvm.reset.fpenv()
  br label %idle
idle:
  %seen = phi i32 [ 0, %entry ], [ %epoch, %rest ]
  call void @wait_for_change(ptr $epoch, i32 %seen, ptr $sleepers)
  call void @make_room()  ; first: whoever joins late takes the number of one who would help
  %epoch = load atomic i32, ptr $epoch acquire, align 4
  %late = call i1 @all_claimed(i32 %epoch)
  br i1 %late, label %rest, label %join
join:
  %worker = call i64 @enlist(i32 %epoch)
  %refused = icmp eq i64 %worker, 0
  br i1 %refused, label %rest, label %work
work:
  %ran = call i32 @work(i32 %epoch, i64 %place, i64 %worker)
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
  %place = inttoptr i32 %counted to ptr
  %error = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %place)
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
