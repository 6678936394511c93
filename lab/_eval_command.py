"""The command lab eval: a run's model on any probe, greedy or sampled, without training again.

A run folder is read as data (JSON and safetensors) and nothing is written into it.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab._names import JSON, Refused, load_task, mistakes, unknown

if TYPE_CHECKING:
    from lab.config import Experiment, Probe
    from lab.results import Result
    from lab.sampling import Sampled
    from tasks import Task

PROBE = (
    "length=40,split=test,n=512,label=far, or any option of the task; what it does not name is"
    " that of the run's first probe  [default: the run's probes]"
)
BETWEEN = "weights between two checkpoints: step-500:0.25 adds 1/4 of the evaluated to 3/4 of 500"
CHECKPOINT = "the evaluated one, step-500 or branch-500  [default: the last step]"
MINE = "your own task that the run was made with"


@click.command("eval")
@click.argument("run", metavar="RUN")
@click.option("--probe", "probes", multiple=True, metavar="KEY=VALUE,...", help=PROBE)
@click.option("--samples", type=click.IntRange(1), help="answers to draw for each prompt")
@click.option("--temperature", type=float, help="of the samples, above 0  [default: 1]")
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--interpolate", metavar="STEP:SHARE", help=BETWEEN)
@click.option("--reveal", type=float, help="share of each thought that the prompt gives away")
@click.option("--reads", type=click.IntRange(1), help="times the prompt is read")
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
    reads: int | None,
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

    from lab._subject import load_model
    from lab.checkpoint import blend
    from lab.evaluate import score
    from lab.results import Result, environment
    from lab.run import pick_device
    from lab.sampling import sample

    folder = run_folder(run, out)
    with mistakes():
        _check_sampling(samples, temperature)
        first, share = _between(interpolate)
        trusted = trusted_task(configuration(folder), file)
        experiment, model, checkpoint = load_model(folder, at, trusted)
        if first is not None:
            if experiment.model.sigma:
                says = "model.sigma = true keeps estimates of its weights, not to be averaged"
                raise Refused(f"--interpolate does not apply: {says}")
            _, other, first = load_model(folder, first, trusted)
            blend(model, other, share)
        experiment = _seen(experiment, reveal, reads)
        asked = [asked_probe(text, experiment) for text in probes] or list(experiment.probes)
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


def run_folder(run: str, out: Path) -> Path:
    """The folder of a run that is named by its path, or under `out`."""
    for path in (Path(run), out / run):
        if (path / "config.json").is_file():
            return path
    there = [path.parent.name for path in sorted(out.glob("*/config.json"))]
    raise unknown("run", run, there) if there else Refused(f"there is no run {run}, none in {out}")


def _check_sampling(samples: int | None, temperature: float | None) -> None:
    if temperature is not None and not samples:
        raise Refused("--temperature does not apply: without --samples answers are greedy")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise Refused(f"--temperature = {temperature} cannot be used: a number above 0")


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
    raise Refused(f"--interpolate = {text!r} cannot be used: {allowed}")


def configuration(folder: Path) -> dict[str, Any]:
    """config.json, if it holds an experiment."""
    try:
        data = json.loads((folder / "config.json").read_text())
        if data["task"]["name"] and {"cot", "model", "train", "probes", "reads"} <= data.keys():
            return data
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise Refused(f"{folder / 'config.json'} holds no experiment of this lab")


def trusted_task(data: dict[str, Any], file: str | None) -> type[Task] | None:
    """The task class of the file that the user gives again, for a run on a task of their own."""
    if file is None:
        return None
    mine = load_task(file)
    if "source" not in data:
        raise Refused(f"--task does not apply: the task {data['task']['name']} is the lab's own")
    if mine().name != data["task"]["name"]:
        raise Refused(f"--task {file} cannot be used: the run is on {data['task']['name']}")
    return mine


def _seen(experiment: Experiment, reveal: float | None, reads: int | None) -> Experiment:
    """The experiment with another view of the rows. Its model and seed are the run's."""
    if reveal is not None:
        train = dataclasses.replace(experiment.train, reveal=(reveal,))
        experiment = dataclasses.replace(experiment, train=train)
    return dataclasses.replace(experiment, reads=reads) if reads else experiment


def asked_probe(text: str, experiment: Experiment) -> Probe:
    """The probe of "length=40,split=test": the run's first one with this changed."""
    import numpy as np

    from lab._fields import parse
    from lab.config import Probe
    from tasks import refuse

    task, first = experiment.task, experiment.probes[0]
    hints = typing.get_type_hints(type(task))
    fields = {f.name: hints[f.name] for f in dataclasses.fields(task)}  # type: ignore[arg-type]
    found: dict[str, Any] = {"label": None, "length": first.length, "n": first.n}
    change: dict[str, Any] = {}
    named = []
    for part in re.split(r",(?![^()]*\))", text):  # not inside drop_pair=(0,1)
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in {*found, *fields}:
            keys = ", ".join([*found, *fields])
            raise refuse("--probe", part, f"it needs KEY=VALUE with a key of {keys}")
        if key in found:
            found[key] = value if key == "label" else parse(value, int, f"--probe {key}")
        else:
            change[key] = parse(value, fields[key], f"--probe {key}")
            named.append(f"{key}={value}")
    found["label"] = found["label"] or ",".join(named) or first.label
    probe = Probe(**found, change={**first.change, **change})
    asked = probe.of(task)
    if asked.words != task.words:
        raise refuse("--probe", text, "its vocabulary is not the one that the model was trained on")
    asked.sample(np.random.default_rng(0), 1, probe.length)  # a bad option or length shows here
    return probe


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

    from lab import view

    console = Console()
    console.print(view.scores([result]))
    if drawn:
        table = Table(box=None, pad_edge=False)
        for name in ("probe", "length", "rows", "measure", "value", "95% interval"):
            table.add_column(name, justify="left" if name in ("probe", "measure") else "right")
        for one in drawn:
            rows = {f"pass@{k}": share for k, share in one.passes.items()} | {"vote": one.vote}
            for name, share in rows.items():
                cells = (one.probe, str(one.length), f"{one.n:,}", name, view.share(share.value))
                table.add_row(*cells, f"{share.low:.3f}-{share.high:.3f}")
        says = f"{drawn[0].samples} samples of each prompt at temperature {drawn[0].temperature:g}"
        click.echo(f"\n{says}:")
        console.print(table)
    part = "" if mixed is None else f", averaged: {1 - mixed['share']:g} of {mixed['checkpoint']}"
    click.echo(f"{result.run} at {checkpoint}{part}  ({result.seconds:.0f} s)")
