"""keep_heap: pages that a step has freed are not faulted in again by the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from lab.training.heap import keep_heap

if sys.argv[1] == "keep":
    keep_heap()
faults = []
for _ in range(5):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    kept = [np.ones(size) for size in (10**5, 10**6, 6 * 10**6)]
    del kept
print(faults[-1] - faults[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_pages_are_faulted_in_once() -> None:
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", STEPS, mode]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    assert faults("keep") < 100 < 1000 < faults("default")
