"""Scores of a probe, with models that write what a test tells them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasks
from lab.config.experiment import change
from lab.data.rows import Rows
from lab.evaluation.score import score
from lab.experiments._any import for_task
from lab.nn.model import make_model
from tasks import Role, Task
from tasks.parity import Parity
from tests.scripted import Countdown, scripted

CASES: list[tuple[Task, int]] = [(Parity(k=3), 8), (Countdown(), 9)]


@pytest.mark.parametrize(("task", "length"), CASES)
def test_a_perfect_model(task: Task, length: int) -> None:
    for batch in (b := Rows(task, length, 0)[0:64], b.without_thoughts()):
        verdict = scripted(task, batch, batch.tokens)
        assert verdict.exact.all() and verdict.answer.all() and verdict.valid.all()
        assert (verdict.first_error == -1).all()


@given(st.integers(0, 7), st.integers(1, 3))
def test_the_first_wrong_token_of_a_thought(row: int, wrong: int) -> None:
    task = Parity(k=3)
    batch = Rows(task, 8, 0)[0:8]
    rows = batch.tokens.copy()
    rows[row, 8 + wrong - 1] ^= 1
    verdict = scripted(task, batch, rows)
    others = np.arange(8) != row
    assert verdict.first_error[row] == wrong - 1 and not verdict.valid[row]
    assert not verdict.exact[row] and verdict.answer[row], "only the thought is wrong"
    assert verdict.exact[others].all() and (verdict.first_error[others] == -1).all()


def test_a_wrong_answer_after_a_right_thought() -> None:
    batch = Rows(Parity(k=3), 8, 0)[0:8]
    rows = batch.tokens.copy()
    rows[:, -1] ^= 1
    verdict = scripted(Parity(k=3), batch, rows)
    assert not verdict.answer.any() and not verdict.exact.any() and verdict.valid.all()


def test_every_task_can_be_scored() -> None:
    for name in tasks.names():
        task = tasks.load(name)()
        from lab.testing import valid_lengths

        length = valid_lengths(task, 12)[-1]
        for batch in (b := Rows(task, length, 0)[0:16], b.without_thoughts()):
            verdict = scripted(task, batch, batch.tokens)
            assert verdict.answer.all() and verdict.valid.all(), name


def test_a_task_without_places_is_refused() -> None:
    base = change(for_task(tasks.load("parity"))(), "model.position", "coupled")
    with pytest.raises(ValueError, match="the task parity has no position ids"):
        score(make_model(base), base, base.probes[0])


@pytest.mark.parametrize("name", tasks.names())
def test_prompts_read_twice(name: str) -> None:
    task = tasks.load(name)()
    from lab.testing import valid_lengths

    batch = Rows(task, valid_lengths(task, 12)[-1], 0)[0:16]
    for once in (batch, batch.without_thoughts()):
        twice = once.repeat_prompt(2)
        for i in range(len(once)):
            prompt = once.tokens[i][once.roles[i] == Role.PROMPT].tolist()
            whole = once.tokens[i][once.roles[i] != Role.PAD].tolist()
            assert twice.tokens[i][twice.roles[i] != Role.PAD].tolist() == prompt + whole
        verdict = scripted(task, twice, twice.tokens)
        assert verdict.answer.all() and verdict.valid.all()
