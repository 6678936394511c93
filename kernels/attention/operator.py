"""The kernels of attention as an operator of torch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels._inputs import attended
from kernels._register import register


class Inputs(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    scale: float
    slopes: Tensor | None
    window: Tensor | None
    log_forget: Tensor | None
    gate: Tensor | None
    offsets: Tensor | None


run = register("attention", Inputs, attended, ("y", "lse"), kept=("y", "lse"))
