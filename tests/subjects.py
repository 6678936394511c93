"""Untrained and hand-made models on rows of a task, for the tests of lab.analysis."""

from __future__ import annotations

from typing import Any

import torch

from lab.analysis import subject
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


LENGTH = 4


def copier() -> subject.Subject:
    """A model that copies: head 0 looks `LENGTH` tokens back, head 1 at all alike.

    Words and places are one-hot; head 0 has the place i - LENGTH as its query and j as its key.
    """
    task = Copy(symbols=4)
    V, T = len(task.words), 2 * LENGTH + 3
    d = 16
    config = ModelConfig(layers="attention", width=2 * d, heads=2, max_positions=T, mlp_ratio=0)
    s = made(task, LENGTH, config)
    model: Any = s.model
    block = model.blocks[0]
    block.norm1 = model.norm = torch.nn.Identity()
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
