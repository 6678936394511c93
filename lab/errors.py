"""Errors that a user meets: bad usage, a run that failed, a run that was stopped.

The command line prints each as one sentence, with exit code 2, 1 and 1.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from types import CodeType


class UsageError(ValueError):
    """A mistake in a command or a call, in one sentence: what was given and what is allowed."""


class RunFailed(Exception):
    """A run that cannot continue, in one sentence."""


class RunStopped(Exception):
    """The run was interrupted and its checkpoint is saved. `step`: the last step that is saved."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; {folder} is saved")
        self.folder, self.step = folder, step


def in_own_code(error: BaseException) -> str | None:
    """An error that a user's own file raised, in one sentence with file, line and function.

    None for an error of the lab, and for a value that the file refuses in the lab's own words.
    """
    if isinstance(error, ValueError) and " cannot be used: " in str(error):
        return None
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).startswith("user_file_"):
            return f"{place(frame.f_code, line)}: {type(error).__name__}: {error}"
    return None


def place(code: CodeType, line: int | None = None) -> str:
    """Where some code stands: "majority.py line 12 in sample". line: by default its first one."""
    near = os.path.relpath(code.co_filename)
    file = code.co_filename if near.startswith("..") else near
    return f"{file} line {line or code.co_firstlineno} in {code.co_name}"
