"""The learning rate of every step."""

from __future__ import annotations

import math

import torch

from lab.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, budget: int | None = None) -> float:
    """The learning rate of step 0, 1, ..., steps - 1: a linear warm-up, then the schedule.

    wsd and wsd_s (warm-up, stable, decay: 2410.05192) stay at the peak until the last fraction
    `decay` of the steps, then decay linearly to 0 (our choice). budget: the steps of a branch of
    wsd, at whose end the rate is 0. wsd_s decays to 0 at each of `budgets` and returns to the peak.
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule in ("wsd", "wsd_s"):
        end = budget or config.steps
        if config.schedule == "wsd_s":
            end = min(n for n in (*config.budgets, config.steps) if n > step)
        start = config.decay_start(end)
        return config.lr * min(1.0, (end - step) / (end - start))
    left = (config.steps - step) / max(1, config.steps - config.warmup)
    if config.schedule == "linear":
        return config.lr * left
    if config.schedule == "cosine":
        return config.lr * (1 - math.cos(math.pi * left)) / 2
    return config.lr


def set_rate(
    optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, budget: int | None = None
) -> float:
    """Give every group the learning rate of a step, which is returned."""
    lr = learning_rate(config, step, budget)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr
