"""What the tests of engines share: small sweeps, their jobs, waiting for a moment of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lab.config import Experiment
from lab.config.experiment import change
from lab.experiments.parity import experiment
from lab.results.folder import Folder
from lab.runs.engines import Job

LIMIT = 300  # seconds that a moment may take to come


OPTIONS = ("--length=6", "--k=2", "--batch=16", "--width=16", "--grad-clip=0")


def tiny(steps: int = 60, lr: float = 1e-3, seed: int = 0) -> Experiment:
    """The experiment of `lab run parity OPTIONS --steps --lr --seed`."""
    one = experiment(k=2, length=6)
    values = {"train.batch": 16, "model.width": 16, "train.grad_clip": 0.0}
    values |= {"train.steps": steps, "train.lr": lr, "train.seed": seed}
    for path, value in values.items():
        one = change(one, path, str(value))
    return one


def sweep(out: Path, *more: str) -> list[str]:
    """The arguments of `lab sweep parity OPTIONS --out OUT MORE`."""
    return ["sweep", "parity", *OPTIONS, "--out", str(out), *more]


def job(experiment: Experiment, out: Path, device: str = "cpu") -> Job:
    return {
        "experiment": experiment.to_json(),
        "out": str(out),
        "device": device,
        "checkpoint_every": 20,
    }


def losses(folder: Folder) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in folder.read_log() if "loss" in row]


def until(happens: Callable[[], object], seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)


def in_the_middle(folder: Folder) -> bool:
    """Whether a run has saved a checkpoint and is not complete."""
    return folder.checkpoints.exists() and not folder.result.exists()
