"""Words in groups: sizes of the public code, and options that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes

# jopetty/word-problem: A5, 20 elements, width 512, 8 heads, FFN 2048, GELU, 1e-4, weight decay
# 0.01, batch 512, 1M samples
SIZES: dict[str, Any] = {
    "task.group": "A5",
    "train.lengths": (20,),
    "model.width": 512,
    "model.heads": 8,
    "model.mlp_ratio": 4,
    "model.mlp_act": "gelu",
    "model.dropout": 0,
    "train.lr": 1e-4,
    "train.weight_decay": 0.01,
    "train.batch": 512,
    "train.examples": 1_000_000,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("word_problem", SIZES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("word_problem", {"layout": "interleaved"}, "layout = 'interleaved'"),
        ("word_problem", {"layout": "interleaved", "cot": False, "identity": True}, "layout"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)
