"""The state of every optimizer through a checkpoint: a resumed run has the same bytes."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.results.folder import Folder
from lab.runs.run import run
from tests.profiles import NIGHTLY
from tests.trained import log, small, tensors

OPTIMIZERS = ("adamw", "sgd", "signum", "lion", "muon", "soap", "adalayer")
SCHEDULES = ("constant", "linear", "cosine", "wsd", "wsd_s")
# Every optimizer and every schedule once; all pairs under nightly.
PAIRS = [(name, schedule) for name in OPTIMIZERS for schedule in SCHEDULES]
SOME = [(name, SCHEDULES[i % 5]) for i, name in enumerate(OPTIMIZERS)]


def final(folder: Folder) -> dict[str, bytes]:
    """The tensors of the last step and of branches."""
    ends = ("step-00000024", "branch")
    return {file: data for file, data in tensors(folder).items() if file.startswith(ends)}


@pytest.mark.parametrize(("name", "schedule"), PAIRS if NIGHTLY else SOME)
def test_resume_is_exact(name: str, schedule: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": name, "schedule": schedule, "grad_noise": 0.01}
    if schedule.startswith("wsd"):
        options |= {"budgets": (14,), "decay": 0.4}
    e = small(steps=24, batch=8, warmup=2, weight_decay=0.1, **options)
    whole, stopped = Folder(tmp_path / "unbroken", e), Folder(tmp_path / "stopped", e)
    run(e, tmp_path / "unbroken", checkpoint_every=1000)

    def interrupt(row: dict[str, Any]) -> None:
        if row["step"] == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        run(e, tmp_path / "stopped", watch=interrupt, checkpoint_every=1000)
    run(e, tmp_path / "stopped", checkpoint_every=1000)
    assert final(stopped) == final(whole)
    assert len(final(whole)) == (4 if schedule == "wsd" else 2)
    assert log(stopped) == log(whole)
    assert sum("scores" in row for row in log(whole)) == schedule.startswith("wsd")


RATES = {"sgd": 0.3, "signum": 1e-3, "lion": 1e-3, "muon": 0.01, "adalayer": 0.01}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name: str, tmp_path: Path) -> None:
    base = experiment(k=2, length=4)
    options: dict[str, Any] = {"optimizer": name, "steps": 60, "batch": 64, "eval_every": 0}
    options |= {"lr": RATES.get(name, 3e-3), "eval_rows": 0, "eval_answers": True}
    model = dataclasses.replace(base.model, width=16, heads=2, max_positions=8)
    train = dataclasses.replace(base.train, **options)
    e = dataclasses.replace(base, model=model, train=train)
    run(e, tmp_path, checkpoint_every=1000)
    losses = [row["loss"] for row in log(Folder(tmp_path, e)) if "loss" in row]
    assert losses[-1] < 0.75 * losses[0], losses
