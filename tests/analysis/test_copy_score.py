"""The copy score of a head, against decoding token by token with the weights looked up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis.analyses import copy_score
from lab.analysis.analyses.ablation import analyze as ablation
from lab.config import ModelConfig
from tasks.disjoint_sets import DisjointSets
from tasks.istree import IsTree
from tasks.parity import Parity
from tasks.recall import Recall
from tests.subjects import LENGTH, copier, made


def test_a_head_that_copies_scores_one() -> None:
    s = copier()
    found = copy_score.analyze(s)
    assert (found.counted, found.rows) == (16, 16)
    assert found.scores == {(0, 0): (1.0,), (0, 1): (0.0,)}
    assert found.table[0] == {"head": "0.0", "copy_score": 1.0}
    removed = ablation(s, top=(1, 2))
    one, both = removed.steps
    assert one.top == ((0, 0),) and one.lowest == ((0, 1),) and one.random == (((0, 1),),)
    assert one.intact[0] == 1 and one.without_top is not None and one.without_top[0] == 0
    assert one.without_lowest == one.without_random[0] == one.intact
    assert both.lowest == () and both.random == () and both.without_lowest is None
    assert removed.sentences == [
        "Without the top 1 exact match falls by 1.000, without as many at random by 0.000.",
        "Without the top 2 exact match falls by 1.000.",
    ]
    by_loss = ablation(s, by="loss").steps[0]
    assert by_loss.top == one.top and by_loss.without_top == one.without_top


def damaged(seed: int, noise: float) -> Any:
    """A copier that copies some tokens wrong, and whose second head looks here and there."""
    s = copier()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        s.model.head.weight += noise * torch.randn(s.model.head.weight.shape, generator=random)
        qkv: Any = s.model.blocks[0].mixer
        for part in qkv.qkv.weight.split(32)[:2]:
            part[16:] = torch.randn(16, 32, generator=random)
    return s


def by_its_words(s: Any) -> tuple[dict[int, float], int]:
    """The model writes each row itself, and what its two heads look at meanwhile is looked up."""
    mixer = s.model.blocks[0].mixer
    scores: list[list[float]] = []
    for row in s.batch.tokens.tolist():
        own, hits, right = row[: LENGTH + 2], [0, 0], 0
        for t in range(LENGTH + 2, 2 * LENGTH + 2):
            tokens = torch.tensor([own])
            with torch.no_grad():
                x = s.model.embed(tokens) + s.model.place.weight[: len(own)]
                weights = mixer.attention_weights(x)[0][0, :, -1]
                word = int(s.model(tokens)[0, -1].argmax())
            if word != row[t]:
                break
            right += 1
            for head in (0, 1):
                j = int(weights[head].argmax())
                hits[head] += j in range(1, LENGTH + 1) and row[j] == word
            own.append(word)
        if right / LENGTH > 0.5:
            scores.append([hit / LENGTH for hit in hits])
    means = np.mean(scores, 0) if scores else [None, None]
    return dict(enumerate(means)), len(scores)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.4, 0.8]))
@settings(max_examples=6)
def test_the_score_by_its_words(seed: int, noise: float) -> None:
    s = damaged(seed, noise)
    found = copy_score.analyze(s)
    scores, counted = by_its_words(s)
    assert found.counted == counted
    for head in found.heads:
        assert head.copy_score == (None if not counted else pytest.approx(scores[head.head]))


def test_rows_that_are_half_wrong_do_not_count() -> None:
    s = damaged(4, 0.5)
    found, (scores, counted) = copy_score.analyze(s), by_its_words(s)
    assert 0 < found.counted == counted < found.rows
    assert 0 < scores[1] < scores[0] < 1
    s.model.head.weight.data.neg_()
    nothing = copy_score.analyze(s)
    assert nothing.counted == 0 and {h.copy_score for h in nothing.heads} == {None}
    step = ablation(s).steps[0]
    assert step.top == () and step.without_top is None and len(step.random) == 2
    assert "No head has a score (copy_score)" in ablation(s).sentences[0]


@pytest.mark.parametrize(
    ("task", "length", "says"),
    [
        (Parity(k=2), 6, "task = 'parity' cannot be used: its answers are computed, not copied"),
        (IsTree(), 5, "task = 'istree' cannot be used: it does not say which tokens"),
    ],
)
def test_tasks_that_do_not_copy(task: Any, length: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        copy_score.analyze(made(task, length, ModelConfig(width=8)))


@pytest.mark.parametrize(
    ("task", "length", "copied"),
    [(Recall(vocabulary=32), 4, 4), (DisjointSets(short=2), 8, 1)],
    ids=["recall", "disjoint_sets"],
)
def test_tasks_that_copy(task: Any, length: int, copied: int) -> None:
    s = made(task, length, ModelConfig(width=8, position="rope"))
    source, queries = copy_score.copied_tokens(s)
    assert (queries.sum(1) == copied).all() and source.any(1).all()
    for row in range(len(s.batch)):
        (where,) = np.nonzero(queries[row])
        written = s.batch.tokens[row, where + 1]
        assert set(written) == set(s.batch.tokens[row, source[row]])
