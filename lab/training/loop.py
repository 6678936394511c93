"""The training loop: fresh or fixed rows go in, a Step comes out after every update.

Step s trains on rows s x batch to (s + 1) x batch, of a length that depends on seed and s alone. So
training can start at any step, and trains on what an unbroken run would have. Logits are computed
only where a token is supervised: where the next token is THOUGHT or ANSWER.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from lab.config import Experiment, TrainConfig
from lab.data.batches import batch_for_step
from lab.data.rows import prefetch, stream
from lab.mixers._router import new_step
from lab.nn.inputs import Inputs, shift_positions, to_torch
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import Model
from lab.training.schedules import set_rate


class Gradients(NamedTuple):
    """What an objective says of the gradients that it has added. loss: its mean over the batch,
    nats. right: rows with every supervised token right. more: what else it tells."""

    loss: float
    right: int
    more: Mapping[str, float] = {}


# Adds the gradients of an update on some rows; its number, from 0, is for its streams.
Objective = Callable[[Experiment, Model, Inputs, int, torch.device], Gradients]


@dataclass(frozen=True)
class Step:
    """One step. number: from 1. loss: mean per supervised token, of distillation per query, nats.
    exact: fraction of rows with every supervised token right, before the update. tokens: read, with
    padding. lr: the rate. more: what else the objective tells of the step."""

    number: int
    loss: float
    exact: float
    tokens: int
    lr: float
    more: Mapping[str, float] = field(default_factory=dict)


def train(
    experiment: Experiment,
    model: Model,
    optimizer: torch.optim.Optimizer,
    start: int,
    device: torch.device,
    budget: int | None = None,
    objective: Objective | None = None,
) -> Generator[Step, None, None]:
    """Steps start + 1 to the last, each yielded after its update of model and optimizer, which must
    be those of step `start`. budget: the steps of a branch of wsd; None for the run itself.
    objective: None for the likelihood of the rows, `supervised`."""
    config = experiment.train
    stop = budget or config.steps
    for number, batch in enumerate(prefetch(batch_for_step(experiment), start, stop), start):
        inputs = to_torch(experiment.task, experiment.model, batch, device)
        if config.offset:
            inputs = inputs._replace(ids=shift_positions(inputs, config, number))
        yield step(experiment, model, optimizer, inputs, number, budget, objective)


def step(
    experiment: Experiment,
    model: Model,
    optimizer: torch.optim.Optimizer,
    inputs: Inputs,
    number: int,
    budget: int | None = None,
    objective: Objective | None = None,
) -> Step:
    """One update on these rows: number `number`, from 0; budget and objective as in `train`."""
    config, device, rows = experiment.train, inputs.tokens.device, len(inputs.tokens)
    model.train()
    lr = set_rate(optimizer, config, number, budget)
    optimizer.zero_grad(set_to_none=True)
    told = (objective or supervised)(experiment, model, inputs, number, device)
    update(model, optimizer, config, number, device)
    exact = told.right / rows
    return Step(number + 1, told.loss, exact, inputs.tokens.numel(), lr, told.more)


def supervised(
    experiment: Experiment, model: Model, inputs: Inputs, number: int, device: torch.device
) -> Gradients:
    """The likelihood of the rows: add the gradients of the mean loss over supervised tokens to the
    parameters."""
    config = experiment.train
    new_step(model)
    total, right = 0.0, 0
    with dropout_stream(experiment, number, device):
        parts = min(config.grad_accum, len(inputs.tokens))
        for part in inputs.parts(parts, cut=config.micro_batches == "one_part"):
            with precision(config.precision, device):
                loss, exact = teacher_forced(model, part)
            # by supervised tokens, so that the parts add up to the loss of the whole batch
            share = float(part.supervised.sum() / inputs.supervised.sum())
            torch.autograd.backward(loss * share)
            total, right = total + share * loss.item(), right + int(exact.sum())
    return Gradients(total, right)


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    number: int,
    device: torch.device,
) -> None:
    """Clip the gradients, add noise if configured, and update the weights."""
    if config.grad_clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    if config.grad_noise:
        add_noise(model, config, number, device)
    optimizer.step()


def add_noise(model: nn.Module, config: TrainConfig, step: int, device: torch.device) -> None:
    """Add normal noise of variance grad_noise / (1 + step)^0.55 to every gradient (1511.06807).

    It comes after clipping, so that its variance does not depend on the size of the gradients (our
    choice), and from a random stream of seed and step.
    """
    seed = stream(config.seed, "grad_noise", step).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device).manual_seed(int(seed))
    deviation = (config.grad_noise / (1 + step) ** 0.55) ** 0.5
    for p in model.parameters():
        if p.grad is not None:
            noise = torch.randn(p.shape, generator=generator, device=device, dtype=p.grad.dtype)
            p.grad.add_(noise, alpha=deviation)


@contextlib.contextmanager
def dropout_stream(experiment: Experiment, step: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generator from seed and step for one forward pass, and restores it after."""
    if not experiment.model.dropout:
        yield
        return
    seed = int(stream(experiment.train.seed, "dropout", step).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
