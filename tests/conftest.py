"""Hypothesis profiles: `quick` (200 examples, repeatable) by default, `nightly` for long hunts."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads only wait for each other

from hypothesis import settings

settings.register_profile("quick", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
