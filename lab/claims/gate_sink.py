"""The attention sink with and without a gate after attention (2505.06708).

The paper trains language models of 1.7B and 15B parameters and measures, on text: F-Attn, the
attention on the first token (0.467 without a gate, 0.048 with an elementwise one, 0.073 headwise,
0.364 with a gate that does not read the input); M-Act, the largest activation (1053, 94, 98, 471);
and how many outputs of the heads are near 0 after the gate. It also reports that the gate trains at
8e-3, where the baseline does not. lab.analysis has the definitions.

Ours: the task, addition by Turing Programs, whose rows start with the same token and supervise
nearly every other one; different tokens need different heads, so a head that one token does not
need has to put its attention somewhere. Also ours: models, rates and budgets, and that a run trains
if at least half of its rows are exact at the end. Whether a sink appears at such a size is part of
the question: without one there is nothing to remove, and the claim fails. There is no sink where
the first token gets no more attention than under uniform attention, 1/t at the t-th query.

The control replaces the input of the gate by a constant: a learned number for each channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.config.experiment import Scale
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured
from tasks.addition import Addition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARE, GATED = "no gate", "elementwise"
GATES: dict[Scale, tuple[str, ...]] = {
    "cpu": (BARE, GATED),
    "gpu": (BARE, GATED, "headwise"),
}
RATES: dict[Scale, tuple[float, ...]] = {"cpu": (2e-3, 2e-2), "gpu": (1e-3, 2e-3, 4e-3, 8e-3)}
TRAINS = 0.5  # share of exact rows
ROWS = 64  # on which attention is measured


def claim(scale: Scale) -> Claim:
    """Attention on the first token at the lowest rate, without and with the gate."""
    arms = {
        _label(gate, rate): _arm(scale, gate, rate)
        for rate in RATES[scale]
        for gate in GATES[scale]
    }
    gated = _label(GATED, RATES[scale][0])
    constant = replace(arms[gated].model, gate_input="constant")
    return Claim(
        name="gate-sink",
        scale=scale,
        source="2505.06708, Table 4",
        statement="A gate after attention that reads its input takes away attention on the first"
        " token.",
        paper="attention on the first token 0.467 without a gate, 0.048 with it, 0.364 with one"
        " that does not read the input",
        our_choices="task (addition by Turing Programs), model, rates and budget; statistic and"
        " threshold; every query but the first counts",
        arms=arms,
        statistic="attention on the first token (mean over layers, heads, queries), without the"
        f" gate minus with it, at rate {RATES[scale][0]:g}",
        measure=measure,
        threshold=0.05,
        control=Control(
            "the gate's input replaced by a constant",
            {gated: replace(arms[gated], model=constant)},
        ),
        treatment_arm=gated,
        precondition=partial(no_sink, arm=_label(BARE, RATES[scale][0])),
        draw=draw,
    )


def _label(gate: str, rate: float) -> str:
    return f"{gate}, rate {rate:g}"


def _arm(scale: Scale, gate: Any, rate: float) -> Experiment:
    kind: Any = "none" if gate == BARE else gate
    if scale == "cpu":
        digits, size = 3, ModelConfig(layers="attention*3", width=64, heads=4)
        train = TrainConfig(steps=1000, batch=32, lengths=(digits,), warmup=50, eval_every=125)
    else:
        digits, size = 16, ModelConfig(layers="attention*12", width=512, heads=8, norm="rms")
        train = TrainConfig(
            steps=8000,
            batch=64,
            lengths=(digits,),
            warmup=400,
            precision="bf16",
            weight_decay=0.1,
            eval_every=1000,
        )
    return Experiment(
        name="gate-sink",
        task=Addition(),
        cot=True,
        model=replace(size, position="rope", gate=kind),
        train=replace(train, lr=rate, eval_rows=128, eval_answers=False),
        probes=(Probe("held out", digits, {"split": "test"}, 256),),
    )


def attention_of(result: Result) -> dict[str, Any]:
    """Of a finished run: F-Attn, its value under uniform attention, F-Attn of each layer, M-Act,
    the mean score of the gate (None: no gate), the share of the heads' outputs below 1e-2 after the
    gate, and exact match."""
    from lab.analysis.heads import measure as measure_heads
    from lab.analysis.subject import open_run

    subject = open_run(result.run, rows=ROWS)
    measured = measure_heads(subject)
    heads: dict[int, list[float]] = {}
    for head in measured.heads:
        assert head.sink is not None
        heads.setdefault(head.layer, []).append(head.sink)
    by_layer = [sum(own) / len(own) for own in heads.values()]
    scores = [layer.gate for layer in measured.layers if layer.gate is not None]
    below = [layer.below_2 for layer in measured.layers if layer.below_2 is not None]
    tokens = subject.batch.tokens.shape[1]
    return {
        "first": sum(by_layer) / len(by_layer),
        "uniform": sum(1 / t for t in range(2, tokens + 1)) / (tokens - 1),
        "first_by_layer": by_layer,
        "activation": measured.activation,
        "gate": sum(scores) / len(scores) if scores else None,
        "below_1e-2": sum(below) / len(below) if below else None,
        "exact": result.scores[0].exact,
    }


def no_sink(series: Sequence[Mapping[str, Any]], arm: str) -> str | None:
    """A sentence if this arm, on average over seeds, has no sink that a gate could remove."""
    runs = [seed["arms"][arm] for seed in series]
    first, uniform = (sum(run[name] for run in runs) / len(runs) for name in ("first", "uniform"))
    if first > uniform:
        return None
    return f"without a gate there is no sink: {first:.3f}, under uniform attention {uniform:.3f}"


def measure(results: Mapping[str, Result]) -> Measured:
    """F-Attn without the gate minus with it, at the lowest rate; the series has every arm's
    measurements and the highest rate at which each gate trains."""
    arms = {name: attention_of(result) for name, result in results.items()}
    rates = {name: result.experiment["train"]["lr"] for name, result in results.items()}
    highest: dict[str, float | None] = {}
    for name, run in arms.items():
        gate = name.partition(",")[0]
        fits = [highest.get(gate), rates[name] if run["exact"] >= TRAINS else None]
        highest[gate] = max((rate for rate in fits if rate is not None), default=None)
    low = min(rates.values())
    bare, gated = (arms[_label(gate, low)]["first"] for gate in (BARE, GATED))
    return Measured(bare - gated, {"arms": arms, "highest_rate_that_trains": highest})


def draw(figure: Figure, record: Mapping[str, Any]) -> None:
    """Attention on the first token by layer, and the largest activation, one mark a seed."""
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    control = record["negative_control"]
    (swapped,) = control["arms"]
    rate = swapped.partition(",")[2]
    names = [name for name in record["arms"] if name.endswith(rate)]
    shown = [(name.partition(",")[0], record["series"], name) for name in names]
    shown.append(("constant input", control["series"], swapped))
    for number, (label, series, arm) in enumerate(shown):
        style: dict[str, Any] = {
            "color": ("0.05", "0.4", "0.6", "0.75")[number],
            "marker": "osD^"[number],
        }
        for i, seed in enumerate(series):
            values = seed["arms"][arm]["first_by_layer"]
            left.plot(range(1, len(values) + 1), values, label=None if i else label, **style)
            right.plot(label, seed["arms"][arm]["activation"], markersize=5, **style)
    uniform = record["series"][0]["arms"][names[0]]["uniform"]
    left.axhline(uniform, color="0.7", linestyle=":", label="uniform attention")
    depth = len(record["series"][0]["arms"][names[0]]["first_by_layer"])
    left.set(
        xticks=range(1, depth + 1),
        xlabel="layer",
        ylabel="attention on the first token",
        ylim=(0, None),
    )
    left.legend(fontsize=7)
    right.set(ylabel="largest activation", ylim=(0, None))
    right.tick_params(axis="x", labelsize=6)
