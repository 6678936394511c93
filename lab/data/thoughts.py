"""Thoughts that are partly given as a hint in the prompt, and training thoughts with errors.

A row of sparse parity with the hidden bits 1 0 1 1, that is with thought and answer 0 1 1 0 | 1:

    0 1 1 0 | 1     the thought without changes
    0 1             reveal = 0.5: these join the prompt, and the model writes 1 0 | 1
    1 0             the same with reveal_of = other, if the thought of the next row is 1 0 1 1
    0 1 0 0 | 1     static noise: the third token is wrong, all others are right
    0 1 0 1 | 0     dynamic noise: the third token is wrong, and what follows is computed from it

reveal is the fraction of the solution that QuestA (2507.13266) gives in the prompt, 50% and later
25%. Here it is the first tokens of each maximal run of THOUGHT and TOOL tokens, rounded down; in a
row without a thought, of ANSWER tokens, but never the last one of a run. A control (ours) gives as
many tokens of another row's solution: hints of the same form that tell nothing of their row.

static and dynamic are the two kinds of noise of TInt (2402.04004), with its two parameters: the
fraction of corrupted rows and the rate within such a row. Our choice: noise acts on single tokens.
A corrupted token becomes another one of its group with equal probability (`Task.noise_groups`: a
digit becomes another digit), so roles, structural tokens, stop tokens and TOOL tokens never change.
Under dynamic noise a row may become longer or shorter. Prompts are never changed.

Each block of training rows has its own random stream of errors, so row i has the same errors in
every epoch and at every batch size. The rows of probes are never corrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.config import TrainConfig
from lab.data.rows import Rows, stream
from tasks import Batch, Corrupt, Role, Task


def reveal(batch: Batch, share: float, of: str = "own") -> Batch:
    """The rows with the first `share` (0 to 1) of every thought given as PROMPT, or of every answer
    in rows without a thought. of: own, or other for the tokens of the next row's thoughts or
    answers, after the last row the first one's."""
    thought = (batch.roles == Role.THOUGHT) | (batch.roles == Role.TOOL)
    whole = thought.any(1, keepdims=True)
    solution = thought | ((batch.roles == Role.ANSWER) & ~whole)
    start = solution.copy()
    start[:, 1:] &= ~solution[:, :-1]
    at, first = np.flatnonzero(solution), np.flatnonzero(start)
    run = start.ravel().cumsum()[at] - 1
    size = np.bincount(run, minlength=len(first))
    given = np.floor(share * size + 1e-9).astype(np.int64)  # 0.29 of 100 is 29
    given = np.minimum(given, size - ~whole[first // batch.roles.shape[1], 0])
    hint = at[at - first[run] < given[run]]
    roles = batch.roles.copy()
    roles.ravel()[hint] = Role.PROMPT
    tokens = batch.tokens
    if of == "other":
        tokens = tokens.copy()
        tokens.ravel()[hint] = _of_next_row(batch.tokens, solution).ravel()[hint]
    return Batch(tokens, roles, batch.hidden)


def _of_next_row(tokens: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """Rows [n, T] with the solution of the next row: the k-th token of a row's solution is the k-th
    there. Where that row has fewer, they begin anew."""
    places, size = np.argsort(~solution, axis=1, kind="stable"), solution.sum(1)
    following = np.roll(np.arange(len(tokens)), -1)
    k = (np.cumsum(solution, 1) - 1) % size[following][:, None]
    column = np.take_along_axis(places[following], k, 1)
    return np.where(solution, np.take_along_axis(tokens[following], column, 1), tokens)


def training_rows(
    task: Task, length: int, config: TrainConfig, stage: int = 0, part: str = ""
) -> Rows:
    """The rows that training draws from at one length, with noise in thoughts if configured.

    stage: of the run (Experiment.stage). Every stage has rows of its own, so that a child does not
    see its parent's rows again (our choice). part: of a mixture that is drawn part by part; so has
    every part."""
    name = f"train {stage}" if stage else "train"
    name += f" part {part}" if part else ""
    if config.cot_noise == "none":
        return Rows(task, length, config.seed, name)
    return _CorruptedRows(task, length, config, name)


class _CorruptedRows(Rows):
    def __init__(self, task: Task, length: int, config: TrainConfig, name: str) -> None:
        super().__init__(task, length, config.seed, name)
        self.config = config

    def _make(self, number: int) -> Batch:
        config, batch = self.config, super()._make(number)
        rng = np.random.default_rng(stream(self.seed, "cot_noise", self.length, number))
        corruptions = draw_corruptions(
            rng, batch.tokens.shape, config.cot_noise_rows, config.cot_noise_rate
        )
        return corrupt_thoughts(
            self.task, self.length, batch, corruptions, config.cot_noise == "dynamic"
        )


def draw_corruptions(
    rng: np.random.Generator, shape: tuple[int, ...], rows: float, rate: float
) -> np.ndarray:
    """Which tokens of rows [n, T] to corrupt: int64 [n, T], -1 for none, else a random number that
    chooses the wrong token."""
    hit = rng.random(shape, np.float32) < rate
    hit &= rng.random((shape[0], 1)) < rows
    corruptions = np.full(shape, -1)
    corruptions[hit] = rng.integers(0, 2**31, int(hit.sum()))
    return corruptions


def corrupt_thoughts(
    task: Task, length: int, batch: Batch, corruptions: np.ndarray, dynamic: bool
) -> Batch:
    """The rows with errors in their thoughts where corruptions [n, T] is not -1.

    ValueError for dynamic noise in a task that cannot continue from an error.
    """
    replace = replacer(task.noise_groups(length), corruptions)
    if dynamic:
        return task.recompute(batch, replace)
    changed = replace(batch.tokens, slice(0, batch.tokens.shape[1]))
    thought = batch.roles == Role.THOUGHT
    if task.stop:  # its last token says that the answer begins
        thought &= thought[:, ::-1].cumsum(1)[:, ::-1] > 1
    return Batch(np.where(thought, changed, batch.tokens), batch.roles, batch.hidden)


def replacer(groups: Sequence[Sequence[int]], corruptions: np.ndarray) -> Corrupt:
    """The function that `Task.recompute` passes thought tokens through: it replaces a token by
    another one of its group where corruptions [n, T] is not -1.

    In a group of s tokens, corruption i takes the token 1 + i % (s - 1) further on. Columns beyond
    T are not corrupted.
    """
    order = np.array([token for group in groups for token in group], np.int64)
    size, first, index = np.zeros((3, int(order.max(initial=-1)) + 2), np.int64)
    for group in groups:
        members = np.array(group)
        size[members], index[members] = len(members), np.arange(len(members))
        first[members] = np.flatnonzero(order == members[0])[0]

    def replace(tokens: np.ndarray, columns: int | slice) -> np.ndarray:
        chosen = corruptions[:, columns]
        if chosen.shape != tokens.shape:  # a row that errors have made longer
            missing = tokens.shape[1] - chosen.shape[1]
            chosen = np.pad(chosen, ((0, 0), (0, missing)), constant_values=-1)
        token = np.minimum(tokens, len(size) - 1)  # the last entry of the tables: in no group
        at = np.nonzero((chosen >= 0) & (size[token] > 1))
        token, number = token[at], chosen[at]
        out = tokens.copy()
        other = (index[token] + 1 + number % (size[token] - 1)) % size[token]
        out[at] = order[first[token] + other]
        return out

    return replace
