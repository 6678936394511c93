"""What holds for all tests.

Hypothesis profiles: `quick` (200 examples, repeatable) by default, `nightly` for long hunts. One
thread. Without a CUDA device Triton's kernels run in its interpreter, which must be chosen before
triton is imported anywhere; with one, tests/test_gpu_kernels.py runs them for real.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads only wait for each other

import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("quick", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
