"""From what a user types to what it names, and from what the lab raises to one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lab.config import Experiment
    from tasks import Task

JSON = click.option("--json", "as_json", is_flag=True, help="print one JSON document, nothing else")


class Refused(click.ClickException):
    """A mistake in the command: one sentence on stderr, exit code 2."""

    exit_code = 2


@contextmanager
def mistakes() -> Iterator[None]:
    """Turn what the lab raises into one sentence and an exit code."""
    from lab.run import Failed, Stopped

    try:
        yield
    except Stopped as stopped:
        says = f"Stopped at step {stopped.step}; saved. The same command goes on from there."
        raise click.ClickException(says) from None
    except Failed as failed:
        raise click.ClickException(str(failed)) from None
    except ValueError as error:
        raise Refused(str(error)) from None


def experiment_function(name: str) -> Callable[..., Experiment]:
    """The experiment of this name, of the task of this name, or of the task in this file."""
    import tasks
    from lab import experiments
    from lab.experiments._any import for_task

    if name in experiments.names():
        return experiments.load(name)
    if name in tasks.names():
        return for_task(tasks.load(name))
    if is_file(name):
        return for_task(load_task(name), str(Path(name).resolve()))
    raise unknown("experiment", name, [*experiments.names(), *tasks.names()])


def is_file(name: str) -> bool:
    return name.endswith(".py")


def load_task(name: str) -> type[Task]:
    """The task class of a name or of a user's file."""
    import tasks

    if not is_file(name):
        if name not in tasks.names():
            raise unknown("task", name, tasks.names())
        return tasks.load(name)
    if not Path(name).is_file():
        raise Refused(f"there is no file {name}")
    try:
        cls = tasks.load_file(name)
        cls()
        return cls
    except Exception as error:
        raise Refused(f"{name} cannot be loaded: {type(error).__name__}: {error}") from None


def unknown(kind: str, name: str, allowed: list[str]) -> Refused:
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(set(allowed)))}"
    return Refused(f"no {kind} is named {name!r}: {hint}")


def with_options(task: Task, sets: tuple[str, ...], split: str | None) -> Task:
    """The task with `OPTION=VALUE` applied; "train" is every task's training split."""
    from lab._fields import set_field
    from tasks import refuse

    for text in sets:
        option, equals, value = text.removeprefix("task.").partition("=")
        if not equals:
            raise refuse("--set", text, "it needs the form OPTION=VALUE, such as k=5")
        task = set_field(task, option, value, option)
    if split:
        task = set_field(task, "split", task.splits()[0] if split == "train" else split, "--split")
    return task
