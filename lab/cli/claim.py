"""The command `lab claim`: run the arms of a published claim and say whether it holds."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from lab.cli.common import (
    DEVICE,
    FILE,
    JSON,
    OUT,
    NonEmptyPath,
    as_cli_errors,
    cannot_write,
    complete,
    say,
    writable,
)
from lab.cli.resolve import load_named
from lab.errors import RunStopped, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path("claims.html")
MOST_SEEDS = 50  # lab.verdicts.protocol.MOST_SEEDS, without its imports


@click.command()
@click.argument("name", required=False, shell_complete=complete("claims"))
@click.option("--list", "listed", is_flag=True, help="list every claim with its recorded verdict")
@click.option("--html", "as_html", is_flag=True, help="write a page of the claims, with figures")
@click.option("--to", type=FILE, metavar="FILE", help=f"file of the page  [default: {PAGE}]")
@click.option(
    "--scale",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="cpu: minutes on two cores; gpu: the paper's sizes",
)
@click.option(
    "--seeds",
    type=click.IntRange(2, MOST_SEEDS),
    help="number of seeds of every arm; fewer than 6 decide nothing  [default: the claim's]",
)
@click.option("--workers", type=click.IntRange(1), help="runs at a time  [default: one a core]")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="stop after this many minutes; checkpoints are saved",
)
@DEVICE
@OUT
@click.option(
    "--rates",
    is_flag=True,
    help="instead of a verdict: every arm at 1/3, 1 and 3 times its learning rate, on a trial seed",
)
@click.option(
    "--record",
    type=NonEmptyPath(path_type=Path),
    callback=writable,
    help="file for a JSON record",
)
@click.option(
    "--figure",
    type=NonEmptyPath(path_type=Path),
    callback=writable,
    help="file for the figure of the claim, .png or .svg",
)
@JSON
@click.pass_context
def claim(
    ctx: click.Context,
    name: str | None,
    listed: bool,
    as_html: bool,
    to: Path | None,
    scale: str,
    seeds: int | None,
    workers: int | None,
    minutes: float | None,
    device: str,
    out: Path,
    rates: bool,
    record: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Check a published claim. Its arms are run, then a threshold that was fixed before decides.

    NAME is a claim of the lab, or your own FILE.py, which is executed. The FILE.json of a record
    (--record) is shown again, with --figure drawn, and nothing is run.

    The verdict is holds, fails or inconclusive. The same command resumes an interrupted claim;
    every finished run is kept under --out. --html alone writes a page of all claims of the lab and
    their records; with the FILE.json of a record, of that one.
    """
    from lab import registry
    from lab.cli.verdicts import list_claims, say_rates, say_verdict

    if listed:
        _nothing_runs(ctx, "--list", "listed", "as_json")
        list_claims(as_json)
        return
    stored = name if name and name.endswith(".json") else None
    if as_html:
        if name and not stored:
            allowed = "it runs nothing: name no claim, or the FILE.json of a record"
            raise UsageError(f"NAME = {name!r} cannot be used with --html: {allowed}")
        _nothing_runs(ctx, "--html", "as_html", "to", "name")
        _page(to or PAGE, stored)
        return
    if to:
        raise UsageError(f"--to {to}: only --html writes a page; --figure FILE draws a figure")
    if figure and figure.suffix not in (".png", ".svg"):
        raise UsageError(f"--figure {figure}: a file that ends in .png or .svg")
    if stored:
        _nothing_runs(ctx, "a record", "name", "figure", "as_json")
        result = _read(stored)
    elif name is None:
        known = ", ".join(registry.names("claims"))
        raise UsageError(f"name a claim ({known}) or use --list")
    else:
        load_named("claims", name)
        if rates and (figure or seeds):
            other = "--figure" if figure else "--seeds"
            why = "rates are compared on one seed, without a figure"
            raise UsageError(f"{other} with --rates: {why}")
        made: dict[str, Any] = {"out": out, "device": device, "workers": workers}
        result = _made(name, scale, seeds, rates, minutes, made)
    if record:
        _write(record, result)
    if figure:
        _draw(figure, name, result)
    if as_json:
        click.echo(json.dumps(result))
    elif rates:
        say_rates(result)
    else:
        say_verdict(result)


def _nothing_runs(ctx: click.Context, what: str, *allowed: str) -> None:
    """Refuse what was typed beside `what`, which reads records and runs nothing."""
    for param in ctx.command.params:
        name = str(param.name)
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if typed and name not in allowed:
            option = "NAME" if isinstance(param, click.Argument) else param.opts[0]
            raise UsageError(f"{option} does not apply to {what}, which runs nothing")


def _made(
    name: str,
    scale: str,
    seeds: int | None,
    rates: bool,
    minutes: float | None,
    made: dict[str, Any],
) -> dict[str, Any]:
    """The record of a claim, or of its learning rates, after its runs."""

    def run(progress: Any) -> dict[str, Any]:
        if rates:
            from lab.claims._check import check_rates

            return check_rates(name, cast(Any, scale), progress=progress, **made)
        import lab

        return lab.check_claim(name, cast(Any, scale), seeds, progress=progress, **made)

    return _until(minutes, made["out"], run)


def _until(
    minutes: float | None, out: Path, run: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """What `run(progress)` returns, stopped after these minutes."""
    finished: list[int] = []

    def tell(done: int, total: int, rows: list[dict[str, Any]]) -> None:
        if not finished or done > finished[-1]:
            finished.append(done)
            say(f"{done} of {total} runs under {out} are finished", err=True)

    def stop(number: int, frame: FrameType | None) -> None:
        raise RunStopped(out, 0)  # nothing runs yet: running runs have their own handler

    timer = threading.Timer(60 * (minutes or 0), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    before = signal.getsignal(signal.SIGTERM)
    progress = None if sys.stderr.isatty() else tell
    try:
        if minutes:
            signal.signal(signal.SIGTERM, stop)
            timer.start()
        with as_cli_errors():
            return run(progress)
    finally:
        timer.cancel()
        if minutes:
            signal.signal(signal.SIGTERM, before)


def _write(path: Path, result: dict[str, Any]) -> None:
    from lab.files import write_json

    try:
        write_json(path, result)
    except OSError as error:
        raise UsageError(f"--record {path}: {error.strerror or error}") from None


def _read(path: str) -> dict[str, Any]:
    """The record in a file."""
    from lab.results.schema import read_record

    with as_cli_errors():
        try:
            return read_record(Path(path))
        except OSError as error:
            raise UsageError(f"NAME = {path!r}: {error.strerror or error}") from None


def _page(path: Path, stored: str | None) -> None:
    """Write the page of the lab's claims and their records, or of one record."""
    from lab import registry
    from lab.files import write_text
    from lab.report.claims import html
    from lab.verdicts.records import records, records_folder

    if stored:
        text = html([_read(stored)])
    else:
        text = html(records(records_folder()), registry.names("claims"))
    try:
        write_text(path, text)
    except OSError as error:
        raise cannot_write(path, error) from None
    say(path)


def _draw(path: Path, name: str | None, result: dict[str, Any]) -> None:
    """Draw a record; name: the claim that made it, or the file that it was read from."""
    from lab.figures import save

    try:
        save(_figure(str(name), result), path, palette=True)
    except OSError as error:
        raise UsageError(f"--figure {path}: {error.strerror or error}") from None


def _figure(name: str, result: dict[str, Any]) -> Figure:
    from lab.figures.claim import claim_figure
    from lab.report.claims import figure_of

    if name.endswith(".json"):
        figure, note = figure_of(result)
        if note:
            say(note, err=True)
        return figure
    claim = load_named("claims", name)(result["scale"])
    return claim_figure(result, claim.draw, claim.axis)
