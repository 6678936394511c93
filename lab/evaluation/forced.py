"""Teacher forcing: which supervised tokens have the highest logit, earlier tokens given.

Models are causal, so a row is known to be wrong at its first wrong token, whatever follows. On a
CPU rows are read a few at a time (larger batches are no faster there), the first few to their end.
The others are read up to the column c that costs least if they are like the first ones, and to
their end only if they are right up to there:

    cost(c) = c + T x (fraction of rows that are right up to column c)        cost(T) = T
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from lab.evaluation.mode import evaluating
from lab.nn.inputs import Inputs, to_torch
from lab.nn.model import Model
from tasks import Batch, Task

TOKENS_AT_ONCE = 2048  # on a CPU: activations of about so many tokens stay in its cache
ROWS_AT_LEAST = 16

# Parallel and stepwise forms of a model round differently. A choice is in doubt where the highest
# logit leads the second one by less than this fraction of the largest magnitude of all.
DOUBT = {"fp32": 1e-3, "bf16": 0.1}


class Forced(NamedTuple):
    """exact bool [n]: all supervised tokens of the row have the highest logit. first int [n]: the
    column of its first supervised token that has not, or whose choice is in doubt; T where there is
    none. doubt bool [n]: that choice is in doubt."""

    exact: np.ndarray
    first: np.ndarray
    doubt: np.ndarray


def teacher_force(model: Model, task: Task, batch: Batch, kind: str = "fp32") -> Forced:
    """The choices of a model on rows [n, T], at activations of this kind, fp32 or bf16."""
    with evaluating(model, kind) as device:
        inputs = to_torch(task, model.config, batch, device)
        n, T = batch.tokens.shape
        few = max(ROWS_AT_LEAST, TOKENS_AT_ONCE // T) if device.type == "cpu" else n
        wrong, doubt = np.full((2, n), T)

        def read(rows: np.ndarray, stop: int) -> None:
            for start in range(0, len(rows), few):
                part = rows[start : start + few]
                wrong[part], doubt[part] = _first(model, inputs, part, stop, DOUBT[kind])

        rows = np.arange(n)
        read(rows[:few], T)
        rows, stop = rows[few:], cheapest(wrong[:few], T)
        if stop < T:
            read(rows, stop)
            rows = rows[wrong[rows] == T]
        read(rows, T)
    return Forced(wrong == T, np.minimum(wrong, doubt), (doubt <= wrong) & (doubt < T))


def cheapest(wrong: np.ndarray, T: int) -> int:
    """The column up to which it costs least to read rows of T tokens that resemble rows whose first
    wrong tokens are at these columns [n], T for none."""
    stops = np.unique(np.minimum(wrong + 1, T))
    cost = [stop + T * (wrong >= stop).mean() if stop < T else T for stop in stops]
    return int(stops[np.argmin(cost)])


def _first(
    model: Model, inputs: Inputs, rows: np.ndarray, stop: int, doubt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of these rows, read up to column `stop`: the columns of the first wrong token and of the
    first choice in doubt, T for none."""
    T = inputs.tokens.shape[1]
    picked = torch.from_numpy(rows).to(inputs.tokens.device)
    tokens, supervised = inputs.tokens[picked, :stop], inputs.supervised[picked, : stop - 1]
    ids = None if inputs.ids is None else inputs.ids[picked, : stop - 1]
    logits = model.head(model.hidden(tokens[:, :-1], supervised, ids)).float()
    (top, second), choice = logits.topk(2).values.T, logits.argmax(-1)
    sure = top - second > doubt * logits.abs().amax(-1)  # not for NaN
    columns = []
    for bad in (choice != tokens[:, 1:][supervised], ~sure):
        places = torch.zeros_like(supervised)
        places[supervised] = bad
        found, column = places.any(1), places.int().argmax(1) + 1
        columns.append(torch.where(found, column, T).cpu().numpy())
    return columns[0], columns[1]
