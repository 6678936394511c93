"""What carries copies of tapes to longer tapes: n-grams that do not repeat (2407.03310, Thm 4.1).

The paper proves that a transformer with Hard-ALiBi can run a Turing machine on tapes of any length
if no n-gram of a tape repeats; the exact assumptions are not known to us. Our reading: the banded
heads see the last few tokens, the others look up where these stood in the tape before, and copy
what came next there. Where n-grams repeat there are several such places, so the length to which
copies carry should grow with the number of symbols. The paper has no such figure; tasks, models,
budgets, the statistic and its bars are ours.

One random machine for each alphabet of 3, 8, 16 and 26 symbols, of one state, so that nothing but
the alphabet differs: the table of rules grows with it, which makes the larger alphabets the harder
ones to learn. No rule halts; every run takes all its steps. 1x is the largest trained length and
accuracy is the whole answer, free-running.

    value = Spearman's correlation of the number of symbols and accuracy at 2x, over the alphabets,
            0 where an alphabet is below 0.9 at 1x, and
            0 where 26 symbols lead 3 symbols by less than 0.1 at 2x

The second line keeps models that have not learned their own lengths from deciding; the third keeps
ranks of four numbers that hardly differ from deciding: 0.1 is about two standard errors of the
difference of two probes of 256 rows.

The control puts 26 symbols on tapes that repeat a random block of three cells in the place of 26
symbols: the same machine and model, but the n-grams of its tapes repeat.

Beside it, one factor at a time with 26 symbols: the largest training length, and the number of
heads without a band. The banded heads take their place, and the i-th of them sees i tokens, so
fewer full heads also mean longer n-grams: that is how Hard-ALiBi is defined.

Doubts. The rise would be an artefact if small alphabets were learned worse: below 0.9 at 1x of any
of them the statistic is 0, and their tables of rules are the smaller ones. It would be one if the
ranks of four nearly equal numbers decided: 26 symbols have to lead 3 by 0.1. It would be one if the
machine of 26 symbols happened to be an easy one, because there is one machine for each alphabet and
seeds do not change it: the control runs that very machine, with the same model and training, and
must lose. But the tapes of the control are periodic, which is more than that some n-grams repeat,
so it shows that repeats are enough to stop Hard-ALiBi and not how many it takes. More symbols also
mean more embeddings, which no arm takes away. All arms have the same steps and rate, and some would
still gain at 2x with more: the claim is about equal training (curves in the record, rates in
rates-ngram-length-cpu.json). The factors beside it have no control and no bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.claims._scores import score, trained
from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.figures.ends import end_label, hue, median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.turing_machine import TuringMachine

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

ALPHABETS = (3, 8, 16, 26)
LENGTHS: dict[Scale, tuple[int, ...]] = {"cpu": (6, 8, 12, 16), "gpu": (25, 35, 50, 65)}
FULL: dict[Scale, tuple[int, ...]] = {"cpu": (1, 2, 4), "gpu": (2, 4, 8)}
USUAL: dict[Scale, int] = {"cpu": 12, "gpu": 50}  # the largest training length of the other arms
LABEL = "held out"
RIGHT = 0.9  # accuracy at 1x that every alphabet must have
LEAD = 0.1  # in accuracy at 2x, of the largest alphabet over the smallest
BLOCK = 3  # cells that the tapes of the control repeat


def claim(scale: Scale) -> Claim:
    """The rank correlation of the alphabet and accuracy at twice the trained length."""
    arms = {_symbols(k): _arm(scale, symbols=k) for k in ALPHABETS}
    largest = _symbols(ALPHABETS[-1])
    arms |= {f"trained to {n}": _arm(scale, most=n) for n in LENGTHS[scale] if n != USUAL[scale]}
    arms |= {f"{n} full heads": _arm(scale, full=n) for n in FULL[scale][:-1]}
    repeating = replace(arms[largest], task=TuringMachine(1, ALPHABETS[-1], 4, block=BLOCK))
    return Claim(
        name="ngram-length",
        scale=scale,
        source="2407.03310, Theorem 4.1",
        statement="The more symbols a random machine has, and so the fewer n-grams of its tapes"
        " repeat, the more right Hard-ALiBi is on tapes twice as long as those of training.",
        paper="a theorem about tapes whose n-grams do not repeat; it has no figure for the number"
        " of symbols",
        our_choices="the reading of the theorem, machines of 1 state and 4 steps, model, budget,"
        " statistic and its bars",
        arms=arms,
        statistic="rank correlation of the number of symbols and accuracy at 2x; 0 where accuracy"
        f" at 1x is below {RIGHT:g} for any of them, or 26 symbols lead 3 by less than {LEAD:g}",
        measure=measure,
        threshold=0.8,
        control=Control(
            "26 symbols, but tapes that repeat a block of three cells", {largest: repeating}
        ),
        treatment_arm=largest,
        precondition=not_right,
        axis="rank correlation of symbols and accuracy at 2x",
        draw=draw,
    )


def _symbols(k: int) -> str:
    return f"{k} symbols"


def _arm(scale: Scale, symbols: int = 26, most: int | None = None, full: int = 0) -> Experiment:
    """full: heads without a band; 0 for half of them."""
    most = most or USUAL[scale]
    if scale == "cpu":
        heads, model = 8, ModelConfig(layers="attention*3", width=96, qk_norm=True)
        train = TrainConfig(steps=700, batch=64, optimizer="muon", lr=1.5e-2, warmup=50)
    else:
        heads, model = 16, ModelConfig(layers="attention*6", width=512)
        train = TrainConfig(steps=10_000, batch=32, lr=5e-4, warmup=500, precision="bf16")
    return Experiment(
        name="ngram-length",
        task=TuringMachine(states=1, symbols=symbols, steps=4),
        cot=True,
        model=replace(
            model, heads=heads, position="hard_alibi", banded=heads - (full or heads // 2)
        ),
        train=replace(
            train,
            lengths=tuple(range(4, most + 1)),
            eval_every=train.steps // 7,
            eval_rows=128,
            eval_answers=False,
        ),
        probes=over_lengths(LABEL, (most, 2 * most), 256, split="test"),
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """The correlation over the alphabets; the series has accuracy at 1x and 2x of every arm."""
    accuracy = {
        name: [score(result, LABEL, times * trained(result)).answer for times in (1, 2)]
        for name, result in results.items()
    }
    own = [accuracy[_symbols(k)] for k in ALPHABETS]
    return Measured(correlation(own), {"accuracy": accuracy})


def correlation(accuracy: Sequence[Sequence[float]]) -> float:
    """The statistic, from accuracy at 1x and at 2x of each of ALPHABETS."""
    from scipy.stats import spearmanr

    near, far = zip(*accuracy, strict=True)
    if min(near) < RIGHT or far[-1] - far[0] < LEAD:
        return 0.0
    return round(float(spearmanr(ALPHABETS, far).statistic), 6)  # one swap is 0.8, not 0.7999...


def not_right(series: Sequence[Mapping[str, Any]]) -> str | None:
    """A sentence if the median seed of an alphabet is not right on its own lengths."""
    for k in ALPHABETS:
        near = median(seed["accuracy"][_symbols(k)][0] for seed in series)
        if near < RIGHT:
            return f"with {k} symbols it is {near:.3f}, below {RIGHT:g}"
    return None


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy at 1x and at 2x against the alphabet; below it against the training length and the
    full heads, with the largest alphabet."""
    scale, series = record["scale"], [seed["accuracy"] for seed in record["series"]]
    usual = _symbols(ALPHABETS[-1])
    panels: dict[str, dict[int, str]] = {
        "symbols of the machine": {k: _symbols(k) for k in ALPHABETS},
        "largest training length": {n: f"trained to {n}" for n in LENGTHS[scale]},
        "heads without a band": {n: f"{n} full heads" for n in FULL[scale]},
    }
    grid = figure.add_gridspec(2, 2, height_ratios=(1.6, 1))
    axes = [figure.add_subplot(grid[0, :]), *(figure.add_subplot(grid[1, i]) for i in range(2))]
    for ax, (factor, arms) in zip(axes, panels.items(), strict=True):
        for number, label in ((1, "at the trained length"), (0, "at twice the length")):
            points: dict[float, list[float]] = {
                x: [seed.get(arm, seed[usual])[1 - number] for seed in series]
                for x, arm in arms.items()
            }
            median_line(ax, points, label if ax is axes[0] else "", number)
        ax.set(xlabel=factor, xticks=list(arms), ylim=(-0.03, 1.03))
        ax.set_title("accuracy of the answer" if ax is axes[0] else f"with {usual}", loc="left")
    repeating = [seed["accuracy"][usual][1] for seed in record["negative_control"]["series"]]
    axes[0].plot([ALPHABETS[-1]] * len(repeating), repeating, "X", color=hue(2), mew=0)
    end_label(
        axes[0], "at twice the length,\nn-grams repeat", (ALPHABETS[-1], median(repeating)), hue(2)
    )
