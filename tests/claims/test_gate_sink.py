"""The claim gate-sink: what it measures, from untrained runs to its figure, and its rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.analysis.subject import layers, open_run
from lab.claims import gate_sink
from lab.claims.gate_sink import attention_of, no_sink
from lab.config import Experiment
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy


def small(e: Experiment) -> Experiment:
    kept = tuple(range(1, 1 + len(e.train.keep_steps)))
    train = replace(e.train, steps=6, batch=4, warmup=0, eval_every=3, keep_steps=kept)
    model = replace(e.model, width=16, heads=2, layers="attention*2")
    return replace(e, model=model, train=train, probes=tuple(replace(p, n=4) for p in e.probes))


@pytest.mark.parametrize("arm", ["elementwise", "addition, no gate"])
def test_attention_again_from_the_maps(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows by their words: no query is `$`, a trigger, the last token or padding."""
    monkeypatch.setattr(gate_sink, "ROWS", 6)
    e = small(claim_of("gate-sink").arms[arm])
    result = run(e, tmp_path, "cpu")
    measured = attention_of(result)
    assert [step for step, _ in measured["curve"]] == [*e.train.keep_steps, 6]
    words = e.task.words
    for at, value in measured["curve"]:
        subject = open_run(result.run, rows=6, at=f"step-{at}")
        maps = torch.stack([w for layer in layers(subject) if (w := layer.weights) is not None])
        rows, first, uniform = subject.batch, [], []
        for n in range(6):
            T = int((rows.roles[n] > 0).sum())
            for t in range(1, T - 1):
                if arm.startswith("addition") or not words[rows.tokens[n, t]].isdigit():
                    first.append(float(maps[:, n, :, t, 0].mean()))
                    uniform.append(1 / (t + 1))
        assert value == pytest.approx(sum(first) / len(first), abs=1e-9)
    late = [value for step, value in measured["curve"] if step >= 3]
    assert measured["first"] == pytest.approx(sum(late) / len(late))
    assert measured["uniform"] == pytest.approx(sum(uniform) / len(uniform))
    assert measured["exact"] == result.scores[0].exact
    if arm == "elementwise":
        assert 0.4 < measured["gate"] < 0.6 and 0 < measured["dependency"] < 0.5
    else:
        assert measured["gate"] is measured["dependency"] is None


Measure = Callable[[Result], dict[str, Any]]


def attention(firsts: dict[str, float]) -> Measure:
    """Attention on the first token by the kind of gate; nothing changes over training."""

    def of(result: Result) -> dict[str, Any]:
        model = result.experiment["model"]
        kind = model["gate"] if model["gate_input"] == "data" else "constant"
        if result.experiment["task"]["name"] == "addition":
            kind = "addition"
        first = firsts[kind]
        curve = [[step, first] for step in (*result.experiment["train"]["keep_steps"], 9000)]
        return {
            "first": first,
            "uniform": 0.07,
            "exact": result.scores[0].exact,
            "curve": curve,
        }

    return of


PAPER = {"none": 0.95, "elementwise": 0.4, "headwise": 0.1, "constant": 0.9, "addition": 0.1}


def recorded(monkeypatch: pytest.MonkeyPatch, firsts: dict[str, float], exact: float = 1.0) -> Any:
    monkeypatch.setattr(gate_sink, "attention_of", attention(firsts))
    claim = claim_of("gate-sink")
    return evaluate_claim(claim, {e.slug: with_accuracy(e, exact) for e in claim.experiments()})


def test_what_the_paper_saw_holds_and_its_control_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = recorded(monkeypatch, PAPER)
    assert record["values"] == pytest.approx([0.95 - 0.25] * 6), "the mean of 0.55 and 0.85"
    assert record["negative_control"]["values"] == pytest.approx([0.05] * 6)
    assert (record["verdict"], record["negative_control"]["verdict"]) == ("holds", "fails")
    record = json.loads(json.dumps(record))
    check_figure(claim_of("gate-sink"), record, tmp_path / "cpu.png")


def test_gates_that_leave_the_sink_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded(monkeypatch, PAPER | {"elementwise": 0.8, "headwise": 0.6})
    assert record["values"] == pytest.approx([0.25] * 6) and record["verdict"] == "fails"


def test_a_constant_gate_must_keep_the_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(monkeypatch, PAPER | {"constant": 0.1})["verdict"] == "inconclusive"


def test_without_back_copies_there_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded(monkeypatch, PAPER, exact=0.89)
    assert record["values"] == [0.0] * 6 and record["verdict"] == "fails"
    assert recorded(monkeypatch, PAPER, exact=0.9)["verdict"] == "holds"


def test_without_a_sink_the_scale_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recorded(monkeypatch, PAPER | {"none": 0.5})
    assert (record["verdict"], record["diagnosis"]["cause"]) == ("fails", "scale")
    assert "the first token gets 0.500, below 0.8" in record["diagnosis"]["why"]
    assert recorded(monkeypatch, PAPER | {"none": 0.79, "elementwise": 0.1})["values"] == [0.0] * 6
    good = {"first": 0.8, "exact": 0.9}
    seed = dict.fromkeys(("no gate", "elementwise", "headwise"), good)
    assert no_sink([seed, seed]) is None
    wrong = seed | {"headwise": good | {"exact": 0.5}}
    assert no_sink([seed, wrong]) == "headwise is right on 0.500 of the back-copies, below 0.9"


def test_the_control_has_the_same_gates_that_read_nothing() -> None:
    for scale in ("cpu", "gpu"):
        claim = claim_of("gate-sink", scale)  # type: ignore[arg-type]
        assert set(claim.control.arms) == {"elementwise", "headwise"}
        for gate, e in claim.control.arms.items():
            arm = claim.arms[gate]
            assert e == replace(arm, model=replace(arm.model, gate_input="constant"))
