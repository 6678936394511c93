"""Ranks of compositions and which of them are seen, by enumeration."""

import itertools
from math import comb, perm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import seeds
from tasks._compose import arrangements, choose, combinations, digits, draw

Rng = np.random.default_rng


@pytest.mark.parametrize(("d", "k"), [(1, 1), (6, 3), (7, 7), (9, 1), (8, 5)])
def test_ranks_name_every_tuple_once(d: int, k: int) -> None:
    unfolded = [tuple(t) for t in combinations(np.arange(comb(d, k)), d, k).tolist()]
    assert sorted(unfolded) == list(itertools.combinations(range(d), k))
    unfolded = [tuple(t) for t in arrangements(np.arange(perm(d, k)), d, k).tolist()]
    assert sorted(unfolded) == sorted(itertools.permutations(range(d), k))
    unfolded = [tuple(t) for t in digits(np.arange(k**4), k, 4).tolist()]
    assert sorted(unfolded) == list(itertools.product(range(k), repeat=4))


@given(seed=seeds)
def test_large_ranks_come_back(seed: int) -> None:
    ranks = Rng(seed).integers(0, comb(64, 20), 50)
    for rank, chosen in zip(ranks.tolist(), combinations(ranks, 64, 20).tolist(), strict=True):
        assert chosen == sorted(set(chosen)) and chosen[0] >= 0 and chosen[-1] < 64
        assert sum(comb(c, j) for j, c in enumerate(chosen, 1)) == rank


@given(total=st.integers(2, 40), data=st.data(), seed=seeds)
def test_draw_covers_exactly_the_two_parts(total: int, data: st.DataObject, seed: int) -> None:
    wanted = data.draw(st.integers(1, total - 1))
    seen = choose(total, wanted, 1, (seed, 5))
    assert len(set(seen.tolist())) == wanted and seen.tolist() == sorted(seen.tolist())
    drawn = [set(draw(Rng(seed), 4000, total, seen, unseen).tolist()) for unseen in (False, True)]
    assert drawn[0] == set(seen.tolist())
    assert drawn[1] == set(range(total)) - set(seen.tolist())


def test_unseen_ranks_are_uniform() -> None:
    seen = choose(50, 10, 1, (3, 4))
    counts = np.bincount(draw(Rng(5), 400_000, 50, seen, True), minlength=50)
    assert not counts[seen].any()
    assert np.abs(np.delete(counts, seen) - 10_000).max() < 5 * 10_000**0.5
