"""How the delta rule's kernels run heads of one shape: chunks, blocks and launch options."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels._launch import power_of_two


class Plan(NamedTuple):
    """How heads of one shape are run."""

    C: int  # tokens of a chunk
    prepared: bool  # the inverses are made beforehand, all chunks at once
    columns: int  # of values, one program's share of the state
    warps: int
    tile: int  # channels and columns that the gradient kernel takes at a time


def plan(d: int, e: int, dtype: torch.dtype) -> Plan:
    """Narrow keys: chunks of 16, inverted in the forward kernel. Wide keys: 32, prepared.

    The fastest of 8 plans (d = 32) and of 10 (d = 64) measured on an H200 in bfloat16.
    """
    if dtype == torch.float32:  # three products instead of one: large tiles would spill registers
        return Plan(16, False, 16, max(1, width(d) // 16) if d > 32 else 1, 16)
    if d <= 32:
        return Plan(16, False, min(width(e), 32), 1, 16)
    return Plan(32, True, min(width(e), 64), 4 if d <= 64 else 8, min(32, width(e)))


def width(n: int) -> int:
    """n rounded up to the side of a tile."""
    return power_of_two(n, 16)


def precision(dtype: torch.dtype) -> str:
    """Precision of products of float32 operands: as exact as the inputs."""
    return "tf32x3" if dtype == torch.float32 else "tf32"
