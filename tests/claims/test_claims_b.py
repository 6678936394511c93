"""Claims about length, state tracking, gates and noise: what makes them hold, and what must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from lab import registry
from lab.analysis.subject import layers, open_run
from lab.claims.gate_sink import no_sink
from lab.config import Experiment
from lab.config.experiment import Scale
from lab.data.batches import visible
from lab.results.result import Result, Score
from lab.runs.run import run
from lab.verdicts.protocol import Claim
from lab.verdicts.verdict import evaluate_claim

Story = Mapping[str, Mapping[tuple[str, int], float]]  # accuracy of an arm on (probe, length)


def made(e: Experiment, right: Mapping[tuple[str, int], float]) -> Result:
    """A finished run with these accuracies, forced and free; those of other probes are 0."""
    scores = []
    for p in e.probes:
        value = right.get((p.label, p.length), 0.0)
        chance = p.of(e.task).chance(p.length)
        scores.append(Score(p.label, p.length, p.n, *[value] * 6, chance, None, None))
    run = f"runs/{e.slug}"
    return Result(run, e.to_json(), tuple(scores), [], 1.0, {"device": "none"}, [], e.train.steps)


def judged(found: Claim, story: Story) -> dict[str, Any]:
    """The record where every seed of an arm, and of its copy in the control, has the accuracies
    of the story."""

    def unseeded(arm: Experiment) -> str:
        return replace(arm, train=replace(arm.train, seed=0)).slug

    named = {unseeded(arm): name for name, arm in found.arms.items()}
    results = {}
    for arm in [*found.arms.values(), *found.control.arms.values()]:
        name = named[unseeded(arm)]
        results |= {e.slug: made(e, story.get(name, {})) for e in found.seeded(arm)}
    return evaluate_claim(found, results)


def by_length(lengths: tuple[int, ...], *values: float) -> dict[tuple[str, int], float]:
    return {("held out", n): value for n, value in zip(lengths, values, strict=True)}


def stories(name: str) -> dict[str, Story]:
    """What the paper saw, and what must not pass for it: nobody ever learned, only the other arms
    never learned their own lengths, all carry alike, the other arms carry further."""
    if name == "turing-length":
        own, others, lengths = "hard_alibi", ("rope", "alibi", "none", "no scratchpad"), (4, 6, 8)
    else:
        own, others, lengths = "copy, predicted", ("copy, learned", "copy, rope"), (8, 12, 16)
    good, lost = by_length(lengths, 1.0, 0.95, 0.9), by_length(lengths, 0.97, 0.05, 0.0)
    never: dict[tuple[str, int], float] = {}
    return {
        "seen": {own: good, **dict.fromkeys(others, lost)},
        "nobody": {own: never, **dict.fromkeys(others, never)},
        "others never": {own: good, **dict.fromkeys(others, never)},
        "alike": {own: good, **dict.fromkeys(others, good)},
        "one carries": {own: good, **dict.fromkeys(others, lost), others[1]: good},
        "turned": {own: lost, **dict.fromkeys(others, good)},
    }


@pytest.mark.parametrize("name", ["turing-length", "sparsity-length"])
@pytest.mark.parametrize(
    "case", ["seen", "nobody", "others never", "alike", "one carries", "turned"]
)
def test_a_lead_in_length_needs_arms_that_had_something_to_lose(name: str, case: str) -> None:
    found = judged(registry.load("claims", name)("cpu"), stories(name)[case])
    assert found["verdict"] == ("holds" if case == "seen" else "fails"), found["values"]
    assert found["negative_control"]["verdict"] == "fails", "another arm in its own place"


def test_leads_by_hand() -> None:
    found = registry.load("claims", "turing-length")("cpu")
    lengths = (4, 6, 8)
    story = {
        "hard_alibi": by_length(lengths, 1.0, 0.8, 0.3),
        "rope": by_length(lengths, 0.9, 0.1, 0.0),
        "alibi": by_length(lengths, 0.7, 0.25, 0.0),
    }
    one = judged(found, story)
    assert one["values"] == pytest.approx([0.55] * 3), "0.8 - 0.25 against 0.9 - 0.25"
    assert one["series"][0]["best_other"] == "alibi" and one["series"][0]["far"] == 6
    story["rope"] = story["alibi"] = by_length(lengths, 0.4, 0.1, 0.0)
    assert judged(found, story)["values"] == pytest.approx([0.3] * 3), "0.4 - 0.1 is all they lost"

    copy = registry.load("claims", "sparsity-length")("cpu")
    story = {
        "copy, predicted": by_length((8, 12, 16), 1.0, 0.9, 0.8),
        "copy, coupled": by_length((8, 12, 16), 1.0, 1.0, 1.0),
        "copy, learned": by_length((8, 12, 16), 0.5, 0.3, 0.1),
        "copy, rope": by_length((8, 12, 16), 0.9, 0.3, 0.2),
        "planted, k = 2": by_length((16, 32, 64), 1.0, 0.9, 0.7),
    }
    two = judged(copy, story)
    assert two["values"] == pytest.approx([0.6] * 3), "0.8 - 0.2; coupled is no plain arm"
    assert two["series"][0]["accuracy"]["planted, k = 2"] == [[16, 1.0], [32, 0.9], [64, 0.7]]
    assert two["negative_control"]["values"] == pytest.approx([-0.1] * 3), "learned in its place"


def test_errors_of_flipflop() -> None:
    found = registry.load("claims", "path-tracking")("cpu")
    read = {"path": (1.0, 0.99, 0.9), "rope": (0.8, 0.6, 1.0), "forget": (0.9, 0.7, 1.0)}
    read["none"] = (0.4, 0.5, 0.1)
    labels = ("trained", "sparse", "dense")
    story = {
        f"flipflop, {name}": {(label, 64): v for label, v in zip(labels, values, strict=True)}
        for name, values in read.items()
    }
    one = judged(found, story)
    assert one["verdict"] == "holds" and one["values"] == pytest.approx([0.29] * 3)
    assert one["series"][0]["dense"] == pytest.approx(
        {"path": 0.1, "rope": 0.0, "forget": 0.0, "none": 0.9}
    )
    control = one["negative_control"]
    assert control["verdict"] == "fails" and control["values"] == pytest.approx([-0.2] * 3)
    assert judged(found, {})["verdict"] == "fails", "all lost alike"
    for arm in found.arms.values():
        assert arm.model.forget == (arm.slug == found.arms["flipflop, forget"].slug)


def test_noise_by_share() -> None:
    found = registry.load("claims", "noise-cot")("cpu")

    def story(static: float, dynamic: float) -> Story:
        at = ("held out", 16)
        return {
            name: {at: static if name.startswith(("static", "no")) else dynamic}
            for name in found.arms
        }

    seen = judged(found, story(1.0, 0.5))
    assert seen["verdict"] == "holds" and seen["values"] == pytest.approx([0.5] * 3)
    assert seen["negative_control"]["values"] == [0.0] * 3
    assert seen["negative_control"]["verdict"] == "fails"
    curve = seen["series"][0]["by_share"]["dynamic"]
    assert curve == [[0.0, 1.0], [0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [1.0, 0.5]]
    for static, dynamic in ((0.5, 0.5), (1.0, 1.0), (0.6, 0.5), (0.5, 1.0)):
        assert judged(found, story(static, dynamic))["verdict"] == "fails"
    for name, arm in found.arms.items():
        shares = {"static": arm.train.cot_noise == "static", "no noise": True}
        assert shares.get(name.partition(",")[0], arm.train.cot_noise == "dynamic")
        assert (arm.train.cot_noise == "none") == (name == "no noise")


def small(e: Experiment) -> Experiment:
    model = replace(e.model, width=16, heads=2, layers="attention*2")
    probes = tuple(replace(p, n=8) for p in e.probes)
    return replace(
        e, model=model, train=replace(e.train, steps=4, batch=8, warmup=0), probes=probes
    )


def test_the_sink_from_runs_to_a_figure(tmp_path: Path) -> None:
    """Untrained models; the attention on the first token once more from the maps themselves."""
    found = registry.load("claims", "gate-sink")("cpu")
    arms = {name: small(e) for name, e in found.arms.items()}
    changed = {name: small(e) for name, e in found.control.arms.items()}
    found = replace(found, arms=arms, control=replace(found.control, arms=changed), seeds=2)
    results = {e.slug: run(e, tmp_path, "cpu") for e in found.experiments()}
    kept = evaluate_claim(found, results)
    assert kept["verdict"] == kept["negative_control"]["verdict"] == "fails", "nothing to remove"

    def on_first(e: Experiment) -> float:
        looked = layers(open_run(results[e.slug].run, rows=64))
        maps = [layer.weights for layer in looked]
        assert all(w is not None and w.shape[0] == 64 for w in maps)
        return sum(float(w[:, :, 1:, 0].mean()) for w in maps if w is not None) / len(maps)

    for i, value in enumerate(kept["values"]):
        bare, gated = (
            on_first(found.seeded(arms[f"{gate}, rate 0.002"])[i])
            for gate in ("no gate", "elementwise")
        )
        assert value == pytest.approx(bare - gated, abs=1e-9)
    assert no_sink([{"arms": {"x": {"first": 0.3, "uniform": 0.2}}}], "x") is None
    assert "0.100, under uniform attention 0.200" in str(
        no_sink([{"arms": {"x": {"first": 0.1, "uniform": 0.2}}}], "x")
    )
    series = kept["series"][0]
    tokens = layers(open_run(results[found.experiments()[0].slug].run, rows=64))[0].weights
    assert tokens is not None
    same = torch.ones(tokens.shape[-1], tokens.shape[-1]).tril()
    same = same / same.sum(1, keepdim=True)
    told = series["arms"]["no gate, rate 0.002"]["uniform"]
    assert told == pytest.approx(float(same[1:, 0].mean()), rel=1e-5)
    assert series["highest_rate_that_trains"] == {"no gate": None, "elementwise": None}
    assert series["arms"]["no gate, rate 0.002"]["gate"] is None
    assert 0.4 < series["arms"]["elementwise, rate 0.002"]["gate"] < 0.6
    (constant,) = found.control.arms.values()
    assert constant.model == replace(arms["elementwise, rate 0.002"].model, gate_input="constant")
    figure = Figure(figsize=(6.8, 3.0), layout="constrained")
    found.draw(figure, kept)
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "no gate",
        "elementwise",
        "constant input",
        "uniform attention",
    ]


def test_which_rate_still_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.claims import gate_sink

    found = registry.load("claims", "gate-sink")("gpu")
    rates = {"no gate": 2e-3, "elementwise": 8e-3, "headwise": 0.0}
    firsts = {"no gate": 0.5, "elementwise": 0.1, "headwise": 0.2}

    def looked(result: Result) -> dict[str, Any]:
        config = result.experiment
        gate = {"none": "no gate"}.get(config["model"]["gate"], config["model"]["gate"])
        at_lowest = config["train"]["lr"] == 1e-3
        trains = config["train"]["lr"] <= rates[gate]
        return {"first": firsts[gate] if at_lowest else 0.9, "exact": 0.5 if trains else 0.49}

    monkeypatch.setattr(gate_sink, "looked", looked)
    results = {name: made(e, {}) for name, e in found.arms.items()}
    one = found.measure(results)
    assert one.value == pytest.approx(0.4)
    assert one.series["highest_rate_that_trains"] == {
        "no gate": 2e-3,
        "elementwise": 8e-3,
        "headwise": None,
    }


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_places_of_copy_and_addition_are_all_trained(scale: Scale) -> None:
    """With places that start at random, training meets every place of the longest test row."""
    import numpy as np

    from lab.data.position_ids import position_ids

    for name, e in registry.load("claims", "sparsity-length")(scale).arms.items():
        if e.model.position not in ("learned", "coupled", "predicted"):
            assert not e.train.offset
            continue

        def highest(length: int, e: Experiment = e) -> int:
            rows = visible(e, e.task.sample(np.random.default_rng(0), 2, length))
            ids = position_ids(e.task, e.model, rows)
            return rows.tokens.shape[1] - 1 if ids is None else int(ids.max())

        trained = highest(max(e.train.lengths)) + e.train.offset
        assert max(highest(p.length) for p in e.probes) <= trained < e.model.max_positions, name
