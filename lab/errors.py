"""Errors that a user meets: bad usage, a run that failed, a run that was stopped.

The command line prints each as one sentence, with exit code 2, 1 and 1.
"""

from __future__ import annotations

from pathlib import Path


class UsageError(ValueError):
    """A mistake in a command or a call, in one sentence: what was given and what is allowed."""


class RunFailed(Exception):
    """A run that cannot continue, in one sentence."""


class RunStopped(Exception):
    """The run was interrupted and its checkpoint is saved. `step`: the last step that is saved."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; {folder} is saved")
        self.folder, self.step = folder, step
