"""Compositions in context: sizes of the papers, and options that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes

# 2502.08991, data.py and main.py: GPT-2 of 3 layers, 1 head, width 192, dropout 0.1; 8e-5, weight
# decay 0.01, batch 64, 40 examples; README: d = 10, k = 5
COMPOSE_PARITY: dict[str, Any] = {
    "task.k": 5,
    "task.contexts": 40,
    "train.lengths": (10,),
    "model.layers": "attention*3",
    "model.heads": 1,
    "model.width": 192,
    "model.dropout": 0.1,
    "train.lr": 8e-5,
    "train.weight_decay": 0.01,
    "train.grad_clip": 0,
    "train.batch": 64,
    "train.precision": "fp32",
}


# 2502.08991, TranslationComposition: 6 languages, 6 steps, 20 meanings, 10 lists; GPT-2 of 2
# layers, 3 heads, width 720; bf16, 6e-5, a line, batch 16, 100,000 rows once
COMPOSE_TRANSLATION: dict[str, Any] = {
    "task.languages": 6,
    "task.meanings": 20,
    "task.train_tasks": 10,
    "task.contexts": 3,
    "train.lengths": (6,),
    "model.layers": "attention*2",
    "model.heads": 3,
    "model.width": 720,
    "train.precision": "bf16",
    "train.lr": 6e-5,
    "train.schedule": "linear",
    "train.weight_decay": 0,
    "train.warmup": 0,
    "train.batch": 16,
    "train.steps": 100_000 // 16,
}


def test_the_gpu_scale_has_the_published_sizes_of_compose_parity() -> None:
    check_sizes("compose_parity", COMPOSE_PARITY)


def test_the_gpu_scale_has_the_published_sizes_of_compose_translation() -> None:
    check_sizes("compose_translation", COMPOSE_TRANSLATION)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("compose_parity", {"k": 9}, "k = 9"),
        ("compose_arithmetic", {"modulus": 9}, "modulus = 9"),
        ("compose_translation", {"length": 1}, "length = 1"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)
