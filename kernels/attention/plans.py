"""Tile sizes and launch options of attention's kernels."""

from __future__ import annotations

from typing import NamedTuple

from kernels import COUNTS as _ALL
from kernels._launch import power_of_two

COUNTS = [name for name in _ALL if name != "T"]  # arguments that are not specialised

# Products of float32 tiles as three of TensorFloat32: float32's error from tensor cores.
PRECISION = "tf32x3"


class Plan(NamedTuple):
    """Tile sizes and launch options of one kernel."""

    BM: int
    BN: int
    num_warps: int
    num_stages: int


def plan(kernel: str, width: int, itemsize: int, T: int) -> Plan:
    """Measured on an H200 for bfloat16 with heads of 32 and 64; elsewhere chosen by registers and
    shared memory.

    Two tiles of 64 queries on a multiprocessor are faster than one of 128; two warpgroups (8 warps)
    wait for each other's products.
    """
    wide = width > 64
    if itemsize == 4:
        chosen = {
            "forward": Plan(64, 32, 8 if wide else 4, 2),
            "rows": Plan(64, 32, 8 if wide else 4, 1),
            "keys": Plan(32, 32, 8 if wide else 4, 1),
        }[kernel]
    elif wide:
        chosen = {
            "forward": Plan(128, 64, 8, 2),
            "rows": Plan(64, 64, 8, 2),
            "keys": Plan(32, 64, 8, 2),
        }[kernel]
    else:
        chosen = {
            "forward": Plan(64, 64, 4, 3),
            "rows": Plan(64, 64, 4, 3),
            "keys": Plan(32, 64, 4, 2),
            "short": Plan(128, 64, 4, 2),
        }[kernel]
    short = power_of_two(T, 16)
    BM, BN = min(chosen.BM, short), min(chosen.BN, short)
    warps = max(1, chosen.num_warps * (BM if kernel != "keys" else BN) // chosen.BM)
    return Plan(BM, BN, min(chosen.num_warps, warps), chosen.num_stages)
