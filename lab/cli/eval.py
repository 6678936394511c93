"""The command lab eval: a run's model on any probe, greedy or sampled, without training again.

A run folder is read as data (JSON and safetensors) and nothing is written into it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import JSON, MINE, as_cli_errors
from lab.cli.resolve import configuration, parse_probe, run_folder, trusted_task
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.evaluation.sampling import Sampled
    from lab.results.result import Result


PROBE = (
    "length=40,split=test,n=512,label=far, or any option of the task; what it does not name is"
    " that of the run's first probe  [default: the run's probes]"
)


BETWEEN = "weights between two checkpoints: step-500:0.25 adds 1/4 of the evaluated to 3/4 of 500"


CHECKPOINT = "the evaluated one, step-500 or branch-500  [default: the last step]"


@click.command("eval")
@click.argument("run", metavar="RUN")
@click.option("--probe", "probes", multiple=True, metavar="KEY=VALUE,...", help=PROBE)
@click.option("--samples", type=click.IntRange(1), help="answers to draw for each prompt")
@click.option("--temperature", type=float, help="of the samples, above 0  [default: 1]")
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--interpolate", metavar="STEP:SHARE", help=BETWEEN)
@click.option("--reveal", type=float, help="share of each thought that the prompt gives away")
@click.option("--prompt-repeats", type=click.IntRange(1), help="times the prompt is read")
@click.option("--task", "file", metavar="FILE.py", help=MINE)
@click.option("--out", default="runs", show_default=True, type=click.Path(path_type=Path))
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@JSON
def eval_(
    run: str,
    probes: tuple[str, ...],
    samples: int | None,
    temperature: float | None,
    at: str | None,
    interpolate: str | None,
    reveal: float | None,
    prompt_repeats: int | None,
    file: str | None,
    out: Path,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Evaluate the model of a RUN (a folder, or a name under --out), complete or interrupted.

    With --samples K the answers are also drawn K times: Pass@k for k = 1, 2, 4, ... and the
    majority vote. --interpolate STEP:SHARE averages weights: (1 - SHARE) of STEP, SHARE of the
    evaluated checkpoint.
    """
    import torch

    from lab.analysis.subject import load_model
    from lab.evaluation.sampling import sample
    from lab.evaluation.score import score
    from lab.results.environment import environment
    from lab.results.result import Result
    from lab.runs.process import pick_device
    from lab.training.checkpoint import blend

    folder = run_folder(run, out)
    with as_cli_errors():
        _check_sampling(samples, temperature)
        first, share = _between(interpolate)
        trusted = trusted_task(configuration(folder), file)
        experiment, model, checkpoint = load_model(folder, at, trusted)
        if first is not None:
            if experiment.model.sigma:
                says = "model.sigma = true keeps estimates of its weights, not to be averaged"
                raise UsageError(f"--interpolate does not apply: {says}")
            _, other, first = load_model(folder, first, trusted)
            blend(model, other, share)
        experiment = _seen(experiment, reveal, prompt_repeats)
        asked = [parse_probe(text, experiment) for text in probes] or list(experiment.probes)
        torch.set_num_threads(threads)
        where = pick_device(device)
        model, began = model.to(where), time.monotonic()
        scores = tuple(score(model, experiment, probe) for probe in asked)
        heat = 1.0 if temperature is None else temperature
        drawn = [sample(model, experiment, p, samples, heat) for p in asked if samples]
        result = Result(
            run=str(folder),
            experiment=experiment.to_json(),
            scores=scores,
            curves=[],
            seconds=time.monotonic() - began,
            environment=environment(where.type, threads),
        )
    mixed = None if first is None else {"checkpoint": first, "share": share}
    if as_json:
        click.echo(json.dumps(_document(result, checkpoint, mixed, drawn)))
    else:
        _print(result, checkpoint, mixed, drawn)


def _check_sampling(samples: int | None, temperature: float | None) -> None:
    if temperature is not None and not samples:
        raise UsageError("--temperature does not apply: without --samples answers are greedy")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UsageError(f"--temperature = {temperature} cannot be used: a number above 0")


def _between(text: str | None) -> tuple[str | None, float]:
    """The checkpoint and the share of --interpolate."""
    if text is None:
        return None, 1.0
    name, _, share = text.rpartition(":")
    try:
        if name and 0 <= float(share) <= 1:
            return name, float(share)
    except ValueError:
        pass
    allowed = "it needs the form step-500:0.5, a checkpoint and a share from 0 to 1"
    raise UsageError(f"--interpolate = {text!r} cannot be used: {allowed}")


def _seen(experiment: Experiment, reveal: float | None, prompt_repeats: int | None) -> Experiment:
    """The experiment with another view of the rows. Its model and seed are the run's."""
    if reveal is not None:
        train = dataclasses.replace(experiment.train, reveal=(reveal,))
        experiment = dataclasses.replace(experiment, train=train)
    return (
        dataclasses.replace(experiment, prompt_repeats=prompt_repeats)
        if prompt_repeats
        else experiment
    )


def _document(
    result: Result, checkpoint: str, mixed: dict[str, Any] | None, drawn: list[Sampled]
) -> dict[str, Any]:
    found = result.to_json()
    return {
        **{name: found[name] for name in ("run", "experiment")},
        "checkpoint": checkpoint,
        "interpolate": mixed,
        "scores": found["scores"],
        "samples": [dataclasses.asdict(one) for one in drawn],
        **{name: found[name] for name in ("seconds", "environment")},
    }


def _print(
    result: Result, checkpoint: str, mixed: dict[str, Any] | None, drawn: list[Sampled]
) -> None:
    from rich.console import Console
    from rich.table import Table

    from lab.cli import tables

    console = Console()
    console.print(tables.scores([result]))
    if drawn:
        table = Table(box=None, pad_edge=False)
        for name in ("probe", "length", "rows", "measure", "value", "95% interval"):
            table.add_column(name, justify="left" if name in ("probe", "measure") else "right")
        for one in drawn:
            rows = {f"pass@{k}": share for k, share in one.passes.items()} | {"vote": one.vote}
            for name, share in rows.items():
                cells = (one.probe, str(one.length), f"{one.n:,}", name, tables.share(share.value))
                table.add_row(*cells, f"{share.low:.3f}-{share.high:.3f}")
        says = f"{drawn[0].samples} samples of each prompt at temperature {drawn[0].temperature:g}"
        click.echo(f"\n{says}:")
        console.print(table)
    part = "" if mixed is None else f", averaged: {1 - mixed['share']:g} of {mixed['checkpoint']}"
    click.echo(f"{result.run} at {checkpoint}{part}  ({result.seconds:.0f} s)")
