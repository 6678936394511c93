"""The claim turing-length: what makes it hold, what must not, and leads by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.figures.claim import claim_figure
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import (
    LENGTH_CASES,
    by_length,
    claim_of,
    length_case,
    record_of,
    with_accuracies,
)

LENGTHS = (12, 18, 24)


@pytest.mark.parametrize("case", LENGTH_CASES)
def test_a_lead_in_length_needs_arms_that_had_something_to_lose(case: str) -> None:
    others = ("rope", "alibi", "none", "no scratchpad")
    record = record_of(claim_of("turing-length"), length_case(case, "hard_alibi", others, LENGTHS))
    assert record["verdict"] == ("holds" if case == "seen" else "fails"), record["values"]
    assert record["negative_control"]["verdict"] == "fails", "another arm in its own place"


def test_leads_by_hand() -> None:
    claim = claim_of("turing-length")
    accuracies = {
        "hard_alibi": by_length(LENGTHS, 1.0, 0.8, 0.3),
        "rope": by_length(LENGTHS, 0.9, 0.1, 0.0),
        "alibi": by_length(LENGTHS, 1.0, 0.25, 0.0),
        "none": by_length(LENGTHS, 1.0, 0.0, 0.0),
    }
    assert record_of(claim, accuracies)["values"] == pytest.approx([0.55] * 6), "0.8 - 0.25"
    accuracies["rope"] = by_length(LENGTHS, 0.4, 0.1, 0.0)
    record = record_of(claim, accuracies)
    assert record["values"] == pytest.approx([0.3] * 6), "rope had but 0.4 - 0.1 to lose"
    assert (record["series"][0]["near"], record["series"][0]["far"]) == (12, 18)
    accuracies["no scratchpad"] = by_length(LENGTHS, 0.7, 0.6, 0.0)
    assert record_of(claim, accuracies)["values"] == pytest.approx([0.2] * 6), "0.8 - 0.6"


def test_the_series_and_the_figure_say_where_thoughts_go_wrong_first() -> None:
    """Six digits: tape 1 is 5 digits, a letter, +, again, +, a carry, a digit and SEP."""
    claim = claim_of("turing-length")
    results = {}
    for arm in [*claim.arms.values(), *claim.control.arms.values()]:
        for number, e in enumerate(claim.seeded(arm)):
            run = with_accuracies(e, {})
            if e.task.name == "addition":
                wrong = [replace(s, first_error=4.0 + 17 * (number > 3)) for s in run.scores]
                run = replace(run, scores=tuple(wrong))
            results[e.slug] = run
    record = evaluate_claim(claim, results)
    first, last = (record["series"][i]["first_wrong"] for i in (0, 5))
    assert first["addition, base 16"][1] == [6, 1, 5, 17]
    assert last["addition, base 16"][1] == [6, 2, 5, 16]
    assert first["hard_alibi"] == first["multiplication, base 10"] == []
    labels = [text.get_text() for text in claim_figure(record, claim.draw).axes[1].texts]
    assert "addition, base 16:\nfirst wrong: tape 1, token 5 of 17" in labels
    assert "multiplication, base 10" in labels, "no wrong token"
