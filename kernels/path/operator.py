"""The kernels of PaTH as an operator of torch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels._inputs import attended
from kernels._register import register


class Inputs(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    w: Tensor
    beta: Tensor
    scale: float
    log_forget: Tensor | None
    gate: Tensor | None
    offsets: Tensor | None


run = register("path", Inputs, attended, ("y", "lse"), kept=("y", "lse"))
