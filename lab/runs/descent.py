"""Coordinate descent over a grid: one option at a time, the others at their best values so far.

    for each of `passes` passes, for each axis in order:
        try every value of this axis that was not tried with the present values of the others
        keep the one with the smallest loss; the present value wins a tie

So optimizers with equally many rates, other options and passes have an equal search, as 2509.02046
(Fantastic Pretraining Optimizers) asks for; there, passes go on until nothing changes, and a grid
is refined. A grid of A x B values costs at most 1 + passes ((A - 1) + (B - 1)) trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tasks import refuse

Point = tuple[int, ...]  # the number of a value on each axis, from 0


def coordinate_descent(
    sizes: Sequence[int], measure: Callable[[list[Point]], Sequence[float]], passes: int = 2
) -> dict[Point, float]:
    """The trials of a descent that starts at the first value of each axis, in their order, with
    their losses. Its end is the trial with the smallest loss, of equal ones the first.

    sizes: values of each axis. measure: the losses of some points, each asked for once; a loss that
    is no number counts as infinite. ValueError for an axis without a value and for no pass.
    """
    if passes < 1:
        raise refuse("passes", passes, "at least 1")
    if not sizes or min(sizes) < 1:
        raise refuse("sizes", list(sizes), "at least one axis, each with at least one value")
    at: Point = (0,) * len(sizes)
    trials: dict[Point, float] = {}
    for _ in range(passes):
        for axis, size in enumerate(sizes):
            line = [(*at[:axis], i, *at[axis + 1 :]) for i in range(size)]
            new = [point for point in line if point not in trials]
            losses = measure(new) if new else []
            trials |= {
                point: math.inf if math.isnan(loss) else loss
                for point, loss in zip(new, losses, strict=True)
            }
            at = min([at, *line], key=trials.__getitem__)
    return trials


def end(trials: dict[Point, float]) -> Point:
    """Where a descent ended."""
    return min(trials, key=trials.__getitem__)
