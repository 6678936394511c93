"""Learning rate by step."""

from __future__ import annotations

import math

from lab.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, budget: int | None = None) -> float:
    """The rate of step 0, 1, ..., steps - 1: a linear warm-up, then the schedule, down to 0.

    wsd and wsd_s (warm-up, stable, decay: 2410.05192) keep the peak up to the last share `decay` of
    the steps, then go down by a line (our choice). budget: the steps at whose end a branch of wsd
    has come down. wsd_s comes down at each of `budgets` and goes on at the peak.
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
