"""The claim parrots: what experts add on the book and on paths, and what must not pass for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.claims.parrots import EXPERTS, MOST, TASKS, WIDER, label, no_room
from lab.config.experiment import Scale
from lab.nn.model import Model
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import claim_of, with_accuracy

# Exact match on the book, then on paths, by experts.
SEEN = {1: (0.4, 0.4), 4: (0.9, 0.42), MOST: (1.0, 0.45), WIDER: (1.0, 0.95)}


def verdict(seen: dict[int | str, tuple[float, float]]) -> dict[str, object]:
    claim = claim_of("parrots")
    named = {label(task, n): seen[n][i] for n in seen for i, task in enumerate(TASKS)}
    results = {}
    for name, arm in claim.arms.items():
        results |= {e.slug: with_accuracy(e, named[name]) for e in claim.seeded(arm)}
    for name, arm in claim.control.arms.items():
        wider = named[name.replace(f"{MOST} experts", "no experts, wider")]
        results |= {e.slug: with_accuracy(e, wider) for e in claim.seeded(arm)}
    return evaluate_claim(claim, results)


def test_what_the_paper_saw_holds_and_its_control_fails() -> None:
    record = verdict(SEEN)
    assert record["values"] == pytest.approx([0.6 - 0.05] * 6) and record["verdict"] == "holds"
    control = record["negative_control"]
    assert control["values"] == pytest.approx([0.6 - 0.55] * 6)  # type: ignore[index]
    assert control["verdict"] == "fails"  # type: ignore[index]


@pytest.mark.parametrize(
    ("changed", "value", "expected"),
    [
        ({MOST: (1.0, 0.9)}, 0.1, "fails"),  # experts find paths as well
        ({MOST: (0.5, 0.4)}, 0.1, "fails"),  # they remember nothing more
        ({WIDER: (1.0, 0.59)}, 0.0, "fails"),  # nothing to gain on paths
        ({WIDER: (1.0, 0.61)}, 0.55, "inconclusive"),  # the control passes too
    ],
)
def test_what_must_not_pass_for_it(
    changed: dict[int | str, tuple[float, float]], value: float, expected: str
) -> None:
    record = verdict(SEEN | changed)
    assert record["values"] == pytest.approx([value] * 6)
    assert record["verdict"] == expected
    room = no_room([{"accuracy": {"paths, no experts": 0.5, "paths, no experts, wider": 0.69}}])
    assert room == "a wider model gains 0.190 on paths, below 0.2: there is nothing to gain"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_active_sizes_are_equal_but_for_the_router(scale: Scale) -> None:
    """Numbers that process a token, counted in the models."""
    import torch

    claim = claim_of("parrots", scale)
    for task in TASKS:
        active = {}
        for n in EXPERTS:
            e = claim.arms[label(task, n)]
            with torch.device("meta"):
                model = Model(replace(e.model, layers="attention"), len(e.task.words))
            sizes = {name: p.numel() for name, p in model.named_parameters()}
            experts = sum(x for name, x in sizes.items() if ".experts." in name)
            router = sum(x for name, x in sizes.items() if ".router." in name)
            active[n] = sum(sizes.values()) - router - experts + 2 * experts // max(2, n)
        assert len(set(active.values())) == 1, active
        trained = {claim.arms[label(task, n)].train for n in (*EXPERTS, WIDER)}
        assert len(trained) == 1
