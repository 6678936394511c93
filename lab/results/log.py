"""metrics.jsonl of a run that writes it: rows are added at the end, and sealed by checkpoints.

A seal holds the length and the SHA-256 of the log at a moment. Every checkpoint carries one, so a
run that resumes knows whether the rows before the checkpoint are those that were written.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypedDict

from lab.files import write_bytes
from lab.results.reader import read_bytes


class LogSeal(TypedDict):
    """The log at a moment. bytes: its length."""

    bytes: int
    sha256: str


EMPTY: LogSeal = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}


class Log:
    """The log of a run in this process. evaluations: its rows with scores, in their order, which
    stay in memory: what happens to the file meanwhile changes no result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evaluations: list[dict[str, Any]] = []
        self._bytes, self._hash = 0, hashlib.sha256()

    def cut(self, seal: LogSeal) -> None:
        """Go on from where the seal was made: the rows after it are dropped from the file.

        ValueError when what the file holds before that is not what was written.
        """
        content = self._sealed(seal)
        rows = (json.loads(line) for line in content.splitlines())
        self.evaluations = [row for row in rows if "scores" in row]
        self._bytes, self._hash = len(content), hashlib.sha256(content)
        write_bytes(self.path, content)

    def check(self, seal: LogSeal) -> None:
        """ValueError when the file does not begin with what was sealed."""
        self._sealed(seal)

    def add(self, row: dict[str, Any]) -> None:
        """Add one row as a line at the end."""
        line = json.dumps(row).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
        if "scores" in row:
            self.evaluations.append(row)
        self._bytes += len(line)
        self._hash.update(line)

    def seal(self) -> LogSeal:
        """The seal of every row so far, once they are on the disk."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def _sealed(self, seal: LogSeal) -> bytes:
        content = read_bytes(self.path) if self.path.exists() else b""
        if hashlib.sha256(content[: seal["bytes"]]).hexdigest() != seal["sha256"]:
            raise ValueError(f"{self.path.name} is not what was written before it")
        return content[: seal["bytes"]]
