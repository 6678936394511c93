"""Blocks and launch options of the scan's kernels."""

from __future__ import annotations

# One warp of 64 channels: many small programs, each with loads of several tokens in flight.
FORWARD = {"BD": 64, "U": 8, "S": 4}
BACKWARD = {"BD": 64, "U": 8, "S": 3}
LAUNCH = {"num_warps": 1, "num_stages": 1}
