"""The heads that two tasks of one model need (2310.08744).

Circuit component reuse finds that two tasks of a language model, whose circuits were found one by
one, share 78% of the heads in them, and that repairing the few heads that differ mends the second
task (49.6 to 93.7%). Whether it compares with heads of other models is not known to us.

Ours: two tasks trained together, addition and multiplication as Turing Programs on three digits
(tasks/mixture.py), two layers of eight heads, the importance of a head, which is the rise of the
loss without it (lab/analysis/interventions.py), statistic and bar. Heads of one layer are alike
before training, so the ranks are taken within each layer: what all models share, such as a layer
that matters more than another, does not count.

    value = Spearman's correlation over the heads of a layer of their importance for addition and
            for multiplication, the mean over the layers, each with the weight of its share of all
            importance (mean of both tasks)

With equal weights the first record was inconclusive: in one of six seeds the upper layer, none of
whose heads costs more than 0.04 nats, has ranks of noise (lab/claims/records/LOG.md).

Doubts. The correlation would be an artefact if importance were a matter of place: the control takes
the importance for multiplication from models of the same form and training but of other seeds, the
mean of five, and would correlate as much. It would be one if the tasks were one task: their tapes
share words and form, and what is done to the digits differs; the first token of a row tells them
apart, and both have to be learned, or the value is 0. Two tasks without anything in common were not
tried: the claim is about tasks that could share, and how many pairs of tasks do is open. A head is
off when its output is 0, which the rest of the model has not seen; a head that breaks the model by
that matters for both tasks without doing the same for them. So what is tested is the part of the
paper's finding that says which heads are needed, and not what they do. In the record the lower
layer has nearly all of the weight, so the finding is about its eight heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.mixture import experiment as mixture
from lab.figures.ends import hue
from lab.figures.style import MARKERS
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

TASKS = ("addition", "multiplication")
DIGITS: dict[Scale, int] = {"cpu": 3, "gpu": 12}
OWN = "addition and multiplication"
SECOND = tuple(f"heads of multiplication, {i}" for i in range(1, 6))
RIGHT = 0.9  # exact match that a model must have on both tasks
ROWS = 256


def claim(scale: Scale) -> Claim:
    """How alike the heads are that two tasks of one model need."""
    arm = _arm(scale)
    return Claim(
        name="circuit-reuse",
        scale=scale,
        source="2310.08744",
        statement="The heads that a model needs for one task are those that it needs for another"
        " task of the same kind.",
        paper="two tasks share 78% of the heads of their circuits",
        our_choices="tasks, model, importance by ablation, ranks within layers, statistic and bar"
        + REVISED,
        # One run: both tasks are the model's own. The control takes the second from five others.
        arms={OWN: arm, **dict.fromkeys(SECOND, arm)},
        statistic="rank correlation of the importance of the heads of a layer for addition and for"
        f" multiplication, mean over layers by importance; 0 unless {RIGHT:g} of both are right",
        measure=measure,
        threshold=0.4,
        control=Control(
            "importance for multiplication in models of other seeds, mean of five",
            {name: with_disjoint_seeds(arm, i) for i, name in enumerate(SECOND)},
        ),
        treatment_arm=OWN,
        precondition=not_learned,
        axis="rank correlation of importance, two tasks",
        draw=draw,
    )


def _arm(scale: Scale) -> Experiment:
    digits = DIGITS[scale]
    base = mixture(scale, parts="; ".join(f"{task} length={digits}" for task in TASKS))
    model = replace(base.model, experts=0, balance_over="micro")
    train = replace(base.train, micro_batches="mixed", seed=30)
    if scale == "cpu":
        model = replace(model, heads=8)
        train = replace(
            train, steps=800, batch=64, optimizer="muon", lr=1.5e-2, eval_every=200, warmup=50
        )
    return replace(base, name="circuit-reuse", model=model, train=train)


def importances(result: Result, task: str) -> list[list[float]]:
    """By layer and head of a finished run: rise of the loss on a task without the head, nats a
    supervised token, on held-out rows."""
    from lab.analysis.interventions import importance
    from lab.analysis.subject import open_run

    layers: dict[int, list[float]] = {}
    for (layer, _), rise in importance(open_run(result.run, task, rows=ROWS)).items():
        layers.setdefault(layer, []).append(rise)
    return list(layers.values())


def correlation(one: Sequence[Sequence[float]], two: Sequence[Sequence[float]]) -> float:
    """Of importances by layer and head: Spearman's within each layer, the mean over the layers by
    their share of all importance. A head without which the loss falls has none."""
    from scipy.stats import spearmanr

    within = (float(spearmanr(a, b).statistic) for a, b in zip(one, two, strict=True))
    return sum(share * rho for share, rho in zip(shares(one, two), within, strict=True))


def shares(one: Sequence[Sequence[float]], two: Sequence[Sequence[float]]) -> list[float]:
    """The share of each layer in all importance, the mean of both tasks."""
    import numpy as np

    sums = [np.maximum(np.array(task), 0).sum(1) for task in (one, two)]
    found: list[float] = np.mean([each / each.sum() for each in sums], 0).tolist()
    return found


def measure(results: Mapping[str, Result]) -> Measured:
    """The mean correlation over the models of the second task; the series has the importances, and
    the exact match on both tasks of the first model."""
    right = {score.probe: score.exact for score in results[OWN].scores if score.probe in TASKS}
    first = importances(results[OWN], TASKS[0])
    by = {results[name].run: results[name] for name in SECOND}
    second = [importances(result, TASKS[1]) for result in by.values()]
    value = mean(correlation(first, one) for one in second)
    series = {"exact": right, "first": first, "second": second}
    return Measured(value if missing(right) is None else 0.0, series)


def missing(exact: Mapping[str, float]) -> str | None:
    """A sentence if a model has not learned a task."""
    for task, share in exact.items():
        if share < RIGHT:
            return f"{share:.3f} of the rows of {task} are right, below {RIGHT:g}"
    return None


def not_learned(series: Sequence[Mapping[str, Any]]) -> str | None:
    """What is missing in the first seed in which something is."""
    return next(filter(None, (missing(seed["exact"]) for seed in series)), None)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Every head of every seed: its rank in its layer for one task against that for the other;
    the weight of a layer is that of the middle seed."""
    from scipy.stats import rankdata

    ax = figure.subplots()
    series = record["series"]
    layers = len(series[0]["first"])
    each = [shares(seed["first"], seed["second"][0]) for seed in series]
    weights = [median(seed[layer] for seed in each) for layer in range(layers)]
    for layer in range(layers):
        counts: dict[tuple[float, float], int] = {}
        for seed in series:
            ranks = (rankdata(seed["first"][layer]), rankdata(seed["second"][0][layer]))
            for point in zip(*(each.tolist() for each in ranks), strict=True):
                counts[point] = counts.get(point, 0) + 1
        shift = 0.3 * ((layer + 0.5) / layers - 0.5)
        x, y = zip(*counts, strict=True)
        ax.scatter(
            [at + shift for at in x],
            y,
            s=[22 * count for count in counts.values()],
            color=hue(layer),
            marker=MARKERS[layer],
            alpha=0.7,
            linewidths=0,
        )
        ax.annotate(
            f"layer {layer + 1}, weight {weights[layer]:.2f}",
            (0.02, 0.97 - 0.07 * layer),
            xycoords="axes fraction",
            color=hue(layer),
            va="top",
        )
    heads = len(series[0]["first"][0])
    ax.plot([1, heads], [1, heads], color="0.7", lw=1, zorder=0)
    ax.set_title("heads by importance in their layer, larger: more seeds", loc="left")
    ax.set(xlabel=f"rank for {TASKS[0]}", ylabel=f"rank for {TASKS[1]}")
    ax.set(xticks=range(1, heads + 1), yticks=range(1, heads + 1))
