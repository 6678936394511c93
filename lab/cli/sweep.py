"""The command `lab sweep`: every combination of a grid with every seed, and one table of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import as_cli_errors
from lab.cli.experiment import ByExperiment, command
from lab.cli.resolve import experiment_function

if TYPE_CHECKING:
    from lab.cli.grid import Combination
    from lab.results.result import Result
    from lab.runs.sweep import State


class _Sweeps(ByExperiment):
    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        function = experiment_function(name)
        return command(name, function, _options(), "Sweep", lambda given: _go(name, given))


@click.group(cls=_Sweeps, subcommand_metavar="NAME --grid PATH=VALUES [OPTIONS]")
def sweep() -> None:
    """Run an experiment over a grid of options and seeds, here or on a cluster.

    lab sweep parity --grid task.k=1..4 --grid cot=true,false --seeds 3 --workers 2

    Started again, it goes on: complete runs are read, interrupted ones go on. `lab sweep NAME
    --help` shows every option.
    """


def _options() -> list[Any]:
    from lab import registry
    from lab.cli.options import Option, from_signature
    from lab.runs import engines

    values = "k=1..4, task.k=2,3, lr=1e-3,3e-4; lists by semicolons: 'lengths=1..4;1..8'"
    workers = "runs at a time  [default: one per core or GPU; on a cluster, what it has room for]"
    found: list[Any] = [
        Option(
            ["--grid", "grids"], multiple=True, required=True, metavar="PATH=VALUES", help=values
        ),
        Option(["--seeds"], type=click.IntRange(1), default=1, help="runs of each combination"),
        Option(["--workers"], type=click.IntRange(1), help=workers),
        Option(["--retries"], type=click.IntRange(0), default=1, help="of a run that crashed"),
        Option(["--engine"], type=click.Choice(registry.names("engines")), default="local"),
    ]
    for engine in registry.names("engines"):
        section = f"Only with --engine {engine}"
        found += from_signature(
            registry.load("engines", engine), section, engines.own_options(engine)
        )
    return found


def _go(name: str, given: dict[str, Any]) -> None:
    from lab.cli.grid import combinations
    from lab.cli.progress import table
    from lab.results.folder import Folder, load
    from lab.runs.sweep import SweepOptions
    from lab.runs.sweep import sweep as run_all

    out = given["out"]
    with as_cli_errors():
        how = SweepOptions(
            given["device"],
            given["workers"],
            given["checkpoint_every"],
            given["compile"],
            given["track"],
            given["engine"],
            given["retries"],
            _own(given),
        )
        found = combinations(experiment_function(name), given)
        several = [e for c in found for e in c.experiments]
        labels = [f"{c.label} seed {e.train.seed}" for c in found for e in c.experiments]
        with table(labels, [e.train.steps for e in several], given["as_json"]) as show:
            states = run_all(several, out, how, show)
    done = [
        load(Folder(out, e).path) if state.status == "done" else None
        for e, state in zip(several, states, strict=True)
    ]
    per = given["seeds"]
    groups = [(c, done[i * per : (i + 1) * per]) for i, c in enumerate(found)]
    rows = [row for c, results in groups for row in _summary(c, results)]
    failed = _failures(out, found, states)
    if given["as_json"]:
        runs = [result.to_json() for result in done if result]
        click.echo(json.dumps({"runs": runs, "summary": rows, "failed": failed}))
    else:
        _print(name, out, rows, [result for result in done if result])
    for failure in failed:
        where = " ".join(f"{path}={value}" for path, value in failure["grid"].items())
        click.echo(f"Failed: {where} seed {failure['seed']}: {failure['error']}", err=True)
    sys.exit(1 if failed else 0)


def _own(given: dict[str, Any]) -> dict[str, Any]:
    """The options of single engines that were given, by name."""
    import typing

    from lab import registry
    from lab.cli.options import option_value
    from lab.runs import engines

    found = {}
    for engine in registry.names("engines"):
        hints = typing.get_type_hints(registry.load("engines", engine))
        for option in engines.own_options(engine):
            if given[option] is not None:
                found[option] = option_value(given[option], hints[option], option)
    return found


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
    out: Path, found: Sequence[Combination], states: Sequence[State]
) -> list[dict[str, Any]]:
    from lab.results.folder import Folder

    pairs = [(c, e) for c in found for e in c.experiments]
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
    from rich.table import Table

    from lab.cli.tables import share

    table = Table(box=None, pad_edge=False)
    paths = list(rows[0]["grid"]) if rows else []
    leaves = [path.rpartition(".")[2] for path in paths]
    for path, leaf in zip(paths, leaves, strict=True):
        table.add_column(leaf if leaves.count(leaf) == 1 else path, overflow="fold")
    table.add_column("probe", overflow="fold")
    for heading in ("length", "exact", "95% over seeds", "answer", "solved"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        interval = row["exact_interval"]
        table.add_row(
            *(_spelled(value) for value in row["grid"].values()),
            row["probe"],
            str(row["length"]),
            share(row["exact"]),
            "-" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}",
            share(row["answer"]),
            f"{row['solved']} of {row['seeds'] + row['failed']}",
        )
    Console().print(table)
    seconds = sum(result.seconds for result in done)
    click.echo(f"{len(done)} runs in {out}  ({seconds:.0f} s of training and evaluation)")
    click.echo(f"Next: lab list runs {name}   lab run {name} --help")


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
