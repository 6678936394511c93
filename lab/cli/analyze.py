"""The command lab analyze: what the heads of a trained model look at, as a table or as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import JSON, MINE, as_cli_errors
from lab.cli.resolve import configuration, parse_probe, run_folder, trusted_task

if TYPE_CHECKING:
    from lab.analysis.heads import AnalysisResult
    from lab.analysis.interventions import Ablation, Interpolation


PROBE = (
    "length=40,split=test, or any option of the task; what it does not name is that of the run's"
    " first probe"
)


CHECKPOINT = "step-500 or branch-500  [default: the last step]"


DEPENDENCIES = "tokens that matter, for a task that does not say: 1,4,7"


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--probe", metavar="KEY=VALUE,...", help=PROBE)
@click.option("--rows", type=click.IntRange(1), default=64, show_default=True, help="of the probe")
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--dependencies", metavar="COLUMN,...", help=DEPENDENCIES)
@click.option("--ablate", type=click.IntRange(1), metavar="HEADS", help="switch off the top heads")
@click.option(
    "--interpolate",
    "interpolate_from",
    metavar="CHECKPOINT",
    help="loss on the segment from another checkpoint",
)
@click.option("--task", "file", metavar="FILE.py", help=MINE)
@click.option("--out", default="runs", show_default=True, type=click.Path(path_type=Path))
@JSON
def analyze(
    run: str,
    probe: str | None,
    rows: int,
    at: str | None,
    dependencies: str | None,
    ablate: int | None,
    interpolate_from: str | None,
    file: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Look at the model of a RUN (a folder, or a name under --out): heads, activations, gates.

    Of each head: entropy (0: one token alone, 1: all alike), sink, the weight on the first token; and,
    for the tokens that the next one follows from, their weight, their margin over all others in
    nats, and how often one of them has the largest weight. Layers and heads count from 0.
    """
    import dataclasses

    import torch

    from lab.analysis.heads import measure
    from lab.analysis.interventions import ablation, interpolate
    from lab.analysis.subject import first_rows, load_model, open_run
    from lab.config.fields import parse
    from tasks import refuse

    folder = run_folder(run, out)
    with as_cli_errors():
        columns = (
            () if dependencies is None else parse(dependencies, tuple[int, ...], "--dependencies")
        )
        trusted = trusted_task(configuration(folder), file)
        torch.set_num_threads(1)  # small tensors: threads only wait for each other
        subject = open_run(folder, None, None, rows, at, trusted)
        if probe is not None:
            asked = parse_probe(probe, subject.experiment)
            if asked.n != subject.probe.n:
                raise refuse("--probe", probe, "how many rows is said by --rows")
            batch = first_rows(subject.experiment, asked, rows)
            subject = dataclasses.replace(subject, probe=asked, batch=batch)
        found = measure(subject, columns)
        removed = ablation(subject, found.heads, ablate) if ablate else None
        walked = None
        if interpolate_from:
            _, model, start = load_model(folder, interpolate_from, trusted)
            walked = interpolate(dataclasses.replace(subject, model=model, at=start), subject)
    if as_json:
        parts = {"ablation": removed, "segment": walked}
        extra = {name: dataclasses.asdict(part) for name, part in parts.items() if part}
        click.echo(json.dumps(_plain(dataclasses.asdict(found) | extra)))
        return
    _print(found, removed, walked)


def _plain(value: Any) -> Any:
    """JSON has no infinity: None."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(found: AnalysisResult, removed: Ablation | None, walked: Interpolation | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    click.echo(
        f"{found.run} at {found.at}, {found.rows} rows of {found.probe} (length {found.length})"
    )
    if found.heads:
        names = ["layer", "head", "entropy", "sink"]
        names += (
            ["dependency_weight", "margin", "retrieval_score"]
            if found.heads[0].dependency_weight is not None
            else []
        )
        console.print(_table(Table(box=None, pad_edge=False), names, found.heads))
    else:
        mixers = ", ".join(dict.fromkeys(layer.mixer for layer in found.layers))
        click.echo(f"No layer is attention ({mixers}), so there are no heads to look at.")
    if found.heads and found.heads[0].dependency_weight is None:
        click.echo(
            "The task does not say what a token follows from: --dependencies 1,4 marks columns."
        )
    names = ["layer", "mixer", "peak", "gate", "before", "after", "below_2", "below_3"]
    kept = [n for n in names if any(getattr(layer, n) is not None for layer in found.layers)]
    console.print(_table(Table(box=None, pad_edge=False), kept, found.layers))
    click.echo(f"largest activation, mean over layers: {found.activation:.3g}")
    if removed:
        for says, heads, (exact, loss) in (
            ("intact", (), removed.intact),
            ("without the top", removed.top, removed.without_top),
        ):
            places = " ".join(f"{layer}.{head}" for layer, head in heads)
            click.echo(f"{says} {places}".strip() + f": exact {exact:.3f}, loss {loss:.4f}")
        exact, loss = (sum(x) / len(x) for x in zip(*removed.without_random, strict=True))
        says = f"mean over {len(removed.random)} sets of as many others"
        click.echo(f"without random heads: exact {exact:.3f}, loss {loss:.4f} ({says})")
    if walked:
        click.echo(f"loss from {walked.ends[0]} (0) to {walked.ends[1]} (1):")
        for share, loss, exact in zip(walked.shares, walked.loss, walked.exact, strict=True):
            click.echo(f"  {share:.2f}  {loss:.4f}  exact {exact:.3f}")
        click.echo(
            f"above the straight line by {walked.barrier:.4f} at most, below by {walked.dip:.4f}"
        )


def _table(table: Any, names: list[str], rows: Any) -> Any:
    for name in names:
        right = name != "mixer"
        table.add_column(name.replace("_", " 1e-"), justify="right" if right else "left")
    for row in rows:
        table.add_row(*(_cell(getattr(row, name)) for name in names))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else str(value)
    return "-" if value is None else str(value)
