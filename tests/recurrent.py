"""Recurrent mixers for tests: large weights, inputs, and formulas in plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import registry
from lab.config import ModelConfig

NAMES = [name for name in registry.names("mixers") if name != "attention"]


every = pytest.mark.parametrize("name", NAMES)


Weights = dict[str, Tensor]
Formula = Callable[[Tensor, Weights, ModelConfig], Tensor]


def make(name: str, seed: int = 0, **options: Any) -> tuple[ModelConfig, nn.Module]:
    """A mixer in float64 with weights large enough that every path matters."""
    config = ModelConfig(**{"layers": name, "width": 8, "heads": 2, "position": "none", **options})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mixer = registry.load("mixers", name)(config).double()
        for p in mixer.parameters():
            nn.init.normal_(p, std=0.5)
    return config, mixer


def inputs(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@torch.no_grad()
def check_formula(name: str, formula: Formula, B: int, T: int, **options: Any) -> None:
    """The mixer, at once and as a prompt, is its formula of one row x [T,D] and its weights."""
    config, mixer = make(name, **options)
    x = inputs(B, T, config.width)
    expected = torch.stack([formula(row, dict(mixer.named_parameters()), config) for row in x])
    assert torch.allclose(mixer(x), expected, atol=1e-10, rtol=1e-10)
    assert torch.allclose(mixer.prefill(x)[0], expected, atol=1e-10, rtol=1e-10)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def silu(x: Tensor) -> Tensor:
    return x * sigmoid(x)


def softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log()


def normed(o: Tensor, weight: Tensor) -> Tensor:
    return o / ((o * o).mean() + 1e-6).sqrt() * weight


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = torch.zeros_like(x)
    w = len(weight)
    for t in range(len(x)):
        for back in range(w):
            if t >= back:
                y[t] += weight[w - 1 - back] * x[t - back]
    return y if bias is None else y + bias


def taylor(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    H, f, d = config.heads, config.feature, config.width // config.heads
    qkv = convolved(x @ p["qkv.weight"].T, p["conv.weight"]).unflatten(1, (H, 2 * f + d))
    out = []
    for t in range(len(x)):
        heads = []
        for h in range(H):
            total, values = 0.0, torch.zeros(d).double()
            for j in range(t + 1):
                s = float(qkv[t, h, :f].dot(qkv[j, h, f : 2 * f])) / math.sqrt(f)
                total += 1 + s + s * s / 2
                values = values + (1 + s + s * s / 2) * qkv[j, h, 2 * f :]
            heads.append(values / total)
        out.append(p["out.weight"] @ torch.cat(heads))
    return torch.stack(out)
