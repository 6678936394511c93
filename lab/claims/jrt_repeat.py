"""Recurrent models that read the prompt twice (2407.05483, Just Read Twice).

A model with a fixed state does not know, while it reads, what it will be asked, and cannot keep
everything. The paper puts the whole prompt a second time after it: on the second reading the model
knows the question, and its state has room for the answer. Its figures (Table 1, mean of six tasks
of natural language, prompt plain and repeated) are 34.7 and 46.5 for Mamba (1.3 B), 40.3 and 51.8
for Based, and 47.8 and 57.8 for a transformer, which gains there too.

Ours: recall of one key's value after 16 pairs (tasks/recall.py) with the models and rows of the
claim recall-state, whose record says that the states are too small to hold the pairs; models are
trained on prompts in the form in which they are read. Reading twice doubles the tokens of a
row, so the arms that read once have twice the steps: equal tokens of training. Task, models,
budgets, statistic and bar are ours.

    value = accuracy with the prompt read twice, minus that read once, mean of the two mixers

The first record took the smaller of the two gains and was inconclusive: one of six mambas that read
twice had not learned to within the budget (lab/claims/records/LOG.md).

Doubts. The gain would be an artefact if the arms that read once had too few steps: they have twice
as many, and their curves are in the record. It would be one if more layers of reading helped any
model, whatever its state: the control puts attention, which keeps every pair, in the place of all
mixers. That control is at its ceiling in both forms, so it says that a second reading does no harm
and that attention needs none; it cannot gain. It would be one of the rate: beside the record is
rates-jrt-repeat-cpu.json. Which part of the second reading helps is not asked: the key that stands
between the two, or a second look at the pairs alone. The mixers are two with small states, chosen
for their spread over seeds in recall-state; the delta rule, whose accuracy there varies more,
gained 0.29 on the one trial seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING, Any

from lab.claims import recall_state
from lab.claims._scores import over_pairs
from lab.config import Experiment
from lab.config.experiment import Scale
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

MIXERS = ("gru", "mamba")
TIMES = {1: "read once", 2: "read twice"}
# Rates other than those of recall-state, cpu scale: found by `lab claim jrt-repeat --rates`.
RATES = {("mamba", 1): 9e-3, ("attention", 1): 9e-3, ("attention", 2): 9e-3}


def claim(scale: Scale) -> Claim:
    """What a second reading adds to accuracy, mean of the mixers."""
    arms = {_label(mixer, times): _arm(scale, mixer, times) for mixer in MIXERS for times in TIMES}
    attention = {
        _label(mixer, times): with_disjoint_seeds(_arm(scale, "attention", times))
        for mixer in MIXERS
        for times in TIMES
    }
    pairs, width = arms[_label(MIXERS[0], 1)].probes[0].length, recall_state.SIZES[scale].widths[0]
    return Claim(
        name="jrt-repeat",
        scale=scale,
        source="2407.05483",
        statement="A model with a fixed state recalls what it lost if it reads the prompt twice.",
        paper="mean of six tasks of natural language, prompt plain and repeated: Mamba 34.7 and"
        " 46.5, Based 40.3 and 51.8, transformer 47.8 and 57.8 (Table 1)",
        our_choices="recall of one key after the pairs, trained in the form in which it is read,"
        f" mixers, equal tokens of training, budget, statistic and its bar{REVISED}",
        arms=arms,
        statistic="accuracy with the prompt read twice minus that read once, mean of"
        f" {' and '.join(MIXERS)}; {pairs} pairs, width {width}",
        measure=measure,
        threshold=0.2,
        control=Control("attention in the place of both mixers", attention),
        treatment_arm=_label(MIXERS[0], 2),
        axis="gain of accuracy by a second reading",
        draw=draw,
    )


def _label(mixer: str, times: int) -> str:
    return f"{mixer}, {TIMES[times]}"


def _arm(scale: Scale, mixer: str, times: int) -> Experiment:
    """The arm of recall-state, one query to a row; for a prompt read once, of twice the steps."""
    width = recall_state.SIZES[scale].widths[0]
    arm = recall_state.claim(scale).arms[f"{mixer}, width {width}"]
    more = 2 // times
    train = arm.train
    lr = RATES.get((mixer, times), train.lr) if scale == "cpu" else train.lr
    return replace(
        arm,
        name="jrt-repeat",
        task=replace(arm.task, queries="single", tokens=0),  # type: ignore[type-var]
        train=replace(
            train, steps=more * train.steps, eval_every=more * train.eval_every, lr=lr, seed=30
        ),
        prompt_repeats=times,
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """The mean gain at the most pairs; the series has the accuracy of every arm by pairs."""
    right = {name: result.scores[0].exact for name, result in results.items()}
    gains = {m: right[_label(m, 2)] - right[_label(m, 1)] for m in MIXERS}
    by_pairs = {name: [[s.length, s.exact] for s in r.scores] for name, r in results.items()}
    return Measured(mean(gains.values()), {"gains": gains, "accuracy_by_pairs": by_pairs})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy against the pairs of a row: a line for each mixer and number of readings."""
    ax = figure.subplots()
    over_pairs(ax, record, {name: name for name in record["arms"]})
    ax.set_title("accuracy of recall after the prompt", loc="left")
    ax.set_xlabel("pairs to remember")
