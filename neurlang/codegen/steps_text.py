"""How programs are run, as LLVM IR: shared code that reads a program's plan.

A plan is the data of a program's module that says what the steps are and where buffers lie
(`codegen.program` writes it). It has five pointers:

    workspace    the cell that keeps the workspace from call to call
    captured     the addresses of captured arrays
    stamp        called with 0, and with the number of each step once that has run; or null
    functions    those of the first step's stages, then those of the next one
    numbers      bytes of the workspace, where scratch begins in it, slots of the largest context,
                 threads of parallel loops, steps; then for each step

                     buffers     how many it has
                     places      one for each of them
                     stages      how many it has
                     claims      one for each of them

A place is `offset << 2 | base`. Counted from the base, ARGUMENTS or CAPTURED, the address of the
buffer stands there; the WORKSPACE holds the buffer itself. A stage without claims is a function of
the step's context; others are the bodies of parallel loops, which run once for each claim.
"""

from __future__ import annotations

from string import Template

from neurlang.codegen.emit import FIRST_BUFFER, OUT_OF_MEMORY, STATUS, STOPPED, WORKSPACE

STEPS = "neurlang_steps"
ALIGNMENT = 64  # of the workspace
BASE_BITS = 2
ARGUMENTS, CAPTURED, IN_WORKSPACE = range(3)
HEAD = 5  # numbers before those of the steps

# What follows a step that an exception ended would read what is not there.
_TEXT = """
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)

define i32 @$name(ptr %plan, ptr %arguments) nounwind {
entry:
  %cell = load ptr, ptr %plan, align 8
  %captured_place = getelementptr ptr, ptr %plan, i64 1
  %captured = load ptr, ptr %captured_place, align 8
  %stamp_place = getelementptr ptr, ptr %plan, i64 2
  %stamp = load ptr, ptr %stamp_place, align 8
  %functions_place = getelementptr ptr, ptr %plan, i64 3
  %functions = load ptr, ptr %functions_place, align 8
  %numbers_place = getelementptr ptr, ptr %plan, i64 4
  %numbers = load ptr, ptr %numbers_place, align 8
  %size = load i64, ptr %numbers, align 8
  %scratch_place = getelementptr i64, ptr %numbers, i64 1
  %scratch = load i64, ptr %scratch_place, align 8
  %slots_place = getelementptr i64, ptr %numbers, i64 2
  %slots = load i64, ptr %slots_place, align 8
  %threads_place = getelementptr i64, ptr %numbers, i64 3
  %threads = load i64, ptr %threads_place, align 8
  %count_place = getelementptr i64, ptr %numbers, i64 4
  %count = load i64, ptr %count_place, align 8
  %context = alloca ptr, i64 %slots, align 8
  %status = alloca i64, align 8
  %bases = alloca [3 x ptr], align 8
  store i64 0, ptr %status, align 8
  %workless = icmp eq i64 %size, 0
  br i1 %workless, label %ready, label %keep

; The kept workspace, or a new one where there is none or another call has it.
keep:
  %kept = atomicrmw xchg ptr %cell, ptr null seq_cst
  %missing = icmp eq ptr %kept, null
  br i1 %missing, label %fresh, label %ready
fresh:
  %made = call ptr @aligned_alloc(i64 $alignment, i64 %size)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %full, label %ready
full:
  ret i32 $out_of_memory
ready:
  %workspace = phi ptr [ null, %entry ], [ %kept, %keep ], [ %made, %fresh ]
  %arguments_base = getelementptr ptr, ptr %bases, i64 $arguments
  store ptr %arguments, ptr %arguments_base, align 8
  %captured_base = getelementptr ptr, ptr %bases, i64 $captured
  store ptr %captured, ptr %captured_base, align 8
  %workspace_base = getelementptr ptr, ptr %bases, i64 $workspace
  store ptr %workspace, ptr %workspace_base, align 8
  %status_slot = getelementptr ptr, ptr %context, i64 $status_slot
  store ptr %status, ptr %status_slot, align 8
  %scratch_start = getelementptr i8, ptr %workspace, i64 %scratch
  %scratch_slot = getelementptr ptr, ptr %context, i64 $workspace_slot
  store ptr %scratch_start, ptr %scratch_slot, align 8
  %first = getelementptr i64, ptr %numbers, i64 $head
  br label %stamping

stamping:
  %done = phi i64 [ 0, %ready ], [ %number, %ran ]
  %record = phi ptr [ %first, %ready ], [ %next_record, %ran ]
  %own = phi ptr [ %functions, %ready ], [ %next_own, %ran ]
  %unstamped = icmp eq ptr %stamp, null
  br i1 %unstamped, label %step, label %stamped
stamped:
  call void %stamp(i64 %done)
  br label %step
step:
  %finished = icmp eq i64 %done, %count
  br i1 %finished, label %leave, label %fill
fill:
  %buffers = load i64, ptr %record, align 8
  %places = getelementptr i64, ptr %record, i64 1
  br label %each
each:
  %buffer = phi i64 [ 0, %fill ], [ %next_buffer, %set ]
  %filled = icmp eq i64 %buffer, %buffers
  br i1 %filled, label %run, label %find
find:
  %coded_place = getelementptr i64, ptr %places, i64 %buffer
  %coded = load i64, ptr %coded_place, align 8
  %base_number = and i64 %coded, $base_mask
  %offset = lshr i64 %coded, $base_bits
  %base_place = getelementptr ptr, ptr %bases, i64 %base_number
  %base = load ptr, ptr %base_place, align 8
  %place = getelementptr i8, ptr %base, i64 %offset
  %inside = icmp eq i64 %base_number, $workspace
  br i1 %inside, label %set, label %look_up
look_up:
  %told = load ptr, ptr %place, align 8
  br label %set
set:
  %address = phi ptr [ %place, %find ], [ %told, %look_up ]
  %slot = add i64 %buffer, $first_buffer
  %slot_place = getelementptr ptr, ptr %context, i64 %slot
  store ptr %address, ptr %slot_place, align 8
  %next_buffer = add i64 %buffer, 1
  br label %each

run:
  %stages_place = getelementptr i64, ptr %places, i64 %buffers
  %stages = load i64, ptr %stages_place, align 8
  %all_claims = getelementptr i64, ptr %stages_place, i64 1
  br label %stage
stage:
  %passed = phi i64 [ 0, %run ], [ %next_stage, %go_on ]
  %over = icmp eq i64 %passed, %stages
  br i1 %over, label %ran, label %start
start:
  %function_place = getelementptr ptr, ptr %own, i64 %passed
  %function = load ptr, ptr %function_place, align 8
  %claims_place = getelementptr i64, ptr %all_claims, i64 %passed
  %claims = load i64, ptr %claims_place, align 8
  %serial = icmp eq i64 %claims, 0
  br i1 %serial, label %alone, label %together
alone:
  call void %function(ptr %context)
  %so_far = load i64, ptr %status, align 8
  %ended = icmp sge i64 %so_far, $stopped
  br i1 %ended, label %leave, label %go_on
together:
  %raised = call i32 @neurlang_parallel(ptr %function, ptr %context, i64 %claims, i64 %threads)
  %stopped = icmp ne i32 %raised, 0
  br i1 %stopped, label %stop, label %go_on
stop:
  store i64 $stopped, ptr %status, align 8
  br label %leave
go_on:
  %next_stage = add i64 %passed, 1
  br label %stage
ran:
  %number = add i64 %done, 1
  %next_record = getelementptr i64, ptr %all_claims, i64 %stages
  %next_own = getelementptr ptr, ptr %own, i64 %stages
  br label %stamping

leave:
  br i1 %workless, label %return, label %give_back
give_back:
  %other = atomicrmw xchg ptr %cell, ptr %workspace seq_cst
  call void @free(ptr %other)
  br label %return
return:
  %result = load i64, ptr %status, align 8
  %narrow = trunc i64 %result to i32
  ret i32 %narrow
}
"""


def steps_text() -> str:
    """The module text of `neurlang_steps(plan, arguments)`, which goes with that of the workers.

    It takes a plan and an array of pointers, inputs first, then outputs, and returns 0; 1 where
    memory ran out; 1 + the number of a Check that failed; or STOPPED or RAISED after an exception
    of Python's.
    """
    return Template(_TEXT).substitute(
        name=STEPS,
        alignment=ALIGNMENT,
        out_of_memory=OUT_OF_MEMORY,
        stopped=STOPPED,
        arguments=ARGUMENTS,
        captured=CAPTURED,
        workspace=IN_WORKSPACE,
        base_bits=BASE_BITS,
        base_mask=(1 << BASE_BITS) - 1,
        status_slot=STATUS,
        workspace_slot=WORKSPACE,
        first_buffer=FIRST_BUFFER,
        head=HEAD,
    )
