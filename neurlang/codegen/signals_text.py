"""How a running program listens to signals, as LLVM IR: it asks Python, which runs the handlers."""

from __future__ import annotations

from string import Template

# Between two looks at Python's signals, and from the start of a call to the first one. A look
# waits for the GIL, up to 5 ms where other threads of Python want it, too.
SIGNAL_NANOSECONDS = 25_000_000
FIRST_SIGNAL_NANOSECONDS = 5_000_000

_DEAF = """
define internal void @expect_signals() nounwind {
  ret void
}

define internal i1 @stopped() nounwind {
  ret i1 false
}
"""

_SIGNALS = """
declare i64 @pthread_self()
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()

; Python's main thread handles signals, and it alone reads and writes the deadline.
define internal i1 @handles_signals() nounwind {
  %self = call i64 @pthread_self()
  %main = load atomic i64, ptr $main monotonic, align 8
  %is_main = icmp eq i64 %self, %main
  ret i1 %is_main
}

; A call begins. What is left of the last one's deadline holds, so that a program of many short
; calls stops, too.
define internal void @expect_signals() nounwind {
entry:
  %handles = call i1 @handles_signals()
  br i1 %handles, label %look, label %done
look:
  %now = call i64 @nanoseconds()
  %deadline = load i64, ptr $deadline
  %ahead = icmp slt i64 %now, %deadline
  br i1 %ahead, label %done, label %set
set:
  %first = add i64 %now, $first_signal
  store i64 %first, ptr $deadline
  br label %done
done:
  ret void
}

; Whether the handler of a signal raised an exception, which is now this thread's.
define internal i1 @stopped() nounwind {
entry:
  %handles = call i1 @handles_signals()
  br i1 %handles, label %look, label %go_on
look:
  %now = call i64 @nanoseconds()
  %deadline = load i64, ptr $deadline
  %early = icmp slt i64 %now, %deadline
  br i1 %early, label %go_on, label %ask
ask:
  %had_gil = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  call void @PyGILState_Release(i32 %had_gil)
  %after = call i64 @nanoseconds()
  %next = add i64 %after, $signal
  store i64 %next, ptr $deadline
  %stops = icmp ne i32 %raised, 0
  ret i1 %stops
go_on:
  ret i1 false
}

; Run a program without the GIL, called with it.
define i32 @neurlang_call(ptr %plan, ptr %arguments) nounwind {
  %thread = call ptr @PyEval_SaveThread()
  %status = call i32 @neurlang_run(ptr %plan, ptr %arguments)
  call void @PyEval_RestoreThread(ptr %thread)
  ret i32 %status
}
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
"""


def signals_text(listens: bool) -> str:
    """`expect_signals` and `stopped`, in words of the pool's template; deaf where there is no one
    to ask."""
    if not listens:
        return _DEAF
    return Template(_SIGNALS).safe_substitute(
        signal=SIGNAL_NANOSECONDS, first_signal=FIRST_SIGNAL_NANOSECONDS
    )
