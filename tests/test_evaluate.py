"""Scoring: models that are known to be right, or wrong at a known place, and where answers end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tasks
from lab.data import Rows
from lab.evaluate import compare, decode, judge
from tasks import Batch, Role, Task, pack
from tasks.parity import Parity

END, DOT = 0, 1


@dataclass(frozen=True)
class Countdown(Task):
    """Ragged rows: n dots, a thought that counts them down by dots, END as the answer's end."""

    split: str = "train"

    @property
    def words(self) -> tuple[str, ...]:
        return ("end", "dot", "half", "ask")

    @property
    def stop(self) -> tuple[int, ...]:
        return (END,)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        size = rng.integers(1, length + 1, n)
        tokens = np.zeros((n, 2 * length + 3), np.int64)
        roles = np.zeros_like(tokens, dtype=np.uint8)
        for row, s in enumerate(size):
            thought, answer = self.solve([DOT] * s + [3])
            parts = [DOT] * s + [3], thought, answer
            tokens[row, : sum(map(len, parts))] = np.concatenate(parts)
            roles[row, : sum(map(len, parts))] = np.repeat(
                [Role.PROMPT, Role.THOUGHT, Role.ANSWER], [len(p) for p in parts]
            )
        return pack(tokens, roles)

    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        half = (len(prompt) - 1) // 2
        return [DOT] * half + [3], [2 if len(prompt) % 2 else DOT, END]


class Scripted(torch.nn.Module):
    """Writes the rows it was given, whatever it reads."""

    def __init__(self, rows: np.ndarray, words: int) -> None:
        super().__init__()
        self.rows, self.words = torch.from_numpy(rows), words
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def _next(self, t: int) -> torch.Tensor:
        T = self.rows.shape[1]
        token = self.rows[:, t] if t < T else torch.zeros_like(self.rows[:, 0])
        return torch.nn.functional.one_hot(token, self.words).float()

    def forward(self, x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        every = torch.stack([self._next(t + 1) for t in range(x.shape[1])], 1)
        return every[where]

    def prefill(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return self._next(x.shape[1]), x.shape[1]

    def step(self, token: torch.Tensor, t: int) -> tuple[torch.Tensor, int]:
        return self._next(t + 1), t + 1


def scripted(task: Task, batch: Batch, rows: np.ndarray) -> Any:
    return judge(Scripted(rows, len(task.words)), task, batch)  # type: ignore[arg-type]


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


def test_prompts_are_forced() -> None:
    task = Parity(k=3)
    batch = Rows(task, 8, 0)[0:8]
    written = decode(Scripted(1 - batch.tokens, 2), task, batch)  # type: ignore[arg-type]
    assert (written[:, :8] == batch.tokens[:, :8]).all()
    assert (written[:, 8:] == 1 - batch.tokens[:, 8:]).all()


def row(prompt: list[int], thought: list[int], answer: list[int]) -> Batch:
    roles = np.repeat(
        [Role.PROMPT, Role.THOUGHT, Role.ANSWER], [len(prompt), len(thought), len(answer)]
    )
    return Batch(np.array([prompt + thought + answer]), roles[None].astype(np.uint8))


@pytest.mark.parametrize(
    ("own", "right"),
    [
        ([DOT, DOT, 3, 2, END], True),  # as the reference
        ([DOT, 3, 2, END, 0], True),  # another thought, same delimiter and answer
        ([DOT, DOT, 3, DOT, END], False),  # wrong answer
        ([DOT, DOT, 2, 2, END], False),  # no delimiter before the answer
        ([DOT, DOT, 3, 2, 2], False),  # never ends
        ([END, DOT, 3, 2, END], False),  # ends too soon
        ([2, END, 3, 2, END], False),  # answers before any thought
    ],
)
def test_where_an_answer_ends(own: list[int], right: bool) -> None:
    batch = row([DOT, DOT, DOT, DOT, 3], [DOT, DOT, 3], [2, END])
    written = np.array([[DOT, DOT, DOT, DOT, 3, *own]])
    answer, valid, first = compare(Countdown(), batch, written)
    assert answer.tolist() == [right]
    assert valid.tolist() == [own[:3] == [DOT, DOT, 3]]
    assert (first[0] >= 0) == (not valid[0])


def test_ragged_prompts_are_all_forced() -> None:
    task = Countdown()
    batch = Rows(task, 9, 0)[0:32]
    written = decode(Scripted(np.zeros_like(batch.tokens), 4), task, batch)  # type: ignore[arg-type]
    prompt = batch.roles == Role.PROMPT
    assert (written[prompt] == batch.tokens[prompt]).all()


def test_every_task_can_be_scored() -> None:
    for name in tasks.names():
        task = tasks.load(name)()
        from lab.testing import valid_lengths

        length = valid_lengths(task, 12)[-1]
        for batch in (b := Rows(task, length, 0)[0:16], b.without_thoughts()):
            verdict = scripted(task, batch, batch.tokens)
            assert verdict.answer.all() and verdict.valid.all(), name
