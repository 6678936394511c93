"""What several commands share: options, errors as one sentence, names for shell completion."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from lab.errors import RunFailed, RunStopped, UsageError

Names = Literal["tasks", "mixers", "experiments", "claims", "runs"]


class _Usage(click.ClickException):
    """One sentence on stderr, exit code 2."""

    exit_code = 2


@contextmanager
def as_cli_errors() -> Iterator[None]:
    """Turn errors of the lab, and every ValueError, into one sentence and an exit code."""
    try:
        yield
    except RunStopped as stopped:
        message = f"Stopped at step {stopped.step}; saved. The same command goes on from there."
        raise click.ClickException(message) from None
    except RunFailed as failed:
        raise click.ClickException(str(failed)) from None
    except ValueError as error:
        raise _Usage(str(error)) from None


class Group(click.Group):
    """A group that prints UsageError, RunFailed and RunStopped of its commands as one sentence.

    Other errors are bugs and keep their traceback; a command that expects a ValueError uses
    `as_cli_errors` itself.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (UsageError, RunFailed, RunStopped) as error:
            with as_cli_errors():
                raise error


def unknown(kind: str, name: str, allowed: list[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one or all that there are."""
    near = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(set(allowed)))}"
    return UsageError(f"no {kind} is named {name!r}: {hint}")


def complete(*kinds: Names) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion with the names of some kinds; runs are those under --out."""

    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        import tasks
        from lab import registry

        found: list[str] = []
        for kind in kinds:
            if kind == "tasks":
                found += tasks.names()
            elif kind == "runs":
                out = ctx.params.get("out") or "runs"
                found += [path.parent.name for path in sorted(Path(out).glob("*/config.json"))]
            else:
                found += registry.names(kind)
        return sorted({name for name in found if name.startswith(incomplete)})

    return names


JSON = click.option("--json", "as_json", is_flag=True, help="print one JSON document, nothing else")
OUT = click.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="folder that holds the runs",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA if there is a device, else the CPU",
)
TASK_FILE = click.option(
    "--task",
    "task_file",
    metavar="FILE.py",
    help="your own task file that the run was made with; it is executed",
)
MIXER_FILES = click.option(
    "--mixer",
    "mixer_files",
    multiple=True,
    metavar="FILE.py",
    help="your own mixer file that the run was made with; it is executed",
)
