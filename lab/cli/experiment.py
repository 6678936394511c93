"""A subcommand for every experiment, made from its signature, for `lab run` and `lab sweep`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from lab.cli.common import RunsFolder, as_cli_errors
from lab.errors import UsageError, user_line

if TYPE_CHECKING:
    from lab.cli.options import Option
    from lab.config import Experiment


MOST = 10_000  # seeds, threads or combinations: more are a mistake


class ByExperiment(click.Group, ABC):
    """A group with one subcommand per experiment, made when its name is typed."""

    @abstractmethod
    def for_experiment(self, name: str, function: Callable[..., Experiment]) -> click.Command:
        """The subcommand for one experiment."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every experiment and task of the lab; a user's FILE.py is a subcommand too."""
        import tasks
        from lab import registry

        return sorted({*registry.names("experiments"), *tasks.names()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand of a name or FILE.py; a file is executed once."""
        from lab.cli.resolve import experiment_function

        try:
            with as_cli_errors():
                return self.for_experiment(name, experiment_function(name))
        except (click.ClickException, ValueError):
            if ctx.resilient_parsing:  # completion of a name that is not one
                return None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names that begin with what is typed, or files after a path. No experiment is imported."""
        if incomplete.startswith((".", "/", "~")):
            return [CompletionItem(incomplete, type="file")]
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [CompletionItem(name) for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Experiments"):
            formatter.write_text("  ".join(self.list_commands(ctx)))


def experiment_of_file(path: str) -> Callable[..., Experiment]:
    """The experiment of a user's file, which defines a function `experiment` or a Task.

    The file is executed once. UsageError in one sentence when it cannot be used.
    """
    from lab.experiments._make import of_file

    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}")
    try:
        function = of_file(path)
        function()
        return function
    except Exception as error:
        raise UsageError(f"{path} cannot be loaded: {user_line(error)}") from None


def command(
    name: str,
    function: Callable[..., Experiment],
    more: Sequence[Option],
    section: str,
    go: Callable[[dict[str, Any]], None],
) -> click.Command:
    """A subcommand for one experiment: the experiment's own options, `more` and those of every run
    under `section`, then all fields of model and train."""
    from lab.cli.options import Command, Option, from_config, from_signature
    from lab.config.presets import PRESETS

    own = from_signature(function, "Experiment")
    every = [*more, *_of_every_run()]
    for option in every:
        if option.section == "Options":
            option.section = section
        option.show_default = not (option.is_flag or option.multiple)
    taken = [p.name for p in [*own, *every] if p.name]
    repeats = Option(
        ["--prompt-repeats"],
        "Experiment",
        type=click.IntRange(1),
        metavar="INTEGER",
        help="times that the prompt is repeated before the answer; 2: just read twice"
        "  [default: 1]",
    )
    preset = Option(
        ["--preset"],
        "Model",
        type=click.Choice(list(PRESETS)),
        metavar="NAME",
        help=f"model of a paper, changed by further options; one of {', '.join(PRESETS)}",
    )
    general = [option for option in (repeats, preset) if option.name not in taken]
    return Command(
        name,
        params=[*own, *general[:1], *every, *general[1:], *from_config(function(), taken)],
        callback=lambda **given: go(given),
        help=(function.__doc__ or "").partition("\n\n")[0],
        epilog=f"More options: lab {section.lower()} {name} --help-all",
    )


def _of_every_run() -> list[Option]:
    """Options of `lab run` and `lab sweep`, none of which changes a result but --set and --from."""
    from lab.cli.options import Option
    from lab.runs import trackers

    count: dict[str, Any] = {"type": click.IntRange(1), "metavar": "INTEGER"}
    return [
        Option(
            ["--set", "sets"],
            common=True,
            multiple=True,
            metavar="PATH=VALUE",
            help="set any field by its path, such as task.k=10 or train.lr=3e-4; repeatable",
        ),
        Option(
            ["--from", "parent"],
            common=True,
            metavar="RUN[@CHECKPOINT]",
            help="start from the weights of this run, at its end or at a checkpoint that it keeps"
            " (@500, @branch-500); model and words must fit",
        ),
        Option(
            ["--out"],
            common=True,
            type=RunsFolder(path_type=Path),
            default=Path("runs"),
            help="folder of the run folders",
        ),
        Option(
            ["--device"],
            common=True,
            type=click.Choice(["auto", "cpu", "cuda"]),
            metavar="auto|cpu|cuda",
            default="auto",
            help="device of the training; auto is a GPU where there is one",
        ),
        Option(["--checkpoint-every"], default=50, help="steps between two checkpoints", **count),
        Option(["--compile"], is_flag=True, help="use torch.compile where it is faster"),
        Option(
            ["--track"],
            type=click.Choice(trackers.NAMES),
            metavar="NAME",
            help=f"log to a tracker too; one of {', '.join(trackers.NAMES)}",
        ),
        Option(
            ["--json", "as_json"],
            common=True,
            is_flag=True,
            help="print one JSON document, nothing else",
        ),
    ]
