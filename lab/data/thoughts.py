"""Thoughts that the prompt gives away in part, and training thoughts with errors in them.

A row of sparse parity with the hidden bits 1 0 1 1, that is with thought and answer 0 1 1 0 | 1:

    0 1 1 0 | 1     the thought as it is
    0 1             with reveal = 0.5 these join the prompt, and 1 0 | 1 is still to be written
    0 1 0 0 | 1     static: the third token is altered when all is done; the rest stays right
    0 1 0 1 | 0     dynamic: the third token is written wrong, and all that follows goes on from it

reveal is the part of the solution that QuestA (2507.13266) prepends, 50% and later 25% of it. Here
it is the first tokens of each maximal run of THOUGHT and TOOL tokens, rounded down.

static and dynamic are the two kinds of noise of TInt (2402.04004), with its two knobs, the share of
rows and the rate within a row. Our choice: the unit is a token; a hit one becomes, uniformly,
another of its kind (`Task.noise_groups`: a digit becomes a digit), so roles, marks and stop tokens stay,
and TOOL tokens stay as well. Dynamic errors sit where the thought is written, so a row may get
longer or shorter where its length follows from what is written. Prompts are never altered.

Errors have a stream of their own for each block of training rows, so a row of given number has the
same ones in every epoch and whatever the batch; the rows of the probes are never damaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.config import TrainConfig
from lab.data.rows import Rows, stream
from tasks import Batch, Corrupt, Role, Task


def reveal(batch: Batch, share: float) -> Batch:
    """The rows with the first `share` of every thought turned into PROMPT."""
    thought = (batch.roles == Role.THOUGHT) | (batch.roles == Role.TOOL)
    start = thought.copy()
    start[:, 1:] &= ~thought[:, :-1]
    at, first = np.flatnonzero(thought), np.flatnonzero(start)
    run = start.ravel().cumsum()[at] - 1
    size = np.bincount(run, minlength=len(first))
    given = np.floor(share * size + 1e-9).astype(np.int64)  # 0.29 of 100 is 29
    roles = batch.roles.copy()
    roles.ravel()[at[at - first[run] < given[run]]] = Role.PROMPT
    return Batch(batch.tokens, roles, batch.hidden)


def training_rows(task: Task, length: int, config: TrainConfig) -> Rows:
    """The rows that training sees at one length, with errors if the configuration wants them."""
    if config.cot_noise == "none":
        return Rows(task, length, config.seed, "train")
    return _Damaged(task, length, config)


class _Damaged(Rows):
    def __init__(self, task: Task, length: int, config: TrainConfig) -> None:
        super().__init__(task, length, config.seed, "train")
        self.config = config

    def _make(self, number: int) -> Batch:
        config, batch = self.config, super()._make(number)
        rng = np.random.default_rng(stream(self.seed, "cot_noise", self.length, number))
        corruptions = draw_corruptions(
            rng, batch.tokens.shape, config.cot_noise_rows, config.cot_noise_rate
        )
        return damage(self.task, self.length, batch, corruptions, config.cot_noise == "dynamic")


def draw_corruptions(
    rng: np.random.Generator, shape: tuple[int, ...], rows: float, rate: float
) -> np.ndarray:
    """Where errors fall in rows [n, T]: int64 [n, T], -1 for none, else which other token."""
    hit = rng.random(shape, np.float32) < rate
    hit &= rng.random((shape[0], 1)) < rows
    corruptions = np.full(shape, -1)
    corruptions[hit] = rng.integers(0, 2**31, int(hit.sum()))
    return corruptions


def damage(task: Task, length: int, batch: Batch, corruptions: np.ndarray, dynamic: bool) -> Batch:
    """The rows with their thoughts altered where corruptions [n, T] says so, dynamic or static.

    ValueError for a dynamic error in a task that cannot go on from it.
    """
    write = writer(task.noise_groups(length), corruptions)
    if dynamic:
        return task.recompute(batch, write)
    altered = write(batch.tokens, slice(0, batch.tokens.shape[1]))
    thought = batch.roles == Role.THOUGHT
    if task.stop:  # its last token says that the answer begins
        thought &= thought[:, ::-1].cumsum(1)[:, ::-1] > 1
    return Batch(np.where(thought, altered, batch.tokens), batch.roles, batch.hidden)


def writer(kinds: Sequence[Sequence[int]], corruptions: np.ndarray) -> Corrupt:
    """What `Task.recompute` writes with: a token, or another of its kind where corruptions [n, T] has one.

    Of a kind of s tokens, slip i puts the one 1 + i % (s - 1) places on. No corruptions beyond T.
    """
    order = np.array([token for kind in kinds for token in kind], np.int64)
    size, first, place = np.zeros((3, int(order.max(initial=-1)) + 2), np.int64)
    for kind in kinds:
        members = np.array(kind)
        size[members], place[members] = len(members), np.arange(len(members))
        first[members] = np.flatnonzero(order == members[0])[0]

    def write(tokens: np.ndarray, columns: int | slice) -> np.ndarray:
        slip = corruptions[:, columns]
        if slip.shape != tokens.shape:  # a row that errors have made longer
            missing = tokens.shape[1] - slip.shape[1]
            slip = np.pad(slip, ((0, 0), (0, missing)), constant_values=-1)
        token = np.minimum(tokens, len(size) - 1)  # the last entry of the tables: of no kind
        at = np.nonzero((slip >= 0) & (size[token] > 1))
        token, by = token[at], slip[at]
        out = tokens.copy()
        turned = (place[token] + 1 + by % (size[token] - 1)) % size[token]
        out[at] = order[first[token] + turned]
        return out

    return write
