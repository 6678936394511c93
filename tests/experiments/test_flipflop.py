"""Flip-flop: sizes of the paper, options that cannot be used, options that need each other."""

from __future__ import annotations

from typing import Any

import pytest

from lab.experiments import make
from tests.experiment_sizes import check_refused, check_sizes

# 2505.16381, FFLM: one layer, 2 heads, width 64; card synthseq/flipflop: 256 instructions, 80% of
# them ignored, 1.6M rows
SIZES: dict[str, Any] = {
    "task.ignore": 0.8,
    "train.lengths": (256,),
    "model.layers": "attention",
    "model.heads": 2,
    "model.width": 64,
    "rows": 1_600_000,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("flipflop", SIZES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flipflop", {"ignore": 1.5}, "ignore = 1.5"),
        ("flipflop", {"length": 2}, "length = 2"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)


def test_options_that_need_each_other_are_set_together() -> None:
    """Mixers without attention take no RoPE, so layers and position must change at once."""
    given = {"layers": "lstm", "position": "none"}
    experiment = make("flipflop", **given)
    assert (experiment.model.layers, experiment.model.position) == ("lstm", "none")
    with pytest.raises(ValueError, match="no layer is attention"):
        make("flipflop", layers="lstm")
