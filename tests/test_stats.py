"""Intervals against their formula, and how often they cover."""

from __future__ import annotations

import numpy as np
import pytest

from lab.stats import over_seeds, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (2048, 2048), (1013, 2048)])
def test_wilson_is_the_formula(k: int, n: int) -> None:
    z, p = 1.959963984540054, k / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert wilson(k, n) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("n", [100, 400])
def test_wilson_covers(p: float, n: int) -> None:
    draws = np.random.default_rng(0).binomial(n, p, 4000)
    intervals = {k: wilson(k, n) for k in set(draws.tolist())}
    covered = np.mean([intervals[k][0] <= p <= intervals[k][1] for k in draws.tolist()])
    assert 0.925 <= covered <= 0.975


def test_over_seeds() -> None:
    assert over_seeds([0.5]) is None
    assert over_seeds([1.0, 1.0, 1.0]) == (1.0, 1.0)
    values = [0.2, 0.5, 0.9, 0.4, 0.6]
    found = over_seeds(values)
    assert found is not None
    assert min(values) <= found[0] < np.mean(values) < found[1] <= max(values)


def test_over_seeds_covers() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        found = over_seeds(rng.normal(0.5, 0.1, 40).tolist())
        assert found is not None
        hits += found[0] <= 0.5 <= found[1]
    assert hits >= 51  # P(fewer | 95%) < 0.004
