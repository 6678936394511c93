"""The optimizer of a child: new, or its parent's with the child's own rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import Experiment, Parent
from lab.data.batches import batch_for_step
from lab.nn.model import Model, make_model
from lab.results.folder import Folder
from lab.runs.run import run
from lab.training import loop
from lab.training.optim import build
from lab.training.start import start
from tests.stages import child
from tests.trained import copy_of, small, trained


def started(one: Experiment, out: Path) -> tuple[Model, torch.optim.Optimizer]:
    model = make_model(one)
    optimizer = build(model, one.train)
    start(one, out, model, optimizer)
    return model, optimizer


def test_the_state_is_new_or_kept(tmp_path: Path) -> None:
    """A step of the child equals one of its parent's optimizer, with the child's rate and decay."""
    copy_of(trained(), tmp_path)
    _, new = started(child(), tmp_path)
    assert not new.state
    model, kept = started(child(optimizer_state="kept", lr=0.5, weight_decay=0.2), tmp_path)
    assert {float(state["step"]) for state in kept.state.values()} == {60.0}
    assert len(kept.state) == len(list(model.parameters()))
    assert [group["weight_decay"] for group in kept.param_groups] == [0.2, 0.0]
    assert {group["lr"] for group in kept.param_groups} == {0.5}


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adalayer", "soap"])
def test_with_its_state_kept_a_child_is_a_longer_run(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every step of both has the same rows; with a new state it is not."""
    if optimizer == "soap":
        pytest.importorskip("pytorch_optimizer")
    batch = batch_for_step(small())(0)
    monkeypatch.setattr(loop, "batch_for_step", lambda e: lambda step: batch)
    same = {"optimizer": optimizer, "schedule": "constant", "lr": 0.01}
    model = dataclasses.replace(small().model, dropout=0.0)
    first, long = (dataclasses.replace(small(steps=steps, **same), model=model) for steps in (3, 6))
    run(long, tmp_path, "cpu")
    ends: dict[str, bytes] = {}
    for state in ("kept", "new"):
        train = dataclasses.replace(first.train, optimizer_state=state)
        second = dataclasses.replace(first, train=train, parent=Parent(first))
        run(second, tmp_path, "cpu")
        ends[state] = final(Folder(tmp_path, second), 3)
    assert ends["kept"] == final(Folder(tmp_path, long), 6) != ends["new"]


def final(folder: Folder, steps: int) -> bytes:
    return (folder.checkpoints / f"step-{steps:08d}" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("of", "at", "changes", "told"),
    [
        ({}, None, {"optimizer": "sgd"}, "train.optimizer is 'adamw' in the parent and 'sgd' here"),
        ({"ema": 0.9}, None, {}, "an average of weights, which has no optimizer"),
    ],
)
def test_a_state_that_cannot_go_on_is_refused(
    of: dict[str, Any], at: str | None, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(
        ValueError, match=f"train.optimizer_state = 'kept' cannot be used: .*{told}"
    ):
        child(small(**of), at, optimizer_state="kept", **changes)


def test_without_a_parent_there_is_none_to_keep() -> None:
    with pytest.raises(ValueError, match="without a parent there is none to keep"):
        small(optimizer_state="kept")
    assert child(small(ema=0.9), "step-60", optimizer_state="kept")
