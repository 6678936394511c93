"""The attention sink with and without a gate after attention (2505.06708).

The paper trains language models of 1.7B and 15B parameters and measures, on text: F-Attn, the
attention on the first token (0.467 without a gate, 0.048 with an elementwise one, 0.073 headwise,
0.364 with a gate that does not read the input), and M-Act, the largest activation (1053, 94, 98,
471). lab.analysis has the definitions.

A sink needs a head that has nothing to do at some tokens, and a token that is always there to look
at instead. So the task, ours, is Bigram-Backcopy (2410.13835): its one head has to find a token
after a trigger, while the bigram table alone predicts all other tokens. F-Attn is measured at the
queries that are no triggers. Beside it, the same gate on addition by Turing Programs, where nearly
every token is a copy that some head has to find: a first protocol, on addition alone, found no sink
that a gate could take away (lab/claims/records/LOG.md). So the claim is about heads that have
nothing to do, and says nothing about larger models on text. Also ours: models, rates, budgets,
statistic and bar. A second protocol took, in each seed, the gate that takes away less: in one seed
of six the elementwise gate kept the sink (same log). So a gate need not take it away in every run;
this protocol asks what the two gates do on average, with seeds that neither had.

The control replaces the input of both gates by a constant: a learned number for each score.

Doubts. A gated model that does not back-copy has no reason to look anywhere: so all arms train on
the same rows, and the statistic is 0 unless each is right on held-out back-copies. There might be
nothing to take away: it is 0, too, unless the ungated head gives the first token 0.8. The gate
might only slow the sink down: the figure has the attention from early checkpoints to the last, and
shows which arm was still moving. The sink might come, or go, with the rate alone: the three arms
have one rate and schedule, and `lab claim gate-sink --rates` shows a third of it and three times as
much. To have a gate might be enough: the control has the same gates and keeps its sink if the input
is what matters; if it loses the sink too, the claim does not hold. One kind of gate might reach the
bar alone, if it took away 0.6: the series has each, and the figure draws both. One layer, one head
and one bigram table may be special: addition stands beside them, and larger models were not tried.
The verdict does not say that the largest activation falls (it is in the series), nor that the
weight moves to a useful token: where a gate is shut, nothing is asked of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.experiments.backcopy import experiment as backcopy
from lab.figures.ends import hue, level, median_line
from lab.figures.style import MARKERS
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured
from tasks.addition import Addition

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

BARE, GATES = "no gate", ("elementwise", "headwise")
ADDITION = {"addition, no gate": "none", "addition, elementwise": "elementwise"}
KEPT: dict[Scale, tuple[int, ...]] = {
    "cpu": (250, 500, 1000, 2000, 3000),
    "gpu": (500, 1000, 2500, 5000),
}
SINK = 0.8  # attention on the first token from which there is a sink to take away
RIGHT = 0.9  # share of right back-copies from which an arm counts
ROWS = 64  # on which attention is measured


def claim(scale: Scale) -> Claim:
    """Attention on the first token where a head has nothing to do, without and with a gate."""
    arms = {BARE: _backcopy(scale, "none")} | {gate: _backcopy(scale, gate) for gate in GATES}
    constant = {
        gate: replace(arms[gate], model=replace(arms[gate].model, gate_input="constant"))
        for gate in GATES
    }
    beside = {name: _addition(scale, gate) for name, gate in ADDITION.items()}
    return Claim(
        name="gate-sink",
        scale=scale,
        source="2505.06708, Table 4",
        statement="A gate after attention that reads its input takes away attention on the first"
        " token at tokens where a head has nothing to do.",
        paper="attention on the first token 0.467 without a gate, 0.048 with an elementwise and"
        " 0.073 with a headwise one, 0.364 with one that does not read the input",
        our_choices="task (Bigram-Backcopy of 2410.13835, addition beside it), models, rates and"
        " budgets; statistic and threshold; queries that are no triggers count" + REVISED,
        arms=arms | beside,
        statistic="attention on the first token at queries that are no triggers (mean over"
        " checkpoints of the second half of training), without a gate"
        " minus with one, mean of elementwise and headwise; 0 without a sink or back-copies",
        measure=measure,
        threshold=0.3,
        control=Control("the gates' input replaced by a constant", constant),
        treatment_arm=GATES[0],
        precondition=no_sink,
        axis="attention on the first token that a gate takes away",
        draw=draw,
    )


def _backcopy(scale: Scale, gate: Any) -> Experiment:
    base = backcopy(scale)
    return replace(
        base,
        name="gate-sink",
        model=replace(base.model, gate=gate),
        train=replace(base.train, keep_steps=KEPT[scale], seed=30),
        probes=(Probe("held out", base.probes[0].length, {"split": "test"}, 256),),
    )


def _addition(scale: Scale, gate: Any) -> Experiment:
    if scale == "cpu":
        digits, size = 3, ModelConfig(layers="attention*3", width=64, heads=4)
        train = TrainConfig(steps=700, batch=32, lr=6e-3, warmup=50, eval_every=100)
    else:
        digits, size = 16, ModelConfig(layers="attention*12", width=512, heads=8, norm="rms")
        train = TrainConfig(
            steps=8000,
            batch=64,
            lr=1e-3,
            warmup=400,
            precision="bf16",
            weight_decay=0.1,
            eval_every=1000,
        )
    return Experiment(
        name="gate-sink",
        task=Addition(),
        cot=True,
        model=replace(size, position="rope", gate=gate),
        train=replace(train, lengths=(digits,), eval_rows=128, eval_answers=False, seed=30),
        probes=(Probe("held out", digits, {"split": "test"}, 256),),
    )


def attention_of(result: Result) -> dict[str, Any]:
    """Of a finished run, at the end of training, means over layers and heads: `first`, the
    attention on the first token, mean over the queries after it at which the task marks no
    dependency (the last token of a row predicts nothing and does not count); `uniform`, the same
    if attention were uniform; `dependency`, the attention on a marked token (None: the task marks
    none); `value_norm`, the norm of the first token's value over that of the others; M-Act; the
    mean score of the gate (None: no gate); exact match. `curve`: [step, first] of every checkpoint
    that was kept, and of the last one; `first` is the mean over those of the second half of
    training, because at a constant rate single checkpoints vary."""
    kept = result.experiment["train"]["keep_steps"]
    curve = [[step, _attention(result, f"step-{step}")["first"]] for step in kept]
    last = _attention(result, None)
    curve.append([result.steps, last["first"]])
    late = [first for step, first in curve if 2 * step >= result.steps]
    first = sum(late) / len(late)
    return {**last, "first": first, "exact": result.scores[0].exact, "curve": curve}


def _attention(result: Result, at: str | None) -> dict[str, Any]:
    import numpy as np

    from lab.analysis.heads import measure as measure_heads
    from lab.analysis.subject import open_run
    from tasks import Role

    subject = open_run(result.run, rows=ROWS, at=at)
    depends = subject.task.dependencies(subject.batch, subject.probe.length)
    idle = np.zeros(subject.batch.tokens.shape, np.bool_)
    idle[:, 1:-1] = subject.batch.roles[:, 2:] != Role.PAD
    if depends is not None:
        idle &= ~depends.any(2)
    found = measure_heads(subject, queries=idle)

    def mean(values: Sequence[float | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return sum(numbers) / len(numbers) if numbers else None

    return {
        "first": mean([head.sink for head in found.heads]),
        "uniform": float(np.mean(1 / (1 + idle.nonzero()[1]))),
        "dependency": mean([head.dependency_weight for head in found.heads]),
        "value_norm": mean([head.value_norm for head in found.heads]),
        "activation": found.activation,
        "gate": mean([layer.gate for layer in found.layers]),
    }


def missing(arms: Mapping[str, Any]) -> str | None:
    """A sentence if, in one seed, there is no sink without a gate, or an arm does not back-copy."""
    if arms[BARE]["first"] < SINK:
        return f"without a gate the first token gets {arms[BARE]['first']:.3f}, below {SINK}"
    for arm in (BARE, *GATES):
        if arms[arm]["exact"] < RIGHT:
            return f"{arm} is right on {arms[arm]['exact']:.3f} of the back-copies, below {RIGHT}"
    return None


def no_sink(series: Sequence[Mapping[str, Any]]) -> str | None:
    """What is missing in the first seed in which something is."""
    return next(filter(None, map(missing, series)), None)


def measure(results: Mapping[str, Result]) -> Measured:
    """Attention on the first token without a gate minus the mean of the two gated arms', 0 if
    something is missing; the series has the measurements of every arm."""
    arms = {name: attention_of(result) for name, result in results.items()}
    left = sum(arms[gate]["first"] for gate in GATES) / len(GATES)
    return Measured(0.0 if missing(arms) else arms[BARE]["first"] - left, arms)


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Attention on the first token: over training on Bigram-Backcopy, at its end on addition."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    control = record["negative_control"]["series"]
    shown = [(name, record["series"], name) for name in (BARE, *GATES)]
    shown += [(f"{gate},\nconstant input", control, gate) for gate in GATES]
    for number, (label, series, arm) in enumerate(shown):
        points: dict[float, list[float]] = {}
        for seed in series:
            for step, first in seed[arm]["curve"]:
                points.setdefault(step, []).append(first)
        median_line(left, points, label, number)
    for number, name in enumerate(ADDITION):
        values = [seed[name]["first"] for seed in record["series"]]
        right.plot([number] * len(values), values, MARKERS[number], color=hue(number), alpha=0.6)
    for ax, arm in ((left, BARE), (right, next(iter(ADDITION)))):
        level(ax, record["series"][0][arm]["uniform"], "uniform" if ax is right else "")
    left.set_title("attention on the first token,\nat tokens with nothing to copy", loc="left")
    left.set(xlabel="training steps", ylim=(-0.03, 1.03))
    right.set_title("the same\non addition", loc="left")
    right.set(xlabel="gate", xlim=(-0.5, 1.5))
    right.set_xticks([0, 1], ["none", "element-\nwise"])
