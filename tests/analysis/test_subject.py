"""Runs read as data, and which tokens the next one depends on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lab.analysis import heads, subject
from lab.config import ModelConfig
from lab.nn.model import Model
from lab.results.folder import read_configuration
from tasks import Batch, Role, Task
from tasks.compose_parity import ComposeParity
from tasks.copy import Copy
from tasks.flipflop import FlipFlop
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.recall import Recall
from tests.subjects import made


def next_tokens(batch: Batch, row: int, marks: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """Every marked query: the token it reads, the one it is to write, the marked tokens."""
    tokens = batch.tokens[row].tolist()
    return [
        (tokens[i], tokens[i + 1], [tokens[j] for j in np.flatnonzero(marks[row, i])])
        for i in np.flatnonzero(marks[row].any(1))
    ]


@pytest.mark.parametrize(
    ("task", "length", "cot", "queries"),
    [
        (Parity(k=4), 9, True, 4),
        (Parity(k=4), 9, False, 1),
        (ComposeParity(k=2, contexts=3, train_tasks=5), 5, True, 2),
        (ComposeParity(k=2, contexts=3, train_tasks=5), 5, False, 1),
        (Copy(symbols=5), 6, True, 6),
        (Recall(vocabulary=32), 4, True, 4),
        (Recall(vocabulary=32, queries="single"), 4, True, 1),
        (Recall(vocabulary=32, repeats=2), 3, True, 3),
        (FlipFlop(ignore=0.4), 12, True, None),
    ],
    ids=str,
)
def test_dependencies_say_what_the_next_token_follows_from(
    task: Task, length: int, cot: bool, queries: int | None
) -> None:
    s = made(task, length, ModelConfig(), n=32, cot=cot)
    marks = subject.dependency_mask(s)
    assert marks is not None and not (marks & ~np.tri(marks.shape[1], dtype=bool)).any()
    asked = np.isin(s.batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    assert not marks[:, -1].any() and not (marks[:, :-1].any(2) & ~asked).any()
    for row in range(len(s.batch)):
        found = next_tokens(s.batch, row, marks)
        assert len(found) == (asked[row].sum() if queries is None else queries)
        for read, write, from_ in found:
            if task.name in ("parity", "compose_parity"):
                assert write == (read * cot + sum(from_)) % 2 and len(from_) == (
                    1 if cot else task.k
                )
            else:
                assert from_ == [write]
        if task.name == "recall":  # the key stands before the value, and as often after it
            tokens = s.batch.tokens[row].tolist()
            for i in np.flatnonzero(marks[row].any(1)):
                (j,) = np.flatnonzero(marks[row, i])
                context = 2 * length * (1 if task.repeats == 1 else task.repeats + 1)
                later = [tokens[c] for c in range(j + 1, context, 2)]
                assert tokens[j - 1] == tokens[i] and later.count(tokens[i]) == task.repeats - 1
        if task.name == "flipflop":
            tokens = s.batch.tokens[row].tolist()
            for i in np.flatnonzero(marks[row].any(1)):
                (j,) = np.flatnonzero(marks[row, i])
                assert tokens[j - 1] == 0 and 0 not in tokens[j + 1 : i : 2]


def test_tasks_without_dependencies_take_columns() -> None:
    s = made(IsTree(), 5, ModelConfig())
    assert (
        subject.dependency_mask(s) is None and heads.measure(s).heads[0].dependency_weight is None
    )
    marks = subject.dependency_mask(s, (0, 3))
    assert marks is not None
    asked = np.isin(s.batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    assert (marks[:, :-1, 0] == asked).all() and (marks[:, :-1, 3] == asked).all()
    assert not marks[:, :, [1, 2, 4]].any()
    with pytest.raises(ValueError, match="dependencies = 99"):
        subject.dependency_mask(s, (99,))
    twice = dataclasses.replace(s.experiment, task=Parity(k=2), prompt_repeats=2)
    assert subject.dependency_mask(dataclasses.replace(s, experiment=twice)) is None


def test_a_run_is_read_and_never_executed(trained: list[Path], tmp_path: Path) -> None:
    s = subject.open_run(trained[0], rows=5)
    assert len(s.batch) == 5 and s.probe.label == "held out" and isinstance(s.model, Model)
    assert subject.open_run(trained[0], length=9).batch.tokens.shape[1] == 12
    with pytest.raises(ValueError, match="this run has 'held out'"):
        subject.open_run(trained[0], "elsewhere")
    with pytest.raises(ValueError, match="no run folder"):
        subject.open_run(tmp_path)
    with pytest.raises(ValueError, match="step-30, step-60"):
        subject.open_run(trained[0], at="step-7")
    marker = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    config = read_configuration(trained[0])
    config["source"] = str(tmp_path / "evil.py")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="must be given by hand"):
        subject.open_run(tmp_path)
    assert not marker.exists()


def test_a_damaged_checkpoint_is_named(trained: list[Path], tmp_path: Path) -> None:
    import shutil

    copied = tmp_path / "run"
    shutil.copytree(trained[0], copied)
    path = copied / "checkpoint" / "step-00000060" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="step-00000060 is damaged"):
        subject.open_run(copied)
