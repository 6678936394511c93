"""Turing Programs and copying: the sizes of the published code, and options that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes

# 2402.01032, code for copying: 12 layers, width 1024, 16 heads, 8 of them banded; AdamW, weight
# decay 0.1, clipping at 1, 100 steps of warm-up, a line to 0; up to 50 symbols
SIZES: dict[str, Any] = {
    "model.layers": "attention*12",
    "model.width": 1024,
    "model.heads": 16,
    "model.banded": 8,
    "model.position": "hard_alibi",
    "train.optimizer": "adamw",
    "train.weight_decay": 0.1,
    "train.grad_clip": 1.0,
    "train.warmup": 100,
    "train.schedule": "linear",
}
PROGRAMS = {"copy": 1, "addition": 1, "multiplication": 1, "sgd": 2, "turing_machine": 4}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gpu_scale_has_the_published_sizes(name: str) -> None:
    check_sizes(name, {**SIZES, "train.lengths": tuple(range(PROGRAMS[name], 51))})


@pytest.mark.parametrize(("name", "shortest"), [("sgd", 2), ("turing_machine", 4), ("copy", 2)])
def test_impossible_lengths_get_a_sentence(name: str, shortest: int) -> None:
    check_refused(name, {"length": shortest - 1}, f"length = {shortest - 1}")
