"""The one reader of files that may come from a stranger: a run folder, a record of a claim.

    read_json(Path("runs/parity-1a2b3c4d/result.json"))

It opens regular files only, so a FIFO or a device cannot block it and a link leads nowhere. A file
has a limit of bytes, and JSON one of values and of depth, so that no file exhausts memory. What
breaks a rule is a ValueError that names the file; OSError remains for a file that is not there.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MIB = 1 << 20

# Bytes of a file, by its name; JSON is the limit of any other name.
LIMITS = {"config.json": MIB, "compile.json": MIB, "metrics.jsonl": 128 * MIB}
JSON = 64 * MIB

VALUES = 1_000_000  # numbers, texts, lists and objects in a file: 0.2 GB of memory at most
DEPTH = 32  # lists and objects inside each other
LARGEST = 1e38  # of all numbers: those of the lab come from float32, which ends at 3.4e38

# What opening a link, a socket or a device without a driver gives, beside what fstat tells.
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV)


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def exists(path: Path) -> bool:
    """Whether anything has this name: a file, or a link to nowhere. False for a name that no file
    can have."""
    return os.path.lexists(path)


def open_regular(path: Path, root: Path | None = None) -> BinaryIO:
    """A regular file, opened to read bytes. root: a folder above it; no part of the path below it
    is a link, which might lead out of it.

    ValueError for a link, FIFO, device, socket or folder, OSError for what cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for folder in path.parents if root else ():
        if folder == root:
            break
        if folder.is_symlink():
            raise ValueError(f"{folder} is a link, which may lead out of the run folder")
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise ValueError(f"{path} is no regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} is no regular file")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, limit: int | None = None, root: Path | None = None) -> bytes:
    """The content of a file as `open_regular` opens it. limit: of its bytes, by default that of
    LIMITS. ValueError for more."""
    most = LIMITS.get(path.name, JSON) if limit is None else limit
    with open_regular(path, root) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise ValueError(f"{path} has {size:,} bytes, and such a file at most {most:,}")
    return content


def read_json(path: Path, root: Path | None = None) -> Any:
    """The JSON in a file. OSError when it cannot be opened, ValueError when it is no regular file,
    too large, or holds no JSON of the lab: NaN and infinity are none."""
    content = read_bytes(path, root=root)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON of this lab: {error}") from None


def parse_json(content: bytes) -> Any:
    """The value of some JSON. ValueError in words for text that is none, and beyond the limits."""
    if sum(map(content.count, (b",", b"[", b"{"))) > VALUES:
        raise ValueError(f"it holds more than {VALUES:,} values")
    try:
        value = json.loads(
            content, parse_constant=_no_constant, parse_float=_number, parse_int=_number
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _SURROGATE.search(content):  # halves of pairs, or whole ones, which are a character
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text in it has half of a surrogate pair") from None
    level = [value]
    for _ in range(DEPTH):
        level = [inner for part in level for inner in _inner(part)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in the lines of a file such as metrics.jsonl, up to the first damaged line: a
    crash may cut the last one. Errors as `read_bytes`, and ValueError for too many values."""
    content = read_bytes(path)
    if sum(map(content.count, (b",", b"[", b"{"))) > VALUES:
        raise ValueError(f"{path} holds more than {VALUES:,} values")
    for line in io.BytesIO(content):
        try:
            row = parse_json(line)
        except ValueError:
            return
        if not isinstance(row, dict):
            return
        yield row


def _inner(part: Any) -> list[Any]:
    """The lists and objects directly in a value."""
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [value for value in values if isinstance(value, dict | list)]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    number = float(text) if {".", "e", "E"} & set(text) else int(text)
    if not -LARGEST <= number <= LARGEST:
        raise ValueError(f"{text[:20]} is too large a number")
    return number
