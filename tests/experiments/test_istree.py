"""Trees: sizes of the paper, and options that cannot be used."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes

# 2402.18510, configs of its code: LLaMA of 1M; README: batch 64, 5M samples of a 1M set; 10,000
# samples of warm-up; appendix B: cosine, 1e-3
SIZES: dict[str, Any] = {
    "model.layers": "attention*16",
    "model.width": 64,
    "model.heads": 4,
    "train.batch": 64,
    "train.examples": 1_000_000,
    "train.lr": 1e-3,
    "train.schedule": "cosine",
    "train.warmup": math.ceil(10_000 / 64) - 1,
    "train.steps": 5_000_000 // 64,
    "probes.n": 5_000,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("istree", SIZES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("istree", {"cot": False, "trace": "retrieval"}, "trace = 'retrieval'"),
        ("istree", {"length": 3}, "length = 3"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)
