"""What runs: the child processes of a process, from Linux's /proc."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are in /proc")


def children(parent: int, word: str) -> list[int]:
    """The processes that `parent` has started with this word in their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):  # it ended meanwhile
            ours = int(path.read_text().rpartition(")")[2].split()[1]) == parent
            if ours and word in (path.parent / "cmdline").read_text():
                found.append(int(path.parent.name))
    return found
