"""The command `lab export`: rows of a task as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lab.cli.common import FILE, as_cli_errors, cannot_write, complete, say
from lab.cli.resolve import experiment_function, with_options
from lab.cli.task import COT, SEED, SET
from lab.errors import UsageError
from lab.text import shown

LENGTH = "sizes of the problem, in turn: 5 or 1..10  [default: those that lab run trains on]"


def _moved(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """--out was the file before it meant the folder of the runs in every command."""
    if value is not None:
        raise UsageError(f"--out = {value!r} cannot be used: --to {value} writes that file")


@click.command()
@click.argument("name", shell_complete=complete("experiments", "tasks"))
@click.option("--rows", type=click.IntRange(1), required=True, help="number of rows in the file")
@click.option(
    "--to", type=FILE, metavar="FILE", required=True, help="file to write, .jsonl or .parquet"
)
@click.option(
    "--out", hidden=True, expose_value=False, is_eager=True, callback=_moved, help="see --to"
)
@click.option("--split", default="train", show_default=True, help="train: the training split")
@click.option("--length", "lengths", metavar="INTEGER,...", help=LENGTH)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help=SEED)
@click.option("--cot/--no-cot", default=True, show_default=True, help=COT)
@SET
def export(
    name: str,
    rows: int,
    to: Path,
    split: str,
    lengths: str | None,
    seed: int,
    cot: bool,
    sets: tuple[str, ...],
) -> None:
    """Write rows of a task to FILE.jsonl or FILE.parquet. The same command again resumes."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from lab.config.fields import parse
    from lab.data.export import COUNTED
    from lab.data.export import export as write
    from lab.data.size import row_tokens

    with as_cli_errors():
        experiment = experiment_function(name)()
        task = with_options(experiment.task, sets, split)
        sizes: Any = experiment.train.lengths
        if lengths is not None:
            sizes = parse(lengths, tuple[int, ...], "--length")
        for size in sizes:
            row_tokens(task, size)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
            bar = bars.add_task(escape(shown(f"{name} {split}")), total=rows)
            try:
                made = write(
                    task, sizes, seed, rows, cot, to, lambda n: bars.update(bar, completed=n)
                )
            except OSError as error:
                raise cannot_write(to, error) from None
    before = f" ({made.there:,} were there already)" if made.there else ""
    where = f"length {sizes[0]}" if len(sizes) == 1 else f"lengths {', '.join(map(str, sizes))}"
    say(f"{rows:,} rows of {task} at {where} in {to}{before}")
    if made.repeats:
        of = f"the {rows:,}" if rows <= COUNTED else f"the first {COUNTED:,}"
        other = "longer ones have more different rows (--length 5 or 1..10)"
        say(f"Warning: {made.repeats:,} of {of} rows repeat an earlier one; {other}.", err=True)
