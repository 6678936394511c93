"""What holds for all tests.

HYPOTHESIS_PROFILE chooses the Hypothesis profile: `default` tries 50 random examples of each test,
`nightly` 10,000; a failing example is printed with the blob that repeats it. Examples differ from
run to run, so the health checks that depend on time or chance are off. Tests use one thread.
Without a CUDA device Triton's kernels run in its interpreter, which must be chosen before triton is
imported anywhere; with one, tests/kernels/test_gpu.py runs the compiled kernels.
"""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: threads only wait for each other

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

if not any(map(shutil.which, ("c++", "g++", "clang++"))):
    os.environ.setdefault("CXX", "")  # so that no run warns

settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders of two seeds of parity with CoT, trained once for all tests of a process.

    Width 16, 60 steps, checkpoints at 30 and 60, an evaluation every 20 steps. Their models get
    some rows right and some wrong.
    """
    from lab.experiments.parity import experiment
    from lab.runs.run import run

    folders = []
    for seed in (0, 1):
        e = experiment(k=2, length=6)
        train = dataclasses.replace(e.train, steps=60, batch=32, seed=seed, eval_every=20)
        model = dataclasses.replace(e.model, width=16)
        probes = (dataclasses.replace(e.probes[0], n=64),)
        e = dataclasses.replace(e, train=train, model=model, probes=probes)
        out = tmp_path_factory.mktemp("runs", numbered=True)
        folders.append(Path(run(e, out, "cpu", checkpoint_every=30).run))
    return folders
