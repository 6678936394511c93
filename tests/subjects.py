"""Untrained and hand-made models on rows of a task, for the tests of lab.analysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lab.analysis import subject
from lab.analysis.sites import Site
from lab.analysis.subject import first_rows
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.nn.model import make_model
from tasks import Task
from tasks.copy import Copy


def made(task: Task, length: int, config: ModelConfig, n: int = 16, cot: bool = True) -> Any:
    """An untrained model on rows of a task, weights large enough to attend to something."""
    probe = Probe("all", length, n=n)
    e = Experiment("any", task, cot, config, TrainConfig(lengths=(length,)), (probe,))
    model = make_model(e)
    for block in model.blocks:
        for weight in block.mixer.parameters():
            torch.nn.init.normal_(weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return subject.Subject("nowhere", "step-0", e, model, probe, first_rows(e, probe, n))


def same(site: Site, x: torch.Tensor) -> torch.Tensor:
    return x


@torch.no_grad()
def by_hand(
    model: Any,
    tokens: torch.Tensor,
    edit: Callable[[Site, torch.Tensor], torch.Tensor] = same,
) -> torch.Tensor:
    """Logits [n,T,V] of a model of attention, block by block, every activation passed through
    `edit`; heads by their definition in float64."""
    x = model.embed(tokens)
    if model.place is not None:
        x = x + model.place.weight[: tokens.shape[1]]
    for layer, block in enumerate(model.blocks):
        heads = block.mixer.attention_weights(block.norm1(x))[3].to(x.dtype)
        parts = [edit(Site("head", layer, h), heads[:, :, h]) for h in range(heads.shape[2])]
        x = x + block.mixer.out(torch.cat(parts, -1))
        if block.mlp is not None:
            read = block.norm2(x)
            neurons = F.gelu(block.mlp.up(read), approximate="tanh")
            if block.mlp.gate is not None:
                neurons = F.silu(block.mlp.gate(read)) * block.mlp.up(read)
            neurons = edit(Site("neurons", layer), neurons)
            x = x + edit(Site("mlp", layer), block.mlp.out(neurons))
        x = edit(Site("block", layer), x)
    return model.head(model.norm(x))


LENGTH = 4


def copier(symbols: int = 4, mlp_ratio: float = 0) -> subject.Subject:
    """A model that copies: head 0 looks `LENGTH` tokens back, head 1 at all alike. An MLP adds 0.

    Words and places are one-hot; head 0 has the place i - LENGTH as its query and j as its key.
    """
    task = Copy(symbols=symbols)
    V, T = len(task.words), 2 * LENGTH + 3
    d = 16
    size = {"width": 2 * d, "heads": 2, "max_positions": T, "mlp_ratio": mlp_ratio}
    config = ModelConfig(layers="attention", **size)
    s = made(task, LENGTH, config)
    model: Any = s.model
    block = model.blocks[0]
    block.norm1 = block.norm2 = model.norm = torch.nn.Identity()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.weight[:, :V] = torch.eye(V)
        model.place.weight[:, V : V + T] = torch.eye(T)
        q, k, v = block.mixer.qkv.weight.split(2 * d)
        for i in range(T):
            k[i, V + i] = 1
            if i >= LENGTH:
                q[i - LENGTH, V + i] = 1000
        v[:V, :V] = torch.eye(V)
        block.mixer.out.weight[:V, :V] = 10 * torch.eye(V)  # of head 0, above the token itself
        model.head.weight[:, :V] = torch.eye(V)
        bar, dot = V - 2, V - 1
        model.head.weight[dot] = model.head.weight[bar]  # the source of the end is the bar
        model.head.weight[bar] = 0
    return s
