"""The claim retrieval-heads: falls of a model made by hand, its rules and its figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.analysis import subject
from lab.claims import retrieval_heads
from lab.claims.retrieval_heads import OWN, SCORED, falls_of, measure
from lab.results.result import Result
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy
from tests.subjects import copier


@torch.no_grad()
def turned() -> subject.Subject:
    """The same model with its two heads in each other's place."""
    s = copier()
    mixer: Any = s.model.blocks[0].mixer  # type: ignore[index]
    for part in mixer.qkv.weight.chunk(3):
        part.copy_(part.roll(len(part) // 2, 0))
    mixer.out.weight.copy_(mixer.out.weight.roll(mixer.out.weight.shape[1] // 2, 1))
    return s


def test_falls_without_the_head_that_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two heads, one copies all: nothing is right without it, and all without the other."""
    models = {"own": copier, "other": turned}
    monkeypatch.setattr(subject, "open_run", lambda run, rows: models[run]())
    monkeypatch.setattr(retrieval_heads, "OFF", (1,))
    monkeypatch.setattr(retrieval_heads, "COUNTED", {"cpu": 1})
    arm = claim_of("retrieval-heads").arms[OWN]
    own, other = (replace(with_accuracy(arm, 1.0), run=run) for run in models)
    assert falls_of(own, own) == {
        "scores": [1.0, 0.0],
        "counted": "1",
        "falls": {"1": {"top": 1.0, "random": 0.0}},
    }
    assert falls_of(other, other)["scores"] == [0.0, 1.0]
    assert measure({OWN: own, **dict.fromkeys(SCORED, own)}).value == 1
    others = dict.fromkeys(SCORED, other)
    assert measure({OWN: own, **others}).value == -1, "the scores of another model"
    assert measure({OWN: own, **others, SCORED[0]: own}).value == 0, "the mean of two models"


def falls(top: float, others: float) -> Callable[[Result, Result], dict[str, Any]]:
    def of(result: Result, by: Result) -> dict[str, Any]:
        best = top if by is result else others
        kinds = {"top": best, "random": others}
        scores = [0.9, 0.5, None] + [0.01] * 29
        every = {str(n): kinds for n in retrieval_heads.OFF}
        return {"scores": scores, "counted": "4", "falls": every}

    return of


@pytest.mark.parametrize(
    ("top", "others", "verdict"),
    [(0.95, 0.4, "holds"), (0.95, 0.7, "fails"), (0.2, 0.1, "fails")],
)
def test_what_holds(
    top: float, others: float, verdict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(retrieval_heads, "falls_of", falls(top, others))
    claim = claim_of("retrieval-heads")
    results = {e.slug: with_accuracy(e, 1.0) for e in claim.experiments()}
    record = json.loads(json.dumps(evaluate_claim(claim, results)))
    assert record["verdict"] == verdict
    assert record["values"] == pytest.approx([top - others] * 6)
    assert record["negative_control"]["verdict"] == "fails"
    check_figure(claim, record, tmp_path / "cpu.png")


def test_one_run_a_seed_and_five_others_for_its_control() -> None:
    claim = claim_of("retrieval-heads")
    own = {e.train.seed for e in claim.seeded(claim.arms[OWN])}
    assert all(claim.arms[name] == claim.arms[OWN] for name in SCORED)
    others = [[e.train.seed for e in claim.seeded(claim.control.arms[n])] for n in SCORED]
    for seeds in zip(*others, strict=True):
        assert len(set(seeds)) == 5 and not own & set(seeds)
