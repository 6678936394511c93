"""The command `lab claim`: run the arms of a published claim and say whether it holds."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from lab.cli.common import JSON, as_cli_errors, unknown
from lab.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="every claim with its last recorded verdict")
@click.option("--scale", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--seeds", type=click.IntRange(2), help="seeds of every arm  [default: the claim's]")
@click.option("--workers", type=click.IntRange(1), help="runs at once  [default: one a core]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="stop then, and save")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--record", type=click.Path(path_type=Path), help="write a JSON record here")
@click.option("--figure", type=click.Path(path_type=Path), help="draw the claim: .png or .svg")
@JSON
def claim(
    name: str | None,
    listed: bool,
    scale: str,
    seeds: int | None,
    workers: int | None,
    minutes: float | None,
    device: str,
    out: Path,
    record: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Check a published claim: run its arms, and decide by a threshold fixed in advance.

    The answer is holds, fails or inconclusive. An interrupted claim goes on where it stood: every
    finished run is kept under --out.
    """
    from lab import registry

    if listed:
        _list(as_json)
        return
    known = registry.names("claims")
    if name is None:
        raise UsageError(f"name a claim ({', '.join(known)}) or ask for --list")
    if name not in known:
        raise unknown("claim", name, known)
    if figure and figure.suffix not in (".png", ".svg"):
        raise UsageError(f"--figure {figure}: a file that ends in .png or .svg")
    found = _checked(name, scale, seeds, workers, minutes, device, out)
    if record:
        _write(record, found)
    if figure:
        _draw(figure, found)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _say(found)


def _checked(
    name: str,
    scale: Any,
    seeds: int | None,
    workers: int | None,
    minutes: float | None,
    device: Any,
    out: Path,
) -> dict[str, Any]:
    import lab

    finished: list[int] = []

    def tell(done: int, total: int, rows: list[dict[str, Any]]) -> None:
        if not finished or done > finished[-1]:
            finished.append(done)
            click.echo(f"{done} of {total} runs under {out} are finished", err=True)

    timer = threading.Timer(60 * (minutes or 0), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    if minutes:
        timer.start()
    progress = None if sys.stderr.isatty() else tell
    try:
        with as_cli_errors():
            return lab.check_claim(name, scale, seeds, out, device, workers, progress)
    finally:
        timer.cancel()


def _write(path: Path, found: dict[str, Any]) -> None:
    from lab.results.files import write_json

    try:
        write_json(path, found)
    except OSError as error:
        raise UsageError(f"--record {path}: {error.strerror or error}") from None


def _draw(path: Path, found: dict[str, Any]) -> None:
    from lab import registry
    from lab.verdicts.records import picture

    drawn = picture(registry.load("claims", found["claim"])(found["scale"]), found)
    try:
        drawn.savefig(path, dpi=200)
    except OSError as error:
        raise UsageError(f"--figure {path}: {error.strerror or error}") from None


def _say(found: dict[str, Any]) -> None:
    from lab.verdicts.records import interval_in_words, number

    control = found["negative_control"]
    side = "at least" if found["above"] else "at most"
    click.echo(f"{found['claim']} ({found['source']}), {found['scale']} scale")
    click.echo(f"  {found['statement']}")
    click.echo(f"{found['statistic']}: {number(found['mean'])}")
    values = ", ".join(number(value) for value in found["values"])
    click.echo(f"  95% over seeds {interval_in_words(found['interval'])}; seeds: {values}")
    click.echo(f"  holds when {side} {number(found['threshold'])}")
    click.echo(f"  the paper: {found['paper']}")
    click.echo(f"  our choices: {found['our_choices']}")
    click.echo(f"Verdict: {found['verdict']}")
    if found["diagnosis"]:
        click.echo(f"  at fault: {found['diagnosis']['cause']} ({found['diagnosis']['why']})")
    click.echo(
        f"Negative control ({control['why']}): {control['verdict']}"
        f" ({number(control['mean'])}, {interval_in_words(control['interval'])})"
    )


def _list(as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from lab import registry
    from lab.verdicts.records import interval_in_words, number, records, records_folder

    found = records(records_folder())
    rows: list[dict[str, Any]] = []
    for name in registry.names("claims"):
        mine = [r for r in found if r["claim"] == name]
        rows += mine or [{"claim": name, "scale": None, "verdict": None}]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("claim", "scale", "verdict", "value", "95% over seeds", "control", "made"):
        table.add_column(heading)
    for r in rows:
        if r["verdict"] is None:
            table.add_row(r["claim"], "-", "not recorded", "-", "-", "-", "-")
            continue
        cells = (
            r["claim"],
            r["scale"],
            r["verdict"],
            number(r["mean"]),
            interval_in_words(r["interval"]),
        )
        commit, *others = str(r["environment"]["git"]).split(", ")
        made = f"{commit} +{len(others)}" if others else commit
        table.add_row(*cells, r["negative_control"]["verdict"], made)
    Console().print(table)
