"""The claim ngram-length: what makes it hold, what must not, and correlations by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.claims.ngram_length import correlation
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import by_length, claim_of, with_accuracies

SEEN = {3: 0.05, 8: 0.3, 16: 0.5, 26: 0.6}  # accuracy at 2x by the number of symbols


def record(far: Mapping[int, float], near: float = 1.0, repeating: float = 0.0) -> Any:
    """repeating: accuracy at 2x of the arm of the control."""
    claim = claim_of("ngram-length")
    results = {}
    for arms, by_symbols in ((claim.arms, far), (claim.control.arms, {26: repeating})):
        for name, arm in arms.items():
            symbols = int(name.split()[0]) if name.endswith("symbols") else 0
            scores = by_length((12, 24), near, by_symbols.get(symbols, 0.0))
            results |= {e.slug: with_accuracies(e, scores) for e in claim.seeded(arm)}
    return evaluate_claim(claim, results)


def test_a_rise_with_the_alphabet_holds_and_the_control_can_stop_it() -> None:
    assert record(SEEN)["verdict"] == "holds"
    assert record(SEEN)["negative_control"]["values"] == [0.0] * 6
    stopped = record(SEEN, repeating=0.55)
    assert stopped["negative_control"]["verdict"] == "holds"
    assert stopped["verdict"] == "inconclusive" and stopped["diagnosis"]["cause"] == "control"


@pytest.mark.parametrize(
    ("far", "near"),
    [
        ({3: 0.6, 8: 0.5, 16: 0.3, 26: 0.05}, 1.0),
        (dict.fromkeys(SEEN, 0.6), 1.0),
        (dict.fromkeys(SEEN, 0.0), 1.0),
        ({3: 0.50, 8: 0.52, 16: 0.54, 26: 0.56}, 1.0),
        (SEEN, 0.85),
    ],
)
def test_what_must_not_hold(far: Mapping[int, float], near: float) -> None:
    """A fall, no change, nobody, a rise too small to count, models that have not learned 1x."""
    found = record(far, near)
    assert found["verdict"] == "fails" and found["negative_control"]["verdict"] == "fails"


@pytest.mark.parametrize(
    ("far", "value"),
    [
        ((0.1, 0.2, 0.3, 0.4), 1.0),
        ((0.0, 0.2, 0.4, 0.3), 0.8),
        ((0.2, 0.1, 0.3, 0.4), 0.8),
        ((0.0, 0.0, 0.3, 0.4), 0.948683),
        ((0.2, 0.1, 0.5, 0.4), 0.6),
        ((0.1, 0.4, 0.3, 0.35), 0.4),
        ((0.1, 0.15, 0.18, 0.19), 0.0),
    ],
)
def test_correlations_by_hand(far: tuple[float, ...], value: float) -> None:
    """1 - 6 sum(d^2) / 60 without ties, d the differences of ranks; the last leads by 0.09."""
    assert correlation([(1.0, one) for one in far]) == value
    assert correlation([(0.95, far[0]), (0.89, far[1]), (1.0, far[2]), (1.0, far[3])]) == 0


def test_one_swap_of_neighbours_reaches_the_bar() -> None:
    found = record({**SEEN, 16: 0.2})
    assert found["values"] == [0.8] * 6 and found["verdict"] == "holds"
    assert record({**SEEN, 3: 0.52, 26: 0.7})["values"] == [0.4] * 6, "third of four: two swaps"


def test_the_precondition_names_the_alphabet() -> None:
    claim = claim_of("ngram-length")
    assert claim.precondition
    series = [{"accuracy": {f"{k} symbols": [0.85 if k == 8 else 1.0, 0.5] for k in SEEN}}]
    assert claim.precondition(series * 6) == "with 8 symbols it is 0.850, below 0.9"
    right = {"accuracy": {f"{k} symbols": [0.9, 0.5] for k in SEEN}}
    assert claim.precondition([right] * 6) is None


def test_one_factor_differs_from_the_usual_arm() -> None:
    claim = claim_of("ngram-length")
    usual = claim.arms["26 symbols"]
    changed = {"symbols": "task", "trained": "train probes", "heads": "model"}
    for name, arm in claim.arms.items():
        (names,) = (fields for word, fields in changed.items() if word in name)
        same = {field: getattr(usual, field) for field in names.split()}
        assert replace(arm, **same) == usual, name
