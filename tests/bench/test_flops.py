"""Model FLOPs against torch's own count of the operations that a step really makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kernels.attention import definition
from lab.bench.flops import flops
from lab.config import Experiment, ModelConfig
from lab.data.batches import batch_for_step
from lab.experiments._make import make
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import make_model
from tasks import Role


def counted(experiment: Experiment) -> float:
    """FLOPs of the products with a matrix of one step, the last layer's queries those of all tokens
    (under a mode of torch nothing is native): no attention, no states."""
    batch = batch_for_step(experiment)(0)
    model = make_model(experiment)
    inputs = to_torch(experiment.task, experiment.model, batch, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        loss, _ = teacher_forced(model, inputs)
        loss.backward()
    by_operator = counter.get_flop_counts()["Global"]
    return sum(n for name, n in by_operator.items() if str(name) in ("aten.mm", "aten.addmm"))


@pytest.mark.parametrize("name", ["parity", "addition", "recall"])
def test_what_is_needed_is_what_the_products_of_a_step_cost(name: str) -> None:
    base = make(name)
    small = replace(base, train=replace(base.train, batch=4))
    batch = batch_for_step(small)(0)
    cost = flops(small, make_model(small), batch)
    n, T = batch.tokens.shape[0], batch.tokens.shape[1] - 1
    config, pairs = small.model, pairs_of(small.model, T)
    layers = config.stack().count("attention")
    asks = ((batch.roles == Role.THOUGHT) | (batch.roles == Role.ANSWER))[:, 1:]
    mlp = 6 * 2 * 4 * config.width**2 * (~asks).sum()
    products = cost.model - 12 * n * layers * pairs.sum() - mlp
    assert products == pytest.approx(counted(small), rel=0.01)  # filters count, 0.8%
    assert cost.tokens == n * T
    idle = sum(pairs[t] for row in asks for t in range(T) if not row[t])
    queries = 6 * 2 * config.width**2 * (~asks).sum() + 12 * idle
    assert cost.model - cost.needed == pytest.approx(mlp + queries)


def pairs_of(config: ModelConfig, T: int) -> np.ndarray:
    """Weights above 0 of every head times its width, for each query of a row: where all logits are
    0, the definition spreads its weights over the keys that a query sees."""
    from lab.mixers._position import windows

    H = config.heads
    zeros, unit = torch.zeros(1, T, H, 1), torch.eye(T)[None, :, None].expand(1, T, H, T)
    window = torch.tensor(windows(H, config.banded)) if config.position == "hard_alibi" else None
    weights: Any = definition(zeros, zeros, unit, window=window)
    keys: np.ndarray = (weights > 0).sum((0, 2, 3)).numpy()
    return keys * (config.width // H)


def test_of_experts_the_active_ones_count() -> None:
    base = make("parity", batch=4)
    plain, mixed = base, replace(base, model=replace(base.model, experts=8, experts_per_token=1))
    batch = batch_for_step(base)(0)
    one, many = (flops(e, make_model(e), batch) for e in (plain, mixed))
    router = 6 * 64 * 8 * one.tokens
    assert many.model == pytest.approx(one.model + router)
    assert many.needed == many.model, "experts are balanced over all tokens"
