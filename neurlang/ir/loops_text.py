"""The Loop IR as text that reads as Python."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Prefetch,
    Ref,
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
)
from neurlang.ir.text import number_text
from neurlang.ir.types import SHORT

INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floor_div": "//",
    "mod": "%",
    "equal": "==",
    "less": "<",
    "less_equal": "<=",
    "and": "&",
    "or": "|",
    "xor": "^",
    "shift_left": "<<",
    "shift_right": ">>",
}


def index_text(index: Sequence[Affine]) -> str:
    """`[i, 2*j + 1]`; nothing for an array without axes."""
    return "[" + ", ".join(map(str, index)) + "]" if index else ""


def expression_text(expression: Expression, nested: bool = False) -> str:
    """One expression; `nested` adds the brackets that precedence may need."""
    match expression:
        case Literal(value=value):
            return number_text(np.asarray(value)[()])
        case Ref(register=register, index=index):
            return f"{register}{index_text(index)}"
        case Load(buffer=buffer, index=index):
            return f"{buffer}{index_text(index) or '[]'}"
        case Index(value=value):
            return f"({value})" if nested and value.terms else str(value)
        case Fold(op=op, register=register):
            return f"fold({op}, {expression_text(register)})"
        case Apply(op="cast" | "bitcast" as op, args=(arg,), dtype=dtype):
            name = SHORT[dtype] if op == "cast" else f"bits_{SHORT[dtype]}"
            return f"{name}({expression_text(arg)})"
        case Apply(op=op, args=args):
            if op in INFIX and len(args) == 2:
                left, right = (expression_text(arg, True) for arg in args)
                text = f"{left} {INFIX[op]} {right}"
                return f"({text})" if nested else text
            return f"{op}({', '.join(expression_text(arg) for arg in args)})"
    raise AssertionError(expression)


def _for_header(loop: For) -> str:
    kind = "" if loop.kind == "serial" else loop.kind + " "
    step = f" step {loop.step}" if loop.step != 1 else ""
    unroll = f" unroll {loop.unroll}" if loop.unroll > 1 else ""
    grain = f" grain {loop.grain}" if loop.grain > 1 else ""
    window = f" within {loop.window}" if loop.window is not None else ""
    return f"{kind}for {loop.var} in {loop.start}..{loop.stop}{step}{window}{unroll}{grain}:"


def statement_lines(statement: Statement, depth: int) -> list[str]:
    """The lines of one statement, indented."""
    space = "    " * depth
    match statement:
        case For(body=body):
            lines = [space + _for_header(statement)]
            for inner in body:
                lines.extend(statement_lines(inner, depth + 1))
            return lines
        case Let(register=register, value=value, index=index):
            name = f"{register}{index_text(index)}" if index else register.declared
            return [f"{space}{name} = {expression_text(value)}"]
        case Update(register=register, op=op, value=value, index=index):
            symbol = "" if op == "set" else INFIX.get(op, op + " ")
            text = expression_text(value)
            return [f"{space}{register}{index_text(index)} {symbol.strip()}= {text}"]
        case Store(buffer, index, value, nontemporal):
            target = f"{buffer}{index_text(index) or '[]'}"
            past = "nontemporal " if nontemporal else ""
            return [f"{space}{past}{target} = {expression_text(value)}"]
        case Alloc(buffer=buffer):
            return [f"{space}{buffer.declared}    # scratch, {buffer.nbytes} bytes"]
        case Prefetch(buffer=buffer, index=index):
            return [f"{space}prefetch {buffer}{index_text(index)}"]
        case Transpose(register=register):
            return [f"{space}transpose {register}"]
        case Rotate(register=register, by=by):
            return [f"{space}rotate {register} by {by}"]
        case Check(condition=condition, code=code):
            return [f"{space}check {expression_text(condition)} else error {code}"]
    raise AssertionError(statement)


def kernel_text(kernel: Kernel) -> str:
    """A kernel: its signature, what was decided, its loops."""
    inputs = ", ".join(buffer.declared for buffer in kernel.inputs)
    outputs = ", ".join(buffer.declared for buffer in kernel.outputs)
    lines = [f"kernel {kernel.name}({inputs}) -> ({outputs}):"]
    lines.extend(f"    # {note}" for note in kernel.notes)
    for statement in kernel.body:
        lines.extend(statement_lines(statement, 1))
    return "\n".join(lines)
