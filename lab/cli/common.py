"""What several commands share: options, errors as one sentence, names for shell completion."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from lab.cli.interrupts import answered
from lab.errors import RunFailed, RunStopped, UsageError, in_words, of_user
from lab.text import shown

if TYPE_CHECKING:
    from lab.results.result import Result

RUNS = Path("runs")  # the folder of runs where no --out is given
NAMED = 40  # names that an error lists
Names = Literal["tasks", "mixers", "experiments", "claims", "analyses", "runs"]


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
        raise click.ClickException(shown(str(failed))) from None
    except ValueError as error:
        raise _Usage(shown(in_words(error))) from None


@contextmanager
def _in_our_style() -> Iterator[None]:
    """Print a mistake that click finds as the lab prints its own: one sentence, no usage."""
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2: it prints the help
            raise
        text = " ".join(error.format_message().split())
        where = f" See {error.ctx.command_path} --help." if error.ctx else ""
        raise _Usage(shown(text + where)) from None


class Group(click.Group):
    """A group that prints each error of its commands as one sentence: a wrong option or name,
    UsageError, RunFailed and RunStopped, what a user's own file raises, and what the system
    refuses: a full disk behind stdout, a folder that is gone.

    An error in a user's own file names file, line and function. Other errors are bugs and keep
    their traceback; a command that expects a ValueError uses `as_cli_errors` itself.
    """

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _in_our_style():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _in_our_style():
                return super().invoke(ctx)
        except (UsageError, RunFailed, RunStopped) as error:
            with as_cli_errors():
                raise error
        except (click.ClickException, click.exceptions.Exit, click.Abort, OSError):
            raise
        except Exception as error:
            message = of_user(error)
            if message is None:
                raise
            raise click.ClickException(shown(message)) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            with answered():
                return super().main(*args, **extra)
        except OSError as error:
            where = error.filename or "stdout"
            click.echo(shown(f"Error: {where}: {error.strerror or error}"), err=True)
            if not error.filename and sys.stdout is sys.__stdout__:
                # What stdout did not take is not written again, and in vain, when Python ends.
                with open(os.devnull, "w") as nothing:
                    os.dup2(nothing.fileno(), 1)
            sys.exit(1)


def say(text: object, err: bool = False) -> None:
    """Print lines of text in which there may be some of a file: `shown` line by line."""
    click.echo(shown(str(text), keep="\n"), err=err)


def wrapped(text: str, indent: str) -> str:
    """A line as a terminal shows it without cutting words: wrapped at its width, with further lines
    indented. Elsewhere a line stays whole, for grep."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        text,
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def out_option(out: Path) -> str:
    """What a suggested command needs to find the runs: " --out FOLDER", nothing for runs/."""
    return "" if out == RUNS else f" --out {shlex.quote(str(out))}"


def say_device(results: Iterable[Result], device: str) -> None:
    """Say on stderr that runs which are only read were made on another device than --device."""
    import torch

    from lab.results.environment import cpu_name

    if device == "auto":
        return
    here = cpu_name()
    if device == "cuda":
        here = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    others = {str(result.environment.get("device")) for result in results} - {here}
    if others:
        made = " and ".join(sorted(others))
        say(f"--device {device} changes nothing: this was run on {made} and is read", err=True)


def cannot_write(path: Path, error: OSError) -> RunFailed:
    """The error of an output that cannot be written."""
    return RunFailed(f"cannot write {path}: {error.strerror or error}")


def writable(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """The path of an output, refused before anything runs where it cannot be written."""
    from lab.files import check_writable

    try:
        if path is not None:
            check_writable(path)
    except OSError as error:
        raise UsageError(f"{param.opts[0]} {path}: {error.strerror or error}") from None
    return path


def unknown(kind: str, name: str, allowed: list[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one or those that there are, at
    most NAMED of them."""
    near = difflib.get_close_matches(name, allowed, 1)
    names = sorted(set(allowed))
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:NAMED])}{more}"
    return UsageError(f"no {kind} is named {name!r}: {hint}")


def complete(
    *kinds: Names,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Shell completion with the names of some kinds, and with paths once a path is typed.

    Without a kind every value is a path.
    """

    def items(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if not kinds or incomplete.startswith((".", "~")) or "/" in incomplete:
            return [CompletionItem(incomplete, type="dir" if "runs" in kinds else "file")]
        names = {name for kind in kinds for name in _names(kind, ctx)}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]

    return items


def _names(kind: Names, ctx: click.Context) -> list[str]:
    """Every name of a kind. Runs are those under --out."""
    from lab import registry

    if kind != "runs":
        return registry.names(kind)
    from lab.results.find import run_folders

    return [path.name for path in run_folders(ctx.params.get("out") or "runs")]


class NonEmptyPath(click.Path):
    """A path. The empty text, which would mean the working directory, is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            raise UsageError(f"{param.opts[0]} = '' cannot be used: it is empty")
        return super().convert(value, param, ctx)


class RunsFolder(NonEmptyPath):
    """The folder of runs, --out. The name of a file is refused where --to is what was meant."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        out = super().convert(value, param, ctx)
        writes = ctx is not None and any(p.name == "to" for p in ctx.command.params)
        if writes and out.suffix and not out.is_dir():
            meant = f"it is the folder of the runs; --to {out} writes that file"
            raise UsageError(f"--out = {str(out)!r} cannot be used: {meant}")
        return out


JSON = click.option("--json", "as_json", is_flag=True, help="print one JSON document, nothing else")
OUT = click.option(
    "--out",
    default="runs",
    show_default=True,
    type=RunsFolder(path_type=Path),
    help="folder that holds the runs",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA if there is a device, else the CPU",
)
FILE = NonEmptyPath(path_type=Path, dir_okay=False)
TASK_FILE = click.option(
    "--task",
    "task_file",
    metavar="FILE.py",
    shell_complete=complete(),
    help="your own task file that the run was made with; it is executed",
)
MIXER_FILES = click.option(
    "--mixer",
    "mixer_files",
    multiple=True,
    metavar="FILE.py",
    shell_complete=complete(),
    help="your own mixer file that the run was made with; it is executed",
)
