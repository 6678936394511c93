"""Optimizers that torch does not have, and several optimizers as one.

With gradient g, parameter p, its rate lr and weight decay w (decoupled, as in AdamW), every step t
from 1 does p <- (1 - lr w) p - lr u. Averages start at 0.

    signum    m <- b1 m + (1 - b1) g;  u = sign(m)                            (2407.07972)
    lion      u = sign(b1 m + (1 - b1) g);  then m <- b2 m + (1 - b2) g       (2302.06675)
    adalayer  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) mean(g^2), one number for the tensor;
              u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + 1e-8)              (2407.07972)

A layer of adalayer is a tensor of the model: queries, keys and values share a matrix here, and so
one number (our choice).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

EPS = 1e-8


class _Decoupled(torch.optim.Optimizer, ABC):
    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, ...]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    u = self.direction(p.grad, self.state[p], group["betas"])
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(u, alpha=group["lr"])

    @abstractmethod
    def direction(self, g: Tensor, state: dict[str, Any], betas: tuple[float, ...]) -> Tensor:
        """u for one parameter, whose averages in `state` are updated."""


def _average(state: dict[str, Any], name: str, x: Tensor, beta: float) -> Tensor:
    """The average after beta old + (1 - beta) x, which starts at 0; stored in state[name]."""
    if name not in state:
        state[name] = torch.zeros_like(x)
    average: Tensor = state[name]
    average.lerp_(x, 1 - beta)
    return average


class Signum(_Decoupled):
    """The sign of momentum."""

    def direction(self, g: Tensor, state: dict[str, Any], betas: tuple[float, ...]) -> Tensor:
        return _average(state, "m", g, betas[0]).sign()


class Lion(_Decoupled):
    """The sign of an average with a shorter memory than the stored one."""

    def direction(self, g: Tensor, state: dict[str, Any], betas: tuple[float, ...]) -> Tensor:
        short, long = betas
        m = state.get("m")
        u = g.sign() if m is None else m.lerp(g, 1 - short).sign_()
        _average(state, "m", g, long)
        return u


class Adalayer(_Decoupled):
    """Adam with one second moment for a whole tensor."""

    def direction(self, g: Tensor, state: dict[str, Any], betas: tuple[float, ...]) -> Tensor:
        first, second = betas
        t = state["step"] = state.get("step", 0) + 1
        m = _average(state, "m", g, first)
        v = _average(state, "v", g.square().mean(), second)
        u: Tensor = m / ((v.sqrt() / math.sqrt(1 - second**t) + EPS) * (1 - first**t))
        return u


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one, with the groups of all of them and one shared state."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        for part in parts:
            part.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()
