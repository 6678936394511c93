"""The claim turing-length: what makes it hold, what must not, and leads by hand."""

from __future__ import annotations

import pytest

from tests.claim_results import LENGTH_CASES, by_length, claim_of, length_case, record_of


@pytest.mark.parametrize("case", LENGTH_CASES)
def test_a_lead_in_length_needs_arms_that_had_something_to_lose(case: str) -> None:
    others = ("rope", "alibi", "none", "no scratchpad")
    record = record_of(
        claim_of("turing-length"), length_case(case, "hard_alibi", others, (4, 6, 8))
    )
    assert record["verdict"] == ("holds" if case == "seen" else "fails"), record["values"]
    assert record["negative_control"]["verdict"] == "fails", "another arm in its own place"


def test_leads_by_hand() -> None:
    claim = claim_of("turing-length")
    lengths = (4, 6, 8)
    accuracies = {
        "hard_alibi": by_length(lengths, 1.0, 0.8, 0.3),
        "rope": by_length(lengths, 0.9, 0.1, 0.0),
        "alibi": by_length(lengths, 0.7, 0.25, 0.0),
    }
    record = record_of(claim, accuracies)
    assert record["values"] == pytest.approx([0.55] * 6), "0.8 - 0.25 against 0.9 - 0.25"
    assert record["series"][0]["best_other"] == "alibi" and record["series"][0]["far"] == 6
    accuracies["rope"] = accuracies["alibi"] = by_length(lengths, 0.4, 0.1, 0.0)
    assert record_of(claim, accuracies)["values"] == pytest.approx([0.3] * 6), (
        "0.4 - 0.1 is all they lost"
    )
