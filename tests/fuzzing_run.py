"""Cases run by each stage of the compiler, compared, and shrunk to scripts where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fuzzing import LAYOUTS, Case, with_layout
from fuzzing_oracle import check, differences

from neurlang.executable import Executable
from neurlang.frontend.array import Array
from neurlang.frontend.trace import current_trace
from neurlang.ir.graph import Graph, Node, graph_from, with_args
from neurlang.ir.interpret import interpret
from neurlang.ir.loops import Buffer
from neurlang.ir.loops_interpret import interpret_kernel
from neurlang.jit import jit
from neurlang.pipeline import current_target, generate, optimize

Run = Callable[[Case], tuple[Any, ...]]
ATTEMPTS = 150  # runs that shrinking may take


def as_tuple(results: Any) -> tuple[Any, ...]:
    """Results as a tuple of arrays."""
    results = results if isinstance(results, tuple) else (results,)
    return tuple(np.asarray(result) for result in results)


def compiled(case: Case) -> tuple[Any, ...]:
    """The outputs of machine code, called without the native entry."""
    code = generate(optimize(case.graph, current_target()))
    inputs = [np.require(array, None, ("C", "A")) for array in case.inputs]
    return as_tuple(Executable(code, case.graph).run(*inputs))


def interpreted_loops(case: Case) -> tuple[Any, ...]:
    """The outputs of the scheduled loops, run by the loop interpreter."""
    made = optimize(case.graph, current_target())
    program, graph = made.program, made.graph
    assert program is not None and graph is not None
    memory: dict[Buffer, Any] = dict(zip(program.inputs, case.inputs))
    memory.update(zip(program.captured, (*graph.captured, *program.numbers)))
    for buffer in program.outputs:
        memory[buffer] = np.empty(buffer.shape, buffer.dtype)
    for buffer, place in program.places.items():
        memory[buffer] = memory[place].reshape(buffer.shape)
    for step in program.steps:
        for buffer in (*step.inputs, *step.outputs):
            memory.setdefault(buffer, np.empty(buffer.shape, buffer.dtype))
        kernel = program.kernel(step)
        if kernel is not None:
            places = zip((*kernel.inputs, *kernel.outputs), (*step.inputs, *step.outputs))
            assert interpret_kernel(kernel, {own: memory[other] for own, other in places}) == 0
        else:
            function = np.sort if step.op == "sort" else np.argsort
            source = memory[step.inputs[0]]
            memory[step.outputs[0]][...] = function(source, axis=-1, kind="stable")
    return tuple(memory[buffer] for buffer in program.outputs)


def jitted(case: Case, layouts: Sequence[str] = ()) -> tuple[Any, ...]:
    """The outputs of `nl.jit` on inputs in other layouts: three calls, all of the same bits."""
    inputs = [with_layout(a, layout) for a, layout in zip(case.inputs, layouts or ["C"] * 99)]
    kept = [array.tobytes() for array in inputs]
    function = jit(rebuilt(case.graph), cache=False)
    results = [as_tuple(function(*inputs)) for _ in range(3)]
    for again in results[1:]:
        for left, right in zip(results[0], again, strict=True):
            assert left.tobytes() == right.tobytes(), "two calls differ"
    assert [array.tobytes() for array in inputs] == kept, "an input was written"
    return results[0]


def rebuilt(graph: Graph) -> Callable[..., Any]:
    """A function that traces to the graph."""

    def fuzz(*arrays: Array) -> Any:
        trace = current_trace()
        assert trace is not None
        table = {param: array.node for param, array in zip(graph.params, arrays)}
        for node in graph.nodes:
            if node.op != "param":
                table[node] = trace.record(with_args(node, tuple(table[a] for a in node.args)))
        results = tuple(Array(table[node], trace) for node in graph.outputs)
        return results[0] if len(results) == 1 else results

    return fuzz


def layouts_of(seed: int, case: Case) -> list[str]:
    """A layout for each input, from the seed."""
    random = np.random.default_rng(seed)
    return [str(layout) for layout in random.choice(LAYOUTS, len(case.inputs))]


def complaint(case: Case, run: Run) -> str:
    """What is wrong with a case; an empty text where nothing is."""
    try:
        outputs = run(case)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return check(case.graph, case.inputs, outputs)


def same_bits(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether outputs agree in every bit, NaN payloads apart."""
    return all(not differences(a, b, None).any() for a, b in zip(left, right, strict=True))


# shrinking


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A smaller case that fails as well: fewer outputs, nodes cut off, plainer inputs."""
    left = ATTEMPTS
    progress = True
    while progress and left > 0:
        progress = False
        for smaller in smaller_cases(case):
            left -= 1
            if left <= 0:
                break
            if fails(smaller):
                case, progress = smaller, True
                break
    return case


def smaller_cases(case: Case) -> Iterator[Case]:
    """Cases that are a step simpler, the boldest first."""
    graph = case.graph
    if len(graph.outputs) > 1:
        for node in graph.outputs:
            yield pruned(case, (node,))
        for node in graph.outputs:
            yield pruned(case, tuple(other for other in graph.outputs if other is not node))
    inner = [n for n in graph.nodes if n.op != "param" and n not in graph.outputs]
    values = (
        dict(zip(inner, as_tuple(interpret(replace(graph, outputs=tuple(inner)), *case.inputs))))
        if inner
        else {}
    )
    for node in reversed(inner):
        if node.kind != "leaf":
            yield cut(case, node, values[node])
    for position, array in enumerate(case.inputs):
        for plain in (np.zeros_like(array), np.ones_like(array)):
            if array.size and array.tobytes() != plain.tobytes() and array.any():
                inputs = (*case.inputs[:position], plain, *case.inputs[position + 1 :])
                yield Case(graph, inputs)


def pruned(case: Case, outputs: tuple[Node, ...]) -> Case:
    """Only what some outputs need."""
    everything = graph_from(outputs, (), "fuzz")
    kept = [p for p in case.graph.params if p in everything.nodes]
    inputs = tuple(a for p, a in zip(case.graph.params, case.inputs) if p in kept)
    return Case(graph_from(outputs, kept, "fuzz"), inputs)


def cut(case: Case, node: Node, value: Any) -> Case:
    """A node replaced by a parameter that has its value."""
    param = Node("param", (), {"name": f"x{len(case.graph.nodes)}{len(case.inputs)}"}, node.type)
    table: dict[Node, Node] = {node: param}
    for other in case.graph.nodes:
        if other not in table:
            table[other] = with_args(other, tuple(table[arg] for arg in other.args))
    outputs = tuple(table[output] for output in case.graph.outputs)
    params = (*case.graph.params, param)
    graph = graph_from(outputs, params, "fuzz")
    return pruned(Case(graph, (*case.inputs, np.array(value))), outputs)


def script(case: Case, what: str) -> str:
    """A program that shows the failure and needs nothing but neurlang."""
    lines = [
        "import numpy as np",
        "from neurlang.executable import Executable",
        "from neurlang.ir.interpret import interpret",
        "from neurlang.ir.parse import parse",
        "from neurlang.pipeline import current_target, generate, optimize",
        f'graph = parse("""{case.graph}""")',
        "inputs = [",
    ]
    for array in case.inputs:
        data = f'bytes.fromhex("{array.tobytes().hex()}")'
        lines.append(f'    np.frombuffer({data}, "{array.dtype}").reshape({array.shape}),')
    lines += [
        "]",
        "code = generate(optimize(graph, current_target()))",
        'print("compiled", Executable(code, graph).run(*inputs))',
        'print("expected", interpret(graph, *inputs))',
    ]
    return f"{what}\n\n" + "\n".join(lines)


def report(case: Case, run: Run) -> str:
    """The shrunk failure of a case, as a script; an empty text where it does not fail."""
    if not complaint(case, run):
        return ""
    small = shrink(case, lambda candidate: bool(complaint(candidate, run)))
    return script(small, complaint(small, run))
