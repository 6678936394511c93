"""Completions that a model samples for the prompts of a training batch.

Random numbers depend on seed, step, position and row alone (lab.evaluation.sampling). The model is
given prompts and, for tasks without stop tokens, the roles of a row; never a supervised token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab.config import Experiment
from lab.data.rows import stream
from lab.evaluation.decode import Pick, decode
from lab.evaluation.mode import evaluating
from lab.evaluation.sampling import sampler
from lab.evaluation.score import ROWS_AT_ONCE
from lab.nn.inputs import Inputs
from lab.nn.model import Model
from tasks import Batch, Role, Task


@dataclass(frozen=True)
class Rollouts:
    """Completions of n prompts, G of each, in the order of the prompts: N = n G rows.

    batch: the rows of the task, each G times. written: tokens int64 [N, T] that begin with the
    prompts. own: bool [N, T], the tokens that the model chose, its stop token the last one.
    room: tokens that the longest completion could have. entropy: of the choices, mean over all of
    them, in nats, at the temperature of sampling.
    """

    batch: Batch
    written: np.ndarray
    own: np.ndarray
    room: int
    entropy: float

    def inputs(self, device: torch.device, rows: np.ndarray | slice = slice(None)) -> Inputs:
        """Some rows with their own tokens supervised, as wide as the longest of all."""
        T = int(np.flatnonzero(self.own.any(0)).max()) + 1
        own = np.ascontiguousarray(self.own[rows, 1:T])
        tokens = np.ascontiguousarray(self.written[rows, :T])
        return Inputs(torch.from_numpy(tokens).to(device), torch.from_numpy(own).to(device), None)


def roll_out(model: Model, experiment: Experiment, batch: Batch, step: int) -> Rollouts:
    """Sample completions for the scored part of a training batch of n rows at this step (from
    0)."""
    task, config = experiment.task, experiment.train
    repeated = np.repeat(np.arange(len(batch)), config.samples)
    every = task.scored_part(batch)[repeated]
    written, entropy = np.zeros_like(every.tokens), np.zeros(every.tokens.shape)
    for part, first in enumerate(range(0, len(every), ROWS_AT_ONCE)):
        rows = slice(first, first + ROWS_AT_ONCE)
        some = Batch(every.tokens[rows], every.roles[rows], every.hidden[rows])
        rng = np.random.default_rng(stream(config.seed, "rollout", experiment.stage, step, part))
        pick = sampler(rng, every.tokens.shape[1], config.temperature)
        with evaluating(model, config.precision):
            noted = _noting(pick, entropy[rows], config.temperature)
            written[rows] = decode(model, task, some, noted)
    own, free = chosen(task, every, written)
    return Rollouts(every, written, own, int(free.sum(1).max()), float(entropy[own].mean()))


def chosen(task: Task, batch: Batch, written: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens of rows that a model wrote it chose, and which it could, bool [n, T]: up to its
    first stop token, and up to the last column; or where the row has a thought or an answer."""
    if not task.stop:
        free: np.ndarray = np.isin(batch.roles, (Role.THOUGHT, Role.ANSWER))
        return free, free
    free = batch.roles != Role.PROMPT
    stops = np.isin(written, task.stop) & free
    return free & (np.cumsum(stops, 1) - stops == 0), free


def _noting(pick: Pick, entropy: np.ndarray, temperature: float) -> Pick:
    """The same choice; the entropy of its distribution goes to entropy [n, T]."""

    def noted(logits: torch.Tensor, rows: np.ndarray, t: int) -> np.ndarray:
        log = (logits.float() / temperature).log_softmax(-1)
        entropy[rows, t] = -(log.exp() * log).sum(-1).cpu().numpy()
        return pick(logits, rows, t)

    return noted
