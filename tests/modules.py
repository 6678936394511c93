"""Modules and inputs with known weights, for tests."""

from __future__ import annotations

import typing

import torch
from torch import Tensor

from lab.config import ModelConfig


def config(**options: typing.Any) -> ModelConfig:
    return ModelConfig(**{"width": 12, "heads": 2, **options})


def filled(module: torch.nn.Module, seed: int = 0) -> typing.Any:
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return module


def x(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
