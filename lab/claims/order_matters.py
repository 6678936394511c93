"""A cause before or after what follows from it, learned from few rows (1511.06391).

Order Matters: the order in which a set of variables is written decides how well a sequence model
learns their joint distribution. The paper's star graphical models have a head variable and leaves
that are drawn from it. With the head first, every leaf depends on one token; with the head last, on
all leaves before it. It finds that this matters with few samples only, and not where marginals are
peaky: 10 to 50 variables of 10 symbols, 200 to 20,000 samples. Its figures are not known to us.

Ours: the tables and their entropy (tasks/star.py), 20 variables, a transformer of two layers where
the paper has an LSTM, its training, statistic and bar. The loss is that of all variables of rows
that no run was trained on, in nats a variable. Each run keeps eight checkpoints and the one of the
least loss counts, so that a model that learns its few rows by heart is judged before that; the same
rows choose it and measure it, in every arm alike. Both orders have the same least loss, which is
the entropy of the tables: by the chain rule no order is better for a model that knows them.

Doubts. The lead would be an artefact if one order had the easier rows: both have the same draws,
and the same least loss. It would be one if the head were merely a token that is harder to guess at
one of the two places: it is one of 20 variables, counted in both orders, and guessing it costs at
most log 10, a share of 0.115 nats. It would be one if the order with the head last only needed more
steps: from few rows every run reaches its least loss and rises again (series). It would be one if
an arm had a wrong rate: rates-order-matters-cpu.json. The control has tables whose leaves do not
depend on the head, as each is uniform: models still fit their few rows, but no order is better. The
paper finds no lead with many samples. The arms with more rows, and those with a fresh row each
time, show what is left of it at this budget, and nothing is concluded from them. One set of tables,
one model and one entropy were tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import log2
from typing import TYPE_CHECKING, Any, Literal

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.star import experiment as star
from lab.figures.ends import level, median_line
from lab.figures.style import thousands
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Order = Literal["first", "last"]
ORDERS: tuple[Order, ...] = ("first", "last")
# Rows of the training set: the first counts, the last is a fresh row each time.
SAMPLES: dict[Scale, tuple[int, ...]] = {
    "cpu": (1_000, 5_000, 51_200),
    "gpu": (2_000, 20_000, 640_000),
}
KEPT = 8  # checkpoints, the last one among them
ROWS = 1_024


def claim(scale: Scale) -> Claim:
    """How much more a variable costs with the head last, after few rows."""
    few = SAMPLES[scale][0]
    arms = {name(n, order): _arm(scale, n, order) for n in SAMPLES[scale] for order in ORDERS}
    symbols = arms[name(few, "first")].task.symbols  # type: ignore[attr-defined]
    free = {
        name(few, order): with_disjoint_seeds(_arm(scale, few, order, entropy=log2(symbols)))
        for order in ORDERS
    }
    return Claim(
        name="order-matters",
        scale=scale,
        source="1511.06391, star graphical models",
        statement="From few rows a model learns a head variable and its leaves better if the head"
        " comes first.",
        paper="the order matters only with few samples and marginals that are not peaky; figures"
        " not known to us",
        our_choices="tables, number of variables, transformer, budget, statistic and its bar",
        arms=arms,
        statistic=f"loss with the head last minus first, nats a variable, trained on {few:,} rows,"
        " each run at its best checkpoint",
        measure=partial(measure, few=few),
        threshold=0.1,
        control=Control("leaves that do not depend on the head", free),
        treatment_arm=name(few, "first"),
        axis="loss with the head last minus first, nats",
        draw=draw,
    )


def name(samples: int, order: Order) -> str:
    """Of an arm."""
    return f"head {order}, {samples:,} rows"


def _arm(scale: Scale, samples: int, order: Order, entropy: float = 2.0) -> Experiment:
    base = star(scale, head_order=order, entropy=entropy)
    train = base.train
    kept = tuple(train.steps * part // KEPT for part in range(1, KEPT))
    fresh = samples == train.steps * train.batch
    train = replace(train, examples=None if fresh else samples, keep_steps=kept, seed=20)
    return replace(base, name="order-matters", train=train)


def losses(result: Result) -> dict[str, Any]:
    """Of a finished run on held-out rows: curve, [step, nats a variable] of every checkpoint; loss,
    the least of them; least, which no model can be below."""
    from lab.analysis.held_out import whole_rows
    from lab.analysis.interventions import exact_and_loss
    from tasks.star import Star

    curve = []
    for step in [*result.experiment["train"]["keep_steps"], result.steps]:
        subject = whole_rows(result.run, ROWS, f"step-{step}")
        _, loss = exact_and_loss(subject)
        curve.append([step, loss])
    assert isinstance(subject.task, Star)
    least = subject.task.least_loss(subject.probe.length)
    return {"curve": curve, "loss": min(loss for _, loss in curve), "least": least}


def measure(results: Mapping[str, Result], few: int) -> Measured:
    """The difference of the losses after `few` rows; the series has the losses of every arm."""
    series = {arm: losses(result) for arm, result in results.items()}
    lead = series[name(few, "last")]["loss"] - series[name(few, "first")]["loss"]
    return Measured(lead, series)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Loss against the rows of the training set, for both orders."""
    ax = figure.subplots()
    samples = SAMPLES[record["scale"]]
    for number, order in enumerate(ORDERS):
        points: dict[float, list[float]] = {
            n: [seed[name(n, order)]["loss"] for seed in record["series"]] for n in samples
        }
        median_line(ax, points, f"head {order}", number)
    level(ax, record["series"][0][name(samples[0], "first")]["least"], "least loss")
    ax.set_xscale("log")
    ax.set_xticks(samples, [*map(thousands, samples[:-1]), "fresh"])
    ax.minorticks_off()
    ax.set_title("loss on held-out rows, nats a variable", loc="left")
    ax.set(xlabel="training rows")
