"""The claim hedgehog: divergences of tiny runs, the statistic, and what the arms share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lab.analysis.subject import first_rows, load_model
from lab.claims import hedgehog
from lab.claims.hedgehog import ELU, HEDGEHOG, MAPS, RELU, SOFTMAX, divergences, measure
from lab.config import Experiment
from lab.results.result import Result
from lab.runs.run import run
from tests.claim_results import check_figure, claim_of


def tiny(e: Experiment) -> Experiment:
    """Few steps on rows of two and four pairs."""
    train = replace(e.train, steps=20, batch=8, warmup=2, lengths=(2, 4), curriculum=0.0)
    if e.train.eval_every:
        train = replace(train, eval_every=10, threshold=0.9)
    probes = tuple(replace(p, length=n, n=16) for p, n in zip(e.probes, (4, 2), strict=False))
    parent = e.parent and replace(e.parent, experiment=tiny(e.parent.experiment))
    return replace(e, train=train, probes=probes, parent=parent)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    out = tmp_path_factory.mktemp("hedgehog")
    arms = claim_of("hedgehog").arms
    return {name: run(tiny(arms[name]), out, "cpu") for name in (SOFTMAX, HEDGEHOG, RELU)}


def weights(mixer: Any, x: Tensor, name: str) -> Tensor:
    """Weights of attention [B,H,T,T] from their definitions, all at once."""
    q, k, _ = (x @ mixer.qkv.weight.T).double().unflatten(-1, (3, 2, 16)).unbind(2)
    if name == SOFTMAX:
        score = torch.einsum("bihd,bjhd->bhij", q, k) / 4
        future = torch.ones(score.shape[-2:]).triu(1).bool()
        return score.masked_fill(future, -torch.inf).softmax(-1)

    def phi(z: Tensor, maps: Tensor) -> Tensor:
        z = torch.einsum("bihd,hed->bihe", z, maps.double())
        f = torch.relu if name == RELU else lambda z: z.softmax(-1)
        return torch.cat([f(z), f(-z)], -1)

    products = torch.einsum("bihf,bjhf->bhij", phi(q, mixer.maps[0]), phi(k, mixer.maps[1])).tril()
    return products / products.sum(-1, keepdim=True)


@torch.inference_mode()
def test_divergences_of_tiny_runs(results: dict[str, Result]) -> None:
    e, teacher, _ = load_model(results[SOFTMAX].run)
    rows = torch.from_numpy(first_rows(e, e.probes[0], hedgehog.ROWS).tokens)[:, :-1]
    first, last = teacher.blocks
    x = last.norm1(first(teacher.embed(rows)))  # type: ignore[operator]
    target = weights(last.mixer, x, SOFTMAX)
    for name in (HEDGEHOG, RELU):
        _, model, _ = load_model(results[name].run)
        own = weights(model.blocks[1].mixer, x, name)
        each = torch.xlogy(target, target / own.clamp(min=1e-12)).sum(-1)
        every, at_query = divergences(results[SOFTMAX], results[name])
        assert every == pytest.approx(each.mean().item(), rel=1e-4)
        assert at_query == pytest.approx(each[:, :, -1].mean().item(), rel=1e-4)


def test_statistic(results: dict[str, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the better of the others; 0 where softmax attention has not learned."""
    told = iter([0.2, 0.8, 1.0] * 2)
    monkeypatch.setattr(hedgehog, "divergences", lambda parent, child: (next(told), 0.5))
    all_arms = {**results, ELU: results[RELU]}
    assert measure(all_arms).value == 0
    scores = (replace(results[SOFTMAX].scores[0], exact=0.95),)
    found = measure({**all_arms, SOFTMAX: replace(results[SOFTMAX], scores=scores)})
    assert found.value == pytest.approx(0.75)
    assert found.series["divergence"] == {HEDGEHOG: 0.2, RELU: 0.8, ELU: 1.0}
    assert found.series["accuracy_by_pairs"][SOFTMAX] == [[4, 0.95]]


def test_maps_differ_in_their_function_and_rate_alone() -> None:
    claim = claim_of("hedgehog")
    first = claim.arms[HEDGEHOG]
    for name in MAPS:
        arm, control = claim.arms[name], claim.control.arms[name]
        model = replace(arm.model, feature_map="softmax")
        assert replace(arm, model=model, train=replace(arm.train, lr=first.train.lr)) == first
        assert replace(control, train=replace(control.train, targets="own")) == arm
        assert arm.parent is not None and arm.parent.experiment == claim.arms[SOFTMAX]


def test_figure() -> None:
    def seed(values: tuple[float, ...]) -> dict[str, Any]:
        curves = {
            n: [[16, a], [8, 1.0]]
            for n, a in zip((SOFTMAX, *MAPS), (1, 0.6, 0.2, 0.1), strict=True)
        }
        return {"divergence": dict(zip(MAPS, values, strict=True)), "accuracy_by_pairs": curves}

    claim = claim_of("hedgehog")
    record = {
        "claim": "hedgehog", "scale": "cpu", "source": claim.source, "statistic": claim.statistic,
        "threshold": 0.5, "above": True, "values": [0.8, 0.8], "interval": (0.8, 0.8),
        "median": 0.8, "coverage": 0.5, "verdict": "inconclusive",
        "series": [seed((0.2, 0.9, 1.0))] * 2,
        "negative_control": {"series": [seed((1.3, 1.3, 1.4))] * 2, "values": [0.0, 0.0],
                             "verdict": "inconclusive", "interval": (0, 0), "why": "x"},
    }  # fmt: skip
    check_figure(claim, record)
