"""Errors that a user meets: bad usage, a run that failed, a run that was stopped.

The command line prints each as one sentence, with exit code 2, 1 and 1.
"""

from __future__ import annotations

from pathlib import Path

USER_FILE = "user_file_"  # the names of modules that `tasks.load_module` makes begin so


class UsageError(ValueError):
    """A mistake in a command or a call, in one sentence: what was given and what is allowed."""


class RunFailed(Exception):
    """A run that cannot continue, in one sentence."""


class RunStopped(Exception):
    """The run was interrupted and its checkpoint is saved. `step`: the last step that is saved."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; {folder} is saved")
        self.folder, self.step = folder, step


def user_line(error: BaseException) -> str:
    """An error in one sentence: its type, its message and, where a user's own file is in its
    traceback, the file, line and function that were running."""
    text = f"{type(error).__name__}: {error}".rstrip(": ").replace("\n", " ")
    place = user_place(error)
    return f"{text} ({place})" if place else text


def in_words(error: Exception) -> str:
    """A ValueError, or what a run raises, in one sentence: a refusal as it stands, another error of
    a user's own file with its place."""
    from tasks import REFUSED  # here, since it brings numpy

    plain = isinstance(error, UsageError | RunFailed) or REFUSED in str(error)
    return str(error) if plain or user_place(error) is None else user_line(error)


def of_user(error: Exception) -> str | None:
    """The sentence for an error that a user's own file causes; None for any other error."""
    from tasks import WrongType

    if isinstance(error, WrongType):
        return str(error)
    return user_line(error) if user_place(error) else None


def user_place(error: BaseException) -> str | None:
    """The last line of a user's own file that was running: "mine.py, line 12, in sample"."""
    place, at = None, error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if str(at.tb_frame.f_globals.get("__name__", "")).startswith(USER_FILE):
            place = f"{Path(code.co_filename).name}, line {at.tb_lineno}, in {code.co_name}"
        at = at.tb_next
    return place
