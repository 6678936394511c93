"""A subcommand for every experiment, made from its signature, for `lab run` and `lab sweep`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lab.cli.options import Option
    from lab.config import Experiment


class ByExperiment(click.Group):
    """A group with one subcommand per experiment, made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        import tasks
        from lab import registry

        return sorted({*registry.names("experiments"), *tasks.names()})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Experiments"):
            formatter.write_text("  ".join(self.list_commands(ctx)))


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
    from lab.runs import trackers

    own = from_signature(function, "Experiment")
    every = [
        *more,
        Option(["--set", "sets"], multiple=True, metavar="PATH=VALUE", help="task.k=10, ..."),
        Option(["--out"], type=click.Path(path_type=Path), default=Path("runs"), help="folder"),
        Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        Option(["--checkpoint-every"], type=click.IntRange(1), default=50, help="steps"),
        Option(["--compile"], is_flag=True, help="torch.compile, where it pays"),
        Option(
            ["--track"], type=click.Choice(trackers.NAMES), help="also log to, in the run folder"
        ),
        Option(["--json", "as_json"], is_flag=True, help="print one JSON document, nothing else"),
    ]
    for option in every:
        if option.section == "Options":
            option.section = section
        option.show_default = not option.is_flag
    again = Option(
        ["--prompt-repeats"],
        type=click.IntRange(1),
        help="times the prompt is read, 2: just read twice  [default: 1]",
        section="Experiment",
    )
    paper = Option(
        ["--preset"],
        type=click.Choice(list(PRESETS)),
        help="a paper's model; further options change it",
        section="Model",
    )
    taken = [p.name for p in [*own, *every] if p.name]
    return Command(
        name,
        params=[*own, again, *every, paper, *from_config(function(), taken)],
        callback=lambda **given: go(given),
        help=(function.__doc__ or "").partition("\n\n")[0],
    )
