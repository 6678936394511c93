"""The claim optimizers: excess loss from a tiny run, and which leads count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lab
from lab.claims import optimizers
from lab.claims.optimizers import DEFAULT, excess, label, no_lead
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy


def test_excess_is_cross_entropy_minus_entropy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token by token, from the table: every context adds sum_v p(v) (log p(v) - log q(v))."""
    monkeypatch.setattr(optimizers, "ROWS", 5)
    e = claim_of("optimizers").arms[label("adamw", "tuned")]
    train = replace(e.train, steps=4, batch=4, warmup=0, lengths=(6,))
    probes = (replace(e.probes[0], length=6, n=8),)
    e = replace(e, train=train, model=replace(e.model, width=8), probes=probes)
    result = run(e, tmp_path, "cpu")
    task = probes[0].of(e.task)
    rows = task.sample(np.random.default_rng(e.train.seed), 5, 6)
    table, model, apart = task.table(), lab.model(result.run), []  # type: ignore[attr-defined]
    for row in rows.tokens:
        for t in range(1, 7):
            p = table[row[t - 1]] if t > 1 else np.full(32, 1 / 32)
            with torch.no_grad():
                q = model(torch.from_numpy(row[None, :t].copy()))[0, -1].softmax(-1).numpy()
            apart.append(sum(a * np.log(a / b) for a, b in zip(p, q, strict=False) if a))
    assert excess(result) == pytest.approx(np.mean(apart), rel=1e-4)


# Excess loss by optimizer: at the default rate, and tuned, which for Muon is the same.
SEEN = {"adamw": (0.04, 0.008), "muon": (0.004, 0.004), "soap": (0.01, 0.004), "sgd": (0.1, 0.1)}


def recorded(monkeypatch: pytest.MonkeyPatch, seen: dict[str, tuple[float, float]]) -> Any:
    def of(result: Result) -> float:
        train = result.experiment["train"]
        name = train["optimizer"]
        return seen[name][train["lr"] != DEFAULT.get(name)]

    monkeypatch.setattr(optimizers, "excess", of)
    claim = claim_of("optimizers")
    return evaluate_claim(claim, {e.slug: with_accuracy(e, 0.5) for e in claim.experiments()})


def test_what_the_paper_saw_holds_and_its_control_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = recorded(monkeypatch, SEEN)
    assert record["values"] == pytest.approx([1.0] * 6), "SOAP: from 4 to 2 times"
    assert record["negative_control"]["values"] == [0.0] * 6
    assert (record["verdict"], record["negative_control"]["verdict"]) == ("holds", "fails")
    record = json.loads(json.dumps(record))
    check_figure(claim_of("optimizers"), record, tmp_path / "cpu.png")


@pytest.mark.parametrize(
    "changed",
    [
        {"soap": (0.01, 0.002)},  # its lead stays
        {"soap": (0.03, 0.008)},  # it never seemed to lead by much
    ],
)
def test_what_must_not_pass_for_it(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, tuple[float, float]]
) -> None:
    record = recorded(monkeypatch, SEEN | changed)
    assert record["values"] == pytest.approx([0.0] * 6) and record["verdict"] == "fails"
    leads = {label("adamw", "default"): 0.012, label("muon", "default"): 0.01}
    assert no_lead([{"excess": leads}]) == "at default rates Muon leads AdamW by 0.263, below 0.5"


def test_arms_differ_by_optimizer_rate_and_weight_decay_alone() -> None:
    arms = [*claim_of("optimizers").arms.values()]
    same = {replace(e.train, optimizer="adamw", lr=1, weight_decay=0) for e in arms}
    assert len(same) == 1 and len({(e.model, e.task) for e in arms}) == 1
