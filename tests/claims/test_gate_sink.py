"""The claim gate-sink: from untrained runs to its figure, and which rate still trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.analysis.subject import layers, open_run
from lab.claims import gate_sink
from lab.claims.gate_sink import no_sink
from lab.config import Experiment
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.records import picture
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import claim_of, with_accuracies


def small(e: Experiment) -> Experiment:
    model = replace(e.model, width=16, heads=2, layers="attention*2")
    probes = tuple(replace(p, n=8) for p in e.probes)
    return replace(
        e, model=model, train=replace(e.train, steps=4, batch=8, warmup=0), probes=probes
    )


def test_the_sink_from_runs_to_a_figure(tmp_path: Path) -> None:
    """Untrained models; the attention on the first token again from the maps themselves."""
    claim = claim_of("gate-sink")
    arms = {name: small(e) for name, e in claim.arms.items()}
    changed = {name: small(e) for name, e in claim.control.arms.items()}
    claim = replace(claim, arms=arms, control=replace(claim.control, arms=changed), seeds=2)
    results = {e.slug: run(e, tmp_path, "cpu") for e in claim.experiments()}
    record = evaluate_claim(claim, results)
    values = [*record["values"], *record["negative_control"]["values"]]
    assert max(values) < claim.threshold, "nothing to remove"

    def on_first(e: Experiment) -> float:
        read = layers(open_run(results[e.slug].run, rows=64))
        maps = [layer.weights for layer in read]
        assert all(w is not None and w.shape[0] == 64 for w in maps)
        return sum(float(w[:, :, 1:, 0].mean()) for w in maps if w is not None) / len(maps)

    for i, value in enumerate(record["values"]):
        bare, gated = (
            on_first(claim.seeded(arms[f"{gate}, rate 0.002"])[i])
            for gate in ("no gate", "elementwise")
        )
        assert value == pytest.approx(bare - gated, abs=1e-9)
    assert no_sink([{"arms": {"x": {"first": 0.3, "uniform": 0.2}}}], "x") is None
    assert "0.100, under uniform attention 0.200" in str(
        no_sink([{"arms": {"x": {"first": 0.1, "uniform": 0.2}}}], "x")
    )
    series = record["series"][0]
    tokens = layers(open_run(results[claim.experiments()[0].slug].run, rows=64))[0].weights
    assert tokens is not None
    same = torch.ones(tokens.shape[-1], tokens.shape[-1]).tril()
    same = same / same.sum(1, keepdim=True)
    uniform = series["arms"]["no gate, rate 0.002"]["uniform"]
    assert uniform == pytest.approx(float(same[1:, 0].mean()), rel=1e-5)
    assert series["highest_rate_that_trains"] == {"no gate": None, "elementwise": None}
    assert series["arms"]["no gate, rate 0.002"]["gate"] is None
    assert 0.4 < series["arms"]["elementwise, rate 0.002"]["gate"] < 0.6
    (constant,) = claim.control.arms.values()
    assert constant.model == replace(arms["elementwise, rate 0.002"].model, gate_input="constant")
    figure = picture(claim, record)
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "no gate",
        "elementwise",
        "constant input",
        "uniform attention",
    ]


def test_which_rate_still_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claim_of("gate-sink", "gpu")
    rates = {"no gate": 2e-3, "elementwise": 8e-3, "headwise": 0.0}
    firsts = {"no gate": 0.5, "elementwise": 0.1, "headwise": 0.2}

    def attention_of(result: Result) -> dict[str, Any]:
        config = result.experiment
        gate = {"none": "no gate"}.get(config["model"]["gate"], config["model"]["gate"])
        at_lowest = config["train"]["lr"] == 1e-3
        trains = config["train"]["lr"] <= rates[gate]
        return {"first": firsts[gate] if at_lowest else 0.9, "exact": 0.5 if trains else 0.49}

    monkeypatch.setattr(gate_sink, "attention_of", attention_of)
    results = {name: with_accuracies(e, {}) for name, e in claim.arms.items()}
    measured = claim.measure(results)
    assert measured.value == pytest.approx(0.4)
    assert measured.series["highest_rate_that_trains"] == {
        "no gate": 2e-3,
        "elementwise": 8e-3,
        "headwise": None,
    }
