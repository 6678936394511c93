"""Linear attention that learns softmax attention: the feature map of Hedgehog (2402.04347).

The paper learns a feature map for the heads of a trained model, so that linear attention has their
weights, and reports more than 99% of a Transformer's quality. Its models are language models and
its figures are not repeated; how far the weights stay from softmax attention is not known to us.

Ours: a model that recalls one of 8 pairs (tasks/recall.py), a small mamba below one layer of
attention of two heads, as in lab/claims/recall_state.py. It is trained until it knows 99% of the
answers. Then linear attention takes the place of attention, and of all weights the feature maps
alone are trained, on fresh rows (train.objective = distillation). The arms are the map of the paper
in its form with softmax, and the same map with ReLU and with 1 + ELU in the place of softmax: as
many weights, the same start, steps and rows. The statistic is by how much the divergence of the
learned weights from those of softmax attention, on held-out rows, is smaller than with the better
of the other two, as a share; it is 0 where the model before did not learn its task. The control
learns the attention of other rows.

Doubts. The lead would be an artefact if the other maps were trained too little: on a trial seed,
with 16 pairs, a third of their rates and three times them, and for ReLU three times the steps,
lower their divergence by at most 2%. It would be one if they lacked signs: all have W x and -W x,
so that ReLU loses nothing of W x. It would be one if all maps learned the mean of attention over
rows, which needs no query: the control learns just that, and has no lead. The mean over all queries
of a row counts those before the last, whose output nothing reads: the divergence at the query alone
is in the series. So is what happens to the task when linear attention takes the place of softmax
attention, without further training. One model with two heads says nothing about heads of language
models, and a head of width 16 has room for 32 features alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from lab.claims._scores import over_pairs
from lab.config import Experiment, ModelConfig, Parent, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.figures.ends import SOFT, hue
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.recall import Recall

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

SOFTMAX, HEDGEHOG, RELU, ELU = "softmax attention", "hedgehog", "ReLU", "1 + ELU"
MAPS: dict[str, Literal["softmax", "relu", "elu"]] = {
    HEDGEHOG: "softmax",
    RELU: "relu",
    ELU: "elu",
}
RATES = {HEDGEHOG: 0.1, RELU: 0.01, ELU: 0.1}
LEARNED = 0.9  # accuracy of softmax attention, below which there is nothing to learn from it
ROWS = 256  # held-out rows on which weights are compared


@dataclass(frozen=True)
class _Size:
    """pairs: in rows of training, with few first. steps: of softmax attention and of the maps."""

    width: int
    vocabulary: int
    pairs: tuple[int, ...]
    steps: tuple[int, int]


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(32, 64, (2, 4, 8), (3_000, 300)),
    "gpu": _Size(128, 512, (2, 4, 8, 16, 32, 64), (20_000, 2_000)),
}


def claim(scale: Scale) -> Claim:
    """How much nearer to softmax attention the feature map of Hedgehog comes."""
    size = SIZES[scale]
    parent = _attention(size)
    arms = {SOFTMAX: parent, **{name: _linear(parent, size, name) for name in MAPS}}
    return Claim(
        name="hedgehog",
        scale=scale,
        source="2402.04347",
        statement="A feature map with softmax learns the weights of softmax attention at half the"
        " divergence, or less, that is left with ReLU or 1 + ELU.",
        paper="linear attention with it reaches more than 99% of a Transformer's quality;"
        " divergences are not known to us",
        our_choices="task, model, sizes, rates, budget, the other maps, statistic and its bar",
        arms=arms,
        statistic="fall of the divergence of linear attention from softmax attention, on held-out"
        " rows, from the better of ReLU and 1 + ELU to hedgehog, as a share; 0 where softmax"
        f" attention knows fewer than {LEARNED:.0%} of the answers",
        measure=measure,
        threshold=0.5,
        control=Control(
            "maps that learn the attention of other rows",
            {name: _shuffled(arms[name]) for name in MAPS},
        ),
        treatment_arm=SOFTMAX,
        axis="fall of the divergence, as a share",
        draw=draw,
    )


def _attention(size: _Size) -> Experiment:
    """The model whose attention is learned."""
    return Experiment(
        name="hedgehog",
        task=Recall(queries="single", vocabulary=size.vocabulary),
        cot=False,
        model=ModelConfig(
            layers="mamba,attention",
            width=size.width,
            heads=2,
            position="none",
            d_state=1,
            expand=1,
        ),
        train=TrainConfig(
            steps=size.steps[0],
            batch=64,
            lengths=size.pairs,
            curriculum=0.5,
            lr=3e-3,
            warmup=50,
            eval_every=100,
            eval_rows=512,
            eval_answers=False,
            threshold=0.99,
            early_stop=True,
            seed=20,
        ),
        probes=tuple(Probe("held out", n, {"split": "test"}, 1024) for n in size.pairs[::-1]),
    )


def _linear(parent: Experiment, size: _Size, name: str) -> Experiment:
    """The model after it with linear attention, of which the feature maps are trained."""
    layers = parent.model.layers.replace("attention", "hedgehog")
    train = TrainConfig(
        objective="distillation",
        steps=size.steps[1],
        batch=32,
        lengths=size.pairs[-1:],
        lr=RATES[name],
        warmup=20,
        freeze=("*.qkv.*",),
        seed=parent.train.seed,
    )
    model = replace(parent.model, layers=layers, feature_map=MAPS[name])
    return replace(parent, model=model, train=train, parent=Parent(parent))


def _shuffled(arm: Experiment) -> Experiment:
    return replace(arm, train=replace(arm.train, targets="shuffled"))


def divergences(parent: Result, child: Result) -> tuple[float, float]:
    """Of a child's attention from its parent's on held-out rows of the most pairs, nats, mean over
    heads and rows: of all queries, and of those after which an answer comes."""
    import torch

    from lab.analysis.subject import first_rows, load_model
    from lab.nn.inputs import to_torch
    from lab.training.objectives.distillation import agreement, counted, learning_layers

    experiment, model, _ = load_model(child.run)
    _, teacher, _ = load_model(parent.run)
    rows = first_rows(experiment, experiment.probes[0], ROWS)
    inputs = to_torch(experiment.task, experiment.model, rows, torch.device("cpu"))
    with torch.inference_mode():
        found = agreement(teacher, model, inputs, learning_layers(experiment))
    each = (found.cross - found.entropy).mean((0, 2))
    return each[counted(inputs)].mean().item(), each[inputs.supervised].mean().item()


def measure(results: Mapping[str, Result]) -> Measured:
    """The fall of the divergence; the series has all divergences, and accuracy by pairs."""
    told = {name: divergences(results[SOFTMAX], results[name]) for name in MAPS}
    every = {name: one for name, (one, _) in told.items()}
    series = {
        "divergence": every,
        "divergence_at_the_query": {name: one for name, (_, one) in told.items()},
        "accuracy_by_pairs": {
            name: [[s.length, s.exact] for s in result.scores] for name, result in results.items()
        },
    }
    knows = results[SOFTMAX].scores[0].exact >= LEARNED
    fall = 1 - every[HEDGEHOG] / min(every[RELU], every[ELU])
    return Measured(fall if knows else 0.0, series)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Divergence of each map, a dot for each seed, beside that of the control; and accuracy when
    linear attention has taken the place of softmax attention."""
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.2))
    for number, name in enumerate(MAPS):
        sides = (record["negative_control"]["series"], record["series"])
        for series, y, colour in zip(
            sides, (number + 0.25, number), (SOFT, hue(number + 1)), strict=True
        ):
            values = [seed["divergence"][name] for seed in series]
            upper.plot(values, [y] * len(values), "o", ms=4, color=colour, alpha=0.6, mew=0)
            middle = median(values)
            upper.plot([middle, middle], [y - 0.12, y + 0.12], color=colour, linewidth=2)
    upper.set(xlim=(0, None), ylim=(len(MAPS) - 0.5, -0.4))
    upper.set_yticks(range(len(MAPS)), list(MAPS))
    upper.set_title("divergence from softmax attention, nats", loc="left")
    upper.set_xlabel("grey: learned from the attention of other rows")
    over_pairs(lower, record, {name: name for name in (SOFTMAX, *MAPS)})
    lower.set_title("accuracy with each in place of softmax attention", loc="left")
    lower.set_xlabel("pairs to recall")
