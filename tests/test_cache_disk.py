"""The disk cache against damage, crashes, strangers, full disks and other processes (T10, T11)."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from neurlang.runtime import cache as cache_module
from neurlang.runtime.cache import (
    DiskCache,
    content_key,
    default_directory,
    open_cache,
    sources_stamp,
)

unix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs Unix's files and signals")

SECTIONS = {"object": bytes(range(256)) * 8, "meta": b'{"exports": ["kernel"]}', "empty": b""}


@pytest.fixture(autouse=True)
def no_warning_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_warned", {})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def caught() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        yield messages


def entry_path(directory: Path, key: str) -> Path:
    return directory / f"{key}.entry"


def sections_of(seed: int, size: int = 2000) -> dict[str, bytes]:
    source = random.Random(seed)
    return {"object": source.randbytes(size), "meta": b"%d" % seed}


def raise_full(*arguments: Any, **keywords: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Round trips


@pytest.mark.parametrize("sections", [SECTIONS, {}, {"": b"x"}, {"größe": b"\0" * 100_000}])
def test_what_is_stored_is_loaded(directory: Path, sections: dict[str, bytes]) -> None:
    DiskCache(directory).store(content_key("a"), sections)
    loaded = DiskCache(directory).load(content_key("a"))
    assert loaded == sections
    assert list(loaded) == list(sections)


def test_a_later_store_replaces(directory: Path) -> None:
    cache = DiskCache(directory)
    for seed in range(3):
        cache.store(content_key("a"), sections_of(seed))
    assert cache.load(content_key("a")) == sections_of(2)
    assert [path.name for path in directory.iterdir()] == [content_key("a") + ".entry"]


def test_figures(directory: Path) -> None:
    cache = DiskCache(directory)
    assert cache.load(content_key("a")) is None
    cache.store(content_key("a"), SECTIONS)
    cache.store(content_key("b"), SECTIONS)
    cache.load(content_key("a"))
    stats = cache.stats()
    on_disk = sum(path.stat().st_size for path in directory.iterdir())
    assert (stats.entries, stats.bytes) == (2, on_disk)
    assert (stats.hits, stats.misses, stats.stores, stats.errors) == (1, 1, 2, 0)


def test_clear_leaves_the_files_of_the_user(directory: Path) -> None:
    cache = DiskCache(directory)
    cache.store(content_key("a"), SECTIONS)
    mine = directory / "thesis.entry"
    mine.write_text("keep")
    cache.clear()
    assert cache.load(content_key("a")) is None
    assert [*directory.iterdir()] == [mine]


@pytest.mark.parametrize("key", ["", "a", "../" + "a" * 61, "A" * 64, "a" * 64 + "\n"])
def test_a_key_is_no_path(directory: Path, key: str) -> None:
    cache = DiskCache(directory)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        cache.load(key)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        cache.store(key, SECTIONS)


def test_content_keys_keep_parts_apart() -> None:
    one_part = (3).to_bytes(8, "little") + b"abc"
    assert content_key("abc") == content_key(b"abc") == hashlib.sha256(one_part).hexdigest()
    keys = [content_key(*parts) for parts in [(), ("",), ("ab", "c"), ("a", "bc"), ("abc", "")]]
    assert len(set(keys)) == len(keys)


# Damage


def mutated(data: bytes, source: random.Random) -> bytes:
    """One random truncation, extension, flipped bit, swap, zeroed run or foreign header."""
    position, other = source.sample(range(len(data)), 2)
    changed = bytearray(data)
    match source.randrange(7):
        case 0:
            return data[:position]
        case 1:
            return data + source.randbytes(1 + position % 50)
        case 2:
            changed[position] ^= 1 << source.randrange(8)
        case 3:
            changed[position], changed[other] = changed[other], changed[position]
        case 4:
            changed[position : position + 16] = bytes(len(data[position : position + 16]))
        case 5:
            # A field of the header or the table takes an extreme value.
            field = source.randrange(0, 100, 4)
            changed[field : field + 4] = source.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
        case 6:
            foreign = source.choice(
                [b"\x7fELF\x02\x01\x01\0", b"PK\x03\x04", b"NEURLANG", b"\x80\4"]
            )
            changed[: len(foreign)] = foreign
    return bytes(changed)


def test_mutated_entries_are_misses(directory: Path) -> None:
    cache = DiskCache(directory)
    key = content_key("program")
    path = entry_path(directory, key)
    cache.store(key, SECTIONS)
    original = path.read_bytes()
    source = random.Random(20)
    changes = 0
    while changes < 500:
        data = mutated(original, source)
        if data == original:
            continue
        changes += 1
        path.write_bytes(data)
        path.chmod(0o600)
        assert cache.load(key) is None
        assert not path.exists()
    cache.store(key, SECTIONS)
    assert cache.load(key) == SECTIONS
    assert cache.stats().errors == changes


def test_an_entry_under_the_name_of_another_is_a_miss(directory: Path) -> None:
    cache = DiskCache(directory)
    first, second = content_key("first"), content_key("second")
    cache.store(first, sections_of(1))
    cache.store(second, sections_of(2))
    os.replace(entry_path(directory, first), entry_path(directory, second))
    assert cache.load(second) is None


def forged(key: str, count: int, lengths: list[tuple[int, int]], rest: bytes, more: int) -> bytes:
    """An entry with a right checksum, whatever its fields say; `more` goes on its stated size."""
    body = b"".join(struct.pack("<IQ", *pair) for pair in lengths) + rest
    header = struct.pack("<8sIIQ", b"neurlang", 1, count, 56 + len(body) + more)
    return header + hashlib.sha256(key.encode() + header + body).digest() + body


@pytest.mark.parametrize(
    ("count", "lengths", "rest", "more", "expected"),
    [
        (2, [(1, 3), (2, 0)], b"abbxyz", 0, {"a": b"xyz", "bb": b""}),
        (0, [], b"", 0, {}),
        (1, [(1, 3)], b"axyz", 1, None),
        (1, [(1, 3)], b"axyz", -1, None),
        (1, [(1, 2)], b"axyz", 0, None),
        (1, [(1, 4)], b"axyz", 0, None),
        (1, [(1, 2**64 - 1)], b"axyz", 0, None),
        (1, [(2**32 - 1, 3)], b"axyz", 0, None),
        (0, [(1, 3)], b"axyz", 0, None),
        (2, [(1, 3)], b"axyz", 0, None),
        (2**32 - 1, [(1, 3)], b"axyz", 0, None),
        (2, [(1, 1), (1, 1)], b"aaxy", 0, None),
        (1, [(1, 3)], b"\xffxyz", 0, None),
    ],
)
def test_lengths_are_checked_even_under_a_right_checksum(
    directory: Path,
    count: int,
    lengths: list[tuple[int, int]],
    rest: bytes,
    more: int,
    expected: dict[str, bytes] | None,
) -> None:
    cache = DiskCache(directory)
    key = content_key("program")
    path = entry_path(directory, key)
    path.write_bytes(forged(key, count, lengths, rest, more))
    path.chmod(0o600)
    assert cache.load(key) == expected


def test_a_huge_stated_size_takes_no_memory(directory: Path) -> None:
    cache = DiskCache(directory)
    key = content_key("program")
    cache.store(key, SECTIONS)
    path = entry_path(directory, key)
    with path.open("r+b") as file:
        file.seek(16)
        file.write((1 << 40).to_bytes(8, "little"))
        file.truncate(1 << 40)
    assert cache.load(key) is None


@unix_only
def test_what_is_no_plain_file_of_ours_is_a_miss(directory: Path, tmp_path: Path) -> None:
    cache = DiskCache(directory)
    key = content_key("program")
    path = entry_path(directory, key)
    cache.store(key, SECTIONS)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)

    path.symlink_to(elsewhere)
    assert cache.load(key) is None
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert cache.load(key) is None
    path.unlink(missing_ok=True)
    path.write_bytes(elsewhere.read_bytes())
    path.chmod(0o666)
    assert cache.load(key) is None
    path.mkdir()
    assert cache.load(key) is None


# Directories


@unix_only
def test_the_directory_is_private(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new" / "cache")
    cache.store(content_key("a"), SECTIONS)
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    assert entry_path(cache.directory, content_key("a")).stat().st_mode & 0o077 == 0


def assert_refused(directory: Path, caught: list[warnings.WarningMessage]) -> None:
    for mode in ("on", "ro", "on"):
        cache = DiskCache(directory, mode)
        assert cache.mode == "off"
        cache.store(content_key("a"), SECTIONS)
        assert cache.load(content_key("a")) is None
    assert [message.category for message in caught] == [RuntimeWarning]
    assert str(directory) in str(caught[0].message)


@unix_only
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_directory_that_others_may_write_is_refused(
    directory: Path, mode: int, caught: list[warnings.WarningMessage]
) -> None:
    directory.mkdir()
    directory.chmod(mode)
    assert_refused(directory, caught)
    assert not any(directory.iterdir())


@unix_only
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_refused(
    directory: Path, tmp_path: Path, exists: bool, caught: list[warnings.WarningMessage]
) -> None:
    if exists:
        (tmp_path / "real").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "real")
    assert_refused(directory, caught)


@unix_only
def test_the_directory_of_another_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caught: list[warnings.WarningMessage]
) -> None:
    directory.mkdir(mode=0o700)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert_refused(directory, caught)


@unix_only
def test_the_entry_of_another_is_a_miss(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(directory)
    cache.store(content_key("a"), SECTIONS)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert cache.load(content_key("a")) is None


def test_a_file_is_refused(directory: Path, caught: list[warnings.WarningMessage]) -> None:
    directory.write_text("not a directory")
    assert_refused(directory, caught)
    assert directory.read_text() == "not a directory"


def test_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caught: list[warnings.WarningMessage]
) -> None:
    monkeypatch.setattr(os, "mkdir", raise_full)
    assert_refused(tmp_path / "home" / ".cache" / "neurlang", caught)


@unix_only
def test_parents_may_be_links(tmp_path: Path, caught: list[warnings.WarningMessage]) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    cache = DiskCache(tmp_path / "link" / "cache")
    cache.store(content_key("a"), SECTIONS)
    assert cache.load(content_key("a")) == SECTIONS
    assert not caught


def test_each_directory_warns_once(tmp_path: Path, caught: list[warnings.WarningMessage]) -> None:
    for name in ("first", "second", "first"):
        (tmp_path / name).write_text("")
        DiskCache(tmp_path / name)
    assert len(caught) == 2


def test_a_directory_that_was_removed_is_made_again(
    directory: Path, caught: list[warnings.WarningMessage]
) -> None:
    cache = DiskCache(directory)
    directory.rmdir()
    assert cache.load(content_key("a")) is None
    assert cache.stats().entries == 0
    cache.store(content_key("a"), SECTIONS)
    assert cache.load(content_key("a")) == SECTIONS
    assert not caught


# Settings


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"HOME": "/home/user"}, "/home/user/.cache/neurlang"),
        ("linux", {"HOME": "/home/user", "XDG_CACHE_HOME": "/fast"}, "/fast/neurlang"),
        ("linux", {"HOME": "/home/user", "XDG_CACHE_HOME": "fast"}, "/home/user/.cache/neurlang"),
        ("darwin", {"HOME": "/Users/user"}, "/Users/user/Library/Caches/neurlang"),
        ("win32", {"HOME": "/home/user", "LOCALAPPDATA": "/local"}, "/local/neurlang"),
    ],
)
def test_default_directory(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert default_directory(environment) == Path(expected)


@unix_only
def test_without_home_the_account_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd  # not on Windows

    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert Path(home) in default_directory({}).parents
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)
    expected = Path("/scratch") / f"neurlang-{2**31 - 7}"
    assert default_directory({"TMPDIR": "/scratch"}) == expected


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert open_cache("off").mode == "off"
    assert open_cache("ro").mode == "off"
    assert not (tmp_path / "neurlang").exists()
    for setting in (None, ""):
        assert open_cache(setting).mode == "on"
        assert open_cache(setting).directory == tmp_path / "neurlang"
    assert open_cache("ro").mode == "ro"
    assert open_cache("relative").directory == tmp_path / "relative"
    assert open_cache(str(tmp_path / "given")).directory == tmp_path / "given"


def test_read_only_changes_nothing(directory: Path) -> None:
    first, second = content_key("first"), content_key("second")
    DiskCache(directory).store(first, SECTIONS)
    DiskCache(directory).store(second, SECTIONS)
    entry_path(directory, second).write_bytes(b"damaged")
    for path in directory.iterdir():
        os.utime(path, (1, 1))

    def seen() -> list[tuple[str, bytes, float]]:
        return sorted((p.name, p.read_bytes(), p.stat().st_mtime) for p in directory.iterdir())

    before = seen()
    cache = DiskCache(directory, "ro")
    assert cache.load(first) == SECTIONS
    assert cache.load(second) is None
    cache.store(content_key("third"), SECTIONS)
    cache.clear()
    assert seen() == before


def test_off_touches_nothing(directory: Path) -> None:
    cache = DiskCache(directory, "off")
    cache.store(content_key("a"), SECTIONS)
    assert cache.load(content_key("a")) is None
    cache.clear()
    assert cache.stats().entries == 0
    assert not directory.exists()


# Full disks


@pytest.mark.parametrize("function", ["replace", "open", "fdopen"])
def test_a_full_disk_warns_once_and_leaves_no_trace(
    directory: Path,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
    caught: list[warnings.WarningMessage],
) -> None:
    cache = DiskCache(directory)
    cache.store(content_key("before"), SECTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(os, function, raise_full)
        for seed in range(5):
            cache.store(content_key(str(seed)), SECTIONS)
    assert [message.category for message in caught] == [RuntimeWarning]
    assert os.strerror(errno.ENOSPC) in str(caught[0].message)
    assert [path.name for path in directory.iterdir()] == [content_key("before") + ".entry"]
    assert cache.stats().errors == 5
    cache.store(content_key("after"), SECTIONS)
    assert cache.load(content_key("after")) == SECTIONS


def test_an_interrupt_leaves_no_trace(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> NoReturn:
        raise KeyboardInterrupt

    cache = DiskCache(directory)
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.store(content_key("a"), SECTIONS)
    assert not any(directory.iterdir())


# Eviction


def test_the_limit_holds_and_the_longest_unused_go_first(directory: Path) -> None:
    cache = DiskCache(directory, limit=200_000)
    keys = [content_key(str(seed)) for seed in range(300)]
    for age, key in enumerate(keys):
        cache.store(key, sections_of(age))
        if entry_path(directory, key).exists():
            os.utime(entry_path(directory, key), (1e9 + age, 1e9 + age))
    # Between two checks at most a sixteenth of the limit is written.
    assert cache.stats().bytes <= 200_000 * 17 // 16 + 3000
    kept = [cache.load(key) is not None for key in keys]
    assert kept == sorted(kept)
    assert 50 < sum(kept) < 110


def test_a_load_keeps_an_entry_alive(directory: Path) -> None:
    cache = DiskCache(directory, limit=100_000)
    keys = [content_key(str(seed)) for seed in range(40)]
    for age, key in enumerate(keys):
        cache.store(key, sections_of(age))
        os.utime(entry_path(directory, key), (1e9 + age, 1e9 + age))
    assert cache.load(keys[0]) is not None
    for seed in range(1000, 1030):
        cache.store(content_key(str(seed)), sections_of(seed))
    assert cache.load(keys[0]) == sections_of(0)
    assert cache.load(keys[1]) is None


def test_an_entry_larger_than_the_cache_is_not_kept(directory: Path) -> None:
    cache = DiskCache(directory, limit=10_000)
    cache.store(content_key("small"), {"object": bytes(1000)})
    cache.store(content_key("large"), {"object": bytes(9000)})
    assert cache.load(content_key("small")) is not None
    assert cache.load(content_key("large")) is None


def test_only_abandoned_partial_files_are_removed(directory: Path) -> None:
    cache = DiskCache(directory, limit=1_000)
    old, new = (directory / f"{content_key(name)}.abcd_123.part" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    cache.store(content_key("a"), {"object": bytes(500)})
    assert not old.exists()
    assert new.exists()


# Other processes

KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from neurlang.runtime.cache import DiskCache, content_key

source = random.Random(10)
for round in range(40):
    ready, started = os.pipe()
    child = os.fork()
    if child == 0:
        cache = DiskCache(Path(sys.argv[1]))
        if round % 4 == 0:
            # The partial file is complete, its renaming has not happened.
            os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        os.write(started, b"x")
        for count in range(10**9):
            seed = (round + count) % 8
            cache.store(content_key(str(seed)), {"object": random.Random(seed).randbytes(300_000)})
    os.read(ready, 1)
    if round % 4 != 0:
        time.sleep(source.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(started)
"""

WRITER = """
import random, sys
from pathlib import Path
from neurlang.runtime.cache import DiskCache, content_key

cache = DiskCache(Path(sys.argv[1]), limit=400_000)
order = random.Random(int(sys.argv[2]))
wrong = 0
for _ in range(400):
    seed = order.randrange(40)
    expected = {"object": random.Random(seed).randbytes(20_000)}
    found = cache.load(content_key(str(seed)))
    wrong += found is not None and found != expected
    if found is None:
        cache.store(content_key(str(seed)), expected)
stats = cache.stats()
print(wrong, stats.errors, stats.hits > 0)
"""


@unix_only
def test_writers_killed_at_any_moment(
    directory: Path, caught: list[warnings.WarningMessage]
) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WRITERS, str(directory)], check=True, timeout=60)
    partial = [path for path in directory.iterdir() if path.suffix == ".part"]
    assert len(partial) >= 10
    cache = DiskCache(directory)
    for seed in range(8):
        expected = {"object": random.Random(seed).randbytes(300_000)}
        assert cache.load(content_key(str(seed))) in (None, expected)
        cache.store(content_key(str(seed)), expected)
        assert cache.load(content_key(str(seed))) == expected
    assert cache.stats().errors == 0
    assert not caught


def test_concurrent_writers_that_evict(directory: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, str(directory), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    outputs = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert outputs == [["0", "0", "True"]] * 4
    assert DiskCache(directory).stats().bytes <= 400_000 + 4 * (25_000 + 20_100)
    assert not [path for path in directory.iterdir() if path.suffix == ".part"]


def test_another_copy_of_the_package_has_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "passes").mkdir()
    source = tmp_path / "passes" / "tile.py"
    source.write_text("ROWS = 6\n")
    stamp = sources_stamp.__wrapped__
    first = stamp(str(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "tile.py").write_text("")
    assert stamp(str(tmp_path)) == first
    source.write_text("ROWS = 14\n")
    changed = stamp(str(tmp_path))
    os.utime(source, ns=(1, 1))
    assert len({first, changed, stamp(str(tmp_path))}) == 3
    assert stamp(str(tmp_path / "nowhere")) == stamp(str(tmp_path / "archive.zip"))
