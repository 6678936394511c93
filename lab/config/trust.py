"""Which files of code a user named: a configuration is data, and names no code to execute.

A run on a user's own task or mixer stores the path of that file. Whoever reads the run executes the
file only when the user names it again (`--task FILE.py`, `--mixer FILE.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import registry
from tasks import Task


@dataclass(frozen=True)
class Trusted:
    """Code that the user named. task: the class of a task from the user's file. mixers: absolute,
    resolved paths of the user's files of mixers."""

    task: type[Task] | None = None
    mixers: frozenset[str] = frozenset()


NOTHING = Trusted()


def mixer_files(layers: str) -> list[str]:
    """The absolute paths of the files in `ModelConfig.layers`, "/me/retention.py*2,lstm" and the
    like, each once. Reads no file."""
    names = (part.strip().partition("*")[0].strip() for part in layers.split(","))
    return list(dict.fromkeys(str(Path(n).resolve()) for n in names if registry.is_file(n)))
