"""Prefixes of the solution let reinforcement learn what it does not find by chance (2507.13266).

QuestA puts the first part of a solution in front of hard questions during reinforcement learning,
half of it and later a quarter, and its model solves more questions without any. Its models and
questions are those of competition mathematics. Rewards that are never met teach nothing; the rest
of a solution is met far more often than the whole of it.

Ours: copying strings of symbols that do not repeat. A parent learns from labelled rows and stops
where the first held-out strings come out right token by token: each symbol is right in about three
of four, so a whole string that the model samples at temperature 1 is almost never. From then on the
oracle rewards right answers alone (grpo). A fifth of the steps each gives 75, 50 and 25% of the
answer, as part of the prompt, and the last two fifths give nothing; the arm without prefixes has
the same prompts, steps and completions, and a rate of its own: what it rarely finds, larger steps
unlearn. We begin with three quarters because half of a string is still met too seldom. Task, model,
shares, budgets, statistic and bar are ours.

    value = share of held-out strings copied without a prefix: with prefixes in training, minus
            without

Doubts. The gain would be an artefact if prefixes were a way to train on solutions: they stand in
the prompt, and the loss is on what the model wrote itself. It would be one if the arm without
prefixes only needed a little longer: its curve is beside that of the other in the figure, and both
begin with the same weights. Given enough completions it must copy a string some day; the claim is
about equal budgets, and about a success that is rare: at temperature 0.8, where the parent samples
more right strings, the arm without prefixes reached 0.34 on a trial seed, and the other 0.56. It
would be one if any prefix helped, because a completion is shorter then: the control gives as much
of another string, after which the rest is as short and as right. It would be one of the rate:
rates-questa-cpu.json beside the record. Each step of a copy is the same skill, so what is learned
on the last symbols serves the first; where a solution's beginning needs a skill of its own, as in
sums with their tapes, it did not work for us (lab/claims/records/LOG.md).
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
from tasks.copy import Copy

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

WITH, WITHOUT = "with prefixes", "without prefixes"
LABEL = "held out"
SHARES = (0.75, 0.5, 0.25, 0.0, 0.0)  # of the answer, a fifth of the steps each


@dataclass(frozen=True)
class _Size:
    """length: symbols of a string. rows: training of the parent on labelled rows. rewards: of the
    arms. alone: learning rate of the arm without prefixes and of the control."""

    length: int
    task: Copy
    model: ModelConfig
    rows: TrainConfig
    rewards: TrainConfig
    alone: float


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(
        length=16,
        task=Copy(unique=True),
        model=ModelConfig(layers="attention*2", width=64, heads=4, position="none", qk_norm=True),
        rows=TrainConfig(
            steps=600,
            batch=64,
            optimizer="muon",
            lr=5e-3,
            schedule="constant",
            warmup=50,
            eval_every=2,
            threshold=0.005,
            seed=20,
        ),
        rewards=TrainConfig(
            objective="grpo",
            steps=350,
            batch=64,
            lr=3e-4,
            warmup=5,
            eval_every=35,
            seed=20,
        ),
        alone=1e-4,
    ),
    "gpu": _Size(
        length=48,
        task=Copy(symbols=100, unique=True),
        model=ModelConfig(layers="attention*4", width=256, heads=4, position="none", qk_norm=True),
        rows=TrainConfig(
            steps=10_000,
            batch=256,
            optimizer="muon",
            lr=5e-3,
            schedule="constant",
            warmup=100,
            eval_every=5,
            threshold=0.005,
        ),
        rewards=TrainConfig(
            objective="grpo",
            steps=1_600,
            batch=256,
            lr=1e-4,
            warmup=20,
            eval_every=160,
        ),
        alone=1e-4,
    ),
}


def claim(scale: Scale) -> Claim:
    """Share of strings copied without a prefix: with prefixes in training minus without."""
    size = SIZES[scale]
    n = size.length
    parent = Experiment(
        name="questa",
        task=size.task,
        cot=False,
        model=size.model,
        train=replace(size.rows, lengths=(n,), eval_rows=256, eval_answers=False, early_stop=True),
        probes=(Probe(LABEL, n, {"split": "test"}, 512),),
    )
    rewards = replace(size.rewards, lengths=(n,), eval_rows=256, eval_answers=False)
    hinted = replace(rewards, reveal=SHARES)
    arms = {
        WITH: replace(parent, train=hinted, parent=Parent(parent)),
        WITHOUT: replace(parent, train=replace(rewards, lr=size.alone), parent=Parent(parent)),
    }
    others = replace(hinted, reveal_of="other", lr=size.alone)
    return Claim(
        name="questa",
        scale=scale,
        source="2507.13266",
        statement="Reinforcement that begins with part of the solution in the prompt solves what"
        " it does not learn to solve without.",
        paper="AIME 2024 from 61.8 to 72.5, with prefixes of 50 and then 25% of the solution",
        our_choices="task, model, the half-trained parent, prefixes of 75, 50 and 25% of answers"
        " for a fifth of the steps each, budgets, statistic and its bar",
        arms=arms,
        statistic="share of strings copied without a prefix: with prefixes in training minus"
        " without",
        measure=measure,
        threshold=0.3,
        control=Control("prefixes of another string", {WITH: replace(arms[WITH], train=others)}),
        treatment_arm=WITH,
        axis="share copied: with prefixes minus without",
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
            (WITH, record["negative_control"], "with those of\nanother string"),
        )
    ):
        points = learning(part, name, LABEL)
        median_line(ax, points, shown, number)
    ax.set_title("strings copied right without a prefix, token by token", loc="left")
    ax.set(xlabel="prompts", ylim=(-0.03, 1.03))
