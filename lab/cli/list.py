"""The command `lab list`: tasks, mixers, experiments, claims, and the runs of a folder.

Runs are filtered by experiment and by fields: `lab list runs parity --where task.k=3`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lab.cli.common import JSON, OUT, complete
from lab.cli.runs import list_runs, runs_options
from lab.errors import UsageError


@click.command("list")
@click.argument("what", type=click.Choice(["tasks", "mixers", "experiments", "claims", "runs"]))
@click.argument("name", required=False, shell_complete=complete("experiments", "tasks"))
@runs_options
@OUT
@JSON
def list_(what: Any, name: str | None, out: Path, as_json: bool, **table: Any) -> None:
    """List tasks, mixers, experiments, claims, or the runs under --out.

    Runs can be restricted to those of experiment NAME, and to those that match every --where. A run
    is a row with the score of its first probe. Without --columns, --csv and --parquet have every
    field, and --json has whole results.
    """
    if what == "runs":
        list_runs(out, name, as_json, **table)
        return
    if name or any(table.values()):
        raise UsageError(f"only runs are filtered: lab list runs {name or ''}".rstrip())
    import typing

    import tasks
    from lab import registry
    from lab.config import ModelConfig

    names = tasks.names() if what == "tasks" else registry.names(what)
    click.echo(json.dumps(names) if as_json else "\n".join(names))
    if what == "mixers" and not as_json:
        from lab.config.presets import PRESETS

        click.echo(
            "\nStack them with --layers NAME*TIMES,NAME, or your own FILE.py. Options of a model:"
        )
        for field in ("position", "gate", "gate_at", "norm", "mlp_act", "embed"):
            choices = typing.get_args(typing.get_type_hints(ModelConfig)[field])
            click.echo(f"  --{field.replace('_', '-')} {' | '.join(choices)}")
        switches = (
            "forget",
            "qk-norm",
            "kv-heads",
            "log-length",
            "experts",
            "sigma",
            "tie-embeddings",
        )
        click.echo("  " + " ".join(f"--{name}" for name in switches))
        click.echo("  --preset " + " | ".join(PRESETS))
