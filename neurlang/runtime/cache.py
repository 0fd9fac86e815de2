"""Compiled programs on disk: one checksummed file an entry, found by a hash of what it was made of.

An entry is read as hostile: every length is checked against the file before memory is taken for
it, and whatever is not exactly what `store` wrote under this very key is a miss. The layout, all
integers little-endian:

    magic (8)  version (4)  sections (4)  file size (8)  SHA-256 (32)
    for each section:  length of its name (4)  length of its data (8)
    the names, the data

The checksum covers the key and everything but itself, so an entry under another's name is a miss.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal

from neurlang.errors import PACKAGE

if sys.platform != "win32":
    import pwd

Mode = Literal["on", "ro", "off"]

DEFAULT_LIMIT = 512 << 20

_MAGIC = b"neurlang"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ")
_DIGEST_SIZE = hashlib.sha256().digest_size
_SECTION = struct.Struct("<IQ")

_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}\.entry")
_PARTIAL_NAME = re.compile(r"[0-9a-f]{64}\.\w+\.part")

# A link is never followed, and a pipe put in an entry's place must not block the reader.
_READ_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)

_STORES_PER_CHECK = 32
_TOUCH_SECONDS = 60.0
_ABANDONED_SECONDS = 3600.0

_warned: dict[Path, object] = {}


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds (`bytes` of `entries` files), and what this process did with it."""

    entries: int
    bytes: int
    hits: int
    misses: int
    stores: int
    errors: int


def content_key(*parts: str | bytes) -> str:
    """The name of an entry: SHA-256, in hexadecimal, of all that its content depends on.

    Every part is preceded by its length, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def sources_stamp(package: str = PACKAGE) -> str:
    """What tells this copy of neurlang from another of the same version: a checkout changes. The
    sizes and times of its files do; to read them would take longer than a hit."""
    found = []
    folders = [package]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # a package may be an archive
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
                elif entry.name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
    return content_key(*sorted(found))


@dataclass
class DiskCache:
    """Named byte sections under content keys in one directory that is the user's own.

    `mode` is "on", "ro" (reads only: removes, creates and touches nothing) or "off". A directory
    that cannot be trusted or made gives one warning and sets the mode to "off". `limit` bounds
    the bytes on disk, approximately: it is checked once in a while, and then the entries unused
    for longest go. Processes and threads may share a directory; the counters are approximate when
    threads share one object.
    """

    directory: Path
    mode: Mode = "on"
    limit: int = DEFAULT_LIMIT
    _counts: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    _unchecked: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Absolute, so that a later change of the working directory does not move the cache.
        self.directory = Path(os.path.abspath(self.directory))
        if self.mode == "off":
            return
        if self.mode == "ro" and not os.path.lexists(self.directory):
            self.mode = "off"
            return
        problem = _prepare(self.directory, create=self.mode == "on")
        if problem is not None:
            self.mode = "off"
            self._warn(problem)

    def load(self, key: str) -> dict[str, bytes] | None:
        """The sections stored under `key`, or None; a damaged entry is removed and is a miss."""
        path = self._path(key)
        sections = None
        if self.mode != "off":
            try:
                sections = self._read(key, path)
            except FileNotFoundError:
                pass  # not stored yet: the usual miss
            except OSError:
                self._counts["errors"] += 1
        self._counts["misses" if sections is None else "hits"] += 1
        return sections

    def store(self, key: str, sections: Mapping[str, bytes]) -> None:
        """Put `sections` under `key`: wholly or not at all, whatever happens meanwhile.

        A full disk or missing permission gives one warning; the program goes on uncached.
        """
        path = self._path(key)
        if self.mode != "on":
            return
        data = _pack(key, sections)
        if len(data) > self._kept_bytes:
            return
        try:
            self._write(key, path, data)
            self._counts["stores"] += 1
            self._unchecked += len(data)
            # Chosen by the key, not counted: processes that store little take their turn as well.
            if int(key[:8], 16) % _STORES_PER_CHECK == 0 or self._unchecked > self.limit // 16:
                self._unchecked = 0
                self._evict()
        except OSError as error:
            self._counts["errors"] += 1
            self._warn(f"cannot be written: {error.strerror or error}")

    def clear(self) -> None:
        """Remove every entry, and what writers that were killed left behind; nothing else."""
        if self.mode == "on":
            for path, _ in self._entries():
                _remove(path)
            self._remove_abandoned()

    def stats(self) -> CacheStats:
        """Figures of the directory now, and of this object since it was made."""
        sizes = [status.st_size for _, status in self._entries()] if self.mode != "off" else []
        counts = self._counts
        return CacheStats(
            entries=len(sizes),
            bytes=sum(sizes),
            hits=counts["hits"],
            misses=counts["misses"],
            stores=counts["stores"],
            errors=counts["errors"],
        )

    @property
    def _kept_bytes(self) -> int:
        """What an eviction leaves, so that the next one is not due at once; the largest entry."""
        return self.limit * 3 // 4

    def _path(self, key: str) -> str:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"a cache key is 64 hexadecimal digits, not {key!r}")
        return os.path.join(self.directory, key + ".entry")

    def _read(self, key: str, path: str) -> dict[str, bytes] | None:
        with open(path, "rb", opener=_open_entry) as file:
            status = os.fstat(file.fileno())
            plain = stat.S_ISREG(status.st_mode) and _is_own(status)
            sections = None
            if plain and status.st_size <= self.limit:
                sections = _unpack(key, file, status.st_size)
        if self.mode == "on":
            if sections is None:
                self._counts["errors"] += 1
                _remove(path)
            elif time.time() - status.st_mtime > _TOUCH_SECONDS:
                # The modification time says when an entry was last used. Set now and then only:
                # a load should not be a write.
                with suppress(OSError):
                    os.utime(path)
        return sections

    def _write(self, key: str, path: str, data: bytes) -> None:
        try:
            self._write_once(key, path, data)
        except FileNotFoundError:
            # The user removed the directory while we ran: begin anew, as carefully as before.
            problem = _prepare(self.directory, create=True)
            if problem is not None:
                raise OSError(problem) from None
            self._write_once(key, path, data)

    def _write_once(self, key: str, path: str, data: bytes) -> None:
        descriptor, partial = tempfile.mkstemp(".part", key + ".", self.directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            # Not synchronised: after a power cut the checksum tells, and a miss is all it costs.
            os.replace(partial, path)
        except BaseException:
            _remove(partial)
            raise

    def _files(self, name: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
        """Paths whose names match, with their status; the directory may hold the user's files."""
        try:
            with os.scandir(self.directory) as found:
                for entry in found:
                    if name.fullmatch(entry.name) is not None:
                        # Another process may have removed it since the directory was read.
                        with suppress(FileNotFoundError):
                            yield entry.path, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        return self._files(_ENTRY_NAME)

    def _remove_abandoned(self) -> None:
        """Remove partial files that no living writer can still be writing."""
        oldest = time.time() - _ABANDONED_SECONDS
        for path, status in self._files(_PARTIAL_NAME):
            if status.st_mtime < oldest:
                _remove(path)

    def _evict(self) -> None:
        """Over the limit, remove the entries unused for longest. Others may do so meanwhile."""
        self._remove_abandoned()
        entries = list(self._entries())
        total = sum(status.st_size for _, status in entries)
        if total <= self.limit:
            return
        for path, status in sorted(entries, key=lambda entry: entry[1].st_mtime_ns):
            if total <= self._kept_bytes:
                break
            _remove(path)
            total -= status.st_size

    def _warn(self, problem: str) -> None:
        """Warn once for each process and directory; `setdefault` lets one thread through."""
        mark = object()
        if _warned.setdefault(self.directory, mark) is mark:
            warnings.warn(
                f"neurlang runs without its disk cache: {self.directory} {problem} "
                "(hint: set NEURLANG_CACHE to a folder of yours, or to off)",
                RuntimeWarning,
                stacklevel=3,
            )


def open_cache(setting: str | None) -> DiskCache:
    """The cache that NEURLANG_CACHE asks for: `off`, `ro`, a folder; otherwise the user's own."""
    if setting == "off":
        return DiskCache(default_directory(os.environ), "off")
    if setting == "ro":
        return DiskCache(default_directory(os.environ), "ro")
    if setting:
        return DiskCache(Path(os.path.expanduser(setting)))
    return DiskCache(default_directory(os.environ))


def default_directory(environment: Mapping[str, str]) -> Path:
    """`neurlang` in the place where this system keeps a user's caches."""
    # The XDG base directory specification: a relative path is invalid and ignored.
    chosen = Path(environment.get("XDG_CACHE_HOME", ""))
    if chosen.is_absolute():
        return chosen / "neurlang"
    if sys.platform == "win32" and environment.get("LOCALAPPDATA"):
        return Path(environment["LOCALAPPDATA"]) / "neurlang"
    home = _home_directory(environment)
    if home is None:
        temporary = environment.get("TMPDIR") or environment.get("TEMP") or "/tmp"
        return Path(temporary) / f"neurlang-{_user()}"
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "neurlang"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "neurlang"
    return home / ".cache" / "neurlang"


def _home_directory(environment: Mapping[str, str]) -> Path | None:
    for name in ("HOME", "USERPROFILE"):
        home = Path(environment.get(name, ""))
        if home.is_absolute():
            return home
    if sys.platform != "win32":
        # A container may run as a user whom no account describes.
        with suppress(KeyError):
            return Path(pwd.getpwuid(_user()).pw_dir)
    return None


def _user() -> int:
    """Who this process acts as; 0 on Windows, which reports 0 as the owner of every file."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _is_own(status: os.stat_result) -> bool:
    """Whether only this user could have written the file; Windows guards by access lists."""
    if sys.platform == "win32":
        return True
    return status.st_uid == _user() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _open_entry(path: str, _: int) -> int:
    return os.open(path, _READ_FLAGS)


def _prepare(directory: Path, create: bool) -> str | None:
    """Make the directory if asked, then say what forbids to trust it, if anything does.

    Machine code is loaded from here and run, so nobody else may be able to put a file in it.
    """
    try:
        if create and not os.path.lexists(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(directory)
    except OSError as error:
        return f"cannot be used: {error.strerror or error}"
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if not _is_own(status):
        return "belongs to another user, or others may write to it"
    return None


def _remove(path: str) -> None:
    # Somebody else was faster, or the directory is read-only: a miss either way.
    with suppress(OSError):
        os.unlink(path)


def _digest(key: str, header: bytes, rest: bytes) -> bytes:
    digest = hashlib.sha256(key.encode("ascii") + header)
    digest.update(rest)
    return digest.digest()


def _pack(key: str, sections: Mapping[str, bytes]) -> bytes:
    names = [name.encode() for name in sections]
    table = [_SECTION.pack(len(name), len(data)) for name, data in zip(names, sections.values())]
    rest = b"".join([*table, *names, *sections.values()])
    size = _HEADER.size + _DIGEST_SIZE + len(rest)
    header = _HEADER.pack(_MAGIC, _VERSION, len(names), size)
    return header + _digest(key, header, rest) + rest


def _unpack(key: str, file: BinaryIO, size: int) -> dict[str, bytes] | None:
    """The sections in a file of `size` bytes, or None unless all of it is as `_pack` wrote it."""
    fixed = _HEADER.size + _DIGEST_SIZE
    header = file.read(_HEADER.size)
    digest = file.read(_DIGEST_SIZE)
    if len(header) + len(digest) != fixed:
        return None
    magic, version, count, stated_size = _HEADER.unpack(header)
    if (magic, version, stated_size) != (_MAGIC, _VERSION, size):
        return None
    if count * _SECTION.size > size - fixed:
        return None
    rest = file.read(size - fixed)
    if len(rest) != size - fixed or _digest(key, header, rest) != digest:
        return None
    return _split(rest, count)


def _split(rest: bytes, count: int) -> dict[str, bytes] | None:
    """Cut what follows the header along its table; None where the lengths do not add up."""
    lengths = [_SECTION.unpack_from(rest, _SECTION.size * entry) for entry in range(count)]
    if _SECTION.size * count + sum(map(sum, lengths)) != len(rest):
        return None
    name_start = _SECTION.size * count
    data_start = name_start + sum(name_size for name_size, _ in lengths)
    sections: dict[str, bytes] = {}
    for name_size, data_size in lengths:
        try:
            name = rest[name_start : name_start + name_size].decode()
        except UnicodeDecodeError:
            return None
        sections[name] = rest[data_start : data_start + data_size]
        name_start += name_size
        data_start += data_size
    return sections if len(sections) == count else None
