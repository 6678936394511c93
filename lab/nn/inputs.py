"""Batches of numpy arrays as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from lab.config import ModelConfig, TrainConfig
from lab.data.position_ids import position_ids
from lab.data.rows import stream
from tasks import Batch, Role, Task


class Inputs(NamedTuple):
    """A batch on a device. tokens int64 [n,T]; supervised bool [n,T-1]: is the token after this one
    to be predicted?; ids int64 [n,T]: the task's places, for models that read them."""

    tokens: torch.Tensor
    supervised: torch.Tensor
    ids: torch.Tensor | None

    def parts(self, number: int) -> Iterator[Inputs]:
        """Cut the rows into equal parts."""
        cut = [None if x is None else x.chunk(number) for x in self]
        for i in range(number):
            yield Inputs(*(None if x is None else x[i] for x in cut))  # type: ignore[arg-type]


def to_torch(task: Task, config: ModelConfig, batch: Batch, device: torch.device) -> Inputs:
    """A batch as tensors."""
    supervised = (batch.roles == Role.THOUGHT) | (batch.roles == Role.ANSWER)
    ids = position_ids(task, config, batch)
    return Inputs(
        torch.from_numpy(np.ascontiguousarray(batch.tokens)).to(device),
        torch.from_numpy(supervised[:, 1:].copy()).to(device),
        None if ids is None else torch.from_numpy(ids).to(device),
    )


def shift_positions(inputs: Inputs, config: TrainConfig, step: int) -> torch.Tensor:
    """The places of a batch, int64 [n,T], those of each row further on by a random number up to
    config.offset: so that training meets all of a table, as PoSE does (the form is ours)."""
    n, T = inputs.tokens.shape
    rng = np.random.default_rng(stream(config.seed, "offset", step))
    by = torch.from_numpy(rng.integers(0, config.offset, (n, 1), endpoint=True))
    ids = torch.arange(T).expand(n, T) if inputs.ids is None else inputs.ids.cpu()
    return (ids + by).to(inputs.tokens.device)
