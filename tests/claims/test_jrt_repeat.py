"""The claim jrt-repeat: whose gain counts, and that its arms see equal tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.claims.jrt_repeat import MIXERS, TIMES
from lab.config.experiment import Scale
from lab.data.batches import batch_for_step
from lab.verdicts.verdict import evaluate_claim
from tasks import Role
from tests.claim_results import claim_of, with_accuracies


def name(mixer: str, times: int) -> str:
    return f"{mixer}, {TIMES[times]}"


def test_the_mean_gain_decides() -> None:
    claim = claim_of("jrt-repeat")
    (probe, *_) = claim.arms[name("gru", 1)].probes

    def values(gru: float, mamba: float, attention: float) -> tuple[str, list[float], str]:
        twice = {name("gru", 2): gru, name("mamba", 2): mamba}
        results = {}
        for arms, right in (
            (claim.arms, twice),
            (claim.control.arms, dict.fromkeys(twice, attention)),
        ):
            for arm, experiment in arms.items():
                ends = {(probe.label, probe.length): right.get(arm, 0.25)}
                results |= {e.slug: with_accuracies(e, ends) for e in claim.seeded(experiment)}
        seen = evaluate_claim(claim, results)
        return seen["verdict"], seen["values"], seen["negative_control"]["verdict"]

    assert values(0.75, 1.0, 0.25) == ("holds", [0.625] * 6, "fails")
    assert values(0.25, 0.5, 0.25) == ("fails", [0.125] * 6, "fails")
    assert values(1.0, 1.0, 1.0)[0] == "inconclusive", "attention would gain as much"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_readings_see_equal_tokens_of_one_query(scale: Scale) -> None:
    claim = claim_of("jrt-repeat", scale)
    for mixer in MIXERS:
        once, twice = (claim.arms[name(mixer, times)] for times in TIMES)
        own = once.train
        steps = replace(twice.train, steps=own.steps, eval_every=own.eval_every, lr=own.lr)
        assert once == replace(twice, prompt_repeats=1, train=steps)
        assert once.train.steps == 2 * twice.train.steps
        short, long = (batch_for_step(arm)(0).roles for arm in (once, twice))
        asked = [(roles == Role.PROMPT).sum(1) for roles in (short, long)]
        assert np.array_equal(2 * asked[0], asked[1]), "the whole prompt stands there twice"
        assert ((short == Role.ANSWER).sum(1) == (long == Role.ANSWER).sum(1)).all()
        control = claim.control.arms[name(mixer, 2)]
        assert "attention" in control.model.layers and control.prompt_repeats == 2
        assert control.train.seed != twice.train.seed
