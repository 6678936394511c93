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
    """A batch on a device. tokens int64 [n,T]. supervised bool [n,T-1]: whether the loss counts the
    token after this one. ids int64 [n,T]: position ids, for the schemes that read them."""

    tokens: torch.Tensor
    supervised: torch.Tensor
    ids: torch.Tensor | None

    def parts(self, number: int, cut: bool = False) -> Iterator[Inputs]:
        """Split the rows into parts that are equal, up to one row. cut: each part up to its last
        supervised token, without the padding that rows of other parts need."""
        chunks = [None if x is None else x.tensor_split(number) for x in self]
        for i in range(number):
            part = Inputs(*(None if x is None else x[i] for x in chunks))  # type: ignore[arg-type]
            yield part._cut() if cut else part

    def _cut(self) -> Inputs:
        T = int(self.supervised.any(0).nonzero().max()) + 2
        ids = None if self.ids is None else self.ids[:, :T]
        return Inputs(self.tokens[:, :T], self.supervised[:, : T - 1], ids)


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
    """Position ids [n,T] (int64) of a training batch, each row shifted by its own random number
    from 0 to config.offset, so that training reaches the whole table (as PoSE, 2309.10400; the form
    is ours). The shifts depend on seed and step alone."""
    n, T = inputs.tokens.shape
    rng = np.random.default_rng(stream(config.seed, "offset", step))
    shift = torch.from_numpy(rng.integers(0, config.offset, (n, 1), endpoint=True))
    ids = torch.arange(T).expand(n, T) if inputs.ids is None else inputs.ids.cpu()
    return (ids + shift).to(inputs.tokens.device)
