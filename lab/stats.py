"""Intervals: Wilson for a fraction of rows, BCa bootstrap over seeds (both scipy's). For samples to
learn: a median and a growth rate with censored runs, which did not learn within their budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 9999


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a probability, from `successes` in n independent trials."""
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def over_seeds(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """BCa bootstrap interval for the mean over seeds (9,999 resamples, seeds as units).

    None for fewer than two seeds. Seeds that all agree give an interval of width 0, so show the
    values too. With few seeds the interval is too narrow: a
    nominal 95% covers 63 to 72% with 3 seeds, 81 to 85% with 5, 88 to 96% with 10 and 93 to 96%
    with 100, the lower end for skewed values and for seeds that either solve a task or do not
    (simulated: `pytest tests/test_stats.py -k covers -s` prints the table).
    """
    if len(values) < 2:
        return None
    low, high = bands(np.asarray(values, float)[None], confidence)[0]
    return float(low), float(high)


def bands(values: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """`over_seeds` of every row of values [P, seeds], as [P, 2] (low, high). Two seeds or more."""
    from scipy.stats import bootstrap

    low, span = values.min(1), np.ptp(values, 1)
    intervals = np.stack([low, low + span], 1)  # also where the bootstrap gives nothing finite
    vary = np.flatnonzero(span > 0)
    # A resample that is a permutation of the seeds must tie with their mean, whatever the order of
    # the sum: BCa counts ties, and with 3 seeds they are a fifth of all resamples.
    unit = (values[vary] - low[vary, None]) / span[vary, None]
    at_once = 1 + 4_000_000 // (values.shape[1] * RESAMPLES)
    for start in range(0, len(vary), at_once):
        some = slice(start, start + at_once)
        interval = bootstrap(
            (unit[some],),
            lambda x, axis: np.round(x.mean(axis), 12),
            n_resamples=RESAMPLES,
            confidence_level=confidence,
            axis=-1,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
        ends = np.stack([interval.low, interval.high], 1)
        good = np.isfinite(ends).all(1)
        rows = vary[some][good]
        intervals[rows] = low[rows, None] + ends[good] * span[rows, None]
    return intervals


def difference(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """Mean of a - b over paired seeds (a[i] and b[i] share a seed) with its `over_seeds`."""
    if len(a) != len(b) or not len(a):
        raise ValueError(f"seeds must be paired: {len(a)} values against {len(b)}")
    values = np.asarray(a, float) - np.asarray(b, float)
    return float(values.mean()), over_seeds(values.tolist(), confidence)


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
