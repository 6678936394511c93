"""The command `lab list`: tasks, experiments, claims, mixers, engines, analyses, and the runs of a
folder.

Runs are filtered by experiment and by fields: `lab list runs parity --where task.k=3`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lab.cli.common import JSON, OUT, complete, wrapped
from lab.cli.runs import list_runs, runs_options
from lab.errors import UsageError


@click.command("list")
@click.argument(
    "what",
    type=click.Choice(["tasks", "experiments", "claims", "mixers", "engines", "analyses", "runs"]),
)
@click.argument("name", required=False, shell_complete=complete("experiments", "tasks"))
@runs_options
@OUT
@JSON
def list_(what: Any, name: str | None, out: Path, as_json: bool, **table: Any) -> None:
    """List what the lab has, or the runs under --out.

    All but runs have a sentence and a paper each. Runs can be
    restricted to those of experiment NAME, and to those that match every --where. A run is a row
    with the score of its first probe. Without --columns, --csv and --parquet have every field, and
    --json has whole results.
    """
    if what == "runs":
        list_runs(out, name, as_json, **table)
        return
    if name or any(table.values()):
        raise UsageError(f"only runs are filtered: lab list runs {name or ''}".rstrip())
    import typing

    from lab import registry
    from lab.config import ModelConfig

    _print_kind(what, registry.names(what), as_json)
    if what == "mixers" and not as_json:
        from lab.config.presets import PRESETS

        click.echo("\nStack them with --layers NAME*TIMES,NAME, or your own FILE.py. Options:")
        for field in ("position", "score", "gate", "gate_at", "norm", "mlp_act", "embed"):
            choices = typing.get_args(typing.get_type_hints(ModelConfig)[field])
            click.echo(wrapped(f"  --{field.replace('_', '-')} {' | '.join(choices)}", " " * 6))
        switches = (
            "forget",
            "qk-norm",
            "kv-heads",
            "log-length",
            "experts",
            "sigma",
            "tie-embeddings",
        )
        click.echo(wrapped("  " + " ".join(f"--{name}" for name in switches), "  "))
        click.echo(wrapped("  --preset " + " | ".join(PRESETS), " " * 6))


def _print_kind(what: Any, names: Sequence[str], as_json: bool) -> None:
    """What each name is, in one sentence, its paper and, for claims, the recorded verdicts."""
    from rich.console import Console

    from lab import registry
    from lab.cli.cards import sentence, source, without_source
    from lab.cli.tables import plain

    rows = []
    for name in names:
        text = registry.docstring(what, name)
        rows.append(
            {"name": name, "sentence": sentence(text), "source": source(text, what == "mixers")}
        )
    if what == "claims":
        verdicts = _verdicts()
        for row in rows:
            row["verdict"] = verdicts.get(row["name"], "")
    if as_json:
        click.echo(json.dumps(rows))
        return
    last = ["verdict"] if what == "claims" else []
    headings = ["name", "what it is", "source", *last]
    keys = ["name", "sentence", "source", *last]
    console = Console()
    if console.is_terminal:
        for row in rows:
            row["sentence"] = without_source(row["sentence"], row["source"])
    else:  # one line each, for grep
        console = Console(width=max(sum(map(len, row.values())) for row in rows) + 80)
    cells = [[row[key] or "-" for key in keys] for row in rows]
    console.print(plain(headings, cells, left=headings))


def _verdicts() -> dict[str, str]:
    """By claim: the verdicts on record, such as "holds (cpu)"."""
    from lab.verdicts.records import records, records_folder

    verdicts: dict[str, str] = {}
    for record in records(records_folder()):
        name, text = record["claim"], f"{record['verdict']} ({record['scale']})"
        verdicts[name] = f"{verdicts[name]}, {text}" if name in verdicts else text
    return verdicts
