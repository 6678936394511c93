"""The command `lab run`, and what it shares with `lab sweep`: a subcommand per experiment, made
from its signature, and the check of an experiment before a run folder is made."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import as_cli_errors
from lab.cli.experiment import ByExperiment, command
from lab.cli.resolve import experiment_function
from lab.config.experiment import with_seeds
from lab.data.position_ids import check_rows

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.results.result import Result


class _Runs(ByExperiment):
    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        from lab.cli.options import Option

        function = experiment_function(name)
        seeds = Option(["--seeds"], type=click.IntRange(1), default=1, help="runs, each its own")
        threads = Option(
            ["--threads"], type=click.IntRange(1), default=1, help="of torch, for a single run"
        )
        return command(name, function, [seeds, threads], "Run", lambda given: _go(name, given))


@click.group(cls=_Runs, subcommand_metavar="NAME [OPTIONS]")
def run() -> None:
    """Train and evaluate an experiment (a NAME below, or your own task's FILE.py).

    `lab run NAME --help` shows its options. The same command again prints the finished run; an
    interrupted one goes on.
    """


def _go(name: str, given: dict[str, Any]) -> None:
    from lab.cli.options import build
    from lab.cli.progress import progress
    from lab.runs.run import run as run_one
    from lab.runs.sweep import run_many

    out, device, quiet = given["out"], given["device"], given["as_json"]
    every, compile, track = given["checkpoint_every"], given["compile"], given["track"]
    with as_cli_errors():
        base = check_rows(build(experiment_function(name), given, given["sets"]))
        several = with_seeds(base, given["seeds"])
        labels = [f"seed {e.train.seed}" for e in several]
        with progress(labels, base.train.steps, quiet) as show:
            if len(several) == 1:
                found = [
                    run_one(
                        base,
                        out,
                        device,
                        given["threads"],
                        every,
                        compile,
                        watch=lambda row: show([row]),
                        warn=lambda text: click.echo(text, err=True),
                        track=track,
                    )
                ]
            else:
                found = run_many(several, out, device, None, show, every, compile, track)
    if given["as_json"]:
        click.echo(json.dumps(_document(found)))
    else:
        _print_results(name, base, found)


def _document(found: list[Result]) -> dict[str, Any]:
    if len(found) == 1:
        return found[0].to_json()
    from lab.results.summary import summary

    return {"runs": [result.to_json() for result in found], "summary": summary(found)}


def _print_results(name: str, experiment: Experiment, found: list[Result]) -> None:
    from rich.console import Console

    from lab.cli import tables
    from lab.results import words

    Console().print(tables.scores(found))
    for line in words.sentences(found):
        click.echo(line)
    folders = Path(found[0].run).parent if len(found) > 1 else found[0].run
    seconds = sum(result.seconds for result in found)
    click.echo(f"{folders}  ({seconds:.0f} s of training and evaluation)")
    _plot(found)
    this, other = ("--cot", "--no-cot") if experiment.cot else ("--no-cot", "--cot")
    both = "cot" in inspect.signature(experiment_function(name)).parameters
    shown = (
        (f"lab run {name} {other}", f"lab show {name} {this}") if both else (f"lab show {name}",)
    )
    click.echo("Next: " + "   ".join([*shown, "lab list runs"]))


def _plot(found: list[Result]) -> None:
    """Draw the runs unless that was done before, and say where; a run whose figure cannot be
    written is complete all the same."""
    from lab.figures import draw

    try:
        click.echo(draw.of_run(found))
    except OSError as error:
        says = error.strerror or error
        click.echo(f"no plot: cannot write into {found[0].run}: {says}", err=True)
    except ValueError as error:
        click.echo(f"no plot: {error}", err=True)
