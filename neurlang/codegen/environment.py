"""The floating-point environment: kernels run in the default one, whatever their caller's is."""

from __future__ import annotations

from neurlang.codegen.machine import Machine
from neurlang.codegen.writer import Value, Writer, constant

# MXCSR (Intel 64 and IA-32 Architectures Software Developer's Manual 1, 10.2.3): the six lowest
# bits say what has happened; the default masks all exceptions and rounds to nearest.
MXCSR_DEFAULT = 0x1F80
MXCSR_CONTROL = 0xFFC0
# FPCR (Arm Architecture Reference Manual for A-profile, D19.2): 0 is the default.
FPCR_DEFAULT = 0


class Environment:
    """Written into a function: `enter` before floats are computed with, `leave` after."""

    def __init__(self, writer: Writer, machine: Machine) -> None:
        self.writer = writer
        self.kind = machine.triple.partition("-")[0]
        self.cell = Value("", "ptr")
        self.before = Value("", "")
        self.foreign = Value("", "i1")

    @property
    def known(self) -> bool:
        return self.kind in ("x86_64", "amd64", "aarch64", "arm64")

    @property
    def x86(self) -> bool:
        return self.kind in ("x86_64", "amd64")

    def enter(self) -> None:
        """Read the caller's environment; set the default one where it differs."""
        if not self.known:
            return
        writer = self.writer
        if self.x86:
            self.cell = writer.value("alloca i32, align 4", "ptr")
            writer.call_void("llvm.x86.sse.stmxcsr", [self.cell])
            self.before = writer.load(self.cell, "i32")
            control = writer.and_(self.before, constant(MXCSR_CONTROL, "i32"))
            default = constant(MXCSR_DEFAULT, "i32")
        else:
            self.before = control = writer.call("llvm.aarch64.get.fpcr", "i64", [])
            default = constant(FPCR_DEFAULT, "i64")
        self.foreign = writer.icmp("ne", control, default)
        with writer.when(self.foreign, "foreign"):
            self._write(default)

    def leave(self) -> None:
        """Give the caller its environment back."""
        if self.known:
            with self.writer.when(self.foreign, "restore"):
                self._write(self.before)

    def _write(self, value: Value) -> None:
        if self.x86:
            self.writer.store(value, self.cell)
            self.writer.call_void("llvm.x86.sse.ldmxcsr", [self.cell])
        else:
            self.writer.call_void("llvm.aarch64.set.fpcr", [value])
