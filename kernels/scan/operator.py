"""The scan as an operator of torch, by its kernels or its reference."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels._register import register


class Inputs(NamedTuple):
    a: Tensor
    x: Tensor
    h0: Tensor | None
    triton: bool


def _made(i: Inputs) -> Tensor:
    return i.x.new_empty(i.x.shape)


# The gradient needs h, not x.
run = register("scan", Inputs, _made, ("h",), instead=(("x", "h"),))
