"""The claim global-balance: from tiny runs to bits, and when a difference does not count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lab
from lab.analysis.subject import open_run
from lab.claims import global_balance
from lab.claims.global_balance import GLOBAL, MICRO, OVER, experts, unequal
from lab.nn.mlp import _Mixture
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tasks import Role
from tests.claim_results import check_figure, claim_of, with_accuracy


def test_bits_and_shares_again_from_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joint distribution of task and expert, tasks equally frequent, by a loop over tokens."""
    monkeypatch.setattr(global_balance, "ROWS", 24)
    e = claim_of("global-balance").arms[MICRO]
    train = replace(e.train, steps=4, batch=6, warmup=0, eval_every=2)
    model = replace(e.model, width=8, heads=2, experts=4)
    e = replace(e, train=train, model=model, probes=tuple(replace(p, n=8) for p in e.probes))
    result = run(e, tmp_path, "cpu")
    found = experts(result)
    subject = open_run(result.run, rows=24)
    chosen: list[torch.Tensor] = []
    trained = lab.model(result.run)
    for block in trained.blocks:
        assert isinstance(block.mlp, _Mixture)
        block.mlp.router.register_forward_hook(lambda _, args, out: chosen.append(out[1]))
    with torch.no_grad():
        trained(torch.from_numpy(np.ascontiguousarray(subject.batch.tokens)))
    roles, parts = subject.batch.roles, subject.batch.hidden[:, 0]
    for layer, choices in enumerate(chosen):
        counts = np.zeros((3, 4))
        for row, of_row in enumerate(choices.reshape(*roles.shape, 2).tolist()):
            for column, pair in enumerate(of_row):
                for expert in pair if roles[row, column] != Role.PAD else ():
                    counts[parts[row], expert] += 1
        joint = counts / counts.sum(1, keepdims=True) / 3
        apart = joint.sum(1, keepdims=True) * joint.sum(0)
        bits = sum(p * np.log2(p / q) for p, q in zip(joint.flat, apart.flat, strict=True) if p)
        assert found["information"][layer] == pytest.approx(bits, abs=1e-9)
        np.testing.assert_allclose(found["shares"][layer], 3 * joint)
    assert found["exact"] == {s.probe: s.exact for s in result.scores if s.probe != "all parts"}
    assert list(found["loss"]) == list(found["exact"]) and min(found["loss"].values()) > 0


def seen(bits: dict[tuple[str, str], float], right: dict[str, float]) -> Any:
    """What `experts` finds: bits by balance and micro-batches, accuracies by balance."""

    def of(result: Result) -> dict[str, Any]:
        over = result.experiment["model"]["balance_over"]
        own = bits[over, result.experiment["train"].get("micro_batches", "mixed")]
        exact = dict.fromkeys(("parity", "copy", "sorting"), right[over])
        shares = np.eye(3, 8) * own + (1 - own) / 8
        return {
            "information": [1.25 * own, 0.75 * own],
            "shares": [shares.tolist()] * 2,
            "loss": dict.fromkeys(exact, 0.1),
            "exact": exact,
        }

    return of


PAPER = {
    ("global", "one_part"): 0.6,
    ("micro", "one_part"): 0.1,
    ("global", "mixed"): 0.55,
    ("micro", "mixed"): 0.5,
}
LEARNED = {"global": 0.95, "micro": 0.93}


def recorded(monkeypatch: pytest.MonkeyPatch, bits: Any, right: Any = LEARNED) -> Any:
    monkeypatch.setattr(global_balance, "experts", seen(bits, right))
    claim = claim_of("global-balance")
    return evaluate_claim(claim, {e.slug: with_accuracy(e, 0.95) for e in claim.experiments()})


def test_what_the_paper_saw_holds_and_its_control_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = recorded(monkeypatch, PAPER)
    assert record["values"] == pytest.approx([0.5] * 6)
    assert record["negative_control"]["values"] == pytest.approx([0.05] * 6)
    assert (record["verdict"], record["negative_control"]["verdict"]) == ("holds", "fails")
    record = json.loads(json.dumps(record))
    check_figure(claim_of("global-balance"), record, tmp_path / "cpu.png")


def test_what_must_not_pass_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arms divide the tasks; none does; the global loss divides mixed rows too, and alone."""
    alike = {**PAPER, ("micro", "one_part"): 0.5}
    assert recorded(monkeypatch, alike)["verdict"] == "fails"
    none = dict.fromkeys(PAPER, 0.05)
    assert recorded(monkeypatch, none)["verdict"] == "fails"
    void = recorded(monkeypatch, {**PAPER, ("micro", "mixed"): 0.1})
    assert (void["verdict"], void["diagnosis"]["cause"]) == ("inconclusive", "control")


def test_arms_that_did_not_learn_alike_have_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    for right, sentence in (
        ({"global": 0.95, "micro": 0.79}, "micro balance is right on 0.790 of parity, below 0.8"),
        ({"global": 0.99, "micro": 0.83}, "on parity the arms are right on 0.990 and 0.830"),
    ):
        record = recorded(monkeypatch, PAPER, right)
        assert record["values"] == [0.0] * 6 and record["verdict"] == "fails"
        assert record["diagnosis"]["cause"] == "scale" and sentence in record["diagnosis"]["why"]
    good = {"exact": {"parity": 0.9}}
    assert unequal([{GLOBAL: good, MICRO: good}]) is None


def test_arms_differ_by_what_they_balance_over_and_the_rate() -> None:
    claim = claim_of("global-balance")
    for side, rows in ((claim.arms, "one_part"), (claim.control.arms, "mixed")):
        arms = {
            name: replace(
                e, model=replace(e.model, balance_over="micro"), train=replace(e.train, lr=1e-3)
            )
            for name, e in side.items()
        }
        assert arms[GLOBAL] == arms[MICRO] and set(arms) == set(OVER)
        assert {e.train.micro_batches for e in side.values()} == {rows}
        assert {e.model.balance_over for e in side.values()} == {"global", "micro"}
