"""Expert iteration carries copying beyond the lengths of its labelled rows (2502.01612).

The paper trains on labelled rows of short problems, lets the model label slightly longer ones,
trains on these, and so on: transformers without positions go from 10 to 100 digits of reversed
addition. It has no oracle: labels are filtered by their length and by a majority vote. As we
read it, it works because a model that knows its lengths is often right a little beyond them.

Ours: copying strings of symbols that do not repeat, without positions as there; and the oracle in
the place of the filter, which accepts a completion if its answer is right. One step is a round: the
model completes new prompts of one length, drawn from those that are open, and trains on what is
accepted; lengths open one after the other, from the longest labelled one to twice that. No step
trains on a label: the oracle says yes or no to what the model wrote. Task, sizes, budgets,
statistic and bar are ours.

A first trial failed: a parent that was right in 0.8 of its longest rows, two completions of each of
64 prompts, and Muon, whose steps have one size however few rows are accepted. The model forgot its
own lengths. With a better parent, one completion of each of 256 prompts and AdamW it grew; which
change did it was not asked. On trial seeds 90 and 91 the parents were right in 0.00 of the strings
of 12 symbols, and the models after 700 rounds in 0.75 and 0.91.

Doubts. The gain would be an artefact if the labelled rows were not exhausted: an arm goes on with
labelled rows, for as many steps of as many rows. It would be one if more training at long lengths
were enough, whatever is trained on: the control accepts completions at random, each step as many as
have a right answer. It has a three-hundredth of the rate, because a larger one harms it: in trials
it lost its own lengths within 20 rounds at the rate of the arm (0.00 of 6 symbols), and at a tenth,
a thirtieth and a hundredth of it kept 0.60 (140 rounds), 0.62 and 0.99 of them (700 rounds); it
would fail for that reason alone. It would be one if the oracle taught the answers: it accepts or
rejects whole completions that the model drew at temperature 1, and shows nothing. But it is an
oracle: what filters lose that accept wrong labels is not tested here. At temperature 1 random
acceptance has no gradient in the mean, so the control says that acceptance matters, not that
unfiltered samples at a lower temperature would fail. The open lengths are the probed ones: the
claim is about reaching them without labels, not about lengths beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.claims._scores import curves, score
from lab.config import Experiment, ModelConfig, Parent, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.copy import Copy

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

BEFORE, LABELLED, SELF = "labelled rows", "more labelled rows", "expert iteration"
LABEL = "held out"
OPENING = 0.7  # of the rounds, over which the lengths open


@dataclass(frozen=True)
class _Size:
    """longest: symbols of a labelled row. rows: training of the parent. rounds: of its children."""

    longest: int
    task: Copy
    model: ModelConfig
    rows: TrainConfig
    rounds: TrainConfig


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(
        longest=6,
        task=Copy(unique=True),
        model=ModelConfig(layers="attention*2", width=64, heads=4, position="none", qk_norm=True),
        rows=TrainConfig(
            steps=700, batch=64, optimizer="muon", lr=1.7e-3, warmup=50, eval_every=100, seed=20
        ),
        rounds=TrainConfig(
            steps=700,
            batch=256,
            samples=1,
            objective="expert_iteration",
            lr=1e-3,
            warmup=20,
            eval_every=70,
            seed=20,
        ),
    ),
    "gpu": _Size(
        longest=16,
        task=Copy(symbols=100, unique=True),
        model=ModelConfig(layers="attention*6", width=384, heads=6, position="none"),
        rows=TrainConfig(
            steps=10_000, batch=1024, lr=5e-4, schedule="wsd", warmup=100, eval_every=1000
        ),
        rounds=TrainConfig(
            steps=16_000,
            batch=1024,
            samples=1,
            objective="expert_iteration",
            lr=1e-4,
            warmup=100,
            eval_every=1000,
        ),
    ),
}


def claim(scale: Scale) -> Claim:
    """Accuracy at twice the labelled lengths after expert iteration, minus that without."""
    size = SIZES[scale]
    n = size.longest
    before = Experiment(
        name="self-improvement",
        task=size.task,
        cot=False,
        model=size.model,
        train=replace(_evaluated(size.rows), lengths=tuple(range(1, n + 1))),
        probes=over_lengths(LABEL, _probed(n), 512, split="test"),
    )
    rounds = replace(
        _evaluated(size.rounds), lengths=tuple(range(n, 2 * n + 1)), curriculum=OPENING
    )
    arms = {
        BEFORE: before,
        LABELLED: _child(before, _labelled(before.train, rounds)),
        SELF: _child(before, rounds),
    }
    return Claim(
        name="self-improvement",
        scale=scale,
        source="2502.01612",
        statement="Expert iteration on its own completions carries a model to twice the lengths of"
        " its labelled rows.",
        paper="reversed addition from 10 to 100 digits by rounds of self-labelled rows, without an"
        " oracle",
        our_choices="the oracle in the place of filters, task, model, budgets, lengths that open"
        " one by one, statistic and its bar",
        arms=arms,
        statistic="accuracy at twice the labelled lengths: expert iteration minus the better of"
        " labelled rows and more of them",
        measure=measure,
        threshold=0.5,
        control=Control(
            "as many completions are accepted as are right, but at random",
            {SELF: replace(arms[SELF], train=_at_random(rounds))},
        ),
        treatment_arm=SELF,
        axis="gain of accuracy at twice the labelled lengths",
        draw=draw,
    )


def _evaluated(train: TrainConfig) -> TrainConfig:
    return replace(train, eval_rows=128, eval_answers=False)


def _probed(n: int) -> tuple[int, ...]:
    return (n, n + 1, n + 2, 3 * n // 2, 2 * n)


def _child(before: Experiment, train: TrainConfig) -> Experiment:
    return replace(before, train=train, parent=Parent(before))


def _labelled(rows: TrainConfig, rounds: TrainConfig) -> TrainConfig:
    """Training on labelled rows of their own lengths, with as many rows a step as completions."""
    return replace(
        rounds,
        objective="next_token",
        batch=rounds.batch * rounds.samples,
        samples=TrainConfig.samples,
        lengths=rows.lengths,
        curriculum=0.0,
    )


def _at_random(rounds: TrainConfig) -> TrainConfig:
    """Random acceptance at a 300th of the rate: the larger it is, the more is forgotten."""
    return replace(rounds, accept="random", lr=rounds.lr / 300)


def measure(results: Mapping[str, Result]) -> Measured:
    """The gain at twice the labelled lengths; the series has the accuracy by length of each arm."""
    by_length = {name: [[s.length, s.answer] for s in r.scores] for name, r in results.items()}
    far = 2 * max(results[BEFORE].experiment["train"]["lengths"])
    at = {name: score(result, LABEL, far).answer for name, result in results.items()}
    gain = at[SELF] - max(at[BEFORE], at[LABELLED])
    return Measured(gain, {"accuracy_by_length": by_length})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy against length of the arms and of the control, the labelled lengths shaded."""
    ax = figure.subplots()
    curves(ax, record, {name: name for name in (BEFORE, LABELLED, SELF)}, LABEL)
    points: dict[float, list[float]] = {}
    for run in record["negative_control"]["arms"][SELF]:
        for one in run["scores"]:
            points.setdefault(one["length"], []).append(one["answer"])
    median_line(ax, points, "accepted at random", 3)
    ax.set_title("accuracy on held-out strings", loc="left")
    ax.set(xlabel="symbols in a string")
