"""The command `lab run`, and what it shares with `lab sweep`: a subcommand per experiment, made
from its signature, and the check of an experiment before a run folder is made."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab._names import experiment_function, mistakes

if TYPE_CHECKING:
    from lab._options import Option
    from lab.config import Experiment
    from lab.results import Result


class ByExperiment(click.Group):
    """A group with one subcommand per experiment, made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        import tasks
        from lab import experiments

        return sorted({*experiments.names(), *tasks.names()})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Experiments"):
            formatter.write_text("  ".join(self.list_commands(ctx)))


class _Runs(ByExperiment):
    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        from lab._options import Option

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


def command(
    name: str,
    function: Callable[..., Experiment],
    more: Sequence[Option],
    section: str,
    go: Callable[[dict[str, Any]], None],
) -> click.Command:
    """A subcommand for one experiment: the experiment's own options, `more` and those of every run
    under `section`, then all fields of model and train."""
    from lab import track
    from lab._options import Command, Option, from_config, from_signature
    from lab.presets import PRESETS

    own = from_signature(function, "Experiment")
    every = [
        *more,
        Option(["--set", "sets"], multiple=True, metavar="PATH=VALUE", help="task.k=10, ..."),
        Option(["--out"], type=click.Path(path_type=Path), default=Path("runs"), help="folder"),
        Option(["--device"], type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
        Option(["--checkpoint-every"], type=click.IntRange(1), default=50, help="steps"),
        Option(["--compile"], is_flag=True, help="torch.compile, where it pays"),
        Option(["--track"], type=click.Choice(track.NAMES), help="also log to, in the run folder"),
        Option(["--json", "as_json"], is_flag=True, help="print one JSON document, nothing else"),
    ]
    for option in every:
        if option.section == "Options":
            option.section = section
        option.show_default = not option.is_flag
    again = Option(
        ["--reads"],
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


def checked(experiment: Experiment) -> Experiment:
    """The experiment, once each of its probes and training lengths has given a row: a bad option is
    found before a run folder is made."""
    import numpy as np

    from lab.train import places

    experiment.train.installed()
    rows = [(probe.of(experiment.task), probe.length) for probe in experiment.probes]
    rows += [(experiment.task, length) for length in experiment.train.lengths]
    for task, length in rows:
        places(task, experiment.model, task.sample(np.random.default_rng(0), 1, length))
    return experiment


def with_seeds(base: Experiment, seeds: int) -> list[Experiment]:
    """The experiment with its own seed and the next ones."""
    from dataclasses import replace

    first = base.train.seed
    return [replace(base, train=replace(base.train, seed=first + i)) for i in range(seeds)]


def _go(name: str, given: dict[str, Any]) -> None:
    from lab._options import build
    from lab.progress import progress
    from lab.run import run as run_one
    from lab.sweep import run_many

    out, device, quiet = given["out"], given["device"], given["as_json"]
    every, compile, track = given["checkpoint_every"], given["compile"], given["track"]
    with mistakes():
        base = checked(build(experiment_function(name), given, given["sets"]))
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
    from lab.results import summary

    return {"runs": [result.to_json() for result in found], "summary": summary(found)}


def _print_results(name: str, experiment: Experiment, found: list[Result]) -> None:
    from rich.console import Console

    from lab import view

    Console().print(view.scores(found))
    for line in view.sentences(found):
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
    from lab import plots

    try:
        click.echo(plots.of_run(found))
    except OSError as error:
        says = error.strerror or error
        click.echo(f"no plot: cannot write into {found[0].run}: {says}", err=True)
    except ValueError as error:
        click.echo(f"no plot: {error}", err=True)
