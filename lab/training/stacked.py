"""Several seeds of an experiment trained as one model: every weight is [n,...], of n models.

torch.vmap runs the forward pass of one model over all of them, so a step asks for as many kernels
as that of a single run. Every model has the first weights, rows, rates and losses of its own run,
up to the order of sums: operators run by batches of models, and on a CPU as their references. The
gradient is clipped by the norm of each model, and optimizers update every number, or (muon) every
matrix, by itself.

All steps have the same shapes, so that one CUDA graph replays `Stack.gradients`: rows are padded to
one width, on their right, where no causal model sees it, and the supervised tokens of a step to one
number, with weight 0 in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state

from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.nn.inputs import Inputs, to_torch
from lab.nn.loss import precision
from lab.nn.model import make_model
from lab.training.freeze import freeze
from lab.training.optim import build
from lab.training.schedules import set_rate

CLIP_EPS = 1e-6  # of torch.nn.utils.clip_grad_norm_


class StackedInputs(NamedTuple):
    """A batch of every model. tokens int64 [n,B,T]; of the N supervised tokens, rows int64 [n,N]:
    the place that predicts it, b T + t; targets int64 [n,N]: the token; weight [n,N]: its share in
    the mean, 0 for padding."""

    tokens: Tensor
    rows: Tensor
    targets: Tensor
    weight: Tensor


def unstackable(experiment: Experiment) -> str | None:
    """Why the seeds of an experiment cannot be stacked, in words; None where they can."""
    model, train = experiment.model, experiment.train
    own = "has a random stream of each seed, which a stack cannot draw from"
    checked = "position ids are compared with the table by value"
    reasons = (
        (train.objective != "next_token", f"steps of {train.objective} cannot be stacked"),
        (train.optimizer in ("soap", "adalayer"), f"{train.optimizer} updates whole tensors"),
        (train.grad_accum > 1, "train.grad_accum splits a batch that a stack takes whole"),
        (train.grad_noise > 0, f"train.grad_noise {own}"),
        (model.dropout > 0, f"model.dropout {own}"),
        (train.offset > 0 or model.position in ("coupled", "predicted"), checked),
        (model.experts > 0 or "memories" in model.stack(), "routers balance one model's tokens"),
    )
    return next((why for met, why in reasons if met), None)


class Stack:
    """n models of an experiment, of train.seed and the n - 1 seeds after it, and their optimizer.

    The experiment must not be `unstackable`.
    """

    def __init__(self, experiment: Experiment, n: int, device: torch.device) -> None:
        train = experiment.train
        seeds = range(train.seed, train.seed + n)
        self._runs = [replace(experiment, train=replace(train, seed=seed)) for seed in seeds]
        self._draws = [batch_for_step(run) for run in self._runs]
        self._train, self._device = train, device
        models = [make_model(run).to(device).train() for run in self._runs]
        self._model = models[0]
        self.optimizer = build(self._model, train)
        for model in models:
            freeze(model, train.freeze)
        self.parameters, self._buffers = stack_module_state(models)
        own = {p: self.parameters[name] for name, p in self._model.named_parameters()}
        for group in self.optimizer.param_groups:  # of matrices, vectors and so on, by one model's
            group["params"] = [own[p] for p in group["params"]]

    def draw(self, numbers: Sequence[int]) -> list[StackedInputs]:
        """The batches of these steps, counted from 0, padded to the same shapes."""
        task, config, cpu = self._runs[0].task, self._runs[0].model, torch.device("cpu")
        steps = [[to_torch(task, config, draw(i), cpu) for draw in self._draws] for i in numbers]
        every = [one for step in steps for one in step]
        width = max(one.tokens.shape[1] for one in every)
        most = max(int(one.supervised.sum()) for one in every)
        padded = [[_padded(one, width, most) for one in step] for step in steps]
        return [
            StackedInputs(*(torch.stack(x).to(self._device) for x in zip(*step, strict=True)))
            for step in padded
        ]

    def gradients(self, inputs: StackedInputs) -> Tensor:
        """The loss of each model [n]; every weight gets the clipped gradient of its own model."""
        with precision(self._train.precision, self._device):
            losses = torch.vmap(self._loss)(self.parameters, self._buffers, *inputs)
        learned = [p for p in self.parameters.values() if p.requires_grad]
        grads = torch.autograd.grad(losses.sum(), learned, allow_unused=True)
        for p, g in zip(learned, clipped(grads, self._train.grad_clip), strict=True):
            # A fused optimizer reads gradients as they lie in memory, which must be as weights do.
            p.grad = None if g is None else g.contiguous()
        return losses.detach()

    def update(self, number: int) -> None:
        """Update the weights by their gradients, at the rate of step `number`, from 0."""
        set_rate(self.optimizer, self._train, number)
        self.optimizer.step()

    def _loss(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        tokens: Tensor,
        rows: Tensor,
        targets: Tensor,
        weight: Tensor,
    ) -> Tensor:
        """The mean loss of one model."""
        logits = functional_call(self._model, (parameters, buffers), (tokens, rows))
        return (F.cross_entropy(logits.float(), targets, reduction="none") * weight).sum()


def _padded(one: Inputs, width: int, most: int) -> StackedInputs:
    """The batch of one model, with rows of `width` tokens and `most` supervised ones."""
    more = width - one.tokens.shape[1]
    tokens, supervised = F.pad(one.tokens, (0, more)), F.pad(one.supervised, (0, more))
    rows = supervised.flatten().nonzero()[:, 0]
    targets = tokens[:, 1:].flatten()[rows]
    weight = torch.full(rows.shape, 1 / len(rows))
    return StackedInputs(
        tokens[:, :-1], *(F.pad(x, (0, most - len(rows))) for x in (rows, targets, weight))
    )


def clipped(grads: Sequence[Tensor | None], most: float) -> list[Tensor | None]:
    """The gradients [n,...] of n models, each scaled down to the norm `most` over all of its own,
    as torch.nn.utils.clip_grad_norm_ does for one model; 0 for no clipping."""
    if not most:
        return list(grads)
    norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in grads if g is not None])
    scale = (most / (norms.norm(dim=0) + CLIP_EPS)).clamp(max=1)
    return [None if g is None else g * scale.view(-1, *[1] * (g.ndim - 1)) for g in grads]
