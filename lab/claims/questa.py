"""Prefixes of the solution make reinforcement learn what it does not find by chance (2507.13266).

QuestA puts the first part of a solution in front of hard questions during reinforcement learning,
half of it and later a quarter, and its model solves more questions without any. Its models and
questions are those of competition mathematics. Rewards that are never met teach nothing; the rest
of a solution is met far more often than the whole of it.

Ours: addition with its tapes as the thought (tasks/addition.py). The parent learns from labelled
rows and stops when a few in a hundred held-out rows are right token by token: it knows the form of
a row and part of the digits, and a whole sum that it samples is almost never right. From then on
the oracle rewards right answers alone (grpo). A third of the steps each gives 50, 25 and 0% of the
thought, as part of the prompt; the arm without prefixes has the same prompts, steps, completions
and rate. Task, model, sizes, budgets, statistic and bar are ours.

Doubts. The gain would be an artefact if prefixes were a way to train on solutions: they stand in
the prompt, and the loss is on what the model wrote itself. It would be one if the arm without
prefixes only needed a little longer: its reward through training, beside that of the other, is in
the logs of its runs, and its curve on rows without a prefix in the record. Given enough steps it
must find a right sum some day; the claim is about equal budgets. It would be one if any prefix
helped, because a completion is shorter then: the control gives as much of another row's solution.
It would be one of the rate: rates-questa-cpu.json beside the record. Whether shorter sums first
would do the same is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.claims._scores import learning
from lab.config import Experiment, ModelConfig, Parent, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.addition import Addition

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

WITH, WITHOUT = "with prefixes", "without prefixes"
LABEL = "held out"
SHARES = (0.5, 0.25, 0.0)  # of the thought, a third of the steps each


@dataclass(frozen=True)
class _Size:
    """digits: of a number. rows: training of the parent on labelled rows. rewards: of the arms."""

    digits: int
    model: ModelConfig
    rows: TrainConfig
    rewards: TrainConfig


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(
        digits=3,
        model=ModelConfig(layers="attention*2", width=64, heads=4, position="learned"),
        rows=TrainConfig(
            steps=600,
            batch=64,
            lr=2e-3,
            schedule="constant",
            warmup=50,
            eval_every=5,
            threshold=0.02,
            seed=20,
        ),
        rewards=TrainConfig(
            objective="grpo", steps=150, batch=32, lr=1e-3, warmup=5, eval_every=15, seed=20
        ),
    ),
    "gpu": _Size(
        digits=8,
        model=ModelConfig(layers="attention*4", width=256, heads=4, position="learned"),
        rows=TrainConfig(
            steps=10_000,
            batch=256,
            lr=3e-4,
            schedule="constant",
            warmup=100,
            eval_every=25,
            threshold=0.02,
        ),
        rewards=TrainConfig(
            objective="grpo", steps=1_500, batch=256, lr=1e-4, warmup=20, eval_every=150
        ),
    ),
}


def claim(scale: Scale) -> Claim:
    """Share of sums solved without a prefix: with prefixes in training minus without."""
    size = SIZES[scale]
    parent = Experiment(
        name="questa",
        task=Addition(),
        cot=True,
        model=size.model,
        train=replace(
            size.rows, lengths=(size.digits,), eval_rows=512, eval_answers=False, early_stop=True
        ),
        probes=(Probe(LABEL, size.digits, {"split": "test"}, 512),),
    )
    alone = replace(size.rewards, lengths=(size.digits,), eval_rows=256)
    hinted = replace(alone, reveal=SHARES)
    arms = {
        WITH: replace(parent, train=hinted, parent=Parent(parent)),
        WITHOUT: replace(parent, train=alone, parent=Parent(parent)),
    }
    others = replace(arms[WITH], train=replace(hinted, reveal_of="other"))
    return Claim(
        name="questa",
        scale=scale,
        source="2507.13266",
        statement="Reinforcement that begins with part of the solution in the prompt solves sums"
        " that it does not learn to solve without.",
        paper="AIME 2024 from 61.8 to 72.5, with prefixes of 50 and then 25% of the solution",
        our_choices="task, model, the half-trained parent, prefixes of thoughts for a third of the"
        " steps each, budgets, statistic and its bar",
        arms=arms,
        statistic="share of sums solved without a prefix: with prefixes in training minus without",
        measure=measure,
        threshold=0.3,
        control=Control("prefixes of another row's solution", {WITH: others}),
        treatment_arm=WITH,
        axis="share solved: with prefixes minus without",
        draw=draw,
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """The difference in free-running answers without a prefix, and both shares."""
    solved = {name: result.scores[0].answer for name, result in results.items()}
    return Measured(solved[WITH] - solved[WITHOUT], {"solved": solved})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Share of rows without a prefix that are right throughout, along training: a line for each
    arm and for the control."""
    ax = figure.subplots()
    for number, (name, part, shown) in enumerate(
        (
            (WITH, record, WITH),
            (WITHOUT, record, WITHOUT),
            (WITH, record["negative_control"], "with those of another row"),
        )
    ):
        points = learning(part, name, LABEL)
        median_line(ax, points, shown, number)
    ax.set_title("rows without a prefix that are right throughout", loc="left")
    ax.set(xlabel="prompts", ylim=(-0.03, 1.03))
