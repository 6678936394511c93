"""The command `lab bench`: speed on this machine, as a table, JSON or a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from lab.cli.common import JSON, NonEmptyPath, complete, writable
from lab.errors import UsageError

RECORD = click.option(
    "--record",
    type=NonEmptyPath(path_type=Path),
    callback=writable,
    help="file for a JSON record",
)

Rows = list[dict[str, Any]]


@click.group()
def bench() -> None:
    """Measure speed on this machine. --record writes the figures with their environment."""


@bench.command("tasks")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="rows to draw at a time",
)
@RECORD
@JSON
def bench_tasks(batch: int, record: Path | None, as_json: bool) -> None:
    """Rows and tokens a second of every task generator. Rows have their thought; one thread."""
    from lab.bench.tasks import measure

    show = _print_json if as_json else _print_tasks
    rows = _shown(measure(batch), show)
    write_record(record, "lab bench tasks" + (f" --batch {batch}" if batch != 1024 else ""), rows)


def _print_json(rows: Rows) -> None:
    click.echo(json.dumps(rows))


def _print_tasks(rows: Rows) -> None:
    from rich.console import Console

    from lab.cli.tables import plain

    cells = [
        [
            " ".join([row["task"], *(f"{k}={v}" for k, v in row["changed"].items())]),
            str(row["length"]),
            f"{row['rows_per_second']:,.0f}",
            f"{row['tokens_per_second'] / 1e6:.1f}",
            f"{row['tokens_per_row']:.0f}",
            str(row["bytes_per_row"]),
        ]
        for row in rows
    ]
    headings = ["task", "length", "rows/s", "Mtokens/s", "tokens/row", "bytes/row"]
    Console().print(plain(headings, cells, left=["task"]))


@bench.command("train")
@click.argument("names", nargs=-1, shell_complete=complete("experiments", "claims"))
@click.option(
    "--against",
    metavar="COMMIT|reference",
    help="time the same steps at another commit, or without native operators, in turns",
)
@click.option(
    "--stacked",
    metavar="SEEDS",
    multiple=True,
    type=click.IntRange(1, 1024),
    help="time so many seeds trained as one model, against a single run; repeatable",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="where stacked seeds train",
)
@RECORD
@JSON
def bench_train(
    names: tuple[str, ...],
    against: str | None,
    stacked: tuple[int, ...],
    device: str,
    record: Path | None,
    as_json: bool,
) -> None:
    """Time of training steps, against this core's own matrix products.

    The share is that of the model's FLOPs in what plain matrix products would do in the same time.
    NAMES are experiments or claims (their arms, at cpu scale, with the CPU hours of their runs and
    evaluations); "experiments" and "claims" mean all of them. Default: experiments.

    With --stacked the seeds of an experiment train in one process, their weights stacked: times of
    a step, and of a step and model over that of a single run (ratio), of eager calls and, on CUDA,
    of a replayed graph. Default of NAMES: parity and flipflop.
    """
    if stacked:
        if against is not None:
            why = "only single runs are timed against a commit"
            raise UsageError(f"--against {against} cannot be used with --stacked: {why}")
        _bench_stacked(names, stacked, device, record, as_json)
        return
    if device != "cpu":
        raise UsageError(f"--device {device} needs --stacked: without it a CPU's core is measured")
    from lab.bench.train import measure

    def told() -> Iterable[dict[str, Any]]:
        for row in measure(names, against):
            click.echo(f"{row['setting']}: {row['milliseconds']:.1f} ms a step", err=True)
            yield row

    command = " ".join(["lab bench train", *names, *(["--against", against] if against else [])])
    try:
        rows = _shown(told(), _print_json if as_json else _print_train)
    except ValueError as error:
        raise UsageError(str(error)) from None
    except RuntimeError as error:
        raise click.ClickException(f"lab bench train: {error}") from None
    write_record(record, command, rows)


def _bench_stacked(
    names: tuple[str, ...], counts: tuple[int, ...], device: str, record: Path | None, as_json: bool
) -> None:
    """`lab bench train --stacked`."""
    from lab.bench.stacked import measure
    from lab.runs.process import pick_device

    where = pick_device(device)

    def told() -> Iterable[dict[str, Any]]:
        for row in measure(names, counts, where):
            seeds = "a single run" if row["stacked"] is None else f"{row['stacked']} stacked"
            click.echo(f"{row['setting']}: {seeds}", err=True)
            yield row

    options = [word for n in counts for word in ("--stacked", str(n))]
    command = " ".join(["lab bench train", *names, *options])
    command += f" --device {device}" if device != "cpu" else ""
    try:
        _report(told(), command, record, as_json, device)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _print_train(rows: Rows) -> None:
    from rich.console import Console

    from lab.bench.train import totals
    from lab.cli.tables import plain

    against = "ratio" in rows[0]
    headings = ["setting", "ms", "ktokens/s", "GFLOP", "share", "needed"]
    headings += ["ratio"] if against else []
    cells = [
        [
            row["setting"],
            f"{row['milliseconds']:.1f}",
            f"{row['tokens_per_second'] / 1e3:.0f}",
            f"{row['model_gflop']:.2f}",
            f"{row['share']:.2f}",
            f"{row['share_needed']:.2f}",
            *([f"{row['ratio']:.2f}" if "ratio" in row else "-"] if against else []),
        ]
        for row in rows
    ]
    console = Console()
    console.print(plain(headings, cells, left=["setting"]))
    console.print("\nWhere the time goes (operators over 5%):")
    spent = [
        [row["setting"], ", ".join(f"{n} {100 * s:.0f}%" for n, s in row["operators"].items())]
        for row in rows
    ]
    console.print(
        plain(["setting", "share of the time"], spent, left=["setting", "share of the time"])
    )
    for name, value in totals(rows).items():
        click.echo(f"{name.replace('_', ' ')}: {value:.3g}")


@bench.command("decode")
@RECORD
@JSON
def bench_decode(record: Path | None, as_json: bool) -> None:
    """Seconds to decode 256 istree traces, with a state and without. Without a state the prefix is
    read again for every token.
    """
    from lab.bench.decode import measure

    _report(measure(), "lab bench decode", record, as_json)


@bench.command("compile")
@RECORD
@JSON
def bench_compile(record: Path | None, as_json: bool) -> None:
    """Registers, spills and tensor-core instructions of the kernels. No GPU is needed."""
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
    """Time of every operator on this GPU, against floors and peers. Forward and backward."""
    import torch

    from lab.bench.kernels import measure
    from lab.bench.speeds import goals

    if not torch.cuda.is_available():
        raise click.ClickException("lab bench kernels needs a CUDA device; torch sees none")
    device = torch.device("cuda")
    rows = _report(measure(device), "lab bench kernels", record, as_json, device="cuda")
    if not as_json:
        for goal, met in goals(rows):
            click.echo(f"{'not measured' if met is None else 'met' if met else 'missed'}: {goal}")


def _report(
    rows: Iterable[dict[str, Any]],
    command: str,
    record: Path | None,
    as_json: bool,
    device: str = "cpu",
) -> Rows:
    """The rows, printed as a table or as JSON and written to the record."""
    from rich.console import Console

    from lab.cli.tables import records

    def show(measured: Rows) -> None:
        Console().print(records(measured))

    measured = _shown(rows, _print_json if as_json else show)
    write_record(record, command, measured, device)
    return measured


def _shown(rows: Iterable[dict[str, Any]], show: Callable[[Rows], None]) -> Rows:
    """All rows. What was measured is shown, also when an error or Ctrl-C ends the rest."""
    measured: Rows = []
    try:
        for row in rows:
            measured.append(row)
    finally:
        if measured:
            show(measured)
    return measured


def write_record(
    record: Path | None, command: str, rows: list[dict[str, Any]], device: str = "cpu"
) -> None:
    """Write a record: the command, the environment and the rows."""
    if record is None:
        return
    from lab.files import write_json
    from lab.results.environment import environment

    try:
        made = {"command": command, "environment": environment(device, 1)}
        write_json(record, {**made, "rows": rows})
    except OSError as error:
        raise UsageError(f"--record {record}: {error.strerror or error}") from None
