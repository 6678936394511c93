"""A trained model and rows of a probe, read from a run folder, and what every layer computes.

A run folder is read as data: JSON and safetensors, never code. All in float32 (weights of attention
in float64), whatever the precision of training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from lab.config import NOTHING, Experiment, Probe, TrainConfig, Trusted
from lab.config.experiment import from_json
from lab.data.position_ids import position_ids
from lab.data.rows import join
from lab.data.size import WEIGHT, check_size, parameters
from lab.evaluation.score import questions
from lab.nn.model import Model, make_model
from lab.results.find import is_run
from lab.results.folder import read_configuration
from lab.training import checkpoint
from tasks import Batch, Role, Task, refuse

PARENT = "parent"  # as a checkpoint: the weights that a run started from


@dataclass(frozen=True)
class Subject:
    """A trained model at a checkpoint such as step-500, and rows of a probe to analyse it on."""

    run: str
    at: str
    experiment: Experiment
    model: Model
    probe: Probe
    batch: Batch

    @property
    def task(self) -> Task:
        """The task that the rows are drawn from."""
        return self.probe.of(self.experiment.task)


class Layer(NamedTuple):
    """What one layer computed of n rows. number: from the bottom. hidden [n,T,D]: its output.
    The rest is None unless it is attention: weights [n,H,T,T]; values that the heads read, and
    their output before and after a gate at G1 [n,T,H,d]; scores of the gate [n,T,...]."""

    number: int
    hidden: Tensor
    weights: Tensor | None
    values: Tensor | None
    before: Tensor | None
    after: Tensor | None
    scores: Tensor | None


def load_model(
    run: str | Path, at: str | None = None, trusted: Trusted = NOTHING
) -> tuple[Experiment, Model, str]:
    """The experiment of a run folder, its model at a checkpoint (step-500, branch-500 or ema-500;
    parent: the checkpoint of its parent's run, beside it, that it started from; None: what the
    run's own scores are of, at its last step), and the name of that checkpoint.

    Never executes what the folder contains; trusted: the files of code that the user
    named. ValueError in words when there is no such run, checkpoint or task.
    """
    run = Path(run)
    if not is_run(run):
        raise refuse("RUN", str(run), "it is no run folder (it has no config.json)")
    experiment = from_json(read_configuration(run), trusted)
    check_size(experiment, training=False)
    train, before = experiment.train, ""
    if at == PARENT:
        run, at, train = _parent(run, experiment)
        before = f"{run.name}@"
    if at is None:
        there = checkpoint.list_checkpoints(run / "checkpoint")
        if not there:
            raise refuse("RUN", str(run), "it has no checkpoint")
        at = there[-1].name.replace("step", train.scored())
    path = checkpoint.find_checkpoint(run / "checkpoint", at)
    try:
        _check_weights(path, experiment)
        model = make_model(experiment)
        checkpoint.load_weights(path, model, average=at.startswith("ema-"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise refuse("checkpoint", at, f"{path} is damaged: {error}") from None
    name = f"{at.partition('-')[0]}-{int(path.name.partition('-')[2])}"
    return experiment, model.eval(), before + name


def _parent(run: Path, experiment: Experiment) -> tuple[Path, str | None, TrainConfig]:
    """The run folder of the parent, its checkpoint, and how it was trained."""
    if experiment.parent is None:
        raise refuse("checkpoint", PARENT, f"{run} started from no other run")
    parent = experiment.parent.experiment
    folder = run.resolve().parent / parent.slug
    if not is_run(folder):
        allowed = f"{folder} is not there, which the command that made {run.name} makes again"
        raise refuse("checkpoint", PARENT, allowed)
    return folder, experiment.parent.at, parent.train


def _check_weights(path: Path, experiment: Experiment) -> None:
    """ValueError when the file of weights is too small for the model, which then is not built."""
    size = (path / "weights.safetensors").stat().st_size
    needed = WEIGHT * parameters(experiment.model, len(experiment.task.words))
    if 4 * size < needed:
        text = f"its weights are {size:,} bytes, and the model of config.json needs about"
        raise ValueError(f"{text} {needed:,.0f}")


def open_run(
    run: str | Path,
    label: str | None = None,
    length: int | None = None,
    rows: int = 64,
    at: str | None = None,
    trusted: Trusted = NOTHING,
) -> Subject:
    """The model of a run folder and the first rows of one of its probes: the one of this label and
    length, the first that fits where one is None. Another length than any probe's is allowed."""
    experiment, model, at = load_model(run, at, trusted)
    fits = [p for p in experiment.probes if label in (None, p.label)]
    if not fits:
        labels = dict.fromkeys(p.label for p in experiment.probes)
        raise refuse("probe", label, f"this run has {', '.join(map(repr, labels))}")
    probe = next((p for p in fits if length in (None, p.length)), None)
    probe = probe or dataclasses.replace(fits[0], length=length or fits[0].length)
    return Subject(str(run), at, experiment, model, probe, first_rows(experiment, probe, rows))


def first_rows(experiment: Experiment, probe: Probe, rows: int) -> Batch:
    """The first `rows` rows that lab.evaluation scores on a probe, as the model reads them."""
    return join(list(questions(experiment, dataclasses.replace(probe, n=rows))))


def dependency_mask(subject: Subject, columns: tuple[int, ...] = ()) -> np.ndarray | None:
    """Tokens on which the next one depends: bool [n,T,T], true at [row, i, j] where the token after
    i is supervised and depends on the token at j. From the task, or the given columns for every
    supervised token; None where there are neither."""
    batch = subject.batch
    n, T = batch.tokens.shape
    once = subject.experiment.prompt_repeats == 1
    mask = subject.task.dependencies(batch, subject.probe.length) if once else None
    if columns:
        outside = [c for c in columns if not 0 <= c < T]
        if outside:
            raise refuse("dependencies", outside[0], f"a column from 0 to {T - 1}")
        mask = np.zeros((n, T, T), np.bool_)
        mask[:, :, list(columns)] = True
        mask &= np.tri(T, dtype=np.bool_)
    if mask is None:
        return None
    supervised = np.isin(batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    mask[:, :-1] &= supervised[:, :, None]
    mask[:, -1] = False
    return mask


@torch.inference_mode()
def layers(subject: Subject, rows: slice = slice(None)) -> list[Layer]:
    """What every layer computes of some of the rows, from bottom to top."""
    model, batch = subject.model, subject.batch
    tokens = torch.from_numpy(np.ascontiguousarray(batch.tokens[rows]))
    given = position_ids(subject.task, model.config, batch)
    ids = None if given is None else torch.from_numpy(np.ascontiguousarray(given[rows]))
    reads: list[Tensor] = []
    passes: list[Tensor] = []
    hooks = []
    for block in model.blocks:
        mixer: Any = block.mixer
        hooks.append(mixer.register_forward_pre_hook(lambda _, args: reads.append(args[0])))
        hooks.append(block.register_forward_hook(lambda _, args, out: passes.append(out)))
    try:
        model.eval()
        device = next(model.parameters()).device
        model.hidden(tokens.to(device), ids=None if ids is None else ids.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    computed = []
    for number, block in enumerate(model.blocks):
        attention: Any = block.mixer
        if not hasattr(attention, "attention_weights"):
            computed.append(Layer(number, passes[number], None, None, None, None, None))
            continue
        scores = None if attention.gate is None else attention.gate.scores(reads[number])
        weights, values, before, after = attention.attention_weights(reads[number])
        computed.append(Layer(number, passes[number], weights, values, before, after, scores))
    return computed
