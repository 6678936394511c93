"""How kernels are launched: on the device of their tensors, in row-major memory, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(
    kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], num_warps: int, num_stages: int
) -> None:
    """Run `kernel` on the device of its tensors; `arguments` may hold more than it takes.

    Raises ValueError for a tensor that is not row-major: a kernel would read beside it. Copies are
    made once an operator, by `row_major`, not here once a kernel.
    """
    own = {name: arguments[name] for name in kernel.arg_names}
    strided = [n for n, x in own.items() if isinstance(x, Tensor) and not x.is_contiguous()]
    if strided:
        raise ValueError(f"{kernel.__name__}: {', '.join(strided)} must be row-major")
    # A kernel runs on the current device, which need not be that of its tensors.
    with torch.cuda.device_of(next(x for x in own.values() if isinstance(x, Tensor))):
        kernel[grid](**own, num_warps=num_warps, num_stages=num_stages)


def row_major(*inputs: Any) -> tuple[Any, ...]:
    """The same inputs; a tensor whose memory is in another order is copied."""
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)


def blocks(n: int, size: int) -> int:
    """How many blocks of `size` hold n."""
    return -(-n // size)


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and at least `least`."""
    return max(least, 1 << (n - 1).bit_length())
