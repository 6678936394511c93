"""Unseen compositions in context, with and without thought (2502.08991, results table; Sec. 5.1).

Each row holds examples of one secret tuple of k out of d bits; the last example is scored, on
tuples that were never trained. The paper's GPT-2 (3 layers, 1 head, width 192, lr 8e-5) trains on
floor(3 d ln d) tuples for five (d, k), 40 examples a row, on a fixed set in many epochs. The gpu
scale takes these five; ours there: fresh rows, and a stop at 0.99 on 512 rows of seen tuples. It
has more arms, which do not enter the statistic: other numbers of training tuples at the first
(d, k); Sec. 5.1's two ways to restrict them, at d = 10, k = 3 of the paper's README; arithmetic and
translation, whose sizes are ours or the code's.

The cpu scale is ours: the experiment of `lab run compose_parity` with and without thought, trained
with Muon in place of AdamW, d = 8 and k = 3, where the paper's rule is 49 of 56 tuples. All else
(numbers of tuples, Sec. 5.1, arithmetic, translation) exceeds the budget of a CPU and is at gpu
scale only.

Doubts. The accuracy would be an artefact if the unseen tuples were not new: they are the other 7 of
the 56, drawn by a hash, and no training row holds one; but each of their bits and pairs occurs in
seen tuples, so this is composition from known parts and not more. It would be one if a row could be
answered without its thought: the arm without thought, same model, rows and steps, is the control.
That arm could be undertrained: its curve in the record says whether it ever rose, and `lab claim
arc-unseen --rates` whether it does at a third of its rate or at three times it. The bar, 0.95, is
high, so a seed that rises late fails it: the curves are in the record. One (d, k) of the paper's
five is not the paper's range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import floor, log
from typing import TYPE_CHECKING, Any

from lab.claims._scores import learning
from lab.config import Experiment, Probe
from lab.config.experiment import Scale
from lab.experiments._arc import MODEL, TRAIN
from lab.experiments.compose_parity import experiment as compose_parity
from lab.figures.ends import median_line
from lab.figures.style import thousands
from lab.results.result import Result
from lab.verdicts.protocol import REVISED, Claim, Control, Measured
from tasks import Task
from tasks.compose_arithmetic import ComposeArithmetic
from tasks.compose_parity import ComposeParity
from tasks.compose_translation import ComposeTranslation

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

MAIN = "CoT, "  # how the arms of the statistic begin
SIZES: dict[Scale, tuple[tuple[int, int], ...]] = {
    "cpu": ((8, 3),),
    "gpu": ((10, 5), (15, 7), (20, 10), (25, 12), (30, 15)),
}


def claim(scale: Scale) -> Claim:
    """Exact match of the last example on unseen tuples, the lowest over the sizes."""
    sizes = SIZES[scale]
    own = _small() if scale == "cpu" else None
    arms = {f"{MAIN}d = {d}, k = {k}": own or _arm(d, ComposeParity(k=k)) for d, k in sizes}
    (d, k), first = sizes[0], next(iter(arms))
    plain = replace(arms[first], cot=False)
    arms[f"no CoT, d = {d}, k = {k}"] = plain
    if scale == "gpu":
        arms |= _more(d, k)
    return Claim(
        name="arc-unseen",
        scale=scale,
        source="2502.08991, results table",
        statement="Trained on few of all compositions, in-context parity with chain of thought"
        " carries to unseen ones.",
        paper="98.1 to 99.1% on unseen tuples with CoT over five (d, k), trained on floor(3 d ln d)"
        " tuples; without CoT it does not generalize (accuracy not known to us)",
        our_choices="threshold; fresh rows; "
        + (
            "stop at 0.99 on 512 seen rows"
            if scale == "gpu"
            else f"d = 8, 20 examples, model, budget{REVISED}"
        ),
        arms=arms,
        statistic="exact match of the last example on unseen tuples with CoT"
        + (", lowest of five (d, k)" if scale == "gpu" else ""),
        measure=measure,
        threshold=0.95,
        control=Control(f"no thought at d = {d}, k = {k}", {first: plain}),
        treatment_arm=first,
        axis="exact match on unseen tuples",
        draw=draw,
    )


def _small() -> Experiment:
    d, k = SIZES["cpu"][0]
    own = compose_parity("cpu", length=d, k=k)
    train = replace(own.train, optimizer="muon", lr=5e-3, seed=30)
    return replace(own, name="arc-unseen", train=train, probes=_probes(d))


def _arm(length: int, task: Task, cot: bool = True) -> Experiment:
    return Experiment(
        name="arc-unseen",
        task=task,
        cot=cot,
        model=MODEL,
        train=replace(
            TRAIN,
            steps=40_000,
            lengths=(length,),
            examples=None,
            precision="bf16",
            eval_every=1000,
            eval_rows=512,
            eval_answers=False,
            early_stop=True,
            threshold=0.99,
        ),
        probes=_probes(length),
    )


def _probes(length: int) -> tuple[Probe, ...]:
    """Seen tuples come first: early stopping uses the first probe."""
    return tuple(Probe(split, length, {"split": split}, 1024) for split in ("seen", "unseen"))


def _more(d: int, k: int) -> dict[str, Experiment]:
    """Further arms of the gpu scale: numbers of seen tuples, restricted tuples, other tasks."""
    rule = floor(3 * d * log(d))
    arms = {
        f"{seen} seen tuples, d = {d}, k = {k}": _arm(d, ComposeParity(k=k, train_tasks=seen))
        for seen in (rule // 4, rule // 2, 2 * rule)
    }
    three = ComposeParity(k=3, train_tasks=rule)
    arms["no index 5 at place 2, d = 10, k = 3"] = _arm(10, replace(three, drop_coordinate=(2, 5)))
    arms["no pair 4 and 6, d = 10, k = 3"] = _arm(10, replace(three, drop_pair=(4, 6)))
    for name, cot in (("arithmetic, CoT", True), ("arithmetic, no CoT", False)):
        arms[name] = _arm(5, ComposeArithmetic(), cot)
    lines = _arm(6, ComposeTranslation())
    model = replace(MODEL, layers="attention*2", width=720, heads=3)
    train = replace(lines.train, steps=6250, batch=16, lr=6e-5, weight_decay=0.0, grad_clip=1.0)
    train = replace(train, schedule="linear", eval_every=250)
    return arms | {"translation, CoT": replace(lines, model=model, train=train)}


def measure(results: Mapping[str, Result]) -> Measured:
    """The lowest accuracy on unseen tuples among the arms with CoT; the series has the accuracy of
    every arm on seen and on unseen tuples."""
    exact = {
        name: {score.probe: score.exact for score in result.scores}
        for name, result in results.items()
    }
    lowest = min(scores["unseen"] for name, scores in exact.items() if name.startswith(MAIN))
    return Measured(lowest, {"exact": exact})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Exact match on unseen tuples while training, of the arms of the statistic and of those
    without thought; a thin line for each seed."""
    ax = figure.subplots()
    main = (MAIN, "no CoT")
    names = [name for name in record["arms"] if name.startswith(main)]
    for number, name in enumerate(names):
        size = f", {name.partition(', ')[2]}" if len(names) > 2 else ""
        label = ("with CoT" if name.startswith(MAIN) else "without CoT") + size
        median_line(ax, learning(record, name, "unseen"), label, number, dots=False)
    ax.set_title("exact match of the last example, unseen tuples", loc="left")
    ax.set(xlabel="training rows", ylim=(-0.03, 1.03))
    ax.xaxis.set_major_formatter(thousands)
