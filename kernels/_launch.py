"""How kernels are launched: on the device of their tensors, in row-major memory, by name.

Triton's interpreter multiplies the bit patterns of bfloat16 and truncates where a GPU rounds: under
it kernels run on float32 copies, and what they wrote is rounded to nearest. What one kernel of an
operator leaves for the next is not rounded, as neither is what both keep in registers.

    with recorded() as launches:      # tensors may have no memory (FakeTensorMode)
        attention(**inputs, impl="triton")

notes every launch instead of running it: kernels/_aot.py compiles what operators really launch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: programs, arguments by name, and options."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    num_warps: int
    num_stages: int


_recorded: list[Launch] | None = None
_wide: dict[int, tuple[Tensor, Tensor]] = {}  # bfloat16 and its float32 copy, of this operator


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """The launches that are asked for inside it; no kernel runs, outputs hold anything."""
    global _recorded
    before, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = before


def recording() -> bool:
    """Whether launches are noted instead of run."""
    return _recorded is not None


def launch(
    kernel: Any, grid: tuple[int, ...], arguments: dict[str, Any], num_warps: int, num_stages: int
) -> None:
    """Run `kernel` on the device of its tensors; `arguments` may hold more than it takes.

    Raises ValueError for a tensor that is not row-major: a kernel would read beside it. Copies are
    made once an operator, by `row_major`, not here once a kernel.
    """
    own = {name: arguments[name] for name in kernel.arg_names}
    tensors = {name: x for name, x in own.items() if isinstance(x, Tensor)}
    strided = [name for name, x in tensors.items() if not x.is_contiguous()]
    if strided:
        raise ValueError(f"{kernel.__name__}: {', '.join(strided)} must be row-major")
    if _recorded is not None:
        _recorded.append(Launch(kernel, grid, own, num_warps, num_stages))
        return
    if os.environ.get("TRITON_INTERPRET") == "1":
        for name, x in tensors.items():
            if x.dtype == torch.bfloat16:
                own[name] = _wide.setdefault(id(x), (x, x.float()))[1]
    # A kernel runs on the current device, which need not be that of its tensors.
    with torch.cuda.device_of(next(iter(tensors.values()))):
        kernel[grid](**own, num_warps=num_warps, num_stages=num_stages)
    for x, wide in _wide.values():
        x.data.copy_(wide)  # data: inputs, which keep their bits, count as unchanged for autograd


def row_major(inputs: Any) -> Any:
    """The NamedTuple of an operator's inputs; a tensor in another order of memory is copied."""
    _wide.clear()
    return inputs._make(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)


def like(x: Any) -> Any:
    """A tensor of the shape and type of x, not filled, or None."""
    return None if x is None else torch.empty_like(x)


def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a GPU; an H200's in a record of launches, 1 for a CPU."""
    if recording():
        return 132
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def blocks(n: int, size: int) -> int:
    """How many blocks of `size` hold n."""
    return -(-n // size)


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and at least `least`."""
    return max(least, 1 << (n - 1).bit_length())
