"""The command lab analyze: what the heads of a trained model look at, as a table or as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import JSON, MINE, mistakes
from lab.cli.resolve import asked_probe, configuration, run_folder, trusted_task

if TYPE_CHECKING:
    from lab.analysis.heads import Findings
    from lab.analysis.interventions import Ablation, Segment


PROBE = (
    "length=40,split=test, or any option of the task; what it does not name is that of the run's"
    " first probe"
)


CHECKPOINT = "step-500 or branch-500  [default: the last step]"


NEEDLE = "tokens that matter, for a task that does not say: 1,4,7"


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--probe", metavar="KEY=VALUE,...", help=PROBE)
@click.option("--rows", type=click.IntRange(1), default=64, show_default=True, help="of the probe")
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--needle", metavar="COLUMN,...", help=NEEDLE)
@click.option("--ablate", type=click.IntRange(1), metavar="HEADS", help="switch off the top heads")
@click.option("--between", metavar="CHECKPOINT", help="loss on the segment from another checkpoint")
@click.option("--task", "file", metavar="FILE.py", help=MINE)
@click.option("--out", default="runs", show_default=True, type=click.Path(path_type=Path))
@JSON
def analyze(
    run: str,
    probe: str | None,
    rows: int,
    at: str | None,
    needle: str | None,
    ablate: int | None,
    between: str | None,
    file: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Look at the model of a RUN (a folder, or a name under --out): heads, activations, gates.

    Of each head: entropy (0: one token alone, 1: all alike), the weight on the first token and on
    the needle, which is what the next token follows from; its margin over all others, in nats; and
    how often the needle has the largest weight. Layers and heads count from 0.
    """
    import dataclasses

    import torch

    from lab.analysis.heads import measure
    from lab.analysis.interventions import ablation, segment
    from lab.analysis.subject import drawn, load_model, open_run
    from lab.config.fields import parse
    from tasks import refuse

    folder = run_folder(run, out)
    with mistakes():
        columns = () if needle is None else parse(needle, tuple[int, ...], "--needle")
        trusted = trusted_task(configuration(folder), file)
        torch.set_num_threads(1)  # small tensors: threads only wait for each other
        subject = open_run(folder, None, None, rows, at, trusted)
        if probe is not None:
            asked = asked_probe(probe, subject.experiment)
            if asked.n != subject.probe.n:
                raise refuse("--probe", probe, "how many rows is said by --rows")
            batch = drawn(subject.experiment, asked, rows)
            subject = dataclasses.replace(subject, probe=asked, batch=batch)
        found = measure(subject, columns)
        removed = ablation(subject, found.heads, ablate) if ablate else None
        walked = None
        if between:
            _, model, start = load_model(folder, between, trusted)
            walked = segment(dataclasses.replace(subject, model=model, at=start), subject)
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


def _print(found: Findings, removed: Ablation | None, walked: Segment | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    click.echo(
        f"{found.run} at {found.at}, {found.rows} rows of {found.probe} (length {found.length})"
    )
    if found.heads:
        names = ["layer", "head", "entropy", "first"]
        names += ["needle", "margin", "hits"] if found.heads[0].needle is not None else []
        console.print(_table(Table(box=None, pad_edge=False), names, found.heads))
    else:
        mixers = ", ".join(dict.fromkeys(layer.mixer for layer in found.layers))
        click.echo(f"No layer is attention ({mixers}), so there are no heads to look at.")
    if found.heads and found.heads[0].needle is None:
        click.echo("The task does not say what a token follows from: --needle 1,4 marks columns.")
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
            f"above the straight line by {walked.bump:.4f} at most, below by {walked.dip:.4f}"
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
