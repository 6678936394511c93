"""`lab bench decode`: both ways to decode end with the same logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lab.bench import decode


def test_both_ways_end_with_the_same_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    logits: list[torch.Tensor] = []

    def once(work: Callable[[], Any], *rest: Any) -> float:
        logits.append(work())
        return float(1 + len(logits) % 2)

    monkeypatch.setattr(decode, "ROWS", 2)
    monkeypatch.setattr(decode, "best_seconds", once)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    rows = list(decode.measure())
    assert [(row["model"], row["nodes"]) for row in rows] == [
        (name, nodes) for name in decode.MODELS for nodes in (16, 32)
    ]
    assert all(row["ratio"] == 0.5 and row["prompt"] < row["tokens"] for row in rows)
    for fast, slow in zip(logits[::2], logits[1::2], strict=True):
        torch.testing.assert_close(fast, slow.reshape(fast.shape), rtol=1e-3, atol=1e-4)
