"""Blocks and launch options of the scan's kernels."""

from __future__ import annotations

# One warp of 64 channels: many small programs, each with loads of several tokens in flight. The
# fastest of 9 measured on an H200; 32 channels, half a line of memory, take 8 times as long.
FORWARD = {"BD": 64, "U": 16, "S": 3}
BACKWARD = {"BD": 64, "U": 8, "S": 4}
LAUNCH = {"num_warps": 1, "num_stages": 1}
