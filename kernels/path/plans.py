"""Tile sizes and launch options of PaTH's kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch

from kernels._launch import power_of_two

PAIRS = 2**30  # bytes of scratch memory that one launch of the backward pass may fill


class Plan(NamedTuple):
    """Tile of queries, chunk, whether one kernel does all (fused), and launch options."""

    BT: int
    C: int
    fused: bool
    num_warps: int
    num_stages: int


def plan(backward: bool, d: int, e: int, itemsize: int, T: int) -> Plan:
    """The plan for keys of width d and values of width e.

    Measured on an H200 for bfloat16 with heads of 32 and 64, but for backward with heads of 32;
    there and elsewhere chosen by what binaries need (kernels/_aot.py): registers, shared memory,
    instructions to issue.

    No chunks of 64 with keys of 32 or less: Triton 3.6's binaries for Hopper read outside their
    memory there, or give gradients that are no numbers (seen with d = 16, e = 48).
    """
    width = max(d, e)
    if itemsize == 4:
        fused = width <= 32 and T <= 64
        chosen = Plan(64 if fused or not backward else 32, 16, fused, 4, 1)
    elif width <= 32:
        chosen = Plan(32, 32, False, 1, 1) if backward else Plan(64, 32, False, 4, 2)
    elif width <= 64:
        chosen = Plan(64, 64, False, 4, 1) if backward else Plan(64, 32, False, 4, 3)
    else:
        chosen = Plan(64, 32, False, 8, 1) if backward else Plan(64, 64, False, 8, 2)
    if d <= 32:
        chosen = chosen._replace(C=min(chosen.C, 32))
    BT = min(chosen.BT, power_of_two(T, 16))
    warps = max(1, chosen.num_warps * BT // chosen.BT)
    return Plan(BT, min(chosen.C, BT), chosen.fused, warps, chosen.num_stages)


def chunk_warps(kernel: str, itemsize: int, C: int, D: int) -> int:
    """Warps of a kernel that runs one program per chunk; `prepare` measured as in `plan`."""
    if D == 128:
        return 8
    if itemsize == 4 or C == 64:
        return 4
    if kernel == "prepare":
        return 1
    return 4 if D == 64 else 2


def precision(dtype: torch.dtype) -> str:
    """Precision of products of float32 operands: as exact as the inputs."""
    return "tf32x3" if dtype == torch.float32 else "tf32"
