"""The command `lab analyze`: attention, activations and gates of a trained model, and the analyses
that have a name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli import analyses
from lab.cli.common import JSON, MIXER_FILES, OUT, TASK_FILE, as_cli_errors, complete, say
from lab.cli.resolve import configuration, load_named, resolve_run, trusted_files
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.analysis.heads import AnalysisResult
    from lab.analysis.interventions import Interpolation
    from lab.analysis.subject import Subject
    from lab.config import Trusted


PROBE = "length=40,split=test, or any option of the task; the rest is as in the run's first probe"
CHECKPOINT = (
    "checkpoint to analyze, step-500, branch-500, ema-500 or parent, which the run started from"
    "  [default: the last step]"
)
WHAT = "another analysis instead of this one, by its name below, or your own FILE.py"
SET = "option of the analysis --what, such as top=4; repeatable"
DEPENDENCIES = "columns that every token depends on, where the task does not define them: 1,4,7"


@click.command(cls=analyses.Command)
@click.argument("run", metavar="RUN", shell_complete=complete("runs"))
@click.option(
    "--what",
    metavar="NAME",
    is_eager=True,  # so that --what NAME --help knows it
    shell_complete=complete("analyses"),
    help=WHAT,
)
@click.option("--set", "sets", metavar="OPTION=VALUE", multiple=True, help=SET)
@click.option("--probe", metavar="KEY=VALUE,...", help=PROBE)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="number of rows of the probe",
)
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--dependencies", metavar="COLUMN,...", help=DEPENDENCIES)
@click.option(
    "--interpolate",
    "interpolate_from",
    metavar="CHECKPOINT",
    help="loss along the line from this checkpoint, or from the parent, to the analyzed one",
)
@TASK_FILE
@MIXER_FILES
@OUT
@JSON
def analyze(
    run: str,
    what: str | None,
    sets: tuple[str, ...],
    probe: str | None,
    rows: int,
    at: str | None,
    dependencies: str | None,
    interpolate_from: str | None,
    task_file: str | None,
    mixer_files: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Analyze heads, activations and gates of a trained model. RUN is a folder, or a name under
    --out.

    For each head: entropy (0: one token alone, 1: uniform), sink, the weight on the first token,
    and value norm, the norm of its value over that of the others.
    Where the next token is computed from known tokens (its dependencies): their weight, their
    margin over all other tokens in nats, and the retrieval score, which is how often one of them
    has the largest weight. Layers and heads count from 0.
    """
    import dataclasses

    import torch

    from lab.analysis.heads import measure
    from lab.analysis.interventions import interpolate
    from lab.analysis.subject import load_model
    from lab.config.fields import parse

    own = {"--dependencies": dependencies, "--interpolate": interpolate_from}
    _check_options(what, sets, [name for name, value in own.items() if value is not None])
    named = None if what is None else load_named("analyses", what)
    folder = resolve_run(run, out)
    with as_cli_errors():
        options = {} if named is None else analyses.parse_options(str(what), named, sets)
        columns = (
            () if dependencies is None else parse(dependencies, tuple[int, ...], "--dependencies")
        )
        trusted = trusted_files([configuration(folder)], task_file, mixer_files)
        torch.set_num_threads(1)  # small tensors: threads only wait for each other
        subject = _subject(folder, probe, rows, at, trusted, named is not None)
        if named is not None:
            found = named(subject, **options)
            if as_json:
                told = analyses.document(str(what), subject, options, found)
                click.echo(json.dumps(_plain(told)))
            else:
                analyses.print_finding(subject, found)
            return
        analysis = measure(subject, columns)
        line = None
        if interpolate_from:
            _, model, start = load_model(folder, interpolate_from, trusted)
            line = interpolate(dataclasses.replace(subject, model=model, at=start), subject)
    if as_json:
        extra = {"interpolation": dataclasses.asdict(line)} if line else {}
        click.echo(json.dumps(_plain(dataclasses.asdict(analysis) | extra)))
        return
    _print(analysis, line)


def _subject(
    folder: Path, probe: str | None, rows: int, at: str | None, trusted: Trusted, whole: bool
) -> Subject:
    """The model at a checkpoint and the first rows of a probe. whole: all rows are read at once."""
    import dataclasses

    from lab.analysis.subject import first_rows, open_run
    from lab.data.probes import parse_probe
    from lab.data.size import refuse_above, row_tokens
    from tasks import refuse

    subject = open_run(folder, None, None, 1, at, trusted)
    chosen = subject.probe
    if probe is not None:
        chosen = parse_probe(probe, subject.experiment)
        if chosen.n != subject.probe.n:
            raise refuse("--probe", probe, "--rows sets the number of rows")
    tokens = row_tokens(chosen.of(subject.experiment.task), chosen.length)
    model = subject.experiment.model
    of_token = tokens + 60  # dependencies, and the rows
    if whole:  # what every layer computes
        of_token += round(4 * model.width * (6 + model.mlp_ratio) * len(model.stack()))
    refuse_above("--rows", rows, rows * tokens * of_token)
    batch = first_rows(subject.experiment, chosen, rows)
    return dataclasses.replace(subject, probe=chosen, batch=batch)


def _check_options(what: str | None, sets: tuple[str, ...], own: list[str]) -> None:
    if what is None and sets:
        raise UsageError("--set does not apply: without --what there is no analysis to set it of")
    if what is not None and own:
        raise UsageError(f"{own[0]} does not apply to --what {what}")


def _plain(value: Any) -> Any:
    """JSON has no infinity: None."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(analysis: AnalysisResult, line: Interpolation | None) -> None:
    from rich.console import Console

    from lab.cli.tables import plain

    console = Console()
    where = f"{analysis.rows} rows of {analysis.probe} (length {analysis.length})"
    say(f"{analysis.run} at {analysis.at}, {where}")
    if analysis.heads:
        names = ["layer", "head", "entropy", "sink", "value_norm"]
        known = analysis.heads[0].dependency_weight is not None
        names += ["dependency_weight", "margin", "retrieval_score"] if known else []
        console.print(plain(_headings(names), _cells(analysis.heads, names)))
        if not known:
            say("The task does not define dependencies: --dependencies 1,4 marks columns.")
    else:
        mixers = ", ".join(dict.fromkeys(layer.mixer for layer in analysis.layers))
        say(f"No layer is attention ({mixers}), so there are no heads to analyze.")
    names = ["layer", "mixer", "peak", "gate", "before", "after", "below_2", "below_3"]
    kept = [n for n in names if any(getattr(layer, n) is not None for layer in analysis.layers)]
    console.print(plain(_headings(kept), _cells(analysis.layers, kept), left=["mixer"]))
    say(f"largest activation, mean over layers: {analysis.activation:.3g}")
    if line:
        say(f"loss from {line.ends[0]} (0) to {line.ends[1]} (1):")
        for share, loss, exact in zip(line.shares, line.loss, line.exact, strict=True):
            say(f"  {share:.2f}  {loss:.4f}  exact {exact:.3f}")
        above, below = f"{line.barrier:.4f}", f"{line.dip:.4f}"
        say(f"above the straight line by {above} at most, below by {below}")


def _headings(names: list[str]) -> list[str]:
    return [name.replace("below_", "below 1e-").replace("_", " ") for name in names]


def _cells(rows: Any, names: list[str]) -> list[list[str]]:
    return [[_cell(getattr(row, name)) for name in names] for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else str(value)
    return "-" if value is None else str(value)
