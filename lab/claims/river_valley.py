"""The loss between two checkpoints, at a constant rate and at decayed ends (2410.05192).

The paper pictures the loss of a language model as a river valley: at a constant rate the weights
keep to the steep sides and move along the river, a decay lets them down to it. So on the segment
between two checkpoints of the constant phase the loss should dip, and between two decayed ones it
should not. The paper shows that on language models; its figures are not known to us, and its toy
setting was not found.

Ours: bigram text (tasks/bigram.py) with sharp and flat rows, model, rate, budget, statistic and
bar. One arm trains at a constant rate, the other at the same one with the rate decayed to 0 at the
same two steps (wsd: a copy of the run decays to the first, the run itself to the second). Weights
are averaged point by point between the two checkpoints of a run; the dip is how far the loss falls
below the straight line between the losses of the ends, in nats a token, on held-out rows. The
statistic is the logarithm of the ratio of the dips; a dip below 0.0002 counts as that, so that a
ratio of two noises is no claim.

Doubts. The dip would be an artefact if it came from the rows: all points of a segment see the same
ones. It would be one if it only said that a constant rate is too high: the arms share it, and each
has its best rate by the accuracy that it reaches (rates-river-valley-cpu.json beside the record),
which a decay raises; the loss of the ends is in the series. It would be one if decayed ends were
nearer to each other, and any shorter segment dipped less: the distance of the ends, as a share of
the norm of the first, is in the series. The control puts decayed ends in the place of the constant
ones, from other seeds. One model of one layer says nothing about the shape of larger ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log2
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.bigram import experiment as bigram
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

CONSTANT, DECAYED = "constant rate", "decayed ends"
FIRST = 0.6  # of the steps, where the first of the two checkpoints is
POINTS = 11  # of the segment
ROWS = 256
LEAST = 2e-4  # nats; a smaller dip counts as this


def claim(scale: Scale) -> Claim:
    """How much deeper the loss dips between two checkpoints at a constant rate."""
    arms = {CONSTANT: _arm(scale, "constant"), DECAYED: _arm(scale, "wsd")}
    return Claim(
        name="river-valley",
        scale=scale,
        source="2410.05192",
        statement="Between two checkpoints the loss dips at a constant rate, at least twice as deep"
        " as where both ends are decayed.",
        paper="a valley between checkpoints of the constant phase, smooth between decayed ones;"
        " shown for language models, without figures known to us",
        our_choices="task, model, rate, budget, the two steps, statistic and its bar",
        arms=arms,
        statistic="log2 of the dip of the loss between two checkpoints at a constant rate over that"
        f" between decayed ones (dips below {LEAST:g} nats count as that)",
        measure=measure,
        threshold=1.0,
        control=Control(
            "decayed ends in the place of constant ones",
            {CONSTANT: with_disjoint_seeds(arms[DECAYED])},
        ),
        treatment_arm=CONSTANT,
        axis="log2 of dip at a constant rate over dip at decayed ends",
        draw=draw,
    )


def _arm(scale: Scale, schedule: Any) -> Experiment:
    base = bigram(scale)
    first = round(FIRST * base.train.steps)
    train = replace(base.train, schedule=schedule, seed=20)
    if schedule == "constant":
        train = replace(train, keep_steps=(first,))
    else:
        train = replace(train, budgets=(first,))
    return replace(base, name="river-valley", train=train, probes=base.probes[:1])


def segment(result: Result) -> dict[str, Any]:
    """Between the two checkpoints of a finished run, on held-out rows: loss by share of the way and
    its dip, both in nats a token; the distance of the ends, as a share of the norm of the first."""
    from torch.nn.utils import parameters_to_vector

    from lab.analysis.held_out import whole_rows
    from lab.analysis.interventions import interpolate

    train = result.experiment["train"]
    (first,) = train["budgets"] or train["keep_steps"]
    kind = "branch" if train["budgets"] else "step"
    start, end = (whole_rows(result.run, ROWS, at) for at in (f"{kind}-{first}", None))
    found = interpolate(start, end, POINTS)
    a, b = (parameters_to_vector(one.model.parameters()).detach() for one in (start, end))
    return {
        "share": list(found.shares),
        "loss": list(found.loss),
        "dip": found.dip,
        "distance": float((b - a).norm() / a.norm()),
    }


def measure(results: Mapping[str, Result]) -> Measured:
    """log2 of the ratio of the dips; the series has the loss on both segments."""
    series = {name: segment(result) for name, result in results.items()}
    dip = {name: max(LEAST, one["dip"]) for name, one in series.items()}
    return Measured(log2(dip[CONSTANT] / dip[DECAYED]), series)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """The loss on the way from the first checkpoint to the second, above the straight line."""
    ax = figure.subplots()
    for number, name in enumerate((CONSTANT, DECAYED)):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            own = seed[name]
            first, last = own["loss"][0], own["loss"][-1]
            for share, loss in zip(own["share"], own["loss"], strict=True):
                above = loss - (first + share * (last - first))
                points.setdefault(share, []).append(1000 * above)
        median_line(ax, points, name, number, dots=False)
    ax.set_title("loss above the line between the ends, thousandths of a nat", loc="left")
    ax.set(xlabel="share of the way from the first checkpoint to the second")
