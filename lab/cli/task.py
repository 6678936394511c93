"""The commands on generators: `lab show` and `lab check`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import JSON, as_cli_errors, complete, say, wrapped
from lab.cli.resolve import experiment_function, load_task, with_options

if TYPE_CHECKING:
    from lab.testing import Finding
    from tasks import Task


SET = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="OPTION=VALUE",
    help="an option of the task, such as k=5; repeatable",
)
MOST = 100_000  # cases of a check: about an hour
BYTES = 200  # of memory for a token of a row, as numbers and as a word
SEED = "seed of the rows"
COT = "with or without the thought"


@click.command()
@click.argument("name", shell_complete=complete("experiments", "tasks"))
@click.option(
    "-n", "n", type=click.IntRange(1), default=5, show_default=True, help="number of rows"
)
@click.option("--length", type=int, help="size of the problem  [default: that of lab run]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help=SEED)
@click.option("--split", help="train, test, seen, unseen, ...  [default: the training split]")
@click.option("--cot/--no-cot", default=True, show_default=True, help=COT)
@SET
@JSON
def show(
    name: str,
    n: int,
    length: int | None,
    seed: int,
    split: str | None,
    cot: bool,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """State a task and what it hides; print rows of it with their roles.

    NAME is an experiment, a task or your own FILE.py.
    """
    import dataclasses

    from rich.console import Console

    from lab.cli import rows as task_rows
    from lab.cli.cards import printed_card
    from lab.data.rows import Rows
    from lab.data.size import refuse_above, row_tokens

    with as_cli_errors():
        experiment = experiment_function(name)()
        task = with_options(experiment.task, sets, split)
        size = experiment.train.lengths[0] if length is None else length
        refuse_above("-n", n, n * row_tokens(task, size) * BYTES)
        batch = Rows(task, size, seed)[0:n]
    batch = batch if cot else batch.without_thoughts()
    if as_json:
        options = {"name": task.name, **dataclasses.asdict(task)}  # type: ignore[call-overload]
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
            click.echo(json.dumps({**task_rows.row_json(task, tokens, roles), "task": options}))
        return
    console = Console()
    say(printed_card(task, size) + "\n")
    console.print(task_rows.legend(task))
    for text in task_rows.rows(task, batch, console):
        console.print(text, soft_wrap=True)


@click.command()
@click.argument("name", shell_complete=complete("tasks"))
@click.option(
    "--examples",
    type=click.IntRange(1, MOST),
    default=200,
    show_default=True,
    help="cases for each property",
)
@SET
@JSON
def check(name: str, examples: int, sets: tuple[str, ...], as_json: bool) -> None:
    """Property-test a task generator. NAME is a task or your own FILE.py.

    A property that fails is shown with its smallest case, and the exit code is 1. One that builds
    on it is skipped.
    """
    from rich.console import Console
    from rich.text import Text

    with as_cli_errors():
        task = with_options(load_task(name)(), sets, None)
    broken, rows, console = 0, list[dict[str, Any]](), Console()
    try:
        for finding in _findings(task, examples):
            holds = finding.broken is None if finding.tried else None  # null: not tried
            broken += holds is False
            rows.append({"property": finding.name, "holds": holds})
            if as_json:
                rows[-1] |= {"broken": finding.broken, "note": finding.note}
                continue
            mark = {True: ("ok  ", "green"), False: ("FAIL", "red"), None: ("skip", "yellow")}
            told = wrapped(f"     {finding.name}", " " * 5).removeprefix("     ")
            console.print(Text.assemble(mark[holds], f" {told}"), soft_wrap=True)
            if note := finding.broken or finding.note:
                say(wrapped(f"     {note}", " " * 5))
    except AssertionError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps({"task": name, "examples": examples, "properties": rows}))
    else:
        verdict = f"{broken} of {len(rows)} properties fail" if broken else "every property holds"
        say(f"{task}: {verdict}")
    sys.exit(1 if broken else 0)


def _findings(task: Task, examples: int) -> Iterator[Finding]:
    """`lab.testing.findings`, without the folder that Hypothesis leaves where it is called."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from lab.testing import findings

    with tempfile.TemporaryDirectory() as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield from findings(task, examples)
        finally:
            set_hypothesis_home_dir(None)
