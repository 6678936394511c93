"""`lab bench train`: the two ways to make a step have the same gradients, and its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lab.bench import train
from lab.cli.main import main
from lab.config import Experiment
from lab.nn.model import Model


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """One small setting, each step made once; the gradients of every step."""
    name, experiment = list(train.settings())[-1]
    batch = replace(experiment.train, batch=4)
    models: list[Model] = []
    gradients: list[list[torch.Tensor]] = []
    real = train.make_model

    def one() -> Iterator[tuple[str, Experiment]]:
        yield name, replace(experiment, train=batch)

    def made(experiment: Experiment) -> Model:
        models.append(real(experiment))
        return models[-1]

    def once(step: Callable[[], Any]) -> float:
        step()
        gradients.append([p.grad.clone() for p in models[-1].parameters() if p.grad is not None])
        return float(len(gradients))

    monkeypatch.setattr(train, "settings", one)
    monkeypatch.setattr(train, "make_model", made)
    monkeypatch.setattr(train, "best_seconds", once)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    return gradients


def test_a_step_with_all_logits_has_the_same_gradients(small: list[list[torch.Tensor]]) -> None:
    (row,) = train.measure()
    assert (row["milliseconds"], row["milliseconds_all_logits"], row["ratio"]) == (1000, 2000, 2)
    assert row["batch"] == 4 and row["tokens"] == 27, "20 bits, 6 of a thought, an answer"
    assert row["supervised"] == 4 * 7
    few, every = small
    assert len(few) == len(every) > 5
    for a, b in zip(few, every, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_settings() -> None:
    names = [name for name, _ in train.settings()]
    assert len(set(names)) == len(names) == 4
    assert {len(e.task.words) for _, e in train.settings()} >= {8192}


def test_a_record_has_its_command_and_environment(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    done = CliRunner().invoke(main, ["bench", "train", "--record", str(path), "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(path.read_text())
    assert record["rows"] == json.loads(done.stdout)
    assert record["command"] == "lab bench train" and record["environment"]["threads"] == 1
