"""Files of the lab, written whole or not at all. An output may also be a link, a pipe or a device.

A link is followed, and the file it leads to is the one that is written. A pipe and a character
device, such as /dev/stdout and >(gzip), are written through. Nothing else is: what is no regular
file is never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, data: Any) -> None:
    """Write JSON, indented by one space, as `write_bytes` does."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, as `replacing` does, or a pipe or device through.

    OSError when that fails, and for a pipe that nobody reads.
    """
    if _is_stream(path):
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(handle, True)
        with open(handle, "wb") as stream:
            stream.write(data)
        return
    with replacing(path) as neighbour:
        write_synced(neighbour, data)


def check_writable(path: Path) -> None:
    """OSError when `write_bytes` could not write this path now. Nothing stays behind."""
    if _is_stream(path):
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    neighbour = _neighbour(path)
    neighbour.touch()
    neighbour.unlink()


def _neighbour(path: Path) -> Path:
    """A new file beside the one that a path leads to, of a name that only this process uses."""
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name[:40]}.{os.getpid()}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a neighbour to write, which takes the place of the file when the block ends.

    So the file is whole or what it was, even if the process is killed or the disk is full; after an
    error the neighbour is gone. OSError when that fails, and when the path is no regular file.
    """
    if _is_stream(path):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    target, neighbour = Path(os.path.realpath(path)), _neighbour(path)
    try:
        yield neighbour
        os.replace(neighbour, target)
    except BaseException:
        with contextlib.suppress(OSError):
            neighbour.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _is_stream(path: Path) -> bool:
    """Whether a path means a pipe or a character device. OSError for a block device or a socket."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file that survives a power cut. A process that is killed may leave a part of it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Delete a folder with all that is in it, or a file of any kind, where it can be deleted.

    A link goes, and what it leads to stays. `shutil.rmtree` alone waits for ever on a pipe.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
