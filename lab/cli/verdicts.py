"""What `lab claim` prints: a verdict, learning rates, the list of claims."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

import click

from lab.cli.common import say


def say_verdict(result: dict[str, Any]) -> None:
    """A record in sentences."""
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


def say_rates(result: dict[str, Any]) -> None:
    """The learning rates that each arm was tried at, and which are better than its own."""
    from rich.console import Console

    from lab.cli.tables import plain
    from lab.verdicts.records import exact_or_diverged

    say(f"{result['claim']}, {result['scale']} scale, trial seed {result['seed']}: the first probe")
    cells, changed = [], []
    for name, arm in result["arms"].items():
        for trial in arm["trials"]:
            marks = ["its own"] * (trial["rate"] == arm["rate"])
            marks += ["best"] * (trial["rate"] == arm["best"])
            rows = "-" if trial["rows"] is None else f"{trial['rows']:,}"
            cells.append(
                [name, f"{trial['rate']:g}", exact_or_diverged(trial), rows, ", ".join(marks)]
            )
        if arm["best"] != arm["rate"]:
            changed.append(f"{name} at {arm['best']:g} instead of {arm['rate']:g}")
    headings = ["arm", "rate", "exact", "rows to learn", ""]
    Console().print(plain(headings, cells, left=["arm", ""]))
    say(f"Better: {'; '.join(changed)}" if changed else "No arm learns better at another rate.")


def list_claims(as_json: bool) -> None:
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
