"""Plans of programs that are written by hand."""

from __future__ import annotations


def plan_of(program: str, pointers: int) -> str:
    """The text of a `plan` whose one step is a function of the array of so many pointers, which
    returns a status."""
    places = [8 * slot << 2 for slot in range(pointers)]
    numbers = [0, 0, 2 + pointers, 1, 1, pointers, *places, 1, 0]
    listed = ", ".join(f"i64 {number}" for number in numbers)
    return f"""
@functions = internal constant [1 x ptr] [ptr @step]
@numbers = internal constant [{len(numbers)} x i64] [{listed}]
@plan = constant [5 x ptr] [ptr null, ptr null, ptr null, ptr @functions, ptr @numbers]

define internal void @step(ptr %context) {{
  %arguments = getelementptr ptr, ptr %context, i64 2
  %status = call i32 @{program}(ptr %arguments)
  %wide = zext i32 %status to i64
  %cell = load ptr, ptr %context
  store i64 %wide, ptr %cell
  ret void
}}
"""
