"""What holds for all tests.

HYPOTHESIS_PROFILE chooses the Hypothesis profile: `default` tries 50 random examples of each test,
`nightly` 10,000; a failing example is printed with the blob that repeats it. Examples differ from
run to run, so the health checks that depend on time or chance are off. Tests use one thread.
Without a CUDA device Triton's kernels run in its interpreter, which must be chosen before triton is
imported anywhere; with one, tests/kernels/test_gpu.py runs the compiled kernels.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads only wait for each other

import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
