"""Optimizers against loops over their formulas, a number at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lab.config import TrainConfig
from lab.training.optim import build
from lab.training.optimizers import Muon

OPTIMIZERS = ("adamw", "sgd", "signum", "lion", "muon", "soap", "adalayer")
LR, DECAY, EPS = 0.01, 0.1, 1e-8
SHAPES = {"matrix": (3, 4), "vector": (5,), "cube": (2, 3, 2), "number": ()}


def sign(x: float) -> float:
    return float((x > 0) - (x < 0))


class Loop:
    """The formula of one optimizer, a number at a time, for one parameter."""

    def __init__(self, name: str, betas: tuple[float, ...], decay: float) -> None:
        self.name, self.betas, self.decay = name, betas, decay
        self.m: dict[Any, float] = {}
        self.v: dict[Any, float] = {}
        self.layer, self.t = 0.0, 0

    def __call__(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.t += 1
        b1, b2 = (*self.betas, 0.0)[:2]
        squares = sum(float(g[at]) ** 2 for at in np.ndindex(g.shape)) / g.size
        self.layer = b2 * self.layer + (1 - b2) * squares
        new = p.copy()
        for at in np.ndindex(p.shape):
            x, m = float(g[at]), self.m.get(at, 0.0)
            if self.name == "sgd":
                x += self.decay * p[at]
                self.m[at] = b1 * m + x
                new[at] = p[at] - LR * self.m[at]
                continue
            self.m[at] = b1 * m + (1 - b1) * x
            self.v[at] = b2 * self.v.get(at, 0.0) + (1 - b2) * x**2
            if self.name == "signum":
                u = sign(self.m[at])
            elif self.name == "lion":
                u = sign(b1 * m + (1 - b1) * x)
                self.m[at] = b2 * m + (1 - b2) * x
            else:
                v = self.layer if self.name == "adalayer" else self.v[at]
                u = self.m[at] / (1 - b1**self.t) / (math.sqrt(v / (1 - b2**self.t)) + EPS)
            new[at] = p[at] - LR * self.decay * p[at] - LR * u
        return new


DEFAULTS = {
    "adamw": (0.9, 0.999),
    "sgd": (0.9,),
    "signum": (0.9,),
    "lion": (0.9, 0.99),
    "adalayer": (0.9, 0.999),
}


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            value = torch.from_numpy(np.asarray(rng.normal(size=shape)))
            self.register_parameter(name, nn.Parameter(value))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", DEFAULTS)
def test_updates_are_those_of_the_formula(name: str, own: bool) -> None:
    betas = DEFAULTS[name] if own else (0.6, 0.7)[: len(DEFAULTS[name])]
    given = {} if own else dict(zip(("beta1", "beta2"), betas, strict=False))
    parts, rng = Parts(), np.random.default_rng(1)
    optimizer = build(parts, TrainConfig(optimizer=name, lr=LR, weight_decay=DECAY, **given))  # type: ignore[arg-type]
    loops = {n: Loop(name, betas, DECAY if len(SHAPES[n]) >= 2 else 0.0) for n in SHAPES}
    expected = {n: p.detach().numpy().copy() for n, p in parts.named_parameters()}
    for _ in range(6):
        for n, p in parts.named_parameters():
            g = np.asarray(rng.normal(size=SHAPES[n]) * rng.choice([0.01, 1.0, 10.0]))
            p.grad = torch.from_numpy(g)
            expected[n] = loops[n](expected[n], g)
        optimizer.step()
        for n, p in parts.named_parameters():
            assert np.allclose(p.detach().numpy(), expected[n], rtol=1e-12, atol=1e-14), n


def test_a_parameter_without_a_gradient_stays() -> None:
    for name in OPTIMIZERS:
        parts = Parts().float()
        optimizer = build(parts, TrainConfig(optimizer=name, weight_decay=DECAY))  # type: ignore[arg-type]
        for _ in range(2):
            parts.matrix.grad = torch.ones(3, 4)
            optimizer.step()
        assert torch.equal(parts.vector, Parts().float().vector), name
        assert not torch.equal(parts.matrix, Parts().float().matrix), name


def orthogonal(g: np.ndarray) -> np.ndarray:
    """Newton-Schulz on the singular values of g alone: each runs through the polynomial."""
    u, s, v = np.linalg.svd(g, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ v


def test_muon_updates_a_stack_of_matrices_one_by_one() -> None:
    start = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stack, alone = nn.Parameter(start.clone()), [nn.Parameter(x.clone()) for x in start]
    together, apart = Muon([stack], LR, DECAY, 0.9), Muon(alone, LR, DECAY, 0.9)
    for i in range(3):
        stack.grad = (start + i).sin()
        for p, g in zip(alone, stack.grad, strict=True):
            p.grad = g.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(stack, torch.stack(alone))


def test_muon_is_the_polynomial_of_the_singular_values() -> None:
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (5, 3), (3, 5), (4, 4), (1, 6)]  # three share a stack
    before = [rng.normal(size=shape) for shape in shapes]
    matrices = [nn.Parameter(torch.from_numpy(p.copy())) for p in before]
    optimizer = Muon(matrices, LR, DECAY, 0.9)
    momenta = [np.zeros(shape) for shape in shapes]
    for _ in range(3):
        for i, p in enumerate(matrices):
            g = rng.normal(size=shapes[i])
            p.grad = torch.from_numpy(g)
            momenta[i] = 0.9 * momenta[i] + 0.1 * g
            u = 0.2 * math.sqrt(max(shapes[i])) * orthogonal(0.1 * g + 0.9 * momenta[i])
            before[i] = before[i] * (1 - LR * DECAY) - LR * u
        optimizer.step()
    for p, wanted in zip(matrices, before, strict=True):
        assert np.allclose(p.detach().numpy(), wanted, rtol=1e-9, atol=1e-11)
