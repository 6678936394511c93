"""Helpers of the recurrent mixers: projections, initial step sizes, the gated RMSNorm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kernels.rms_norm import rms_norm
from kernels.swiglu import swiglu
from lab.config import ModelConfig
from lab.mixers._norm import EPS
from lab.mixers._projection import Projection


def projection(config: ModelConfig, wide: int, narrow: int) -> nn.Linear:
    """A linear layer from `wide` to `narrow`, with a bias of zeros under config.bias."""
    layer = Projection(wide, narrow, bias=config.bias)
    if config.bias:
        nn.init.zeros_(layer.bias)
    return layer


def step_bias(n: int) -> Tensor:
    """b [n] with softplus(b) log-uniform in [1e-3, 1e-1], as in Mamba's code (2312.00752)."""
    dt = torch.empty(n).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return dt + torch.log(-torch.expm1(-dt))


def gated_norm(o: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    """SiLU(gate) * RMSNorm(o), eps 1e-6: o [...,H,d], gate [...,H d], weight [d] -> [...,H d]."""
    o = rms_norm(o.to(weight.dtype), weight, eps=EPS)
    return swiglu(o.flatten(-2), gate)
