"""Which completions expert iteration trains on, and that it trains on no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.config import TrainConfig
from lab.data.batches import batch_for_step
from lab.nn.loss import teacher_forced
from lab.nn.model import make_model
from lab.training.objectives.expert_iteration import ExpertIteration, accepted
from lab.training.objectives.rewards import Judged, judge
from lab.training.objectives.rollouts import roll_out
from tests.enumerated import Letters, letters

CPU = torch.device("cpu")
ANSWER = np.array([1, 0, 1, 1, 0, 0], bool)
THOUGHT = np.array([1, 1, 0, 1, 0, 1], bool)


def test_what_is_accepted() -> None:
    judged = Judged(ANSWER, THOUGHT, np.ones(6, bool), np.ones(6))

    def rows(accept: str, seed: int = 0) -> list[int]:
        config = TrainConfig(objective="expert_iteration", accept=accept)  # type: ignore[arg-type]
        return accepted(judged, config, np.random.default_rng(seed)).tolist()

    assert rows("answer") == [0, 2, 3] and rows("thought") == [0, 3]
    drawn = [tuple(rows("random", seed)) for seed in range(300)]
    assert all(len(set(some)) == 3 and list(some) == sorted(some) for some in drawn)
    shares = np.bincount([i for some in drawn for i in some], minlength=6) / 300
    assert np.abs(shares - 0.5).max() < 0.12  # right or wrong, each as often


@pytest.mark.parametrize("accept", ["answer", "random"])
def test_the_loss_is_that_of_the_accepted_rows(accept: str) -> None:
    e = letters(Letters("a"), objective="expert_iteration", batch=8, samples=8, accept=accept)
    model = make_model(e)
    rollouts = roll_out(model, e, batch_for_step(e)(0), 0)
    judged = judge(e.task, rollouts)
    objective = ExpertIteration(e, rollouts, judged, 0, CPU)
    told = objective.backward(model, 0)
    rows = np.flatnonzero(objective.reward)
    assert 0 < len(rows) == judged.answer.sum() < 64
    assert judged.answer[rows].all() == (accept == "answer")
    loss, _ = teacher_forced(model, rollouts.inputs(CPU, rows))
    assert told == (pytest.approx(float(loss.detach()), rel=1e-5), {})
    idle = [not objective.reward[i : i + 8].any() for i in range(0, 64, 8)]
    assert objective.idle == np.mean(idle)


def test_nothing_accepted_is_nothing_learned() -> None:
    e = letters(Letters("b b b b b b"), objective="expert_iteration", batch=1, samples=1)
    rollouts = roll_out(make_model(e), e, batch_for_step(e)(0), 0)
    objective = ExpertIteration(e, rollouts, judge(e.task, rollouts), 0, CPU)
    assert objective.backward(make_model(e), 0) is None and objective.idle == 1
