"""The command line: bench, explain, ops, cache, doctor."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import neurlang
from neurlang import settings
from neurlang.arguments import CommandError, load_function, placeholders
from neurlang.bench import (
    WrongResult,
    as_json,
    check_arguments,
    choose_cases,
    measure_all,
    report,
    table,
)
from neurlang.codegen.machine import available_cores
from neurlang.codegen.pool import disk_cache
from neurlang.doctor import examine, self_test
from neurlang.errors import InternalError, NeurlangError
from neurlang.inspect import explain, inspect
from neurlang.ir.ops import OPS
from neurlang.jit import STAGES, JitFunction
from neurlang.peaks import measure_peaks
from neurlang.plot import svg
from neurlang.programs import PROGRAMS

KIND_LETTERS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
KINDS = tuple(dict.fromkeys(op.kind for op in OPS.values()))
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when all is well, 1 when a check fails, 2 when the request is wrong."""
    chosen = _parser().parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
        sys.stdout.flush()
        return code
    except (CommandError, NeurlangError) as error:
        print(f"neurlang: {error}", file=sys.stderr)
        return 2
    except WrongResult as error:
        print(f"neurlang: {error}", file=sys.stderr)
        return 1
    except InternalError as error:
        print(f"neurlang: a bug of neurlang's own: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has seen enough; the interpreter must not try to write more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neurlang",
        description="A JIT compiler from traced array graphs to native CPU code.",
    )
    parser.add_argument("--version", action="version", version=f"neurlang {neurlang.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_bench(commands)
    _add_explain(commands)
    ops = commands.add_parser("ops", help="list the primitive operations")
    ops.add_argument("kind", nargs="?", choices=KINDS, help="only those of one kind")
    ops.set_defaults(run=run_ops)
    cache = commands.add_parser("cache", help="show or clear the programs kept on disk")
    cache.add_argument("--clear", action="store_true", help="delete every program in it")
    cache.add_argument("--path", action="store_true", help="print its folder and nothing else")
    cache.set_defaults(run=run_cache)
    doctor = commands.add_parser(
        "doctor", help="show what neurlang finds here, and test that it compiles correctly"
    )
    doctor.set_defaults(run=run_doctor)
    return parser


Commands = argparse._SubParsersAction  # what add_subparsers returns; argparse has no public name


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    names = "\n".join(f"  {p.name:<20}{p.summary}" for p in PROGRAMS.values())
    bench = commands.add_parser(
        "bench",
        help="time compiled, interpreted and plain NumPy side by side",
        description="Time programs compiled, interpreted op by op, and in plain NumPy, in turns.",
        epilog=f"programs:\n{names}\n\nexample:\n"
        "  neurlang bench softmax model:loss 'f32[64,128]' 'f32[64]' --json results.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "programs",
        nargs="*",
        metavar="program",
        help="a program below, or module:function and the types of its arguments; default: all",
    )
    bench.add_argument("--rounds", type=_positive, default=20, help="samples of each (default 20)")
    bench.add_argument(
        "--threads",
        type=_positive,
        help="threads of compiled loops; NumPy's libraries choose their own (default: every core)",
    )
    bench.add_argument("--json", metavar="FILE", type=Path, help="write every figure there too")
    bench.add_argument(
        "--plot", metavar="FILE.svg", type=Path, help="draw speed-ups and the roofline there"
    )
    bench.add_argument(
        "--kernels", action="store_true", help="also show what each step of each program takes"
    )
    bench.set_defaults(run=run_bench)


def _add_explain(commands: Commands[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "explain",
        help="show what the compiler does with a function, and why",
        description="Show what each pass changes, what is fused and why, memory, work and time.",
        epilog="example:\n  neurlang explain model:loss 'f32[64,128]' 'f32[64]'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("function", metavar="module:function", help="a function of your own")
    command.add_argument(
        "types", nargs="*", metavar="type", help="a type for each argument, like 'f32[64,128]'"
    )
    command.add_argument("--stage", choices=STAGES, help="print only the text of a stage")
    command.add_argument(
        "--fast-math", action="store_true", help="allow rewrites that change the last bits"
    )
    command.add_argument(
        "--measure", action="store_true", help="run it, and show what each step takes"
    )
    command.set_defaults(run=run_explain)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


# the commands


def run_bench(chosen: argparse.Namespace) -> int:
    """Measure, print a table, write files."""
    for path in filter(None, (chosen.json, chosen.plot)):
        if not path.resolve().parent.is_dir():
            raise CommandError(f"there is no folder {path.parent}", "make it first")
    if chosen.plot is not None and chosen.plot.suffix.lower() != ".svg":
        raise CommandError(
            f"the plot is drawn as SVG, and {chosen.plot} has another ending",
            "give it a name that ends in .svg",
        )
    cases = choose_cases(chosen.programs)
    results = measure_all(cases, chosen.rounds, chosen.threads, sys.stderr)
    peaks = measure_peaks(chosen.threads or available_cores())
    print(report(results, peaks))
    if chosen.kernels:
        for case in cases:
            function = JitFunction(
                getattr(case.function, "__wrapped__", case.function), threads=chosen.threads
            )
            steps = explain(function, *case.arguments).measure(peaks).measured
            print("\n".join([f"\n{case.name}", *(f"  {line}" for line in steps)]))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(as_json(results, peaks), indent=1) + "\n")
    if chosen.plot is not None:
        chosen.plot.write_text(svg(results, peaks))
    return 0


def run_explain(chosen: argparse.Namespace) -> int:
    """Print the report, or the text of one stage."""
    function = load_function(chosen.function)
    if chosen.fast_math:
        function = JitFunction(getattr(function, "__wrapped__", function), fast_math=True)
    arguments = placeholders(chosen.types)
    check_arguments(chosen.function, function, arguments)
    try:
        if chosen.stage is not None:
            print(inspect(function, *arguments)[chosen.stage])
        else:
            report = explain(function, *arguments)
            print(report.measure() if chosen.measure else report)
    except (NeurlangError, InternalError):
        raise
    except Exception as error:  # the user's function runs while it is traced
        raise CommandError(
            f"{chosen.function} fails while it is traced: {type(error).__name__}: {error}",
            "give a type for each of its arguments",
        ) from error
    return 0


def run_ops(chosen: argparse.Namespace) -> int:
    """Print the table of primitives by kind."""
    rows = [["kind", "op", "arguments", "dtypes", "meaning"]]
    for kind in KINDS:
        for op in OPS.values():
            if op.kind == kind and chosen.kind in (None, kind):
                dtypes = " ".join(KIND_LETTERS[letter] for letter in op.accepts)
                arity = str(op.arity) if op.arity >= 0 else "any"
                rows.append([kind, op.name, arity, dtypes, op.meaning])
    print(table(rows, left=5))
    return 0


def run_cache(chosen: argparse.Namespace) -> int:
    """Print what the disk cache holds; clear it when asked."""
    cache = disk_cache()
    if chosen.path:
        print(cache.directory)
        return 0
    if settings.get("cache") == "off":
        if chosen.clear:
            raise CommandError("the cache is off, so nothing is deleted", "unset NEURLANG_CACHE")
        print("the cache is off: NEURLANG_CACHE is off, so no program is read or kept")
        return 0
    if chosen.clear:
        before = cache.stats()
        cache.clear()
        after = cache.stats()
        print(f"deleted {before.entries - after.entries} programs from {cache.directory}")
        return 0
    stats = cache.stats()
    print(f"folder    {cache.directory}")
    print(f"mode      {cache.mode}")
    print(f"programs  {stats.entries:,}")
    print(f"bytes     {stats.bytes:,} of at most {cache.limit:,}")
    return 0


def run_doctor(_: argparse.Namespace) -> int:
    """Print the findings, then the self-test; 1 where a program is wrong."""
    for finding in examine():
        print(finding)
    print("\nself-test: compiled programs against NumPy")
    failed = 0
    for check in self_test():
        failed += bool(check.problem)
        print(check, flush=True)
    print(f"\n{failed} of {len(PROGRAMS)} programs are wrong" if failed else "\nall is well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
