"""Errors that a user meets: bad usage, a run that failed, a run that was stopped."""

from __future__ import annotations

from pathlib import Path

import click


class UsageError(click.ClickException):
    """A mistake in the command: one sentence on stderr, exit code 2."""

    exit_code = 2


class RunStopped(Exception):
    """The run was interrupted; its checkpoint is saved. `step`: where it stands."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; {folder} is saved")
        self.folder, self.step = folder, step


class RunFailed(Exception):
    """A run that cannot go on, in one sentence."""
