"""Sample efficiency: rows to the threshold, censoring; several seeds in one row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lab.results.folder import load
from lab.results.summary import evaluations, samples_to, summary


def row(rows: int, *exact: float, **more: Any) -> dict[str, Any]:
    scores = [{"probe": f"p{i}", "length": 5 + i, "exact": value} for i, value in enumerate(exact)]
    return {"step": rows // 8, "rows": rows, "scores": scores, **more}


def test_rows_at_the_first_evaluation_that_reaches_the_threshold() -> None:
    learned = samples_to([row(80, 0.2, 1.0), row(160, 0.9, 0.1), row(240, 0.95, 0.8)], 0.9)
    assert learned == [
        {"probe": "p0", "length": 5, "threshold": 0.9, "rows": 160, "censored": False},
        {"probe": "p1", "length": 6, "threshold": 0.9, "rows": 80, "censored": False},
    ]


def test_the_final_evaluation_counts_and_else_the_budget_is_censored() -> None:
    rows = [row(80, 0.0, 0.0), row(240, 1.0, 0.99)]
    learned = [(one["rows"], one["censored"]) for one in samples_to(rows, 1.0)]
    assert learned == [(240, False), (240, True)]


def test_branches_do_not_count() -> None:
    rows = [row(80, 0.0), row(100, 1.0, branch=20), row(240, 1.0)]
    assert samples_to(rows, 1.0)[0]["rows"] == 240


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 1))
def test_by_definition(exact: list[float], threshold: float) -> None:
    (one,) = samples_to([row(8 * (i + 1), x) for i, x in enumerate(exact)], threshold)
    for i, x in enumerate(exact):
        if x >= threshold:
            assert (one["rows"], one["censored"]) == (8 * (i + 1), False)
            return
    assert (one["rows"], one["censored"]) == (8 * len(exact), True)


def test_a_summary_is_over_seeds_and_never_the_best_one() -> None:
    result = load(Path(__file__).parent / "legacy" / "run")
    values = (0.5, 1.0, 0.6)
    runs = [
        dataclasses.replace(result, scores=(dataclasses.replace(result.scores[0], exact=exact),))
        for exact in values
    ]
    (row,) = summary(runs)
    assert row["exact"] == 0.6 and row["exact_values"] == list(values)
    assert (row["exact_interval"], row["coverage"]) == ((0.5, 1.0), 0.75)
    (alone,) = summary(runs[:1])
    assert (alone["exact"], alone["exact_interval"], alone["coverage"]) == (0.5, None, None)
    assert (row["solved"], row["seeds"]) == (1, 3)
    assert (row["probe"], row["length"]) == ("held out", 6)


def test_evaluations_leave_branches_out() -> None:
    result = load(Path(__file__).parent / "legacy" / "run")
    (own,) = result.curves
    both = dataclasses.replace(result, curves=[own, {**own, "branch": 5}])
    assert evaluations(both) == [own]
