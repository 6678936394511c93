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
from lab.config import ModelConfig
from lab.config.experiment import change
from lab.data.rows import Rows
from lab.evaluation.decode import compare, decode
from lab.evaluation.score import score, score_batch
from lab.experiments._any import for_task
from lab.nn.model import State, make_model
from tasks import Batch, Role, Task, left_align
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
        return self._next(every, x.shape[1]), State([every], x.shape[1])

    def step(self, token: torch.Tensor, state: State, ids: None) -> tuple[torch.Tensor, Any]:
        (rows,) = state.layers
        assert len(rows) == len(token)
        self.steps += len(rows)
        return self._next(rows, state.t + 1), State([rows], state.t + 1)


def scripted(task: Task, batch: Batch, rows: np.ndarray) -> Any:
    return score_batch(Scripted(rows, len(task.words)), task, batch)  # type: ignore[arg-type]


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


def test_rows_that_ended_cost_nothing() -> None:
    task = Countdown()
    batch = Rows(task, 40, 0)[0:256]
    model = Scripted(batch.tokens, 4)
    decode(model, task, batch)  # type: ignore[arg-type]
    sizes = (batch.roles != Role.PAD).sum(1)
    start = int((batch.roles == Role.PROMPT).sum(1).min())
    assert model.steps < 1.25 * (sizes - start).sum() < 0.8 * 256 * (sizes.max() - start)


@dataclass(frozen=True)
class Asking(Countdown):
    """Countdown whose thought asks a tool after "ask": the tool says "half"."""

    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        thought, answer = super().solve(prompt)
        return [*thought, 2], answer

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        parts = [row([DOT, 3], [3, 2], [2, END]), row([DOT, DOT, 3], [DOT, 3, 2], [2, END])]
        batches = [parts[i] for i in rng.integers(0, 2, n)]
        wide = max(b.tokens.shape[1] for b in batches)
        tokens, roles = (
            np.concatenate([np.pad(a, ((0, 0), (0, wide - a.shape[1]))) for a in arrays])
            for arrays in ([b.tokens for b in batches], [b.roles for b in batches])
        )
        roles[(tokens == 2) & (roles == Role.THOUGHT)] = Role.TOOL
        return Batch(tokens, roles)

    def tool(self, prefix: Sequence[int]) -> int | None:
        return 2 if len(prefix) > 1 and prefix[-1] == 3 and prefix.count(3) == 2 else None


def test_the_tool_answers_while_decoding() -> None:
    task = Asking()
    batch = task.sample(np.random.default_rng(0), 16, 3)
    wrong = np.where(batch.roles == Role.TOOL, DOT, batch.tokens)  # the model would say otherwise
    assert (decode(Scripted(wrong, 4), task, batch) == batch.tokens).all()  # type: ignore[arg-type]
    verdict = scripted(task, batch, wrong)
    assert verdict.answer.all() and verdict.valid.all() and verdict.exact.all()


@pytest.mark.parametrize(("name", "cot"), [("copy", True), ("planted", True), ("planted", False)])
@pytest.mark.parametrize("position", ["coupled", "predicted"])
def test_coupled_places(name: str, cot: bool, position: str) -> None:
    """A model with the task's places decodes, and with them the logits of the parallel form."""
    base = for_task(tasks.load(name))(cot=cot)
    for path, value in {"model.position": position, "model.width": "16"}.items():
        base = change(base, path, value)
    model = make_model(base)
    found = score(model, base, base.probes[1])
    assert 0 <= found.answer <= 1


def test_predicted_places_are_what_the_model_reads() -> None:
    """Decoding feeds the second head's choice, not the reference's."""
    base = change(for_task(tasks.load("planted"))(), "model.position", "predicted")
    model = make_model(base).eval()
    batch = Rows(base.task, 8, 0)[0:4]
    fed: list[torch.Tensor] = []
    step = model.step

    def spy(token: torch.Tensor, state: State, ids: torch.Tensor) -> Any:
        assert state.place is not None
        fed.append(torch.stack([ids, state.place]))
        return step(token, state, ids)

    model.step = spy
    decode(model, base.task, batch)
    assert fed and all(torch.equal(*pair) for pair in fed)


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
