"""Intervals: Wilson for a share of rows, BCa bootstrap for a mean over seeds (both scipy's)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a probability, from `successes` in n independent trials."""
    from scipy.stats import binomtest

    found = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def over_seeds(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """BCa bootstrap interval for the mean over seeds (9,999 resamples, seeds as units).

    None for fewer than two seeds. Seeds that all agree give an interval of width 0: the bootstrap
    knows nothing beyond the values it saw, so show them too.
    """
    from scipy.stats import bootstrap

    if len(values) < 2:
        return None
    data = np.asarray(values, float)
    if np.ptp(data) == 0:
        return float(data[0]), float(data[0])
    found = bootstrap(
        (data,), np.mean, confidence_level=confidence, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    if np.isfinite(found.low) and np.isfinite(found.high):
        return float(found.low), float(found.high)
    return float(data.min()), float(data.max())
