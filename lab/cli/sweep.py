"""The command `lab sweep`: every combination of a grid with every seed, and one table of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import as_cli_errors, out_option, say, say_device
from lab.cli.experiment import MOST, ByExperiment, command
from lab.cli.resolve import load_named

if TYPE_CHECKING:
    from lab.cli.grid import Combination
    from lab.config import Experiment
    from lab.results.result import Result
    from lab.runs.sweep import State


class _Sweeps(ByExperiment):
    def for_experiment(self, name: str, function: Callable[..., Experiment]) -> click.Command:
        """`lab sweep NAME`, with the options of one experiment."""
        return command(
            name, function, _options(), "Sweep", lambda given: _go(name, function, given)
        )


class EngineName(click.Choice[str]):
    """One of the lab's engines, or a user's own FILE.py."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        return str(value) if str(value).endswith(".py") else super().convert(value, param, ctx)


@click.group(cls=_Sweeps, subcommand_metavar="NAME --grid PATH=VALUES [OPTIONS]")
def sweep() -> None:
    """Run an experiment over a grid of options and seeds.

    lab sweep parity --grid task.k=1..4 --grid cot=true,false --seeds 3 --workers 2

    The same command again reads complete runs and resumes interrupted ones. `lab sweep NAME
    --help` shows the options of an experiment.
    """


def _options() -> list[Any]:
    from lab import registry
    from lab.cli.options import Option, from_signature
    from lab.runs import engines

    count: dict[str, Any] = {"metavar": "INTEGER"}
    options: list[Any] = [
        Option(
            ["--grid", "grids"],
            common=True,
            multiple=True,
            required=True,
            metavar="PATH=VALUES",
            help="values of an option or a path, such as k=1..4, task.k=2,3 or lr=1e-3,3e-4;"
            " lists are separated by semicolons: 'lengths=1..4;1..8'; repeatable",
        ),
        Option(
            ["--descend"],
            type=click.IntRange(1, MOST),
            metavar="PASSES",
            help="do not run every combination: coordinate descent from the first values, which"
            " tries the values of one --grid after another, so many times, and keeps that with the"
            " smallest held-out loss on the first probe",
        ),
        Option(
            ["--seeds"],
            common=True,
            type=click.IntRange(1, MOST),
            default=1,
            help="number of seeds of each combination, one run each",
            **count,
        ),
        Option(
            ["--workers"],
            common=True,
            type=click.IntRange(1),
            help="runs at a time  [default: one per core or GPU; on a cluster, as many as fit]",
            **count,
        ),
        Option(
            ["--retries"],
            type=click.IntRange(0),
            default=1,
            help="new attempts for a run that crashed or hung",
            **count,
        ),
        Option(
            ["--engine"],
            common=True,
            type=EngineName(registry.names("engines")),
            metavar="|".join(registry.names("engines")),
            default="local",
            help="where the runs are executed: this machine, a cluster, or your own FILE.py",
        ),
    ]
    for engine in registry.names("engines"):
        options += from_signature(
            registry.load("engines", engine),
            f"Only with --engine {engine}",
            engines.own_options(engine),
            common=False,
        )
    return options


def _go(name: str, function: Callable[..., Experiment], given: dict[str, Any]) -> None:
    from lab.cli.descent import as_json, descend, say_descent
    from lab.cli.grid import combinations
    from lab.cli.progress import table
    from lab.cli.stages import with_parent
    from lab.results.folder import Folder
    from lab.runs.sweep import SweepOptions
    from lab.runs.sweep import sweep as run_all

    out = given["out"]
    with as_cli_errors():
        load_named("engines", given["engine"])  # names what is wrong with it before anything runs
        options = SweepOptions(
            given["device"],
            given["workers"],
            given["checkpoint_every"],
            given["compile"],
            given["track"],
            given["engine"],
            given["retries"],
            _own(given),
        )
        every = chosen = combinations(function, with_parent(function, given))

        def run(some: Sequence[Combination]) -> list[State]:
            wanted = [e for c in some for e in c.experiments]
            steps = [e.train.steps for e in wanted]
            with table(_labels(some), steps, given["as_json"]) as show:
                return run_all(wanted, out, options, show)

        losses: list[float] = []
        if given["descend"]:
            chosen, states, losses = descend(every, given["descend"], run, out)
        else:
            states = run(chosen)
    experiments = [e for c in chosen for e in c.experiments]
    done = [_result(Folder(out, e).path, s) for e, s in zip(experiments, states, strict=True)]
    say_device([result for result in done if result], given["device"])
    per = given["seeds"]
    groups = [(c, done[i * per : (i + 1) * per]) for i, c in enumerate(chosen)]
    rows = [row for c, results in groups for row in _summary(c, results)]
    failed = _failures(out, chosen, states)
    if given["as_json"]:
        runs = [result.to_json() for result in done if result]
        document = {"runs": runs, "summary": rows, "failed": failed}
        if losses:
            document["descent"] = as_json(chosen, losses)
        click.echo(json.dumps(document))
    else:
        _print(name, out, rows, [result for result in done if result])
        if losses:
            say_descent(chosen, losses, len(every))
    for label, state in zip(_labels(chosen), states, strict=True):
        if state.earlier:
            click.echo(f"Tried again: {label}: {state.earlier}", err=True)
    for failure in failed:
        where = " ".join(f"{path}={value}" for path, value in failure["grid"].items())
        say(f"Failed: {where} seed {failure['seed']}: {failure['error']}", err=True)
    sys.exit(1 if failed else 0)


def _labels(chosen: Sequence[Combination]) -> list[str]:
    """The names of runs: combination and seed."""
    return [f"{c.label} seed {e.train.seed}" for c in chosen for e in c.experiments]


def _result(path: Path, state: State) -> Result | None:
    """The result of a run that is done; one whose folder is damaged has failed."""
    from lab.results.folder import load

    if state.status != "done":
        return None
    try:
        return load(path)
    except (OSError, ValueError) as error:
        state.status, state.error = "failed", str(error)
        return None


def _own(given: dict[str, Any]) -> dict[str, Any]:
    """The options of single engines that were given, by name."""
    import typing

    from lab import registry
    from lab.cli.options import option_value
    from lab.runs import engines

    values = {}
    for engine in registry.names("engines"):
        hints = typing.get_type_hints(registry.load("engines", engine))
        for option in engines.own_options(engine):
            if given[option] is not None:
                values[option] = option_value(given[option], hints[option], option)
    return values


def _summary(combination: Combination, results: Sequence[Result | None]) -> list[dict[str, Any]]:
    """A row per probe over the seeds that ended; `failed` counts the others."""
    from lab.results.summary import summary

    ended = [result for result in results if result]
    failed = len(results) - len(ended)
    return [
        {"grid": combination.values, **row, "failed": failed}
        for row in (summary(ended) if ended else [])
    ]


def _failures(
    out: Path, chosen: Sequence[Combination], states: Sequence[State]
) -> list[dict[str, Any]]:
    from lab.results.folder import Folder

    pairs = [(c, e) for c in chosen for e in c.experiments]
    return [
        {
            "run": str(Folder(out, e).path),
            "grid": c.values,
            "seed": e.train.seed,
            "error": state.error,
        }
        for (c, e), state in zip(pairs, states, strict=True)
        if state.status == "failed"
    ]


def _print(name: str, out: Path, rows: list[dict[str, Any]], done: list[Result]) -> None:
    from rich.console import Console

    from lab.cli.tables import plain, share
    from lab.results.words import intervals_in_words

    paths = list(rows[0]["grid"]) if rows else []
    leaves = [path.rpartition(".")[2] for path in paths]
    texts = [
        leaf if leaves.count(leaf) == 1 else path for path, leaf in zip(paths, leaves, strict=True)
    ] + ["probe"]
    cells = []
    for row in rows:
        interval = row["exact_interval"]
        cells.append(
            [
                *(_spelled(value) for value in row["grid"].values()),
                row["probe"],
                str(row["length"]),
                share(row["exact"]),
                "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
                share(row["answer"]),
                f"{row['solved']} of {row['seeds'] + row['failed']}",
            ]
        )
    headings = [*texts, "length", "exact", "interval", "answer", "solved"]
    Console().print(plain(headings, cells, left=texts))
    for line in intervals_in_words(row["seeds"] for row in rows):
        click.echo(line)
    seconds = sum(result.seconds for result in done)
    say(f"{len(done)} runs in {out}  ({seconds:.0f} s of training and evaluation)")
    if done:
        listed, typed = shlex.quote(done[0].experiment["name"]), shlex.quote(name)
        say(f"Next: lab list runs {listed}{out_option(out)}   lab run {typed} --help")


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
