"""Bigram-Backcopy: sizes of the published code, and options that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes

# GuoTianYu2000/Active-Dormant-Attention: 65 characters, 3 triggers, 256 tokens; 1 layer, 1 head,
# width 256; AdamW 3e-4 (0.9, 0.99), weight decay 1e-4; 10,000 batches of 512
SIZES: dict[str, Any] = {
    "task.letters": 62,
    "task.triggers": 3,
    "train.lengths": (256,),
    "model.layers": "attention",
    "model.heads": 1,
    "model.width": 256,
    "train.lr": 3e-4,
    "train.beta2": 0.99,
    "train.weight_decay": 1e-4,
    "rows": 5_120_000,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("backcopy", SIZES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 2}, "length = 2"),
        ({"triggers": 1}, "triggers = 1"),
        ({"rate": 1.5}, "rate = 1.5"),
    ],
)
def test_impossible_options_get_a_sentence(options: dict[str, Any], message: str) -> None:
    check_refused("backcopy", options, message)
