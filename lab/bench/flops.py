"""Model FLOPs of a training step: what the model's formula costs, whatever computes it.

    6 x parameters x tokens      forward and backward of every matrix, as 2 and 4 per multiply-add
    6 x head x supervised        logits are needed where the loss counts a token
    12 x D x pairs               each attention layer: q k and weights v, forward and backward, over
                                 the pairs of a query and a key that it sees (a window has fewer)

Tables of embeddings are read, not multiplied, and count nothing; of a mixture of experts the active
ones count. Not counted: vectors, norms, activations, the optimizer, the reflections of PaTH and the
states of recurrent mixers. `needed` leaves out what no loss depends on: in the last layer, at
tokens that are not supervised, the MLP and the queries of attention, their pairs and outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lab.config import Experiment
from lab.mixers._position import windows
from lab.nn.model import Model
from lab.training.optim import TABLES
from tasks import Batch, Role


class Flops(NamedTuple):
    """tokens: read in a step. model: FLOPs of the formula. needed: the part a loss depends on."""

    tokens: int
    model: float
    needed: float


def flops(experiment: Experiment, model: Model, batch: Batch) -> Flops:
    """The FLOPs of one training step on a batch [n,T]."""
    config = experiment.model
    n, T = len(batch), batch.tokens.shape[1] - 1  # the last token is only predicted
    asks = np.isin(batch.roles[:, 1:], (Role.THOUGHT, Role.ANSWER))
    supervised = int(asks.sum())
    share = config.experts_per_token / config.experts if config.experts else 1.0
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1}
    multiplied = sum(
        size * (share if ".experts." in name else 1)
        for name, size in sizes.items()
        if not name.startswith(TABLES)
    )
    outputs = len(experiment.task.words) * config.width
    if model.next_place is not None:
        outputs += model.next_place.weight.numel()
    total = 6 * (multiplied * n * T + outputs * supervised)
    stack, d = config.stack(), config.width // config.heads
    visible = _visible(experiment, T)
    total += 12 * n * stack.count("attention") * d * int(visible.sum())
    last = f"blocks.{len(model.blocks) - 1}.mlp."
    outside = sum(size for name, size in sizes.items() if name.startswith(last))
    skipped = 0
    if stack[-1] == "attention":
        outside += 2 * config.width**2  # to queries, and from the heads' outputs
        skipped = 12 * d * int((~asks).sum(0) @ visible)
    skipped += 6 * outside * (n * T - supervised)
    return Flops(n * T, total, total - (0 if config.experts else skipped))


def _visible(experiment: Experiment, T: int) -> np.ndarray:
    """[T] keys that each query of a row sees, over all heads of a layer."""
    config, behind = experiment.model, np.arange(1, T + 1)
    if config.position != "hard_alibi":
        return behind * config.heads
    spans = [w or T for w in windows(config.heads, config.banded)]
    return np.minimum(behind[:, None], spans).sum(1)
