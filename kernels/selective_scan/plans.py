"""Blocks and launch options of the selective scan's kernels."""

from __future__ import annotations

from kernels._launch import power_of_two

# One state in CHUNK tokens is kept for the backward pass by the reference, one in KERNEL_CHUNK by
# the kernels, whose backward pass runs (KERNEL_CHUNK - 4) / 2 states again before every 4 tokens:
# its instructions are what it waits for, not the memory of the states.
CHUNK = 16
KERNEL_CHUNK = 8
CHANNELS = 32  # of one program


def tile(N: int) -> dict[str, int]:
    """The kernels' constants for N numbers of state per channel."""
    return {"CHUNK": KERNEL_CHUNK, "BD": CHANNELS, "BN": power_of_two(N)}


def options(N: int) -> dict[str, int]:
    """One warp for up to 16 numbers of a channel's state, for more one for every 8.

    Counted in binaries: for 16 numbers one warp issues 40% less than two in the backward pass, as
    sums over channels stay inside it; 32 or 64 at 16 a warp would spill.
    """
    return {"num_warps": 1 if N <= 16 else power_of_two(N) // 8, "num_stages": 1}
