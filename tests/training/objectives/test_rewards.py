"""Rewards and advantages, against the verifier of tasks and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import TrainConfig
from lab.testing import valid_lengths
from lab.training.objectives.rewards import advantages, judge, passes, rewards
from lab.training.objectives.rollouts import Rollouts, chosen
from tasks import Role, Task, verify
from tasks.addition import Addition
from tasks.compose_parity import ComposeParity
from tasks.copy import Copy
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.recall import Recall

TASKS: list[Task] = [
    *(Addition(), Parity(k=3), Copy(symbols=3), IsTree(most=8), Recall(vocabulary=12)),
    ComposeParity(k=2, contexts=4),
]


def damaged(task: Task, cot: bool, seed: int) -> Rollouts:
    """Rows of a task with some of their supervised tokens changed, as if a model wrote them."""
    rng = np.random.default_rng(seed)
    whole = task.sample(rng, 24, valid_lengths(task)[2])
    batch = task.scored_part(whole if cot else whole.without_thoughts())
    change = (batch.roles != Role.PROMPT) & (rng.random(batch.roles.shape) < rng.random() / 3)
    other = rng.integers(0, len(task.words), batch.roles.shape)
    written = np.where(change, other, batch.tokens)
    own, free = chosen(task, batch, written)
    written = np.where(own | (batch.roles == Role.PROMPT), written, 0)
    return Rollouts(batch, written, own, int(free.sum(1).max()), 0.0)


def text(task: Task, tokens: np.ndarray, which: np.ndarray) -> str:
    return " ".join(task.words[t] for t in tokens[which].tolist())


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(TASKS), st.booleans(), st.integers(0, 99))
def test_the_judge_says_what_the_verifier_says(task: Task, cot: bool, seed: int) -> None:
    rollouts = damaged(task, cot, seed)
    batch, judged = rollouts.batch, judge(task, rollouts)
    for i, written in enumerate(rollouts.written):
        prompt = text(task, batch.tokens[i], batch.roles[i] == Role.PROMPT)
        completion = text(task, written, rollouts.own[i])
        told = verify(task, prompt, completion, batch.hidden[i].tolist(), cot)
        assert judged.answer[i] == told.answer
        assert judged.thought[i] == (told.thought in (None, True))
        assert judged.progress[i] == told.progress
        answer = int((batch.roles[i] == Role.ANSWER).sum())
        least = answer + 1 if told.thought_words else 1
        words, stops = completion.split(), {task.words[t] for t in task.stop}
        assert judged.ended[i] == (not stops or (words[-1] in stops and len(words) >= least))


GROUPS = st.lists(
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 1.5]), min_size=3, max_size=3), min_size=1
)


@given(GROUPS)
def test_advantages_against_a_loop(groups: list[list[float]]) -> None:
    flat = np.array([r for group in groups for r in group])
    for kind in ("grpo", "dr_grpo"):
        config = TrainConfig(objective="grpo", samples=3, advantage=kind)  # type: ignore[arg-type]
        told = iter(advantages(flat, config).tolist())
        for group in groups:
            mean = sum(group) / 3
            variance = sum((r - mean) ** 2 for r in group) / 3
            for r in group:
                wanted = r - mean
                if kind == "grpo":
                    wanted /= variance**0.5 + 1e-6
                assert next(told) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_equal_rewards_have_no_advantage_not_even_by_rounding(kind: str) -> None:
    config = TrainConfig(objective="grpo", samples=3, advantage=kind)  # type: ignore[arg-type]
    equal = np.repeat([0.1, 0.7, 1 / 3, 0.1 + 0.2], 3)
    assert (equal.reshape(-1, 3).mean(1) != equal[::3]).any()  # the mean does round
    assert not advantages(equal, config).any()


def test_rewards_are_a_weighted_sum() -> None:
    task = Addition()
    rollouts = damaged(task, True, 5)
    judged = judge(task, rollouts)
    config = TrainConfig(
        objective="grpo", reward_answer=2.0, reward_format=0.5, reward_process=0.25
    )
    for i, reward in enumerate(rewards(judged, config).tolist()):
        wanted = 2 * bool(judged.answer[i]) + 0.5 * bool(judged.ended[i])
        assert reward == pytest.approx(wanted + 0.25 * judged.progress[i])
    assert 0 < judged.answer.mean() < 1 and 0 < judged.ended.mean() < 1


def test_pass_at_k_of_groups() -> None:
    right = np.array([1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0], bool)
    told = passes(right, 4)
    assert told == pytest.approx({"pass@1": 5 / 12, "pass@2": 0.5, "pass@4": 2 / 3})
