"""The commands on generators: show, check, export, bench."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab._names import JSON, Refused, experiment_function, load_task, mistakes, with_options

if TYPE_CHECKING:
    from lab.testing import Finding
    from tasks import Task

SET = click.option(
    "--set", "sets", multiple=True, metavar="OPTION=VALUE", help="a task option: k=5"
)

RECORD = click.option("--record", type=click.Path(path_type=Path), help="write a JSON record here")


@click.command()
@click.argument("name")
@click.option("-n", "n", type=click.IntRange(1), default=5, show_default=True, help="rows")
@click.option("--length", type=int, help="size of the problem [default: that of lab run]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--split", help="train, test, seen, unseen, ... [default: the training split]")
@click.option("--cot/--no-cot", default=True, show_default=True)
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
    """Print rows of a task (a name, or your own FILE.py) with their roles."""
    import dataclasses

    from rich.console import Console

    from lab import view
    from lab.data import Rows

    with mistakes():
        experiment = experiment_function(name)()
        task = with_options(experiment.task, sets, split)
        batch = Rows(task, experiment.train.lengths[0] if length is None else length, seed)[0:n]
    batch = batch if cot else batch.without_thoughts()
    if as_json:
        options = {"name": task.name, **dataclasses.asdict(task)}  # type: ignore[call-overload]
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True):
            click.echo(json.dumps({**view.row_json(task, tokens, roles), "task": options}))
        return
    console = Console()
    console.print(view.legend(task))
    for text in view.rows(task, batch, console):
        console.print(text, soft_wrap=True)


@click.command()
@click.argument("name")
@click.option("--examples", type=click.IntRange(1), default=200, show_default=True)
@SET
@JSON
def check(name: str, examples: int, sets: tuple[str, ...], as_json: bool) -> None:
    """Property-test a generator (a name, or your own FILE.py); exit code 1 when a property fails.

    A property that fails is shown with its smallest case.
    """
    with mistakes():
        task = with_options(load_task(name)(), sets, None)
    broken, rows = 0, []
    try:
        for finding in _findings(task, examples):
            broken += finding.broken is not None
            rows.append({"property": finding.name, "holds": finding.broken is None})
            if as_json:
                rows[-1]["broken"] = finding.broken
                continue
            holds = finding.broken is None
            mark = click.style("ok  ", fg="green") if holds else click.style("FAIL", fg="red")
            click.echo(f"{mark} {finding.name}")
            if finding.broken:
                click.echo(f"     {finding.broken}")
    except AssertionError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps({"task": name, "examples": examples, "properties": rows}))
    else:
        says = "every property holds" if not broken else f"{broken} of {len(rows)} properties fail"
        click.echo(f"{task}: {says}")
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


@click.command()
@click.argument("name")
@click.option("--rows", type=click.IntRange(1), required=True, help="how many in all")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--split", default="train", show_default=True, help="train: the training split")
@click.option("--length", type=int, help="size of the problem [default: that of lab run]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--cot/--no-cot", default=True, show_default=True)
@SET
def export(
    name: str,
    rows: int,
    out: Path,
    split: str,
    length: int | None,
    seed: int,
    cot: bool,
    sets: tuple[str, ...],
) -> None:
    """Write rows of a task to FILE.jsonl or FILE.parquet; started again, it goes on."""
    from rich.console import Console
    from rich.progress import Progress

    from lab.export import export as write

    with mistakes():
        experiment = experiment_function(name)()
        task = with_options(experiment.task, sets, split)
        size = experiment.train.lengths[0] if length is None else length
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
            bar = bars.add_task(f"{name} {split}", total=rows)
            try:
                there = write(
                    task, size, seed, rows, cot, out, lambda n: bars.update(bar, completed=n)
                )
            except OSError as error:
                says = f"cannot write {out}: {error.strerror or error}"
                raise click.ClickException(says) from None
    says = f" ({there:,} were there already)" if there else ""
    click.echo(f"{rows:,} rows of {task} at length {size} in {out}{says}")


@click.group()
def bench() -> None:
    """Measure speed on this machine; --record keeps the figures with their environment."""


@bench.command("tasks")
@click.option("--batch", type=click.IntRange(1), default=1024, show_default=True, help="rows drawn")
@RECORD
@JSON
def bench_tasks(batch: int, record: Path | None, as_json: bool) -> None:
    """Rows and tokens a second of every generator, with its thought, on one thread."""
    from rich.console import Console
    from rich.table import Table

    from lab.bench.tasks import measure

    found = []
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "length", "rows/s", "Mtokens/s", "tokens/row", "bytes/row"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for row in measure(batch):
        found.append(row)
        changed = " ".join(f"{k}={v}" for k, v in row["changed"].items())
        table.add_row(
            f"{row['task']} {changed}".strip(),
            str(row["length"]),
            f"{row['rows_per_second']:,.0f}",
            f"{row['tokens_per_second'] / 1e6:.1f}",
            f"{row['tokens_per_row']:.0f}",
            str(row["bytes_per_row"]),
        )
    keep(record, "lab bench tasks" + (f" --batch {batch}" if batch != 1024 else ""), found)
    if as_json:
        click.echo(json.dumps(found))
    else:
        Console().print(table)


@bench.command("train")
@RECORD
@JSON
def bench_train(record: Path | None, as_json: bool) -> None:
    """Milliseconds of a training step, and of the same step with logits at every place."""
    from lab.bench.train import measure

    _report(measure(), "lab bench train", record, as_json)


@bench.command("decode")
@RECORD
@JSON
def bench_decode(record: Path | None, as_json: bool) -> None:
    """Seconds to decode 256 istree traces, and to do it by reading the prefix again each time."""
    from lab.bench.decode import measure

    _report(measure(), "lab bench decode", record, as_json)


@bench.command("compile")
@RECORD
@JSON
def bench_compile(record: Path | None, as_json: bool) -> None:
    """Registers, spills and tensor-core instructions of every kernel, compiled without a GPU."""
    from kernels import has_triton
    from lab.bench.compile import measure

    if not has_triton():
        raise click.ClickException("lab bench compile needs triton, which is not installed")
    try:
        _report(measure(), "lab bench compile", record, as_json)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None


@bench.command("kernels")
@RECORD
@JSON
def bench_kernels(record: Path | None, as_json: bool) -> None:
    """Operators on this GPU against floors and peers, forward and backward, and the goals met."""
    import torch

    from lab.bench.kernels import goals, measure

    if not torch.cuda.is_available():
        raise click.ClickException("lab bench kernels needs a CUDA device; torch sees none")
    rows = list(measure(torch.device("cuda")))
    _report(rows, "lab bench kernels", record, as_json, device="cuda")
    if not as_json:
        for says, met in goals(rows):
            click.echo(f"{'not measured' if met is None else 'met' if met else 'missed'}: {says}")


def _report(
    rows: Iterable[dict[str, Any]],
    command: str,
    record: Path | None,
    as_json: bool,
    device: str = "cpu",
) -> None:
    """All columns of the rows as a table or as JSON, and as a record."""
    from rich.console import Console
    from rich.table import Table

    found = list(rows)
    keep(record, command, found, device)
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(box=None, pad_edge=False)
    names = list(dict.fromkeys(name for row in found for name in row))
    for name in names:
        value = found[0].get(name)
        heading = name.replace("_", " ").replace("milliseconds", "ms")
        table.add_column(heading, justify="left" if isinstance(value, str) else "right")
    for row in found:
        cells = (row.get(name) for name in names)
        shown = (f"{v:.3g}" if isinstance(v, float) else v for v in cells)
        table.add_row(*("-" if v is None else str(v) for v in shown))
    Console().print(table)


def keep(
    record: Path | None, command: str, rows: list[dict[str, Any]], device: str = "cpu"
) -> None:
    """Write a record: the command, the environment and the rows."""
    if record is None:
        return
    from lab.results import environment, write_json

    try:
        made = {"command": command, "environment": environment(device, 1)}
        write_json(record, {**made, "rows": rows})
    except OSError as error:
        raise Refused(f"--record {record}: {error.strerror or error}") from None
