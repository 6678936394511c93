"""Free-running decoding: what is given, what the model writes, where a row ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

import tasks
from lab.config.experiment import change
from lab.data.rows import Rows
from lab.evaluation.decode import compare, decode
from lab.evaluation.score import score
from lab.experiments._any import for_task
from lab.nn.model import State, make_model
from tasks import Batch, Role
from tasks.parity import Parity
from tests.scripted import DOT, END, Countdown, Scripted, row, scripted


def test_prompts_are_forced() -> None:
    task = Parity(k=3)
    batch = Rows(task, 8, 0)[0:8]
    written = decode(Scripted(1 - batch.tokens, 2), task, batch)  # type: ignore[arg-type]
    assert (written[:, :8] == batch.tokens[:, :8]).all()
    assert (written[:, 8:] == 1 - batch.tokens[:, 8:]).all()


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
