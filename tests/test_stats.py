"""Intervals against their formula and against scipy, and how often they cover.

`python -m pytest tests/test_stats.py -k covers -s` prints the coverages that simulated seeds have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, quantile_test

from lab.stats import (
    End,
    above_chance,
    bands,
    growth,
    half_octaves,
    median,
    over_seeds,
    ranks,
    samples_needed,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (2048, 2048), (1013, 2048)])
def test_wilson_is_the_formula(k: int, n: int) -> None:
    z, p = 1.959963984540054, k / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert wilson(k, n) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)


@pytest.mark.parametrize("n", [100, 250, 512])
def test_wilson_covers(n: int) -> None:
    """Exactly: the binomial probabilities of the counts whose interval holds p, summed. Single p
    swing around 95% as counts are whole numbers; their mean is held to 93 to 97%."""
    ends = np.array([wilson(k, n) for k in range(n + 1)])
    p = np.linspace(0.05, 0.95, 901)[:, None]
    inside = (ends[:, 0] <= p) & (p <= ends[:, 1])
    coverage = (binom.pmf(np.arange(n + 1), n, p) * inside).sum(1)
    print(f"\nwilson n = {n}: {coverage.mean():.4f} on average, {coverage.min():.3f} at worst")
    assert 0.93 <= coverage.mean() <= 0.97
    assert coverage.min() >= 0.90 and coverage.max() <= 0.99


Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
# Seeds that vary smoothly, with a long tail, or that solve a task or do not; and their median.
DRAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(0.5, 0.1, size), 0.5),
    "beta(8, 2)": (lambda rng, size: rng.beta(8, 2, size), float(beta(8, 2).median())),
    "lognormal": (lambda rng, size: rng.lognormal(0, 1.5, size), 1.0),
    "two modes": (
        lambda rng, size: np.where(
            rng.random(size) < 0.7, rng.uniform(0.95, 1, size), rng.uniform(0.4, 0.6, size)
        ),
        0.95 + 0.05 * 2 / 7,  # above 3/10 in the lower mode, 2/10 of the 7/10 in the upper one
    ),
    "solved or not": (lambda rng, size: (rng.random(size) < 0.7) * 1.0, 1.0),
    "solved or not, even": (lambda rng, size: (rng.random(size) < 0.5) * 1.0, 0.5),
}
TIES = ("solved or not", "solved or not, even")
SETS = 20_000  # of seeds; the standard error of a simulated coverage is 0.0035 at most


@pytest.mark.parametrize("n", [2, 3, 5, 6, 8, 9, 11, 20])
@pytest.mark.parametrize("closer", [None, "low", "high"])
def test_over_seeds_covers(n: int, closer: End | None) -> None:
    """How often the interval holds the median of all seeds: as often as it says, and at least so
    where seeds tie."""
    said = ranks(n, closer)
    print(f"\n{said}", end="")
    for name, (draw, middle) in DRAWS.items():
        data = np.sort(draw(np.random.default_rng(1), (SETS, n)), 1)
        found = ((data[:, said.low - 1] <= middle) & (middle <= data[:, said.high - 1])).mean()
        print(f"\n  {name}: {found:.4f}", end="")
        assert found >= said.coverage - 0.01, name
        assert name in TIES or found <= said.coverage + 0.01, name


@given(st.integers(2, 200), st.sampled_from([None, "low", "high"]))
def test_ranks_by_counting_coins(n: int, closer: End | None) -> None:
    """Exactly, over all numbers of seeds below the median: what is said is covered, 95% or all
    seeds, and one seed fewer would cover less than 95%."""

    def covers(low: int, high: int) -> Fraction:
        return Fraction(sum(math.comb(n, below) for below in range(low, high)), 2**n)

    said = ranks(n, closer)
    low, high = said.low, said.high
    assert said.coverage == pytest.approx(float(covers(low, high)), abs=1e-12)
    assert covers(low, high) >= Fraction(95, 100) or (n < 6 and (low, high) == (1, n))
    if closer is None:
        assert low == n + 1 - high and covers(low + 1, high - 1) < Fraction(95, 100)
    else:
        assert (low - 1) - (n - high) in ((0, 1) if closer == "low" else (-1, 0))
        assert covers(low + 1, high) < Fraction(95, 100) > covers(low, high - 1)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 15, 40])
def test_over_seeds_is_scipys(n: int) -> None:
    values = np.random.default_rng(3).beta(2, 2, n)
    scipys = quantile_test(values, q=np.median(values)).confidence_interval()
    found = over_seeds(values.tolist())
    assert found and found.interval == (scipys.low, scipys.high)
    assert found.median == np.median(values)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_bands_are_over_seeds_row_by_row(values: list[float]) -> None:
    found = over_seeds(values)
    assert found and found.low <= found.median <= found.high
    rows = np.array([values, values[::-1], [0.25] * len(values)])
    assert bands(rows).tolist() == [[found.low, found.high]] * 2 + [[0.25, 0.25]]


def test_of_eight_seeds_one_may_stray_at_the_closer_end() -> None:
    values = [0.1, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.99]
    ends = [over_seeds(values, closer) for closer in (None, "low", "high")]
    assert [one and one.interval for one in ends] == [(0.1, 0.99), (0.9, 0.99), (0.1, 0.95)]
    assert over_seeds([0.5]) is None


def test_the_words_say_95_only_where_it_is_reached() -> None:
    short = {2: "50%", 3: "75%", 4: "87.5%", 5: "93.8%"}
    for n, percent in short.items():
        says = f"all {n} seeds; covers the median with {percent}, not a 95% interval"
        assert str(ranks(n)) == says
    assert str(ranks(6)) == "all 6 seeds; covers the median with 96.9%"
    assert str(ranks(8)) == "all 8 seeds; covers the median with 99.2%"
    assert str(ranks(8, "low")) == "ranks 2 to 8 of 8 seeds; covers the median with 96.1%"
    assert not any("not a 95%" in str(ranks(n)) for n in range(6, 100))


@given(st.lists(st.integers(1, 999), min_size=1, max_size=9))
def test_median_with_runs_cut_off_at_a_budget(needs: list[int]) -> None:
    """Against numpy's median of what the runs truly need, cut at every budget."""
    true = float(np.median(needs))
    for budget in (0.5, 100, 500, 1000):
        cut = [need > budget for need in needs]
        found, bound = median([min(need, budget) for need in needs], cut)
        assert found <= true if bound else found == true
        middle = sorted(needs)[len(needs) // 2]
        assert bound == (middle > budget)


def test_median_ranks_a_censored_run_above_one_that_learned_at_the_same_rows() -> None:
    assert median([100, 100, 50], [True, False, False]) == (100, False)
    assert median([100, 100, 50], [True, True, False]) == (100, True)
    assert median([100, 400], [True, False]) == (250, True)  # of different budgets
    with pytest.raises(ValueError, match="no runs"):
        median([], [])


def test_growth_is_the_slope_of_the_logarithm() -> None:
    assert growth([1, 2, 3, 4], [100, 200, 400, 800], [False] * 4) == (pytest.approx(2), False)
    rows = [100, 300, 350, 900]
    x, y = np.array([1.0, 2, 3, 4]) - 2.5, np.log(rows)
    found = growth([1, 2, 3, 4], rows, [False] * 4)
    assert found == (pytest.approx(math.exp((x * y).sum() / (x * x).sum())), False)


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=6), st.floats(0.5, 1e6))
def test_growth_of_censored_runs_is_a_lower_bound(needs: list[float], budget: float) -> None:
    steps = list(range(len(needs)))
    cut = [need > budget for need in needs]
    found = growth(steps, [min(need, budget) for need in needs], cut)
    kept = cut.index(True) + 1 if True in cut else len(cut)
    if kept < 2:
        assert found is None
        return
    true = growth(steps[:kept], needs[:kept], [False] * kept)
    assert found is not None and true is not None
    assert found[1] == (True in cut) and found[0] <= true[0] * (1 + 1e-9)


def test_growth_needs_steps_that_increase() -> None:
    with pytest.raises(ValueError, match="must increase"):
        growth([2, 1], [10, 20], [False, False])
    assert growth([1], [10], [False]) is None


GRID = half_octaves(16, 4096)


def test_half_octaves() -> None:
    assert half_octaves(2, 50) == (2, 3, 4, 6, 8, 11, 16, 23, 32, 45)
    assert half_octaves(1, 1) == (1,) and half_octaves(5, 5) == ()
    with pytest.raises(ValueError, match="from 9 to 8"):
        half_octaves(9, 8)


@given(st.lists(st.floats(1, 9000), min_size=1, max_size=7), st.floats(0.01, 1))
def test_samples_needed_is_the_first_of_the_grid_that_is_enough(
    needs: list[float], share: float
) -> None:
    asked: list[int] = []

    def learned(n: int) -> list[bool]:
        asked.append(n)
        return [need <= n for need in needs]

    enough = [n for n in GRID if np.mean([need <= n for need in needs]) >= share]
    assert samples_needed(learned, GRID, share) == (
        (enough[0], False) if enough else (GRID[-1], True)
    )
    assert len(asked) == len(set(asked)) <= math.ceil(math.log2(len(GRID) + 1))


@pytest.mark.parametrize("grid", [(), (4, 2), (2, 2)])
def test_samples_needed_refuses_a_grid_without_order(grid: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        samples_needed(lambda n: [True], grid)
    with pytest.raises(ValueError, match="no run had 23 samples"):
        samples_needed(lambda n: [], (16, 23))


def test_a_guess_is_hardly_ever_above_chance() -> None:
    assert above_chance(2048) == pytest.approx(0.5 + math.sqrt(math.log(20) / 2048))
    for n in (64, 1024):
        assert binom.sf(math.ceil(above_chance(n) * n) - 1, n, 0.5) < 0.003
    assert above_chance(100, 0.1) - 0.1 == pytest.approx(above_chance(100) - 0.5)
