"""Static against dynamic noise in the thought (2402.04004, TInt).

The paper trains on thoughts with errors. Static noise alters the finished thought; dynamic noise
alters the execution, so that all later steps follow from the error. Two parameters: the share of
damaged rows, and the rate of errors within a row. It reports that static noise is tolerated even in
all rows and dynamic noise harms at lower levels; its percentages and its model are not known to us.
Its tasks are arithmetic and the median of a list.

Why this task, and why rate 0.5: greedy decoding writes the likeliest token. Where each thought
token follows from the one before, the right token stays the likeliest under either noise at any
rate below 0.5, so with enough samples both are learned. What differs at any number of samples is
the answer: under static noise it is always right for its prompt, under dynamic noise it follows
from the altered thought. So the cpu scale takes sparse parity of k = 2 bits out of 16, whose answer
can be learned from the prompt alone, and flips half of the tokens of a damaged thought. With noise
in all rows the thought then has no information; under static noise the answer can still be learned,
under dynamic noise it is a fair coin. Smaller shares show at which share either noise begins to
harm. The gpu scale is addition of up to 10 digits by Turing Programs at the same rate. All of this,
the statistic and its threshold (half of what chance leaves of parity) is our choice.

Doubts. The difference would be an artefact if the arm with dynamic noise were the slower learner:
its curve in the record says whether it still rose, and the same model and budget are tried on the
same rows with static noise, and on half or three quarters of damaged rows under either. It would be
one if the static thoughts kept some of the answer: at rate 0.5 every token of a thought is a fair
coin, whatever the prompt. It would be one if the probe were too easy for thoughts to matter; the
probe is clean, and the difference is what damaged thoughts cost on it. What the verdict does not
show is that dynamic noise harms at a lower share: in this task the right answer stays the likeliest
until every row is damaged, so the arms below 100% can learn it. The control trains both arms
without noise, where a difference could only come from the seeds. Rates: rates-noise-cot-cpu.json
beside the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.figures.ends import level, median_line
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds
from tasks.addition import Addition
from tasks.parity import Parity

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

KINDS = ("static", "dynamic")
SHARES = (0.5, 0.75, 1.0)
RATE = 0.5
CLEAN = "no noise"
# cpu scale: arms that learn sooner at a third of the others' rate (lab claim noise-cot --rates).
AT_A_THIRD = (CLEAN, "static, 50% of rows")


def claim(scale: Scale) -> Claim:
    """Accuracy on clean probes with static noise in every thought, minus with dynamic noise."""
    clean = _clean(scale)
    arms = {CLEAN: clean}
    for kind in KINDS:
        for share in SHARES:
            arms[_label(kind, share)] = _noisy(clean, kind, share)
    if scale == "cpu":
        arms |= {name: _at(arms[name], 3.3e-4) for name in AT_A_THIRD}
        clean = arms[CLEAN]
    return Claim(
        name="noise-cot",
        scale=scale,
        source="2402.04004",
        statement="A model learns the answers when all thoughts have static errors, and not when"
        " all have dynamic ones at the same rate.",
        paper="static noise is tolerated even with all examples contaminated, dynamic noise harms"
        " at lower levels; percentages are not known to us",
        our_choices=f"task, model and budget, rate {RATE:g} within a row, one token as the unit of"
        " noise, statistic and threshold" + ("" if scale == "gpu" else REVISED),
        arms=arms,
        statistic="accuracy of the answer on clean rows, noise in all thoughts: static minus"
        " dynamic",
        measure=measure,
        threshold=0.25,
        control=Control(
            "no row is damaged in either",
            {
                _label("static", SHARES[-1]): clean,
                _label("dynamic", SHARES[-1]): with_disjoint_seeds(clean),
            },
        ),
        treatment_arm=_label("static", SHARES[-1]),
        axis="accuracy with noise in all rows: static minus dynamic",
        draw=draw,
    )


def _label(kind: str, share: float) -> str:
    return f"{kind}, {100 * share:g}% of rows"


def _noisy(clean: Experiment, kind: Any, share: float) -> Experiment:
    noise = {"cot_noise": kind, "cot_noise_rows": share, "cot_noise_rate": RATE}
    return replace(clean, train=replace(clean.train, **noise))


def _at(arm: Experiment, rate: float) -> Experiment:
    return replace(arm, train=replace(arm.train, lr=rate))


def _clean(scale: Scale) -> Experiment:
    if scale == "cpu":
        return Experiment(
            name="noise-cot",
            task=Parity(k=2),
            cot=True,
            model=ModelConfig(layers="attention", width=128, heads=4),
            train=TrainConfig(
                steps=1000, batch=256, lengths=(16,), lr=1e-3, eval_every=100, seed=30
            ),
            probes=(Probe("held out", 16, {"split": "test"}, 1024),),
        )
    return Experiment(
        name="noise-cot",
        task=Addition(),
        cot=True,
        model=ModelConfig(layers="attention*6", width=256, heads=8, position="rope"),
        train=TrainConfig(
            steps=10_000,
            batch=64,
            lengths=tuple(range(1, 11)),
            lr=1e-3,
            warmup=100,
            precision="bf16",
        ),
        probes=(Probe("held out", 10, {"split": "test"}, 512),),
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """Accuracy with static minus with dynamic noise in every row; the series has the curve over
    shares of damaged rows."""
    right = {name: result.scores[0].answer for name, result in results.items()}
    static, dynamic = (right[_label(kind, SHARES[-1])] for kind in KINDS)
    curve = {
        kind: [[0.0, right[CLEAN]], *([s, right[_label(kind, s)]] for s in SHARES)]
        for kind in KINDS
    }
    return Measured(
        static - dynamic, {"by_share": curve, "chance": results[CLEAN].scores[0].chance}
    )


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy on clean rows against the share of damaged training rows, by kind of noise."""
    ax = figure.subplots()
    for number, kind in enumerate(KINDS):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            for share, value in seed["by_share"][kind]:
                points.setdefault(100 * share, []).append(value)
        median_line(ax, points, f"{kind} noise", 2 * number)
    level(ax, record["series"][0]["chance"], "chance")
    ax.set_title("accuracy of the answer on clean rows", loc="left")
    ax.set(
        xlabel="training rows with a damaged thought, %", xticks=list(points), ylim=(-0.03, 1.03)
    )
