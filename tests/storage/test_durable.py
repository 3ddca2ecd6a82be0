"""Whole files or none, and failures that are not talked over."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.durable import DISK, create_file_durably, make_directory, remove_durably, write_file_durably
from storage.errors import DurabilityLost, EvidenceError, NoRoom


def failing(code: int) -> Callable[..., int]:
    def fail(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file_durably(path, b"first", 0o600)
    write_file_durably(path, b"second", 0o600)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


FAILURES = [
    ("open", errno.ENOSPC, NoRoom, ["file"]),
    ("open", errno.EDQUOT, NoRoom, ["file"]),
    ("open", errno.EMFILE, DurabilityLost, ["file"]),
    ("pwritev", errno.ENOSPC, NoRoom, ["file"]),
    ("pwritev", errno.EDQUOT, NoRoom, ["file"]),
    ("pwritev", errno.EIO, DurabilityLost, ["file"]),
    ("fdatasync", errno.ENOSPC, NoRoom, ["file"]),
    ("fdatasync", errno.EIO, DurabilityLost, ["file"]),
    ("rename", errno.EIO, DurabilityLost, ["file", "file.tmp"]),
]


@pytest.mark.parametrize(("call", "code", "expected", "left"), FAILURES)
def test_a_failure_leaves_the_former_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    expected: type[EvidenceError],
    left: list[str],
) -> None:
    path = tmp_path / "file"
    write_file_durably(path, b"first", 0o600)
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(expected):
        write_file_durably(path, b"second", 0o600)
    monkeypatch.undo()
    assert path.read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == left
    write_file_durably(path, b"third", 0o600)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_directory_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(DurabilityLost, match=r"sync of the directory failed: Input/output error") as caught:
        write_file_durably(tmp_path / "file", b"x", 0o600)
    assert (caught.value.path, caught.value.errno) == (tmp_path, errno.EIO)


def test_creating_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_file_durably(path, b"first", 0o600)
    with pytest.raises(FileExistsError):
        create_file_durably(path, b"second", 0o600)
    assert path.read_bytes() == b"first"


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: whole(fd, [b"".join(buffers)[:3]], offset))
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    DISK.write_at(tmp_path / "file", descriptor, (b"ab", b"cdef", b"gh"), 2)
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"\0\0abcdefgh"


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b", 0o700)
    make_directory(tmp_path / "a" / "b", 0o700)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_removed_files_are_gone(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"secret")
    kept = os.open(paths[0], os.O_RDONLY)
    remove_durably(paths, tmp_path)
    assert os.listdir(tmp_path) == []
    assert os.read(kept, 100) == bytes(6)
    os.close(kept)
