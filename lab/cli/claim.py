"""The command `lab claim`: run the arms of a published claim and say whether it holds."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, cast

import click

from lab.cli.common import DEVICE, JSON, OUT, as_cli_errors, complete, say
from lab.cli.resolve import load_named
from lab.errors import RunStopped, UsageError


@click.command()
@click.argument("name", required=False, shell_complete=complete("claims"))
@click.option("--list", "listed", is_flag=True, help="list every claim with its recorded verdict")
@click.option(
    "--scale",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="cpu: minutes on two cores; gpu: the paper's sizes",
)
@click.option(
    "--seeds",
    type=click.IntRange(2),
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
@click.option("--record", type=click.Path(path_type=Path), help="file for a JSON record")
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    help="file for the figure of the claim, .png or .svg",
)
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
    rates: bool,
    record: Path | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Check a published claim. Its arms are run, then a threshold that was fixed before decides.

    NAME is a claim of the lab, or your own FILE.py, which is executed.

    The verdict is holds, fails or inconclusive. The same command resumes an interrupted claim;
    every finished run is kept under --out.
    """
    from lab import registry

    if listed:
        _list(as_json)
        return
    if name is None:
        known = ", ".join(registry.names("claims"))
        raise UsageError(f"name a claim ({known}) or use --list")
    load_named("claims", name)
    if figure and figure.suffix not in (".png", ".svg"):
        raise UsageError(f"--figure {figure}: a file that ends in .png or .svg")
    if rates and (figure or seeds):
        other = "--figure" if figure else "--seeds"
        raise UsageError(f"{other} with --rates: rates are compared on one seed, without a figure")
    made: dict[str, Any] = {"out": out, "device": device, "workers": workers}

    def run(progress: Any) -> dict[str, Any]:
        if rates:
            from lab.claims._check import check_rates

            return check_rates(name, cast(Any, scale), progress=progress, **made)
        import lab

        return lab.check_claim(name, cast(Any, scale), seeds, progress=progress, **made)

    result = _until(minutes, out, run)
    if record:
        _write(record, result)
    if figure:
        _draw(figure, name, result)
    if as_json:
        click.echo(json.dumps(result))
    elif rates:
        _print_rates(result)
    else:
        _print(result)


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


def _draw(path: Path, name: str, result: dict[str, Any]) -> None:
    import io

    from lab.files import write_bytes
    from lab.verdicts.records import picture

    drawn, buffer = picture(load_named("claims", name)(result["scale"]), result), io.BytesIO()
    drawn.savefig(buffer, format=path.suffix[1:], dpi=200)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(f"--figure {path}: {error.strerror or error}") from None


def _print(result: dict[str, Any]) -> None:
    from lab.verdicts.records import beyond, in_words, number

    control = result["negative_control"]
    side = "at least" if result["above"] else "at most"
    say(f"{result['claim']} ({result['source']}), {result['scale']} scale")
    say(f"  {result['statement']}")
    say(f"{result['statistic']}: {in_words(result)}")
    values = ", ".join(number(value) for value in result["values"])
    say(f"  seeds: {values}")
    say(f"  holds when {side} {number(result['threshold'])}: {beyond(result)} seeds are")
    say(f"  the paper: {result['paper']}")
    say(f"  our choices: {result['our_choices']}")
    say(f"Verdict: {result['verdict']}")
    if result["diagnosis"]:
        say(f"  likely cause: {result['diagnosis']['cause']} ({result['diagnosis']['why']})")
    say(
        f"Negative control ({control['why']}): {control['verdict']}"
        f", {in_words(result, control=True)}"
    )


def _print_rates(result: dict[str, Any]) -> None:
    from rich.console import Console

    from lab.cli.tables import plain, share

    say(f"{result['claim']}, {result['scale']} scale, trial seed {result['seed']}: the first probe")
    cells, changed = [], []
    for name, arm in result["arms"].items():
        for trial in arm["trials"]:
            marks = ["its own"] * (trial["rate"] == arm["rate"])
            marks += ["best"] * (trial["rate"] == arm["best"])
            rows = "-" if trial["rows"] is None else f"{trial['rows']:,}"
            cells.append(
                [name, f"{trial['rate']:g}", share(trial["exact"]), rows, ", ".join(marks)]
            )
        if arm["best"] != arm["rate"]:
            changed.append(f"{name} at {arm['best']:g} instead of {arm['rate']:g}")
    headings = ["arm", "rate", "exact", "rows to learn", ""]
    Console().print(plain(headings, cells, left=["arm", ""]))
    say(f"Better: {'; '.join(changed)}" if changed else "No arm learns better at another rate.")


def _list(as_json: bool) -> None:
    """Every claim of the lab with its recorded verdict, as a table or JSON."""
    from rich.console import Console

    from lab import registry
    from lab.cli.tables import plain
    from lab.results.words import intervals_in_words
    from lab.verdicts.records import (
        interval_in_words,
        number,
        over_seeds_of,
        records,
        records_folder,
    )

    recorded = records(records_folder())
    rows: list[dict[str, Any]] = []
    for name in registry.names("claims"):
        own = [r for r in recorded if r["claim"] == name]
        rows += own or [{"claim": name, "scale": None, "verdict": None}]
    if as_json:
        click.echo(json.dumps(rows))
        return
    cells = []
    for r in rows:
        if r["verdict"] is None:
            cells.append([r["claim"], "-", "not recorded", "-", "-", "-", "-"])
            continue
        commit, *others = str(r["environment"]["git"]).split(", ")
        verdict = r["verdict"]
        value, interval = number(median(r["values"])), interval_in_words(over_seeds_of(r))
        made = f"{commit} +{len(others)}" if others else commit
        control = r["negative_control"]["verdict"]
        cells.append([r["claim"], r["scale"], verdict, value, interval, control, made])
    headings = ["claim", "scale", "verdict", "median", "interval", "control", "made"]
    Console().print(plain(headings, cells, left=headings))
    for line in intervals_in_words(r["seeds"] for r in recorded):
        click.echo(line)
