"""The command `lab run`: one experiment, with one seed or several."""

from __future__ import annotations

import inspect
import json
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import as_cli_errors, out_option, say, say_device
from lab.cli.experiment import MOST, ByExperiment, command

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.results.result import Result


class _Runs(ByExperiment):
    def for_experiment(self, name: str, function: Callable[..., Experiment]) -> click.Command:
        """`lab run NAME`, with the options of one experiment."""
        from lab.cli.options import Option

        count: dict[str, Any] = {
            "type": click.IntRange(1, MOST),
            "metavar": "INTEGER",
            "default": 1,
        }
        seeds = Option(["--seeds"], common=True, help="number of seeds, one run each", **count)
        told = "threads of a single run; other numbers give other bytes of weights"
        threads = Option(["--threads"], help=told, **count)
        return command(
            name, function, [seeds, threads], "Run", lambda given: _go(name, function, given)
        )


@click.group(cls=_Runs, subcommand_metavar="NAME [OPTIONS]")
def run() -> None:
    """Train and evaluate an experiment.

    NAME is one of the experiments below, or your own FILE.py that defines a task or a function
    `experiment`. `lab run NAME --help` shows its options. The same command again prints the
    finished run, or resumes an interrupted one.
    """


def _go(name: str, function: Callable[..., Experiment], given: dict[str, Any]) -> None:
    from lab.cli.options import build, check_once, set_paths
    from lab.cli.progress import progress
    from lab.cli.stages import with_parent
    from lab.config.experiment import with_seeds
    from lab.data.position_ids import check_rows
    from lab.runs.run import run as run_one
    from lab.runs.sweep import run_many
    from tasks import refuse

    out, device, quiet = given["out"], given["device"], given["as_json"]
    every, compile, track = given["checkpoint_every"], given["compile"], given["track"]
    with as_cli_errors():
        given = with_parent(function, given)
        check_once(function, given, set_paths(given["sets"]))
        base = check_rows(build(function, given, given["sets"]))
        experiments = with_seeds(base, given["seeds"])
        if base.source and not quiet:
            _say_if_nothing_is_held_out(base)
        if len(experiments) > 1 and given["threads"] > 1:
            raise refuse("--threads", given["threads"], "with --seeds each run has 1")
        labels = [f"seed {e.train.seed}" for e in experiments]
        with progress(labels, base.train.steps, quiet) as show:
            if len(experiments) == 1:
                results = [
                    run_one(
                        base,
                        out,
                        device,
                        given["threads"],
                        every,
                        compile,
                        watch=lambda row: show([row]),
                        warn=lambda text: say(text, err=True),
                        track=track,
                        heartbeat=lambda: show([]),
                    )
                ]
            else:
                results = run_many(experiments, out, device, None, show, every, compile, track)
    say_device(results, device)
    if quiet:
        click.echo(json.dumps(_document(results)))
        return
    _print_results(results)
    _print_next(name, "cot" in inspect.signature(function).parameters, base, out)


def _say_if_nothing_is_held_out(experiment: Experiment) -> None:
    """A line for a user's own task whose test rows come from the training distribution."""
    from lab.data.rows import alike_splits

    splits = experiment.task.splits()
    alike = alike_splits(experiment.task, experiment.train.lengths[0])
    if len(splits) > 1 and not alike:
        return
    why = f"sample draws {alike[0]} and {alike[1]} alike" if alike else f"it has only {splits[0]}"
    text = "its scores are on new rows of the training distribution, which may repeat training rows"
    say(f"{experiment.task.name} holds nothing out ({why}): {text}", err=True)


def _document(results: list[Result]) -> dict[str, Any]:
    if len(results) == 1:
        return results[0].to_json()
    from lab.results.summary import summary

    return {"runs": [result.to_json() for result in results], "summary": summary(results)}


def _print_results(results: list[Result]) -> None:
    """The scores, what they mean, and the figure."""
    from rich.console import Console

    from lab.cli import tables
    from lab.results import words
    from lab.verdicts.why import why

    Console().print(tables.scores(results))
    for line in words.sentences(results):
        say(line)
    for line in why(results):
        say(textwrap.fill(line, 80, subsequent_indent="  "))
    folders = Path(results[0].run).parent if len(results) > 1 else results[0].run
    say(f"{folders}  ({_time(results)})")
    _plot(results)


def _print_next(name: str, both: bool, experiment: Experiment, out: Path) -> None:
    """The commands that may follow. both: whether the experiment takes --cot and --no-cot; they are
    not offered where its rows have no thought."""
    from lab.data.rows import Rows
    from tasks import Role

    row = Rows(experiment.task, experiment.train.lengths[0], 0)[0:1]
    this, other = ("--cot", "--no-cot") if experiment.cot else ("--no-cot", "--cot")
    typed, where = shlex.quote(name), out_option(out)
    commands = [f"lab show {typed}", f"lab list runs{where}"]
    if both and (row.roles == Role.THOUGHT).any():
        commands[0] = f"lab show {typed} {this}"
        commands.insert(0, f"lab run {typed} {other}{where}")
    say("Next: " + "   ".join(commands))


def _time(results: list[Result]) -> str:
    """The wall time of runs and, where all of them measured it, the share of their evaluations."""
    seconds = sum(result.seconds for result in results)
    parts = [result.evaluation_seconds for result in results]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not seconds:
        return f"{seconds:.0f} s of training and evaluation"
    return f"{seconds:.0f} s, {sum(known) / seconds:.0%} of it evaluation"


def _plot(results: list[Result]) -> None:
    """Draw the runs, unless their figure exists, and print its path.

    A run is complete even if its figure cannot be written.
    """
    from lab.figures import draw

    try:
        say(draw.of_run(results))
    except OSError as error:
        reason = error.strerror or error
        say(f"no plot: cannot write into {results[0].run}: {reason}", err=True)
    except ValueError as error:
        say(f"no plot: {error}", err=True)
