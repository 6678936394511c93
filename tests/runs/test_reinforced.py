"""A run by reinforcement: what it logs, and that it resumes exactly, from its parent's weights."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from lab.config import Experiment, Parent
from lab.results.folder import Folder, load
from lab.runs.run import run
from tests.trained import log, small, weights

PARENT = dataclasses.replace(small(steps=6), model=dataclasses.replace(small().model, dropout=0.0))
SETTINGS = {
    "grpo": {"samples": 4, "updates": 2, "kl": 0.1, "reward_process": 0.5},
    "expert_iteration": {"samples": 4, "accept": "random"},
}


def reinforced(objective: str) -> Experiment:
    settings = {"steps": 6, "batch": 8, "lr": 0.01, **SETTINGS[objective]}
    train = dataclasses.replace(PARENT.train, objective=objective, **settings)  # type: ignore[arg-type]
    return dataclasses.replace(PARENT, train=train, parent=Parent(PARENT))


@pytest.mark.parametrize("objective", SETTINGS)
def test_a_run_resumes_from_nothing_but_its_own_command(objective: str, tmp_path: Path) -> None:
    e = reinforced(objective)
    folder = Folder(tmp_path, e)
    whole = run(e, tmp_path, checkpoint_every=2)
    digest, rows = weights(folder), log(folder)
    told = {"reward", "pass@1", "pass@2", "pass@4", "idle", "ended", "written", "entropy"}
    more = {"kl", "clipped"} if objective == "grpo" else set()
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, e.train.steps + 1))
    assert all(row.keys() >= told | more for row in steps)
    folder.result.unlink()
    shutil.rmtree(folder.checkpoints / "step-00000006")
    shutil.rmtree(Folder(tmp_path, PARENT).path)
    again = run(e, tmp_path, checkpoint_every=2)
    assert weights(folder) == digest and log(folder) == rows
    assert again.scores == whole.scores == load(folder.path).scores
    assert Folder(tmp_path, PARENT).result.exists() == (e.train.kl > 0)


def test_the_settings_of_other_objectives_are_not_in_the_hash() -> None:
    data = small().to_json()["train"]
    assert "objective" not in data and "samples" not in data
    assert reinforced("grpo").to_json()["train"]["objective"] == "grpo"
    assert len({e.slug for e in (small(), reinforced("grpo"), reinforced("expert_iteration"))}) == 3
