"""Decoding with states against recomputing the whole prefix for every token, on one CPU thread.

256 rows of istree traces; both ways process the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lab.bench import best_seconds
from lab.config import ModelConfig
from lab.data.rows import Rows
from lab.nn.model import Model
from tasks import Role
from tasks.istree import IsTree

ROWS = 256
MODELS = {
    "attention": ModelConfig(layers="attention*4", width=64, heads=4, position="rope"),
    "mamba": ModelConfig(layers="mamba*4", width=64, heads=4, position="none", mlp_ratio=0),
}


def measure() -> Iterator[dict[str, Any]]:
    """One row per model and number of nodes."""
    torch.set_num_threads(1)
    for name, config in MODELS.items():
        for nodes in (16, 32):
            task = IsTree()
            batch = Rows(task, nodes, 0)[0:ROWS]
            tokens = torch.from_numpy(batch.tokens)
            start = int((batch.roles[0] == Role.PROMPT).sum())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = Model(config, len(task.words)).eval()
            with torch.inference_mode():
                fast = best_seconds(lambda: _with_state(model, tokens, start), 3)  # noqa: B023
                slow = best_seconds(lambda: _recomputing(model, tokens, start), 1, 0, False)  # noqa: B023
            yield {
                "model": name,
                "nodes": nodes,
                "rows": ROWS,
                "tokens": int(np.asarray(tokens.shape)[1]),
                "prompt": start,
                "seconds": fast,
                "seconds_recomputing": slow,
                "ratio": slow / fast,
            }


def _with_state(model: Model, tokens: torch.Tensor, start: int) -> torch.Tensor:
    logits, state = model.prefill(tokens[:, :start])
    for t in range(start, tokens.shape[1] - 1):
        logits, state = model.step(tokens[:, t], state)
    return logits


def _recomputing(model: Model, tokens: torch.Tensor, start: int) -> torch.Tensor:
    last = torch.zeros(len(tokens), tokens.shape[1], dtype=torch.bool)
    for t in range(start, tokens.shape[1]):
        where = last[:, :t].clone()
        where[:, -1] = True
        logits: torch.Tensor = model(tokens[:, :t], where)
    return logits
