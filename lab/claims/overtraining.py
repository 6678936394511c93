"""The longer the pre-training, the more a fixed change of the weights harms (2503.19206).

The paper calls that catastrophic overtraining: checkpoints of one pre-training run get better and
better, and yet normal noise of one size on their weights, or fine-tuning at one rate, costs the
later ones more. It shows that on language models; the sizes of its noise are not known to us.

Ours: bigram text (tasks/bigram.py), model, rate, budget, noise, statistic and bar. One run at a
constant rate keeps checkpoints from its step 400, where the table is learned, to its end at 16
times as many; the loss falls by hundredths of a nat between them. On every matrix of a checkpoint
comes normal noise, half as large as the root mean square of the matrix, the same draws for each
checkpoint. The harm is the rise of the loss, in nats a token, on held-out rows. The statistic is
the rank correlation of training tokens and harm; a harm that does not grow by half from the first
checkpoint to the last counts as none, whatever its order.

The weight decay is strong: what the gradient does not renew shrinks by e^-19 over the run. So the
matrices do not grow, and noise that is relative to them does not become larger.

Doubts. The rise would be an artefact if only the confidence of the model grew, as on a task that is
solved: then any error costs more. The loss of bigram text has a floor, at which a model is
calibrated, and the loss with noise rises by itself: both are in the figure. It would be one if the
noise grew with the weights: the mean size of the matrices is in the series, and the harm of noise
of one absolute size. Relative noise is what a rescaling of a matrix that another one undoes (a gain
before it) does not change; absolute noise is not. What speaks against the claim: without weight
decay the harm of relative noise grows too, 2.3 times, but that of absolute noise falls to a fifth,
as the weights outgrow it; and ten steps of Adam at a fixed rate on another table, a change of
absolute size, harm late checkpoints less than early ones, with and without decay (trials, seed 90).
So here more training makes weights fragile for their size, and fine-tuning harms them no more. The
control goes on from the first checkpoint for as many tokens at a thousandth of the rate (and so of
the decay): its harm creeps up by an eighth, in perfect order, which is why a correlation alone is
no claim. One model of one layer says nothing about larger ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, Parent
from lab.config.experiment import Scale, from_json
from lab.experiments.bigram import experiment as bigram
from lab.figures.ends import median_line
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

ARM = "pre-training"
LAST = 16  # times the steps of the first checkpoint
POINTS = 9  # checkpoints, in equal ratios
SLOW = 1e-3  # times the rate, in the control
RELATIVE, ABSOLUTE = 0.5, 0.02  # deviation of the noise: times that of a matrix; of each weight
DRAWS = 8
ROWS = 256
LEAST = 1.5  # harm at the last checkpoint over that at the first


def claim(scale: Scale) -> Claim:
    """Rank correlation of training tokens and the harm of noise on the weights."""
    arm = _arm(scale)
    return Claim(
        name="overtraining",
        scale=scale,
        source="2503.19206",
        statement="The longer a model is pre-trained, the more noise of a fixed size on its weights"
        " harms it.",
        paper="later checkpoints of language models lose more by normal noise and by fine-tuning;"
        " OLMo-1B at 3T tokens more than 2% worse after fine-tuning than at 2.3T",
        our_choices="task, model, rate, weight decay, budget, noise relative to each matrix,"
        " statistic and its bar",
        arms={ARM: arm},
        statistic="rank correlation of training tokens and the rise of the loss by noise of half"
        f" the size of each matrix, {POINTS} checkpoints after the task is learned (0 unless the"
        f" rise grows {LEAST:g} times)",
        measure=measure,
        threshold=0.8,
        control=Control(
            "the rate cut to a thousandth from the first checkpoint on", {ARM: _slow(arm)}
        ),
        treatment_arm=ARM,
        axis="rank correlation of tokens and harm",
        draw=draw,
    )


def _arm(scale: Scale) -> Experiment:
    base = (
        bigram(scale, length=32, symbols=16)
        if scale == "cpu"
        else bigram(scale, length=256, symbols=256)
    )
    first = 400 if scale == "cpu" else 2_000
    *kept, last = (round(first * LAST ** (i / (POINTS - 1))) for i in range(POINTS))
    # steps x rate x decay: 19 time constants at both scales
    decay = 1.0 if scale == "cpu" else 0.6
    train = replace(
        base.train, steps=last, keep_steps=tuple(kept), eval_every=first, weight_decay=decay
    )
    return Experiment(
        name="overtraining",
        task=base.task,
        cot=False,
        model=replace(base.model, width=32) if scale == "cpu" else base.model,
        train=replace(train, seed=20),
        probes=base.probes[:1],
    )


def _slow(arm: Experiment) -> Experiment:
    """The run that goes on from the arm's first checkpoint, and keeps its own after as many
    tokens; the first one after a single step."""
    first, *kept = arm.train.keep_steps
    train = replace(
        arm.train,
        lr=arm.train.lr * SLOW,
        warmup=0,
        steps=arm.train.steps - first,
        keep_steps=(1, *(step - first for step in kept)),
    )
    return replace(arm, train=train, parent=Parent(arm, f"step-{first}"))


def harms(result: Result) -> dict[str, list[float]]:
    """Of every checkpoint of a finished run: training tokens; the loss and the harm of relative and
    of absolute noise, in nats a token, on held-out rows; the mean root mean square of a matrix."""
    import numpy as np

    from lab.analysis.held_out import whole_rows
    from lab.analysis.interventions import exact_and_loss, noise_harm

    run = from_json(result.experiment)
    before = int(run.parent.at.partition("-")[2]) if run.parent and run.parent.at else 0
    found: dict[str, list[float]] = {
        name: [] for name in ("tokens", "loss", "relative", "absolute", "size")
    }
    for step in (*run.train.keep_steps, run.train.steps):
        subject = whole_rows(result.run, ROWS, f"step-{step}")
        seed = run.train.seed
        matrices = [w.detach() for w in subject.model.parameters() if w.ndim > 1]
        values = {
            "tokens": (before + step) * run.train.batch * subject.probe.length,
            "loss": exact_and_loss(subject)[1],
            "relative": noise_harm(subject, RELATIVE, draws=DRAWS, seed=seed),
            "absolute": noise_harm(subject, ABSOLUTE, relative=False, draws=DRAWS, seed=seed),
            "size": float(np.mean([float(w.square().mean().sqrt()) for w in matrices])),
        }
        for name, value in values.items():
            found[name].append(value)
    return found


def correlation(tokens: list[float], harm: list[float]) -> float:
    """Spearman's, or 0 unless the harm at the end is LEAST times that at the beginning."""
    from scipy.stats import spearmanr

    if harm[-1] <= LEAST * max(harm[0], 0):
        return 0.0
    return round(float(spearmanr(tokens, harm).statistic), 6)


def measure(results: Mapping[str, Result]) -> Measured:
    """The rank correlation; the series has what is measured of every checkpoint."""
    series = harms(results[ARM])
    return Measured(correlation(series["tokens"], series["relative"]), dict(series))


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """The loss along pre-training, as it is and with noise on the weights; and with noise where the
    rate is cut after the first checkpoint, the control."""
    ax = figure.subplots()
    own, cut = record["series"], record["negative_control"]["series"]
    lines = (("without noise", own, 0), ("with noise", own, 1), ("with noise, rate cut", cut, 1))
    for number, (name, seeds, noise) in enumerate(lines):
        points: dict[float, list[float]] = {}
        for seed in seeds:
            for tokens, loss, harm in zip(
                seed["tokens"], seed["loss"], seed["relative"], strict=True
            ):
                points.setdefault(tokens, []).append(loss + noise * harm)
        median_line(ax, points, name, number, dots=False)
    ax.set_xscale("log", base=2)
    shown = own[0]["tokens"][::2]
    ax.set_xticks(shown, [f"{tokens / 1e6:.1f}" for tokens in shown])
    ax.set_title("loss on held-out rows, nats a token", loc="left")
    ax.set(xlabel="millions of tokens of pre-training")
