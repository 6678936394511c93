"""compute-sanitizer over every kernel, on a CUDA device: pytest -m sanitizer, a call of its own.

It slows every access down, so `-m gpu` leaves it out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.sanitizer,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="no compute-sanitizer"),
]

SANITIZED = """
import torch
from tests.kernels import test_gpu as t
from tests.kernels.rounding import with_gradients
for name, (file, make) in t.OPERATORS.items():
    for T in (33, 65):
        inputs = t.on_device(make(T, torch.bfloat16, {d}))
        with_gradients(getattr(file, name), inputs, impl="triton")
torch.cuda.synchronize()
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("d", [32, 64])
def test_no_stray_access_and_no_race(tool: str, d: int) -> None:
    root = Path(__file__).resolve().parents[2]
    sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    done = subprocess.run(
        [*sanitizer, sys.executable, "-c", SANITIZED.format(d=d)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
