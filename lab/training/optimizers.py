"""Optimizers that torch does not have, and several optimizers as one.

With gradient g, parameter p, its rate lr and weight decay w (decoupled, as in AdamW), every step t
from 1 does p <- (1 - lr w) p - lr u. Averages start at 0.

    signum    m <- b1 m + (1 - b1) g;  u = sign(m)                            (2407.07972)
    lion      u = sign(b1 m + (1 - b1) g);  then m <- b2 m + (1 - b2) g       (2302.06675)
    adalayer  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) mean(g^2), one number for the tensor;
              u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + 1e-8)              (2407.07972)
    muon      m <- b m + (1 - b) g;  u = 0.2 sqrt(max(A, B)) NS((1 - b) g + b m), p [A,B]

NS brings the singular values near 1 by five Newton-Schulz iterations, with the coefficients of
Jordan's Muon; the factor gives u the size of AdamW's (2502.16982). As torch.optim.Muon, but all
matrices of one shape are iterated together, and in float32 on a CPU, where bfloat16 is slower.

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
NS = 3.4445, -4.7750, 2.0315  # coefficients of the Newton-Schulz iteration
NS_STEPS, NS_EPS = 5, 1e-7


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


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum; its state is that of torch.optim.Muon.

    For matrices [A,B], or stacks of them [n,A,B] (of n models), each of which is updated alone.
    """

    def __init__(
        self, params: list[torch.nn.Parameter], lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, b = group["lr"], group["momentum"]
            # Matrices by shape, each with no more rows than columns.
            shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    m = _average(self.state[p], "momentum_buffer", p.grad, b)
                    u = p.grad.lerp(m, b)
                    A, B = p.shape[-2:]
                    u = (u.mT if A > B else u).reshape(-1, min(A, B), max(A, B))
                    shapes.setdefault((min(A, B), max(A, B)), []).append((p, u))
            for (_, most), pairs in shapes.items():
                updates = _orthogonal(torch.cat([u for _, u in pairs]))
                parts = updates.split([len(u) for _, u in pairs])
                for (p, _), u in zip(pairs, parts, strict=True):
                    p.mul_(1 - lr * group["weight_decay"])
                    u = (u.mT if p.shape[-2] > p.shape[-1] else u).reshape(p.shape)
                    p.add_(u, alpha=-0.2 * lr * most**0.5)


def _orthogonal(X: Tensor) -> Tensor:
    """NS of every matrix of X [n,A,B], A <= B."""
    dtype = X.dtype
    if X.is_cuda:
        X = X.bfloat16()
    X = X / X.norm(dim=(1, 2), keepdim=True).clamp(min=NS_EPS)
    a, b, c = NS
    for _ in range(NS_STEPS):
        gram = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), X, beta=a)
    return X.to(dtype)


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
