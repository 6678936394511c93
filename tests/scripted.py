"""A task and a model that write what a test tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lab.config import ModelConfig
from lab.evaluation.score import score_batch
from lab.nn.model import State
from tasks import Batch, Role, Task, left_align

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
        return left_align(tokens, roles)

    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        half = (len(prompt) - 1) // 2
        return [DOT] * half + [3], [2 if len(prompt) % 2 else DOT, END]


class Scripted(torch.nn.Module):
    """Writes the rows it was given, whatever it reads. Its state: which rows, how many tokens."""

    def __init__(self, rows: np.ndarray, words: int) -> None:
        super().__init__()
        self.rows, self.words = torch.from_numpy(rows), words
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = ModelConfig(position="none")
        self.head, self.next_place = torch.nn.Identity(), None
        self.steps = 0  # rows that went through step

    def _next(self, rows: torch.Tensor, t: int) -> torch.Tensor:
        last = self.rows.shape[1] - 1
        return torch.nn.functional.one_hot(self.rows[rows, min(t, last)], self.words).float()

    def hidden(self, x: torch.Tensor, where: torch.Tensor, ids: None) -> torch.Tensor:
        every = torch.arange(len(x))
        return torch.stack([self._next(every, t + 1) for t in range(x.shape[1])], 1)[where]

    def prefill(self, x: torch.Tensor, ids: None) -> tuple[torch.Tensor, Any]:
        every = torch.arange(len(x))
        if len(x) < len(self.rows):  # some rows, told by what was read of them
            same = (self.rows[:, : x.shape[1]] == x[:, None]).all(-1)
            assert (same.sum(1) == 1).all()
            every = same.int().argmax(1)
        return self._next(every, x.shape[1]), State([every], x.shape[1])

    def step(self, token: torch.Tensor, state: State, ids: None) -> tuple[torch.Tensor, Any]:
        (rows,) = state.layers
        assert len(rows) == len(token)
        self.steps += len(rows)
        return self._next(rows, state.t + 1), State([rows], state.t + 1)


def scripted(task: Task, batch: Batch, rows: np.ndarray) -> Any:
    return score_batch(Scripted(rows, len(task.words)), task, batch)  # type: ignore[arg-type]


def row(prompt: list[int], thought: list[int], answer: list[int]) -> Batch:
    roles = np.repeat(
        [Role.PROMPT, Role.THOUGHT, Role.ANSWER], [len(prompt), len(thought), len(answer)]
    )
    return Batch(np.array([prompt + thought + answer]), roles[None].astype(np.uint8))
