"""Scores with shortcuts equal those of the plain algorithm, which decodes every row whole."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from lab import registry
from lab.config import Experiment, ModelConfig
from lab.data.batches import visible
from lab.data.rows import Rows
from lab.evaluation import forced, written
from lab.evaluation.decode import compare, decode
from lab.evaluation.forced import cheapest, teacher_force
from lab.evaluation.mode import evaluating
from lab.evaluation.score import RowScores, score_batch
from lab.experiments._any import for_task
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import Model, State, make_model
from lab.testing import valid_lengths
from lab.training.loop import train
from lab.training.optim import build
from tasks import Batch, Role, Task
from tests.scripted import Countdown


def plain(model: Model, task: Task, batch: Batch, kind: str = "fp32") -> RowScores:
    with evaluating(model, kind) as device:
        _, exact = teacher_forced(model, to_torch(task, model.config, batch, device))
        return RowScores(exact.numpy(), *compare(task, batch, decode(model, task, batch)))


def same(one: RowScores, other: RowScores) -> None:
    for name, value in vars(one).items():
        assert np.array_equal(value, getattr(other, name)), name


class Slipping(torch.nn.Module):
    """Goes on as the reference row that begins most like what it has read, with errors: other
    tokens, and tokens written late. All follow from what it has read. Where its choice is in doubt,
    teacher forcing prefers the second one."""

    def __init__(self, batch: Batch, words: int, seed: int, slips: float) -> None:
        super().__init__()
        self.rows, self.words, self.seed, self.slips = batch.tokens, words, seed, slips
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = ModelConfig(position="none")
        self.head, self.next_place = torch.nn.Identity(), None

    def _logits(self, prefix: np.ndarray, parallel: bool) -> torch.Tensor:
        t = len(prefix)
        key = hashlib.sha256(bytes([self.seed]) + prefix.tobytes()).digest()
        u, other, doubt = key[0] / 256, key[1] % self.words, key[2] < 128
        like = (self.rows[:, :t] == prefix).cumprod(1).sum(1).argmax()
        row, late = self.rows[like], int((self.rows[like][:t] != prefix).any() and key[3] < 200)
        choice = other if u < self.slips else int(row[min(t - late, len(row) - 1)])
        logits = torch.zeros(self.words)
        logits[choice] = 1.0
        if u < self.slips and doubt:
            second = (choice + 1) % self.words
            logits[second] = 1 - 1e-4
            if parallel:
                logits[[choice, second]] = logits[[second, choice]]
        return logits

    def hidden(self, x: torch.Tensor, where: torch.Tensor, ids: None) -> torch.Tensor:
        places = where.nonzero().tolist()
        rows = [self._logits(x[i, : t + 1].numpy(), True) for i, t in places]
        return torch.stack(rows) if rows else torch.zeros(0, self.words)

    def prefill(self, x: torch.Tensor, ids: None) -> tuple[torch.Tensor, Any]:
        logits = torch.stack([self._logits(row.numpy(), False) for row in x])
        return logits, State([x], x.shape[1])

    def step(self, token: torch.Tensor, state: State, ids: None) -> tuple[torch.Tensor, Any]:
        return self.prefill(torch.cat([state.layers[0], token[:, None]], 1), None)


@given(
    st.sampled_from([*tasks.names(), "countdown"]),
    st.booleans(),
    st.integers(0, 255),
    st.sampled_from([0.0, 0.03, 0.1, 0.4, 1.0]),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_scores_are_those_of_whole_rows(
    name: str, cot: bool, seed: int, slips: float, n: int
) -> None:
    task = Countdown() if name == "countdown" else tasks.load(name)()
    batch = Rows(task, valid_lengths(task, 8)[-1], seed)[0:n]
    batch = task.scored_part(batch if cot else batch.without_thoughts())
    model: Any = Slipping(batch, len(task.words), seed, slips)
    with (
        mock.patch.multiple(forced, TOKENS_AT_ONCE=1, ROWS_AT_LEAST=3),
        mock.patch.object(written, "ROWS_AT_LEAST", 3),
    ):
        same(score_batch(model, task, batch), plain(model, task, batch))


def experiment(name: str, **model: Any) -> Experiment:
    base = for_task(tasks.load(name))()
    length = valid_lengths(base.task, 3)[-1]
    small = dataclasses.replace(base.model, width=16, heads=2, **model)
    changed = dataclasses.replace(base.train, steps=20, batch=16, lengths=(length,), lr=0.01)
    return dataclasses.replace(base, model=small, train=changed)


MODELS: list[dict[str, Any]] = [
    *({"layers": name, "position": "none"} for name in registry.names("mixers")),
    *({"position": name} for name in ("rope", "hard_alibi", "path", "coupled", "predicted")),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda value: "-".join(value.values()))
def test_trained_and_untrained_models(model: dict[str, Any]) -> None:
    """Rounding differs between the forms of a model; no score does."""
    e = experiment("copy" if model["position"] in ("coupled", "predicted") else "addition", **model)
    m = make_model(e)
    batch = visible(e, Rows(e.task, e.train.lengths[0], 1)[0:96])
    same(score_batch(m, e.task, batch), plain(m, e.task, batch))
    for step in itertools.islice(train(e, m, build(m, e.train), 0, torch.device("cpu")), 20):
        assert step.loss < 1e9
    same(score_batch(m, e.task, batch), plain(m, e.task, batch))
    if model["position"] == "rope":
        same(score_batch(m, e.task, batch, "bf16"), plain(m, e.task, batch, "bf16"))


@pytest.mark.parametrize(
    ("name", "cot", "slips", "some"),
    [
        ("parity", True, 0.0, False),  # right rows
        ("parity", False, 0.3, False),  # wrong answers without a thought
        ("copy", False, 0.3, False),  # the same, where rows end with a token
        ("parity", True, 0.1, True),
    ],
)
def test_a_row_is_decoded_only_where_its_score_is_open(
    name: str, cot: bool, slips: float, some: bool
) -> None:
    task = tasks.load(name)()
    rows = Rows(task, valid_lengths(task, 8)[-1], 0)[0:64]
    batch = rows if cot else rows.without_thoughts()
    model: Any = Slipping(batch, len(task.words), 7, slips)
    sure = batch[~teacher_force(model, task, batch).doubt]
    decoded: list[int] = []

    def spy(model: Any, task: Task, batch: Batch, known: np.ndarray) -> np.ndarray:
        decoded.append(len(batch))
        assert (known >= (batch.roles == Role.PROMPT).sum(1)).all()
        return decode(model, task, batch, known=known)

    with mock.patch.object(written, "decode", spy):
        score_batch(model, task, sure)
    assert (0 < sum(decoded) < len(sure)) if some else not decoded


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_the_cheapest_column(wrong: list[int]) -> None:
    def cost(stop: int) -> float:
        again = sum(column >= stop for column in wrong) if stop < 12 else 0
        return stop * len(wrong) + 12 * again

    assert cost(cheapest(np.array(wrong), 12)) == min(cost(stop) for stop in range(1, 13))
