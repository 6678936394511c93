"""Files of the lab: JSON read, and any file written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """The JSON in a file. OSError when it cannot be opened, ValueError when it holds no JSON."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path} is no JSON of this lab: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


def write_json(path: Path, data: Any) -> None:
    """Write JSON, indented by one space, as `write_bytes` does."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, even if the process is killed or the disk is full.

    A neighbour in the same folder is written, synced and renamed over the file. OSError when that
    fails; the file is then what it was, and the neighbour is gone.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(neighbour, data)
        os.replace(neighbour, path)
    except BaseException:
        with contextlib.suppress(OSError):
            neighbour.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file that survives a power cut. A process that is killed may leave a part of it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
