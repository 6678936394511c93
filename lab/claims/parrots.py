"""Experts help to memorize a phone book, and hardly to find shortest paths (2410.19034).

Mixture of Parrots trains 12 layers with top-2 experts on a closed-book phone book of 100,000 to
over 2 million names, and on shortest paths in graphs, and plots accuracy against active and all
parameters. With 42 million active parameters a mixture knows more names than dense models with ten
times as many; on paths it rises from about 67 to 71%. Its theory: memory grows with all parameters,
while some problems on graphs need width, however many experts there are. Graph sizes, widths and
rates are not known to us, nor whether rows have a thought.

Ours: both tasks (tasks/phone_book.py, tasks/shortest_path.py without a thought), models, budgets,
statistic and bar. A model without experts has an MLP as wide as the two experts that process a
token, so active sizes are equal but for the router; the book is larger than what that model learns
within the budget. The statistic is what 8 experts add to the exact match on the book, minus what
they add on paths.

Doubts. The difference would be an artefact if nothing could be gained on paths within the budget: a
wider model without experts is an arm on both tasks, and the statistic is 0 unless it gains on paths
by ROOM. The control puts it in the place of the mixture on both tasks: it gains on both, so a rise
of everything with size does not pass. It would be one if the mixture only learned faster: at this
budget memory and speed are not told apart, and the curves in the record say who still rose. It
would be one if the mixture had a bad rate on paths: rates-parrots-cpu.json beside the record. Exact
match counts a whole number or path; no partial credit hides a gain on paths that is short of a
whole one, and the series has one probe alone. One size of graph and one width were tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.experiments.phone_book import experiment as phone_book
from lab.experiments.shortest_path import experiment as shortest_path
from lab.figures.ends import hue, median_line
from lab.figures.style import MARKERS
from lab.results.result import Result
from lab.verdicts.protocol import Claim, Control, Measured, with_disjoint_seeds

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

TASKS = ("book", "paths")
EXPERTS = (1, 4, 8)
MOST = EXPERTS[-1]
WIDER = "wider"
ROOM = 0.2  # gain of the wider model on paths from which there was something to gain


@dataclass(frozen=True)
class _Size:
    """Of both tasks. mlp_ratio: of a model without experts; each expert has half of it."""

    width: int
    wider: int
    mlp_ratio: float
    names: int
    nodes: int


SIZES: dict[Scale, _Size] = {
    "cpu": _Size(width=32, wider=96, mlp_ratio=4.0, names=1_200, nodes=8),
    "gpu": _Size(width=256, wider=768, mlp_ratio=2.0, names=500_000, nodes=32),
}


def claim(scale: Scale) -> Claim:
    """What 8 experts add on a phone book, minus what they add on shortest paths."""
    size = SIZES[scale]
    arms = {
        label(task, n): _arm(scale, task, _model(size, n))
        for task in TASKS
        for n in (*EXPERTS, WIDER)
    }
    return Claim(
        name="parrots",
        scale=scale,
        source="2410.19034",
        statement=f"At equal active size {MOST} experts add to what a model remembers, and add less"
        " to what it finds in a graph.",
        paper="42 million active parameters beat dense models of ten times as many on the phone"
        " book; on shortest paths about 67 to 71% with more experts",
        our_choices="graphs, book, no thought, models, budgets, statistic and its bar; a wider"
        " model without experts in the control",
        arms=arms,
        statistic=f"exact match that {MOST} experts add on the book, minus what they add on paths;"
        " 0 unless a wider model without experts gains on paths",
        measure=measure,
        threshold=0.2,
        control=Control(
            "a wider model without experts in their place",
            {label(task, MOST): with_disjoint_seeds(arms[label(task, WIDER)]) for task in TASKS},
        ),
        treatment_arm=label("book", MOST),
        precondition=no_room,
        axis="gain on the book minus gain on paths",
        draw=draw,
    )


def label(task: str, experts: int | str) -> str:
    """The name of an arm."""
    if experts == WIDER:
        return f"{task}, no experts, wider"
    return f"{task}, no experts" if experts == 1 else f"{task}, {experts} experts"


def _model(size: _Size, experts: int | str) -> dict[str, Any]:
    """Fields of ModelConfig."""
    if experts == WIDER:
        return {"width": size.wider, "mlp_ratio": size.mlp_ratio}
    if experts == 1:
        return {"width": size.width, "mlp_ratio": size.mlp_ratio}
    return {"width": size.width, "mlp_ratio": size.mlp_ratio / 2, "experts": experts}


def _arm(scale: Scale, task: str, own: Mapping[str, Any]) -> Experiment:
    size = SIZES[scale]
    if task == "book":
        base = phone_book(scale, length=size.names)
    else:
        base = shortest_path(scale, cot=False, length=size.nodes)
    model, train = replace(base.model, **{"experts": 0, **own}), base.train
    if scale == "cpu":
        steps = 800 if task == "book" else 600
        train = replace(
            train, optimizer="muon", lr=1e-2, steps=steps, eval_every=steps // 8, warmup=50
        )
        if task == "paths":
            model = replace(model, layers="attention*2")
    train = replace(train, lengths=(train.lengths[-1],), seed=20)
    probes = [p for p in base.probes if p.length == train.lengths[0]]
    return replace(
        base,
        name="parrots",
        model=model,
        train=train,
        probes=(replace(probes[0], n=1_024 if scale == "cpu" else 4_096),),
    )


def missing(accuracy: Mapping[str, float]) -> str | None:
    """A sentence if, in one seed, the wider model gains less than ROOM on paths."""
    gain = accuracy[label("paths", WIDER)] - accuracy[label("paths", 1)]
    if gain < ROOM:
        return f"a wider model gains {gain:.3f} on paths, below {ROOM}: there is nothing to gain"
    return None


def no_room(series: Sequence[Mapping[str, Any]]) -> str | None:
    """What is missing in the first seed in which something is."""
    return next(filter(None, (missing(seed["accuracy"]) for seed in series)), None)


def measure(results: Mapping[str, Result]) -> Measured:
    """Gain of 8 experts on the book minus that on paths; 0 if something is missing."""
    accuracy = {name: result.scores[0].exact for name, result in results.items()}
    book, paths = (accuracy[label(task, MOST)] - accuracy[label(task, 1)] for task in TASKS)
    return Measured(0.0 if missing(accuracy) else book - paths, {"accuracy": accuracy})


def draw(figure: FigureBase, record: Mapping[str, Any]) -> None:
    """Exact match against the number of experts, on the book and on paths; beside it, of the wider
    model without experts."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    series = [seed["accuracy"] for seed in record["series"]]
    for number, (task, name) in enumerate(zip(TASKS, ("phone book", "paths"), strict=True)):
        points: dict[float, list[float]] = {
            n: [seed[label(task, n)] for seed in series] for n in EXPERTS
        }
        median_line(left, points, name, 1 + number)
        wider = [seed[label(task, WIDER)] for seed in series]
        right.plot(
            [number] * len(wider), wider, MARKERS[1 + number], color=hue(1 + number), alpha=0.6
        )
    left.set_xscale("log", base=2)
    left.set_xticks(EXPERTS, ["none", *map(str, EXPERTS[1:])])
    left.set_title("exact match, at equal active size", loc="left")
    left.set(xlabel="experts", ylim=(-0.03, 1.03))
    right.set_title("no experts,\nwider", loc="left")
    right.set_xticks(range(len(TASKS)), TASKS)
    right.set(xlim=(-0.6, 1.6))
