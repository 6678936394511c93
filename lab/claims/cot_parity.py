"""Samples to learn sparse parity, with and without its running parity (2410.05459, Fig. 1a and 2).

The paper counts samples to 100% on 2,048 held-out inputs for n = 30 and k = 1 to 4, over 16 GPT-2
architectures (1 to 4 layers of 1 to 4 heads) and the best of three learning rates. The gpu scale
takes all of them at 1e-4 alone. The cpu scale is ours: n = 20, one layer of width 64, and k up to 6
with the thought. Without it k stops at 4, as in the paper: runs of a larger k would be censored at
the budget like those of 4, and say no more. The statistic compares both at k = 4.

Doubts. The ratio would be an artefact if the arms without thought had a wrong rate: they have the
model, rate and batch of those with thought, and their smaller k say whether they learn with them.
It would be one if they were merely short of rows: a run that did not learn counts with the rows
that it saw, the least that it needs, so a censored value is a lower bound, set by our budget, and
how far the samples rise beyond it is not known. It would be one if the thought gave the answer
away: a run has learned only when every token of thought and answer is its likeliest one, on inputs
that training never draws, so that it writes the same without help. It would be one if a longer row
alone helped, by its tokens of computing or of loss: the control keeps the length and makes the bits
random, and a model that found the answer in spite of them would let it hold. That the samples with
thought stay few is shown for one shape of model, up to the largest k of the figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.config.presets import PRESETS
from lab.figures.ends import hue, median_line
from lab.figures.style import thousands
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured
from tasks.parity import Parity

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

DEGREES: dict[Scale, dict[bool, tuple[int, ...]]] = {  # with and without CoT, ascending
    "cpu": {True: (1, 2, 3, 4, 5, 6), False: (1, 2, 3, 4)},
    "gpu": {True: (1, 2, 3, 4), False: (1, 2, 3, 4)},
}
COMPARED = 4  # the largest k that both are run at


def claim(scale: Scale) -> Claim:
    """How the number of samples that parity needs grows with k."""
    models = _models(scale)
    arms = {
        _label(cot, k, name): _arm(scale, cot, k, model)
        for name, model in models.items()
        for cot in (True, False)
        for k in DEGREES[scale][cot]
    }
    hardest = [_label(True, COMPARED, name) for name in models]
    return Claim(
        name="cot-parity",
        scale=scale,
        source="2410.05459, Fig. 1a",
        statement="Without chain of thought the samples to learn k-parity multiply with each step"
        " of k; with it they stay near those of k = 1.",
        paper="without CoT the samples grow exponentially in k up to the cap of 10^7, with CoT"
        " roughly linearly; exact values are not printed",
        our_choices="statistic and threshold; learned = all supervised tokens right on held-out"
        " rows of one evaluation; constant learning rate"
        + (
            ""
            if scale == "gpu"
            else "; n = 20, k to 6 with CoT, 1 layer, width 64, 2 heads, at most 409,600 rows"
            + REVISED
        ),
        arms=arms,
        statistic=f"log2 of samples without CoT over samples with CoT, k = {COMPARED}"
        + (", median of the architectures" if scale == "gpu" else ""),
        measure=measure,
        threshold=1.0,
        control=Control("thoughts of random bits", {name: _noisy(arms[name]) for name in hardest}),
        treatment_arm=hardest[-1],
        axis=f"doublings of the rows without CoT, k = {COMPARED}",
        draw=draw,
    )


def _models(scale: Scale) -> dict[str, ModelConfig]:
    """Models by the text that ends the names of their arms; the largest comes last."""
    if scale == "cpu":
        return {"": ModelConfig(layers="attention", width=64, heads=2)}
    return {
        f"{layers} layers, {heads} heads": replace(PRESETS[f"gpt2-{layers}"], heads=heads)
        for layers in (1, 2, 3, 4)
        for heads in (1, 2, 3, 4)
    }


def _label(cot: bool, k: int, model: str) -> str:
    return ", ".join(["CoT" if cot else "no CoT", f"k = {k}", *([model] if model else [])])


def _noisy(arm: Experiment) -> Experiment:
    """Half of the bits of each thought flipped at random: same length, no information."""
    return replace(arm, train=replace(arm.train, cot_noise="static", cot_noise_rate=0.5))


def _arm(scale: Scale, cot: bool, k: int, model: ModelConfig) -> Experiment:
    if scale == "cpu":
        n = 20
        train = TrainConfig(steps=1600, batch=256, lr=1e-3, eval_every=20, eval_rows=1024, seed=20)
    else:
        n = 30
        train = TrainConfig(steps=19_531, batch=512, lr=1e-4, eval_every=20, precision="bf16")
    return Experiment(
        name="cot-parity",
        task=Parity(k=k),
        cot=cot,
        model=model,
        train=replace(
            train, lengths=(n,), schedule="constant", eval_answers=False, early_stop=True
        ),
        probes=(Probe("held out", n, {"split": "test"}),),
    )


def samples(result: Result) -> tuple[int, bool]:
    """Rows to learn the first probe, and whether that is only a lower bound."""
    first = result.learned[0]
    return first["rows"], first["censored"]


def measure(results: Mapping[str, Result]) -> Measured:
    """How many times the samples double without the thought at k = COMPARED, the median of the
    architectures (a lower bound where a run is censored). The series has the growth of the samples
    for each step of k, from 1 to the largest that was run, by architecture."""
    rows = {name: samples(result)[0] for name, result in results.items()}
    first = _label(True, 1, "")
    models = [name[len(first) + 2 :] for name in rows if name.startswith(first)]
    saved, growth = [], {}
    for model in models:
        same = {cot: rows[_label(cot, COMPARED, model)] for cot in (True, False)}
        saved.append(math.log2(same[False] / same[True]))
        growth[model] = {
            ("CoT" if cot else "no CoT"): _growth(rows, cot, model) for cot in (True, False)
        }
    series = {"growth_per_step_of_k": growth[""] if models == [""] else growth}
    return Measured(median(saved), series)


def _growth(rows: Mapping[str, int], cot: bool, model: str) -> float:
    """The factor of the rows for each step of k, from k = 1 to the largest."""
    every = {k for degrees in DEGREES.values() for k in degrees[cot]}
    k = max(k for k in every if _label(cot, k, model) in rows)
    return float((rows[_label(cot, k, model)] / rows[_label(cot, 1, model)]) ** (1 / (k - 1)))


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Rows against k, with and without the thought; an open triangle is a run that did not learn,
    at the rows that it saw."""
    ax = figure.subplots()
    ax.set_yscale("log")
    for number, (label, shown) in enumerate((("no CoT", "without CoT"), ("CoT", "with CoT"))):
        points: dict[float, list[float]] = {}
        for k in DEGREES[record["scale"]][label == "CoT"]:
            own = [arm for arm in record["arms"] if arm.startswith(f"{label}, k = {k}")]
            learned = [run["learned"][0] for arm in own for run in record["arms"][arm]]
            points[k] = [one["rows"] for one in learned]
            never = [one["rows"] for one in learned if one["censored"]]
            ax.plot([k] * len(never), never, "^", color=hue(number), mfc="white", ms=9, zorder=4)
        told = "\n(open: not learned,\nneeds more)" if never else ""
        median_line(ax, points, shown + told, number)
    ax.yaxis.set_major_formatter(thousands)
    ax.set_title("training rows until parity is learned", loc="left")
    ax.set(xlabel="k, the number of hidden bits", xticks=DEGREES[record["scale"]][True])
