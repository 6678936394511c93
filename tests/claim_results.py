"""Results of claims without training: every run has the scores that a test gives it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lab import registry
from lab.config import Experiment
from lab.config.experiment import Scale
from lab.figures.claim import claim_figure
from lab.figures.ends import END
from lab.results.result import Result, Score
from lab.results.summary import samples_to
from lab.verdicts.protocol import Claim
from lab.verdicts.verdict import evaluate_claim

NAMES = registry.names("claims")
BOTH: list[tuple[str, Scale]] = [(name, scale) for name in NAMES for scale in ("cpu", "gpu")]
# Their statistic needs weights, not scores alone.
NEED_WEIGHTS = {
    "circuit-reuse",
    "cot-sparsity",
    "gate-sink",
    "global-balance",
    "hedgehog",
    "optimizers",
    "order-matters",
    "overtraining",
    "retrieval-heads",
    "river-valley",
    "skill-neurons",
    "wise-ft",
}
BY_SCORES = [name for name in NAMES if name not in NEED_WEIGHTS]

Accuracies = Mapping[tuple[str, int], float]  # of an arm, by probe and length


def claim_of(name: str, scale: Scale = "cpu") -> Claim:
    claim: Claim = registry.load("claims", name)(scale)
    return claim


def with_accuracy(e: Experiment, exact: float) -> Result:
    """A finished run with this accuracy on every probe, at every evaluation."""
    every = e.train.eval_every or e.train.steps
    steps = [*range(every, e.train.steps, every), e.train.steps]
    scores = _scores(e, {(p.label, p.length): exact for p in e.probes})
    short = [{"probe": s.probe, "length": s.length, "n": s.n, "exact": exact} for s in scores]
    curves = [{"step": s, "rows": s * e.train.batch, "scores": short} for s in steps]
    learned = samples_to(curves, e.train.threshold)
    return _result(e, scores, curves[:-1], learned)


def with_accuracies(e: Experiment, by_probe: Accuracies) -> Result:
    """A finished run with these accuracies, forced and free; those of other probes are 0."""
    return _result(e, _scores(e, by_probe), [], [])


def from_arms(
    claim: Claim, arm: Callable[[str], float], control: Callable[[str], float]
) -> dict[str, Result]:
    """Results by slug: the accuracy of each arm, and of each arm of the control, by its name."""
    results: dict[str, Result] = {}
    for arms, exact in ((claim.arms, arm), (claim.control.arms, control)):
        for name, one in arms.items():
            for e in claim.seeded(one):
                results.setdefault(e.slug, with_accuracy(e, exact(name)))
    return results


def record_of(claim: Claim, accuracies: Mapping[str, Accuracies]) -> dict[str, Any]:
    """The record where every seed of an arm, and of its copy in the control, has these
    accuracies."""

    def unseeded(arm: Experiment) -> str:
        return replace(arm, train=replace(arm.train, seed=0)).slug

    names = {unseeded(arm): name for name, arm in claim.arms.items()}
    results = {}
    for arm in [*claim.arms.values(), *claim.control.arms.values()]:
        by_probe = accuracies.get(names[unseeded(arm)], {})
        results |= {e.slug: with_accuracies(e, by_probe) for e in claim.seeded(arm)}
    return evaluate_claim(claim, results)


def recorded() -> dict[str, Any]:
    """A record of a claim that fails, as its file holds it."""
    claim = claim_of("noise-cot")
    record = evaluate_claim(claim, from_arms(claim, lambda arm: 0.5, lambda arm: 0.5))
    made: dict[str, Any] = {"command": "lab claim", "environment": {}, **record}
    return cast("dict[str, Any]", json.loads(json.dumps(made)))


def by_length(lengths: tuple[int, ...], *values: float) -> dict[tuple[str, int], float]:
    return {("held out", n): value for n, value in zip(lengths, values, strict=True)}


LENGTH_CASES = ("seen", "nobody", "others never", "alike", "one more", "turned")


def length_case(
    case: str, own: str, others: tuple[str, ...], lengths: tuple[int, ...]
) -> dict[str, Accuracies]:
    """Accuracies of the arms of a claim about length: what the paper saw ("seen"), and what must
    not pass for it: nobody ever learned, only the other arms never learned their own lengths, all
    generalize alike, one other arm generalizes too, only the other arms generalize."""
    good, lost = by_length(lengths, 1.0, 0.95, 0.9), by_length(lengths, 0.97, 0.05, 0.0)
    never: dict[tuple[str, int], float] = {}
    return {
        "seen": {own: good, **dict.fromkeys(others, lost)},
        "nobody": {own: never, **dict.fromkeys(others, never)},
        "others never": {own: good, **dict.fromkeys(others, never)},
        "alike": {own: good, **dict.fromkeys(others, good)},
        "one more": {own: good, **dict.fromkeys(others, lost), others[1]: good},
        "turned": {own: lost, **dict.fromkeys(others, good)},
    }[case]


def check_figure(claim: Claim, record: Mapping[str, Any], path: Path | None = None) -> None:
    """No panel of the figure of a record is empty or without a name; lines are named where they
    end, and no two names overlap. It can be rendered."""
    figure = claim_figure(record, claim.draw, claim.axis)
    for ax in figure.axes:
        assert ax.lines or ax.collections or ax.images or ax.patches, "an empty panel"
        assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title("left")
        assert not ax.get_legend()
        boxes = [t.get_window_extent() for t in ax.texts if t.get_gid() == END and t.get_text()]
        for a, b in itertools.combinations(boxes, 2):
            assert not (a.x0 < b.x1 and b.x0 < a.x1 and a.y0 + 1 < b.y1 and b.y0 + 1 < a.y1)
    if path:
        figure.savefig(path)
        assert path.stat().st_size > 5000


def _scores(e: Experiment, by_probe: Accuracies) -> tuple[Score, ...]:
    return tuple(
        Score(
            p.label,
            p.length,
            p.n,
            *[by_probe.get((p.label, p.length), 0.0)] * 6,
            p.of(e.task).chance(p.length),
            None,
            None,
        )
        for p in e.probes
    )


def _result(
    e: Experiment,
    scores: tuple[Score, ...],
    curves: list[dict[str, Any]],
    learned: list[dict[str, Any]],
) -> Result:
    run, made_on = f"runs/{e.slug}", {"device": "none"}
    return Result(run, e.to_json(), scores, curves, 1.0, made_on, learned, e.train.steps)
