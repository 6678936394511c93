"""What holds for every claim, at both scales."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.config import ModelConfig
from lab.config.experiment import Scale, from_json
from lab.data.batches import visible
from lab.data.position_ids import check_rows, position_ids
from lab.nn.model import Model
from lab.verdicts.protocol import LEAST_SEEDS, MOST_SEEDS, SEED_OFFSET
from lab.verdicts.rates import TRIAL_SEED
from lab.verdicts.verdict import evaluate_claim
from tasks import Role
from tests.claim_results import BOTH, BY_SCORES, check_figure, claim_of, from_arms

both = pytest.mark.parametrize(("name", "scale"), BOTH)


@both
def test_the_texts_of_a_claim(name: str, scale: Scale) -> None:
    claim = claim_of(name, scale)
    assert (claim.name, claim.scale) == (name, scale) and claim.seeds >= LEAST_SEEDS
    assert re.match(r"\d{4}\.\d{5}", claim.source), "the paper comes first"
    assert claim.statement.endswith(".") and claim.statement[0].isupper()
    for text in (claim.paper, claim.our_choices, claim.statistic, claim.control.why):
        assert len(text) > 10 and text == text.strip() and "  " not in text
    assert math.isfinite(claim.threshold)
    doc = importlib.import_module(f"lab.claims.{name.replace('-', '_')}").__doc__ or ""
    assert claim.source[:10] in doc and re.search(r"\b[Oo]urs?\b|\bwe chose\b", doc)


@both
def test_the_control_replaces_arms_by_others(name: str, scale: Scale) -> None:
    claim = claim_of(name, scale)
    assert claim.control.arms and set(claim.control.arms) <= set(claim.arms)
    for arm, changed in claim.control.arms.items():
        assert changed.slug != claim.arms[arm].slug, "nothing was taken away"
    slugs = [e.slug for e in claim.experiments()]
    assert len(set(slugs)) == len(slugs)
    arms = {e.slug for e in claim.arms.values()}
    own = {e.slug for e in claim.control.arms.values()} - arms
    # The arm without thought of arc-unseen is evaluated alone, not compared with another arm.
    assert own or name == "arc-unseen", "an arm is compared with itself"
    seeds = {e.train.seed for arm in claim.arms.values() for e in claim.seeded(arm)}
    assert min(seeds) + MOST_SEEDS <= TRIAL_SEED < SEED_OFFSET, "most seeds reach those of trials"
    assert seeds == set(range(min(seeds), min(seeds) + claim.seeds))
    controlled = {e.train.seed for arm in claim.control.arms.values() for e in claim.seeded(arm)}
    assert min(controlled - seeds, default=SEED_OFFSET + min(seeds)) == SEED_OFFSET + min(seeds)


@both
def test_every_arm_can_be_run(name: str, scale: Scale) -> None:
    """Rows of each training length and probe, and a model that has positions for them."""
    claim = claim_of(name, scale)
    for e in [*claim.arms.values(), *claim.control.arms.values()]:
        assert from_json(check_rows(e).to_json()) == e
        build(e.model, len(e.task.words))
        lengths = [(e.task, n) for n in e.train.lengths]
        for task, length in [*lengths, *((p.of(e.task), p.length) for p in e.probes)]:
            rows = task.scored_part(visible(e, task.sample(np.random.default_rng(0), 2, length)))
            assert (rows.roles == Role.ANSWER).any(1).all()
            ids = position_ids(task, e.model, rows)
            if e.model.position in ("learned", "coupled", "predicted"):
                most = rows.tokens.shape[1] if ids is None else int(ids.max()) + 1
                assert most <= e.model.max_positions, "no position is left for its tokens"


@cache
def build(config: ModelConfig, words: int) -> None:
    """Many arms of a claim have the same model."""
    with torch.device("meta"):
        Model(config, words)


@both
def test_the_first_probe_of_the_treatment_arm_has_a_trained_length(name: str, scale: Scale) -> None:
    claim = claim_of(name, scale)
    treatment = claim.arms[claim.treatment_arm]
    assert treatment.probes[0].length in treatment.train.lengths


@pytest.mark.parametrize("name", BY_SCORES)
@pytest.mark.parametrize("exact", [0.0, 0.5])
def test_no_claim_holds_where_every_run_scores_alike(name: str, exact: float) -> None:
    claim = claim_of(name)
    record = evaluate_claim(claim, from_arms(claim, lambda arm: exact, lambda arm: exact))
    assert record["verdict"] != "holds" and record["negative_control"]["verdict"] != "holds"


def starts(*words: str) -> Callable[[str], bool]:
    return lambda arm: arm.startswith(words)


# Which arms are solved, the accuracy of the others, and that of the control's arms.
PAPERS: dict[str, tuple[Callable[[str], bool], float, float]] = {
    "cot-parity": (starts("CoT"), 0.5, 0.1),
    "arc-unseen": (starts("CoT, "), 0.5, 0.5),
    "rnn-gap": (starts("transformer", "hybrid", "mamba with retrieval"), 0.6, 0.6),
    "recall-state": (starts("attention", "based"), 0.3, 1.0),
}


@pytest.mark.parametrize("name", PAPERS)
def test_what_the_paper_saw_holds_and_its_control_fails(name: str) -> None:
    """The other claims have a test of their own file for this."""
    claim = claim_of(name)
    solved, rest, control = PAPERS[name]

    def seen(arm: str) -> float:
        return 1.0 if solved(arm) else rest

    record = evaluate_claim(claim, from_arms(claim, seen, lambda arm: control))
    assert record["verdict"] == "holds", record["values"]
    assert record["negative_control"]["verdict"] == "fails", record["negative_control"]["values"]
    if name != "arc-unseen":  # its control has no runs of its own
        void = evaluate_claim(claim, from_arms(claim, seen, seen))
        assert void["negative_control"]["verdict"] == "holds"
        assert (void["verdict"], void["interval"]) == ("inconclusive", record["interval"])
        assert void["diagnosis"]["cause"] == "control"
    opposite = from_arms(claim, lambda arm: rest if solved(arm) else 1.0, lambda arm: 1.0)
    assert evaluate_claim(claim, opposite)["verdict"] == "fails"


@pytest.mark.parametrize("name", BY_SCORES)
def test_a_record_is_json_and_enough_to_draw_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for scale in ("cpu", "gpu"):
        claim = replace(claim_of(name, scale), seeds=2)
        results = from_arms(claim, lambda arm: 1.0 if "no" in arm else 0.25, lambda arm: 0.5)
        record = json.loads(json.dumps(evaluate_claim(claim, results)))
        assert (record["statistic"], record["threshold"]) == (claim.statistic, claim.threshold)
        assert set(record["arms"]) == set(claim.arms) and len(record["values"]) == claim.seeds
        assert set(record["negative_control"]["arms"]) == set(claim.control.arms)
        check_figure(claim, record, tmp_path / "cpu.png" if scale == "cpu" else None)
    assert not (tmp_path / "runs").exists()
