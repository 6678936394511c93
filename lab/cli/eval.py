"""The command `lab eval`: the model of a run on any probe, greedy or sampled.

A run folder is read as data (JSON and safetensors), and nothing is written into it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import DEVICE, JSON, MIXER_FILES, OUT, TASK_FILE, as_cli_errors, complete, say
from lab.cli.resolve import configuration, resolve_run, trusted_files
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.config import Experiment
    from lab.evaluation.sampling import Sampled
    from lab.results.result import Result


PROBE = (
    "length=40,split=test,n=512,label=far, or any option of the task; the rest is as in the run's"
    " first probe  [default: the run's probes]"
)
INTERPOLATE = (
    "average weights: step-500:0.25 is 3/4 of step-500 and 1/4 of the evaluated checkpoint;"
    " parent:0.25 of the weights that the run started from"
)
AVERAGE = "average the weights of the evaluated checkpoint and of these equally: step-300,step-400"
CHECKPOINT = (
    "checkpoint to evaluate, step-500, branch-500, ema-500 or parent, which the run started from"
    "  [default: the last step]"
)
THREADS = "threads of torch"
MOST = 10_000  # samples of a prompt; Pass@k of more takes minutes to compute
ANSWER = 200  # bytes of a sampled answer, beside 8 a token


@click.command("eval")
@click.argument("run", metavar="RUN", shell_complete=complete("runs"))
@click.option("--probe", "probes", multiple=True, metavar="KEY=VALUE,...", help=PROBE)
@click.option(
    "--samples", type=click.IntRange(1, MOST), help="number of answers to draw for each prompt"
)
@click.option("--temperature", type=float, help="temperature of the samples, above 0  [default: 1]")
@click.option("--checkpoint", "at", help=CHECKPOINT)
@click.option("--interpolate", metavar="STEP:SHARE", help=INTERPOLATE)
@click.option("--average", metavar="CHECKPOINT,...", help=AVERAGE)
@click.option("--reveal", type=float, help="fraction of the solution given as a hint in the prompt")
@click.option("--prompt-repeats", type=click.IntRange(1), help="how often the prompt is repeated")
@TASK_FILE
@MIXER_FILES
@OUT
@DEVICE
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help=THREADS)
@JSON
def eval_(
    run: str,
    probes: tuple[str, ...],
    samples: int | None,
    temperature: float | None,
    at: str | None,
    interpolate: str | None,
    average: str | None,
    reveal: float | None,
    prompt_repeats: int | None,
    task_file: str | None,
    mixer_files: tuple[str, ...],
    out: Path,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Evaluate the model of a run on any probe. RUN is a folder, or a name under --out; it may be
    complete or interrupted.

    With --samples K, answers are also drawn K times: Pass@k for k = 1, 2, 4, ... and the
    majority vote. --interpolate STEP:SHARE averages weights: (1 - SHARE) of STEP, SHARE of the
    evaluated checkpoint; --average takes several checkpoints, each with the same share.
    """
    import torch

    from lab.analysis.subject import load_model
    from lab.data.probes import parse_probe
    from lab.data.size import refuse_above, row_tokens
    from lab.evaluation.sampling import sample
    from lab.evaluation.score import score
    from lab.results.environment import environment
    from lab.results.result import Result
    from lab.runs.process import pick_device
    from lab.training.checkpoint import blend, mean
    from tasks import refuse

    folder = resolve_run(run, out)
    with as_cli_errors():
        _check_sampling(samples, temperature)
        first, share = _split_interpolation(interpolate)
        others = _split_average(average, interpolate)
        trusted = trusted_files([configuration(folder)], task_file, mixer_files)
        experiment, model, checkpoint = load_model(folder, at, trusted)
        if experiment.model.sigma and (first is not None or others):
            reason = "with model.sigma = true the weights have estimates that do not average"
            raise UsageError(f"--{'average' if others else 'interpolate'} does not apply: {reason}")
        if first is not None:
            _, other, first = load_model(folder, first, trusted)
            blend(model, other, share)
        loaded = [load_model(folder, name, trusted)[1:] for name in others]
        names = [checkpoint, *(name for _, name in loaded)]
        if len(set(names)) < len(names):
            raise refuse("--average", average, f"each checkpoint once; {checkpoint} is evaluated")
        mean(model, [other for other, _ in loaded])
        experiment = _with_view(experiment, reveal, prompt_repeats)
        chosen = [parse_probe(text, experiment) for text in probes] or list(experiment.probes)
        for probe in chosen if samples else ():
            answer = ANSWER + 8 * row_tokens(probe.of(experiment.task), probe.length)
            refuse_above("--samples", samples, probe.n * (samples or 0) * answer)
        torch.set_num_threads(threads)
        where = pick_device(device)
        model, began = model.to(where), time.monotonic()
        scores = tuple(score(model, experiment, probe) for probe in chosen)
        heat = 1.0 if temperature is None else temperature
        drawn = [sample(model, experiment, p, samples, heat) for p in chosen if samples]
        result = Result(
            run=str(folder),
            experiment=experiment.to_json(),
            scores=scores,
            curves=[],
            seconds=time.monotonic() - began,
            environment=environment(where.type, threads),
        )
    mixed = {
        "interpolate": None if first is None else {"checkpoint": first, "share": share},
        "average": names if others else None,
    }
    if as_json:
        click.echo(json.dumps(_document(result, checkpoint, mixed, drawn)))
        return
    part = "" if first is None else f", averaged: {1 - share:g} of {first}"
    part += f", averaged with {', '.join(names[1:])}" if others else ""
    _print(result, checkpoint + part, drawn)


def _check_sampling(samples: int | None, temperature: float | None) -> None:
    if temperature is not None and not samples:
        raise UsageError("--temperature does not apply: without --samples answers are greedy")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise UsageError(f"--temperature = {temperature} cannot be used: a number above 0")


def _split_interpolation(text: str | None) -> tuple[str | None, float]:
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


def _split_average(text: str | None, interpolate: str | None) -> list[str]:
    """The checkpoints of --average."""
    if text is not None and interpolate is not None:
        raise UsageError("--average and --interpolate exclude each other")
    return [] if text is None else [name.strip() for name in text.split(",")]


def _with_view(
    experiment: Experiment, reveal: float | None, prompt_repeats: int | None
) -> Experiment:
    """The experiment with another view of the rows; model and seed are those of the run."""
    if reveal is not None:
        train = dataclasses.replace(experiment.train, reveal=(reveal,))
        experiment = dataclasses.replace(experiment, train=train)
    if prompt_repeats:
        experiment = dataclasses.replace(experiment, prompt_repeats=prompt_repeats)
    return experiment


def _document(
    result: Result, checkpoint: str, mixed: dict[str, Any], drawn: list[Sampled]
) -> dict[str, Any]:
    document = result.to_json()
    return {
        **{name: document[name] for name in ("run", "experiment")},
        "checkpoint": checkpoint,
        **mixed,
        "scores": document["scores"],
        "samples": [dataclasses.asdict(one) for one in drawn],
        **{name: document[name] for name in ("seconds", "environment")},
    }


def _print(result: Result, checkpoint: str, drawn: list[Sampled]) -> None:
    from rich.console import Console

    from lab.cli import tables

    console = Console()
    console.print(tables.scores([result]))
    if drawn:
        one = drawn[0]
        message = f"{one.samples} samples of each prompt at temperature {one.temperature:g}"
        say(f"\n{message}:")
        console.print(tables.samples(drawn))
    say(f"{result.run} at {checkpoint}  ({result.seconds:.0f} s)")
