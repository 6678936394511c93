"""The delta rule's kernels as an operator of torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels._launch import blocks
from kernels._register import register
from kernels.delta import plans


class Inputs(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    log_decay: Tensor | None
    S0: Tensor | None
    scale: float
    save: bool  # for the backward pass, which needs the last three outputs


def made(i: Inputs) -> tuple[Tensor, ...]:
    """o, the last state, the state before each chunk, M and R, not filled."""
    (B, T, H, d), e = i.k.shape, i.v.shape[3]
    C = plans.plan(d, e, i.v.dtype).C
    N = blocks(T, C)
    shapes = [(B, H, N, d, e), (B, H, N, C, C), i.v.shape] if i.save else [(B, 0)] * 3
    last = i.v.new_empty(B, H, d, e, dtype=torch.float32)
    return i.v.new_empty(i.v.shape), last, *(i.v.new_empty(shape) for shape in shapes)


run = register(
    "delta", Inputs, made, ("o", "last", "kept", "M", "R"), public=2, kept=("kept", "M", "R")
)
