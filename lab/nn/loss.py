"""The training loss and the exact match of a row, both teacher-forced: earlier tokens are given."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F

from lab.mixers._router import balance_losses
from lab.nn.inputs import Inputs
from lab.nn.model import Model


def teacher_forced(model: Model, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, exact): the mean cross-entropy over supervised tokens (scalar, nats), and for each row
    whether every supervised token has the highest logit (bool [n]).

    With position = predicted the loss adds the cross-entropy of the position ids, with weight 1
    (our choice); in training, routers of experts and memories add their load-balancing loss.
    """
    tokens, supervised, ids = inputs
    hidden = model.hidden(tokens[:, :-1], supervised, None if ids is None else ids[:, :-1])
    logits = model.head(hidden)
    targets = tokens[:, 1:][supervised]
    loss = F.cross_entropy(logits.float(), targets)
    if model.next_place is not None and ids is not None:
        loss = loss + F.cross_entropy(model.next_place(hidden).float(), ids[:, 1:][supervised])
    if model.training and (balance := balance_losses(model)):
        loss = loss + model.config.aux_loss_weight * torch.stack(balance).sum()
    wrong = torch.zeros_like(supervised)
    wrong[supervised] = logits.argmax(-1) != targets
    return loss, ~wrong.any(1)


def precision(name: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast, or nothing for fp32."""
    if name == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
