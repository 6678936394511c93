"""Free-running decoding: the model writes every supervised token itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from lab.data.position_ids import position_ids
from lab.nn.model import Model, select_rows
from tasks import Batch, Role, Task

# How a token is chosen: pick(logits [m, V], rows of the batch [m], position) -> tokens [m].
Pick = Callable[[torch.Tensor, np.ndarray, int], np.ndarray]


def greedy(logits: torch.Tensor, rows: np.ndarray, t: int) -> np.ndarray:
    """The most likely token."""
    return logits.argmax(-1).cpu().numpy()


@torch.inference_mode()
def decode(
    model: Model,
    task: Task,
    batch: Batch,
    pick: Pick = greedy,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """Rows int64 [n, T]: prompt tokens are given, tools answer, the model writes the rest.

    known: int [n], the columns before which a row is known to be the reference, at most up to its
    last supervised token; these are given too.

    All rows decode in lockstep, one token a step; finished rows leave the batch and its state.
    Positions after a stop token hold 0. T is that of the batch, enough for every correct row.
    Position ids of generated tokens are the reference's under coupled, the model's under predicted.
    """
    device = next(model.parameters()).device
    given = batch.roles == Role.PROMPT
    T = batch.tokens.shape[1]
    if known is not None:
        given |= np.arange(T) < known[:, None]
    ids = position_ids(task, model.config, batch)
    start = int(given.cumprod(1).sum(1).min())  # the shortest given part
    written = np.where(given, batch.tokens, 0)
    rows = np.arange(len(batch))  # rows that are still decoded
    done = np.zeros(len(batch), bool)

    def on_device(array: np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    prompt = on_device(written[:, :start])
    assert prompt is not None
    logits, state = model.prefill(prompt, on_device(None if ids is None else ids[:, :start]))
    for t in range(start, T):
        own = pick(logits, rows, t)
        for i, token in _tool_tokens(task, written[rows, :t], given[rows, t] | done[rows]):
            own[i] = token
        written[rows, t] = np.where(
            given[rows, t], batch.tokens[rows, t], np.where(done[rows], 0, own)
        )
        if task.stop:
            done[rows] |= np.isin(written[rows, t], task.stop) & ~given[rows, t]
            left = np.flatnonzero(~done[rows])
            if not len(left):
                break
            if len(left) <= 0.875 * len(rows):  # otherwise the copy costs more than it saves
                rows = rows[left]
                state = select_rows(state, torch.from_numpy(left).to(device))
        if t + 1 < T:
            place = on_device(None if ids is None else ids[rows, t])
            if place is not None and state.place is not None:
                place = torch.where(torch.from_numpy(given[rows, t]).to(device), place, state.place)
            token_ids = torch.from_numpy(written[rows, t]).to(device)
            logits, state = model.step(token_ids, state, place)
    return written


def _tool_tokens(task: Task, prefix: np.ndarray, skip: np.ndarray) -> Iterator[tuple[int, int]]:
    if type(task).tool is Task.tool:
        return
    for row in np.flatnonzero(~skip):
        token = task.tool(prefix[row].tolist())
        if token is not None:
            yield int(row), token


def compare(
    task: Task, batch: Batch, written: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(answer right bool [n], thought right bool [n], index of the first wrong thought token int
    [n]) for rows that a model wrote; -1 where the whole thought is right."""
    thought = np.isin(batch.roles, (Role.THOUGHT, Role.TOOL))
    wrong = (written != batch.tokens) & thought
    number = np.cumsum(thought, 1) - 1
    first = np.where(
        wrong.any(1), np.take_along_axis(number, wrong.argmax(1)[:, None], 1)[:, 0], -1
    )
    if not task.stop:
        right = (written == batch.tokens) | (batch.roles != Role.ANSWER)
        return right.all(1), ~wrong.any(1), first
    pairs = zip(answers(task, batch, written), answers(task, batch, batch.tokens), strict=True)
    right = np.array([own is not None and own == wanted for own, wanted in pairs], bool)
    return right, ~wrong.any(1), first


def answers(task: Task, batch: Batch, rows: np.ndarray) -> list[bytes | None]:
    """The answers in rows [n, T] that begin with the batch's prompts, as bytes to compare; None
    where a row has no answer.

    With stop tokens, an answer is as many tokens as the reference's answer has, up to the first
    stop token, and the delimiter before them. Where no thought is written, it is everything after
    the prompt.
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
