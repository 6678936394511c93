"""A file is written whole or not at all, whoever fails or is killed; a pipe is written through."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.files import remove, replacing, write_bytes, write_json, write_text
from lab.results.reader import read_json


class Killed(BaseException):
    """Caught by nothing, as a signal that kills is."""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    data = {"é": [1, 2.5, None, True], "nested": {"x": "\x1b<b>"}}
    write_json(file, data)
    assert read_json(file) == data and file.read_bytes().endswith(b"}\n")
    write_text(file, "é\n")
    assert file.read_bytes() == b"\xc3\xa9\n"
    write_bytes(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()])
@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
def test_a_failure_leaves_the_old_file_and_no_other(
    where: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept"
    write_bytes(file, b"old")

    def fail(*anything: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_the_content_and_then_the_name_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order, or a power cut could leave a name without its content."""
    done: list[str] = []

    def noted(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)  # type: ignore[arg-type]
            done.append("folder" if folder else name)
            real(*args)

        return call

    monkeypatch.setattr("os.fsync", noted("fsync", os.fsync))
    monkeypatch.setattr("os.replace", noted("replace", os.replace))
    write_bytes(tmp_path / "x", b"1")
    assert done == ["fsync", "replace", "folder"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "no" / "x", "")


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    target = tmp_path / "other" / "target"
    link = tmp_path / "link"
    link.symlink_to(target)
    for text in ("new", "again"):  # it led nowhere before the first
        write_text(link, text)
        assert link.is_symlink() and target.read_text() == text
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["link", "other", "target"]


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    """More than a pipe holds at once, to a reader that is slow."""
    pipe, data = tmp_path / "pipe", bytes(range(256)) * 1000
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads it
        write_bytes(pipe, data)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    while True:
        try:
            write_bytes(pipe, data)
            break
        except OSError:  # the reader has not opened it yet
            assert reader.is_alive()
    reader.join()
    assert read == [data] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_through() -> None:
    write_bytes(Path("/dev/null"), b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OSError, match="No space left on device"):
        write_bytes(Path("/dev/full"), b"x")


def test_what_is_no_file_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("socket")
        with pytest.raises(OSError, match="no regular file"):
            write_bytes(Path("socket"), b"x")
    with pytest.raises(IsADirectoryError):
        write_bytes(Path("folder"), b"x")
    os.mkfifo("pipe")
    with pytest.raises(OSError, match="no regular file"), replacing(Path("pipe")):
        raise AssertionError("the block is not entered")
    assert sorted(os.listdir()) == ["folder", "pipe", "socket"]


def test_the_longest_name(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("é" * 127), b"x")
    with pytest.raises(OSError, match="File name too long"):
        write_bytes(tmp_path / ("é" * 128), b"x")
    assert len(os.listdir(tmp_path)) == 1


def test_what_is_removed_and_what_a_link_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    os.mkfifo(tmp_path / "folder" / "pipe")
    os.mkfifo(tmp_path / "pipe")  # rmtree alone would wait on it
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to(kept)
    for name in ("folder", "pipe", "file", "link", "missing"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and (kept / "inner").exists()
