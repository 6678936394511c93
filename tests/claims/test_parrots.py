"""The claim parrots: what experts add on the book and on paths, and what must not pass for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lab.claims.parrots import EXPERTS, MOST, SEARCH, label, no_room
from lab.config.experiment import Scale
from lab.nn.model import Model
from lab.results.result import Result
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import claim_of, with_accuracy

# Exact match: on the book, on paths, on the book of the control, by experts.
SEEN = {1: (0.3, 0.4, 1.0), 4: (0.9, 0.42, 1.0), MOST: (1.0, 0.45, 1.0)}


def verdict(seen: dict[int, tuple[float, float, float]], search: float = 0.9) -> Any:
    claim, results = claim_of("parrots"), dict[str, Result]()
    sides = ((claim.arms, "book", 0), (claim.arms, "paths", 1), (claim.control.arms, "book", 2))
    for arms, task, column in sides:
        for n in seen:
            runs = claim.seeded(arms[label(task, n)])
            results |= {e.slug: with_accuracy(e, seen[n][column]) for e in runs}
    written = claim.seeded(claim.arms[SEARCH])
    return evaluate_claim(claim, results | {e.slug: with_accuracy(e, search) for e in written})


def test_what_the_paper_saw_holds_and_its_control_fails() -> None:
    record = verdict(SEEN)
    assert record["values"] == pytest.approx([0.7 - 0.05] * 6) and record["verdict"] == "holds"
    control = record["negative_control"]
    assert control["values"] == pytest.approx([-0.05] * 6) and control["verdict"] == "fails"


@pytest.mark.parametrize(
    ("most", "search", "value", "expected"),
    [
        ((1.0, 1.0, 1.0), 0.9, 0.1, "fails"),  # experts find paths as well
        ((0.4, 0.4, 1.0), 0.9, 0.1, "fails"),  # they remember hardly more
        ((1.0, 0.4, 1.0), 0.59, 0.0, "fails"),  # nothing could be gained on paths
        ((1.0, 0.1, 1.0), 0.9, 1.0, "inconclusive"),  # paths alone would do it
    ],
)
def test_what_must_not_pass_for_it(
    most: tuple[float, float, float], search: float, value: float, expected: str
) -> None:
    record = verdict(SEEN | {MOST: most}, search)
    assert record["values"] == pytest.approx([value] * 6) and record["verdict"] == expected
    little = no_room([{"accuracy": {label("paths", 1): 0.5, SEARCH: 0.69}}])
    assert little == "a written search gains 0.190 on paths, below 0.2: there is no room"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_active_sizes_are_equal_but_for_the_router(scale: Scale) -> None:
    """Numbers that process a token, counted in the models."""
    claim = claim_of("parrots", scale)
    for task in ("book", "paths"):
        active = set()
        for n in EXPERTS:
            e = claim.arms[label(task, n)]
            with torch.device("meta"):
                model = Model(e.model, len(e.task.words))
            sizes = {name: p.numel() for name, p in model.named_parameters()}
            experts = sum(x for name, x in sizes.items() if ".experts." in name)
            router = sum(x for name, x in sizes.items() if ".router." in name)
            active.add(sum(sizes.values()) - router - experts + 2 * experts // n)
        assert len(active) == 1
        assert len({claim.arms[label(task, n)].train for n in EXPERTS}) == 1
