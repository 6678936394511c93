"""Distillation of attention: linear attention learns the weights of its parent's attention.

    loss = - mean over layers, heads h and queries i of sum_{j <= i} a_hij log b_hij

a are the weights of the parent's softmax attention, b those of the child's mixer that stands in its
place (Hedgehog, 2402.04347: cross-entropy of the weights of each head). `divergence` is the loss
minus the entropy of a, the mean of KL(a || b), in nats.

Our choices. A layer of the child reads what the parent's layer reads, so layers learn apart from
each other; weights outside of these mixers have no gradient and stay as they are. Queries after the
last supervised token of a row, padding among them, do not count. A weight b below 1e-12 counts as
that. All in float64. Control: with train.targets = shuffled a row learns the attention of the row
before it in its part of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lab.config import Experiment
from lab.nn.inputs import Inputs
from lab.nn.loss import precision, teacher_forced
from lab.nn.model import Model, make_model
from lab.training.freeze import freeze
from lab.training.loop import Gradients
from tasks import refuse

LEAST = 1e-12


class Agreement(NamedTuple):
    """Of every learning layer, head and query [L,B,H,T]: cross-entropy and entropy, nats."""

    cross: Tensor
    entropy: Tensor


class Distillation:
    """The objective of a child with this parent, a model with its weights (lab.training.loop)."""

    def __init__(self, teacher: Model) -> None:
        self.teacher = teacher.eval()

    def __call__(
        self,
        experiment: Experiment,
        model: Model,
        inputs: Inputs,
        number: int,
        device: torch.device,
    ) -> Gradients:
        """Add the gradients of the mean loss. `right` is of the child as a whole."""
        config = experiment.train
        layers = learning_layers(experiment)
        total, divergence, right = 0.0, 0.0, 0
        queries = int(counted(inputs).sum())
        parts = min(config.grad_accum, len(inputs.tokens))
        for part in inputs.parts(parts, cut=config.micro_batches == "one_part"):
            with precision(config.precision, device):
                with torch.no_grad():
                    right += int(teacher_forced(model.eval(), part)[1].sum())
                model.train()
                shuffled = config.targets == "shuffled"
                found = agreement(self.teacher, model, part, layers, shuffled)
            own = counted(part)
            share = int(own.sum()) / queries
            loss = found.cross.mean((0, 2))[own].mean()
            torch.autograd.backward(loss * share)
            total += share * loss.item()
            divergence += share * (loss - found.entropy.mean((0, 2))[own].mean()).item()
        return Gradients(total, right, {"divergence": divergence})


def learning_layers(experiment: Experiment) -> list[int]:
    """Layers in which a child has another mixer than its parent."""
    assert experiment.parent is not None
    stacks = (e.model.stack() for e in (experiment.parent.experiment, experiment))
    return [i for i, (one, other) in enumerate(zip(*stacks, strict=True)) if one != other]


def check_learning(experiment: Experiment) -> None:
    """ValueError for a layer that cannot learn: its mixer, a user's own, has no weights of
    attention, or train.freeze leaves none of what they depend on to train."""
    model, config = make_model(experiment), experiment.train
    freeze(model, config.freeze)
    for layer in learning_layers(experiment):
        if not hasattr(model.blocks[layer].mixer, "attention_weights"):
            allowed = f"{experiment.model.stack()[layer]} has no method attention_weights"
            raise refuse("model.layers", experiment.model.layers, allowed)
        if not _weights(model, layer, torch.zeros(1, 1, experiment.model.width)).requires_grad:
            allowed = f"it leaves nothing that the attention of layer {layer} could learn with"
            raise refuse("train.freeze", ",".join(config.freeze), allowed)


def counted(inputs: Inputs) -> Tensor:
    """Whether a query counts, bool [B,T]: it is not after the last supervised token."""
    return inputs.supervised.flip(1).cumsum(1).flip(1) > 0


def agreement(
    teacher: Model, model: Model, inputs: Inputs, layers: Sequence[int], shuffled: bool = False
) -> Agreement:
    """How far the weights of some layers of the child are from its parent's on the same rows."""
    reads = _reads(teacher, inputs, layers)
    cross, entropy = [], []
    for layer, x in zip(layers, reads, strict=True):
        with torch.no_grad():
            target = _weights(teacher, layer, x)
        if shuffled:
            target = target.roll(1, 0)
        learned = _weights(model, layer, x).clamp(min=LEAST)
        cross.append(-(target * learned.log()).sum(-1))
        entropy.append(torch.special.entr(target).sum(-1))
    return Agreement(torch.stack(cross), torch.stack(entropy))


@torch.no_grad()
def _reads(teacher: Model, inputs: Inputs, layers: Sequence[int]) -> list[Tensor]:
    """What the mixers of some layers of the parent read [B,T,D]."""
    reads: list[Tensor] = []
    mixers: list[Any] = [teacher.blocks[i].mixer for i in layers]
    hooks = [
        mixer.register_forward_pre_hook(lambda _, args: reads.append(args[0])) for mixer in mixers
    ]
    try:
        ids = None if inputs.ids is None else inputs.ids[:, :-1]
        teacher.hidden(inputs.tokens[:, :-1], ids=ids)
    finally:
        for hook in hooks:
            hook.remove()
    return reads


def _weights(model: Model, layer: int, x: Tensor) -> Tensor:
    """Weights of attention [B,H,T,T] of a layer that reads x."""
    mixer: Any = model.blocks[layer].mixer
    weights: Tensor = mixer.attention_weights(x)[0]
    return weights
