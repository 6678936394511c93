"""The command `lab list`: tasks, mixers, experiments, claims, and the runs of a folder.

Runs are filtered by experiment and by fields: `lab list runs parity --where task.k=3`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lab.cli.claim import print_claims
from lab.cli.common import JSON, OUT, as_cli_errors, complete, say
from lab.errors import UsageError


@click.command("list")
@click.argument("what", type=click.Choice(["tasks", "mixers", "experiments", "claims", "runs"]))
@click.argument("name", required=False, shell_complete=complete("experiments", "tasks"))
@click.option(
    "--where",
    multiple=True,
    metavar="PATH=VALUE",
    help="only runs with this value: task.k=3, cot=true; repeatable",
)
@OUT
@JSON
def list_(what: Any, name: str | None, where: tuple[str, ...], out: Path, as_json: bool) -> None:
    """List tasks, mixers, experiments, claims, or the runs under --out.

    Runs can be restricted to those of experiment NAME, and to those that match every --where.
    """
    if what == "runs":
        _list_runs(out, name, where, as_json)
        return
    if name or where:
        raise UsageError(f"only runs are filtered: lab list runs {name or ''}".rstrip())
    if what == "claims":
        print_claims(as_json)
        return
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


def _list_runs(out: Path, name: str | None, where: Sequence[str], as_json: bool) -> None:
    from rich.console import Console

    from lab.cli import tables
    from lab.results.find import is_running, readable, reason, run_folders
    from lab.results.folder import read_configuration
    from lab.results.reader import exists

    def skip(line: str) -> None:
        say(line, err=True)

    configs = {}
    for folder in run_folders(out):
        try:
            configs[folder] = read_configuration(folder)
        except (OSError, ValueError) as error:
            skip(f"skipped {folder}: {reason(error, folder)}")
    with as_cli_errors():
        kept = [
            path
            for path in matching(configs, where)
            if name is None or configs[path]["name"] == name
        ]
    ended = [path for path in kept if exists(path / "result.json")]
    complete = readable(ended, skip)
    begun = [path for path in kept if not exists(path / "result.json")]
    unfinished = [path.name for path in begun]
    running = [path.name for path in begun if is_running(path)]
    if as_json:
        rows = [r.to_json() for r in complete]
        click.echo(json.dumps({"complete": rows, "unfinished": unfinished, "running": running}))
    elif not configs:
        say(f"No runs under {out}. Try: lab run parity --cot")
    elif not kept:
        say(f"None of the {len(configs)} runs under {out} match.")
    else:
        Console().print(tables.runs(complete, unfinished, running))


def matching(configs: dict[Path, dict[str, Any]], where: Sequence[str]) -> list[Path]:
    """The folders whose configuration has the value of every PATH=VALUE. ValueError for a path that
    none of them has."""
    from lab.config.fields import split_assignment
    from tasks import refuse

    kept = list(configs)
    for text in where:
        path, value = split_assignment(text, "--where", "task.k=3")
        values = {folder: _field(config, path) for folder, config in configs.items()}
        if configs and not any(values.values()):
            raise refuse("--where", path, "no run here has such a field (task.k, train.lr, cot)")
        kept = [folder for folder in kept if any(_same(v, value) for v in values[folder])]
    return kept


def _field(config: dict[str, Any], path: str) -> list[Any]:
    """The values at a dotted path, or of a plain name in task, model and train."""
    head, _, leaf = path.partition(".")
    if leaf:
        part = config.get(head)
        return [part[leaf]] if isinstance(part, dict) and leaf in part else []
    if head in config and not isinstance(config[head], dict):
        return [config[head]]
    return [config[p][head] for p in ("task", "model", "train") if head in config[p]]


def _same(value: Any, text: str) -> bool:
    """Whether a value of a configuration equals the value that the user typed."""
    from lab.config.fields import parse

    hint: Any
    if isinstance(value, list):
        hint = tuple[float, ...] if any(isinstance(v, float) for v in value) else tuple[int, ...]
    elif isinstance(value, bool | str):
        hint = type(value)
    else:
        hint = float | None
    try:
        wanted = parse(text, hint, "--where")
    except ValueError:
        return False
    return bool(wanted == (tuple(value) if isinstance(value, list) else value))
