"""Does a model lose its answer with the neurons that predict it? (2211.07349)

Skill neurons: in a language model that is prompted to classify, the activations of some neurons of
the MLPs predict the label, and the accuracy falls more without the best of them than without as
many others. The paper's figures are not known to us.

Ours: the task, parity of six bits with its running parity written out (tasks/parity.py), whose
answer is one of two words; one layer of width 64 with 256 neurons; how many are switched off;
statistic and bar. Which neuron predicts the answer, and how one is switched off, is that of
lab/analysis/analyses/neurons.py: its activation is put at its mean over training rows, at the token
from which the answer is written.

    value = accuracy of the answer without 16 random ones of the other neurons (mean of ten sets),
            minus that without the 16 neurons of the highest predictivity

Doubts. That nothing falls would be an artefact if the model had not learned the task: the series
has its accuracy, and the verdict names it as missing. It would be one if 16 neurons were few, and
for models in which many neurons carry the same thing they are: the figure goes up to half of all.
It would be one if the answer did not need the MLP: then half of all neurons could go as well, and
the random sets say that much of them can. A fall would be an artefact if any 16 neurons mattered,
which the random sets are for. The control has labels that are coins, which no neuron predicts. One
task of two words and one size were tried; a prompted language model is neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.parity import experiment as parity
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

ARM = "parity with a thought"
# Neurons switched off, cpu: 256 in all; gpu: four layers of 2,880. The second number counts.
OFF: dict[Scale, tuple[int, ...]] = {
    "cpu": (8, 16, 32, 64, 128),
    "gpu": (64, 256, 1_024, 2_880, 5_760),
}
ROWS = 512
RIGHT = 0.9  # accuracy of the intact model


def claim(scale: Scale) -> Claim:
    """What the most predictive neurons cost, minus what others cost."""
    arm = _arm(scale, noise=0.0)
    counted = OFF[scale][1]
    return Claim(
        name="skill-neurons",
        scale=scale,
        source="2211.07349",
        statement="Without the neurons that predict the answer a model no longer answers; without"
        " as many others it does.",
        paper="accuracy falls more without the most predictive neurons than without others; the"
        " falls are not known to us",
        our_choices="task, model, number of neurons, statistic and its bar",
        arms={ARM: arm},
        statistic=f"accuracy of the answer without {counted} random neurons, minus without the"
        f" {counted} most predictive ones",
        measure=partial(measure, scale=scale),
        threshold=0.2,
        control=Control("labels that are coins", {ARM: _arm(scale, noise=0.5)}),
        treatment_arm=ARM,
        precondition=not_right,
        axis="accuracy without others minus without the best",
        draw=draw,
    )


def _arm(scale: Scale, noise: float) -> Experiment:
    base = parity(scale, noise=noise)
    train = replace(base.train, seed=20)
    if scale == "cpu":
        train = replace(train, steps=600)
    return replace(base, name="skill-neurons", train=train)


def found(result: Result, off: Sequence[int]) -> dict[str, Any]:
    """Of a finished run: accuracy, without any change; without, by the number of neurons off,
    the accuracy without the best and the mean without others; best, the highest predictivities."""
    from lab.analysis.analyses.neurons import analyze
    from lab.analysis.subject import open_run

    seed = result.experiment["train"]["seed"]
    seen = analyze(open_run(result.run, rows=ROWS), top=tuple(off), seed=seed)
    return {
        "accuracy": seen.accuracy,
        "without": {
            str(step.top): {"best": step.without_top, "others": mean(step.without_random)}
            for step in seen.steps
        },
        "best": [seen.predictivity[layer][i] for layer, i in seen.top],
    }


def measure(results: Mapping[str, Result], scale: Scale) -> Measured:
    """What the counted number of neurons costs more than others."""
    seen = found(results[ARM], OFF[scale])
    without = seen["without"][str(OFF[scale][1])]
    return Measured(without["others"] - without["best"], seen)


def not_right(series: Sequence[Mapping[str, Any]]) -> str | None:
    """A sentence if the median seed does not answer."""
    accuracy = median(seed["accuracy"] for seed in series)
    if accuracy < RIGHT:
        return f"the answer is right in {accuracy:.3f} of the rows, below {RIGHT:g}"
    return None


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy of the answer against the number of neurons that are switched off."""
    ax = figure.subplots()
    for number, (kind, label) in enumerate((("others", "others"), ("best", "most predictive"))):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            for off, accuracy in seed["without"].items():
                points.setdefault(int(off), []).append(accuracy[kind])
        median_line(ax, points, label, number)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(points), [f"{int(off):,}" for off in sorted(points)])
    ax.minorticks_off()
    ax.set_title("accuracy of the answer without neurons", loc="left")
    ax.set(xlabel="neurons switched off", ylim=(0.4, 1.03))
