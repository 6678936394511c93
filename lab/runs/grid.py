"""The grid of a sweep from Python: every combination of values, an experiment for each seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.config import Experiment
from lab.config.experiment import with_seeds
from lab.data.position_ids import check_rows
from lab.experiments._make import make
from tasks import refuse


def combinations(
    name: str | Callable[..., Experiment], grid: Mapping[str, Sequence[Any]], seeds: int
) -> list[Experiment]:
    """One experiment for each combination and seed; the last option varies fastest, then the seed.

    ValueError names the combination that cannot be run, or two that are the same run.
    """
    if seeds < 1:
        raise refuse("seeds", seeds, "at least 1")
    for option, values in grid.items():
        if option == "seed":
            raise refuse("grid", option, "`seeds` gives every combination its seeds")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise refuse("grid", f"{option}: {values!r}", "a list of values, such as [1, 2]")
    experiments: list[Experiment] = []
    labels: dict[str, str] = {}
    for choice in itertools.product(*grid.values()):
        options = dict(zip(grid, choice, strict=True))
        label = ", ".join(f"{option} = {value!r}" for option, value in options.items())
        try:
            base = check_rows(make(name, **options))
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from None
        if base.slug in labels:
            raise refuse("grid", label, f"it is the same run as {labels[base.slug]}")
        labels[base.slug] = label
        experiments += with_seeds(base, seeds)
    return experiments
