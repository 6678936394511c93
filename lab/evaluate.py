"""Scores of a model on a probe: teacher-forced and free-running, and where a thought goes wrong.

exact    share of rows with the top logit right at every supervised token, all earlier tokens given
         from the reference (the accuracy of 2410.05459 and 2502.08991)
answer   share of rows whose answer is right when the model writes every supervised token itself
valid    share of rows whose own thought is the oracle's, token by token

What decoding is told: the prompt, a tool's tokens, and, for tasks without stop tokens, the layout
that all rows share or that the task gives. With stop tokens a row ends where the model writes one;
its answer must stand between the reference's last thought token, or the prompt where no thought is
left to write, and that end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lab.config import Experiment, Probe
from lab.data import Rows, stream
from lab.model import Model, keep
from lab.results import Score
from lab.stats import wilson
from lab.train import places, precision, teacher_forced, to_torch
from tasks import Batch, Role, Task

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Verdict:
    """Per row: teacher-forced exact, free-running answer and thought right (bool [n]); index of the
    first wrong token of the thought (int [n], -1: none)."""

    exact: np.ndarray
    answer: np.ndarray
    valid: np.ndarray
    first_error: np.ndarray


def questions(experiment: Experiment, probe: Probe) -> Iterator[Batch]:
    """The n rows of a probe as the model is asked them, at most ROWS_AT_ONCE at a time."""
    task = probe.of(experiment.task)
    seed = stream(experiment.train.seed, "probe", probe.label, probe.length)
    rows = Rows(task, probe.length, int(seed.generate_state(1)[0]), "probe")
    for start in range(0, probe.n, ROWS_AT_ONCE):
        yield task.asked(experiment.view(rows[start : min(start + ROWS_AT_ONCE, probe.n)]))


def score(model: Model, experiment: Experiment, probe: Probe) -> Score:
    """Score one probe on its own stream of rows: adding a probe changes no other."""
    task = probe.of(experiment.task)
    parts = []
    for batch in questions(experiment, probe):
        parts.append(judge(model, task, batch, experiment.train.precision))
    exact, answer, valid, first = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("exact", "answer", "valid", "first_error")
    )
    low, high = wilson(exact.sum(), probe.n)
    answer_low, answer_high = wilson(answer.sum(), probe.n)
    thought = bool(experiment.cot and (batch.roles == Role.THOUGHT).any())
    return Score(
        probe=probe.label,
        length=probe.length,
        n=probe.n,
        exact=float(exact.mean()),
        low=low,
        high=high,
        answer=float(answer.mean()),
        answer_low=answer_low,
        answer_high=answer_high,
        chance=task.chance(probe.length),
        valid_thought=float(valid.mean()) if thought else None,
        first_error=float(np.median(first[first >= 0])) if (first >= 0).any() else None,
    )


def glance(model: Model, experiment: Experiment, probe: Probe) -> dict[str, Any]:
    """What of a Score needs no decoding: probe, length, n, exact, low, high."""
    task, right = probe.of(experiment.task), 0
    for batch in questions(experiment, probe):
        right += int(forced(model, task, batch, experiment.train.precision).sum())
    low, high = wilson(right, probe.n)
    return {
        "probe": probe.label,
        "length": probe.length,
        "n": probe.n,
        "exact": right / probe.n,
        "low": low,
        "high": high,
    }


@torch.inference_mode()
def forced(model: Model, task: Task, batch: Batch, kind: str = "fp32") -> np.ndarray:
    """Whether all supervised tokens of a row have the top logit, earlier ones given: bool [n]."""
    model.eval()
    device = next(model.parameters()).device
    with precision(kind, device), torch.compiler.set_stance("force_eager"):
        _, exact = teacher_forced(model, to_torch(task, model.config, batch, device))
    return exact.cpu().numpy()


@torch.inference_mode()
def judge(model: Model, task: Task, batch: Batch, kind: str = "fp32") -> Verdict:
    """Both verdicts on every row of a batch."""
    model.eval()
    device = next(model.parameters()).device
    exact = forced(model, task, batch, kind)
    with precision(kind, device), torch.compiler.set_stance("force_eager"):
        written = decode(model, task, batch)
    answer, valid, first = compare(task, batch, written)
    return Verdict(exact, answer, valid, first)


# How a token is chosen: pick(logits [m, V], which rows of the batch [m], place in the row) -> [m].
Pick = Callable[[torch.Tensor, np.ndarray, int], np.ndarray]


def greedy(logits: torch.Tensor, rows: np.ndarray, t: int) -> np.ndarray:
    """The most likely token."""
    return logits.argmax(-1).cpu().numpy()


@torch.inference_mode()
def decode(model: Model, task: Task, batch: Batch, pick: Pick = greedy) -> np.ndarray:
    """Rows int64 [n, T]: prompts forced, tools answered, the rest the model's own tokens.

    Rows move together, one column a step, with the mixers' states; those that have ended are left
    out of the steps. Places after a stop token hold 0. T is that of the batch, which fits every
    right row. Coupled places of generated tokens are the reference's, predicted ones the model's.
    """
    device = next(model.parameters()).device
    told = batch.roles == Role.PROMPT
    T = batch.tokens.shape[1]
    ids = places(task, model.config, batch)
    start = int((told.cumprod(1)).sum(1).min())  # every row's prompt goes at least this far
    written = np.where(told, batch.tokens, 0)
    rows = np.arange(len(batch))  # those still in the state
    done = np.zeros(len(batch), bool)

    def on_device(array: np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    prompt = on_device(written[:, :start])
    assert prompt is not None
    logits, state = model.prefill(prompt, on_device(None if ids is None else ids[:, :start]))
    for t in range(start, T):
        own = pick(logits, rows, t)
        for i, token in _served(task, written[rows, :t], told[rows, t] | done[rows]):
            own[i] = token
        written[rows, t] = np.where(
            told[rows, t], batch.tokens[rows, t], np.where(done[rows], 0, own)
        )
        if task.stop:
            done[rows] |= np.isin(written[rows, t], task.stop) & ~told[rows, t]
            left = np.flatnonzero(~done[rows])
            if not len(left):
                break
            if len(left) <= 0.875 * len(rows):  # worth the copy
                rows = rows[left]
                state = keep(state, torch.from_numpy(left).to(device))
        if t + 1 < T:
            place = on_device(None if ids is None else ids[rows, t])
            if place is not None and state.place is not None:
                place = torch.where(torch.from_numpy(told[rows, t]).to(device), place, state.place)
            token_ids = torch.from_numpy(written[rows, t]).to(device)
            logits, state = model.step(token_ids, state, place)
    return written


def _served(task: Task, prefix: np.ndarray, skip: np.ndarray) -> Iterator[tuple[int, int]]:
    if type(task).tool is Task.tool:
        return
    for row in np.flatnonzero(~skip):
        token = task.tool(prefix[row].tolist())
        if token is not None:
            yield int(row), token


def compare(
    task: Task, batch: Batch, written: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """answer right bool [n], thought right bool [n], index of its first wrong token int [n]."""
    thought = np.isin(batch.roles, (Role.THOUGHT, Role.TOOL))
    wrong = (written != batch.tokens) & thought
    number = np.cumsum(thought, 1) - 1
    first = np.where(
        wrong.any(1), np.take_along_axis(number, wrong.argmax(1)[:, None], 1)[:, 0], -1
    )
    if not task.stop:
        right = (written == batch.tokens) | (batch.roles != Role.ANSWER)
        return right.all(1), ~wrong.any(1), first
    given = zip(answers(task, batch, written), answers(task, batch, batch.tokens), strict=True)
    right = np.array([own is not None and own == wanted for own, wanted in given], bool)
    return right, ~wrong.any(1), first


def answers(task: Task, batch: Batch, rows: np.ndarray) -> list[bytes | None]:
    """What rows [n, T] that begin with the batch's prompts answer, to be compared; None: nothing.

    With stop tokens: as many tokens as the reference's answer has, up to the first stop token, and
    the delimiter before them; where no thought is left to write, all that follows the prompt.
    """
    if not task.stop:
        mask = batch.roles == Role.ANSWER
        return [row[own].tobytes() for row, own in zip(rows, mask, strict=True)]
    return [_ending(row, roles, task.stop) for row, roles in zip(rows, batch.roles, strict=True)]


def _ending(row: np.ndarray, roles: np.ndarray, stop: tuple[int, ...]) -> bytes | None:
    prompt = int((roles == Role.PROMPT).sum())
    ends = prompt + np.flatnonzero(np.isin(row[prompt:], stop))
    if not len(ends):
        return None
    stopped, start = int(ends[0]) + 1, prompt
    if np.isin(roles, (Role.THOUGHT, Role.TOOL)).any():
        start = stopped - int((roles == Role.ANSWER).sum()) - 1
    return row[start:stopped].tobytes() if start >= prompt else None
