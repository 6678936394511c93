"""What is said of ordinary runs, from curves and scores with a known cause."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.results.result import Result
from lab.verdicts import why
from tests.scores import made, scored

SHARE = st.integers(0, 100).map(lambda x: x / 100)


def run(early: float | None, *scores: tuple[float, int], **more: float) -> Result:
    """A run with an evaluation at three quarters of its steps, and scores of (share, length)."""
    result = made(*(scored(x, length, **more) for x, length in scores), steps=1000)
    rows = [{"step": 740, "rows": 1, "scores": [{"exact": early}]}] if early is not None else []
    return dataclasses.replace(result, curves=[*rows, {**rows[0], "step": 760}] if rows else [])


@pytest.mark.parametrize(
    ("early", "end", "says"),
    [
        (0.5, 0.6, "Still rising: exact match 0.600 after +0.100 in the last quarter of the steps"),
        (0.6, 0.6, "Flat: exact match 0.600 after +0.000 in the last quarter"),
        (0.7, 0.6, "Flat: exact match 0.600 after -0.100"),
        (0.9, 0.97, "Almost learned: exact match 0.970 after +0.070"),
        (None, 0.6, "No curve: it was not evaluated on the way"),
    ],
)
def test_what_the_curve_did(early: float | None, end: float, says: str) -> None:
    (told,) = why([run(early, (end, 20))])
    assert told.startswith(says)


@given(SHARE, SHARE)
def test_rising_is_what_a_claim_calls_budget(early: float, end: float) -> None:
    told = " ".join(why([run(early, (end, 20))]))
    rising = end - early >= 0.05 and 1 - end >= 0.05
    assert ("Still rising" in told) == (rising and end < 1)
    assert not told or end < 1


def test_right_in_range_only() -> None:
    told = why([run(0.5, (1.0, 20), (0.95, 30), (0.5, 60), (0.7, 40))])
    assert told == [
        "Right in range only: answers 1.000 at length 20, 0.700 at length 40 (held out)."
    ]
    (unseen,) = why([run(0.5, (1.0, 20), (0.5, 20))])
    assert unseen.startswith("Right on rows like those of training only")
    assert why([run(0.5, (1.0, 20), (0.9, 40))]) == []


def test_where_the_thought_goes_wrong_over_seeds() -> None:
    seeds = [run(0.4, (0.5, 20), valid_thought=v, first_error=e) for v, e in ((0.2, 3), (0.4, 7))]
    assert why(seeds)[-1] == (
        "Thought: right to its end in 0.300 of the rows of held out (length 20); its first wrong"
        " token is number 5 (median, from 0)."
    )
