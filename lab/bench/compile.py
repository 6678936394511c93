"""Registers, spills and instructions of every kernel configuration, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

ARCHITECTURES = (90, 80)  # H100 and H200; A100


def measure() -> Iterator[dict[str, Any]]:
    """One row per configuration and GPU, from kernels._aot in a process without the interpreter.

    RuntimeError with the compiler's last line when it fails.
    """
    outside = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    for arch in ARCHITECTURES:
        done = subprocess.run(
            [sys.executable, "-m", "kernels._aot", "--arch", str(arch)],
            capture_output=True,
            text=True,
            env=outside,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
        for line in done.stdout.splitlines():
            yield json.loads(line)
