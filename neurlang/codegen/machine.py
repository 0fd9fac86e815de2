"""What the compiler needs to know of a CPU: features, vector width, registers, caches, cores."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """A target. `features` are LLVM's names of what is present; sizes are in bytes."""

    triple: str
    cpu: str
    features: tuple[str, ...]
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    cores: int = 1
    vector_bits: int = 128

    @cached_property
    def feature_text(self) -> str:
        """The features as LLVM's target machine takes them."""
        return ",".join(self.features)

    @cached_property
    def present(self) -> frozenset[str]:
        return frozenset(name[1:] for name in self.features if name.startswith("+"))

    @property
    def is_x86(self) -> bool:
        return is_x86(self.triple)

    @property
    def vector_registers(self) -> int:
        return 16 if self.is_x86 and self.vector_bits < 512 else 32

    @property
    def has_fma(self) -> bool:
        """Whether `llvm.fma` is one instruction; without it LLVM calls libm."""
        return not self.is_x86 or "fma" in self.present

    @property
    def follows_streams(self) -> bool:
        """Whether the cores read ahead across pages by themselves: asking them for lines only takes
        the places of their loads. Zen 4 takes up to 1.5 times as long where it is asked for what a
        cache holds, Zen 5 0.65 to 0.95 of the time. The name decides nothing but speed."""
        return self.cpu in ("znver1", "znver2", "znver3", "znver4")

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in a vector register."""
        return self.vector_bits // (8 * itemsize)

    def limited_to(self, vector_bits: int) -> Machine:
        """The same machine without the features that make wider vectors."""
        prefixes: tuple[str, ...] = ("avx512", "avx10", "amx") if vector_bits < 512 else ()
        if vector_bits < 256:
            prefixes += ("avx", "fma", "f16c", "vaes", "vpclmulqdq", "xop", "sm3", "sha512", "sm4")
        kept = (
            "-" + name[1:] if name[1:].startswith(prefixes) and prefixes else name
            for name in self.features
        )
        return replace(self, features=tuple(kept), vector_bits=vector_bits)


def is_x86(triple: str) -> bool:
    """Whether the triple names an x86-64 machine."""
    return triple.startswith(("x86_64", "amd64"))


def widest_vectors(triple: str, features: Iterable[str]) -> int:
    """The widest vectors worth using, in bits."""
    if not is_x86(triple):
        return 128
    if {"+avx512f", "+avx512bw", "+avx512vl", "+avx512dq"} <= set(features):
        return 512
    return 256 if "+avx2" in set(features) else 128


def _cache_size(level: int, otherwise: int) -> int:
    """The data cache of a level as the kernel reports it for the first core."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            if int((index / "level").read_text()) == level:
                text = (index / "size").read_text().strip()
                return int(text[:-1]) << {"K": 10, "M": 20}[text[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return otherwise


def available_cores() -> int:
    """Cores this process may run on: affinity, then the control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, _quota() or cores)


@lru_cache(maxsize=1)
def _quota() -> int | None:
    """Cores that the control group grants, rounded up; None where it grants all."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None  # no control group: the affinity stands


@lru_cache(maxsize=1)
def host_machine() -> Machine:
    """This process's CPU. Features are asked for one by one: virtual machines mask names."""
    # Deferred: llvmlite is loaded at the first compilation, not at import.
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    features = tuple(sorted(llvm.get_host_cpu_features().flatten().split(",")))
    triple = llvm.get_process_triple()
    return Machine(
        triple=triple,
        cpu=llvm.get_host_cpu_name(),
        features=features,
        l1=_cache_size(1, 32 << 10),
        l2=_cache_size(2, 1 << 20),
        l3=_cache_size(3, 16 << 20),
        cores=available_cores(),
        vector_bits=widest_vectors(triple, features),
    )
