"""Multi-query recall against the size of the state (MQAR, 2312.04927).

The paper's point: attention recalls at a width at which models with a fixed state fail. The task is
that of its code: vocabulary 8192, 4 to 64 pairs in up to 256 tokens. Its models, its sweep of
learning rates and its figures are not repeated.

Ours: two layers, the lower one a small mamba (one number of state a channel) whose convolution
gives each value the key before it, without which attention needs far longer; one head of attention
and four of the other mixers, which keeps their states small; one learning rate for all but the GRU,
fresh rows; the cpu scale (vocabulary 64, 2 to 16 pairs, width 32); and the bar for a small state:
fewer numbers than a key and a value of the model's width for every pair, 2 x pairs x width.
Accuracy is that of one query directly after the pairs, so it does not depend on the number of
queries. Training rows at cpu scale have this form too, with few pairs first: among filler, or with
many pairs from the start, no small state learns 2 pairs within the budget
(lab/claims/records/LOG.md).

Every mixer of the lab is an arm at gpu scale. At cpu scale a mixer that guesses at 2 pairs, which
its state can hold, would show lack of skill and not of room. The LSTM and gated linear attention
guess there at the rate of the others, some seeds of them, and at three times and a third of it
(LOG.md): they are no arms. The GRU guesses at the common rate and learns 2 pairs at three times it,
which is its rate. The control has 2 pairs: the bar for a small state stays, and every state is
large enough.

Doubts. The lead would be an artefact if the small mixers lacked the skill: the control asks the
same mixers at the same rates for 2 pairs, and the claim is void unless the best of them knows them
there. It would be one if their training rows were too hard for them to begin: few pairs come first,
and the accuracy at 2, 4 and 8 pairs, beside the verdict, says how far each got. It would be one if
they were still learning: the curve of every arm is in the record. It would be one if what counts
were not the state but the kind of mixer: Based and Mamba, which are no attention and have states
above the bar, are arms, and so the figure shows accuracy against numbers of state; with one model
of each kind it cannot show more. The statistic takes the best small mixer, of two: a third could be
better. The choice of those two was made on trial seeds, by their accuracy at 2 pairs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from lab import registry
from lab.claims._scores import over_pairs
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale, from_json
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured
from tasks.recall import Recall

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

FEW = 2  # pairs of the control


@dataclass(frozen=True)
class _Size:
    """mixers: the arms, with their learning rates. widths: that of the statistic first. train: its
    lengths are numbers of pairs in a row."""

    mixers: Mapping[str, float]
    task: Recall
    widths: tuple[int, ...]
    train: TrainConfig


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(
        mixers={"attention": 3e-3, "based": 3e-3, "deltanet": 3e-3, "gru": 9e-3, "mamba": 3e-3},
        task=Recall(queries="single", vocabulary=64),
        widths=(32,),
        train=TrainConfig(
            steps=3000,
            batch=128,
            lengths=(2, 4, 8, 16),
            curriculum=0.75,
            warmup=50,
            eval_every=300,
            seed=20,
        ),
    ),
    "gpu": _Size(
        mixers=dict.fromkeys(registry.names("mixers"), 1e-3),
        task=Recall(tokens=256, vocabulary=8192),
        widths=(64, 128),
        train=TrainConfig(
            steps=12_000,
            batch=256,
            lengths=(4, 8, 16, 32, 64),
            warmup=200,
            eval_every=500,
        ),
    ),
}


def claim(scale: Scale) -> Claim:
    """Accuracy of attention minus the best of the mixers with a small state."""
    size = SIZES[scale]
    arms = {
        _label(mixer, width): _arm(size, mixer, width)
        for width in size.widths
        for mixer in size.mixers
    }
    pairs, width = max(size.train.lengths), size.widths[0]
    bar = 2 * pairs * width
    few = replace(
        size,
        task=replace(size.task, tokens=0),
        train=replace(size.train, lengths=(FEW,), curriculum=0.0),
    )
    controlled = [m for m in size.mixers if m == "attention" or state(_arm(size, m, width)) < bar]
    return Claim(
        name="recall-state",
        scale=scale,
        source="2312.04927",
        statement="Attention recalls pairs that mixers with a state smaller than the pairs lose.",
        paper="attention solves recall at a width at which mixers with a fixed state do not; values"
        " not known to us",
        our_choices="statistic, threshold and what is small; a small mamba below each mixer,"
        " learning rates, fresh rows, stop at 0.99"
        + (
            ""
            if scale == "gpu"
            else f"; vocabulary 64, width 32, one query, curriculum, budget{REVISED}"
        ),
        arms=arms,
        statistic="accuracy of attention minus that of the best mixer with a state of fewer than"
        f" {bar:,} numbers; {pairs} pairs, width {width}",
        measure=partial(measure, width=width, bar=bar),
        threshold=0.25,
        control=Control(
            f"{FEW} pairs, which every state holds",
            {_label(mixer, width): _arm(few, mixer, width) for mixer in controlled},
        ),
        treatment_arm=_label("attention", width),
        axis="lead of attention over the best small state",
        draw=draw,
    )


def _label(mixer: str, width: int) -> str:
    return f"{mixer}, width {width}"


def _arm(size: _Size, mixer: str, width: int) -> Experiment:
    one = {"queries": "single", "tokens": 0, "split": "test"}
    return Experiment(
        name="recall-state",
        task=size.task,
        cot=False,
        model=ModelConfig(
            layers=f"mamba,{mixer}",
            width=width,
            heads=1 if mixer == "attention" else 4,
            position="none",
            d_state=16 if mixer == "mamba" else 1,
            expand=2 if mixer == "mamba" else 1,
        ),
        train=replace(
            size.train,
            lr=size.mixers[mixer],
            eval_rows=512,
            eval_answers=False,
            early_stop=True,
            threshold=0.99,
        ),
        # Most pairs first: early stopping uses the first probe.
        probes=tuple(Probe("one query", p, one, 1024) for p in sorted(size.train.lengths)[::-1]),
    )


def state(experiment: Experiment) -> int:
    """Numbers in the state of the model after a row of the first probe: pairs, query, answer."""
    return _state(experiment.model, 2 * experiment.probes[0].length + 2)


@cache
def _state(model: ModelConfig, tokens: int) -> int:
    """`Model.state_size`, without building the embedding tables."""
    import torch

    with torch.random.fork_rng(devices=[]):  # the weights are not used
        return sum(
            registry.load("mixers", name)(model).state_size(tokens) for name in model.stack()
        )


def measure(results: Mapping[str, Result], width: int, bar: int) -> Measured:
    """Accuracy of attention minus that of the best mixer below the bar, at one width; the series
    has state and accuracy of every arm."""
    sizes = {name: state(from_json(result.experiment)) for name, result in results.items()}
    right = {name: result.scores[0].exact for name, result in results.items()}
    attention = _label("attention", width)
    small = [
        right[name]
        for name, size in sizes.items()
        if name != attention and name.endswith(f" {width}") and size < bar
    ]
    points = {name: [sizes[name], right[name]] for name in results}
    by_pairs = {name: [[s.length, s.exact] for s in r.scores] for name, r in results.items()}
    series = {"bar": bar, "state_and_accuracy": points, "accuracy_by_pairs": by_pairs}
    return Measured(right[attention] - max(small), series)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy against the pairs of a row, a line for each mixer at the width of the statistic,
    named with the numbers of its state."""
    ax = figure.subplots()
    first = record["series"][0]
    width = next(iter(record["arms"])).rpartition(" ")[2]
    own = [name for name in record["arms"] if name.endswith(f" {width}")]
    sizes = {name: first["state_and_accuracy"][name][0] for name in own}
    own.sort(key=lambda name: (not name.startswith("attention"), -sizes[name]))
    over_pairs(ax, record, {name: f"{name.partition(',')[0]} ({sizes[name]:,})" for name in own})
    ax.set_title("accuracy of recall (in brackets: numbers of state)", loc="left")
    ax.set_xlabel("pairs to remember")
