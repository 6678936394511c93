"""What every shipped kernel configuration needs on a GPU that need not be there (kernels._aot)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

ARCHITECTURES = (90, 80)  # H100 and H200; A100


def measure() -> Iterator[dict[str, Any]]:
    """Compile in a process of its own, where Triton's interpreter is off."""
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
