"""Intervals: Wilson for a fraction of rows, two order statistics for the median over seeds. For
samples to learn: a median and a growth rate with censored runs, which did not learn within their
budget; and a search for the least fixed set of rows from which runs learn.

The interval over seeds assumes nothing about how seeds vary. Each seed lies below the median of all
seeds with probability 1/2, so the r-th least of n lies above it where fewer than r of n coins show
heads (David and Nagaraja, Order Statistics, section 7.1; scipy.stats.quantile_test has the same
ends). Where seeds tie, as where each solves a task or does not, the median is covered at least as
often.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

End = Literal["low", "high"]


@dataclass(frozen=True)
class Ranks:
    """The two of n seeds, counted from 1 at the least, between which the interval lies. coverage:
    the probability that it covers the median of all seeds. As text: what the interval is worth."""

    n: int
    low: int
    high: int
    coverage: float

    def __str__(self) -> str:
        whole = (self.low, self.high) == (1, self.n)
        which = (
            f"all {self.n} seeds" if whole else f"ranks {self.low} to {self.high} of {self.n} seeds"
        )
        short = "" if self.coverage >= 0.95 else ", not a 95% interval"
        return f"{which}; covers the median with {self.percent}{short}"

    @property
    def percent(self) -> str:
        """The coverage: "75%", "96.9%"."""
        return f"{100 * self.coverage:.3g}%"


@dataclass(frozen=True)
class OverSeeds:
    """The median over seeds and the interval around it, from low to high."""

    median: float
    low: float
    high: float
    ranks: Ranks

    def __str__(self) -> str:
        return f"median {self.median:.3g}, {self.low:.3g} to {self.high:.3g} ({self.ranks})"

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high."""
        return self.low, self.high


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a probability, from `successes` in n independent trials."""
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def ranks(n: int, closer: End | None = None) -> Ranks:
    """Which two of n seeds are the ends: as many seeds outside one as outside the other, and as
    many as 95% allows; the least and the most where even they cover less (n < 6).

    closer: the end that leaves one seed more outside where 95% allows that of one end only, as with
    8 seeds (2 to 8). It must be chosen before the values are known: a claim's is the end that its
    threshold is compared with.
    """
    from scipy.stats import binom

    outside = max(1, int(binom.ppf(0.025, n, 0.5)))  # the rank of the lower end
    wrong = binom.cdf([outside - 1, outside], n, 0.5)  # that it, or the next, is above the median
    one_more = closer is not None and wrong.sum() <= 0.05
    low, high = outside, n + 1 - outside
    if one_more:
        low, high = (low + 1, high) if closer == "low" else (low, high - 1)
    return Ranks(n, low, high, float(1 - wrong[0] - wrong[int(one_more)]))


def over_seeds(values: Sequence[float], closer: End | None = None) -> OverSeeds | None:
    """The median of a value for each seed, and its interval between two of them (`ranks`). None for
    fewer than two seeds: one alone says nothing of the others."""
    if len(values) < 2:
        return None
    chosen, ordered = ranks(len(values), closer), sorted(map(float, values))
    low, high = ordered[chosen.low - 1], ordered[chosen.high - 1]
    return OverSeeds(statistics.median(ordered), low, high, chosen)


def bands(values: np.ndarray) -> np.ndarray:
    """The interval of `over_seeds` of every row of values [P, seeds], as [P, 2] (low, high)."""
    chosen = ranks(values.shape[1])
    return np.sort(values, 1)[:, [chosen.low - 1, chosen.high - 1]]


def median(rows: Sequence[float], censored: Sequence[bool]) -> tuple[float, bool]:
    """Median of samples to learn and whether it is only a lower bound.

    rows[i] of a censored run is its budget, which it needed more than: it ranks above every run
    that learned within that budget. An even number gives the mean of the middle two.
    """
    if not len(rows):
        raise ValueError("the median of no runs")
    ranked = sorted(zip(censored, rows, strict=True))  # censored ones last
    middle = ranked[(len(ranked) - 1) // 2 : len(ranked) // 2 + 1]
    return sum(row for _, row in middle) / len(middle), any(cut for cut, _ in middle)


def growth(
    steps: Sequence[float], rows: Sequence[float], censored: Sequence[bool]
) -> tuple[float, bool] | None:
    """Factor by which samples to learn grow per step (of k, say) and whether it is a lower bound.

    exp of the least-squares slope of log rows on steps, over the steps up to the first censored
    one, which enters with its budget: the true slope is larger then. Intervals over seeds belong to
    the logarithm. None when fewer than two steps are left. steps must increase.
    """
    if not len(steps) == len(rows) == len(censored) or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps must increase, with a value each: {list(steps)}, {list(rows)}")
    last = list(censored).index(True) if any(censored) else len(steps) - 1
    if last < 1:
        return None
    slope = np.polyfit(steps[: last + 1], np.log(rows[: last + 1]), 1)[0]
    return float(np.exp(slope)), bool(censored[last])


def half_octaves(low: int, high: int) -> tuple[int, ...]:
    """The numbers of samples 2^(x/2), rounded, x whole, from low to high (2303.07987)."""
    if not 1 <= low <= high:
        raise ValueError(f"from {low} to {high}: at least 1, and in ascending order")
    numbers = dict.fromkeys(round(2 ** (x / 2)) for x in range(128))  # 1 is two of them, rounded
    return tuple(n for n in numbers if low <= n <= high)


def above_chance(n: int, chance: float = 0.5) -> float:
    """The accuracy on n rows from which a run counts as learned: chance + sqrt(ln(1 / 0.05) / n)
    (2303.07987). By Hoeffding's inequality a guess reaches it in fewer than 0.3% of cases."""
    return chance + math.sqrt(math.log(1 / 0.05) / n)


def samples_needed(
    learned: Callable[[int], Sequence[bool]], grid: Sequence[int], share: float = 0.66
) -> tuple[int, bool]:
    """The least number of samples of an ascending grid from which at least this share of the runs
    learn, and whether it is only a lower bound: then none of the grid is enough, and it is the
    last. Binary search (2303.07987, over `half_octaves`), so more samples must not hurt.

    learned: whether each run learned that had so many samples; asked of few numbers of the grid.
    ValueError for an empty or unordered grid, and for no runs.
    """
    if not len(grid) or list(grid) != sorted(set(grid)):
        raise ValueError(f"numbers of samples must ascend: {list(grid)}")
    low, high = 0, len(grid)  # too few below low, enough from high on
    while low < high:
        middle = (low + high) // 2
        runs = learned(grid[middle])
        if not len(runs):
            raise ValueError(f"no run had {grid[middle]} samples")
        low, high = (low, middle) if sum(runs) >= share * len(runs) else (middle + 1, high)
    return grid[min(low, len(grid) - 1)], low == len(grid)
