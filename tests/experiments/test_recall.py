"""Associative recall: sizes of the papers, and options that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.experiment_sizes import check_refused, check_sizes, made

# HazyResearch/zoology, MQAR: vocabulary 8192, up to 64 pairs in 256 tokens, 32 epochs of 100,000
# + 4 x 20,000 rows in batches of 256
SIZES: dict[str, Any] = {
    "task.vocabulary": 8_192,
    "task.tokens": 256,
    "train.lengths": (4, 8, 16, 32, 64),
    "train.examples": 180_000,
    "train.batch": 256,
    "train.steps": 32 * 180_000 // 256,
}


def test_the_gpu_scale_has_the_published_sizes() -> None:
    check_sizes("recall", SIZES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("recall", {"repeats": 2, "overwrite": True}, "overwrite = True"),
        ("recall", {"vocabulary": 32}, "vocabulary = 32"),
        ("recall", {"layers": "attentoin"}, "'attentoin'"),
    ],
)
def test_impossible_options_get_a_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    check_refused(name, options, message)


def test_recall_has_the_sizes_of_path_when_keys_are_written_again() -> None:
    """2505.16381, MQRAR-N: 2 layers, width 256, 2 heads, 32 pairs, 768 tokens."""
    experiment = made("recall", scale="gpu", repeats=3)
    assert experiment.train.lengths == (32,)
    assert (experiment.task.tokens, experiment.task.repeats) == (768, 3)  # type: ignore[attr-defined]
    assert experiment.model.stack() == ["attention"] * 2
    assert (experiment.model.width, experiment.model.heads) == (256, 2)
