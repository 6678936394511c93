"""The only training loop: fresh or fixed rows in, one Step a time out.

Step s sees rows s x batch to (s + 1) x batch of a length drawn by s alone, so training can start
at any step and sees what an unbroken run would have seen. Logits are made only where a token is
supervised: where the next one is THOUGHT or ANSWER.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lab._mlp import balance_losses, new_step
from lab.config import Experiment, ModelConfig, TrainConfig
from lab.data import ahead, stream
from lab.model import Model
from lab.optim import learning_rate
from lab.thoughts import training_rows
from tasks import Batch, Role, Task, refuse


@dataclass(frozen=True)
class Step:
    """What one step did: its number from 1, mean loss per supervised token (nats), share of rows
    with every supervised token right before the update, tokens read, learning rate."""

    number: int
    loss: float
    exact: float
    tokens: int
    lr: float


def drawing(experiment: Experiment) -> Callable[[int], Batch]:
    """The function from a step's number to its batch."""
    config, task = experiment.train, experiment.task
    rows = {length: training_rows(task, length, config) for length in config.lengths}
    size = -(-(config.examples or 0) // len(rows))  # rows of a fixed set, per length

    @functools.lru_cache(maxsize=2 * len(rows))
    def order(length: int, epoch: int) -> np.ndarray:
        key = stream(config.seed, "order", length, epoch)
        return np.random.default_rng(key).permutation(size)

    fixed = functools.cache(lambda length: rows[length][0:size])

    def draw(step: int) -> Batch:
        lengths = open_lengths(config, step)
        rng = np.random.default_rng(stream(config.seed, "length", step))
        length = lengths[rng.integers(len(lengths))]
        start, stop = step * config.batch, (step + 1) * config.batch
        if config.examples is None:
            batch = rows[length][start:stop]
        else:
            number = np.arange(start, stop)
            chosen = [order(length, int(e))[i] for e, i in zip(*divmod(number, size), strict=True)]
            batch = fixed(length)[np.array(chosen)]
        return experiment.view(batch, step)

    return draw


def open_lengths(config: TrainConfig, step: int) -> list[int]:
    """The lengths that a step draws from, each as likely as the others, shortest first.

    With a curriculum over S steps (its share of all, rounded), step s = 0, 1, ... < S draws from
    the shortest ceil(lengths x (s + 1) / S); later steps draw from all.
    """
    lengths = sorted(config.lengths)
    span = round(config.curriculum * config.steps)
    return lengths if step >= span else lengths[: -(-len(lengths) * (step + 1) // span)]


class Inputs(NamedTuple):
    """A batch on a device. tokens int64 [n,T]; supervised bool [n,T-1]: is the token after this one
    to be predicted?; ids int64 [n,T]: the task's places, for models that read them."""

    tokens: torch.Tensor
    supervised: torch.Tensor
    ids: torch.Tensor | None

    def parts(self, number: int) -> Iterator[Inputs]:
        """Cut the rows into equal parts."""
        cut = [None if x is None else x.chunk(number) for x in self]
        for i in range(number):
            yield Inputs(*(None if x is None else x[i] for x in cut))  # type: ignore[arg-type]


def to_torch(task: Task, config: ModelConfig, batch: Batch, device: torch.device) -> Inputs:
    """A batch as tensors."""
    supervised = (batch.roles == Role.THOUGHT) | (batch.roles == Role.ANSWER)
    ids = places(task, config, batch)
    return Inputs(
        torch.from_numpy(np.ascontiguousarray(batch.tokens)).to(device),
        torch.from_numpy(supervised[:, 1:].copy()).to(device),
        None if ids is None else torch.from_numpy(ids).to(device),
    )


def places(task: Task, config: ModelConfig, batch: Batch) -> np.ndarray | None:
    """The task's position ids [n,T], for the two schemes that read them."""
    if config.position not in ("coupled", "predicted"):
        return None
    ids = task.positions(batch)
    if ids is None:
        allowed = f"the task {task.name} has no coupled places"
        raise refuse("model.position", config.position, allowed)
    return ids


def moved(inputs: Inputs, config: TrainConfig, step: int) -> torch.Tensor:
    """The places of a batch, int64 [n,T], those of each row further on by a random number up to
    config.offset: so that training meets all of a table, as PoSE does (the form is ours)."""
    n, T = inputs.tokens.shape
    rng = np.random.default_rng(stream(config.seed, "offset", step))
    by = torch.from_numpy(rng.integers(0, config.offset, (n, 1), endpoint=True))
    ids = torch.arange(T).expand(n, T) if inputs.ids is None else inputs.ids.cpu()
    return (ids + by).to(inputs.tokens.device)


def teacher_forced(model: Model, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss (scalar, mean over supervised tokens) and, for each row, whether every supervised token
    has the top logit. With predicted places the loss includes theirs, with weight 1 (our choice);
    in training, mixtures of experts add their balance."""
    tokens, supervised, ids = inputs
    hidden = model.hidden(tokens[:, :-1], supervised, None if ids is None else ids[:, :-1])
    logits = model.head(hidden)
    targets = tokens[:, 1:][supervised]
    loss = F.cross_entropy(logits.float(), targets)
    if model.next_place is not None and ids is not None:
        loss = loss + F.cross_entropy(model.next_place(hidden).float(), ids[:, 1:][supervised])
    if model.training and model.config.experts:
        loss = loss + model.config.balance * torch.stack(balance_losses(model)).sum()
    wrong = torch.zeros_like(supervised)
    wrong[supervised] = logits.argmax(-1) != targets
    return loss, ~wrong.any(1)


def train(
    experiment: Experiment,
    model: Model,
    optimizer: torch.optim.Optimizer,
    start: int,
    device: torch.device,
    budget: int | None = None,
) -> Generator[Step, None, None]:
    """Steps start + 1 to the last, each yielded after its update. budget: that of a branch, which
    ends after so many steps; none for the run itself."""
    config = experiment.train
    stop = budget or config.steps
    for number, batch in enumerate(ahead(drawing(experiment), start, stop), start):
        model.train()
        lr = learning_rate(config, number, budget)
        for group in optimizer.param_groups:
            group["lr"] = lr
        inputs = to_torch(experiment.task, experiment.model, batch, device)
        if config.offset:
            inputs = inputs._replace(ids=moved(inputs, config, number))
        optimizer.zero_grad(set_to_none=True)
        new_step(model)
        total, right = 0.0, 0.0
        with dropout_stream(experiment, number, device):
            for part in inputs.parts(config.accumulate):
                with precision(config.precision, device):
                    loss, exact = teacher_forced(model, part)
                # by supervised tokens, so that the parts add up to the loss of the whole batch
                share = float(part.supervised.sum() / inputs.supervised.sum())
                (loss * share).backward()
                total, right = total + share * loss.item(), right + exact.sum().item()
        if config.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if config.grad_noise:
            add_noise(model, config, number, device)
        optimizer.step()
        yield Step(number + 1, total, right / len(batch), inputs.tokens.numel(), lr)


def add_noise(model: nn.Module, config: TrainConfig, step: int, device: torch.device) -> None:
    """Add normal noise of variance grad_noise / (1 + step)^0.55 to every gradient (1511.06807).

    It comes after clipping, so that its variance is as said however large gradients are (our
    choice), from a stream of the seed and the step.
    """
    seed = stream(config.seed, "grad_noise", step).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device).manual_seed(int(seed))
    deviation = (config.grad_noise / (1 + step) ** 0.55) ** 0.5
    for p in model.parameters():
        if p.grad is not None:
            noise = torch.randn(p.shape, generator=generator, device=device, dtype=p.grad.dtype)
            p.grad.add_(noise, alpha=deviation)


def precision(name: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast, or nothing for fp32."""
    if name == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def dropout_stream(experiment: Experiment, step: int, device: torch.device) -> Iterator[None]:
    """torch's generator set by seed and step for one forward, and put back afterwards."""
    if not experiment.model.dropout:
        yield
        return
    seed = int(stream(experiment.train.seed, "dropout", step).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
