"""Tile sizes and launch options of PaTH's kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels._launch import power_of_two


class Plan(NamedTuple):
    """Tile of queries, chunk, whether one kernel does all (fused), and launch options."""

    BT: int
    C: int
    fused: bool
    num_warps: int
    num_stages: int


def plan(backward: bool, width: int, itemsize: int, T: int) -> Plan:
    """Chosen by the compiler's registers and shared memory; not yet by measured time."""
    if itemsize == 4:
        fused = width <= 32 and T <= 64
        # 64 queries of 128 channels: Triton 3.6's binary for Hopper reads outside its memory.
        BT = 32 if backward or width > 64 else 64
        chosen = Plan(64 if fused else BT, 16, fused, 8 if width > 64 else 4, 1)
    elif width <= 32 and T <= 128:
        chosen = Plan(128, 16 if backward else 32, True, 8, 1)
    elif backward:
        chosen = Plan(64, 64 if 32 < width <= 64 else 32, False, 4 if width <= 32 else 8, 1)
    else:
        chosen = Plan(128 if width <= 64 else 64, 64, False, 8, 2)
    BT = min(chosen.BT, power_of_two(T, 16))
    warps = max(1, chosen.num_warps * BT // chosen.BT)
    return Plan(BT, min(chosen.C, BT), chosen.fused, warps, chosen.num_stages)


def chunk_warps(C: int, D: int) -> int:
    """Warps of the kernels that run one program per chunk."""
    return 8 if C == 64 or D == 128 else 4


def precision(dtype: torch.dtype) -> str:
    """Precision of products of float32 operands: as exact as the inputs."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a GPU; 1 for a CPU."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def shares(heads: int, n_tiles: int, device: torch.device) -> int:
    """Programs that share the tiles of one head; each needs sums as long as the row."""
    count = 2
    while device.type == "cuda" and count < 8 and count * heads < 2 * processors(device):
        count *= 2
    if device.type == "cuda" and heads >= 2 * processors(device):
        count = 1
    return min(count, n_tiles)
