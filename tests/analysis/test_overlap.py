"""Overlap of the heads of two tasks: the importance, what chance gives, and planted heads."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.analyses.overlap import analyze, by_chance, overlap
from lab.analysis.interventions import exact_and_loss, importance
from lab.config import ModelConfig
from tasks.parity import Parity
from tests.subjects import copier, made


@given(st.data())
def test_chance_by_counting_sets(data: Any) -> None:
    total = data.draw(st.integers(1, 8))
    top = data.draw(st.integers(1, total))
    shared = data.draw(st.integers(0, top))
    one = set(range(top))
    sets = [one & set(two) for two in itertools.combinations(range(total), top)]
    expected, p = by_chance(total, top, shared)
    jaccard = [len(both) / (2 * top - len(both)) for both in sets]
    assert expected == pytest.approx(sum(jaccard) / len(sets))
    assert p == pytest.approx(sum(len(both) >= shared for both in sets) / len(sets))


def test_importance_is_the_rise_of_the_loss() -> None:
    s = made(Parity(k=2), 6, ModelConfig(width=8), n=8)
    _, loss = exact_and_loss(s)
    rises = importance(s)
    assert list(rises) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for (layer, head), rise in rises.items():
        without = copy.deepcopy(s.model)
        without.blocks[layer].mixer.out.weight.data[:, 4 * head : 4 * head + 4] = 0
        assert rise == pytest.approx(exact_and_loss(s, without)[1] - loss, abs=1e-5)


def test_the_same_head_and_another_one() -> None:
    s, other = copier(), copier()
    mixer: Any = other.model.blocks[0].mixer
    with torch.no_grad():  # its heads change places
        for part in mixer.qkv.weight.split(32):
            part.copy_(part.roll(16, 0))
        mixer.out.weight.copy_(mixer.out.weight.roll(16, 1))
    assert exact_and_loss(other) == pytest.approx(exact_and_loss(s))
    same = overlap(s, s, 1)
    assert same.first == same.second == ((0, 0),) and same.shared == 1
    assert (same.overlap, same.expected, same.p) == pytest.approx((1, 0.5, 0.5))
    apart = overlap(s, other, 1)
    assert apart.first == ((0, 0),) and apart.second == ((0, 1),)
    assert (apart.overlap, apart.expected, apart.p) == pytest.approx((0, 0.5, 1))
    assert [row["top of"] for row in apart.table] == ["first", "second"]
    with pytest.raises(ValueError, match="top = 3 cannot be used: from 1 to the 2 heads"):
        overlap(s, s, 3)


def test_the_second_task_is_another_probe() -> None:
    s = made(Parity(k=2), 6, ModelConfig(width=8, position="rope"), n=8)
    with pytest.raises(ValueError, match="other = '' cannot be used: a probe that is not"):
        analyze(s)
    found = analyze(s, other="length=9", top=1)
    assert found.probes == ("all (length 6)", "all (length 9)") and len(found.heads) == 4
    last = dataclasses.replace(s.probe, label="more", length=9)
    both = dataclasses.replace(s.experiment, probes=(s.probe, last))
    assert analyze(dataclasses.replace(s, experiment=both)).probes[1] == "more (length 9)"
