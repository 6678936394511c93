"""Length generalization: how many tokens an answer depends on, and coupled positions (2502.16792).

The paper's claims: the fewer tokens k a label depends on, the longer the inputs to which a
transformer generalizes; and coupled position ids, the same for tokens that belong together, can
replace locality; where they depend on the input the model predicts them itself (Predictive Position
Coupling). Its figures, data layouts, lengths, models and how the head that predicts position ids is
attached are not known to us. All of that is our choice here.

The verdict is about the second claim, on copy: strings of up to 8 symbols in training, of 16 in the
test (gpu: 30 and 60). Arms: position ids predicted, coupled, learned (one for each token) and RoPE;
the last two are the plain ones. In training, the position ids of every row but RoPE's start at a
random number, so the whole table of positions is trained in every arm.

    value = the smaller of
        accuracy at 2x with predicted position ids, minus that of the best plain arm there
        accuracy of the best plain arm at 1x, minus that of the best plain arm at 2x

so plain arms that never learned to copy cannot make it hold. The control gives plain position ids
to the arm whose ids were predicted. The series shows the first claim: planted parity without
thought and without positions, trained on one range of lengths for each k.

Doubts. The lead would be an artefact if plain places had not learned to copy within the budget:
what they lose from 1x to 2x bounds the statistic, so they need their own lengths first; the curve
of each plain arm says when it had them. It would be one if the table of places had untrained
entries at 2x for the plain arms alone: every arm but RoPE starts its rows at random places, up to
the last that a test row has. It could be the coupling alone that carries copy, and not the
prediction, which also trains the layers below on where the next token comes from: coupled places
that are given are an arm of their own. The probe at 2x has strings twice as long, none of which can
be read off a shorter one. The control puts plain places into the first arm. Copy is one task:
nothing is said of others, and planted parity, beside it, has no control of its own. Rates:
rates-sparsity-length-cpu.json beside the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lab.claims._scores import curves, score, trained
from lab.config import Experiment, ModelConfig, TrainConfig
from lab.config.experiment import Scale, over_lengths
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured, with_disjoint_seeds
from tasks.addition import Addition
from tasks.copy import Copy
from tasks.planted import Planted

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

LABEL = "held out"
PLACES = ("predicted", "coupled", "learned", "rope")
PLAIN = ("learned", "rope")
NAMES = {
    "predicted": "coupled, predicted",
    "coupled": "coupled, given",
    "learned": "plain, learned",
    "rope": "plain, RoPE",
}
DEGREES: dict[Scale, tuple[int, ...]] = {"cpu": (2, 3, 4), "gpu": (4, 6, 8, 10, 12)}


def claim(scale: Scale) -> Claim:
    """The lead of predicted over plain position ids on copy, at twice the trained length."""
    arms = {f"copy, {name}": _copy(scale, name) for name in PLACES}
    arms |= {f"planted, k = {k}": _planted(scale, k) for k in DEGREES[scale]}
    if scale == "gpu":
        arms |= {f"addition, {name}": _addition(name) for name in PLACES}
    return Claim(
        name="sparsity-length",
        scale=scale,
        source="2502.16792",
        statement="A model that predicts the coupled places of its tokens copies strings twice as"
        " long as it was trained on; with plain places it does not.",
        paper="length generalization falls as k grows, and predictive coupling extends it; its"
        " figures are not known to us",
        our_choices="tasks, lengths, random starts of places, how places are predicted, model,"
        " budget, statistic and threshold" + ("" if scale == "gpu" else REVISED),
        arms=arms,
        statistic="lead of predicted places in accuracy of copy at 2x, or what the best plain arm"
        " loses from 1x to 2x if that is less",
        measure=measure,
        threshold=0.3,
        control=Control(
            "plain places", {"copy, predicted": with_disjoint_seeds(arms["copy, learned"])}
        ),
        treatment_arm="copy, predicted",
        axis="lead of predicted places at 2x",
        draw=draw,
    )


def _placed(position: Any, train: TrainConfig, tokens: int, offset: int) -> dict[str, Any]:
    """The parts of an Experiment that set its positions."""
    model = ModelConfig(layers="attention*2", width=64, heads=4, position=position)
    if position == "rope":
        return {"model": model, "train": train}
    return {"model": replace(model, max_positions=tokens), "train": replace(train, offset=offset)}


def _copy(scale: Scale, name: str) -> Experiment:
    if scale == "cpu":
        most, n = 8, 512
        train = TrainConfig(steps=4000, batch=64, lr=3e-3, warmup=50, eval_every=400, seed=20)
    else:
        most, n = 30, 2048
        train = TrainConfig(
            steps=10_000, batch=256, lr=1e-3, warmup=100, precision="bf16", eval_every=1000
        )
    # The longest test row has 4 x most + 3 tokens, a training row 2 x most + 3.
    placed = _placed(
        name,
        replace(train, lengths=tuple(range(1, most + 1)), eval_rows=128, eval_answers=False),
        5 * most,
        3 * most - 3,
    )
    return Experiment(
        name="sparsity-length",
        task=Copy(),
        cot=False,
        probes=over_lengths(LABEL, (most, most * 3 // 2, most * 2), n, split="test"),
        **placed,
    )


def _addition(name: str) -> Experiment:
    """gpu scale only: up to 20 digits, with the thought."""
    most = 20
    train = TrainConfig(steps=20_000, batch=32, lr=1e-3, warmup=100, precision="bf16")
    longest, trained_on = _tokens(2 * most), _tokens(most)
    coupled = name in ("predicted", "coupled")  # the ids of n digits go up to n + 2
    tokens, offset = (4 * most, 2 * most) if coupled else (longest, longest - trained_on)
    placed = _placed(name, replace(train, lengths=tuple(range(1, most + 1))), tokens, offset)
    return Experiment(
        name="sparsity-length",
        task=Addition(),
        cot=True,
        probes=over_lengths(LABEL, (most, most * 3 // 2, most * 2), 128, split="test"),
        **{**placed, "model": replace(placed["model"], layers="attention*6", width=256, heads=8)},
    )


def _tokens(digits: int) -> int:
    """Tokens of a row of addition with its thought."""
    return digits * (digits + 6) + digits * (digits - 1) // 2 + 3 * digits + 5


def _planted(scale: Scale, k: int) -> Experiment:
    lengths: tuple[int, ...]
    far: tuple[int, ...]
    if scale == "cpu":
        lengths, far = (8, 10, 12, 14, 16), (16, 32, 64)
        train = TrainConfig(steps=3000, batch=128, lr=7e-4, warmup=50, eval_every=300, seed=20)
        model = ModelConfig(layers="attention*2", width=64, heads=4, position="none")
    else:
        lengths, far = tuple(range(20, 51, 5)), (50, 100, 200, 500)
        train = TrainConfig(steps=20_000, batch=512, lr=3e-4, warmup=200, eval_every=2000)
        model = ModelConfig(layers="attention*6", width=256, heads=8, position="none")
    return Experiment(
        name="sparsity-length",
        task=Planted(k=k),
        cot=False,
        model=model,
        train=replace(train, lengths=lengths, eval_rows=128, eval_answers=False),
        probes=over_lengths(LABEL, far, 1024, split="test"),
    )


def measure(results: Mapping[str, Result]) -> Measured:
    """The lead of predicted position ids on copy at 2x, at most what the plain arms have lost."""
    near = trained(results["copy, predicted"])

    def right(name: str, length: int) -> float:
        return score(results[f"copy, {name}"], LABEL, length).answer

    plain = max(right(name, 2 * near) for name in PLAIN)
    lead = right("predicted", 2 * near) - plain
    lost = max(right(name, near) for name in PLAIN) - plain
    fall = {
        name: [[s.length, s.answer] for s in result.scores]
        for name, result in results.items()
        if not name.startswith("copy")
    }
    return Measured(min(lead, lost), {"lead": lead, "lost_by_plain": lost, "accuracy": fall})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Accuracy against length: copy by position, planted parity by k, and addition at gpu scale."""
    kinds = list(dict.fromkeys(name.partition(", ")[0] for name in record["arms"]))
    axes = figure.subplots(len(kinds), 1, squeeze=False)[:, 0]
    for ax, kind in zip(axes, kinds, strict=True):
        names = [name for name in record["arms"] if name.startswith(kind)]
        last = {name: name.partition(", ")[2] for name in names}
        curves(ax, record, {name: NAMES.get(part, part) for name, part in last.items()}, LABEL)
        ax.set_title(f"{kind}: accuracy of the answer", loc="left")
