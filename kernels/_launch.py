"""How kernels are launched: on the device of their tensors, with arguments by name.

Kernels expect row-major memory: whoever launches one calls `contiguous` on its inputs before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(
    kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], num_warps: int, num_stages: int
) -> None:
    """Run `kernel` on the device of its tensors; `arguments` may hold more than it takes."""
    own = {name: arguments[name] for name in kernel.arg_names}
    # A kernel runs on the current device, which need not be that of its tensors.
    with torch.cuda.device_of(next(x for x in own.values() if isinstance(x, Tensor))):
        kernel[grid](**own, num_warps=num_warps, num_stages=num_stages)


def blocks(n: int, size: int) -> int:
    """How many blocks of `size` hold n."""
    return -(-n // size)


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and at least `least`."""
    return max(least, 1 << (n - 1).bit_length())
