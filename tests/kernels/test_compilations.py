"""The kernels that `pytest -m gpu` compiles stay few enough for one call of some minutes."""

import os
import subprocess
import sys

import pytest

from kernels import has_triton


@pytest.mark.slow
@pytest.mark.skipif(not has_triton(), reason="triton is not installed")
def test_the_gpu_tests_compile_at_most_750_kernels() -> None:
    environment = {n: x for n, x in os.environ.items() if n != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.kernels.compilations"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    *operators, total = (int(line.rpartition(" ")[2]) for line in done.stdout.splitlines())
    assert len(operators) == 5 and sum(operators) == total <= 800
