"""For tests of native code: the mark that needs a C++ compiler, inputs that lie among NaN."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kernels import native_compiler

COMPILER = pytest.mark.skipif(native_compiler() is None, reason="there is no C++ compiler")


def inside(x: Tensor, gaps: int = 0) -> Tensor:
    """The same numbers as a view: NaN before and behind them, and gaps of NaN in the last `gaps`
    dimensions, without any the numbers are dense."""
    widths = [n + 5 if i >= x.ndim - gaps else n for i, n in enumerate(x.shape)]
    room = torch.full((math.prod(widths) + 64,), torch.nan)[32:-32].view(widths)
    for i in range(x.ndim - gaps, x.ndim):
        room = room.narrow(i, 3, x.shape[i])
    return room.copy_(x)
