"""Sparse parity and planted parity: the sizes of the paper, and options that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes, made

# 2410.05459: n = 30, k = 3, GPT-2 of 4 layers and 4 heads of width 720, batches of 512, AdamW at
# 1e-4 down to 0, clipping at 1, 10^7 rows
SIZES: dict[str, Any] = {
    "task.k": 3,
    "train.lengths": (30,),
    "model.layers": "attention*4",
    "model.heads": 4,
    "model.width": 720,
    "train.batch": 512,
    "train.lr": 1e-4,
    "train.optimizer": "adamw",
    "train.schedule": "linear",
    "train.grad_clip": 1.0,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("parity", SIZES)
    train = made("parity", scale="gpu").train
    assert abs(train.steps * train.batch - 10**7) < train.batch


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("parity", {"k": 21}, "k = 21"),
        ("planted", {"k": 15}, "length = 16"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)
