"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math

import torch
from torch import nn

from lab.config import TrainConfig


def build(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (b1 0.9, b2 0.999, eps 1e-8); weight decay acts on matrices, not on norms and biases,
    nor on the decay rates of a state space (A_log), as its authors have it."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim >= 2 and not name.endswith("A_log")]
    others = [p for name, p in named if p.ndim < 2 or name.endswith("A_log")]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step 0, 1, ..., steps - 1: a linear warm-up, then the schedule, down to 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    left = (config.steps - step) / max(1, config.steps - config.warmup)
    if config.schedule == "linear":
        return config.lr * left
    if config.schedule == "cosine":
        return config.lr * (1 - math.cos(math.pi * left)) / 2
    return config.lr
